import fc from 'fast-check';
import { expect, test } from 'vitest';
import { linspace, pairwiseMean, pairwiseSum, sequentialSum } from './sums.js';

test('adds whole numbers exactly, whatever their count', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -1e6, max: 1e6 }), { maxLength: 1000 }), (list) => {
      const exact = list.reduce((sum, value) => sum + value, 0);
      expect(pairwiseSum(Float64Array.from(list))).toBe(exact);
      expect(sequentialSum(list)).toBe(exact);
    }),
  );
});

test('adds in blocks of 128, in eight lanes, and not one after the other', () => {
  const tenths = new Float64Array(1000).fill(0.1);
  // numpy.full(1000, 0.1).sum() and sum([0.1] * 1000)
  expect(pairwiseSum(tenths)).toBe(100.00000000000001);
  expect(sequentialSum(tenths)).toBe(99.9999999999986);
});

test('the mean of nothing is not a number', () => {
  expect(pairwiseMean([])).toBeNaN();
  expect(pairwiseMean([1, 2, 6])).toBe(3);
});

test('thresholds have the rounding of numpy.linspace', () => {
  expect(linspace(0.1, 0.5, 5)).toEqual([0.1, 0.2, 0.30000000000000004, 0.4, 0.5]);
});
