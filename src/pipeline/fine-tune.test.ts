import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { headOf } from '../../heads/index.js';
import { packageRoot } from '../files.js';
import { openModelFolder } from '../models/folder.js';
import { readPreset } from '../models/presets.js';
import { openSession } from '../runtime/session.js';
import { tensor } from '../tensor.js';
import type { Progress } from '../types.js';
import { openClipLoader, Turns } from './clip-loader.js';
import { fineTuneRecognition, type FineTuneOptions } from './fine-tune.js';
import { readModelWeights } from './model-weights.js';
import { makeSeededModel } from './seeded-model.js';

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-tune-'));
  model = join(folder, 'tiny');
  const { pixels, sampling, ...preset } = readPreset('nano-16x2');
  await makeSeededModel(model, {
    name: 'tiny',
    config: { img_size: 32, patch_size: 16, all_frames: 2, embed_dim: 24, depth: 2, num_heads: 2, num_classes: 7 },
    preset: { ...preset, sampling: { ...sampling, frames: 2, hop: 2 }, pixels: { ...pixels, size: 32 } },
    seed: 2,
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const notes: string[] = [];
const progress: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: (text) => void notes.push(text),
  warn: (code, text) => void notes.push(`${code}: ${text}`),
};
const list = (name: string, labels: readonly string[]) =>
  ({ schema: 'egolens.labels/1', name, version: 1, order: 'ours', labels }) as const;
const clip = (name: string): string => join(packageRoot, 'fixtures/videos', name);
const samples = [
  { path: clip('vfr.mp4'), start: 0, end: 0.8, labels: { verb: 0, noun: 2 } },
  { path: clip('three-seconds.mp4'), start: 1, end: 2, labels: { verb: 1, noun: 0 } },
];

const options = (run: string, overrides: Partial<FineTuneOptions> = {}): FineTuneOptions => ({
  ...{ model, head: headOf('recognition-head')!, train: samples, val: samples, folder: join(folder, run) },
  labels: { verb: list('verbs', ['a', 'b']), noun: list('nouns', ['x', 'y', 'z']) },
  settings: {
    ...{ batch: 2, layerDecay: 0.75, weightDecay: 0.05, dropout: 0, dropPath: 0, clip: 1, average: 0 },
    ...{ checkpointBlocks: false, freeze: [] },
  },
  augmentation: { crop: 1, flip: false },
  ...{ epochs: 2, rate: 1e-2, warmup: 0, smoothing: 0, seed: 1, accumulate: 1, loaders: 2, skipBroken: false },
  ...{ resume: 'auto', device: 'cpu', threads: 1, signal: new AbortController().signal, progress },
  ...overrides,
});

test('encoder and head of the result are what was scored: the same loss to rounding', async () => {
  const scored: number[] = [];
  const { final, best } = await fineTuneRecognition(
    options('whole', {
      metric: 'val_loss',
      onStep: ({ metrics }) => metrics && scored.push(Number(metrics['val_loss'])),
    }),
  );
  expect(best?.value).toBe(Math.min(...scored));
  const encoder = await openModelFolder(final!.encoder.folder);
  expect(encoder.spec.classes, 'the old classifier is gone').toBe(0);
  const before = await openModelFolder(model);
  expect(encoder.preset).toEqual(before.preset);

  await using clips = await openClipLoader({
    ...{ segments: samples, preset: encoder.preset, seed: 1, turns: new Turns(1), skipBroken: false },
    augmentation: { crop: 1, flip: false },
  });
  const { frames } = await clips.middle([0, 1]);
  await using first = await openSession({ graph: join(encoder.folder, 'graph.onnx'), device: 'cpu', threads: 1 });
  await using second = await openSession({ graph: join(final!.head.folder, 'graph.onnx'), device: 'cpu', threads: 1 });
  const { pooled } = await first.run({ frames }, ['pooled']);
  const features = tensor('float32', [2, 1, 24], pooled!.data);
  const mask = tensor('float32', [2, 1], Float32Array.of(1, 1));
  const { logits } = await second.run({ features, mask }, ['logits']);
  const entropy = (row: number, from: number, to: number, label: number): number => {
    const own = logits!.data.subarray(row * 5 + from, row * 5 + to);
    return Math.log(own.reduce((sum, value) => sum + Math.exp(value), 0)) - own[label]!;
  };
  const losses = samples.map(({ labels }, i) => entropy(i, 0, 2, labels.verb) + entropy(i, 2, 5, labels.noun));
  expect((losses[0]! + losses[1]!) / 2).toBeCloseTo(best!.value, 5);
});

test('weights of a folder are read by their official names, those inside the graph too', async () => {
  const folderOf = await openModelFolder(model);
  const weights = await readModelWeights(folderOf);
  expect([...weights.keys()]).toEqual(
    folderOf.spec.build({ input: 'frames', form: 'fused' }).params.map(({ name }) => name),
  );
  expect(weights.get('fc_norm.weight')).toEqual(tensor('float32', [24], new Float32Array(24).fill(1)));
  expect(weights.get('head.weight')!.data.some((value) => value !== 0)).toBe(true);
});

test('a step that the machine has no memory for is refused with the figures and the way out', async () => {
  const limited = vi.spyOn(process, 'constrainedMemory').mockReturnValue(100_000);
  try {
    const tuned = fineTuneRecognition(options('large'));
    await expect(tuned).rejects.toMatchObject({
      code: 'limit.memory',
      message: expect.stringMatching(/a step takes at least .* the machine has/) as string,
      details: { try: expect.stringMatching(/--checkpoint-blocks.*--batch 1/) as string },
    });
  } finally {
    limited.mockRestore();
  }
});

test('a label outside its list is refused with the place', async () => {
  const wrong = [{ ...samples[0]!, labels: { verb: 2, noun: 0 } }];
  await expect(fineTuneRecognition(options('wrong', { val: wrong }))).rejects.toMatchObject({
    code: 'data.invalid',
    message: expect.stringContaining('verb 2, expected a number from 0 to 1') as string,
  });
});
