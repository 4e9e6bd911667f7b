import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { compareTowers, jointOutputs } from './joint-outputs.js';

const matrix = (rows: readonly (readonly number[])[]): Tensor<'float32'> =>
  tensor('float32', [rows.length, rows[0]!.length], Float32Array.from(rows.flat()));

test('cosines do not depend on lengths, logits are scaled, probabilities sum to 1 over the texts', () => {
  const pictures = matrix([
    [3, 0],
    [0, 0.5],
    [1, 1],
  ]);
  const texts = matrix([
    [2, 0],
    [0, -7],
  ]);
  const { similarity, logits_per_image: logits, probs } = compareTowers(pictures, texts, 10);
  const half = Math.fround(Math.SQRT1_2);
  expect(similarity).toEqual(tensor('float32', [3, 2], Float32Array.of(1, 0, 0, -1, half, -half)));
  expect(Array.from(logits.data)).toEqual(
    [10, 0, 0, -10, 10 * Math.SQRT1_2, -10 * Math.SQRT1_2].map((logit) => expect.closeTo(logit, 5) as number),
  );
  for (let i = 0; i < 3; i++) expect(probs.data[2 * i]! + probs.data[2 * i + 1]!).toBeCloseTo(1, 6);
  expect(probs.data[1]).toBeCloseTo(1 / (1 + Math.exp(10)), 9);
});

test('a scale of a thousand overflows nothing; a vector of zeros is like no text', () => {
  const { similarity, probs } = compareTowers(
    matrix([
      [1, 0],
      [0, 0],
    ]),
    matrix([
      [1, 0],
      [0, 1],
    ]),
    1000,
  );
  expect(Array.from(probs.data)).toEqual([1, 0, 0.5, 0.5]);
  expect(Array.from(similarity.data)).toEqual([1, 0, 0, 0]);
});

test('a model has the joint outputs that its family names, computed by the program', () => {
  const ports = jointOutputs({ joint: ['probs'] });
  expect(Object.keys(ports)).toEqual(['probs']);
  expect(ports['probs']).toMatchObject({
    shape: ['batch', 'rows'],
    meaning: expect.stringContaining('by the program') as string,
  });
});
