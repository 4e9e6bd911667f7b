/**
 * safetensors: 8-byte little-endian header length, JSON, data without gaps. Every statement of the header is checked against the
 * file before a tensor is offered, so a file has one meaning. Source of the format: huggingface/safetensors README.md.
 */
import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { ByteSource } from '../types.js';
import { checkedSize, shortText, uint64At, utf8 } from './bytes.js';
import { elementTypes, type StoredType } from './element-types.js';
import { parseHeader, type HeaderRow } from './safetensors-header.js';
import { rowMajorStrides, viewChunks, type CheckpointTensor } from './strided.js';

/** Cap of the header; the official one is 100 MB, and 10,000 tensors need 1 MB. */
const maxHeaderBytes = 16 * 2 ** 20;

const dtypes: ReadonlyMap<string, StoredType> = new Map<string, StoredType>([
  ['F64', 'float64'],
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['I64', 'int64'],
  ['I32', 'int32'],
  ['I16', 'int16'],
  ['I8', 'int8'],
  ['U8', 'uint8'],
  ['BOOL', 'bool'],
]);

export interface SafetensorsFile {
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Does a file begin as safetensors do: with a plausible length and a brace? */
export function looksLikeSafetensors(head: Uint8Array, size: number): boolean {
  if (head.length < 9) return false;
  const length = uint64At(head, 0);
  // A length beyond the file still counts: the brace says what the file means to be, and the reader says what is wrong with it.
  return head[8] === 0x7b && length !== null && length >= 2 && (length <= size - 8 || length <= maxHeaderBytes);
}

/**
 * Read the header of a safetensors file.
 *
 * @throws EgolensError checkpoint.format where the header breaks a rule of the format, checkpoint.unsupported for an element type
 *   that is not read, input.truncated when the file is shorter than announced, limit.size for a header above 16 MiB
 */
export async function openSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const fault = (message: string) => new EgolensError('checkpoint.format', `\`${source.name}\`: ${message}`);
  const length = uint64At(await source.read(0, 8), 0);
  if (length === null || length > maxHeaderBytes) {
    throw new EgolensError(
      'limit.size',
      `\`${source.name}\`: a header of ${length ?? 'more than 2^53'} bytes, expected at most ${maxHeaderBytes}`,
    );
  }
  const text = utf8(await source.read(8, length));
  if (text === null) throw fault('the header is not UTF-8');
  if (!text.startsWith('{')) throw fault('the header does not begin with `{`');
  const { rows, metadata } = parseHeader(text, source.name);
  const start = 8 + length;
  const sorted = [...rows].sort(
    ([, a], [, b]) => a.dataOffsets[0] - b.dataOffsets[0] || a.dataOffsets[1] - b.dataOffsets[1],
  );
  const tensors = new Map<string, CheckpointTensor>();
  let end = 0;
  for (const [name, row] of sorted) {
    if (row.dataOffsets[0] !== end) {
      throw fault(
        `tensor \`${shortText(name)}\` begins at byte ${row.dataOffsets[0]} of the data, expected ${end}: neither gaps nor overlaps`,
      );
    }
    end = row.dataOffsets[1];
    tensors.set(name, tensorOf(source, start, name, row));
  }
  if (start + end > source.size) {
    throw new EgolensError(
      'input.truncated',
      `\`${source.name}\`: the header announces ${start + end} bytes, found ${source.size}`,
    );
  }
  if (start + end < source.size) throw fault(`${source.size - start - end} bytes after the last tensor, expected none`);
  return { tensors, metadata };
}

function tensorOf(source: ByteSource, start: number, name: string, row: HeaderRow): CheckpointTensor {
  const where = `\`${source.name}\`, tensor \`${shortText(name)}\``;
  const type = dtypes.get(row.dtype);
  if (type === undefined) {
    throw new EgolensError(
      'checkpoint.unsupported',
      `${where}: element type \`${shortText(row.dtype)}\`, expected one of ${[...dtypes.keys()].join(', ')}`,
    );
  }
  const { shape } = row;
  const [begin, end] = row.dataOffsets;
  const size = shape.includes(0) ? 0 : checkedSize(shape);
  const bytes = (size ?? Infinity) * elementTypes[type].size;
  if (bytes !== end - begin) {
    throw new EgolensError(
      'checkpoint.format',
      `${where}: shape ${shapeText(shape)} of ${row.dtype} has ${bytes} bytes, its offsets [${begin}, ${end}] have ${end - begin}`,
    );
  }
  return {
    name,
    storedType: type,
    shape,
    bytes,
    storageKey: name,
    contiguous: true,
    async *chunks(maxElements) {
      // The data of a tensor need not lie at a multiple of its element size in the file, so it is read as a source of bytes.
      const data = {
        name: source.name,
        size: bytes,
        read: (at: number, count: number) => source.read(start + begin + at, count),
      };
      yield* viewChunks(data, type, { shape, strides: rowMajorStrides(shape), offset: 0 }, maxElements);
    },
  };
}

/** A tensor to be written; `bytes` gives its little-endian row-major values in pieces of any length. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: 'F32' | 'F16' | 'I64';
  readonly shape: readonly number[];
  bytes(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/**
 * The bytes of a safetensors file, in pieces: nothing but the header and one piece is in memory. Wide elements come first, so that
 * every tensor lies at a multiple of its element size; among equals the given order stays.
 *
 * @throws EgolensError data.invalid for a name that occurs twice, data.shape when an entry gives another count of bytes than its shape
 */
export async function* writeSafetensors(
  entries: readonly SafetensorsEntry[],
  metadata: ReadonlyMap<string, string> = new Map(),
): AsyncGenerator<Uint8Array, void, undefined> {
  const sizes = { I64: 8, F32: 4, F16: 2 } as const;
  const sorted = [...entries].sort((a, b) => sizes[b.dtype] - sizes[a.dtype]);
  const members: string[] = [];
  if (metadata.size > 0) {
    const pairs = [...metadata].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    members.push(`"__metadata__":{${pairs.join(',')}}`);
  }
  const seen = new Set(['__metadata__']);
  let end = 0;
  for (const { name, dtype, shape } of sorted) {
    if (seen.has(name))
      throw new EgolensError('data.invalid', `tensor \`${name}\` occurs twice, expected names that differ`);
    seen.add(name);
    const begin = end;
    end += (checkedSize(shape) ?? Infinity) * sizes[dtype];
    members.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${begin},${end}]}`,
    );
  }
  const json = Buffer.from(`{${members.join(',')}}`);
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  yield header;
  for (const entry of sorted) {
    const expected = (checkedSize(entry.shape) ?? Infinity) * sizes[entry.dtype];
    let written = 0;
    for await (const piece of entry.bytes()) {
      written += piece.length;
      if (written <= expected) yield piece;
    }
    if (written !== expected) {
      throw new EgolensError(
        'data.shape',
        `tensor \`${entry.name}\`: expected ${expected} bytes for ${shapeText(entry.shape)} ${entry.dtype}, found ${written}`,
      );
    }
  }
}
