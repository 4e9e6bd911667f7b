import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseJson } from '../src/json-reader.js';
import type { EvalOptions, JsonDocument } from '../src/types.js';
import { recognition } from './recognition.js';
import { retrieval } from './retrieval.js';

const options: EvalOptions = { ties: 'first', detail: true };

function asDocument(value: unknown): JsonDocument {
  return parseJson('file.json', JSON.stringify(value));
}

test('recognition counts the place of the label, over videos and over classes', () => {
  const truth = asDocument([
    { id: 'a', label: 'cut' },
    { id: 'b', label: 'cut' },
    { id: 'c', label: 'wash' },
    { id: 'd', label: 'wash' },
  ]);
  const records = [
    ['a', 'cut', 0.9],
    ['a', 'wash', 0.1],
    ['b', 'wash', 0.8],
    ['b', 'wash', 0.7], // another window, the same label
    ['b', 'cut', 0.2],
    ['c', 'wash', 0.4],
    ['x', 'wash', 0.4],
  ].map(([id, label, score], i) => ({ schema: 'egolens.label/1', id, label, label_id: i, score }));
  const prepared = recognition.prepare([truth], [asDocument(records)], options);
  const { official, perClass, perItem, notes } = prepared.evaluate(options);
  expect(official).toEqual({ top1: 0.5, top5: 0.75, mean_class_accuracy: 0.5, num_videos: 4, num_classes: 2 });
  expect(perClass!.map(({ value }) => value)).toEqual([0.5, 0.5]);
  expect(perItem!.map(({ value }) => value)).toEqual([1, 2, 1, Infinity]);
  expect(notes).toHaveLength(2);
  expect(prepared.resample(Int32Array.of(0, 0, 2), 'first').map(({ value }) => value)).toEqual([1, 1, 1]);
  expect(recognition.check('predictions', asDocument(records), truth).map(({ code, at }) => `${code} ${at}`)).toEqual([
    'ids.unknown /6',
    'ids.missing ',
    'ids.coverage ',
  ]);
});

test('labels may be numbers, and lists best first', () => {
  const truth = asDocument({ a: 3, b: 1 });
  const { rows } = recognition.prepare([truth], [asDocument({ a: [3, 1], b: [2, 3, 1] })], options).evaluate(options);
  expect(rows.map(({ value }) => value)).toEqual([0.5, 1, 0.5]);
  const records = [{ id: 'a', label: 'cut', label_id: 3, score: 1 }];
  expect(recognition.prepare([truth], [asDocument(records)], options).evaluate(options).rows[0]!.value).toBe(0.5);
});

test('truth as predictions gives the best numbers', () => {
  const pairs = fc.dictionary(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), { minKeys: 1 });
  fc.assert(
    fc.property(pairs, (truth) => {
      const file = asDocument(truth);
      expect(
        recognition
          .prepare([file], [file], options)
          .evaluate(options)
          .rows.map(({ value }) => value),
      ).toEqual([1, 1, 1]);
      const found = retrieval.prepare([file], [file], options).evaluate(options).rows;
      expect(found.map(({ value }) => value)).toEqual([1, 1, 1, 1, 1]);
    }),
    { numRuns: 50 },
  );
});

test('retrieval ranks the first right item, the tie rule decides between equal scores', () => {
  const truth = asDocument({ q1: ['v1', 'v9'], q2: 'v2', q3: 'v3', q4: 'v4' });
  const hits = asDocument([
    { query: 'q1', item: 'v5', score: 0.9 },
    { query: 'q1', item: 'v9', score: 0.8 },
    { query: 'q2', item: 'v2', score: 0.5 },
    { query: 'q2', item: 'v7', score: 0.5 },
    { query: 'q3', item: 'v3', score: 0.5 },
  ]);
  const evaluation = retrieval.prepare([truth], [hits], options).evaluate(options);
  expect(evaluation.official).toEqual({
    'R@1': 0.5,
    'R@5': 0.75,
    'R@10': 0.75,
    median_rank: 1.5,
    mean_rank: Infinity,
    num_queries: 4,
  });
  expect(evaluation.ties).toMatchObject({ tied: 2, first: { 'R@1': 0.5 }, last: { 'R@1': 0.25 } });
});

test.each([
  ['text', 'x'],
  ['an entry without a key', [{ item: 'v1' }]],
  ['an entry without an item', [{ query: 'q1', score: 1 }]],
  [
    'scores for some',
    [
      { query: 'q1', item: 'v1', score: 1 },
      { query: 'q1', item: 'v2' },
    ],
  ],
  ['a score that is text', [{ query: 'q1', item: 'v1', score: 'high' }]],
])('eval refuses %s', (_, value) => {
  expect(() => retrieval.prepare([asDocument({ q1: 'v1' })], [asDocument(value)], options)).toThrow(
    expect.objectContaining({ code: 'data.invalid' }),
  );
});
