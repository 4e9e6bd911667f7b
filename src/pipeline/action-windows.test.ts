import { expect, test } from 'vitest';
import type { FeatureClock, RowTime } from '../types.js';
import { mostRows, ownAsk } from './action-windows.js';
import type { Stretch } from './predict.js';

const clock: FeatureClock = { rate: { num: 30, den: 1 }, hop: 15, frames: 30, step: 1, tail: 'align', rows: 200 };

/** Rows of one second every half second; the last one may have been moved back to the end. */
function stretch(rows: number, lastStart = (rows - 1) / 2): Stretch {
  const times = Array.from({ length: rows }, (_, index): RowTime => {
    const start = index === rows - 1 ? lastStart : index / 2;
    return { index, firstFrame: 30 * start, lastFrame: 30 * start + 29, start, end: start + 1 };
  });
  const form = { path: 'a.npy', width: 2, clock, model: undefined, output: undefined, preset: undefined };
  const end = lastStart + 1;
  return {
    ...{ id: 'a', input: 'a.mp4', of: { kind: 'file' }, clipUid: null, path: 'a.npy', rows: [0, rows] },
    ...{ file: { form, rows, tokens: null, times, meta: undefined }, offset: 0, duration: end, bounds: [0, end] },
  };
}

test('rows that end by the time are seen, no later ones', () => {
  expect(ownAsk(stretch(10), 2).rows).toEqual([0, 3]);
  expect(ownAsk(stretch(10), 2.49).rows).toEqual([0, 3]);
  expect(ownAsk(stretch(10), 2.5).rows).toEqual([0, 4]);
  expect(ownAsk(stretch(10), 1).rows).toEqual([0, 1]);
});

test('without a time the end of the video counts; a row that was moved back to it does not', () => {
  expect(ownAsk(stretch(10), undefined)).toEqual({ id: null, time: 5.5, rows: [0, 10] });
  expect(ownAsk(stretch(10, 4.2), undefined)).toEqual({ id: null, time: 5.2, rows: [0, 9] });
});

test('a minute is looked back at most', () => {
  expect(mostRows(0.5)).toBe(120);
  expect(ownAsk(stretch(200), undefined).rows).toEqual([80, 200]);
  expect(mostRows(300)).toBe(1);
});

test.each([
  [0.9, '`a.mp4`: asked at 0.9 s; the first row sees 0 to 1 s'],
  [-1, '`a.mp4`: asked at -1 s; the first row sees'],
  [6, '`a.mp4`: asked at 6 s; its rows end at 5.5 s'],
])('%d s is refused', (at, message) => {
  expect(() => ownAsk(stretch(10), at)).toThrow(message);
});
