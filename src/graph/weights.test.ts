import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { GraphBuilder, type Graph } from './builder.js';
import { add } from './layers.js';
import type { Value } from './ops.js';
import { planWeights } from './weights.js';

/** A graph that holds parameters of so many values each, and what `build` adds. */
function graphOf(sizes: Readonly<Record<string, number>>, build?: (g: GraphBuilder) => void): Graph {
  const g = new GraphBuilder('g');
  const x = g.input('x', 'float32', [1]);
  for (const [name, size] of Object.entries(sizes)) g.param(name, [size]);
  build?.(g);
  g.output('y', add(g, x, x));
  return g.finish();
}
const table = (g: GraphBuilder, values: number, name?: string): Value =>
  g.constant(tensor('float32', [values], new Float32Array(values).fill(values)), name);

test('parameters below 1 KiB stay inside the graph, from 1 KiB on they lie in the file', () => {
  const { slots, inline } = planWeights([graphOf({ small: 255, exact: 256 })]);
  expect(inline).toEqual([{ name: 'small', shape: [255] }]);
  expect(slots).toEqual([{ name: 'exact', dtype: 'float32', shape: [256], offset: 0, length: 1024 }]);
});

test('arrays lie at multiples of 64 bytes, from 1 MiB on at multiples of 64 KiB', () => {
  const mebi = 2 ** 18;
  const { slots, totalBytes } = planWeights([graphOf({ a: 257, b: mebi - 1, c: mebi, d: 300 })]);
  expect(slots.map(({ name, offset }) => [name, offset])).toEqual([
    ['a', 0],
    ['b', 1088],
    ['c', 1_114_112], // 17 x 65536
    ['d', 1_114_112 + 2 ** 20],
  ]);
  expect(totalBytes).toBe(1_114_112 + 2 ** 20 + 1200);
});

test('whatever the sizes, arrays are aligned, in order, apart, and padded by less than an alignment', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 600_000 }), { minLength: 1, maxLength: 12 }), (sizes) => {
      const graph = graphOf(Object.fromEntries(sizes.map((size, i) => [`p${i}`, size])));
      const { slots, inline, totalBytes } = planWeights([graph]);
      expect(slots.length + inline.length).toBe(sizes.length);
      let end = 0;
      for (const { offset, length, shape } of slots) {
        const alignment = length >= 2 ** 20 ? 65536 : 64;
        expect(length).toBe(4 * shape[0]!);
        expect(offset % alignment).toBe(0);
        expect(offset - end).toBeGreaterThanOrEqual(0);
        expect(offset - end).toBeLessThan(alignment);
        end = offset + length;
      }
      expect(totalBytes).toBe(end);
    }),
  );
});

test('graphs of one model share parameters and named constants; each array lies in the file once', () => {
  const one = graphOf({ weight: 300 }, (g) => void table(g, 400, 'sinusoid'));
  const other = graphOf({ weight: 300, further: 500 }, (g) => void table(g, 400, 'sinusoid'));
  const { slots } = planWeights([one, other]);
  expect(slots.map(({ name }) => name)).toEqual(['weight', 'sinusoid', 'further']);
  expect(slots[1]!.constant?.data[0]).toBe(400);
  expect(slots[0]!.constant).toBeUndefined();
});

test('constants without a name stay inside the graph at any size, named ones below 1 KiB too', () => {
  const graph = graphOf({}, (g) => {
    table(g, 5000);
    table(g, 255, 'small');
  });
  expect(planWeights([graph])).toEqual({ slots: [], inline: [], totalBytes: 0 });
});
