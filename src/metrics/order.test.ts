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

test('sorts what drives a median of three into its worst case, by heap', () => {
  const count = 2 ** 13;
  const values = new Float64Array(count);
  // The killer sequence of Musser, 1997.
  for (let k = 0; k < count / 2; k++) {
    values[k] = k % 2 === 0 ? k + 1 : count / 2 + k + (k % 2 === 0 ? 1 : 0);
    values[count / 2 + k] = 2 * (k + 1);
  }
  expect(Array.from(argsort(values), (i) => values[i])).toEqual(Array.from(values).sort((a, b) => a - b));
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
