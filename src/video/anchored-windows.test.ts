import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../files.js';
import { BufferPool } from '../runtime/buffers.js';
import { seededRandom } from '../random.js';
import type { PixelRecipe, SamplingRecipe, Span } from '../types.js';
import { AnchorFrames, anchorSample, anchorSamples, anchorWindow } from './anchored-windows.js';
import { openVideo, type VideoSource } from './probe.js';
import { findTools } from './tools.js';
import { readWindows, windowLayout, type AnchorTimes, type WindowsReport } from './windows.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-anchors-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const rate = { num: 30, den: 1 };
const recipe: SamplingRecipe = { plan: 'dense', frames: 4, step: 3, hop: 1, rate, tail: 'drop', views: [1, 1] };
const whole: PixelRecipe = { path: 'exact', resize: 'opencv-bilinear', to: 'stretch', size: 32, crop: 'none' };
const crops: PixelRecipe = { ...whole, to: 'short-side', crop: 'three' };

/** 50 frames at 30 a second, each of one grey level. */
const clip = join(folder, 'a.mkv');
let source: VideoSource;
beforeAll(async () => {
  const { ffmpegPath } = await findTools();
  const grey = `color=black:size=64x48:rate=30,geq=lum='20+4*N':cb=128:cr=128,trim=end_frame=50`;
  const codec = ['-c:v', 'ffv1', '-pix_fmt', 'yuv420p'];
  execFileSync(ffmpegPath, ['-nostdin', '-v', 'error', '-y', '-f', 'lavfi', '-i', grey, ...codec, `file:${clip}`]);
  source = await openVideo(clip);
});

interface Options {
  readonly at?: AnchorTimes;
  readonly span?: Span;
  readonly sampling?: Partial<SamplingRecipe>;
  readonly pixels?: PixelRecipe;
}

async function windows(
  video: VideoSource,
  { at, span, sampling = {}, pixels = whole }: Options,
): Promise<{ items: Buffer[]; report: WindowsReport; decoded: number }> {
  const shape = { ...recipe, ...sampling };
  const layout = windowLayout(video, shape, pixels);
  const buffers = new BufferPool(2, 3 * layout.bytes);
  let decoded = 0;
  const onProgress = (frames: number): void => {
    decoded = frames;
  };
  const reader = readWindows(video, { sampling: shape, pixels, batch: 3, buffers, span, at, onProgress });
  const items: Buffer[] = [];
  for (;;) {
    const next = await reader.next();
    if (next.done === true) return { items, report: next.value, decoded };
    const { buffer, count } = next.value;
    for (let i = 0; i < count; i++) items.push(Buffer.from(buffer.slice(i * layout.bytes, (i + 1) * layout.bytes)));
    // What is given back may be overwritten at once.
    new Uint8Array(buffer).fill(255);
    buffers.give(buffer);
  }
}

const lastSamples = ({ rows }: WindowsReport): number[] => rows.map(({ end }) => Math.round(end * 30) - 1);

describe('windows at given times', () => {
  test.each([
    ['stretched', whole],
    ['in three crops', crops],
  ])('have the bytes and times of the dense windows that end there: %s', async (_, pixels) => {
    const count = pixels.crop === 'three' ? 3 : 1;
    const dense = await windows(source, { pixels });
    const at = [9.5 / 30, 23 / 30, 11.2 / 30, 49.9 / 30];
    const anchored = await windows(source, { pixels, at });
    const expected = [9, 11, 23, 49].flatMap((last) =>
      Array.from({ length: count }, (__, crop) => (last - 9) * count + crop),
    );
    expect(anchored.items).toEqual(expected.map((row) => dense.items[row]));
    expect(anchored.report.rows).toEqual(expected.map((row, index) => ({ ...dense.report.rows[row]!, index })));
    expect([anchored.report.clock, anchored.report.origin]).toEqual([null, 0]);
  });

  test('repeat the first frame before the start, and start at 0', async () => {
    const [{ items, report }, single] = [
      await windows(source, { at: [0, 4 / 30] }),
      await windows(source, { at: [0, 1, 4].map((n) => (n + 0.5) / 30), sampling: { frames: 1 } }),
    ];
    const [first, second, fifth] = single.items as [Buffer, Buffer, Buffer];
    expect(items).toEqual([Buffer.concat([first, first, first, first]), Buffer.concat([first, first, second, fifth])]);
    expect(report.rows).toEqual([
      { index: 0, firstFrame: 0, lastFrame: 0, start: 0, end: 1 / 30 },
      { index: 1, firstFrame: 0, lastFrame: 4, start: 0, end: 5 / 30 },
    ]);
  });

  test('come once for equal samples, in the order of time, and decode nothing far behind the last', async () => {
    const { report, decoded } = await windows(source, { at: [0.5, 0.1, 0.51, 0.5, 0.1] });
    expect(lastSamples(report)).toEqual([3, 15]);
    expect(report.decodedFrames).toBe(16);
    expect(decoded).toBeLessThan(30);
  });

  test('end with the video up to half a second behind it, also where that was asked for', async () => {
    const end = 50 / 30;
    const dense = await windows(source, {});
    const [behind, both] = [
      await windows(source, { at: [0.9, end + 0.2, end + 0.49] }),
      await windows(source, { at: [49.5 / 30, end + 0.3] }),
    ];
    expect(lastSamples(behind.report)).toEqual([27, 49]);
    expect(behind.items).toEqual([dense.items[27 - 9], dense.items[49 - 9]]);
    expect(behind.report.decodedFrames).toBe(50);
    expect(lastSamples(both.report)).toEqual([49]);
    expect(both.items).toHaveLength(1);
  });

  test('further behind it are refused, with the end and the time', async () => {
    await expect(windows(source, { at: [0.5, 2.3] })).rejects.toMatchObject({
      code: 'input.too_short',
      message: expect.stringMatching(/ends at 1\.66\d s; asked for a window that ends at 2\.3 s$/) as string,
    });
  });

  test('every so often end at d, 2d, 3d, … below the end; in a shorter video at its last frame', async () => {
    expect(lastSamples((await windows(source, { at: { every: 0.5 } })).report)).toEqual([15, 30, 45]);
    expect(lastSamples((await windows(source, { at: { every: 5 / 30 } })).report).at(-1)).toBe(45);
    const [short, same] = [await windows(source, { at: { every: 60 } }), await windows(source, { at: [49.5 / 30] })];
    expect(short.items).toEqual(same.items);
    expect(short.report.rows).toEqual(same.report.rows);
    const all = await windows(source, { at: { every: 1 / 30 } });
    expect(lastSamples(all.report)).toEqual(Array.from({ length: 49 }, (_, i) => i + 1));
    expect(all.items.slice(8)).toEqual((await windows(source, {})).items);
  });

  test('of a video with other frame times show what was on display', async () => {
    const vfr = await openVideo(join(packageRoot, 'fixtures', 'videos', 'vfr.mp4'));
    const sampling = { rate: { num: 25, den: 1 } };
    const dense = await windows(vfr, { sampling });
    const rows = [0, 7, dense.report.rows.length - 1];
    const at = rows.map((row) => dense.report.rows[row]!.end - 0.02);
    const anchored = await windows(vfr, { sampling, at });
    expect(anchored.items).toEqual(rows.map((row) => dense.items[row]));
    expect(anchored.report.rows).toEqual(rows.map((row, index) => ({ ...dense.report.rows[row]!, index })));
  });

  test.each<[string, Options, RegExp]>([
    ['rate of the source', { at: [1], sampling: { rate: 'source' } }, /expected a fixed rate/],
    ['no time', { at: [] }, /found none/],
    ['a time before 0', { at: [1, -1] }, /found -1/],
    ['what is no number', { at: [NaN] }, /found NaN/],
    ['a time beyond all videos', { at: [1e12] }, /found 1000000000000/],
    ['less than a sample', { at: { every: 0.01 } }, /every 0.01 s/],
    ['no distance', { at: { every: NaN } }, /every NaN s/],
    ['endless distance', { at: { every: Infinity } }, /every Infinity s/],
  ])('refuse %s', async (_, options, message) => {
    await expect(windows(source, options)).rejects.toMatchObject({
      code: 'usage.flag',
      message: expect.stringMatching(message) as string,
    });
  });

  test('are of whole videos', async () => {
    await expect(windows(source, { at: [1], span: [0, 1] })).rejects.toMatchObject({ code: 'usage.conflict' });
  });
});

describe('the frames that are kept', () => {
  /** Sample -> what stands in its slot, while the samples pass by: each window must find its own. */
  function pass(lasts: readonly number[], shape: { frames: number; step: number }, count: number): AnchorFrames {
    const kept = new AnchorFrames(lasts, shape);
    const memory: number[] = [];
    const seen: number[] = [];
    for (let number = 0; number < count; number++) {
      const slot = kept.slotFor(number);
      if (slot !== undefined) memory[slot] = number;
      const slots = kept.windowAt(number);
      if (slots === undefined) continue;
      expect(slots.map((one) => memory[one])).toEqual(anchorWindow(number, shape));
      seen.push(number);
      kept.close(number);
    }
    expect(seen).toEqual([...new Set(lasts)]);
    expect(kept.isOver).toBe(true);
    return kept;
  }

  test('are those that a window to come shows, of any times', () => {
    const random = seededRandom(3, 'anchors');
    for (let trial = 0; trial < 100; trial++) {
      const shape = { frames: 1 + Math.floor(8 * random.uniform()), step: 1 + Math.floor(6 * random.uniform()) };
      const lasts = Array.from({ length: 30 }, () => Math.floor(200 * random.uniform())).sort((a, b) => a - b);
      const kept = pass(lasts, shape, 200);
      expect(kept.slotCount).toBeLessThanOrEqual((shape.frames - 1) * shape.step + 1);
    }
  });

  test('are those of one window where windows do not overlap, and of its extent where all do, however many they are', () => {
    const shape = { frames: 8, step: 8 };
    const far = Array.from({ length: 500 }, (_, i) => 100 + 72 * i);
    expect(pass(far, shape, 36_100).slotCount).toBe(8);
    const near = Array.from({ length: 500 }, (_, i) => 100 + i);
    expect(pass(near, shape, 700).slotCount).toBe(57);
  });
});

test('a time is the sample on display, also where a fraction of a second has no exact number', () => {
  for (let n = 0; n < 2000; n++) expect(anchorSample(n / 30, rate)).toBe(n);
  expect(anchorSample(0.1 + 0.2, { num: 10, den: 1 })).toBe(3);
  expect([...anchorSamples([2, 1.01, 1, 0], rate)]).toEqual([0, 30, 60]);
  const [first, second] = anchorSamples({ every: 0.7 }, { num: 30_000, den: 1001 });
  expect([first, second]).toEqual([20, 41]);
});
