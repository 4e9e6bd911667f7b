import { EgolensError } from '../errors.js';
import { bytesOf, tensor } from '../tensor.js';
import type { AnyTensor, ByteSource } from '../types.js';
import { elementTypes } from './element-types.js';
import { npyHeader, readNpyHeader, type NpyHeader } from './npy-header.js';
import { rowMajorStrides } from './strided.js';

/** An array of a `.npy` file. */
export interface NpyArray {
  /** Element type in the file. The tensor has the same where the program knows it; else float64 became float32, int8, int16 and uint16 int32, uint32 and uint64 int64. */
  readonly storedType: NpyHeader['storedType'];
  readonly tensor: AnyTensor;
}

/** Bytes that `readNpy` takes into memory where the caller does not say. */
const defaultMaxBytes = 2 ** 31;

/**
 * Read a whole `.npy` file, in either byte order and either array order; the result is row-major.
 *
 * @throws EgolensError the codes of `readNpyHeader`; limit.size above `maxBytes`; data.invalid for a uint64 of 2^63 or more
 */
export async function readNpy(source: ByteSource, maxBytes = defaultMaxBytes): Promise<NpyArray> {
  const header = await readNpyHeader(source);
  return await readNpyRows(source, header, 0, header.shape[0] ?? 1, maxBytes);
}

/**
 * Rows [first, first + count) of an array whose header was read; of a scalar the one row that it is.
 * Arrays in Fortran order have no rows in one piece: they are read whole.
 */
export async function readNpyRows(
  source: ByteSource,
  header: NpyHeader,
  first: number,
  count: number,
  maxBytes = defaultMaxBytes,
): Promise<NpyArray> {
  const { storedType, order } = header;
  const rows = header.shape[0] ?? 1;
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || first < 0 || count < 0 || count > rows - first) {
    throw new EgolensError('data.shape', `\`${source.name}\`: rows ${first} to ${first + count}, found ${rows}`);
  }
  const shape = header.shape.length === 0 ? [] : [count, ...header.shape.slice(1)];
  const rowBytes = rows === 0 ? 0 : header.dataBytes / rows;
  const inPlace = order === 'C' || header.shape.length < 2;
  const [offset, length] = inPlace ? [first * rowBytes, count * rowBytes] : [0, header.dataBytes];
  if (length > maxBytes) {
    throw new EgolensError('limit.size', `\`${source.name}\`: ${length} bytes to read, expected at most ${maxBytes}`);
  }
  const { size } = elementTypes[storedType];
  const raw = await source.read(header.dataOffset + offset, length);
  if (header.byteOrder === 'big') swapBytes(raw, size);
  const bytes = inPlace ? raw : rowMajor(raw, size, header.shape, first, count);
  // Nothing may be read as an array of wide elements that does not start at a multiple of their size.
  return {
    storedType,
    tensor: converted(storedType, shape, bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes), source.name),
  };
}

/** The bytes of a `.npy` file: version 1.0, little-endian, C order. */
export function writeNpy(value: AnyTensor): Uint8Array<ArrayBuffer> {
  const header = npyHeader(value.dtype, value.shape);
  const data = bytesOf(value);
  const bytes = new Uint8Array(header.length + data.length);
  bytes.set(header);
  bytes.set(data, header.length);
  return bytes;
}

function swapBytes(bytes: Uint8Array<ArrayBuffer>, size: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (size === 2) buffer.swap16();
  else if (size === 4) buffer.swap32();
  else if (size === 8) buffer.swap64();
}

/** Rows of a column-major array in row-major order. */
function rowMajor(
  raw: Uint8Array,
  size: number,
  shape: readonly number[],
  first: number,
  count: number,
): Uint8Array<ArrayBuffer> {
  const inner = rowMajorStrides([count, ...shape.slice(1)]);
  const elements = count * inner[0]!;
  const bytes = new Uint8Array(elements * size);
  for (let i = 0; i < elements; i++) {
    // Element [i0, i1, …] lies at i0 + shape[0] * (i1 + shape[1] * (i2 + …)).
    let from = 0;
    let step = 1;
    let rest = i;
    for (let d = 0; d < shape.length; d++) {
      const index = Math.floor(rest / inner[d]!);
      rest -= index * inner[d]!;
      from += (d === 0 ? index + first : index) * step;
      step *= shape[d]!;
    }
    for (let b = 0; b < size; b++) bytes[i * size + b] = raw[from * size + b]!;
  }
  return bytes;
}

function converted(
  type: NpyHeader['storedType'],
  shape: readonly number[],
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
): AnyTensor {
  const { buffer, byteOffset } = bytes;
  const count = bytes.length / elementTypes[type].size;
  switch (type) {
    case 'float32':
      return tensor('float32', shape, new Float32Array(buffer, byteOffset, count));
    case 'float64':
      return tensor('float32', shape, Float32Array.from(new Float64Array(buffer, byteOffset, count)));
    case 'float16':
      return tensor('float16', shape, new Uint16Array(buffer, byteOffset, count));
    case 'uint8':
      return tensor('uint8', shape, bytes);
    case 'bool':
      return tensor(
        'bool',
        shape,
        bytes.map((value) => (value === 0 ? 0 : 1)),
      );
    case 'int8':
      return tensor('int32', shape, Int32Array.from(new Int8Array(buffer, byteOffset, count)));
    case 'int16':
      return tensor('int32', shape, Int32Array.from(new Int16Array(buffer, byteOffset, count)));
    case 'uint16':
      return tensor('int32', shape, Int32Array.from(new Uint16Array(buffer, byteOffset, count)));
    case 'int32':
      return tensor('int32', shape, new Int32Array(buffer, byteOffset, count));
    case 'uint32':
      return tensor('int64', shape, BigInt64Array.from(new Uint32Array(buffer, byteOffset, count), BigInt));
    case 'int64':
      return tensor('int64', shape, new BigInt64Array(buffer, byteOffset, count));
    case 'uint64': {
      const values = new BigInt64Array(buffer, byteOffset, count);
      const over = values.findIndex((value) => value < 0n);
      if (over < 0) return tensor('int64', shape, values);
      throw new EgolensError(
        'data.invalid',
        `\`${name}\`: element ${over} is ${BigInt.asUintN(64, values[over]!)}, expected less than 2^63`,
      );
    }
  }
}
