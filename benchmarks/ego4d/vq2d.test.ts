import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonText, type JsonValue } from '../../src/json.js';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, JsonDocument, Nested } from '../../src/types.js';
import { vq2d } from './vq2d.js';

const options: EvalOptions = { ties: 'numpy', detail: true };

type Corners = readonly [x1: number, y1: number, x2: number, y2: number];
interface Boxes {
  readonly start: number;
  readonly boxes: readonly Corners[];
}
interface Query {
  readonly truth: Boxes;
  readonly guess: Boxes;
  readonly score: number;
}

/** Query i is set `1` of the only annotation of clip i; two clips a video. */
function annotationsOf(queries: readonly Query[]): JsonDocument {
  const clips = queries.map(({ truth }, i) => ({
    clip_uid: `clip-${i}`,
    video_start_sec: 0,
    video_end_sec: 100,
    clip_fps: 5,
    annotations: [
      {
        query_sets: {
          1: {
            is_valid: true,
            query_frame: 400,
            object_title: `object ${i % 2}`,
            visual_crop: {
              frame_number: 400,
              x: 1,
              y: 1,
              width: 9,
              height: 9,
              original_width: 1920,
              original_height: 1080,
            },
            response_track: truth.boxes.map(([x1, y1, x2, y2], k) => ({
              frame_number: truth.start + k,
              x: x1,
              y: y1,
              width: x2 - x1,
              height: y2 - y1,
            })),
          },
          2: { is_valid: false, response_track: null, visual_crop: null },
        },
      },
    ],
  }));
  const videos = Array.from({ length: Math.ceil(clips.length / 2) }, (_, v) => ({
    video_uid: `video-${v}`,
    clips: clips.slice(2 * v, 2 * v + 2),
  }));
  return asDocument('vq_val.json', { version: '1.0.5', videos });
}

function asDocument(name: string, value: unknown): JsonDocument {
  return parseJson(name, jsonText(value as JsonValue)); // JSON by construction
}

function recordsOf(queries: readonly Query[]): Record<string, unknown>[] {
  return queries.map(({ guess, score }, i) => ({
    schema: 'egolens.track/1',
    clip_uid: `clip-${i}`,
    annotation_idx: 0,
    query_set: '1',
    boxes: guess.boxes.map((box, k) => ({ frame: guess.start + k, box })),
    score,
  }));
}

function textOf(queries: readonly Query[]): string {
  const { json } = vq2d.submission!(recordsOf(queries), annotationsOf(queries), { fillMissing: false });
  return jsonText(json as JsonValue);
}

function evaluate(queries: readonly Query[], truth = annotationsOf(queries), text = textOf(queries)) {
  return vq2d.prepare([truth], [parseJson('predictions.json', text)], options).evaluate(options);
}

const corners = fc
  .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 5 }), fc.integer({ min: 4, max: 9 }))
  .map(([x, y, size]): Corners => [x, y, x + size, y + size]);
const boxes = (minLength: number): fc.Arbitrary<Boxes> =>
  fc.record({ start: fc.integer({ min: 0, max: 6 }), boxes: fc.array(corners, { minLength, maxLength: 6 }) });
/** Scores differ everywhere, so that no tie rule matters. */
const queries = fc
  .array(fc.record({ truth: boxes(1), guess: boxes(0) }), { minLength: 1, maxLength: 6 })
  .map((list) => list.map((query, i): Query => ({ ...query, score: ((i * 37) % 101) / 101 })));

test('the six numbers equal the definition, tried on small random files', () => {
  fc.assert(
    fc.property(queries, (list) => {
      const found = Object.fromEntries(evaluate(list).rows.map(({ metric, value }) => [metric, value]));
      const wanted = definition(list);
      for (const [metric, value] of Object.entries(wanted)) expect(found[metric]).toBeCloseTo(value, 9);
    }),
  );
});

test('drawing every video once gives the numbers of the whole file', () => {
  fc.assert(
    fc.property(queries, (list) => {
      const prepared = vq2d.prepare([annotationsOf(list)], [parseJson('p', textOf(list))], options);
      const sample = Int32Array.from(prepared.units, (_, i) => i);
      expect(prepared.resample(sample, 'numpy')).toEqual(prepared.evaluate(options).rows);
    }),
  );
});

const track: Boxes = {
  start: 10,
  boxes: [
    [10, 10, 50, 60],
    [12, 10, 52, 60],
    [14, 10, 54, 60],
  ],
};
const perfect: readonly Query[] = [1, 0.5, 0.25].map((score) => ({ truth: track, guess: track, score }));

test('the truth as records reaches the maximum of every number, and passes the check', () => {
  expect(evaluate(perfect).rows.map(({ value }) => value)).toEqual([1, 1, 1, 1, 100, 100]);
  expect(vq2d.check('submission', parseJson('p', textOf(perfect)), annotationsOf(perfect))).toEqual([]);
  expect(vq2d.check('annotations', annotationsOf(perfect))).toEqual([]);
});

test('records are scored as they are, and missing queries as empty tracks', () => {
  const records = asDocument('records.json', recordsOf(perfect).slice(1));
  const { rows, notes } = vq2d.prepare([annotationsOf(perfect)], [records], options).evaluate(options);
  expect(rows.find(({ metric }) => metric === 'success')?.value).toBeCloseTo(200 / 3, 9);
  expect(notes).toEqual(['1 of 3 predicted tracks are empty']);
});

test('the submission follows the order of the annotations and fills up what is missing', () => {
  const records = recordsOf(perfect).reverse().slice(1);
  const { json, counts } = vq2d.submission!(records, annotationsOf(perfect), { fillMissing: true });
  expect(jsonText(json as JsonValue)).toMatch(
    /^\{"version":"1.0.5","challenge":"ego4d_vq2d_challenge".*clip-0.*"fno":10,"x1":10.0,.*clip-1.*clip-2.*"bboxes":\[\],"score":0.0/,
  );
  expect(counts).toEqual({ queries: 3, tracks: 2, queriesWithoutTrack: 1 });
  expect(() => vq2d.submission!(records, annotationsOf(perfect), { fillMissing: false })).toThrow(
    '1 of 3 queries have no record, so `clip-2/0/1`',
  );
});

test.each([
  [
    'a gap',
    {
      boxes: [
        { frame: 1, box: [0, 0, 1, 1] },
        { frame: 3, box: [0, 0, 1, 1] },
      ],
    },
    'frame 3 after frame 1',
  ],
  ['an unknown query', { query_set: '9' }, 'query `clip-0/0/9` is not in'],
  ['no clip', { clip_uid: null }, '`clip_uid`: expected text'],
  ['a box of three', { boxes: [{ frame: 1, box: [0, 0, 1] }] }, '`box`: expected four finite numbers'],
])('a record with %s is refused', (_, change, message) => {
  const records = recordsOf(perfect).map((record, i) => (i === 0 ? { ...record, ...change } : record));
  expect(() => vq2d.submission!(records, annotationsOf(perfect), { fillMissing: true })).toThrow(message);
});

test('inverted boxes count as negative volume, and as empty in the corrected numbers', () => {
  const inverted: Boxes = { start: 10, boxes: [[50, 10, 20, 60], ...track.boxes.slice(1)] };
  const { official, corrected } = evaluate([{ truth: track, guess: inverted, score: 1 }]);
  const stAP = (numbers: Nested): unknown =>
    ((numbers['metrics'] as Nested)['all'] as Nested)['SpatioTemporal AP @ IoU=0.25:0.95'];
  // Shared 4000; volumes 2500 and 6000, or 4000 and 6000 where the inverted box is empty.
  expect(stAP(official)).toBe(0.75);
  expect(stAP(corrected!)).toBe(0.5);
  expect(evaluate(perfect).corrected).toBeNull();
});

test('equal scores are ordered by the keys of query sets as they stand in the file', () => {
  const good = '"is_valid":true,"query_frame":9,"visual_crop":{"frame_number":9,"x":0,"y":0,"width":5,"height":5}';
  const set = (frame: number): string =>
    `{${good},"response_track":[{"frame_number":${frame},"x":0,"y":0,"width":10,"height":10}]}`;
  const truth = (keys: string): JsonDocument =>
    parseJson(
      'vq_val.json',
      `{"version":"1","videos":[{"video_uid":"v","clips":[{"clip_uid":"c","annotations":[{"query_sets":{${keys}}}]}]}]}`,
    );
  const guess = '{"bboxes":[{"fno":1,"x1":0,"y1":0,"x2":10,"y2":10}],"score":0.5}';
  const text = `{"version":"1","challenge":"ego4d_vq2d_challenge","results":{"videos":[{"video_uid":"v","clips":[{"clip_uid":"c","predictions":[{"query_sets":{"1":${guess},"2":${guess}}}]}]}]}}`;
  const tAP = (document: JsonDocument): number => evaluate([], document, text).rows[0]!.value;
  // Query 1 hits and query 2 misses; numpy turns equal scores round, so the one that stands last in the file comes first.
  expect(tAP(truth(`"1":${set(1)},"2":${set(7)}`))).toBe(0.25);
  expect(tAP(truth(`"2":${set(7)},"1":${set(1)}`))).toBe(0.5);
});

test.each([
  ['a gap', '"fno":11', '"fno":14', 'a box for every frame'],
  ['another version', '"version":"1.0.5"', '"version":"1.0"', 'expected `"1.0.5"`'],
  ['another order', /clip-0/, 'clip-1', 'expected `"clip-0"`'],
  ['no score', '"score":1.0', '"score":null', '/score (line 1): expected a number'],
])('the evaluator refuses %s, and says where', (_, from, to, message) => {
  expect(() => evaluate(perfect, annotationsOf(perfect), textOf(perfect).replace(from, to))).toThrow(message);
});

test('the evaluator refuses a query whose truth and prediction have no area', () => {
  const flat: Boxes = { start: 10, boxes: [[10, 10, 10, 60]] };
  expect(() => evaluate([{ truth: flat, guess: flat, score: 1 }])).toThrow('expected a box with an area');
});

const clip = '/results/videos/0/clips/0';
const set = `${clip}/predictions/0/query_sets`;
test.each([
  ['another version', '"version":"1.0.5"', '"version":"1.0"', 'value.wrong', '/version'],
  ['a version that is a number', '"version":"1.0.5"', '"version":1', 'value.type', '/version'],
  ['another challenge', 'ego4d_vq2d', 'ego4d_vq3d', 'value.wrong', '/challenge'],
  ['no results', '"results"', '"result"', 'member.missing', '/results'],
  ['an extra member', '{"video_uid"', '{"fps":30,"video_uid"', 'member.unknown', '/results/videos/0/fps'],
  ['a missing clip', /clip-0/, 'clip-9', 'ids.missing', '/results/videos/0/clips'],
  ['an unknown clip', /clip-0/, 'clip-9', 'ids.unknown', `${clip}/clip_uid`],
  ['a clip twice', /clip-1/, 'clip-0', 'ids.repeated', '/results/videos/0/clips/1/clip_uid'],
  ['an unknown video', 'video-1', 'video-7', 'ids.unknown', '/results/videos/1/video_uid'],
  ['a missing query set', '"1":{', '"2":{', 'ids.missing', set],
  ['an unknown query set', '"1":{', '"9":{', 'ids.unknown', `${set}/9`],
  [
    'a missing prediction',
    /"predictions":\[.*?"score":1.0\}\}\}\]/,
    '"predictions":[]',
    'list.length',
    `${clip}/predictions`,
  ],
  ['a score of null', '"score":1.0', '"score":null', 'value.type', `${set}/1/score`],
  ['a NaN score', '"score":1.0', '"score":NaN', 'number.not_finite', `${set}/1/score`],
  ['a missing score', ',"score":1.0', '', 'member.missing', `${set}/1/score`],
  ['a gap', '"fno":12', '"fno":14', 'track.gap', `${set}/1/bboxes/2/fno`],
  ['a frame twice', '"fno":12', '"fno":11', 'track.repeated', `${set}/1/bboxes/2/fno`],
  ['a negative frame', '"fno":10', '"fno":-1', 'frame.range', `${set}/1/bboxes/0/fno`],
  ['a frame with a fraction', '"fno":10', '"fno":10.5', 'value.type', `${set}/1/bboxes/0/fno`],
  ['a frame past the clip', '"fno":12', '"fno":900', 'track.rate', `${set}/1/bboxes/2/fno`],
  [
    'frames at 30 a second',
    /"fno":1(\d)/g,
    (_: string, n: string) => `"fno":${60 + 6 * Number(n)}`,
    'track.rate',
    `${set}/1/bboxes`,
  ],
  ['an inverted box', '"x1":10.0', '"x1":99.0', 'box.inverted', `${set}/1/bboxes/0`],
  ['a box outside the frame', '"x2":50.0', '"x2":5000.0', 'box.outside', `${set}/1/bboxes/0`],
  ['a missing side', '"x1":10.0,', '', 'member.missing', `${set}/1/bboxes/0/x1`],
  [
    'a track after the query',
    /"fno":(1\d)/g,
    (_: string, n: string) => `"fno":4${n}`,
    'track.after_query',
    `${set}/1/bboxes`,
  ],
  ['tied scores', '"score":1.0', '"score":0.5', 'score.tied', '/results/videos'],
])('the check finds %s', (_, from, to, code, at) => {
  const text = textOf(perfect);
  const mutated = typeof to === 'string' ? text.replace(from, to) : text.replace(from, to);
  expect(mutated).not.toBe(text);
  const findings = vq2d.check('submission', parseJson('predictions.json', mutated), annotationsOf(perfect));
  expect(findings.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
});

test('the check tells another order from other ids', () => {
  const text = textOf(perfect).replace('clip-0', 'clip-x').replace('clip-1', 'clip-0').replace('clip-x', 'clip-1');
  const findings = vq2d.check('submission', parseJson('predictions.json', text), annotationsOf(perfect));
  expect(findings).toEqual([expect.objectContaining({ code: 'order.differs', at: `${clip}/clip_uid` })]);
});

const query = '/videos/0/clips/0/annotations/0/query_sets/1';
test.each([
  ['a gap', '"frame_number":12', '"frame_number":15', 'track.gap', `${query}/response_track/2/frame_number`],
  ['an empty track', /"response_track":\[.*?\]/, '"response_track":[]', 'list.empty', `${query}/response_track`],
  ['a box without width', '"width":40', '"width":0', 'box.inverted', `${query}/response_track/0`],
  ['another rate', '"clip_fps":5', '"clip_fps":30', 'track.rate', '/videos/0/clips/0/clip_fps'],
  ['no visual crop', '"visual_crop"', '"crop"', 'member.missing', `${query}/visual_crop`],
  ['an is_valid that is text', '"is_valid":true', '"is_valid":"yes"', 'value.type', `${query}/is_valid`],
])('the check of annotations finds %s', (_, from, to, code, at) => {
  const text = jsonText(annotationsOf(perfect).value as JsonValue);
  const findings = vq2d.check('annotations', parseJson('vq_val.json', text.replace(from, to)));
  expect(findings.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
});

/** The numbers of queries whose scores all differ, written as ego4d.md 3.3 says. */
function definition(list: readonly Query[]): Record<string, number> {
  const overlaps = list.map(({ truth, guess }) => {
    const span = ({ start, boxes: listed }: Boxes): [number, number] =>
      listed.length === 0 ? [0, -1] : [start, start + listed.length - 1];
    const [[s1, e1], [s2, e2]] = [span(guess), span(truth)];
    const both = Math.max(0, Math.min(e1, e2) - Math.max(s1, s2) + 1);
    const area = ([x1, y1, x2, y2]: Corners): number => (x2 - x1) * (y2 - y1);
    const pairs = truth.boxes.flatMap((box, k) => {
      const other = guess.boxes[truth.start + k - guess.start];
      if (other === undefined) return [];
      const w = Math.max(0, Math.min(box[2], other[2]) - Math.max(box[0], other[0]));
      const h = Math.max(0, Math.min(box[3], other[3]) - Math.max(box[1], other[1]));
      return [{ shared: w * h, union: area(box) + area(other) - w * h }];
    });
    const shared = pairs.reduce((sum, pair) => sum + pair.shared, 0);
    const volume = [...truth.boxes, ...guess.boxes].reduce((sum, box) => sum + area(box), 0) - shared;
    return {
      temporal: both / (e1 - s1 + 1 + e2 - s2 + 1 - both),
      spatial: shared / volume,
      recovered: pairs.filter((pair) => pair.shared / pair.union >= 0.5).length,
    };
  });
  const ranked = [...list.keys()].sort((a, b) => list[b]!.score - list[a]!.score);
  const precision = (hit: (q: number) => boolean): number => {
    const precisions = ranked.map((_, k) => ranked.slice(0, k + 1).filter(hit).length / (k + 1));
    return ranked.reduce((sum, q, k) => sum + (hit(q) ? Math.max(...precisions.slice(k)) / list.length : 0), 0);
  };
  const mean = (kind: 'temporal' | 'spatial'): number =>
    [0.25, 0.5, 0.75, 0.95].reduce((sum, t) => sum + precision((q) => overlaps[q]![kind] >= t) / 4, 0);
  return {
    tAP: mean('temporal'),
    tAP25: precision((q) => overlaps[q]!.temporal >= 0.25),
    stAP: mean('spatial'),
    stAP25: precision((q) => overlaps[q]!.spatial >= 0.25),
    recovery:
      (100 * overlaps.reduce((sum, { recovered }) => sum + recovered, 0)) /
      list.reduce((sum, { truth }) => sum + truth.boxes.length, 0),
    success: (100 * overlaps.filter(({ spatial }) => spatial >= 0.05).length) / list.length,
  };
}
