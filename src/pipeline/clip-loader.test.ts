import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../files.js';
import { readPreset } from '../models/presets.js';
import { BufferPool } from '../runtime/buffers.js';
import type { Preset } from '../types.js';
import { openVideo } from '../video/open.js';
import { readWindows, windowLayout } from '../video/windows.js';
import { openClipLoader, Turns, type ClipLoaderOptions } from './clip-loader.js';
import type { ClipSegment } from './clip-plan.js';

const base = readPreset('nano-16x2');
const preset: Preset = {
  ...base,
  sampling: { ...base.sampling, frames: 3, step: 4, hop: 3 },
  pixels: { ...base.pixels, size: 32 },
};
const fixture = (name: string): string => join(packageRoot, 'fixtures/videos', name);
const segments: readonly ClipSegment[] = [
  { path: fixture('demo.mp4'), start: 0, end: 1 },
  { path: fixture('vfr.mp4'), start: 0.2, end: 0.9 },
  { path: fixture('three-seconds.mp4'), start: 0.5, end: 2.5 },
  { path: fixture('rotated.mp4'), start: 0 },
  { path: fixture('three-seconds.mp4'), start: 2, end: 2.1 },
];

let folder: string;
/** Its header is whole, its pictures are zeros. */
let hollow: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-clips-'));
  hollow = join(folder, 'hollow.mp4');
  const bytes = readFileSync(fixture('three-seconds.mp4'));
  const at = bytes.indexOf('mdat');
  const size = bytes.readUInt32BE(at - 4);
  bytes.fill(0, at + 4, at - 4 + size);
  writeFileSync(hollow, bytes);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const open = (overrides: Partial<ClipLoaderOptions> = {}) =>
  openClipLoader({
    ...{ segments, preset, seed: 7, turns: new Turns(2), skipBroken: false },
    augmentation: { crop: 0.3, flip: true },
    ...overrides,
  });

const children = (): string[] =>
  process.platform === 'linux'
    ? execFileSync('sh', ['-c', 'cat /proc/[0-9]*/stat 2>/dev/null || true'], { encoding: 'utf8' })
        .split('\n')
        .filter((line) => line.includes('(ffmpeg)') && line.includes(`) S ${process.pid} `))
    : [];

test('batches are the same bytes with one decoder at a time and with three, and in another order of asking', async () => {
  await using one = await open({ turns: new Turns(1) });
  await using three = await open({ turns: new Turns(3) });
  const first = await one.train([1, 3, 4], 1);
  const [late, early] = await Promise.all([three.train([4], 1), three.train([1, 3], 1)]);
  expect(first.frames.shape).toEqual([3, 3, 32, 32, 3]);
  expect(Buffer.compare(Buffer.concat([early.frames.data, late.frames.data]), Buffer.from(first.frames.data))).toBe(0);
  const again = await one.train([1, 3, 4], 2);
  expect(Buffer.compare(again.frames.data, first.frames.data), 'the next epoch shows other clips').not.toBe(0);
});

test('without augmentation a clip is the window that extract takes from there', async () => {
  await using loader = await open({ segments: segments.slice(2, 3) });
  const { frames } = await loader.middle([0]);
  const source = await openVideo(fixture('three-seconds.mp4'));
  const layout = windowLayout(source, preset.sampling, preset.pixels);
  using buffers = new BufferPool(1, layout.bytes);
  // Nine frames at 30 a second around the middle of 0.5 to 2.5.
  const windows = readWindows(source, { ...preset, batch: 1, buffers, span: [1.5 - 4.5 / 30, 3] });
  const next = await windows.next();
  await windows.return(undefined as never); // no report is wanted
  expect(next.done).toBe(false);
  const { buffer } = next.value as { buffer: ArrayBuffer };
  expect(Buffer.compare(new Uint8Array(buffer, 0, layout.bytes), frames.data)).toBe(0);
});

test('some clips are mirrored, and only that changes', async () => {
  const two = segments.slice(1, 3);
  await using plain = await open({ segments: two, augmentation: { crop: 1, flip: false } });
  await using mirrored = await open({ segments: two, augmentation: { crop: 1, flip: true } });
  const samples = [0, 1];
  const [a, b] = [await plain.train(samples, 2), await mirrored.train(samples, 2)];
  const length = a.frames.data.length / samples.length;
  const states = samples.map((i) => {
    const [x, y] = [a, b].map(({ frames }) => frames.data.subarray(i * length, (i + 1) * length));
    if (Buffer.compare(x!, y!) === 0) return 'same';
    return Buffer.compare(turned(x!), y!) === 0 ? 'mirrored' : 'other';
  });
  expect(new Set(states)).toEqual(new Set(['same', 'mirrored']));
});

/** [.., 32, 3] with its columns the other way round. */
function turned(pixels: Uint8Array): Uint8Array {
  const result = new Uint8Array(pixels.length);
  for (let i = 0; i < pixels.length; i += 3) {
    const column = (i / 3) % 32;
    result.set(pixels.subarray(i, i + 3), i + 3 * (31 - 2 * column));
  }
  return result;
}

test('a video without a readable header is named; or left out and counted', async () => {
  const broken = [...segments, { path: fixture('no-moov.mp4'), start: 0, end: 1 }];
  await expect(open({ segments: broken })).rejects.toMatchObject({
    code: expect.stringMatching(/^(decode|input)\./) as string,
    details: { input: fixture('no-moov.mp4') },
  });
  await using loader = await open({ segments: broken, skipBroken: true });
  expect(loader.segments).toEqual(segments);
  expect([...loader.broken.keys()]).toEqual([fixture('no-moov.mp4')]);
});

test('a video that turns out broken while it is decoded is named, and no decoder is left', async () => {
  const all = [segments[1]!, segments[2]!, { path: hollow, start: 0.5, end: 2 }];
  {
    await using loader = await open({ segments: all });
    await expect(loader.train([0, 1, 2], 1)).rejects.toMatchObject({ details: { input: hollow } });
    expect(children()).toEqual([]);
  }
  await using loader = await open({ segments: all, skipBroken: true });
  const { frames, shown } = await loader.train([2, 1], 1);
  expect(shown, 'the next segment takes its place').toEqual([0, 1]);
  expect([...loader.broken.keys()]).toEqual([hollow]);
  const own = await loader.train([0, 1], 1);
  expect(Buffer.compare(own.frames.data, frames.data)).toBe(0);
});

test('a segment behind the end of its video is refused with its times', async () => {
  await using loader = await open({ segments: [{ path: fixture('vfr.mp4'), start: 1000, end: 1001 }] });
  await expect(loader.middle([0])).rejects.toMatchObject({
    code: 'input.too_short',
    message: expect.stringContaining('no frame from 1000.3') as string,
  });
});

test('closing ends what is being decoded', async () => {
  const loader = await open();
  const batch = loader.train([0, 1, 2, 3, 4], 1);
  batch.catch(() => undefined);
  await loader[Symbol.asyncDispose]();
  await expect(batch).rejects.toMatchObject({ code: 'run.interrupted' });
  expect(children()).toEqual([]);
});

test('the middle of each part is taken where a recipe spreads its frames', async () => {
  const spread: Preset = { ...preset, sampling: { ...preset.sampling, plan: 'segments', rate: 'source', step: 1 } };
  await using loader = await open({ preset: spread, segments: segments.slice(2, 3) });
  const { frames } = await loader.middle([0]);
  const length = 32 * 32 * 3;
  const parts = [0, 1, 2].map((i) => Buffer.from(frames.data.subarray(i * length, (i + 1) * length)).toString('hex'));
  expect(new Set(parts).size).toBe(3);
});
