import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { actionAsks, actionClips } from './action-clips.js';

const action = (index: number, more: object = {}): object => ({
  ...{ clip_uid: 'c', video_uid: 'v', action_idx: index, clip_parent_start_sec: 100 },
  ...{ action_clip_start_sec: index, action_clip_end_sec: index + 0.5 },
  ...{ verb: `verb ${index}`, noun: 'cup', verb_label: index, noun_label: 3 },
  ...more,
});
const read = (clips: unknown) => actionClips(parseJson('lta.json', JSON.stringify({ clips })));
const listed = (count: number, more: object = {}): object[] => Array.from({ length: count }, (_, i) => action(i, more));

test('actions stand in the order of their index, clip by clip', () => {
  const [first, second] = read([action(2), action(0, { clip_uid: 'd', clip_parent_start_sec: null }), action(1)]);
  expect(first).toMatchObject({ clipUid: 'c', videoUid: 'v', clipStart: 100 });
  expect(first!.actions.map(({ id, end }) => [id, end])).toEqual([
    ['c_1', 1.5],
    ['c_2', 2.5],
  ]);
  expect(first!.actions[0]!.labels).toEqual({ verb: { label: 1, name: 'verb 1' }, noun: { label: 3, name: 'cup' } });
  expect(second!.clipStart).toBeNull();
});

test('a clip of n actions has n - 20 - (seen - 1) asks that are scored, and more to learn from', () => {
  const clips = read(listed(24));
  const scored = actionAsks(clips, { inputActions: 2, least: 20 });
  expect(scored.map(({ id, seen, time }) => [id, seen, time])).toEqual([
    ['c_1', 2, 1.5],
    ['c_2', 3, 2.5],
    ['c_3', 4, 3.5],
  ]);
  expect(scored[0]!.future!.map(({ verb }) => verb.label)).toEqual(Array.from({ length: 20 }, (_, i) => i + 2));
  const all = actionAsks(clips, { inputActions: 1, least: 1 });
  expect(all).toHaveLength(23);
  expect(all.at(-1)!.future).toHaveLength(1);
});

test('the test split tells no future', () => {
  const clips = read(listed(22, { verb: undefined, noun: undefined, verb_label: undefined, noun_label: undefined }));
  expect(actionAsks(clips, { inputActions: 2, least: 20 })).toMatchObject([{ id: 'c_1', future: null }]);
});

test('of two actions with one index the later one is the key', () => {
  const clips = read([action(0), action(0, { action_clip_end_sec: 0.9 }), action(1)]);
  expect(actionAsks(clips, { inputActions: 1, least: 1 })).toMatchObject([{ id: 'c_0', seen: 2, time: 0.9 }]);
});

test.each([
  ['/clips', 'expected an object that holds a list of actions as `clips`, found 3', 3],
  ['/clips/0', 'expected an action, found 3', [3]],
  ['/clips/0/clip_uid', 'expected a uid', [action(0, { clip_uid: '../c' })]],
  ['/clips/0/action_idx', 'expected a number', [action(0, { action_idx: '0' })]],
  ['/clips/0/action_clip_end_sec', 'expected more than 0', [action(0, { action_clip_end_sec: 0 })]],
  ['/clips/0/verb_label', 'expected a whole number from 0', [action(0, { verb_label: -1 })]],
  ['/clips/0/noun_label', 'expected a whole number from 0', [action(0, { noun_label: undefined })]],
  ['/clips/1/video_uid', 'expected `v`, found "w"', [action(0), action(1, { video_uid: 'w' })]],
])('%s: %s', (at, rule, clips) => {
  expect(() => read(clips)).toThrow(`\`lta.json\`: ${at}`);
  expect(() => read(clips)).toThrow(rule);
});
