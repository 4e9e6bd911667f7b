import { describe, expect, test } from 'vitest';
import { tensor } from '../../src/tensor.js';
import { answerTargets, clipBatch } from './batches.js';
import {
  featureAt,
  highlightLabels,
  officialDuration,
  sampleFeatures,
  secondsToUnits,
  unitsToSeconds,
} from './sampling.js';

const column = (...values: readonly number[]) => tensor('float32', [values.length, 1], Float32Array.from(values));

describe('features averaged down', () => {
  test('few rows pass through', () => {
    const rows = column(1, 2, 3);
    expect(sampleFeatures(rows, 3)).toBe(rows);
  });

  test('units are means of the rows between rounded borders; the last row belongs to none but where it must', () => {
    // Borders of 5 rows in 2 units: 0, round(2.5) = 2, 5 cut to 4.
    expect(Array.from(sampleFeatures(column(1, 2, 3, 4, 50), 2).data)).toEqual([1.5, 3.5]);
    expect(Array.from(sampleFeatures(column(1, 2, 3), 2).data)).toEqual([1.5, 3]);
  });
});

describe('seconds and units', () => {
  test('an answer becomes the units that overlap it best, and these become seconds', () => {
    expect(secondsToUnits([2, 6], 10, 20)).toEqual([1, 2]);
    expect(unitsToSeconds([1, 2], 10, 20)).toEqual([2, 6]);
    expect(secondsToUnits([19, 25], 10, 20)).toEqual([9, 9]);
  });

  test('an answer of no length, or outside of the clip, becomes the first unit: it overlaps none', () => {
    expect(secondsToUnits([5, 5], 10, 20)).toEqual([0, 0]);
    expect(secondsToUnits([30, 31], 10, 20)).toEqual([0, 0]);
  });

  test('features are counted by truncation', () => {
    expect(featureAt(9.0666666)).toBe(16);
    expect(officialDuration(10)).toBeCloseTo(9.6);
  });
});

describe('units near the answer', () => {
  test('reach a tenth of its length further on both sides, within the clip', () => {
    expect(Array.from(highlightLabels([3, 12], 15))).toEqual([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    expect(Array.from(highlightLabels([0, 9], 10))).toEqual(Array(10).fill(1));
  });

  test('are the answer alone where a tenth of it rounds to none', () => {
    expect(Array.from(highlightLabels([1, 2], 5))).toEqual([0, 1, 1, 0, 0]);
  });
});

describe('batches', () => {
  test('pad to the longest clip, and say what counts', () => {
    const { feeds, units, rows } = clipBatch([column(1, 2, 3, 4), column(5)], 2);
    expect([units, rows]).toEqual([[2, 1], 2]);
    expect(feeds.features.shape).toEqual([2, 2, 1]);
    expect(Array.from(feeds.features.data)).toEqual([1.5, 3, 5, 0]);
    expect(Array.from(feeds.mask.data)).toEqual([1, 1, 1, 0]);
  });

  test('targets stand at the units of the answers; padding does not count', () => {
    const targets = answerTargets(
      { units: [4, 2], rows: 4 },
      [
        [1, 3],
        [0, 1],
      ],
      [4, 4],
    );
    expect(Array.from(targets['targets.start']!.data)).toEqual([0, 1, 0, 0, 1, 0, 0, 0]);
    expect(Array.from(targets['targets.end']!.data)).toEqual([0, 0, 1, 0, 1, 0, 0, 0]);
    expect(Array.from(targets['targets.mask']!.data)).toEqual([1, 1, 1, 1, 1, 1, 0, 0]);
  });

  test('refuse clips of other widths, and answers that are not one a clip', () => {
    const wide = tensor('float32', [1, 2], new Float32Array(2));
    expect(() => clipBatch([column(1), wide], 4)).toThrow('a clip of 1 units, 2 wide');
    expect(() => answerTargets({ units: [2], rows: 2 }, [], [])).toThrow('an answer and a length for each clip');
  });
});
