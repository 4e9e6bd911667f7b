import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from '../random.js';
import { sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { resampleTable, sinusoidTable, type Grid } from './positions.js';

test('the sinusoid holds sine in even and cosine in odd columns, with the frequency of their pair', () => {
  const { shape, data } = sinusoidTable(5, 6);
  expect(shape).toEqual([5, 6]);
  for (let n = 0; n < 5; n++) {
    for (let pair = 0; pair < 3; pair++) {
      const angle = n * Math.exp((-Math.log(10000) * 2 * pair) / 6);
      expect(data[n * 6 + 2 * pair]).toBeCloseTo(Math.sin(angle), 6);
      expect(data[n * 6 + 2 * pair + 1]).toBeCloseTo(Math.cos(angle), 6);
    }
  }
});

/** Keys' cubic kernel with a = -0.75. */
function cubic(x: number): number {
  const a = -0.75;
  const d = Math.abs(x);
  if (d < 1) return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1;
  return d < 2 ? a * (d ** 3 - 5 * d ** 2 + 8 * d - 4) : 0;
}
const triangle = (x: number): number => Math.max(0, 1 - Math.abs(x));

/** Output sample `k` of `to` as a weighted sum over samples of `from` with the border repeated, by the kernel itself. */
function weightsOf(k: number, from: number, to: number, kernel: (x: number) => number): number[] {
  const position = ((k + 0.5) * from) / to - 0.5;
  const weights = new Array<number>(from).fill(0);
  for (let i = Math.floor(position) - 2; i <= Math.floor(position) + 3; i++) {
    weights[Math.min(Math.max(i, 0), from - 1)]! += kernel(position - i);
  }
  return weights;
}

/** All three axes at once, one output value at a time. */
function naive(table: Tensor<'float32'>, from: Grid, to: Grid): number[] {
  const width = table.shape[1]!;
  const out: number[] = [];
  for (let t = 0; t < to[0]; t++) {
    for (let h = 0; h < to[1]; h++) {
      for (let w = 0; w < to[2]; w++) {
        const [wt, wh, ww] = [
          weightsOf(t, from[0], to[0], triangle),
          weightsOf(h, from[1], to[1], cubic),
          weightsOf(w, from[2], to[2], cubic),
        ];
        for (let c = 0; c < width; c++) {
          let sum = 0;
          for (const [i, a] of wt.entries())
            for (const [j, b] of wh.entries())
              for (const [k, d] of ww.entries())
                sum += a * b * d * table.data[((i * from[1] + j) * from[2] + k) * width + c]!;
          out.push(sum);
        }
      }
    }
  }
  return out;
}

const grid: fc.Arbitrary<Grid> = fc.tuple(
  fc.integer({ min: 1, max: 5 }),
  fc.integer({ min: 1, max: 7 }),
  fc.integer({ min: 1, max: 7 }),
);
function randomTable(at: Grid, width: number, seed: number): Tensor<'float32'> {
  const random = seededRandom(seed);
  return tensor(
    'float32',
    [sizeOf(at), width],
    Float32Array.from({ length: sizeOf([...at, width]) }, () => random.normal()),
  );
}

test('resampling is cubic in space and linear in time, half-pixel, with the border repeated', () => {
  fc.assert(
    fc.property(grid, grid, fc.nat(), (from, to, seed) => {
      const table = randomTable(from, 2, seed);
      const resampled = resampleTable(table, from, to);
      expect(resampled.shape).toEqual([sizeOf(to), 2]);
      const expected = naive(table, from, to);
      const worst = Math.max(...expected.map((value, i) => Math.abs(value - resampled.data[i]!)));
      expect(worst).toBeLessThan(1e-5); // one rounding to float32 of values below about 20
    }),
    { numRuns: 60 },
  );
});

test('a table stays bit for bit what it is on an equal grid', () => {
  const table = randomTable([3, 5, 4], 6, 1);
  expect(resampleTable(table, [3, 5, 4], [3, 5, 4]).data).toEqual(table.data);
});

test('a constant table stays constant on any grid', () => {
  fc.assert(
    fc.property(grid, grid, (from, to) => {
      const table = tensor('float32', [sizeOf(from), 1], new Float32Array(sizeOf(from)).fill(0.75));
      for (const value of resampleTable(table, from, to).data) expect(value).toBeCloseTo(0.75, 6);
    }),
  );
});
