import { expect, test } from 'vitest';
import type { FeatureClock, RowTime } from '../types.js';
import type { SequenceFile } from './feature-rows.js';
import { rowsOf } from './placed-clips.js';
import { ownWindows } from './state-windows.js';
import { stateFeeds, stateRecord } from './state-task.js';
import { tensor } from '../tensor.js';

const clock: FeatureClock = { rate: { num: 30, den: 1 }, hop: 15, frames: 30, step: 1, tail: 'align', rows: 40 };
const row = (index: number, start = index / 2): RowTime => {
  return { index, firstFrame: 30 * start, lastFrame: 30 * start + 29, start, end: start + 1 };
};
/** Rows of one second every half second. */
const fileOf = (times: readonly RowTime[], of: FeatureClock = clock): SequenceFile => ({
  form: { path: 'a.npy', width: 2, clock: of, model: undefined, output: undefined, preset: undefined },
  rows: times.length,
  tokens: null,
  times,
  meta: undefined,
});
const file = fileOf(Array.from({ length: 40 }, (_, i) => row(i)));

test('a video is cut into windows of eight seconds, the last one of which ends with it', () => {
  const windows = ownWindows(file, [0, 20.5]);
  expect(windows.map(({ start, end, rows }) => [start, end, ...rows])).toEqual([
    [0, 8, 0, 15],
    [8, 16, 15, 31],
    [12.5, 20.5, 24, 40],
  ]);
  expect(windows.map(({ id, first, step, rate }) => [id, first, step, rate])).toEqual([
    [null, 0.5, 0.5, 30],
    [null, 0, 0.5, 30],
    [null, 0, 0.5, 30],
  ]);
});

test('a short video is one window', () => {
  expect(ownWindows(fileOf([row(0), row(1)]), [0, 1.5])).toMatchObject([{ start: 0, end: 1.5, rows: [0, 2] }]);
});

test('a last row that was moved back to the end of the video is left out', () => {
  expect(ownWindows(fileOf([row(0), row(1), row(2, 0.7)]), [0, 1.7])).toMatchObject([{ rows: [0, 2] }]);
});

test('features without a grid are refused', () => {
  expect(() => ownWindows(fileOf([row(0)], { ...clock, rate: 'source' }), [0, 1])).toThrow('rate `source`');
});

test('a record counts its frame from the start of the clip, its time from that of the video', () => {
  const window = { id: 'u', start: 8, end: 16, rows: [15, 31], first: 0.25, step: 0.5, rate: 30 } as const;
  const found = stateRecord('pnr', { task: 'pnr', time: 2.5, score: 0.5 }, window, clock);
  // Half a second is the middle of the first row, a quarter second after the start of the clip.
  expect(JSON.parse(JSON.stringify(found, (_, value: unknown) => plain(value)))).toEqual({
    ...{ id: 'u', start: 8, end: 16, time: 10.25, frame: 67.5, score: 0.5 },
  });
  expect(stateRecord('oscc', { task: 'pnr', time: 2.5, score: 0.5 }, window, clock)).toBeUndefined();
});

test('rows are padded to those of the head, and cut to them', () => {
  const rows = tensor('float32', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6));
  const part = rowsOf(rows, [1, 3]);
  expect([...part.data]).toEqual([3, 4, 5, 6]);
  const long = stateFeeds([part, rows], 2);
  expect([...long['features']!.data]).toEqual([3, 4, 5, 6, 1, 2, 3, 4]);
  expect([...stateFeeds([part], 3)['mask']!.data]).toEqual([1, 1, 0]);
});

function plain(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'value' in value ? value.value : value;
}
