import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonText, type JsonValue } from '../../src/json.js';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, Evaluation } from '../../src/types.js';
import { changed, documentOf, queriesFile } from '../../test/challenges.js';
import { nlq } from './nlq.js';

const options: EvalOptions = { ties: 'numpy', detail: false };

type Windows = readonly (readonly [number, number])[];
type Clips = Readonly<Record<string, Windows>>;

const asked: Clips = {
  c1: [
    [3, 9],
    [20.5, 31],
  ],
  c2: [[5, 15]],
};
const truth = documentOf('nlq_val.json', queriesFile(asked));

/** Entries for the queries in order; each with its windows. */
function submissionOf(clips: Readonly<Record<string, readonly Windows[]>>): unknown {
  return {
    version: '1.0',
    challenge: 'ego4d_nlq_challenge',
    results: Object.entries(clips).flatMap(([clip, lists]) =>
      lists.map((windows, i) => ({
        clip_uid: clip,
        annotation_uid: `annotation-of-${clip}`,
        query_idx: i,
        predicted_times: windows,
      })),
    ),
  };
}

function evaluate(value: unknown, against = truth): Evaluation {
  return nlq.prepare([against], [documentOf('predictions.json', value)], options).evaluate(options);
}

function value(evaluation: Evaluation, metric: string): number {
  return evaluation.rows.find((row) => row.metric === metric)!.value;
}

const good = submissionOf({
  c1: [
    [
      [3, 9],
      [40, 50],
    ],
    [[20, 30]],
  ],
  c2: [
    [
      [30, 40],
      [5, 14],
    ],
  ],
});

const window = fc
  .tuple(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 90 }))
  .map(([start, length]) => [start / 10, (start + length) / 10] as const);
const truths = fc.record({
  c1: fc.array(window, { minLength: 1, maxLength: 4 }),
  c2: fc.array(window, { minLength: 1, maxLength: 4 }),
});
const guesses = fc.array(fc.array(window, { minLength: 1, maxLength: 7 }), { minLength: 1, maxLength: 4 });

test('truth written as predictions through submission() gives the maximum, and passes the check', () => {
  fc.assert(
    fc.property(truths, fc.constantFrom('clip' as const, 'video' as const), (clips, kind) => {
      const file = documentOf('nlq_val.json', queriesFile(clips));
      const shift = kind === 'video' ? 100 : 0;
      const records = Object.entries(clips).flatMap(([clip, windows]) =>
        windows.map(([start, end], i) => ({
          schema: 'egolens.answer/1',
          of: { kind, uid: kind === 'clip' ? clip : `video-of-${clip}` },
          clip_uid: clip,
          annotation_uid: `annotation-of-${clip}`,
          query_idx: i,
          query: 'where?',
          rank: 1,
          start: start + shift,
          end: end + shift,
          score: 0.5,
        })),
      );
      const { json } = nlq.submission!(records, file, { fillMissing: false });
      const written = parseJson('submission.json', jsonText(json as JsonValue));
      const evaluation = nlq.prepare([file], [written], options).evaluate(options);
      expect(value(evaluation, 'mean R@1')).toBe(1);
      expect(value(evaluation, 'mIoU')).toBeCloseTo(1, 12);
      expect(nlq.check('submission', written, file)).toEqual([]);
      const own = nlq.prepare([file], [documentOf('nlq.ndjson', records)], options).evaluate(options);
      expect(own.rows).toEqual(evaluation.rows);
    }),
    { numRuns: 50 },
  );
});

test('numbers equal loops over entries and windows', () => {
  fc.assert(
    fc.property(guesses, (lists) => {
      const file = documentOf('nlq_val.json', queriesFile({ c1: lists.map(() => [10, 20] as const) }));
      const found = evaluate(submissionOf({ c1: lists }), file);
      const iou = ([start, end]: readonly [number, number]): number =>
        Math.max(0, Math.min(end, 20) - Math.max(start, 10)) / (Math.max(end, 20) - Math.min(start, 10));
      for (const k of [1, 5]) {
        for (const t of [0.3, 0.5]) {
          const hits = lists.filter((windows) => windows.slice(0, k).some((one) => iou(one) > t)).length;
          expect(value(found, `R@${k},IoU=${t}`)).toBe(hits / lists.length);
        }
      }
    }),
  );
});

test('the order of entries does not matter; a window at the end never lowers, a copied window never raises recall', () => {
  fc.assert(
    fc.property(guesses, (lists) => {
      const file = documentOf('nlq_val.json', queriesFile({ c1: lists.map(() => [10, 20] as const) }));
      const written = submissionOf({ c1: lists }) as { results: unknown[] };
      const before = evaluate(written, file);
      const turned = evaluate({ ...written, results: written.results.toReversed() }, file);
      const more = evaluate(submissionOf({ c1: lists.map((windows) => [...windows, [59, 60] as const]) }), file);
      const copied = evaluate(submissionOf({ c1: lists.map((windows) => windows.flatMap((one) => [one, one])) }), file);
      before.rows.forEach((row, i) => {
        expect(turned.rows[i]!.value).toBeCloseTo(row.value, 12);
        expect(more.rows[i]!.value).toBe(row.value);
        expect(copied.rows[i]!.value).toBeLessThanOrEqual(row.value);
      });
    }),
  );
});

test('a sample of clips repeats all entries of a clip', () => {
  const prepared = nlq.prepare([truth], [documentOf('predictions.json', good)], options);
  expect(prepared.units).toEqual(['c1', 'c2']);
  const rows = (sample: readonly number[]): Readonly<Record<string, number>> =>
    Object.fromEntries(
      prepared.resample(Int32Array.from(sample), 'numpy').map(({ metric, value: number }) => [metric, number]),
    );
  expect(prepared.resample(Int32Array.of(0, 1), 'numpy').map(({ metric }) => metric)).toEqual(
    prepared.evaluate(options).rows.map(({ metric }) => metric),
  );
  expect(rows([0, 1])['R@1,IoU=0.5']).toBe(2 / 3);
  expect(rows([1, 1])['R@1,IoU=0.5']).toBe(0);
  expect(rows([0, 0, 1])['R@1,IoU=0.5']).toBe(4 / 5);
});

test('the official shares are of the entries there are, the corrected ones of all queries', () => {
  const half = changed(good, '/results/2', undefined);
  const found = evaluate(half);
  expect(value(found, 'R@1,IoU=0.5')).toBe(1);
  expect(found.corrected!['recall']).toMatchObject({ 0: { 0: 2 / 3 } });
  expect(found.notes.join()).toContain('2 of 3 queries are answered (66.67 %)');
  const twice = evaluate({
    ...(good as object),
    results: [...(good as { results: unknown[] }).results, (good as { results: unknown[] }).results[2]],
  });
  expect(value(twice, 'R@1,IoU=0.5')).toBe(2 / 4);
  expect(twice.corrected!['recall']).toMatchObject({ 0: { 0: 2 / 3 } });
});

test('rows by template, by query and curves come when asked for', () => {
  const detailed = nlq
    .prepare([truth], [documentOf('predictions.json', good)], options)
    .evaluate({ ...options, detail: true });
  expect(detailed.perClass).toContainEqual(
    expect.objectContaining({ metric: 'R@1,IoU=0.5', at: { label: 'Objects: Where is X?', queries: 3 } }),
  );
  expect(detailed.perItem).toContainEqual({
    metric: 'IoU of the first window',
    value: 1,
    at: { item: 'c1/annotation-of-c1/0' },
  });
  expect(detailed.curves!.map(({ name }) => name)).toEqual(['R@1 over IoU', 'R@5 over IoU']);
});

test('queries without answer are left out, or filled with five parts of their clip', () => {
  const file = documentOf('nlq_test_unannotated.json', queriesFile(asked, true));
  const record = {
    schema: 'egolens.answer/1',
    of: { kind: 'clip', uid: 'c2' },
    clip_uid: 'c2',
    annotation_uid: 'annotation-of-c2',
    query_idx: 0,
    rank: 1,
    start: -1,
    end: 4,
    score: 0.2,
  };
  const left = nlq.submission!([record], file, { fillMissing: false });
  expect(jsonText(left.json as JsonValue)).toBe(
    '{"version":"1.0","challenge":"ego4d_nlq_challenge","results":[{"clip_uid":"c2","annotation_uid":"annotation-of-c2","query_idx":0,"predicted_times":[[0.0,4.0]]}]}',
  );
  expect(left.counts).toMatchObject({ queries: 3, written: 1, missing: 2 });
  const filled = nlq.submission!([record], file, { fillMissing: true });
  const written = documentOf('submission.json', JSON.parse(jsonText(filled.json as JsonValue)));
  expect(filled.counts).toMatchObject({ written: 3, filled: 2 });
  expect(nlq.check('submission', written, file)).toEqual([]);
  expect(
    nlq.check('submission', documentOf('s.json', JSON.parse(jsonText(left.json as JsonValue))), file),
  ).toContainEqual(expect.objectContaining({ code: 'ids.missing', at: '/results' }));
});

test.each([
  ['of a file', { of: { kind: 'file' } }, 'data.invalid'],
  ['without ids', { annotation_uid: null }, 'data.invalid'],
  ['of an unknown query', { query_idx: 9 }, 'data.unknown_id'],
  ['without an end', { end: undefined }, 'data.invalid'],
])('refuses a record %s', (_, part, code) => {
  const record = {
    schema: 'egolens.answer/1',
    of: { kind: 'clip', uid: 'c1' },
    clip_uid: 'c1',
    annotation_uid: 'annotation-of-c1',
    query_idx: 0,
    start: 1,
    end: 2,
  };
  expect(() => nlq.submission!([{ ...record, ...part }], truth, { fillMissing: false })).toThrow(
    expect.objectContaining({ code }) as Error,
  );
});

test('names the place it dies on', () => {
  const other = changed(good, '/results/1/annotation_uid', 'nope');
  expect(() => evaluate(other)).toThrow(expect.objectContaining({ code: 'data.unknown_id' }) as Error);
  expect(() => evaluate(other)).toThrow('/results/1/annotation_uid (line 1)');
  expect(() => evaluate(good, documentOf('nlq_test_unannotated.json', queriesFile(asked, true)))).toThrow(
    '`nlq_test_unannotated.json`: /videos/0/clips/0/annotations/0/language_queries/0/clip_start_sec',
  );
  expect(() => evaluate({})).toThrow('found an empty object');
  expect(() =>
    evaluate(good, documentOf('moments_val.json', { videos: [{ clips: [{ annotations: [{ labels: [] }] }] }] })),
  ).toThrow('found Moment Queries annotations');
});

const first = '/results/0';
test.each([
  ['/version', '1', 'value.wrong'],
  ['/version', undefined, 'member.missing'],
  ['/challenge', 'ego4d_nlq', 'value.wrong'],
  ['/results', {}, 'value.type'],
  ['/notes', 'mine', 'member.unknown'],
  [first, undefined, 'ids.missing', '/results'],
  ['/results/1/query_idx', 0, 'ids.repeated', '/results/1'],
  [first, null, 'value.type'],
  [`${first}/clip_uid`, 'c7', 'ids.unknown', first],
  [`${first}/annotation_uid`, undefined, 'member.missing'],
  [`${first}/annotation_uid`, 4, 'value.type'],
  [`${first}/query_idx`, -1, 'index.range'],
  [`${first}/query_idx`, 99, 'index.range'],
  [`${first}/query_idx`, '0', 'value.type'],
  [`${first}/query_idx`, 0.5, 'value.type'],
  [`${first}/predicted_times`, [], 'list.empty'],
  [`${first}/predicted_times`, [1, 2], 'value.type', `${first}/predicted_times/0`],
  [`${first}/predicted_times/0`, [9, 3], 'segment.reversed'],
  [`${first}/predicted_times/0`, [3], 'list.length'],
  [`${first}/predicted_times/0/1`, null, 'value.type'],
  [`${first}/predicted_times/1`, [3, 9], 'item.repeated'],
  [`${first}/predicted_times/1`, [103, 109], 'segment.outside'],
  [
    `${first}/predicted_times`,
    [
      [1, 2],
      [2, 3],
      [3, 4],
      [4, 5],
      [5, 6],
      [6, 7],
    ],
    'list.too_long',
  ],
  [`${first}/score`, 1, 'member.unknown'],
] as [at: string, to: unknown, code: string, found?: string][])(
  'finds the fault of a submission at %s: %j is %s',
  (at, to, code, where = at) => {
    const findings = nlq.check('submission', documentOf('submission.json', changed(good, at, to)), truth);
    expect(findings).toContainEqual(expect.objectContaining({ code, at: where, line: 1 }));
  },
);

test('files without fault have no finding', () => {
  expect(nlq.check('submission', documentOf('submission.json', good), truth)).toEqual([]);
  expect(nlq.check('annotations', truth)).toEqual([]);
  expect(nlq.check('annotations', documentOf('nlq_test_unannotated.json', queriesFile(asked, true)))).toEqual([]);
});

const clip = '/videos/0/clips/0';
const query = `${clip}/annotations/0/language_queries/0`;
test.each([
  ['/videos', undefined, 'member.missing'],
  ['/version', undefined, 'member.missing'],
  ['/videos/0/clips', 3, 'value.type'],
  ['/videos/0/video_uid', '', 'value.type'],
  [`${clip}/clip_uid`, undefined, 'member.missing'],
  [`${clip}/clip_uid`, 8, 'value.type'],
  [`${clip}/clip_end_sec`, 0, 'segment.reversed'],
  [`${clip}/video_end_sec`, 'late', 'value.type'],
  [`${clip}/annotations`, undefined, 'member.missing'],
  [`${clip}/annotations/0/annotation_uid`, undefined, 'member.missing'],
  [`${clip}/annotations/0/language_queries`, {}, 'value.type'],
  [
    `${clip}/annotations/1`,
    { annotation_uid: 'annotation-of-c1', language_queries: [] },
    'ids.repeated',
    `${clip}/annotations/1/annotation_uid`,
  ],
  [`${query}/clip_start_sec`, undefined, 'member.missing'],
  [`${query}/clip_end_sec`, 1, 'segment.reversed'],
  [`${query}/clip_end_sec`, 900, 'segment.outside', query],
  [`${query}/query`, null, 'query.no_text'],
  [query, 'where?', 'value.type'],
] as [at: string, to: unknown, code: string, found?: string][])(
  'finds the fault of annotations at %s: %j is %s',
  (at, to, code, where = at) => {
    const findings = nlq.check('annotations', documentOf('nlq_val.json', changed(truth.value, at, to)));
    expect(findings).toContainEqual(expect.objectContaining({ code, at: where, line: 1 }));
  },
);

test.each([
  null,
  3,
  'text',
  [],
  {},
  [[]],
  { videos: [null, { clips: [null] }] },
  { results: [null, { predicted_times: [[]] }] },
])('never throws, whatever it is given: %j', (anything) => {
  const document = documentOf('any.json', anything);
  for (const kind of ['annotations', 'predictions', 'submission'] as const) {
    expect(nlq.check(kind, document, truth)).toBeInstanceOf(Array);
    expect(nlq.check(kind, truth, document)).toBeInstanceOf(Array);
  }
});
