import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonText, type JsonValue } from '../../src/json.js';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, JsonDocument } from '../../src/types.js';
import { fhp } from './fhp.js';
import { keyFrames } from './fhp-instances.js';

const options: EvalOptions = { ties: 'numpy', detail: true };
type Point = readonly [number, number];
type Item = readonly (readonly [left: Point | null, right: Point | null])[];

function asDocument(name: string, value: unknown): JsonDocument {
  return parseJson(name, jsonText(value as JsonValue)); // JSON by construction
}

/** One clip an item; the key of item i is `${i}_${99}`. */
function annotationsOf(items: readonly Item[]): JsonDocument {
  const clips = items.map((item, i) => ({
    clip_id: i,
    video_uid: `video ${i >> 1}`,
    frames: [
      Object.fromEntries(
        item.map(([left, right], time) => [
          keyFrames[time]!,
          {
            frame: 100 + 15 * time,
            boxes: [...(left ? [{ left_hand: left }] : []), ...(right ? [{ right_hand: right }] : [])],
          },
        ]),
      ),
    ],
  }));
  return asDocument('fho_hands_val.json', { version: '1', clips });
}

function recordsOf(items: readonly Item[]): Record<string, unknown>[] {
  return items.map((item, i) => ({
    schema: 'egolens.hands/1',
    of: { kind: 'video', uid: `video ${i >> 1}` },
    id: `${i}_99`,
    points: item.map(([left, right]) => [left ?? [7, 7], right ?? [7, 7]]),
  }));
}

const place = fc.tuple(fc.integer({ min: 1, max: 1919 }), fc.integer({ min: 1, max: 1439 }));
const hand = fc.option(place, { freq: 4 });
const itemOf = (pair: fc.Arbitrary<readonly [Point | null, Point | null]>): fc.Arbitrary<Item> =>
  fc.array(pair, { minLength: 5, maxLength: 5 });
const items = fc.array(itemOf(fc.tuple(hand, hand)), { minLength: 1, maxLength: 5 });
const whole: Item = keyFrames.map(
  (_, time) =>
    [
      [300 + time, 500],
      [1400, 600 - time],
    ] as const,
);

test('each number is the plain mean of the distances of annotated hands', () => {
  fc.assert(
    fc.property(
      items,
      fc.array(fc.array(place, { minLength: 10, maxLength: 10 }), { minLength: 6, maxLength: 6 }),
      (random, guesses) => {
        const truth = [whole, ...random];
        const submission = Object.fromEntries(
          truth.map((_, i) => [`${i}_99`, guesses[i]!.flat().map((value) => value * 30)]),
        );
        const wanted = [0, 1].flatMap((side) =>
          [0, 4].map((from) => {
            const distances = truth.flatMap((item, i) =>
              item.flatMap((hands, time) => {
                const centre = hands[side];
                if (!centre || time < from) return [];
                const guess = guesses[i]![2 * time + side]!;
                return [Math.hypot(guess[0] - centre[0], guess[1] - centre[1])];
              }),
            );
            return distances.reduce((sum, distance) => sum + distance, 0) / distances.length;
          }),
        );
        const prepared = fhp.prepare([annotationsOf(truth)], [asDocument('submission.json', submission)], options);
        const { official, rows, perItem, perClass } = prepared.evaluate(options);
        const found = ['left_mean_disp', 'left_contact_disp', 'right_mean_disp', 'right_contact_disp'].map(
          (key) => official[key],
        );
        found.forEach((value, i) => expect(value).toBeCloseTo(wanted[i]!, 9));
        expect(perItem).toHaveLength(2 * truth.length);
        expect(perClass).toHaveLength(10);
        const everyUnit = Int32Array.from(prepared.units, (_, i) => i);
        prepared.resample(everyUnit, 'numpy').forEach(({ metric, value }, i) => {
          expect(metric).toBe(rows[i]!.metric);
          expect(value).toBeCloseTo(rows[i]!.value, 9);
        });
      },
    ),
  );
});

test.each(['sum', 'mean'] as const)('truth as predictions has no displacement (%s)', (fhpScale) => {
  fc.assert(
    fc.property(items, (random) => {
      const truth = [whole, ...random];
      const annotations = annotationsOf(truth);
      const { json, counts } = fhp.submission!(recordsOf(truth), annotations, { fillMissing: false, fhpScale });
      expect(counts).toEqual({ written: truth.length, filled: 0, left_out: 0 });
      const submission = asDocument('submission.json', json);
      const findings = fhp.check('submission', submission, annotations);
      expect(findings.filter(({ level }) => level === 'error')).toEqual([]);
      expect(findings.length > 0).toBe(fhpScale === 'mean');
      for (const { value } of fhp.prepare([annotations], [submission], { ...options, fhpScale }).evaluate(options)
        .rows) {
        expect(value).toBeCloseTo(0, 9);
      }
    }),
    { numRuns: 30 },
  );
});

test('records are scored without a detour, and every number is written with a point', () => {
  const annotations = annotationsOf([whole]);
  const records = asDocument('hands.ndjson', recordsOf([whole]));
  expect(fhp.prepare([annotations], [records], options).evaluate(options).rows[0]!.value).toBeCloseTo(0, 9);
  const { json } = fhp.submission!(recordsOf([whole]), annotations, { fillMissing: false });
  expect(jsonText(json as JsonValue)).toMatch(/^\{"0_99":\[9000\.0,15000\.0,42000\.0,18000\.0,9030\.0,/);
});

test('missing items are left out, or filled with the mean of the others', () => {
  const annotations = annotationsOf([whole, whole, whole]);
  const some = recordsOf([whole, whole]);
  expect(fhp.submission!(some, annotations, { fillMissing: false }).counts).toMatchObject({ written: 2, left_out: 1 });
  const { json, counts } = fhp.submission!(some, annotations, { fillMissing: true });
  expect(counts).toEqual({ written: 2, filled: 1, left_out: 0 });
  const filled = asDocument('submission.json', json).value as Record<string, number[]>;
  expect(filled['2_99']).toEqual(filled['0_99']);
});

test.each([
  ['of an unknown key', { id: '9_9' }, 'data.unknown_id'],
  ['of a file of one’s own', { of: { kind: 'file' } }, 'data.invalid'],
  ['of another task', { schema: 'egolens.pnr/1' }, 'data.invalid'],
  ['with four key times', { points: whole.slice(1) }, 'data.invalid'],
])('submit refuses a record %s', (_, change, code) => {
  const records = [{ ...recordsOf([whole])[0], ...change }];
  expect(() => fhp.submission!(records, annotationsOf([whole]), { fillMissing: false })).toThrow(
    expect.objectContaining({ code }),
  );
});

const sums = whole.flat(2).map((value) => (value ?? 0) * 30);
const sound = { '0_99': sums, '1_99': sums, '2_99': sums };
const changed = (at: number, value: unknown): unknown[] => sums.map((sum, i) => (i === at ? value : sum));

test('a sound submission has no finding', () => {
  expect(fhp.check('submission', asDocument('submission.json', sound), annotationsOf([whole, whole, whole]))).toEqual(
    [],
  );
});

test.each<[what: string, text: unknown, code: string, at: string]>([
  ['a list at the top', [sums], 'file.form', ''],
  ['null', null, 'file.form', ''],
  ['no key', {}, 'file.empty', ''],
  ['an envelope', { version: '1.0', results: sound }, 'file.envelope', '/results'],
  ['an annotation file', { clips: [] }, 'file.form', '/clips'],
  ['a missing key', { '0_99': sums, '1_99': sums }, 'ids.missing', ''],
  ['low coverage', { '0_99': sums, '1_99': sums }, 'ids.coverage', ''],
  ['an unknown key', { ...sound, '7_1': sums }, 'ids.unknown', '/7_1'],
  ['the frame itself in the key', { ...sound, '0_100': sums }, 'ids.unknown', '/0_100'],
  ['19 values', { ...sound, '1_99': sums.slice(1) }, 'list.length', '/1_99'],
  ['21 values', { ...sound, '1_99': [...sums, 1] }, 'list.length', '/1_99'],
  ['nested values', { ...sound, '1_99': whole }, 'field.type', '/1_99/0'],
  ['text', { ...sound, '1_99': changed(3, '5') }, 'field.type', '/1_99/3'],
  ['null for a value', { ...sound, '1_99': changed(0, null) }, 'field.type', '/1_99/0'],
  ['true', { ...sound, '1_99': changed(19, true) }, 'field.type', '/1_99/19'],
  ['an object', { ...sound, '1_99': { points: sums } }, 'field.type', '/1_99'],
  [
    'NaN',
    `{"0_99":${JSON.stringify(sums)},"1_99":[NaN${',1e4'.repeat(19)}],"2_99":${JSON.stringify(sums)}}`,
    'number.not_finite',
    '/1_99/0',
  ],
  [
    'infinity',
    `{"0_99":${JSON.stringify(sums)},"1_99":[-Infinity${',1e4'.repeat(19)}],"2_99":${JSON.stringify(sums)}}`,
    'number.not_finite',
    '/1_99/0',
  ],
  [
    'a key twice',
    `{"0_99":${JSON.stringify(sums)},"1_99":[],"1_99":${JSON.stringify(sums)},"2_99":${JSON.stringify(sums)}}`,
    'json.duplicate_key',
    '/1_99',
  ],
  ['a value of no picture', { ...sound, '1_99': changed(3, 1e7) }, 'number.range', '/1_99/3'],
  ['one view in one item', { ...sound, '1_99': sums.map((sum) => sum / 30) }, 'values.scale', '/1_99'],
  ['one view everywhere', { '0_99': whole.flat(2), '1_99': whole.flat(2), '2_99': whole.flat(2) }, 'values.scale', ''],
])('check tells %s', (_, text, code, at) => {
  const json = typeof text === 'string' ? text : JSON.stringify(text);
  const findings = fhp.check('submission', parseJson('submission.json', json), annotationsOf([whole, whole, whole]));
  expect(findings.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
});

test('another file to compare with is one finding', () => {
  const other = asDocument('moments_val.json', { videos: [] });
  const findings = fhp.check('submission', asDocument('submission.json', sound), asDocument('x.json', [other.value]));
  expect(findings.map(({ code }) => code)).toEqual(['reference.unreadable']);
});

test('faults of annotations are told', () => {
  const document = asDocument('fho_hands_val.json', {
    clips: [
      { clip_id: 1, frames: [{ pre_45: { frame: 9, boxes: [{ left_hand: [1] }] }, pre_30: { frame: 4 } }] },
      { clip_id: 2, frames: [{ pre_30: { frame: 4 } }] },
      { clip_id: 3 },
    ],
  });
  expect(fhp.check('annotations', document).map(({ code, at }) => `${code} ${at}`)).toEqual([
    'field.type /clips/0/frames/0/pre_45/boxes/0/left_hand',
    'order.time /clips/0/frames/0/pre_30/frame',
    'field.missing /clips/1/frames/0/pre_45',
    'field.type /clips/2',
  ]);
});
