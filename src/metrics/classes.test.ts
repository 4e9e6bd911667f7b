import fc from 'fast-check';
import { expect, test } from 'vitest';
import { accuracy, argmax, countByClass, meanClassAccuracy, median } from './classes.js';

test('the first of the largest is taken; a NaN is larger than all', () => {
  expect(argmax([1, 3, 3])).toBe(1);
  expect(argmax([1, NaN, 3])).toBe(1);
  expect(argmax([-Infinity, -Infinity])).toBe(0);
  expect(argmax([])).toBe(-1);
});

test('weights count items as often as they say', () => {
  const item = fc.record({
    label: fc.integer({ min: 0, max: 3 }),
    hit: fc.boolean(),
    weight: fc.integer({ min: 0, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(item, { minLength: 1 }), (items) => {
      const count = (list: typeof items, weights?: Int32Array) =>
        countByClass(
          Int32Array.from(list, ({ label }) => label),
          Uint8Array.from(list, ({ hit }) => Number(hit)),
          4,
          weights,
        );
      const repeated = items.flatMap((one) => Array.from({ length: one.weight }, () => one));
      const weighted = count(
        items,
        Int32Array.from(items, ({ weight }) => weight),
      );
      expect(weighted).toEqual(count(repeated));
      expect(accuracy(weighted)).toEqual(repeated.filter(({ hit }) => hit).length / repeated.length);
    }),
  );
});

test('classes without items have no say in the mean over classes', () => {
  expect(meanClassAccuracy({ items: Float64Array.of(4, 0, 2), hits: Float64Array.of(1, 0, 2) })).toBe(0.625);
  expect(meanClassAccuracy({ items: Float64Array.of(0), hits: Float64Array.of(0) })).toBeNaN();
});

test('the median is the middle, or between the two in the middle', () => {
  expect(median(Float64Array.of(5, 1, 3))).toBe(3);
  expect(median(Float64Array.of(5, 1, 3, Infinity))).toBe(4);
  expect(median(Float64Array.of(Infinity, Infinity))).toBe(Infinity);
  expect(median(Float64Array.of())).toBeNaN();
});
