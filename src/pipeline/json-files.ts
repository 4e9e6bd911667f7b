/** JSON files on disk, plain or gzipped. */
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { EgolensError } from '../errors.js';
import { openFileSource } from '../files.js';
import { readJson, type JsonReadOptions } from '../json-reader.js';
import type { ByteSource, JsonDocument } from '../types.js';

/** A gzip file may say that it holds the world; this much of it is unpacked. */
const unpackedLimit = 2 * 2 ** 30;

/** Read a JSON file; one that begins as gzip does is unpacked, into at most `maxBytes` (else `limit.size`). */
export async function readJsonFile(
  path: string,
  options: JsonReadOptions & { readonly maxBytes?: number } = {},
): Promise<JsonDocument> {
  await using file = await openFileSource(path);
  const magic = await file.read(0, Math.min(2, file.size));
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) return await readJson(file, options);
  return await readJson(await unpacked(path, options.maxBytes ?? unpackedLimit), options);
}

/** The content of a gzip file, in memory. Throws `limit.size` as soon as it is too large, `input.truncated`, `input.format`. */
export async function unpacked(path: string, maxBytes = unpackedLimit): Promise<ByteSource> {
  const pieces: Uint8Array[] = [];
  const starts: number[] = [];
  let size = 0;
  const packed = createReadStream(path);
  const stream = createGunzip({ chunkSize: 2 ** 20 });
  packed.on('error', (error) => stream.destroy(error));
  try {
    for await (const piece of packed.pipe(stream) as AsyncIterable<Uint8Array>) {
      if (size + piece.length > maxBytes) {
        throw new EgolensError('limit.size', `\`${path}\`: unpacks to more than ${maxBytes} bytes`, {
          try: 'unpack it yourself if you trust it',
          input: path,
        });
      }
      starts.push(size);
      pieces.push(piece);
      size += piece.length;
    }
  } catch (error) {
    if (error instanceof EgolensError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!code.startsWith('Z_')) throw error;
    throw code === 'Z_BUF_ERROR'
      ? new EgolensError('input.truncated', `\`${path}\`: the gzip data is cut off after ${size} bytes of content`, {
          cause: error,
        })
      : new EgolensError('input.format', `\`${path}\`: damaged gzip data after ${size} bytes of content`, {
          cause: error,
        });
  } finally {
    packed.destroy();
  }
  return {
    name: path,
    size,
    read(offset, length) {
      if (offset < 0 || length < 0 || offset + length > size) {
        return Promise.reject(
          new EgolensError(
            'input.truncated',
            `\`${path}\`: needed ${length} bytes at offset ${offset}, there are ${size}`,
          ),
        );
      }
      const bytes = new Uint8Array(length);
      // Pieces lie in order: the last one that starts at or before the offset comes first.
      let low = 0;
      let high = starts.length;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (starts[middle]! <= offset) low = middle;
        else high = middle;
      }
      for (let done = 0; done < length; low++) {
        const from = offset + done - starts[low]!;
        const part = pieces[low]!.subarray(from, from + length - done);
        bytes.set(part, done);
        done += part.length;
      }
      return Promise.resolve(bytes);
    },
  };
}
