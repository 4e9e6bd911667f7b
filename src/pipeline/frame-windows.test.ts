import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeWindows, type WrittenWindows } from '../../test/token-features.js';
import type { FrameAsk } from '../ego4d/asked-frames.js';
import { parseJson } from '../json-reader.js';
import { indexFeatures } from './feature-index.js';
import { FrameQueries } from './frame-task.js';
import { frameFiles, rowAt, tokenGridOf, type FrameOptions } from './frame-windows.js';
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
  expect(rowAt({ form: { clock: undefined } as never, times }, null)).toBeUndefined();
  expect(rowAt({ form: { clock: undefined } as never, times }, 1.5)).toEqual({ row: 0, lag: 0.5 });
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

test('queries: the asks of a file of annotations, else the end of each window of an own video', async () => {
  const path = await write('v', { of: { kind: 'video', uid: 'v' } });
  const set = { index: await indexFeatures(folder) };
  const queries = new FrameQueries(() => [ask('a', 120), ask('b', 300)]);
  const { stretches, missing } = await queries.clips(document, set, {});
  expect(missing).toEqual(['b']);
  expect(stretches).toMatchObject([{ id: 'v', path, of: { kind: 'video', uid: 'v' }, rows: [0, 3] }]);
  expect(queries.of(stretches[0]!)).toMatchObject([{ ask: { id: 'a' }, rows: [2], time: 120.5 / 30 }]);
  for await (const own of wholeStretches(set, undefined, 'tokens')) {
    expect(queries.of(own)).toEqual([61, 91, 121].map((end, row) => ({ ask: null, time: end / 30, rows: [row] })));
  }
});
