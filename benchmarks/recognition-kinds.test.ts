import { expect, test } from 'vitest';
import { parseJson } from '../src/json-reader.js';
import type { EvalOptions, JsonDocument } from '../src/types.js';
import { recognition } from './recognition.js';

const document = (name: string, value: unknown): JsonDocument => parseJson(name, JSON.stringify(value));
const options: EvalOptions = { ties: 'numpy', detail: true };

/** Three actions: cut onion, cut pan, put pan. */
const actions = [
  ['cut', 0, 'onion', 5],
  ['cut', 0, 'pan', 6],
  ['put', 1, 'pan', 6],
].map(([verb, verb_label, noun, noun_label], i) => ({
  ...{ video_uid: 'v', clip_uid: 'c', clip_parent_start_sec: 0, action_clip_start_sec: i, action_clip_end_sec: i + 1 },
  ...{ action_idx: i, verb, verb_label, noun, noun_label },
}));
const truth = document('fho_lta_val.json', { clips: actions });

/** Records that rank labels by falling score. */
const ranked = (id: string, kind: string, labels: readonly string[]): object[] =>
  labels.map((label, i) => ({ schema: 'egolens.label/1', id, kind, label, label_id: 90 + i, score: 1 - i / 10 }));

const predictions = document('p.ndjson', [
  ...ranked('c_0', 'verb', ['cut', 'put']),
  ...ranked('c_0', 'noun', ['onion', 'pan']),
  ...ranked('c_1', 'verb', ['put', 'cut']),
  ...ranked('c_1', 'noun', ['pan']),
  ...ranked('c_2', 'verb', ['put']),
]);

test('verbs, nouns and both at once, over the ids of the actions', () => {
  const prepared = recognition.prepare([truth], [predictions], options);
  const { rows, notes, perClass, perItem } = prepared.evaluate(options);
  expect(rows.map(({ metric, value }) => [metric, Number(value.toFixed(4))])).toEqual([
    ['verb_top1', 0.6667],
    ['verb_top5', 1],
    ['verb_mean_class', 0.75],
    ['noun_top1', 0.6667],
    ['noun_top5', 0.6667],
    ['noun_mean_class', 0.75],
    ['action_top1', 0.3333],
  ]);
  expect(notes).toEqual(['1 of 3 have no prediction and count as misses (segment, noun)']);
  expect(perClass).toContainEqual({ metric: 'verb_top1', value: 0.5, at: { label: 'cut', segments: 2 } });
  expect(perItem).toContainEqual({ metric: 'noun_rank', value: Infinity, at: { item: 'c_2' } });
  // Twice the first, once the third: the mistake is not among them.
  const [verb, , , , , , action] = prepared.resample(Int32Array.of(0, 0, 2), 'numpy');
  expect([verb!.value, action!.value]).toEqual([1, 2 / 3]);
});

test('numbers tell a class where the truth has no names', () => {
  const bare = actions.map(({ verb, noun, ...rest }) => ({ ...rest, was: [verb, noun] }));
  const byNumber = [{ id: 'c_0', kind: 'verb', label_id: 0, score: 1 }];
  const prepared = recognition.prepare([document('t.json', { clips: bare })], [document('p.json', byNumber)], options);
  expect(prepared.evaluate(options).rows[0]!.value).toBeCloseTo(1 / 3, 9);
});

test('an own list of verbs and nouns is scored by the ids that `recognize --segments` gives', () => {
  const list = [
    { input: 'films/a.mp4', start: 0, end: 1, verb: 'cut', noun: 'onion' },
    { input: 'films/a.mp4', start: 1, end: 2, verb: 'put', noun: 'pan' },
  ];
  const found = document('p.json', [...ranked('a#0', 'verb', ['cut']), ...ranked('a#1', 'verb', ['put'])]);
  const { rows } = recognition.prepare([document('t.json', list)], [found], options).evaluate(options);
  expect(rows.find(({ metric }) => metric === 'verb_top1')!.value).toBe(1);
});

test.each([
  ['a record without a kind', [{ id: 'c_0', label: 'cut', score: 1 }], /\/0\/kind.*expected `verb` or `noun`/],
  ['a record without a score', [{ id: 'c_0', kind: 'verb', label: 'cut' }], /\/0\/score.*expected a number/],
  ['a record without a label', [{ id: 'c_0', kind: 'verb', score: 1 }], /\/0\/label.*expected a label/],
  ['a list by id', { c_0: ['cut'] }, /expected records \{id, kind, label, score\}/],
])('%s is refused with its place', (_, value, message) => {
  expect(() => recognition.prepare([truth], [document('p.json', value)], options)).toThrow(message);
});

test('an empty truth is refused', () => {
  expect(() => recognition.prepare([document('t.json', { clips: [] })], [predictions], options)).toThrow(
    /at least one segment/,
  );
});

test('validate knows the ids of actions', () => {
  expect(recognition.check('predictions', predictions, truth)).toEqual([]);
  const strange = document('p.json', ranked('c_9', 'verb', ['cut']));
  expect(recognition.check('predictions', strange, truth).map(({ code }) => code)).toContain('ids.unknown');
  const broken = document('t.json', { clips: [{ ...actions[0], action_clip_end_sec: -1 }] });
  expect(recognition.check('annotations', broken)).toMatchObject([{ level: 'error', code: 'file.form' }]);
});
