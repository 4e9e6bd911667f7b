/** JSON files of any size, written in pieces and only when they are whole. */
import { createHash } from 'node:crypto';
import { beginFile, writeAt, type PendingFile } from '../files.js';
import { jsonPieces } from '../json-pieces.js';
import type { ByteSource } from '../types.js';

/** What was written. */
export interface Written {
  readonly bytes: number;
  readonly sha256: string;
}

/** The value as one line of JSON into a file that is not in its place yet. */
export async function writePieces(
  file: PendingFile,
  value: unknown,
  options: { readonly literals?: boolean } = {},
): Promise<Written> {
  const hash = createHash('sha256');
  let bytes = 0;
  const write = async (text: string): Promise<void> => {
    const piece = Buffer.from(text);
    hash.update(piece);
    bytes = await writeAt(file.handle, piece, bytes);
  };
  for (const text of jsonPieces(value, options)) await write(text);
  await write('\n');
  return { bytes, sha256: hash.digest('hex') };
}

/** The value as a JSON file, atomically. */
export async function writeJsonFile(
  path: string,
  value: unknown,
  options: { readonly literals?: boolean } = {},
): Promise<Written> {
  await using file = await beginFile(path);
  const written = await writePieces(file, value, options);
  await file.commit();
  return written;
}

/** A file that is being written, to be read again before it takes its place. */
export function pendingSource(file: PendingFile, name: string, size: number): ByteSource {
  return {
    name,
    size,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const { bytesRead } = await file.handle.read(bytes, done, length - done, offset + done);
        if (bytesRead === 0) return bytes.subarray(0, done);
        done += bytesRead;
      }
      return bytes;
    },
  };
}
