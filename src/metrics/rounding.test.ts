import { expect, test } from 'vitest';
import { roundDecimals } from './rounding.js';

test.each([
  // exact ties go to the even digit
  [0.125, 2, 0.12],
  [0.375, 2, 0.38],
  [-0.125, 2, -0.12],
  [2.5, 0, 2],
  [3.5, 0, 4],
  [0.5, 0, 0],
  // 2.675 lies below the tie, 1.005 too, 0.15 above
  [2.675, 2, 2.67],
  [1.005, 2, 1],
  [0.15, 1, 0.1],
  [0.25, 1, 0.2],
  [0.35, 1, 0.3],
  [11.733333, 2, 11.73],
  [1e-7, 6, 0],
  [NaN, 1, NaN],
  [1e300, 2, 1e300],
])('%f to %i decimals is %f, as Python has it', (value, digits, expected) => {
  expect(roundDecimals(value, digits)).toBe(expected);
});
