/** Vectors of unit length as float16, and the exact product of a query with one. */
import { assert } from '../errors.js';
import { floatToHalf, halfToFloat } from '../tensor.js';

/** A vector divided by its length, in double; one of zeros stays as it is. */
export function unitVector(values: ArrayLike<number>): Float64Array {
  const unit = Float64Array.from(values);
  let squares = 0;
  for (let i = 0; i < unit.length; i++) squares += unit[i]! ** 2;
  const length = Math.sqrt(squares);
  for (let i = 0; length > 0 && i < unit.length; i++) unit[i]! /= length;
  return unit;
}

/** Rows of float32, each brought to unit length and rounded to float16: bytes in the order of the file, little-endian. */
export function unitHalves(data: Float32Array, width: number): Uint8Array<ArrayBuffer> {
  assert(data.length % width === 0, `unitHalves: ${data.length} values are no rows of ${width}`);
  const bytes = new Uint8Array(data.length * 2);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < data.length; at += width) {
    const unit = unitVector(data.subarray(at, at + width));
    for (let i = 0; i < width; i++) view.setUint16((at + i) * 2, floatToHalf(unit[i]!), true);
  }
  return bytes;
}

/** All 65,536 halves as numbers: decoding one by one costs ten times a look-up. */
let halves: Float32Array | undefined;

function halfTable(): Float32Array {
  return (halves ??= Float32Array.from({ length: 2 ** 16 }, (_, half) => halfToFloat(half)));
}

/** Product of a query with row `row` of `rows`, summed in double from the first value to the last. */
export function exactScore(query: Float32Array, rows: DataView, row: number): number {
  const table = halfTable();
  const width = query.length;
  let sum = 0;
  for (let i = 0, at = row * width * 2; i < width; i++, at += 2) {
    sum += query[i]! * table[rows.getUint16(at, true)]!; // the table has every half
  }
  return sum;
}
