import { expect, test } from 'vitest';
import { handDistances, handNumbers, handTimes, sumHands } from './tracks.js';

test('a truth at (0, 0) is not annotated, one on an edge is', () => {
  const truth = new Float64Array(2 * handNumbers);
  truth.set([0, 5], 0); // left hand of the first key time, on the left edge
  truth.set([6, 8], handNumbers + 18); // right hand of the second item at the contact
  const predicted = new Float64Array(2 * handNumbers).fill(0);
  const distances = handDistances(predicted, truth, 30);
  expect(sumHands(distances, [0, handTimes])).toEqual({ sum: [5, 10], count: [1, 1] });
  expect(sumHands(distances, [handTimes - 1, handTimes])).toEqual({ sum: [0, 10], count: [0, 1] });
  expect(sumHands(distances, [0, handTimes], [0, 1])).toEqual({ sum: [5, 0], count: [1, 0] });
});

test('predictions are sums over views', () => {
  const truth = new Float64Array(handNumbers).fill(100);
  const distances = handDistances(new Float64Array(handNumbers).fill(3030), truth, 30);
  expect(distances.distance[0]).toBeCloseTo(Math.SQRT2, 12);
});
