import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  bytesOf,
  elementSize,
  floatToHalf,
  halfToFloat,
  shapeText,
  sizeOf,
  tensor,
  zeros,
  joined,
  stacked,
  unstacked,
} from './tensor.js';
import type { DType } from './types.js';

/** The value of every half pattern, from its definition: sign, exponent, fraction. */
function valueOfHalf(pattern: number): number {
  const bits = pattern.toString(2).padStart(16, '0');
  const sign = bits.startsWith('1') ? -1 : 1;
  const exponent = parseInt(bits.slice(1, 6), 2);
  const fraction = parseInt(bits.slice(6), 2);
  if (exponent === 31) return fraction === 0 ? sign / 0 : NaN;
  return exponent === 0 ? sign * fraction * Math.pow(2, -24) : sign * (1024 + fraction) * Math.pow(2, exponent - 25);
}

/** Non-negative finite half values in order; the last is what overflow counts as when it is rounded. */
const ladder = [...Array.from({ length: 0x7c00 }, (_, pattern) => valueOfHalf(pattern)), 65536];

/** Round to nearest, ties to the even pattern, by search in the ladder. */
function nearestHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65536) return sign | 0x7c00;
  let [low, high] = [0, 0x7c00];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (ladder[middle]! <= magnitude) low = middle;
    else high = middle;
  }
  const [below, above] = [magnitude - ladder[low]!, ladder[high]! - magnitude];
  return sign | (below < above || (below === above && low % 2 === 0) ? low : high);
}

test('all 65536 half patterns have the value of their definition, and come back from it', () => {
  let different = 0;
  for (let pattern = 0; pattern < 65536; pattern++) {
    const value = halfToFloat(pattern);
    const isNaNPattern = (pattern & 0x7c00) === 0x7c00 && (pattern & 0x3ff) !== 0;
    if (!Object.is(value, valueOfHalf(pattern))) different++;
    if (!isNaNPattern && floatToHalf(value) !== pattern) different++;
    if (isNaNPattern && !Number.isNaN(halfToFloat(floatToHalf(value)))) different++;
  }
  expect(different).toBe(0);
});

test('half way between two halves goes to the even one, a float32 beside it to the nearer', () => {
  const [float, bits] = [new Float32Array(1), new Int32Array(1)];
  bits.set(new Int32Array(float.buffer));
  let different = 0;
  for (let pattern = 0; pattern < 0x7c00; pattern++) {
    float[0] = (ladder[pattern]! + ladder[pattern + 1]!) / 2; // exact in float32
    const middle = new Int32Array(float.buffer)[0]!;
    for (const step of [-1, 0, 1]) {
      const value = new Float32Array(Int32Array.of(middle + step).buffer)[0]!;
      if (floatToHalf(value) !== nearestHalf(value) || floatToHalf(-value) !== nearestHalf(-value)) different++;
    }
  }
  expect(different).toBe(0);
});

test('any float32 becomes the nearest half', () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true }), (value) => {
      expect(floatToHalf(value)).toBe(nearestHalf(value));
    }),
    { numRuns: 2000 },
  );
});

test('a tensor has as many elements as its shape says', () => {
  expect(tensor('float32', [2, 3], new Float32Array(6)).shape).toEqual([2, 3]);
  expect(tensor('int64', [], BigInt64Array.of(7n)).data).toHaveLength(1);
  expect(tensor('uint8', [0, 4], new Uint8Array())).toMatchObject({ shape: [0, 4] });
  expect(() => tensor('float32', [2, 3], new Float32Array(5))).toThrow(
    expect.objectContaining({ code: 'data.shape', message: '[2, 3] has 6 elements, found 5' }),
  );
});

test('sizes and texts of shapes', () => {
  expect([sizeOf([]), sizeOf([0, 3]), sizeOf([2, 3, 4])]).toEqual([1, 0, 24]);
  expect([shapeText([]), shapeText(['batch', 3])]).toEqual(['[]', '[batch, 3]']);
});

test.each(Object.keys(elementSize) as DType[])('zeros of %s take its bytes an element', (dtype) => {
  const value = zeros(dtype, [2, 3]);
  expect(value.data.byteLength).toBe(6 * elementSize[dtype]);
  expect(value.data.every((element: number | bigint) => Number(element) === 0)).toBe(true);
});

test('bytes of a tensor are its own little-endian bytes, of a view the part that it sees', () => {
  const whole = Int32Array.of(1, 0x01020304, -1);
  const view = tensor('int32', [2], whole.subarray(1));
  expect([...bytesOf(view)]).toEqual([4, 3, 2, 1, 255, 255, 255, 255]);
  bytesOf(view)[0] = 5;
  expect(whole[1]).toBe(0x01020305);
});

test('tensors are joined along their first axis, stacked along a new one, and taken apart without a copy', () => {
  const [a, b] = [tensor('int64', [1, 2], BigInt64Array.of(1n, 2n)), tensor('int64', [2, 2], new BigInt64Array(4))];
  expect(joined([a, b])).toEqual(tensor('int64', [3, 2], BigInt64Array.of(1n, 2n, 0n, 0n, 0n, 0n)));
  const whole = tensor('float32', [2, 2], Float32Array.of(1, 2, 3, 4));
  const rows = unstacked(whole);
  expect(rows.map(({ shape, data }) => [shape, [...data]])).toEqual([
    [[2], [1, 2]],
    [[2], [3, 4]],
  ]);
  expect(stacked(rows)).toEqual(whole);
  rows[1]!.data[0] = 9;
  expect(whole.data[2]).toBe(9);
  expect(() => joined([])).toThrow('no tensors to join');
});
