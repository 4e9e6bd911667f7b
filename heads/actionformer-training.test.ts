import { expect, test } from 'vitest';
import { initialWeights, type MomentPrediction } from '../src/models/head.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { epochOrder } from '../src/train/order.js';
import { openTraining, type Training } from '../src/train/step.js';
import type { Tensor } from '../src/types.js';
import { readActionFormer } from './actionformer-config.js';
import { actionformerSmall, smallLength } from './actionformer-small.js';
import { sequenceFeeds, targetInputs } from './actionformer-targets.js';
import {
  actionFormerSchedule,
  actionFormerStep,
  cropBounds,
  cropSequence,
  kernelDecay,
  momentData,
  type LabelledMoment,
  type MomentItem,
} from './actionformer-training.js';
import type { FeatureGrid } from './numerics/grid.js';

const grid: FeatureGrid = { stride: 8, window: 8, fps: 8 };
const [width, classes] = [12, 3];

/** Noise, and within a moment the direction of its class. */
function sequence(seed: number): { readonly features: Tensor<'float32'>; readonly moments: readonly LabelledMoment[] } {
  const random = seededRandom(seed, 'sequence');
  const rows = 26 + random.integer(7);
  const moments: LabelledMoment[] = [];
  for (let start = 1 + random.integer(4); start < rows - 8; start += 10 + random.integer(4)) {
    moments.push({ start, end: start + 3 + random.integer(6), label: random.integer(classes) });
  }
  const data = Float32Array.from({ length: rows * width }, (_, i) => {
    const [row, channel] = [Math.floor(i / width), i % width];
    // A row is a second long and its middle half a second in.
    const own = moments.find(({ start, end }) => row + 0.5 > start && row + 0.5 < end);
    return 0.3 * random.normal() + (own !== undefined && channel % classes === own.label ? 1 : 0);
  });
  return { features: tensor('float32', [rows, width], data), moments };
}

const sequences = [1, 2, 3, 4].map(sequence);
const items = sequences.map(({ features, moments }): MomentItem => ({
  rows: features.shape[0]!,
  moments,
  load: () => Promise.resolve([features]),
}));
const head = actionformerSmall.spec({
  input_dim: width,
  num_classes: classes,
  embd_dim: 48,
  max_seq_len: smallLength(32),
  feat_stride: grid.stride,
  num_frames: grid.window,
  default_fps: grid.fps,
});
const config = readActionFormer(head.config);

const overlap = (a: LabelledMoment, b: MomentPrediction): number =>
  Math.max(0, Math.min(a.end, b.end) - Math.max(a.start, b.start)) /
  (Math.max(a.end, b.end) - Math.min(a.start, b.start));

async function decoded(training: Training): Promise<readonly (readonly MomentPrediction[])[]> {
  const feeds = sequenceFeeds(
    config,
    sequences.map(({ features }) => [features]),
  );
  const outputs = await training.evaluate('outputs', feeds);
  const predictions = head.decode(outputs, { labels: {}, options: {}, clock: null });
  return predictions.map((list) => list.filter((one) => one.task === 'mq'));
}

test('learns four sequences: the best guess of most moments overlaps them by more than 0.8', async () => {
  const data = momentData(config, { items, batch: 4, seed: 1 });
  const updates = 40;
  const rate = actionFormerSchedule({ rate: 4e-3, warmupEpochs: 5, epochs: updates - 5, updatesPerEpoch: 1 });
  const weights = initialWeights(head, seededRandom(1, 'weights'));
  const step = actionFormerStep(config, { batch: 4 });
  await using training = await openTraining(step, weights, { device: 'cpu', threads: 1 });
  const losses: number[] = [];
  for (let update = 0; update < updates; update++) {
    const batch = await data.load(epochOrder(1, update + 1, 4), update + 1);
    losses.push((await training.run(batch, rate(update))).loss);
  }
  expect(losses.at(-1)).toBeLessThan(0.1 * losses[0]!);
  const found = await decoded(training);
  const best = sequences.flatMap(({ moments }, item) =>
    moments.map((moment) => {
      const first = found[item]!.slice(0, 2 * moments.length);
      return Math.max(0, ...first.map((one) => (one.labelId === moment.label ? overlap(moment, one) : 0)));
    }),
  );
  expect(best.filter((iou) => iou > 0.8).length).toBeGreaterThanOrEqual(0.8 * best.length);
}, 60_000);

test('a batch is the same whoever loads it and when: crops and the running normaliser follow from the seed', async () => {
  const options = { items, batch: 2, seed: 3 };
  const straight = momentData(config, options);
  const batches = [];
  for (const epoch of [1, 2, 3]) {
    const order = epochOrder(3, epoch, 4);
    for (const first of [0, 2]) batches.push(await straight.load(order.slice(first, first + 2), epoch));
  }
  const resumed = momentData(config, options);
  const last = await resumed.load(epochOrder(3, 3, 4).slice(2), 3);
  expect(last).toEqual(batches.at(-1));
  const normalisers = batches.map((batch) => (batch[targetInputs.normaliser] as Tensor<'float32'>).data[0]!);
  expect(new Set(normalisers).size).toBe(6);
  const other = await momentData(config, { ...options, seed: 4 }).load([0, 1], 1);
  expect(other['mask']).not.toEqual((await straight.load([0, 1], 1))['mask']);
});

test('features that have changed since they were listed are refused', async () => {
  const shorter = { ...items[0]!, rows: items[0]!.rows - 1 };
  const data = momentData(config, { items: [shorter], batch: 1, seed: 1 });
  await expect(data.load([0], 1)).rejects.toThrow('expected the');
});

test('a crop keeps part of an action, cuts it to what is seen, and counts from its own start', () => {
  const segments = [{ start: 50, end: 58, label: 2 }];
  const margin = 0.5;
  for (let seed = 0; seed < 20; seed++) {
    const random = seededRandom(seed, 'crop');
    const crop = cropSequence({ rows: 100, segments }, [10, 20], random, { keep: 0.5, margin });
    expect(crop.rows).toBeGreaterThanOrEqual(10);
    expect(crop.rows).toBeLessThanOrEqual(20);
    const [kept] = crop.segments;
    expect(kept).toBeDefined();
    expect(kept!.start).toBe(Math.max(-margin, 50 - crop.first));
    expect(kept!.end).toBe(Math.min(crop.rows + margin, 58 - crop.first));
    expect(kept!.end - kept!.start).toBeGreaterThanOrEqual(4);
  }
});

test('where no crop keeps an action the last draw stands, without actions', () => {
  const segments = [{ start: 0, end: 100, label: 0 }];
  const crop = cropSequence({ rows: 100, segments }, [10, 10], seededRandom(1, 'crop'), { keep: 0.9, margin: 0 });
  expect(crop.segments).toEqual([]);
  expect(crop.rows).toBe(10);
});

test('long sequences are cropped to the training length, short ones to a part of them, or not', () => {
  const rule = { maxLength: 64, training: config.training };
  expect(cropBounds(200, rule, true)).toEqual([64, 64]);
  expect(cropBounds(50, rule, true)).toEqual([45, 50]);
  expect(cropBounds(50, rule, false)).toEqual([50, 50]);
  expect(cropBounds(1, rule, true)).toEqual([1, 1]);
});

test('kernels decay; biases, gains, scales and position biases do not', () => {
  const rule = kernelDecay(0.05);
  const decayOf = (name: string): number => rule({ name, shape: [1] }).decay;
  const kernels = [
    'backbone.proj.0.conv.weight',
    'backbone.embd.0.conv.weight',
    'backbone.stem.0.attn.query_conv.conv.weight',
    'backbone.stem.0.attn.query.weight',
    'backbone.stem.0.mlp.3.weight',
    'neck.lateral_convs.0.conv.weight',
    'cls_head.head.0.conv.weight',
  ];
  const others = [
    'backbone.embd_norm.0.weight',
    'backbone.stem.0.ln1.weight',
    'backbone.stem.0.attn.key_norm.weight',
    'backbone.stem.0.attn.rel_pe',
    'backbone.stem.0.drop_path_mlp.scale',
    'neck.fpn_norms.2.weight',
    'cls_head.norm.1.weight',
    'cls_head.cls_head.conv.bias',
    'reg_head.scale.0.scale',
  ];
  expect(kernels.map(decayOf)).toEqual(kernels.map(() => 0.05));
  expect(others.map(decayOf)).toEqual(others.map(() => 0));
});

test('the rate rises from 0 over whole epochs and ends near 1e-8', () => {
  const rate = actionFormerSchedule({ rate: 1e-4, warmupEpochs: 2, epochs: 4, updatesPerEpoch: 3 });
  expect([0, 5, 6].map(rate)).toEqual([0, 1e-4, 1e-4]);
  expect(rate(17)).toBeCloseTo(1.7135e-6, 9);
});
