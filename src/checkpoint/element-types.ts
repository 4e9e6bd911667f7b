/** How the elements of stored arrays become float32, by type. All data is little-endian; so is every platform that Node and ONNX Runtime share. */

/** Element types that the readers of this folder know. */
export type StoredType =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'uint64'
  | 'int32'
  | 'uint32'
  | 'int16'
  | 'uint16'
  | 'int8'
  | 'uint8'
  | 'bool';

interface ElementType {
  /** Bytes per element. */
  readonly size: number;
  /** Values as float32. `bytes` starts at a multiple of its element size and is the callee's to keep. */
  readonly toFloat32: (bytes: Uint8Array<ArrayBuffer>) => Float32Array<ArrayBuffer>;
}

/** A table without gaps: a new stored type does not compile before it has a size and a conversion. */
export const elementTypes: { readonly [T in StoredType]: ElementType } = {
  float64: { size: 8, toFloat32: (b) => Float32Array.from(new Float64Array(b.buffer, b.byteOffset, b.length / 8)) },
  float32: { size: 4, toFloat32: (b) => new Float32Array(b.buffer, b.byteOffset, b.length / 4) },
  float16: { size: 2, toFloat32: (b) => floatsOfHalves(new Uint16Array(b.buffer, b.byteOffset, b.length / 2)) },
  bfloat16: { size: 2, toFloat32: (b) => floatsOfBfloats(new Uint16Array(b.buffer, b.byteOffset, b.length / 2)) },
  int64: { size: 8, toFloat32: (b) => floatsOfLongs(b, true) },
  uint64: { size: 8, toFloat32: (b) => floatsOfLongs(b, false) },
  int32: { size: 4, toFloat32: (b) => Float32Array.from(new Int32Array(b.buffer, b.byteOffset, b.length / 4)) },
  uint32: { size: 4, toFloat32: (b) => Float32Array.from(new Uint32Array(b.buffer, b.byteOffset, b.length / 4)) },
  int16: { size: 2, toFloat32: (b) => Float32Array.from(new Int16Array(b.buffer, b.byteOffset, b.length / 2)) },
  uint16: { size: 2, toFloat32: (b) => Float32Array.from(new Uint16Array(b.buffer, b.byteOffset, b.length / 2)) },
  int8: { size: 1, toFloat32: (b) => Float32Array.from(new Int8Array(b.buffer, b.byteOffset, b.length)) },
  uint8: { size: 1, toFloat32: (b) => Float32Array.from(b) },
  bool: { size: 1, toFloat32: (b) => Float32Array.from(b, (value) => (value === 0 ? 0 : 1)) },
};

/** Bytes as float32 values. The bytes are moved first when they do not start at a multiple of the element size. */
export function floatsOf(type: StoredType, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const { size, toFloat32 } = elementTypes[type];
  return toFloat32(bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes));
}

/** On bit patterns: a checkpoint in half precision has some 10^9 of them, and a function call for each would be felt. */
function floatsOfHalves(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const floats = new Float32Array(halves.length);
  const bits = new Uint32Array(floats.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!;
    const sign = (half & 0x8000) << 16;
    const exponent = half & 0x7c00;
    if (exponent === 0x7c00)
      bits[i] = sign | 0x7f800000 | ((half & 0x3ff) << 13); // infinity or NaN
    else if (exponent !== 0)
      bits[i] = sign | (((half & 0x7fff) << 13) + 0x38000000); // exponent bias 15 -> 127
    else floats[i] = (half & 0x8000 ? -1 : 1) * (half & 0x3ff) * 2 ** -24; // zero and subnormals
  }
  return floats;
}

function floatsOfBfloats(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

function floatsOfLongs(bytes: Uint8Array<ArrayBuffer>, isSigned: boolean): Float32Array<ArrayBuffer> {
  const values = isSigned
    ? new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
    : new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const floats = new Float32Array(values.length);
  for (let i = 0; i < floats.length; i++) floats[i] = Number(values[i]!);
  return floats;
}
