import { existsSync, mkdtempSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readTimes } from '../features/times.js';
import { readFeatures } from '../features/store.js';
import { packageRoot } from '../files.js';
import { readPreset } from '../models/presets.js';
import type { RowTime, Tensor } from '../types.js';
import { extractDefaults, type ExtractFlags } from './extract-options.js';
import { extract, type ExtractSummary, type FeatureRecord } from './extract.js';
import { listInputs } from './inputs.js';
import { makeSeededModel } from './seeded-model.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-extract-'));
afterAll(() => rm(base, { recursive: true, force: true }));
const videos = join(packageRoot, 'fixtures', 'videos');

interface Extracted {
  readonly record: FeatureRecord;
  readonly features: Tensor<'float32'>;
  readonly times: readonly RowTime[];
  readonly summary: ExtractSummary;
}

// Its windows are short and cost little.
const plain: ExtractFlags = {
  model: 'videomae-nano-untrained',
  output: '',
  pool: 'mean',
  level: 'clip',
  outType: 'npy',
  stream: '0',
  device: 'cpu',
  jobs: 1,
  force: false,
  decodeErrors: 'ignore',
};

/** Features of one of our clips, or of a file. */
async function featuresOf(
  video: string,
  flags: Partial<ExtractFlags> = {},
  span?: [number, number],
): Promise<Extracted> {
  const output = await mkdtemp(join(base, 'out-'));
  await using inputs = await listInputs([existsSync(video) ? video : join(videos, video)]);
  const run = extract(inputs.items, {
    ...(await extractDefaults({ ...plain, ...flags, output })),
    ...(span !== undefined && { span }),
    strict: false,
    retryFailed: false,
    onError: 'skip',
    identity: 'ends',
    argv: [],
    signal: new AbortController().signal,
    progress: {
      start: () => ({ advance: () => undefined, stop: () => undefined }),
      note: () => undefined,
      warn: () => undefined,
    },
  });
  let record: FeatureRecord | undefined;
  let next = await run.next();
  for (; next.done !== true; next = await run.next()) {
    const event = next.value;
    if (event.kind === 'failed') throw new Error(`${event.error.code}: ${event.error.message}`);
    if (event.kind === 'done') record = event.record;
  }
  if (record === undefined) throw new Error('no record');
  const times = await readTimes(record.path.replace(/\.\w+$/, '.times.csv'));
  const { array } = await readFeatures(record.path);
  return { record, features: array, times, summary: next.value };
}

const starts = ({ times }: Extracted): number[] => times.map(({ start }) => start);
const ends = ({ times }: Extracted): number[] => times.map(({ end }) => end);

function farthest(a: Tensor<'float32'>, b: Tensor<'float32'>): number {
  expect(a.shape).toEqual(b.shape);
  return a.data.reduce((most, value, i) => Math.max(most, Math.abs(value - b.data[i]!)), 0);
}

/** demo.mp4: 270 frames at 30 fps. */
test.each<[Partial<ExtractFlags>, number, readonly number[], readonly number[]]>([
  [{ stride: '45' }, 7, [0, 1.5, 3], [31 / 30, 1.5 + 31 / 30, 3 + 31 / 30]],
  [{ stride: '1.5s' }, 7, [0, 1.5, 3], [31 / 30, 1.5 + 31 / 30, 3 + 31 / 30]],
  [{ window: '16' }, 17, [0, 16 / 30], [16 / 30, 32 / 30]],
  [{ fps: '15' }, 8, [0, 16 / 15], [31 / 15, 47 / 15]],
  [{ fps: '60' }, 33, [0, 16 / 60], [31 / 60, 47 / 60]],
  [{ fps: 'source' }, 16, [0, 16 / 30], [31 / 30, 47 / 30]],
  [{ tail: 'pad' }, 16, [0, 16 / 30], [31 / 30, 47 / 30]],
  [{ tail: 'drop' }, 15, [0, 16 / 30], [31 / 30, 47 / 30]],
  [{ tail: 'drop', stride: '239' }, 2, [0, 239 / 30], [31 / 30, 9]],
])('%j gives rows by the documented rule', async (flags, rows, firstStarts, firstEnds) => {
  const found = await featuresOf('demo.mp4', flags);
  expect(found.features.shape).toEqual([rows, 64]);
  expect(found.times).toHaveLength(rows);
  expect(found.record.clock).toMatchObject({ rows, tail: flags.tail ?? 'align' });
  for (const [i, at] of firstStarts.entries()) expect(starts(found)[i]).toBeCloseTo(at, 6);
  for (const [i, at] of firstEnds.entries()) expect(ends(found)[i]).toBeCloseTo(at, 6);
  expect(found.features.data.every(Number.isFinite)).toBe(true);
});

test('--tail pad ends behind the last frame, which it repeats; align ends at it', async () => {
  const [padded, aligned] = [await featuresOf('demo.mp4', { tail: 'pad' }), await featuresOf('demo.mp4')];
  expect(padded.times.at(-1)).toMatchObject({ firstFrame: 240, lastFrame: 269, start: 8 });
  expect(aligned.times.at(-1)).toMatchObject({ firstFrame: 239, lastFrame: 269 });
  expect(aligned.times.at(-1)!.end).toBeCloseTo(9, 9);
});

test('views are clips x crops rows on no grid, crops of one clip at the same times', async () => {
  const found = await featuresOf('demo.mp4', { views: '3x3' });
  expect([found.features.shape, found.record.clock]).toEqual([[9, 64], null]);
  const clips = [0, 3, 6].map((at) => found.times.slice(at, at + 3));
  for (const [first, second, third] of clips) {
    expect([second!.start, third!.start, second!.end]).toEqual([first!.start, first!.start, first!.end]);
  }
  expect(new Set(starts(found)).size).toBe(3);
  const crops = [0, 1, 2].map((row) => found.features.data.slice(row * 64, row * 64 + 64).join());
  expect(new Set(crops).size).toBe(3);
  expect((await featuresOf('demo.mp4', { views: '1x3' })).features.shape).toEqual([48, 64]);
});

test('tokens are those whose mean the pooled feature comes from, and a whole video is the mean of its rows', async () => {
  const tokens = await featuresOf('three-seconds.mp4', { pool: 'tokens' });
  const rows = await featuresOf('three-seconds.mp4');
  expect(tokens.features.shape).toEqual([5, 288, 64]);
  expect(tokens.record.shape).toEqual([5, 288, 64]);
  const whole = await featuresOf('three-seconds.mp4', { level: 'video' });
  expect([whole.features.shape, whole.record.clock]).toEqual([[1, 64], null]);
  expect(whole.times).toEqual([{ index: 0, firstFrame: 0, lastFrame: 89, start: 0, end: rows.times.at(-1)!.end }]);
  for (let d = 0; d < 64; d++) {
    let sum = 0;
    for (let row = 0; row < 5; row++) sum += rows.features.data[row * 64 + d]!;
    expect(whole.features.data[d]).toBeCloseTo(sum / 5, 6);
  }
});

test.each(['npz', 'safetensors'] as const)('.%s holds the same rows as .npy', async (outType) => {
  const other = await featuresOf('three-seconds.mp4', { outType });
  expect(other.record.path).toMatch(new RegExp(`\\.${outType}$`));
  expect(existsSync(`${other.record.path}.meta.json`)).toBe(true);
  expect(farthest(other.features, (await featuresOf('three-seconds.mp4')).features)).toBe(0);
});

test('batches of 8 give the rows of single windows within 1e-5, other counts of threads within 1e-5', async () => {
  const one = await featuresOf('demo.mp4', { batch: 1 });
  expect(farthest(one.features, (await featuresOf('demo.mp4', { batch: 8 })).features)).toBeLessThan(1e-5);
  expect(farthest(one.features, (await featuresOf('demo.mp4', { threads: 1 })).features)).toBeLessThan(1e-5);
});

test('the whole is its parts: spans on the grid give the rows of the whole', async () => {
  const whole = await featuresOf('demo.mp4');
  // Hop 16 at 30 fps: 4.8 s is the start of row 9.
  const late = await featuresOf('demo.mp4', {}, [4.8, Infinity]);
  const rows = whole.features.data.slice(9 * 64);
  expect(late.features.shape).toEqual([7, 64]);
  expect(starts(late)).toEqual(
    starts(whole)
      .slice(9)
      .map((at) => expect.closeTo(at, 9) as number),
  );
  expect(late.times.map(({ firstFrame }) => firstFrame)).toEqual(
    whole.times.slice(9).map(({ firstFrame }) => firstFrame),
  );
  expect(late.features.data.reduce((most, value, i) => Math.max(most, Math.abs(value - rows[i]!)), 0)).toBeLessThan(
    1e-5,
  );
});

test('the seconds by stage are not more than the video took', async () => {
  const { seconds } = (await featuresOf('demo.mp4')).summary;
  for (const [stage, value] of Object.entries(seconds))
    expect(value, stage).toBeLessThanOrEqual(seconds['total']! + 0.001);
});

test('--pixels exact reads full frames and resizes on the host, close to the fast path, another key', async () => {
  const exact = await featuresOf('three-seconds.mp4', { pixels: 'exact' });
  const fast = await featuresOf('three-seconds.mp4');
  expect(exact.features.shape).toEqual(fast.features.shape);
  expect(exact.record.key).not.toBe(fast.record.key);
  const meta = JSON.parse(await readFile(`${exact.record.path}.meta.json`, 'utf8')) as { pixels: string };
  expect(meta.pixels).toBe('exact');
  const difference = farthest(exact.features, fast.features);
  expect([difference > 0, difference < 1]).toEqual([true, true]);
});

let tad: string;
beforeAll(async () => {
  tad = join(base, 'tad');
  const config = {
    img_size: 224,
    patch_size: 16,
    all_frames: 16,
    embed_dim: 32,
    depth: 1,
    num_heads: 2,
    num_classes: 0,
  };
  await makeSeededModel(tad, { name: 'small-tad', config, preset: readPreset('videomaev2-tad'), seed: 1 });
});

test('a float recipe (torch-bilinear) goes through the float graph: rates, rows and values', async () => {
  const found = await featuresOf('three-seconds.mp4', { model: tad });
  expect([found.features.shape, found.record.clock]).toMatchObject([
    [5, 32],
    { rate: 'source', tail: 'drop', hop: 16 },
  ]);
  expect(found.features.data.every(Number.isFinite)).toBe(true);
  const batched = await featuresOf('three-seconds.mp4', { model: tad, batch: 4, stride: '4' });
  expect(batched.features.shape).toEqual([19, 32]);
  for (let row = 0; row < 5; row++) {
    for (let d = 0; d < 32; d++) {
      expect(Math.abs(batched.features.data[row * 4 * 32 + d]! - found.features.data[row * 32 + d]!)).toBeLessThan(
        1e-5,
      );
    }
  }
});
