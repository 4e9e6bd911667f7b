import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { segmentsOf, type SegmentList } from './segments.js';

const read = (value: unknown, labels: 'needed' | 'optional' = 'needed'): SegmentList =>
  segmentsOf(parseJson('list.json', JSON.stringify(value)), { labels });

const action = {
  video_uid: 'v',
  clip_uid: 'c',
  clip_parent_start_sec: 100,
  action_clip_start_sec: 2,
  action_clip_end_sec: 3.5,
  action_idx: 7,
  verb: 'take',
  verb_label: 4,
  noun: 'cup',
  noun_label: 0,
};

test('an action of a clip lies in the clip and in the whole video', () => {
  const { kinds, segments } = read({ clips: [action] });
  expect(kinds).toEqual(['verb', 'noun']);
  expect(segments).toEqual([
    {
      id: 'c_7',
      places: [
        { name: 'c', kind: 'clip', start: 2, end: 3.5 },
        { name: 'v', kind: 'video', start: 102, end: 103.5 },
      ],
      labels: { verb: { name: 'take', number: 4 }, noun: { name: 'cup', number: 0 } },
    },
  ]);
});

test('an own list names videos by input or id; stretches of one video are numbered', () => {
  const { kinds, segments } = read([
    { input: 'films/a.b.mp4', start: 0, end: 1, label: 'cut' },
    { input: 'films/a.b.mp4', start: '1.5', end: '2', label: 'pour' },
    { id: 'whole', label: 3 },
    { id: 'named', input: 'x.mp4', start: 0, end: 2, label: 'cut' },
  ]);
  expect(kinds).toEqual(['label']);
  expect(segments.map(({ id }) => id)).toEqual(['a.b#0', 'a.b#1', 'whole', 'named']);
  expect(segments.map(({ places }) => places[0])).toEqual([
    { name: 'a.b', kind: 'file', start: 0, end: 1 },
    { name: 'a.b', kind: 'file', start: 1.5, end: 2 },
    { name: 'whole', kind: 'file' },
    { name: 'x', kind: 'file', start: 0, end: 2 },
  ]);
  expect(segments[2]!.labels).toEqual({ label: { number: 3 } });
});

test('labels may be missing where nobody needs them', () => {
  expect(read([{ id: 'a' }], 'optional').kinds).toEqual([]);
  const { verb, verb_label, noun, noun_label, ...unlabelled } = action;
  expect(read({ clips: [unlabelled] }, 'optional').segments[0]!.labels).toEqual({});
  expect([verb, verb_label, noun, noun_label]).toHaveLength(4);
});

test.each([
  ['no list', { a: 1 }, /expected a list of \{id or input/],
  ['an entry that is none', [5], /expected an object/],
  ['neither id nor input', [{ label: 'a' }], /expected `id` or `input`, found neither/],
  ['no label', [{ id: 'a' }], /expected labels: `label`, or `verb` and `noun`, found none/],
  ['both forms of labels', [{ id: 'a', label: 'x', verb: 'y' }], /either `label`, or `verb` and `noun`/],
  [
    'a label that some lack',
    [
      { id: 'a', verb: 'x', noun: 'y' },
      { id: 'b', verb: 'x' },
    ],
    /a `noun` as the others have/,
  ],
  [
    'two of one id',
    [
      { id: 'a', label: 'x' },
      { id: 'a', label: 'y' },
    ],
    /`a` a second time/,
  ],
  ['an end before its start', [{ id: 'a', start: 2, end: 1, label: 'x' }], /0 <= start < end, found 2 and 1/],
  ['a start without end', [{ id: 'a', start: 2, label: 'x' }], /expected a finite number, found none/],
  ['a label that is a list', [{ id: 'a', label: ['x'] }], /expected a name, or the number of a class/],
  ['an action without index', { clips: [{ ...action, action_idx: null }] }, /expected a finite number/],
  ['a negative class', { clips: [{ ...action, verb_label: -1 }] }, /a whole number of 0 or more/],
])('%s is refused with its place', (_, value, message) => {
  expect(() => read(value)).toThrow(message);
});

test.each([
  ['1e-05', 1e-5],
  ['.5', 0.5],
  [' +2. ', 2],
  ['1E0', 1],
])('a cell of CSV that spells a number as `%s`', (start, seconds) => {
  expect(read([{ id: 'a', start, end: '1e1', label: 'x' }]).segments[0]!.places[0]).toMatchObject({
    start: seconds,
    end: 10,
  });
});

test.each(['0x10', '1e', 'e5', '1e999', '1 2', '.', 'Infinity'])('a cell that is no number: `%s`', (end) => {
  expect(() => read([{ id: 'a', start: 0, end, label: 'x' }])).toThrow(/expected a finite number/);
});
