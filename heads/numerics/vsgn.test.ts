import { expect, test } from 'vitest';
import { vsgnDetections } from './vsgn.js';

const proposals = {
  start: Float64Array.of(-0.24, 1.25, 30, 50),
  end: Float64Array.of(9.96, 11, 47, 60),
  score: Float64Array.of(0.9, 0.8123456789, 0.7, 0.1),
  label: Int32Array.of(3, 0, 2, 1),
};

test('detections are cut to the clip and rounded; background and the last proposal are left out', () => {
  expect(vsgnDetections(proposals, { duration: 45.678 })).toEqual([
    { label: 3, score: 0.9, segment: [0, 10] },
    { label: 2, score: 0.7, segment: [30, 45.7] },
  ]);
});

test('no more than asked for are kept', () => {
  expect(vsgnDetections(proposals, { duration: 45, keep: 1 })).toHaveLength(1);
});
