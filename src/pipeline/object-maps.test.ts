import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { mapsOf, mirroredColumns, shownTimes } from './object-maps.js';
import { ownFrames, placedFrames } from './own-frames.js';

/** Windows of 2 times of 1 x 2 places, one channel: 100 window + 10 time + place. */
const windows = (count: number) =>
  tensor(
    'float32',
    [count, 4, 1],
    Float32Array.from({ length: 4 * count }, (_, i) => 100 * (i >> 2) + 10 * ((i >> 1) & 1) + (i & 1)),
  );
const form = { grid: [1, 2], width: 1 } as const;

test('the maps are the last time of the own window, then earlier ones, then the last of each other window', () => {
  expect([...mapsOf([windows(1)], { ...form, maps: 1, frames: 1 }).data]).toEqual([10, 11]);
  expect([...mapsOf([windows(3)], { ...form, maps: 4, frames: 3 }).data]).toEqual([10, 11, 0, 1, 110, 111, 210, 211]);
  expect(shownTimes(4, 2)).toEqual([3, 0]);
  expect(shownTimes(4, 4)).toEqual([3, 2, 1, 0]);
});

test.each([
  ['another number of windows', windows(2), { maps: 1, frames: 1 }],
  ['fewer times than maps', windows(1), { maps: 3, frames: 1 }],
  ['tokens that fill no grid', tensor('float32', [1, 5, 1], new Float32Array(5)), { maps: 1, frames: 1 }],
])('%s: refused', (_, given, sizes) => {
  expect(() => mapsOf([given], { ...form, ...sizes })).toThrow('expected [1, n x 1 x 2, 1]');
});

test('a mirror turns the columns of every map round', () => {
  expect([...mirroredColumns(mapsOf([windows(1)], { ...form, maps: 2, frames: 1 }), 2).data]).toEqual([11, 10, 1, 0]);
});

/** Windows that end with frames of 10 a second. */
const ending = (...lasts: number[]) => ({
  times: lasts.map((last, index) => ({ index, firstFrame: 0, lastFrame: last, start: 0, end: (last + 1) / 10 })),
});

test('a head of one frame is asked about every window', () => {
  const at = [1, 2];
  const own = ownFrames(at, 1);
  expect(own.at).toBe(at);
  expect(own.rowsOf(ending(10, 20))).toEqual([[0], [1]]);
});

test('a head of three frames takes windows half a second before and after, as far as the video goes', () => {
  const own = ownFrames([0.2, 2], 3);
  expect(own.at).toEqual([0, 0.2, 0.7, 1.5, 2, 2.5]);
  // The video ends with frame 22.
  expect(own.rowsOf(ending(0, 2, 7, 15, 20, 22))).toEqual([
    [1, 0, 2],
    [4, 3, 5],
  ]);
  expect(ownFrames(undefined, 3).rowsOf(ending(5, 10))).toEqual([
    [0, 0, 1],
    [1, 0, 1],
  ]);
});

test('equal distances are divided, and the windows at their ends are asked about', () => {
  const own = ownFrames({ every: 1 }, 3);
  expect(own.at).toEqual({ every: 0.5 });
  expect(own.rowsOf(ending(5, 10, 15, 20))).toEqual([
    [1, 0, 2],
    [3, 2, 3],
  ]);
  expect(own.rowsOf(ending(3))).toEqual([[0, 0, 0]]);
});

test('a change that is placed has the windows that end with its three frames', () => {
  const own = placedFrames({ pre: 1, pnr: 2, post: 3 });
  expect(own.at).toEqual([2, 1, 3]);
  expect(own.rowsOf(ending(10, 20, 30))).toEqual([[1, 0, 2]]);
});

test('frames by number are refused where those around them are needed', () => {
  expect(() => ownFrames([{ frame: 3 }], 3)).toThrow('expected seconds');
});
