import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { writeNpy } from '../../src/checkpoint/npy.js';
import { readFeatures, readTimes } from '../../src/features/store.js';
import { sha256 } from '../../src/files.js';
import { readPreset } from '../../src/models/presets.js';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { tensor } from '../../src/tensor.js';
import { makeToyTwoTower } from '../toy-two-tower.js';
import { clip, egolens, temporaryFolder } from './command.js';

/** Two encoders over the same windows (`extract --stream-set`), and their features side by side (`extract stack`). */

const folder = temporaryFolder();
const video = clip('demo.mp4');
const second = join(folder, 'second');
const features = join(folder, 'features');
const records = (text: string): Readonly<Record<string, unknown>>[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
const at = (name: string): string => join(features, name);
// The windows of both streams are those of one preset.
const untrained = ['--model', 'videomae-nano-untrained'] as const;

beforeAll(async () => {
  const preset = readPreset('nano-16x2');
  await makeSeededModel(second, {
    name: 'second',
    arch: 'videomae-classifier',
    config: { img_size: 96, patch_size: 32, all_frames: 8, embed_dim: 48, depth: 1, num_heads: 2, num_classes: 0 },
    preset: { ...preset, sampling: { ...preset.sampling, frames: 8, step: 1 } },
    seed: 3,
  });
  const run = await egolens(['extract', video, ...untrained, '--multimodal', second, '-o', features, '--ndjson']);
  expect(run.stderr).toContain('1 done');
  expect(run.code).toBe(0);
  expect(records(run.stdout).map(({ path, model }) => [path, (model as string).split('@')[0]])).toEqual([
    [at('demo.masked.npy'), 'videomae-nano-untrained'],
    [at('demo.multimodal.npy'), 'second'],
  ]);
});

test('both streams lie on the windows of the masked one, row by row', async () => {
  const [masked, multimodal] = await Promise.all(
    ['masked', 'multimodal'].map(async (stream) => await readTimes(at(`demo.${stream}.times.csv`))),
  );
  expect(masked!.length).toBeGreaterThan(2);
  expect(multimodal!.map(({ start, end }) => [start, end])).toEqual(masked!.map(({ start, end }) => [start, end]));
  const { array, clock } = await readFeatures(at('demo.multimodal.npy'));
  expect(array.shape).toEqual([masked!.length, 48]);
  // 16 frames, 2 apart, span 31; 8 of them are 3 apart.
  expect(clock).toMatchObject({ frames: 8, step: 3, extent: 31, hop: 16 });
});

test('a second run keeps both; one that lost a stream computes that one alone', async () => {
  const run = async (): Promise<unknown> => {
    const { stderr, code } = await egolens([
      'extract',
      video,
      ...untrained,
      '--multimodal',
      second,
      '-o',
      features,
      '--ndjson',
    ]);
    return { code, said: stderr.trim().split('\n').at(-1) };
  };
  expect(await run()).toMatchObject({ code: 0, said: expect.stringContaining('1 kept') as unknown });
  const before = readFileSync(at('demo.masked.npy'));
  copyFileSync(at('demo.multimodal.npy'), join(folder, 'lost.npy'));
  rmSync(at('demo.multimodal.npy.meta.json'));
  expect(await run()).toMatchObject({ code: 0, said: expect.stringContaining('1 done') as unknown });
  expect(readFileSync(at('demo.masked.npy')).equals(before)).toBe(true);
  expect(readFileSync(at('demo.multimodal.npy')).equals(readFileSync(join(folder, 'lost.npy')))).toBe(true);
});

test('--stream-set multimodal alone needs its model and takes its own windows', async () => {
  const none = await egolens([
    'extract',
    video,
    ...untrained,
    '--stream-set',
    'multimodal',
    '-o',
    join(folder, 'none'),
  ]);
  expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining('--multimodal') as unknown });
  const out = join(folder, 'alone');
  const run = await egolens([
    'extract',
    video,
    ...untrained,
    '--stream-set',
    'multimodal',
    '--multimodal',
    second,
    '-o',
    out,
  ]);
  expect(run.code).toBe(0);
  expect((await readFeatures(join(out, 'demo.npy'))).clock).toMatchObject({ frames: 8, step: 1, hop: 16 });
});

test('--level frame is for image models: a row a frame', async () => {
  const out = join(folder, 'frames');
  const clip = join(folder, 'clip');
  await makeToyTwoTower(clip, 'clip');
  const run = await egolens(['extract', video, '--model', clip, '--level', 'frame', '-o', out]);
  expect(run.stderr).toContain('1 done');
  const { array, clock } = await readFeatures(join(out, 'demo.npy'));
  expect(array.shape).toEqual([9, 16]); // 9 s at one frame a second
  expect(clock).toMatchObject({ frames: 1, rows: 9 });
  const refused = await egolens(['extract', video, ...untrained, '--level', 'frame', '-o', join(folder, 'none')]);
  expect(refused).toMatchObject({ code: 6, stderr: expect.stringContaining('needs an image model') as unknown });
});

test('stack joins the streams of a folder; --unit divides each part by its length', async () => {
  const out = join(folder, 'stacked');
  const run = await egolens(['extract', 'stack', features, '-o', out, '--unit', '--ndjson']);
  expect(run.code).toBe(0);
  expect(records(run.stdout)).toMatchObject([{ widths: [64, 48], shift: 0, align: 'error' }]);
  const { array, meta } = await readFeatures(join(out, 'demo.npy'));
  expect(array.shape[1]).toBe(112);
  expect(meta).toMatchObject({ model: { name: 'videomae-nano-untrained+second' }, output: 'pooled' });
  const { array: masked } = await readFeatures(at('demo.masked.npy'));
  const row = masked.data.subarray(64, 128);
  const norm = Math.hypot(...row);
  row.forEach((value, i) => {
    expect(array.data[112 + i]).toBeCloseTo(value / norm, 6);
  });
  const info = await egolens(['extract', 'info', join(out, 'demo.npy'), '--ndjson']);
  expect(records(info.stdout)).toMatchObject([{ digests: 'ok' }]);
});

test('rows of other times are refused with both sides named, or aligned by time', async () => {
  const other = join(folder, 'other');
  await egolens(['extract', video, ...untrained, '--stride', '20', '-o', other]);
  const files = [at('demo.masked.npy'), join(other, 'demo.npy')];
  const refused = await egolens(['extract', 'stack', ...files, '-o', join(folder, 'x.npy')]);
  expect(refused.code).toBe(5);
  expect(refused.stderr).toMatch(/row 1: .*demo\.masked\.npy.* covers 0\.533\d* to .*demo\.npy.* covers 0\.666/s);
  expect(existsSync(join(folder, 'x.npy'))).toBe(false);
  const aligned = await egolens([
    'extract',
    'stack',
    ...files,
    '-o',
    join(folder, 'x.npy'),
    '--align',
    'time',
    '--ndjson',
  ]);
  expect(aligned.code).toBe(0);
  const [record] = records(aligned.stdout);
  expect(record!['shift']).toBeGreaterThan(0);
  expect(record!['shift']).toBeLessThanOrEqual(10 / 30 + 1e-9); // half a stride of 20 frames, the aligned last row apart
});

test('files of two videos, a lone file, a file and a folder are refused', async () => {
  const other = join(folder, 'copy');
  await egolens(['extract', clip('three-seconds.mp4'), ...untrained, '-o', other]);
  const strange = join(other, 'three-seconds.npy');
  const twoVideos = await egolens(['extract', 'stack', at('demo.masked.npy'), strange, '-o', join(folder, 'y.npy')]);
  expect(twoVideos.stderr).toContain('another video');
  const lone = await egolens(['extract', 'stack', strange, '-o', join(folder, 'y.npy')]);
  expect(lone).toMatchObject({ code: 2, stderr: expect.stringContaining('at least two') as unknown });
  const mixed = await egolens(['extract', 'stack', strange, features, '-o', join(folder, 'y.npy')]);
  expect(mixed).toMatchObject({ code: 2, stderr: expect.stringContaining('found both') as unknown });
});

test('a file without rows is refused', async () => {
  const empty = join(folder, 'empty.npy');
  const bytes = writeNpy(tensor('float32', [0, 64], new Float32Array(0)));
  const table = `${readFileSync(at('demo.masked.times.csv'), 'utf8').split('\n', 1)[0]}\n`;
  const meta = JSON.parse(readFileSync(at('demo.masked.npy.meta.json'), 'utf8')) as Record<string, object>;
  writeFileSync(empty, bytes);
  writeFileSync(join(folder, 'empty.times.csv'), table);
  const array = { ...meta['array'], shape: [0, 64], bytes: bytes.length, sha256: sha256(bytes) };
  const times = { ...meta['times'], bytes: Buffer.byteLength(table), sha256: sha256(table) };
  writeFileSync(`${empty}.meta.json`, JSON.stringify({ ...meta, array, times }));
  const run = await egolens([
    ...['extract', 'stack', at('demo.masked.npy'), empty, '--align', 'time'],
    ...['-o', join(folder, 'z.npy')],
  ]);
  expect(run).toMatchObject({ code: 5, stderr: expect.stringContaining('expected at least one row') as unknown });
});
