import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EvalOptions, Evaluation } from '../src/types.js';
import { changed, documentOf } from '../test/challenges.js';
import { tal } from './tal.js';

const options: EvalOptions = { ties: 'numpy', detail: true };

interface Moment {
  readonly label: string;
  readonly segment: readonly [number, number];
}

function truthOf(videos: Readonly<Record<string, readonly Moment[]>>, subset = 'validation'): unknown {
  return {
    version: '1',
    database: Object.fromEntries(
      Object.entries(videos).map(([name, annotations]) => [name, { subset, duration: 60, annotations }]),
    ),
  };
}

function resultsOf(videos: Readonly<Record<string, readonly Moment[]>>): unknown {
  return {
    version: 'mine',
    external_data: {},
    results: Object.fromEntries(
      Object.entries(videos).map(([name, list]) => [name, list.map((one, i) => ({ ...one, score: 1 - i / 100 }))]),
    ),
  };
}

function evaluate(truth: unknown, results: unknown, split?: string): Evaluation {
  const all = split === undefined ? options : { ...options, split };
  return tal.prepare([documentOf('truth.json', truth)], [documentOf('results.json', results)], all).evaluate(all);
}

const moment = fc
  .record({ label: fc.constantFrom('a', 'b'), start: fc.nat(50), length: fc.integer({ min: 1, max: 9 }) })
  .map(({ label, start, length }): Moment => ({ label, segment: [start, start + length] }));
const videos = fc.record({
  v1: fc.array(moment, { minLength: 1, maxLength: 4 }),
  v2: fc.array(moment, { maxLength: 4 }),
});

test('truth as predictions gives the maximum', () => {
  fc.assert(
    fc.property(videos, (all) => {
      const found = evaluate(truthOf(all), resultsOf(all));
      expect(found.rows[0]).toEqual({ metric: 'Average mAP', value: 1 });
      expect(found.rows).toHaveLength(11);
      expect(found.perClass!.every(({ value }) => value === 1)).toBe(true);
    }),
  );
});

test('the order of guesses does not matter where scores differ; a worthless one at the end never raises a number', () => {
  fc.assert(
    fc.property(videos, fc.array(moment, { maxLength: 8 }), (all, list) => {
      const guesses = list.map(({ label, segment }, i) => ({ label, segment, score: 1 - i / 10 }));
      const scored = (results: readonly unknown[]): readonly { readonly value: number }[] =>
        evaluate(truthOf(all), { version: '1.3', external_data: {}, results: { v1: results } }).rows;
      const before = scored(guesses);
      expect(scored([...guesses].reverse())).toEqual(before);
      scored([...guesses, { label: 'a', segment: [900, 901], score: -1 }]).forEach(({ value }, i) => {
        expect(value).toBeLessThanOrEqual(before[i]!.value);
      });
    }),
  );
});

test('a guess is a hit up to the threshold that it reaches', () => {
  const truth = truthOf({ v1: [{ label: 'a', segment: [0, 10] }] });
  const found = evaluate(truth, resultsOf({ v1: [{ label: 'a', segment: [0, 7.5] }] }));
  expect(found.official['mAP']).toEqual([1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
  expect(found.rows).toContainEqual({ metric: 'mAP,tIoU=0.75', value: 1 });
});

test('the split is compared for equality, and only its labels count', () => {
  const truth = truthOf({ v1: [{ label: 'a', segment: [0, 10] }] });
  const database = (truthOf({ v2: [{ label: 'b', segment: [0, 5] }] }, 'training') as { database: object }).database;
  const both = { database: { ...(truth as { database: object }).database, ...database } };
  const results = resultsOf({ v1: [{ label: 'a', segment: [0, 10] }], v2: [{ label: 'b', segment: [0, 5] }] });
  expect(evaluate(both, results).official['classes']).toEqual(['a']);
  expect(evaluate(both, results, 'training').official['classes']).toEqual(['b']);
  expect(evaluate(both, results, 'train').official['average_mAP']).toBeNaN();
});

test('takes our own moments by the name of their file', () => {
  const truth = truthOf({ v1: [{ label: 'a', segment: [2, 10] }] });
  const record = {
    schema: 'egolens.moment/1',
    input: 'clips/v1.mp4',
    of: { kind: 'file' },
    label: 'a',
    score: 0.5,
    start: 2,
    end: 10,
  };
  expect(evaluate(truth, [record]).official['average_mAP']).toBe(1);
});

const truth = truthOf({
  v1: [
    { label: 'a', segment: [0, 10] },
    { label: 'b', segment: [20, 31] },
  ],
});
const results = resultsOf({
  v1: [
    { label: 'a', segment: [0, 10] },
    { label: 'b', segment: [20, 31] },
  ],
});

test.each([
  ['/external_data', undefined, '/external_data (line 1): expected a member `external_data`'],
  ['/results', [], 'expected predictions with `results` by video'],
  ['/results/v1/0/score', undefined, '/results/v1/0/score (line 1): expected a number, found none'],
  ['/results/v1/0/segment', null, '/results/v1/0/segment (line 1): expected a list'],
])('names the place it dies on: %s %j', (at, to, message) => {
  expect(() => evaluate(truth, changed(results, at, to))).toThrow(message);
});

test.each([
  ['/version', undefined, 'member.missing'],
  ['/external_data', undefined, 'member.missing'],
  ['/results', [], 'value.type'],
  ['/results/v_v1', [], 'ids.unknown'],
  ['/results/v1', null, 'value.type'],
  ['/results/v1/0', 'a', 'value.type'],
  ['/results/v1/0/label', undefined, 'member.missing'],
  ['/results/v1/0/label', 'c', 'label.unknown'],
  ['/results/v1/0/label', 3, 'value.type'],
  ['/results/v1/0/score', undefined, 'member.missing'],
  ['/results/v1/0/score', 'x', 'value.type'],
  ['/results/v1/0/segment', [10, 0], 'segment.reversed'],
  ['/results/v1/0/segment', [1, 2, 3], 'list.length'],
  ['/results/v1/0/segment/0', '1', 'value.type'],
  ['/results/v1/0/segment', [0, 100], 'segment.outside'],
  ['/results/v1/0/more', 1, 'member.unknown'],
  ['/results/v1/2', { label: 'a', score: 1, segment: [3, 4] }, 'score.tied', '/results'],
] as [at: string, to: unknown, code: string, found?: string][])(
  'finds the fault of predictions at %s: %j is %s',
  (at, to, code, where = at) => {
    const findings = tal.check(
      'predictions',
      documentOf('results.json', changed(results, at, to)),
      documentOf('truth.json', truth),
    );
    expect(findings).toContainEqual(expect.objectContaining({ code, at: where, line: 1 }));
  },
);

test.each([
  ['/database', undefined, 'member.missing'],
  ['/database', 3, 'value.type'],
  ['/database/v1/subset', undefined, 'member.missing'],
  ['/database/v1/annotations', {}, 'value.type'],
  ['/database/v1/annotations/0/label', '', 'value.type'],
  ['/database/v1/annotations/0/segment', [5, 5], 'segment.reversed'],
])('finds the fault of truth at %s: %j is %s', (at, to, code) => {
  const findings = tal.check('annotations', documentOf('truth.json', changed(truth, at, to)));
  expect(findings).toContainEqual(expect.objectContaining({ code, at, line: 1 }));
});

test('files without fault have no finding', () => {
  expect(tal.check('annotations', documentOf('truth.json', truth))).toEqual([]);
  expect(tal.check('predictions', documentOf('results.json', results), documentOf('truth.json', truth))).toEqual([]);
});
