import { expect, test } from 'vitest';
import { videomaeClassifier, videomaePretraining } from '../../src/models/videomae-family.js';
import { flopsOf, transformerFlops } from './flops.js';

// performance.md 2 of the design: 361 and 1194 GFLOP a window, a multiply-add counted as two.
test.each([
  ['videomae-b', 361e9],
  ['videomae-l', 1194e9],
])('%s over 16 frames of 224 pixels takes %d operations', (size, expected) => {
  const flops = flopsOf(videomaeClassifier.spec({ ...videomaeClassifier.sizes[size] }, {}))!;
  expect(Math.abs(flops / expected - 1)).toBeLessThan(0.01);
});

test('attention grows with the square of the tokens, the rest with their number', () => {
  const size = { cube: 1, width: 4, depth: 1, hidden: 8 };
  const at = (tokens: number): number => transformerFlops({ ...size, tokens });
  // a n + b n^2 with b = 4 width
  expect(at(20) - 2 * at(10)).toBe(4 * 4 * (20 ** 2 - 2 * 10 ** 2));
});

test('the work of a family that is not counted stays unknown', () => {
  const spec = videomaePretraining.spec({ ...videomaePretraining.sizes['videomae-s-pretraining'] }, {});
  expect(flopsOf(spec)).toBeUndefined();
});
