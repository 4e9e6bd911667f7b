import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readActionFormer, type ActionFormerConfig } from '../../heads/actionformer-config.js';
import { pyramidValues } from '../../heads/actionformer-graph.js';
import { actionFormerSchedule, actionFormerStep, kernelDecay } from '../../heads/actionformer-training.js';
import {
  nextNormaliser,
  pyramidPoints,
  sequenceFeeds,
  targetFeeds,
  targetInputs,
  type GridSegment,
  type Streams,
} from '../../heads/actionformer-targets.js';
import {
  actionformer,
  actionFormerHead,
  candidates,
  pyramidInputs,
  rawMoments,
  scalarTensor,
} from '../../heads/actionformer.js';
import { clipSeconds, gridToSeconds, type FeatureGrid } from '../../heads/numerics/grid.js';
import { suppress } from '../../heads/numerics/nms.js';
import type { Segments } from '../../heads/numerics/segments.js';
import { openCheckpoint } from '../../src/checkpoint/state-dict.js';
import { openFileSource } from '../../src/files.js';
import { GraphBuilder } from '../../src/graph/builder.js';
import { identity } from '../../src/graph/layers.js';
import { headInputs } from '../../src/models/head.js';
import { importHead } from '../../src/pipeline/import-head.js';
import { writeGraph } from '../../src/runtime/probe-graphs.js';
import { openSession } from '../../src/runtime/session.js';
import { sizeOf, tensor } from '../../src/tensor.js';
import { rational } from '../../src/time.js';
import { openTraining, type Weights } from '../../src/train/step.js';
import type { FeatureClock, Tensor } from '../../src/types.js';
import { numbers, readJson } from './model-cases.js';
import { bounds, doubles, exactly, floats, near } from './moment-arrays.js';
import { momentUnitRunners } from './moment-units.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

type Json = Record<string, unknown>;

interface MomentConfig {
  readonly config: {
    readonly fps: number;
    readonly duration: number;
    readonly official: Json & { readonly dataset: Json; readonly opt: Json };
    readonly decay_parameters: readonly string[];
    readonly no_decay_parameters: readonly string[];
  };
  readonly files: Readonly<Record<string, unknown>>;
}

/** ActionFormer, end to end as a user goes, and stage by stage with the official values of the stage before. */
const runActionFormer: Runner = async (path) => {
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const golden = await readJson<MomentConfig>(join(path, 'config.json'));
    const checkpoint = Object.keys(golden.files).find((name) => name.endsWith('.pth.tar'))!;
    const weights = await readWeights(join(path, checkpoint), ['state_dict_ema']);
    const config = readActionFormer(golden.config);
    const levels = Array.from({ length: config.branches + 1 }, (_, level) => level);
    const streams = splitStreams(await floats(path, 'feats'), config.inputs);
    const feeds = sequenceFeeds(config, [streams]);
    const found: Comparison[] = [
      exactly('padded mask', feeds['mask']!.data, numbers(await floats(path, 'padded_mask'))),
    ];

    const output = join(work, 'head');
    await importHead(join(path, checkpoint), actionformer, {
      arch: actionformer.name,
      config: join(path, 'config.json'),
      output,
    });
    await using session = await openSession({ graph: join(output, 'graph.onnx'), device: 'cpu' });
    const outputs = await session.run(feeds, ['logits', 'offsets', 'valid']);
    const raw = rawMoments(config, outputs)[0]!;
    const inner = await innerValues(config, { weights, feeds, work });
    const points = pyramidPoints(config, feeds['mask']!.shape[1]!);
    for (const level of levels) {
      const expected = async (name: string) => numbers(await floats(path, `${name}_${level}`));
      found.push(
        near(`backbone ${level}`, inner[`backbone.${level}`]!.data, await expected('backbone'), bounds.layers),
        near(`neck ${level}`, inner[`neck.${level}`]!.data, await expected('neck'), bounds.layers),
        near(`logits ${level}`, raw[level]!.logits, await expected('cls_logits'), bounds.layers),
        near(`offsets ${level}`, raw[level]!.offsets, await expected('offsets'), bounds.layers),
        exactly(`mask ${level}`, raw[level]!.mask, await expected('mask')),
        exactly(
          `points ${level}`,
          points
            .filter(({ stride }) => stride === 2 ** level)
            .flatMap((one) => [one.time, one.least, one.greatest, one.stride]),
          await expected('points'),
        ),
      );
    }
    found.push(...(await compareDecoding(path, golden, { config, outputs })));
    found.push(...(await compareTraining(path, golden, { config, weights, streams })));
    return found;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
};

/** Weights of a checkpoint, read whole. */
async function readWeights(path: string, preferredKeys: readonly string[] = []): Promise<Weights> {
  await using source = await openFileSource(path);
  const weights = new Map<string, Tensor<'float32'>>();
  for (const [name, stored] of (await openCheckpoint(source, { preferredKeys })).tensors) {
    const values = new Float32Array(sizeOf(stored.shape));
    let at = 0;
    for await (const chunk of stored.chunks()) {
      values.set(chunk, at);
      at += chunk.length;
    }
    weights.set(name, tensor('float32', stored.shape, values));
  }
  return weights;
}

/** [channels, rows] of all streams -> [rows, width] each. */
function splitStreams({ shape, data }: Tensor<'float32'>, widths: readonly number[], most = Infinity): Streams {
  const length = shape[1]!;
  const rows = Math.min(length, most);
  let first = 0;
  return widths.map((width) => {
    const values = new Float32Array(rows * width);
    for (let row = 0; row < rows; row++)
      for (let i = 0; i < width; i++) values[row * width + i] = data[(first + i) * length + row]!;
    first += width;
    return tensor('float32', [rows, width], values);
  });
}

/** Backbone and neck of every level. */
async function innerValues(
  config: ActionFormerConfig,
  {
    weights,
    feeds,
    work,
  }: { readonly weights: Weights; readonly feeds: Record<string, Tensor<'float32'>>; readonly work: string },
): Promise<Record<string, Tensor<'float32'>>> {
  const g = new GraphBuilder('inner', { params: 'inputs' });
  const { backbone, neck } = pyramidValues(g, config, pyramidInputs(config, headInputs(g, actionFormerHead(config))));
  backbone.forEach((value, level) => {
    g.output(`backbone.${level}`, identity(g, value));
  });
  neck.forEach((value, level) => {
    g.output(`neck.${level}`, identity(g, value));
  });
  const graph = g.finish();
  await using session = await openSession({ graph: await writeGraph(work, graph), device: 'cpu' });
  const asked = graph.inputs.map(({ name }) => [name, feeds[name] ?? weights.get(name)!] as const);
  return await session.run(Object.fromEntries(asked), [...graph.outputs.keys()]);
}

async function readSegments(path: string, name: string): Promise<Segments> {
  const ends = (await floats(path, `${name}_segments`)).data;
  return {
    start: ends.filter((_, i) => i % 2 === 0),
    end: ends.filter((_, i) => i % 2 === 1),
    score: (await floats(path, `${name}_scores`)).data,
    label: Int32Array.from((await floats(path, `${name}_labels`)).data),
  };
}

async function compareDecoding(
  path: string,
  { config: { fps, duration } }: MomentConfig,
  { config, outputs }: { readonly config: ActionFormerConfig; readonly outputs: Record<string, Tensor<'float32'>> },
): Promise<Comparison[]> {
  const joined = async (name: string, width: number): Promise<Tensor<'float32'>> => {
    const parts = await Promise.all(config.ranges.map((_, level) => floats(path, `${name}_${level}`)));
    const data = Float32Array.from(parts.flatMap((part) => [...part.data]));
    return tensor('float32', [1, data.length / width, width], data);
  };
  const [logits, offsets, masks] = [
    await joined('cls_logits', config.classes),
    await joined('offsets', 2),
    await joined('mask', 1),
  ];
  const official = { logits, offsets, valid: tensor('float32', masks.shape.slice(0, 2), masks.data) };
  const decoded = candidates(config, rawMoments(config, official)[0]!, config.decoding);
  const expected = await readSegments(path, 'decoded');
  const final = await readSegments(path, 'final');
  const grid: FeatureGrid = { ...config.grid, fps };
  const left = suppress(expected, config.decoding);
  const seconds = (values: Float32Array): number[] =>
    Array.from(values, (place) => clipSeconds(gridToSeconds(place, grid), duration));
  const isVoted = !config.decoding.perClass && config.decoding.votingFrom > 0;
  const bound = isVoted ? bounds.voted : bounds.exact;
  const clock: FeatureClock = {
    rate: rational(Math.round(fps * 1000), 1000),
    hop: config.grid.stride,
    frames: config.grid.window,
    step: 1,
    tail: 'drop',
    rows: 0,
  };
  const [own] = actionFormerHead(config).decode(outputs, { labels: {}, options: {}, clock, durations: [duration] });
  const moments = own!.filter((one) => one.task === 'mq');
  const found = {
    start: Float32Array.from(moments, ({ start }) => start),
    end: Float32Array.from(moments, ({ end }) => end),
    score: Float32Array.from(moments, ({ score }) => score),
    label: Int32Array.from(moments, ({ labelId }) => labelId),
  };
  return [
    exactly('decoded starts', decoded.start, expected.start),
    exactly('decoded ends', decoded.end, expected.end),
    exactly('decoded labels', decoded.label, expected.label),
    { what: 'decoded scores', error: maxAbs(decoded.score, expected.score), tolerance: bounds.sigmoid },
    exactly('labels after suppression', left.label, final.label),
    { what: 'scores after suppression', error: maxAbs(left.score, final.score), tolerance: bounds.scores },
    { what: 'starts in seconds', error: maxAbs(seconds(left.start), final.start), tolerance: bound },
    { what: 'ends in seconds', error: maxAbs(seconds(left.end), final.end), tolerance: bound },
    { what: 'final segments without a partner, end to end', error: unmatched(found, final), tolerance: bounds.exact },
    {
      what: 'number of segments, end to end',
      error: Math.abs(found.score.length - final.score.length),
      tolerance: bounds.exact,
    },
  ];
}

/** Expected segments for which there is no found one of the class with tIoU above 0.99 and a score within 1e-3. */
function unmatched(found: Segments, expected: Segments): number {
  const isPartner = (i: number, j: number): boolean => {
    const shared = Math.min(found.end[j]!, expected.end[i]!) - Math.max(found.start[j]!, expected.start[i]!);
    const hull = Math.max(found.end[j]!, expected.end[i]!) - Math.min(found.start[j]!, expected.start[i]!);
    const isClose = Math.abs(found.score[j]! - expected.score[i]!) <= 1e-3;
    // Both cut to the same instant: no length, no overlap.
    return found.label[j] === expected.label[i] && isClose && (shared > 0.99 * hull || hull < 1e-5);
  };
  const places = Array.from(found.score.keys());
  return Array.from(expected.score.keys()).filter((i) => !places.some((j) => isPartner(i, j))).length;
}

async function compareTraining(
  path: string,
  golden: MomentConfig,
  { config, weights }: { readonly config: ActionFormerConfig; readonly weights: Weights; readonly streams: Streams },
): Promise<Comparison[]> {
  const found: Comparison[] = [];
  const length = config.maxLength;
  const streams = splitStreams(await floats(path, 'feats'), config.inputs, length);
  const rows = streams[0]!.shape[0]!;
  const ends = (await floats(path, 'train_segments')).data;
  const labels = (await floats(path, 'train_labels')).data;
  const segments = Array.from(labels, (label, i): GridSegment => ({
    start: ends[2 * i]!,
    end: ends[2 * i + 1]!,
    label,
  }));
  const targets = targetFeeds(config, [{ rows, segments }], length);
  const unsmoothed = { ...config, training: { ...config.training, smoothing: 0 } };
  const plain = targetFeeds(unsmoothed, [{ rows, segments }], length).feeds;
  const assigned = numbers(await floats(path, 'assign_cls'));
  const offsets = numbers(await floats(path, 'assign_offsets'));
  const isUsed = (i: number): boolean => {
    const point = Math.floor(i / 2) * config.classes;
    return assigned.slice(point, point + config.classes).some((value) => value > 0);
  };
  const onlyUsed = (values: ArrayLike<number>): number[] => Array.from(values, (value, i) => (isUsed(i) ? value : 0));
  found.push(
    exactly('assigned classes', plain[targetInputs.classes]!.data, assigned),
    exactly('assigned offsets', onlyUsed(plain[targetInputs.offsets]!.data), onlyUsed(offsets)),
  );
  const [classification, regression, total, after] = (await doubles(path, 'losses')) as unknown as readonly [
    number,
    number,
    number,
    number,
  ];
  const normaliser = nextNormaliser(config.training.normaliser, targets.positives);
  found.push({ what: 'normaliser', error: Math.abs(normaliser - after), tolerance: 1e-9 });
  const batch = {
    ...sequenceFeeds(config, [streams], length),
    ...targets.feeds,
    [targetInputs.normaliser]: scalarTensor(normaliser),
  };
  const step = actionFormerStep(config, { batch: 1 });
  await using training = await openTraining(step, weights, { device: 'cpu', threads: 1 });
  const expected = await readWeights(join(path, 'grads.pth'));
  const gradients = await training.gradients(batch);
  for (const [name, { data }] of expected) {
    const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // The floor: some gradients are 0 but for rounding (biases of keys, under a softmax).
    const tolerance = bounds.gradients * largest + 1e-8;
    found.push({ what: `gradient of ${name}`, error: maxAbs(gradients.get(name)?.data ?? [], data), tolerance });
  }
  const result = await training.run(batch, 0);
  const relative = (what: string, value: number, wanted: number): Comparison => ({
    what,
    error: Math.abs(value - wanted) / Math.abs(wanted),
    tolerance: bounds.losses,
  });
  found.push(
    relative('classification loss', result.parts['classification']!, classification),
    relative('regression loss', result.parts['regression']!, regression),
    relative('loss', result.loss, total),
  );
  found.push(...compareGroups(golden, weights), await compareSchedule(path, golden));
  return found;
}

function compareGroups({ config }: MomentConfig, weights: Weights): Comparison[] {
  const rule = kernelDecay(1);
  const decayOf = (key: string): number => {
    const name = key.replace(/^module\./, '');
    return rule({ name, shape: weights.get(name)!.shape }).decay;
  };
  const wrong = [
    ...config.decay_parameters.filter((key) => decayOf(key) !== 1),
    ...config.no_decay_parameters.filter((key) => decayOf(key) !== 0),
  ];
  return [{ what: `parameters in the wrong group: ${wrong.join(', ')}`, error: wrong.length, tolerance: bounds.exact }];
}

async function compareSchedule(path: string, { config: { official } }: MomentConfig): Promise<Comparison> {
  const expected = Array.from(await doubles(path, 'lr_schedule'));
  const { learning_rate: rate, warmup_epochs: warmupEpochs, epochs } = official.opt as Record<string, number>;
  const updatesPerEpoch = expected.length / (warmupEpochs! + epochs!);
  const schedule = actionFormerSchedule({ rate: rate!, warmupEpochs: warmupEpochs!, epochs: epochs!, updatesPerEpoch });
  const found = expected.map((_, i) => schedule(i));
  // The original goes from step to step; a closed form strays from it by rounding.
  return { what: 'learning rates', error: maxAbs(found, expected), tolerance: 1e-9 * rate! };
}

export const momentRunners: Readonly<Record<string, Runner>> = {
  'heads/actionformer_ego4d_short': runActionFormer,
  'heads/actionformer_long_fpn_vote': runActionFormer,
  'heads/actionformer_two_streams_hard': runActionFormer,
  ...momentUnitRunners,
};
