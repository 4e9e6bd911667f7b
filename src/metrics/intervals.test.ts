import fc from 'fast-check';
import { expect, test } from 'vitest';
import { continuousTiou, hullTiou, inclusiveTiou, momentSoftNms } from './intervals.js';

const time = fc.integer({ min: 0, max: 40 });
const span = fc.tuple(time, time).map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const);

test('a span that ends where another starts does not overlap it', () => {
  expect(continuousTiou(0, 2, 2, 4)).toBe(0);
  expect(hullTiou(0, 2, 2, 4)).toBe(0);
});

test('inclusive spans that share their border frame overlap in it', () => {
  expect(inclusiveTiou(0, 2, 2, 4)).toBe(1 / 5);
});

test('an undefined overlap stays undefined', () => {
  expect(continuousTiou(10, 10, 50, 50)).toBeNaN();
  expect(continuousTiou(0, 10, 10, 0)).toBeNaN();
  expect(hullTiou(7, 7, 7, 7)).toBeNaN();
  expect(inclusiveTiou(7, 7, 7, 7)).toBe(1);
});

test('overlap is symmetric, unmoved by a shift, 1 for equal spans, and counts frames where frames are counted', () => {
  fc.assert(
    fc.property(span, span, time, ([a, b], [c, d], shift) => {
      for (const overlap of [continuousTiou, inclusiveTiou, hullTiou]) {
        expect(overlap(a, b, c, d)).toBe(overlap(c, d, a, b));
        expect(overlap(a + shift, b + shift, c + shift, d + shift)).toBe(overlap(a, b, c, d));
        expect(overlap(a, b, a, b)).toBe(1);
      }
      const frames = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
      const [mine, other] = [frames(a, b), frames(c, d)];
      const shared = mine.filter((frame) => other.includes(frame)).length;
      expect(inclusiveTiou(a, b, c, d)).toBeCloseTo(shared / (mine.length + other.length - shared), 12);
      if (continuousTiou(a, b, c, d) > 0) expect(hullTiou(a, b, c, d)).toBeCloseTo(continuousTiou(a, b, c, d), 12);
    }),
  );
});

test('the last proposal is lost, as in the baseline', () => {
  const one = {
    start: Float64Array.of(1),
    end: Float64Array.of(2),
    score: Float64Array.of(0.5),
    label: Int32Array.of(3),
  };
  expect(momentSoftNms(one).score).toHaveLength(0);
});
