import { expect, test } from 'vitest';
import { rational } from '../../src/time.js';
import { clipSeconds, gridOf, gridToSeconds, secondsToGrid, thinned } from './grid.js';

const grid = { stride: 16, window: 32, fps: 30 };

test('the middle of the first window is 0 on the grid', () => {
  expect(gridToSeconds(0, grid)).toBe(Math.fround(16 / 30));
  expect(secondsToGrid(16 / 30, grid)).toBeCloseTo(0, 6);
  expect(secondsToGrid(10, grid)).toBe(Math.fround(Math.fround(300 / 16) - 1));
});

test('seconds come back from the grid as they went', () => {
  for (const seconds of [0, 0.1, 7.77, 480]) {
    expect(gridToSeconds(secondsToGrid(seconds, grid), grid)).toBeCloseTo(seconds, 4);
  }
});

test('without offset 0 is the start of the first window', () => {
  expect(secondsToGrid(1.6, grid, 'none')).toBe(3);
});

test('every second feature doubles the stride and keeps the window', () => {
  expect(thinned(grid, 2)).toEqual({ stride: 32, window: 32, fps: 30 });
});

test('times are cut to the sequence, whose end is a float32', () => {
  expect(clipSeconds(-0.2, 8)).toBe(0);
  expect(clipSeconds(9, 8.1)).toBe(Math.fround(8.1));
  expect(clipSeconds(3.5, 8)).toBe(3.5);
});

test('a clock gives a grid, unless its rows follow the frames of the source', () => {
  const clock = { hop: 8, frames: 8, step: 2 };
  expect(gridOf({ ...clock, rate: rational(15, 2) })).toEqual({ stride: 8, window: 15, fps: 7.5 });
  expect(gridOf({ ...clock, rate: rational(15, 2), extent: 16 })?.window).toBe(16);
  expect(gridOf({ ...clock, rate: 'source' })).toBeUndefined();
});
