import { expect, test } from 'vitest';
import { regionSamples, type Region } from './spatial.js';

/** What a region takes from a feature map of 4 rows and 5 columns, in one bin: pixel -> share. */
function sharesOf(box: Region['box'], sample = 0): Map<number, number> {
  const options = { size: [4, 5], output: [1, 1], scale: 1, sampling: 1 } as const;
  const { indices, weights } = regionSamples([{ sample, box }], options);
  const shares = new Map<number, number>();
  indices.data.forEach((pixel, i) => {
    if (weights.data[i] !== 0) shares.set(Number(pixel), (shares.get(Number(pixel)) ?? 0) + weights.data[i]!);
  });
  return shares;
}

test('a region looks at the pixels around the middle of each bin', () => {
  // The middle of the box lies at (2, 1.25), half a pixel less counted from the centres of pixels.
  expect(sharesOf([1, 1, 3, 1.5])).toEqual(
    new Map([
      [1, 0.125],
      [2, 0.125],
      [6, 0.375],
      [7, 0.375],
    ]),
  );
  expect(sharesOf([2, 1, 3, 2], 2)).toEqual(new Map([[2 * 20 + 5 + 2, 1]]));
});

test('up to a pixel outside a region sees the border, further out nothing, as with a box that is no number', () => {
  expect(sharesOf([-0.5, 0, 0.5, 1])).toEqual(new Map([[0, 1]]));
  expect(sharesOf([5, 4, 5.5, 4.5])).toEqual(new Map([[19, 1]]));
  expect(sharesOf([-4, 0, -2, 1]).size).toBe(0);
  expect(sharesOf([6, 0, 8, 1]).size).toBe(0);
  expect(sharesOf([NaN, 0, 1, 1]).size).toBe(0);
});

test('bins and samples come in raster order, and their shares sum to one', () => {
  const options = { size: [8, 8], output: [2, 3], scale: 0.5, sampling: 2 } as const;
  const { indices, weights } = regionSamples([{ sample: 0, box: [2, 2, 14, 10] }], options);
  expect(weights.shape).toEqual([1, 2, 3, 16]);
  expect(indices.shape).toEqual(weights.shape);
  for (let bin = 0; bin < 6; bin++) {
    const total = weights.data.slice(16 * bin, 16 * bin + 16).reduce((sum, share) => sum + share, 0);
    expect(total).toBeCloseTo(1, 6);
  }
});
