import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonText, type JsonValue } from '../../src/json.js';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, Evaluation, JsonDocument } from '../../src/types.js';
import { changed, documentOf, momentsFile, type MomentLabel } from '../../test/challenges.js';
import { mq } from './mq.js';

const options: EvalOptions = { ties: 'numpy', detail: false };

interface Guess extends MomentLabel {
  readonly score: number;
}
type Guesses = Readonly<Record<string, readonly Guess[]>>;

const labels: Readonly<Record<string, readonly MomentLabel[]>> = {
  c1: [
    { label: 'cut', start: 1, end: 9 },
    { label: 'wash', start: 20, end: 31.5 },
  ],
  c2: [
    { label: 'cut', start: 5, end: 15 },
    { label: 'cut', start: 30, end: 42.5 },
  ],
};
const truth = documentOf('moments_val.json', momentsFile(labels));

function submissionOf(guesses: Guesses): unknown {
  const results = Object.fromEntries(
    Object.entries(guesses).map(([clip, items]) => [
      clip,
      items.map(({ label, start, end, score }) => ({ label, score, segment: [start, end] })),
    ]),
  );
  return {
    version: '1.0',
    challenge: 'ego4d_moment_queries',
    detect_results: results,
    retrieve_results: structuredClone(results),
  };
}

function evaluate(value: unknown, against: JsonDocument = truth, split?: string): Evaluation {
  const all = split === undefined ? options : { ...options, split };
  return mq.prepare([against], [documentOf('submission.json', value)], all).evaluate(all);
}

function value(evaluation: Evaluation, metric: string): number {
  return evaluation.rows.find((row) => row.metric === metric)!.value;
}

const right: Guesses = {
  c1: labels['c1']!.map((one, i) => ({ ...one, score: 0.9 - i / 10 })),
  c2: labels['c2']!.map((one, i) => ({ ...one, score: 0.8 - i / 10 })),
};
const good = submissionOf(right);

const time = fc.integer({ min: 0, max: 50 });
const moment = fc.record({
  label: fc.constantFrom('cut', 'wash', 'open'),
  start: time,
  length: fc.integer({ min: 1, max: 9 }),
});
const momentList = fc
  .array(moment, { minLength: 1, maxLength: 5 })
  .map((list) => list.map(({ label, start, length }) => ({ label, start, end: start + length })));
const truths = fc.record({ c1: momentList, c2: momentList, c3: momentList });
const guessList = fc
  .array(fc.tuple(moment, fc.nat(5000)), { maxLength: 12 })
  .map((list) =>
    list.map(([{ label, start, length }, score]) => ({ label, start, end: start + length, score: score / 5000 })),
  );
const guessLists = fc.record({ c1: guessList, c2: guessList, c3: guessList });

test('truth written as predictions through submission() gives the maximum, and passes the check', () => {
  fc.assert(
    fc.property(truths, fc.constantFrom('clip' as const, 'video' as const), (clips, kind) => {
      const file = documentOf('moments_val.json', momentsFile(clips));
      const shift = kind === 'video' ? 100 : 0;
      const records = Object.entries(clips).flatMap(([clip, list]) =>
        list.map(({ label, start, end }, i) => ({
          schema: 'egolens.moment/1',
          of: { kind, uid: kind === 'clip' ? clip : `video-of-${clip}` },
          clip_uid: clip,
          start: start + shift,
          end: end + shift,
          label,
          score: 1 - i / 100,
        })),
      );
      const { json } = mq.submission!(records, file, { fillMissing: false });
      const written = parseJson('submission.json', jsonText(json as JsonValue));
      const evaluation = mq.prepare([file], [written], options).evaluate(options);
      expect(value(evaluation, 'Average mAP')).toBe(1);
      expect(value(evaluation, 'Recall@1x,tIoU=0.5')).toBe(1);
      expect(mq.check('submission', written, file).filter(({ level }) => level === 'error')).toEqual([]);
      // The records themselves are taken too.
      const own = mq.prepare([file], [documentOf('mq.ndjson', records)], options).evaluate(options);
      expect(own.rows).toEqual(evaluation.rows);
    }),
    { numRuns: 50 },
  );
});

test('a truth without moments gives no numbers, and says why', () => {
  const file = documentOf('moments_test_unannotated.json', momentsFile({ c1: [], c2: [] }, 'test'));
  const { notes, rows } = evaluate(submissionOf({ c1: [], c2: [] }), file);
  expect(rows[0]!.value).toBeNaN();
  expect(notes.join()).toContain('is this the unannotated test file?');
});

test('records of a clip without a label count as those of a submission do; of an unknown clip, the truth is named', () => {
  const file = documentOf('moments_val.json', momentsFile({ c1: [{ label: 'cut', start: 1, end: 9 }], c2: [] }));
  const recordsOf = (...uids: string[]): unknown[] =>
    uids.map((uid, i) => ({
      ...{ schema: 'egolens.moment/1', of: { kind: 'clip', uid }, clip_uid: uid },
      ...{ label: 'cut', start: 1, end: 9, score: 0.5 + i / 10 },
    }));
  const rowsOf = (value: unknown): unknown =>
    mq.prepare([file], [documentOf('guesses.ndjson', value)], options).evaluate(options).rows;
  const records = recordsOf('c1', 'c2') as Record<string, unknown>[];
  const { json } = mq.submission!(records, file, { fillMissing: false });
  expect(rowsOf(records)).toEqual(rowsOf(JSON.parse(jsonText(json as JsonValue))));
  expect(() => rowsOf(recordsOf('c9'))).toThrow('clip `c9` is not in `moments_val.json`');
});

test('the order of predictions matters to tied scores only', () => {
  fc.assert(
    fc.property(truths, guessLists, fc.nat(), (clips, guesses, turn) => {
      const file = documentOf('moments_val.json', momentsFile(clips));
      let next = 0;
      const untied = Object.fromEntries(
        Object.entries(guesses).map(([clip, list]) => [
          clip,
          list.map((one) => ({ ...one, score: one.score + next++ * 1e-7 })),
        ]),
      );
      const turned = Object.fromEntries(
        Object.entries(untied).map(([clip, list]) => {
          const at = list.length === 0 ? 0 : turn % list.length;
          return [clip, [...list.slice(at), ...list.slice(0, at)]];
        }),
      );
      const [before, after] = [untied, turned].map((lists) => evaluate(submissionOf(lists), file));
      if (before!.ties!.tied === 0) expect(after!.official['detection']).toEqual(before!.official['detection']);
    }),
  );
});

test('a worthless prediction at the end never raises a number, a copy of one never raises recall', () => {
  fc.assert(
    fc.property(truths, guessLists, (clips, guesses) => {
      const file = documentOf('moments_val.json', momentsFile(clips));
      const before = evaluate(submissionOf(guesses), file);
      const worthless = { label: 'cut', start: 59, end: 60, score: -1 };
      const after = evaluate(submissionOf({ ...guesses, c3: [...guesses.c3, worthless] }), file);
      const copied = evaluate(
        submissionOf(
          Object.fromEntries(Object.entries(guesses).map(([clip, list]) => [clip, list.flatMap((one) => [one, one])])),
        ),
        file,
      );
      before.rows.forEach((row, i) => {
        expect(after.rows[i]!.value).toBeLessThanOrEqual(row.value);
        if (row.metric.startsWith('Recall')) expect(copied.rows[i]!.value).toBeLessThanOrEqual(row.value);
      });
    }),
  );
});

test('the sample that draws every clip once gives the official numbers', () => {
  fc.assert(
    fc.property(truths, guessLists, (clips, guesses) => {
      const file = documentOf('moments_val.json', momentsFile(clips));
      const prepared = mq.prepare([file], [documentOf('submission.json', submissionOf(guesses))], options);
      expect(prepared.units).toEqual(['c1', 'c2', 'c3']);
      expect(prepared.resample(Int32Array.of(2, 0, 1), 'numpy')).toEqual(prepared.evaluate(options).rows);
      expect(prepared.resample(Int32Array.of(1, 1, 1), 'numpy').map(({ metric }) => metric)).toEqual(
        prepared.evaluate(options).rows.map(({ metric }) => metric),
      );
    }),
  );
});

test('rows by class, by clip and curves come when asked for', () => {
  const detailed = mq
    .prepare([truth], [documentOf('submission.json', good)], options)
    .evaluate({ ...options, detail: true });
  expect(detailed.perClass).toContainEqual({ metric: 'AP', value: 1, at: { label: 'cut', tIoU: 0.5 } });
  expect(detailed.perItem).toContainEqual({ metric: 'Recall@1x,tIoU=0.5', value: 1, at: { item: 'c2' } });
  expect(detailed.curves!.map(({ name }) => name)).toEqual(['mAP over tIoU', 'cut, tIoU=0.5', 'wash, tIoU=0.5']);
  expect(evaluate(good).perClass).toBeUndefined();
});

test('the corrected number drops spans without length and truths that stand twice', () => {
  const file = documentOf(
    'moments_val.json',
    momentsFile({ c1: [{ label: 'cut', start: 3, end: 3 }, ...labels['c1']!, labels['c1']![0]!] }),
  );
  const found = evaluate(submissionOf({ c1: right['c1']! }), file);
  expect(found.corrected).toMatchObject({
    detection: { average_mAP: 1 },
    retrieval: { recall: [[1, 1, 1, 1, 1], {}, {}] },
  });
  expect(value(found, 'Average mAP')).toBeLessThan(1);
});

test('a clip of the test file without records gets empty lists, and both lists are written', () => {
  const file = documentOf('moments_test_unannotated.json', momentsFile({ c1: [], c2: [] }, 'test'));
  const record = {
    schema: 'egolens.moment/1',
    of: { kind: 'video', uid: 'video-of-c1' },
    clip_uid: null,
    label: 'cut',
    score: 1,
    start: 98,
    end: 110,
  };
  const { json, counts } = mq.submission!([record], file, { fillMissing: false });
  expect(jsonText(json as JsonValue)).toBe(
    '{"version":"1.0","challenge":"ego4d_moment_queries",' +
      '"detect_results":{"c1":[{"label":"cut","score":1.0,"segment":[0.0,10.0]}],"c2":[]},' +
      '"retrieve_results":{"c1":[{"label":"cut","score":1.0,"segment":[0.0,10.0]}],"c2":[]}}',
  );
  expect(counts).toMatchObject({ clips: 2, clipsWithoutPrediction: 1, detections: 1 });
});

test.each([
  ['of a file', { of: { kind: 'file' } }, 'data.invalid'],
  ['of a clip that is not in the file', { of: { kind: 'clip', uid: 'c9' } }, 'data.unknown_id'],
  ['without a label', { label: null }, 'data.invalid'],
  ['with a score that is not a number', { score: NaN }, 'data.invalid'],
  ['of another task', { schema: 'egolens.answer/1' }, 'data.invalid'],
])('refuses a record %s', (_, part, code) => {
  const record = {
    schema: 'egolens.moment/1',
    of: { kind: 'clip', uid: 'c1' },
    label: 'cut',
    score: 1,
    start: 1,
    end: 2,
  };
  expect(() => mq.submission!([{ ...record, ...part }], truth, { fillMissing: false })).toThrow(
    expect.objectContaining({ code }) as Error,
  );
});

test.each([
  ['/detect_results/c1', {}, '/detect_results/c1 (line 1): expected a list'],
  ['/detect_results/c1/0/segment', [1], '/detect_results/c1/0/segment/1'],
  ['/detect_results/c1/0/score', 'high', '/detect_results/c1/0/score (line 1): expected a number, found `"high"`'],
  ['/retrieve_results/c2', undefined, '/retrieve_results/c2 (line 1): expected an entry for clip `c2`, found none'],
  ['/challenge', 'ego4d_nlq_challenge', '/challenge (line 1): expected `ego4d_moment_queries`'],
  ['', {}, 'found an empty object'],
  ['', [{ unique_id: 'x', pnr_frame: 3 }], 'found PNR submission'],
])('names the place it dies on: %s %j', (at, to, message) => {
  expect(() => evaluate(changed(good, at, to))).toThrow(message);
});

test('refuses annotations of another task, and says whose they are', () => {
  const queries = documentOf('nlq_val.json', {
    videos: [{ clips: [{ annotations: [{ language_queries: [{ clip_start_sec: 1 }] }] }] }],
  });
  expect(() => evaluate(good, queries)).toThrow(/found Natural Language Queries annotations/);
});

const submissionMutations: [at: string, to: unknown, code: string, found?: string][] = [
  ['/version', undefined, 'member.missing'],
  ['/version', '1', 'value.wrong'],
  ['/challenge', 'ego4d_mq', 'value.wrong'],
  ['/retrieve_results', undefined, 'member.missing'],
  ['/detect_results', [], 'value.type'],
  ['/results', {}, 'member.unknown'],
  ['/detect_results/c1', undefined, 'ids.missing', '/detect_results'],
  ['/retrieve_results/c2', undefined, 'ids.missing', '/retrieve_results'],
  ['/detect_results/c9', [], 'ids.unknown'],
  ['/detect_results/c1', {}, 'value.type'],
  ['/detect_results/c1/0', 'cut', 'value.type'],
  ['/detect_results/c1/1/label', undefined, 'member.missing'],
  ['/detect_results/c1/1/label', 7, 'value.type'],
  ['/detect_results/c1/1/label', 'slice', 'label.unknown'],
  ['/detect_results/c1/1/score', undefined, 'member.missing'],
  ['/detect_results/c1/1/score', '0.5', 'value.type'],
  ['/detect_results/c1/1/segment', [31, 20], 'segment.reversed'],
  ['/detect_results/c1/1/segment', [20, 20], 'segment.reversed'],
  ['/detect_results/c1/1/segment', [20], 'list.length'],
  ['/detect_results/c1/1/segment', [20, 200], 'segment.outside'],
  ['/detect_results/c1/1/segment/0', null, 'value.type'],
  ['/detect_results/c1/0/extra', 1, 'member.unknown'],
  ['/detect_results/c2/1/score', 0.8, 'score.tied', '/detect_results'],
  ['/retrieve_results/c2/1/score', 0.95, 'order.unsorted'],
  ['/detect_results/c2/2', { label: 'cut', score: 0.8, segment: [5, 15] }, 'item.repeated'],
  ['/detect_results/c1', new Array(201).fill({ label: 'cut', score: 0.5, segment: [1, 2] }), 'list.too_long'],
];

test('a submission without fault has no finding', () => {
  expect(mq.check('submission', documentOf('submission.json', good), truth)).toEqual([]);
  expect(mq.check('annotations', truth)).toEqual([]);
});

test.each(submissionMutations)('finds the fault of a submission at %s: %j is %s', (at, to, code, where = at) => {
  const findings = mq.check('submission', documentOf('submission.json', changed(good, at, to)), truth);
  expect(findings).toContainEqual(expect.objectContaining({ code, at: where, line: 1 }));
});

test('finds NaN scores and bad numbers that JSON text holds', () => {
  const text = JSON.stringify(good).replace('0.9', 'NaN');
  expect(mq.check('submission', parseJson('submission.json', text), truth)).toContainEqual(
    expect.objectContaining({ code: 'number.not_finite', at: '/detect_results/c1/0/score' }),
  );
});

const label = '/videos/0/clips/0/annotations/0/labels/0';
test.each([
  ['/videos', {}, 'value.type'],
  ['/videos/0/split', undefined, 'member.missing'],
  ['/videos/0/video_uid', 5, 'value.type'],
  ['/videos/0/clips', undefined, 'member.missing'],
  ['/videos/1/clips/0/clip_uid', 'c1', 'ids.repeated'],
  ['/videos/0/clips/0/clip_uid', undefined, 'member.missing'],
  ['/videos/0/clips/0/video_end_sec', 'x', 'value.type'],
  ['/videos/0/clips/0/video_end_sec', 50, 'segment.reversed'],
  ['/videos/0/clips/0/annotations', undefined, 'member.missing'],
  ['/videos/0/clips/0/annotations/0/labels', null, 'value.type'],
  [`${label}/primary`, undefined, 'member.missing'],
  [`${label}/primary`, 'yes', 'value.type'],
  [`${label}/label`, '', 'value.type'],
  [`${label}/start_time`, undefined, 'member.missing'],
  [`${label}/end_time`, 0.5, 'segment.reversed'],
  [`${label}/end_time`, 1, 'segment.reversed'],
  [`${label}/end_time`, 500, 'segment.outside', label],
  [
    '/videos/0/clips/0/annotations/0/labels/2',
    { label: 'cut', start_time: 1, end_time: 9, primary: true },
    'truth.repeated',
  ],
] as [at: string, to: unknown, code: string, found?: string][])(
  'finds the fault of annotations at %s: %j is %s',
  (at, to, code, where = at) => {
    const findings = mq.check('annotations', documentOf('moments_val.json', changed(truth.value, at, to)));
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
  { videos: 3 },
  { videos: [null, { clips: [null] }] },
  { detect_results: 1 },
  { results: { a: 1 } },
])('never throws, whatever it is given: %j', (anything) => {
  const document = documentOf('any.json', anything);
  for (const kind of ['annotations', 'predictions', 'submission'] as const) {
    expect(mq.check(kind, document, truth)).toBeInstanceOf(Array);
    expect(mq.check(kind, truth, document)).toBeInstanceOf(Array);
  }
});
