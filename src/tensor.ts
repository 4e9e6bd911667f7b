import { EgolensError } from './errors.js';
import type { AnyTensor, ArrayOf, DType, Tensor } from './types.js';

/** Bytes per element. */
export const elementSize: Readonly<Record<DType, number>> = {
  float32: 4,
  float16: 2,
  uint8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
};

/** Number of elements of a shape; 1 for a scalar. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** `[2, 3]`, for messages. */
export function shapeText(shape: readonly (number | string)[]): string {
  return `[${shape.join(', ')}]`;
}

/** A tensor over `data`; throws `data.shape` when the count of elements is another one than the shape's. */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: ArrayOf<D>): Tensor<D> {
  if (data.length !== sizeOf(shape)) {
    throw new EgolensError('data.shape', `${shapeText(shape)} has ${sizeOf(shape)} elements, found ${data.length}`);
  }
  return { dtype, shape, data };
}

const constructors: { readonly [D in DType]: new (from: number | ArrayBuffer) => ArrayOf<D> } = {
  float32: Float32Array,
  float16: Uint16Array,
  uint8: Uint8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

/** A tensor of zeros. */
export function zeros<D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> {
  return { dtype, shape, data: new constructors[dtype](sizeOf(shape)) };
}

/** One tensor or more of one type behind each other along their first axis; the further axes are those of the first one, which all have. */
export function joined<T extends AnyTensor>(values: readonly T[]): T {
  const [first] = values;
  if (first === undefined) throw new EgolensError('internal.bug', 'no tensors to join');
  const bytes = new Uint8Array(values.reduce((sum, { data }) => sum + data.byteLength, 0));
  let at = 0;
  for (const value of values) {
    bytes.set(bytesOf(value), at);
    at += value.data.byteLength;
  }
  const count = values.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const data = new constructors[first.dtype](bytes.buffer) as T['data']; // of the first one's type
  return { ...first, shape: [count, ...first.shape.slice(1)], data };
}

/** One tensor or more of one type and shape along a new first axis. */
export function stacked<T extends AnyTensor>(values: readonly T[]): T {
  return joined(values.map((value) => ({ ...value, shape: [1, ...value.shape] })));
}

/** [n, ...] as n tensors [...] over the same data. */
export function unstacked({ shape: [count = 0, ...rest], data }: Tensor<'float32'>): Tensor<'float32'>[] {
  const size = sizeOf(rest);
  return Array.from({ length: count }, (_, i) => tensor('float32', rest, data.subarray(i * size, (i + 1) * size)));
}

/** The tensor's own bytes, little-endian, without a copy. */
export function bytesOf(value: AnyTensor): Uint8Array<ArrayBuffer> {
  return new Uint8Array(value.data.buffer, value.data.byteOffset, value.data.byteLength);
}

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

/** IEEE binary16 bit pattern -> number; infinities and NaN kept. */
export function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** float32 value -> IEEE binary16 bit pattern, rounded to nearest even; overflow becomes infinity. Another double is rounded to float32 first. */
export function floatToHalf(value: number): number {
  scratchFloat[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // >= 65536, or infinite
  if (magnitude < 0x38800000) {
    // subnormal half: the float is a multiple of 2^-24 after rounding; below 2^-25 it is zero
    const scaled = Math.abs(scratchFloat[0]) * 2 ** 24;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
    return sign | rounded;
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}
