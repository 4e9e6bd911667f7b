import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, JsonDocument } from '../../src/types.js';
import { lta } from './lta.js';

const options: EvalOptions = { ties: 'numpy', detail: true };
type Action = readonly [verb: number, noun: number];
interface Sequences {
  verb: number[][];
  noun: number[][];
}

function asDocument(name: string, value: unknown): JsonDocument {
  return parseJson(name, JSON.stringify(value));
}

const seed = Array.from({ length: 26 }, (_, i): Action => [(i * 7) % 5, (i * 5) % 4]);

/** Clips `c0`, `c1`, … whose actions have the indices 10, 20, …; listed from the last to the first. */
function annotationsOf(clips: readonly (readonly Action[])[]): JsonDocument {
  const entries = clips.flatMap((actions, c) =>
    actions.map(([verb_label, noun_label], i) => ({
      video_uid: `v${c >> 1}`,
      clip_uid: `c${c}`,
      action_idx: 10 * (i + 1),
      verb: `verb ${verb_label}`,
      noun: `noun ${noun_label}`,
      verb_label,
      noun_label,
    })),
  );
  return asDocument('fho_lta_val.json', { version: '1', clips: entries.reverse() });
}

/** The truth of every key when `seen` actions are seen, five times. */
function truthAnswers(clips: readonly (readonly Action[])[], seen: number): Record<string, Sequences> {
  const answers: Record<string, Sequences> = {};
  clips.forEach((actions, c) => {
    for (let i = seen - 1; i + 20 < actions.length; i++) {
      const future = actions.slice(i + 1, i + 21);
      const five = (part: 0 | 1): number[][] => Array.from({ length: 5 }, () => future.map((action) => action[part]));
      answers[`c${c}_${10 * (i + 1)}`] = { verb: five(0), noun: five(1) };
    }
  });
  return answers;
}

function distance(a: readonly string[], b: readonly string[]): number {
  let row = b.map((_, j) => j + 1);
  a.forEach((x, i) => {
    let [corner, left] = [i, i + 1];
    row = b.map((y, j) => {
      const up = row[j]!;
      left = Math.min(up + 1, left + 1, corner + (x === y ? 0 : 1));
      corner = up;
      return left;
    });
  });
  return row.at(-1) ?? a.length;
}

const label = fc.integer({ min: 0, max: 4 });
const row = fc.array(label, { minLength: 20, maxLength: 20 });
const rows = fc.array(row, { minLength: 5, maxLength: 5 });

test('every number is that of the plain table, prefix by prefix', () => {
  const clip = fc.array(fc.tuple(label, label), { minLength: 23, maxLength: 25 });
  fc.assert(
    fc.property(
      fc.array(clip, { minLength: 1, maxLength: 3 }),
      fc.array(fc.tuple(rows, rows), { minLength: 9, maxLength: 9 }),
      (clips, guesses) => {
        const truth = truthAnswers(clips, 3);
        const keys = Object.keys(truth);
        const answers = Object.fromEntries(keys.map((key, i) => [key, { verb: guesses[i]![0], noun: guesses[i]![1] }]));
        const prepared = lta.prepare([annotationsOf(clips)], [asDocument('predictions.json', answers)], options);
        const { official, rows: scores } = prepared.evaluate(options);
        const symbols = {
          verb: ({ verb }: Sequences, k: number) => verb[k]!.map(String),
          noun: ({ noun }: Sequences, k: number) => noun[k]!.map(String),
          action: ({ verb, noun }: Sequences, k: number) => verb[k]!.map((v, z) => `${v} ${noun[k]![z]!}`),
        };
        for (const [kind, of] of Object.entries(symbols)) {
          const { ED } = official[kind] as { readonly ED: readonly number[] };
          for (const z of [1, 7, 20]) {
            const shares = keys.map((key) => {
              const wanted = of(truth[key]!, 0).slice(0, z);
              return Math.min(...[0, 1, 2, 3, 4].map((k) => distance(wanted, of(answers[key]!, k).slice(0, z)))) / z;
            });
            expect(ED[z - 1]).toBeCloseTo(shares.reduce((sum, share) => sum + share, 0) / keys.length, 12);
          }
        }
        const everyUnit = Int32Array.from(prepared.units, (_, i) => i);
        prepared.resample(everyUnit, 'numpy').forEach(({ metric, value }, i) => {
          expect(metric).toBe(scores[i]!.metric);
          expect(value).toBeCloseTo(scores[i]!.value, 12);
        });
      },
    ),
    { numRuns: 40 },
  );
});

const clips = [seed, seed.slice(0, 24), seed.slice(3)];
const annotations = annotationsOf(clips);
const taxonomy = asDocument('fho_lta_taxonomy.json', { verbs: ['a', 'b', 'c', 'd', 'e'], nouns: ['p', 'q', 'r', 's'] });

function recordsOf(answers: Readonly<Record<string, Sequences>>): Record<string, unknown>[] {
  return Object.entries(answers).map(([id, sequences]) => ({
    schema: 'egolens.sequence/1',
    of: { kind: 'clip', uid: 'c' },
    id,
    ...sequences,
  }));
}

test.each([1, 2, 4])('truth as predictions has distance 0 (%i seen actions)', (seen) => {
  const records = recordsOf(truthAnswers(clips, seen)).reverse();
  const { json, counts } = lta.submission!(records, annotations, { fillMissing: false });
  expect(counts).toEqual({ written: records.length, filled: 0, left_out: 0 });
  const submission = asDocument('submission.json', json);
  expect(lta.check('submission', submission, annotations)).toEqual([]);
  expect(lta.check('submission', submission, taxonomy)).toEqual([]);
  const { rows, perItem } = lta.prepare([annotations, taxonomy], [submission], options).evaluate(options);
  expect(rows.map(({ value }) => value)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(perItem).toHaveLength(3 * records.length);
  const direct = lta.prepare([annotations], [asDocument('records.ndjson', records)], options).evaluate(options);
  expect(direct.rows).toEqual(rows);
});

test('swapped neighbours cost two officially and one in the corrected numbers', () => {
  const straight = Array.from({ length: 21 }, (_, i): Action => [i, i]);
  const answers = truthAnswers([straight], 1);
  const [key] = Object.keys(answers);
  for (const sequence of [...answers[key!]!.verb, ...answers[key!]!.noun]) sequence.splice(4, 2, 6, 5);
  const evaluation = lta
    .prepare([annotationsOf([straight])], [asDocument('predictions.json', answers)], options)
    .evaluate(options);
  expect(evaluation.official).toMatchObject({ verb: { 'ED@20': 2 / 20 }, action: { 'ED@20': 2 / 20 } });
  expect(evaluation.corrected).toMatchObject({ verb: { 'ED@20': 1 / 20 }, action: { 'ED@20': 1 / 20 } });
});

test('missing keys are told from the seen actions of most clips, and filled with the most frequent classes', () => {
  const answers = truthAnswers(clips, 2);
  delete answers['c0_30'];
  delete answers['c2_20'];
  const prepared = lta.prepare([annotations], [asDocument('predictions.json', answers)], options);
  expect(prepared.evaluate(options).notes[0]).toMatch(/^2 of \d+ keys of 2 seen actions are not predicted/);
  const { json, counts } = lta.submission!(recordsOf(answers), annotations, { fillMissing: true });
  expect(counts).toMatchObject({ filled: 2, left_out: 0 });
  expect(lta.check('submission', asDocument('submission.json', json), annotations)).toEqual([]);
});

const sound = truthAnswers(clips, 2);
const first = sound['c0_20']!;
const inFirst = (change: Partial<Record<'verb' | 'noun' | 'score', unknown>>): unknown => ({
  ...sound,
  c0_20: { ...first, ...change },
});
const withVerb = (k: number, z: number, value: unknown): unknown =>
  inFirst({ verb: first.verb.map((row, i) => (i === k ? row.map((old, j) => (j === z ? value : old)) : row)) });
const without = (key: string): unknown => Object.fromEntries(Object.entries(sound).filter(([other]) => other !== key));
const turned = Array.from({ length: 20 }, (_, z) => first.verb.map((row) => row[z]));

test.each<[what: string, value: unknown, code: string, at: string]>([
  ['a list at the top', [sound], 'file.form', ''],
  ['no key', {}, 'file.empty', ''],
  ['an envelope', { version: '1.0', challenge: 'x', results: sound }, 'file.envelope', '/results'],
  ['an annotation file', { clips: [] }, 'file.form', '/clips'],
  ['a missing key', without('c0_30'), 'ids.missing', ''],
  ['low coverage', without('c0_30'), 'ids.coverage', ''],
  ['a missing first key of a clip', without('c1_20'), 'ids.missing', ''],
  ['an unknown clip', { ...sound, c9_20: first }, 'ids.unknown', '/c9_20'],
  ['an unknown action', { ...sound, c0_21: first }, 'ids.unknown', '/c0_21'],
  ['a key with too short a future', { ...sound, c0_70: first }, 'key.future', '/c0_70'],
  ['a key with fewer seen actions', { ...sound, c0_10: first }, 'key.seen', '/c0_10'],
  ['a list for a key', { ...sound, c0_20: [first] }, 'field.type', '/c0_20'],
  ['no verbs', inFirst({ verb: undefined }), 'field.missing', '/c0_20/verb'],
  ['no nouns', inFirst({ noun: undefined }), 'field.missing', '/c0_20/noun'],
  ['text for verbs', inFirst({ verb: 'cut' }), 'field.type', '/c0_20/verb'],
  ['four sequences', inFirst({ verb: first.verb.slice(1) }), 'list.length', '/c0_20/verb'],
  ['six sequences', inFirst({ noun: [...first.noun, first.noun[0]] }), 'list.length', '/c0_20/noun'],
  ['20 x 5', inFirst({ verb: turned }), 'list.length', '/c0_20/verb'],
  ['one sequence, not in a list', inFirst({ verb: first.verb[0] }), 'field.type', '/c0_20/verb/0'],
  [
    '19 classes',
    inFirst({ verb: first.verb.map((row, k) => (k === 2 ? row.slice(1) : row)) }),
    'list.length',
    '/c0_20/verb/2',
  ],
  [
    '21 classes',
    inFirst({ verb: first.verb.map((row, k) => (k === 2 ? [...row, 1] : row)) }),
    'list.length',
    '/c0_20/verb/2',
  ],
  ['a fraction', withVerb(1, 3, 0.5), 'field.type', '/c0_20/verb/1/3'],
  ['text for a class', withVerb(1, 3, '2'), 'field.type', '/c0_20/verb/1/3'],
  ['null', withVerb(1, 3, null), 'field.type', '/c0_20/verb/1/3'],
  ['true', withVerb(1, 3, true), 'field.type', '/c0_20/verb/1/3'],
  ['a class below 0', withVerb(1, 3, -1), 'number.range', '/c0_20/verb/1/3'],
  ['a class that no taxonomy has', withVerb(1, 3, 117), 'number.range', '/c0_20/verb/1/3'],
  ['another member', inFirst({ score: 1 }), 'field.unknown', '/c0_20/score'],
])('check tells %s', (_, value, code, at) => {
  const list = lta.check('submission', asDocument('submission.json', value), annotations);
  expect(list.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
});

test('the taxonomy bounds the classes', () => {
  const document = asDocument('submission.json', withVerb(4, 19, 5));
  expect(lta.check('submission', document, annotations)).toEqual([]);
  expect(lta.check('submission', document, taxonomy)).toMatchObject([
    { level: 'error', code: 'number.range', at: '/c0_20/verb/4/19' },
  ]);
});

test.each<[what: string, value: unknown, code: string]>([
  ['an unknown key', { c9_1: first }, 'data.unknown_id'],
  ['a key with too short a future', { c0_260: first }, 'data.unknown_id'],
  ['nothing', {}, 'data.invalid'],
  ['another number of sequences', inFirst({ noun: first.noun.slice(1) }), 'data.invalid'],
  ['another length', inFirst({ noun: first.noun.map((row) => row.slice(1)) }), 'data.invalid'],
  ['text', withVerb(0, 0, 'x'), 'data.invalid'],
  ['another task', { version: '1.0', challenge: 'ego4d_moment_queries' }, 'data.invalid'],
])('eval refuses %s', (_, value, code) => {
  expect(() => lta.prepare([annotations], [asDocument('predictions.json', value)], options)).toThrow(
    expect.objectContaining({ code }),
  );
});
