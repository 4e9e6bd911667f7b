import { expect, test } from 'vitest';
import { decodeLevels, fallingOrder, joinSegments, pickSegments } from './segments.js';

/** Logit of a probability. */
const logit = (p: number): number => Math.log(p / (1 - p));
const options = { classes: 2, scoreAbove: 0.001, most: 10, longerThan: 0.05 };

test('a point gives a segment for every class, offsets in strides', () => {
  const { start, end, score, label } = decodeLevels(
    [
      {
        logits: Float32Array.of(logit(0.2), logit(0.9), logit(0.5), -20),
        offsets: Float32Array.of(1, 2, 0.5, 0.25),
        mask: [1, 1],
        stride: 4,
      },
    ],
    options,
  );
  // by falling score; the last class of the second point is too unlikely
  expect([...label]).toEqual([1, 0, 0]);
  expect([...start]).toEqual([-4, 2, -4]);
  expect([...end]).toEqual([8, 5, 8]);
  expect(score[0]).toBeCloseTo(0.9, 6);
});

test('padding and segments that are too short give nothing, and scores must be above the threshold', () => {
  const level = { offsets: Float32Array.of(0.02, 0.03, 1, 1, 1, 1), mask: [1, 1, 0], stride: 1 };
  const logits = Float32Array.of(1, 1, 0, 0, 5, 5);
  // 0.02 + 0.03 in float32 is not above 0.05
  expect(decodeLevels([{ ...level, logits }], options).score).toHaveLength(2);
  expect(decodeLevels([{ ...level, logits }], { ...options, scoreAbove: 0.5 }).score).toHaveLength(0);
});

test('a level keeps its best candidates only; levels follow one another', () => {
  const level = { logits: Float32Array.of(0, 1, 3, 2), offsets: Float32Array.of(1, 1, 1, 1), mask: [1, 1] };
  const found = decodeLevels(
    [
      { ...level, stride: 1 },
      { ...level, stride: 2 },
    ],
    { ...options, most: 3 },
  );
  expect([...found.label]).toEqual([0, 1, 1, 0, 1, 1]);
  expect([...found.end]).toEqual([2, 2, 1, 4, 4, 2]);
});

test('equal scores keep their order', () => {
  expect([...fallingOrder([1, 3, 1, 3])]).toEqual([1, 3, 0, 2]);
});

test('picks and joins rows of all fields', () => {
  const segments = {
    start: Float32Array.of(1, 2),
    end: Float32Array.of(3, 4),
    score: Float32Array.of(0.25, 0.5),
    label: Int32Array.of(7, 8),
  };
  const joined = joinSegments([pickSegments(segments, [1]), segments]);
  expect([...joined.start]).toEqual([2, 1, 2]);
  expect([...joined.label]).toEqual([8, 7, 8]);
  expect([...joined.score, ...joined.end]).toEqual([0.5, 0.25, 0.5, 4, 3, 4]);
});
