import fc from 'fast-check';
import { expect, test } from 'vitest';
import { argsort, fallingOrder, pandasFallingOrder, tiedCount } from './order.js';

const score = fc.oneof(
  fc.integer({ min: 0, max: 5 }),
  fc.double({ noDefaultInfinity: true, noNaN: true }),
  fc.constant(NaN),
);
const scores = fc.array(score, { maxLength: 300 }).map((list) => Float64Array.from(list));

/** Stable, by definition: NaN above every number. */
function sorted(values: Float64Array): number[] {
  const below = (a: number, b: number): boolean => a < b || (Number.isNaN(b) && !Number.isNaN(a));
  return Array.from(values.keys()).sort((i, j) =>
    below(values[i]!, values[j]!) ? -1 : below(values[j]!, values[i]!) ? 1 : i - j,
  );
}

test('sorts every array, with each index once', () => {
  fc.assert(
    fc.property(scores, (values) => {
      const order = argsort(values);
      expect(Array.from(order, (i) => values[i])).toEqual(sorted(values).map((i) => values[i]));
      expect(Array.from(order).sort((a, b) => a - b)).toEqual(Array.from(values.keys()));
    }),
  );
});

test('keeps the order of equal values up to 16 of them, as insertion does', () => {
  fc.assert(
    fc.property(fc.array(score, { maxLength: 16 }), (list) => {
      const values = Float64Array.from(list);
      expect(Array.from(argsort(values))).toEqual(sorted(values));
    }),
  );
});

test('falls back on heap sort where the median of three is driven into its worst case, with the order of numpy', () => {
  // Made by an adversary that decides the values while they are compared; the order is that of numpy 1.24.4.
  const values = Float64Array.from([
    0, 25, 1, 43, 2, 26, 3, 38, 4, 27, 5, 44, 6, 28, 7, 39, 8, 29, 9, 44, 10, 30, 11, 40, 12, 31, 13, 45, 14, 32, 15,
    41, 16, 33, 17, 49, 18, 34, 19, 42, 20, 35, 21, 42, 22, 36, 23, 43, 24, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41,
    45, 46, 46, 47, 47, 48, 48, 37, 50,
  ]);
  expect(Array.from(argsort(values))).toEqual([
    0, 49, 2, 50, 4, 51, 6, 52, 8, 53, 10, 54, 12, 55, 14, 56, 16, 57, 18, 58, 20, 59, 22, 60, 24, 61, 62, 26, 28, 63,
    30, 64, 32, 65, 66, 34, 67, 36, 38, 68, 69, 40, 42, 70, 71, 44, 72, 46, 73, 48, 1, 74, 75, 5, 76, 9, 77, 13, 78, 17,
    79, 21, 80, 25, 29, 81, 82, 33, 83, 37, 84, 41, 85, 45, 86, 98, 87, 7, 88, 15, 23, 89, 31, 90, 39, 43, 3, 47, 11,
    19, 27, 91, 93, 92, 95, 94, 97, 96, 35, 99,
  ]);
});

test('of equal scores the earlier or the later one comes first, as asked; NaN comes before all', () => {
  fc.assert(
    fc.property(scores, (values) => {
      const later = sorted(values).reverse();
      expect(Array.from(fallingOrder(values, 'last'))).toEqual(later);
      const first = Array.from(fallingOrder(values, 'first'));
      expect(first.map((i) => values[i])).toEqual(later.map((i) => values[i]));
      for (let r = 1; r < first.length; r++) {
        if (Object.is(values[first[r]!], values[first[r - 1]!])) expect(first[r]).toBeGreaterThan(first[r - 1]!);
      }
    }),
  );
});

test('pandas puts NaN last and, up to 16, equal scores in their order', () => {
  expect(Array.from(pandasFallingOrder(Float64Array.of(1, NaN, 2, 1, 2)))).toEqual([2, 4, 0, 3, 1]);
});

test('counts the scores that have an equal', () => {
  expect(tiedCount(Float64Array.of(1, 2, 1, 3, NaN, 3, NaN, 3))).toBe(7);
  expect(tiedCount(Float64Array.of())).toBe(0);
});
