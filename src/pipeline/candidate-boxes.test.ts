import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { boxName, candidateBoxesOf, mostBoxes, readCandidateBoxes } from './candidate-boxes.js';

const boxesIn = (value: unknown, name = 'boxes.json') => candidateBoxesOf([parseJson(name, JSON.stringify(value))]);
const size = [100, 50] as const;
const same = (id: number): number => id;

test.each([
  ['records', [{ id: 'a', box: [1, 2, 3, 4], score: 0.5, noun_category_id: 7 }]],
  ['records by uid with a list', [{ uid: 'a', boxes: [[1, 2, 3, 4]], score: 0.5, noun_category_id: 7 }]],
  ['records with whole boxes', [{ id: 'a', boxes: [{ box: [1, 2, 3, 4], score: 0.5, noun_category_id: 7 }] }]],
  ['our records', [{ schema: 'egolens.interaction/1', id: 'a', box: [1, 2, 3, 4], noun_category_id: 7, score: 0.5 }]],
  ['detections by uid', { a: [{ box: [1, 2, 3, 4], score: 0.5, noun_category_id: 7 }] }],
  ['a submission', { version: '1.0', results: { a: [{ box: [1, 2, 3, 4], score: 0.5, noun_category_id: 7 }] } }],
])('%s', (_, value) => {
  expect(boxesIn(value).of('a', size, same)).toEqual([{ box: [1, 2, 3, 4], score: 0.5, noun: 7 }]);
});

test('annotations give the boxes of the truth without what it says of them', () => {
  const object = { box: [1, 2, 3, 4], noun_category_id: 7, verb_category_id: 1, time_to_contact: 1 };
  const file = boxesIn({ annotations: [{ uid: 'a', objects: [object] }, { uid: 'b' }] });
  expect(file.of('a', size, same)).toEqual([{ box: [1, 2, 3, 4], score: 1 }]);
  expect(file.of('b', size, same)).toEqual([]);
});

test('boxes are cut to the frame; those without anything in it go, and both are told once', () => {
  const file = boxesIn({
    a: [
      { box: [-10, -1e300, 1e300, 20], score: 0.2 },
      { box: [90, 40, 120, 60], score: 0.9 },
      { box: [100, 0, 110, 10], score: 1 },
      { box: [5, 5, 5, 9], score: 1 },
      { box: [9, 9, 5, 5], score: 1 },
      { box: [1, 1, 2, 2], score: -1 },
    ],
  });
  for (let time = 0; time < 2; time++) {
    expect(file.of('a', size, same).map(({ box }) => box)).toEqual([
      [90, 40, 100, 50],
      [0, 0, 100, 20],
    ]);
  }
  expect(file.notes()).toEqual([
    '`boxes.json`: 2 boxes reached beyond their frames and were cut',
    '`boxes.json`: 4 boxes without a side, a score or a place in their frames left out',
  ]);
});

test('the best boxes of a frame stay, nouns that are no class go', () => {
  const many = Array.from({ length: mostBoxes + 10 }, (_, i) => ({
    box: [i, 0, i + 1, 1],
    score: (i + 1) / 100,
    noun_category_id: i,
  }));
  const found = boxesIn({ a: many }).of('a', size, (id) => (id === mostBoxes + 9 ? 2 : undefined));
  expect(found).toHaveLength(mostBoxes);
  expect(found[0]).toMatchObject({ score: (mostBoxes + 10) / 100, noun: 2 });
  expect(found[1]).not.toHaveProperty('noun');
});

test('boxes of an own video go by the video and the frame, whatever their number', () => {
  const file = boxesIn([{ id: 'kitchen/lunch#4', frame: 12, box: [1, 2, 3, 4] }]);
  expect(file.of(boxName('kitchen/lunch', 12), size, same)).toHaveLength(1);
  expect(file.of(boxName('kitchen/lunch', 13), size, same)).toEqual([]);
});

test('ids are compared with those that are asked about', () => {
  const file = boxesIn({ a: [{ box: [1, 2, 3, 4] }], z: [{ box: [1, 2, 3, 4] }] });
  expect(file.compare(['a', 'b', 'c'], 'val.json')).toEqual([
    '`boxes.json`: no boxes for 2 of 3 frames of `val.json`',
    '`boxes.json`: boxes of 1 frames that `val.json` does not ask about',
  ]);
  expect(() => file.compare(['b'], 'val.json')).toThrow(/boxes of 2 frames, as of `a`; `val.json` asks about none/);
});

test.each([
  ['a text', 'boxes', 'expected an object'],
  ['a record without an id', [{ box: [1, 2, 3, 4] }], '/0/id: expected an id, found none'],
  ['no box', [{ id: 'a' }], '/0/box: expected four numbers'],
  ['a box of three numbers', { a: [{ box: [1, 2, 3] }] }, 'expected four numbers [x1, y1, x2, y2]'],
  ['a box of texts', { a: [{ box: ['1', 2, 3, 4] }] }, '/a/0/box (line 1): expected four numbers'],
  ['a noun of half', { a: [{ box: [1, 2, 3, 4], noun_category_id: 0.5 }] }, 'expected a whole number, found 0.5'],
  [
    'a score of nothing',
    { a: [{ box: [1, 2, 3, 4], score: null }] },
    '/a/0/score (line 1): expected a number, found null',
  ],
  ['no list', { a: 4 }, '/a (line 1): expected a list of boxes, found 4'],
  ['nothing', {}, 'expected boxes of at least one frame, found none'],
])('%s is refused with its place', (_, value, message) => {
  expect(() => boxesIn(value)).toThrow(message);
});

test('JSON that nests without end is an error of its file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-boxes-'));
  try {
    const path = join(folder, 'deep.json');
    await writeFile(path, '['.repeat(200_000));
    await expect(readCandidateBoxes([path])).rejects.toThrow('deep.json');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('names that objects have by nature are ids like others', () => {
  const text = '{"__proto__": [{"box": [1, 2, 3, 4]}], "constructor": [{"box": [1, 2, 3, 4]}]}';
  const file = candidateBoxesOf([parseJson('boxes.json', text)]);
  expect(file.of('constructor', size, same)).toHaveLength(1);
  expect(file.of('toString', size, same)).toEqual([]);
});
