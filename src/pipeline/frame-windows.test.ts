import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeWindows, type WrittenWindows } from '../../test/token-features.js';
import type { FrameAsk } from '../ego4d/asked-frames.js';
import { parseJson } from '../json-reader.js';
import { rational } from '../time.js';
import { anchorSample } from '../video/anchored-windows.js';
import { indexFeatures } from './feature-index.js';
import { FrameQueries } from './frame-task.js';
import { frameFiles, rowAt, spareOf, tokenGridOf, type FrameOptions } from './frame-windows.js';
import { wholeStretches } from './predict.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-frames-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const document = parseJson('asks.json', '{}');
const write = (name: string, more: Partial<WrittenWindows> = {}): Promise<string> =>
  writeWindows(folder, name, { lasts: [60, 90, 120], row: [4, 2], value: (row) => row, ...more });
const ask = (id: string, frame: number, more: Partial<FrameAsk> = {}): FrameAsk => ({
  ...{ id, videoUid: 'v', clipUid: 'c', frame, size: null },
  times: [{ video: (frame + 0.5) / 30, clip: (frame - 29.5) / 30 }],
  ...more,
});
const found = async (asks: readonly FrameAsk[], options?: FrameOptions) =>
  await frameFiles(asks, document, await indexFeatures(folder), options);

test('an ask goes to the window that ends at its frame, else to the last one before it, never to one that sees more', async () => {
  await write('v');
  const { files, missing, tokens } = await found([
    ask('at', 90),
    ask('after', 100),
    ask('before', 89),
    ask('long after', 151),
  ]);
  expect(files[0]!.places.map(({ ask: { id }, rows }) => [id, rows])).toEqual([
    ['at', [1]],
    ['after', [1]],
    ['before', [0]],
  ]);
  expect(files[0]!.of).toEqual({ kind: 'video', uid: 'v' });
  // The last window ends more than a second before.
  expect(missing).toEqual(['long after']);
  expect(tokens).toBe(4);
});

test('a frame before the first window has none', async () => {
  await write('v');
  expect((await found([ask('early', 40)])).missing).toEqual(['early']);
});

test('a file of the clip counts in seconds of the clip, unless it says that its seconds are those of the video', async () => {
  await write('c', { of: { kind: 'clip', uid: 'c' } });
  expect((await found([ask('a', 120)])).files[0]).toMatchObject({
    of: { kind: 'clip', uid: 'c' },
    places: [{ rows: [1] }],
  });
  await write('c', { of: { kind: 'video', uid: 'v' } });
  expect((await found([ask('a', 120)])).files[0]).toMatchObject({
    of: { kind: 'video', uid: 'v' },
    places: [{ rows: [2] }],
  });
});

test('an ask about several frames needs a window of each', async () => {
  await write('v');
  const times = [120, 60].map((frame) => ({ video: (frame + 0.5) / 30, clip: null }));
  const three = [...times, { video: 0.5, clip: null }];
  const { files, missing } = await found([
    ask('two', 120, { times: times as unknown as FrameAsk['times'] }),
    ask('three', 120, { times: three as unknown as FrameAsk['times'] }),
  ]);
  expect(files[0]!.places.map(({ rows }) => rows)).toEqual([[2, 0]]);
  expect(missing).toEqual(['three']);
});

test('only those that are wanted; without a file they are missing', async () => {
  await write('v');
  const asks = [ask('a', 90), ask('b', 90, { videoUid: 'w', clipUid: null }), ask('c', 90, { videoUid: 'x' })];
  const { files, missing } = await found(asks, { only: ({ videoUid }) => videoUid !== 'x' });
  expect([files[0]!.places.length, missing]).toEqual([1, ['b']]);
});

test('the digest tells other rows apart, and nothing else', async () => {
  await write('v');
  const one = await found([ask('a', 90)]);
  expect((await found([ask('a', 91)])).digest).toBe(one.digest);
  expect((await found([ask('a', 120)])).digest).not.toBe(one.digest);
});

test('pooled rows are refused where tokens are wanted, tokens where rows are, and files of other sizes', async () => {
  await write('v', { row: [2], lasts: [60] });
  await expect(found([ask('a', 60)])).rejects.toThrow('[1, 2] features; expected [rows, tokens, width]');
  expect((await found([ask('a', 60)], { kind: 'vectors' })).files).toHaveLength(1);
  await write('v');
  await expect(found([ask('a', 60)], { kind: 'vectors' })).rejects.toThrow('expected [rows, width]');
  await write('w', { row: [6, 2] });
  await expect(found([ask('a', 60), ask('b', 60, { videoUid: 'w' })])).rejects.toThrow('rows of 6 tokens');
  await write('w', { row: [4, 3] });
  await expect(found([ask('a', 60), ask('b', 60, { videoUid: 'w' })])).rejects.toThrow(
    expect.objectContaining({ code: 'data.shape' }) as Error,
  );
});

test('windows far before their frames are told once', async () => {
  await write('v');
  const notes: string[] = [];
  const bar = { advance: () => undefined, stop: () => undefined };
  const progress = { start: () => bar, note: (text: string) => notes.push(text), warn: () => undefined };
  await found([ask('a', 90), ask('b', 110)], {
    progress: progress as unknown as NonNullable<FrameOptions['progress']>,
  });
  expect(notes).toEqual([expect.stringContaining('`extract --at annotations`')]);
});

test('a time that nobody knows has no window', () => {
  const times = [{ index: 0, firstFrame: 0, lastFrame: 9, start: 0, end: 1 }];
  expect(rowAt(times, null, 0.01)).toBeUndefined();
  expect(rowAt(times, 1.5, 0.01)).toEqual({ row: 0, lag: 0.5 });
});

/** The preset of the windows that tests write: 8 frames, 8 apart. */
const preset = 'nano-8x8@1';
const rowsFor = async (frames: readonly number[], more: Partial<WrittenWindows>): Promise<unknown[]> => {
  await write('v', more);
  const { files } = await found(frames.map((frame) => ask(String(frame), frame)));
  return files.flatMap(({ places }) => places.map(({ ask: { id }, rows: [row] }) => [Number(id), row]));
};

test.each([15, 30, 60])(
  'at %i samples a second the window of a frame is the one that `extract --at` made for it',
  async (rate) => {
    const frames = [120, 121, 122, 155];
    const lasts = frames.map((frame) => anchorSample((frame + 0.5) / 30, rational(rate)));
    const distinct = [...new Set(lasts)];
    expect(await rowsFor(frames, { lasts: distinct, rate, preset })).toEqual(
      frames.map((frame, i) => [frame, distinct.indexOf(lasts[i]!)]),
    );
  },
);

test.each([15, 30, 60])(
  'at %i samples a second no window shows the frame after the one that is asked about',
  async (rate) => {
    // The first sample of which is frame 121.
    const last = Math.ceil((121 / 30) * rate);
    const rows = { lasts: [last - 1, last], rate };
    expect(await rowsFor([120], { ...rows, preset })).toEqual([[120, 0]]);
    expect(await rowsFor([120], { ...rows, lasts: [last], preset })).toEqual([]);
    expect(await rowsFor([120], { ...rows, lasts: [last] })).toEqual([]);
  },
);

test('a rate that the windows contradict is none', () => {
  const file = (named: string | undefined, times: readonly (readonly [start: number, end: number])[], clock?: object) =>
    ({ form: { preset: named, clock }, times: times.map(([start, end]) => ({ start, end })) }) as never;
  const windows = [
    [60, 117],
    [61, 118],
  ].map(([start, end]) => [start! / 30, end! / 30] as const); // two numbers each
  const least = 1 / 30;
  expect(spareOf(file(preset, windows))).toBeCloseTo(1.001 * least, 9);
  expect(spareOf(file(preset, [[0, 40 / 30]]))).toBeCloseTo(1.001 * least, 9);
  expect(spareOf(file(preset, windows, { rate: rational(15) }))).toBeCloseTo(1.001 / 15, 9);
  // `clip-frame`: one frame a second.
  for (const named of [undefined, 'mine@1', 'nano-8x8@99', 'clip-frame@1']) {
    expect(spareOf(file(named, [...windows, [0, 1]]))).toBeCloseTo(0.999 * least, 9);
  }
  // `--window`: twice as long.
  expect(
    spareOf(
      file(
        preset,
        [
          [60, 174],
          [61, 175],
        ].map(([start, end]) => [start! / 30, end! / 30]),
      ),
    ),
  ).toBeCloseTo(0.999 * least, 9);
});

test('clips of one video have a file each, though all of them go by the uid of the video too', async () => {
  const of = { kind: 'video', uid: 'v' } as const;
  const [one, two] = [await write('c', { of }), await write('d', { of, lasts: [150] })];
  const index = new Map([
    ['c', [one]],
    ['d', [two]],
    ['v', [one, two]],
  ]);
  const asks = [ask('a', 90), ask('b', 150, { clipUid: 'd' })];
  const { files, missing } = await frameFiles(asks, document, index);
  expect(missing).toEqual([]);
  expect(files.map(({ path, of: base, places }) => [path, base, places.map(({ rows }) => rows)])).toEqual([
    [one, of, [[1]]],
    [two, of, [[0]]],
  ]);
});

test('the file of the clip comes before that of the video', async () => {
  await write('v');
  const own = await write('c', { of: { kind: 'clip', uid: 'c' } });
  expect((await found([ask('a', 120)])).files).toMatchObject([{ path: own, places: [{ rows: [1] }] }]);
});

test('the token grid is that of the encoder, and other numbers of tokens are refused', async () => {
  const form = { path: 'v.npy', width: 2, clock: undefined, output: 'tokens', preset: 'p@1' };
  const [times, rows, columns] = await tokenGridOf({ ...form, model: 'videomae-nano' }, 256);
  expect(times * rows * columns).toBe(256);
  await expect(tokenGridOf({ ...form, model: 'videomae-nano' }, 255)).rejects.toThrow('`v.npy` has 255 a window');
  await expect(tokenGridOf({ ...form, model: undefined }, 256)).rejects.toThrow('does not say which encoder');
  await expect(tokenGridOf({ ...form, model: 'nowhere@0123456789ab' }, 256)).rejects.toThrow(
    expect.objectContaining({ code: 'model.not_found' }) as Error,
  );
});

test('queries: the asks of a file of annotations, else the last frame of each window of an own video', async () => {
  const path = await write('v', { of: { kind: 'video', uid: 'v' } });
  const set = { index: await indexFeatures(folder) };
  const queries = new FrameQueries(() => [ask('a', 120), ask('b', 300)]);
  const { stretches, missing } = await queries.clips(document, set, {});
  expect(missing).toEqual(['b']);
  expect(stretches).toMatchObject([{ id: 'v', path, of: { kind: 'video', uid: 'v' }, rows: [0, 3] }]);
  expect(queries.of(stretches[0]!)).toMatchObject([{ ask: { id: 'a' }, rows: [2], time: 120.5 / 30 }]);
  for await (const own of wholeStretches(set, undefined, 'tokens')) {
    const time = (frame: number): unknown => expect.closeTo((frame + 0.5) / 30, 9);
    expect(queries.of(own)).toEqual([60, 90, 120].map((last, row) => ({ ask: null, time: time(last), rows: [row] })));
  }
});
