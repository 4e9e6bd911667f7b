import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeWindows } from '../../test/token-features.js';
import { windowReader } from './frame-rows.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-rows-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('windows of several files are the same, whether they are kept or read when they are asked for', async () => {
  const row = [2, 3];
  const value = (window: number, i: number): number => 10 * window + i;
  const a = await writeWindows(folder, 'a', { lasts: [60, 90, 120], row, value });
  const b = await writeWindows(folder, 'b', { lasts: [60, 90], row, value: (window, i) => 100 + value(window, i) });
  const places = [
    { path: a, row: 2 },
    { path: b, row: 1 },
    { path: a, row: 0 },
    { path: a, row: 2 },
  ];
  for (const most of [1e6, 12, 0]) {
    const load = await windowReader(places, { most });
    const found = await Promise.all(places.map(load));
    expect(found.map(({ shape, data }) => [shape, data[0]])).toEqual([20, 110, 0, 20].map((first) => [row, first]));
  }
  // What fits is read once: it is there when the file is gone.
  const load = await windowReader(places, { most: 12 });
  await rm(a);
  await rm(b);
  expect((await load(places[0]!)).data[5]).toBe(25);
  await expect(load(places[1]!)).rejects.toThrow('no such file');
});
