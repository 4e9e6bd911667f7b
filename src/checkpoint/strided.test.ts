import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ByteSource } from '../types.js';
import { memorySource } from './bytes.js';
import type { StoredType } from './element-types.js';
import { checkView, isContiguous, rowMajorStrides, touchedLength, viewChunks, type View } from './strided.js';

async function valuesOf(source: ByteSource, type: StoredType, view: View, maxElements?: number): Promise<number[]> {
  const values: number[] = [];
  for await (const piece of viewChunks(source, type, view, maxElements)) {
    expect(piece.length).toBeLessThanOrEqual(maxElements ?? 2 ** 20);
    values.push(...piece);
  }
  return values;
}

/** A source that records which bytes were asked for. */
function watched(source: ByteSource): { source: ByteSource; reads: [offset: number, length: number][] } {
  const reads: [number, number][] = [];
  return {
    reads,
    source: {
      ...source,
      read(offset, length) {
        reads.push([offset, length]);
        return source.read(offset, length);
      },
    },
  };
}

/** 0, 1, 2, … as float32. */
function counting(n: number): ByteSource {
  return memorySource('counting', new Uint8Array(Float32Array.from({ length: n }, (_, i) => i).buffer));
}

/** Offsets of a view in row-major order, by the definition. */
function bruteForce({ shape, strides, offset }: View): number[] {
  return shape.reduce<number[]>(
    (offsets, n, d) => offsets.flatMap((at) => Array.from({ length: n }, (_, i) => at + i * strides[d]!)),
    [offset],
  );
}

test('any view in the storage gives the elements of its definition, in pieces of any size', async () => {
  const dimension = fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 30 }));
  const view = fc
    .tuple(fc.array(dimension, { maxLength: 4 }), fc.integer({ min: 0, max: 20 }))
    .map(([dimensions, offset]) => ({
      shape: dimensions.map(([n]) => n),
      strides: dimensions.map(([, stride]) => stride),
      offset,
    }));
  await fc.assert(
    fc.asyncProperty(view, fc.integer({ min: 1, max: 50 }), async (one, maxElements) => {
      checkView(one, 1000, 'test');
      expect(await valuesOf(counting(1000), 'float32', one, maxElements)).toEqual(bruteForce(one));
    }),
    { numRuns: 300, seed: 1 },
  );
});

test('a contiguous tensor is read piece by piece', async () => {
  const { source, reads } = watched(counting(100));
  await valuesOf(source, 'float32', { shape: [9, 10], strides: [10, 1], offset: 10 }, 40);
  expect(reads).toEqual([
    [40, 160],
    [200, 160],
    [360, 40],
  ]);
});

test('a transposed tensor reads its part of the storage once', async () => {
  const { source, reads } = watched(counting(1000));
  await valuesOf(source, 'float32', { shape: [6, 4], strides: [1, 6], offset: 100 }, 5);
  expect(reads).toEqual([[400, 96]]);
});

test('a column of a giant storage reads windows of its own range and holds only itself', async () => {
  // 1 TB that exists as a rule only: each read gives zeros.
  const reads: [number, number][] = [];
  const giant: ByteSource = {
    name: 'giant',
    size: 2 ** 40,
    read(offset, length) {
      reads.push([offset, length]);
      return Promise.resolve(new Uint8Array(length));
    },
  };
  const view = { shape: [5, 2], strides: [10_000_000, 3], offset: 1000 };
  expect(await valuesOf(giant, 'float32', view)).toEqual(Array.from({ length: 10 }, () => 0));
  expect(Math.min(...reads.map(([offset]) => offset))).toBe(4000);
  expect(Math.max(...reads.map(([offset, length]) => offset + length))).toBe(4 * (1000 + touchedLength(view)));
  expect(Math.max(...reads.map(([, length]) => length))).toBeLessThanOrEqual(4 * 2 ** 20);
  expect(reads.length).toBe(5);
});

test('sparse views give the elements of their definition', async () => {
  const dimension = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 6 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(dimension, { minLength: 2, maxLength: 3 }),
      fc.boolean(),
      async (dimensions, reversed) => {
        const shape = dimensions.map(([n]) => n);
        // Each stride is well above what the dimensions after it touch.
        let stride = 7;
        const strides = shape.map(() => 0);
        for (let d = shape.length - 1; d >= 0; d--) {
          strides[d] = stride;
          stride *= shape[d]! + dimensions[d]![1];
        }
        const view = reversed
          ? { shape: shape.toReversed(), strides: strides.toReversed(), offset: 2 }
          : { shape, strides, offset: 2 };
        expect(await valuesOf(counting(touchedLength(view) + 2), 'float32', view, 7)).toEqual(bruteForce(view));
      },
    ),
    { numRuns: 100, seed: 2 },
  );
});

test.each<[StoredType, readonly number[], readonly number[]]>([
  ['float16', [0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc, 0xff, 0x7b], [1, 2 ** -24, -Infinity, 65504]],
  ['bfloat16', [0x80, 0x3f, 0x00, 0xc0, 0x80, 0x7f], [1, -2, Infinity]],
  ['float64', [0, 0, 0, 0, 0, 0, 0xf8, 0x3f], [1.5]],
  ['int64', [0, 0, 0, 0, 0, 0xff, 0xff, 0xff], [-(2 ** 40)]],
  ['uint64', [0, 0, 0, 0, 0, 0, 0, 0x80], [2 ** 63]],
  ['int32', [0xfe, 0xff, 0xff, 0xff], [-2]],
  ['int16', [0xfe, 0xff], [-2]],
  ['int8', [0xfe, 0x02], [-2, 2]],
  ['uint8', [0xfe], [254]],
  ['bool', [0, 1, 7], [0, 1, 1]],
])('%s becomes float32', async (type, bytes, expected) => {
  const source = memorySource('bytes', new Uint8Array(bytes));
  expect(await valuesOf(source, type, { shape: [expected.length], strides: [1], offset: 0 })).toEqual(expected);
});

test.each<[StoredType, number]>([
  ['float16', 2],
  ['int64', 8],
  ['float64', 8],
  ['uint8', 1],
])('a transposed view of %s moves whole elements', async (type, size) => {
  const plain = { shape: [12], strides: [1], offset: 0 };
  const bytes = Uint8Array.from({ length: 12 * size }, (_, i) => (i * 37) % 64);
  const row = await valuesOf(memorySource('bytes', bytes), type, plain);
  const transposed = await valuesOf(
    memorySource('bytes', bytes),
    type,
    { shape: [4, 3], strides: [1, 4], offset: 0 },
    5,
  );
  expect(transposed).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11].map((i) => row[i]));
});

test('half precision NaN stays NaN and minus zero stays minus zero', async () => {
  const source = memorySource('bytes', new Uint8Array([0x01, 0x7e, 0x00, 0x80]));
  const values = await valuesOf(source, 'float16', { shape: [2], strides: [1], offset: 0 });
  expect(values).toEqual([NaN, -0]);
});

test.each<[string, View]>([
  ['a shape that leaves the storage', { shape: [11], strides: [1], offset: 0 }],
  ['an offset that leaves the storage', { shape: [1], strides: [1], offset: 10 }],
  ['a stride that leaves the storage', { shape: [2], strides: [10], offset: 0 }],
  ['a negative stride', { shape: [2], strides: [-1], offset: 5 }],
  ['a negative offset', { shape: [2], strides: [1], offset: -1 }],
  ['a negative size', { shape: [-2], strides: [1], offset: 0 }],
  ['a size that is no whole number', { shape: [1.5], strides: [1], offset: 0 }],
  ['a size that overflows', { shape: [2 ** 30, 2 ** 30], strides: [0, 0], offset: 0 }],
  ['a stride that overflows', { shape: [3], strides: [2 ** 53 - 1], offset: 0 }],
  ['more sizes than strides', { shape: [1, 1], strides: [1], offset: 0 }],
  ['65 dimensions', { shape: Array<number>(65).fill(1), strides: Array<number>(65).fill(1), offset: 0 }],
])('%s is refused before anything is read', (_, view) => {
  expect(() => {
    checkView(view, 10, 'file, tensor');
  }).toThrow(expect.objectContaining({ code: 'checkpoint.pickle' }));
});

test('an expanded tensor that repeats one value 2^40 times is refused', () => {
  expect(() => {
    checkView({ shape: [2 ** 40], strides: [0], offset: 0 }, 1, 'file, tensor');
  }).toThrow(expect.objectContaining({ code: 'limit.size' }));
});

test('dimensions of length one do not break contiguity', () => {
  expect(isContiguous({ shape: [1, 3, 1, 4], strides: [99, 4, 7, 1], offset: 5 })).toBe(true);
  expect(isContiguous({ shape: [3, 4], strides: [1, 3], offset: 0 })).toBe(false);
  expect(rowMajorStrides([2, 3, 4])).toEqual([12, 4, 1]);
});
