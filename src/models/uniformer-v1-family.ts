import type { JsonValue } from '../json.js';
import { ConfigReader, defined, depthOf, limits, ratioOf } from './config.js';
import { readStatistics, refuseManyPixels } from './geometry.js';
import { readPreset } from './presets.js';
import { imagenet, onlyFrames, presetFor } from './recipe.js';
import type { Normalisation } from '../types.js';
import type { ConfigContext, KeyShapes, ModelFamily, ModelSpec } from './spec.js';
import { lastGrid, uniformerGraph, type UniFormer } from './uniformer-v1.js';

/** Channels of the stages of both published sizes. Source: encoder.md 8; Sense-X/UniFormer 588f861, exp/uniformer_{s,b}16x4. */
const publishedWidths = [64, 128, 320, 512];
const sizes = {
  'uniformer-v1-s': { embed_dim: publishedWidths, depth: [3, 4, 8, 3], head_dim: 64, mlp_ratio: 4 },
  'uniformer-v1-b': { embed_dim: publishedWidths, depth: [5, 8, 20, 7], head_dim: 64, mlp_ratio: 4 },
};

function readModel(config: ConfigReader, { preset = imagenet }: { readonly preset?: Normalisation }): UniFormer {
  const size = config.integer('img_size', 32, limits.size, 320);
  const frames = config.integer('frames', 1, limits.frames, 16);
  refuseManyPixels(config, 'img_size', frames, size);
  const widths = config.integers('embed_dim', 4, 1, limits.width);
  const depths = config.integers('depth', 4, 1, limits.depth);
  const headWidth = config.integer('head_dim', 1, limits.width, 64);
  if (widths.slice(2).some((width) => width % headWidth !== 0))
    throw config.fail('embed_dim', `multiples of head_dim ${headWidth} in the stages with attention, the last two`);
  // Pixels bound the tokens of the stages with attention, not what the first stage holds of each of its channels.
  const [t, side] = [Math.ceil(frames / 2), Math.floor(size / 4)];
  const largest = Math.max(...widths.map((width, stage) => width * t * Math.floor(side / 2 ** stage) ** 2));
  if (largest > limits.table)
    throw config.fail('embed_dim', `at most ${limits.table} values in a stage; the largest has ${largest}`);
  const ratio = config.positive('mlp_ratio', 4);
  const hidden = widths.map((width) => Math.trunc(width * ratio));
  if (hidden.some((width) => width < 1 || width > 8 * limits.width))
    throw config.fail('mlp_ratio', `hidden widths of 1 to ${8 * limits.width}`);
  config.oneOf('activation', ['gelu_erf'] as const, 'gelu_erf');
  return {
    frames,
    size,
    widths,
    depths,
    headWidth,
    ratio,
    epsilon: {
      block: config.positive('norm_eps', 1e-6),
      patch: config.positive('patch_norm_eps', 1e-5),
      batch: config.positive('batchnorm_eps', 1e-5),
    },
    classes: config.integer('num_classes', 0, limits.classes, 0),
    ...readStatistics(config, preset),
  };
}

function spec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const model = readModel(new ConfigReader('uniformer-v1', raw), context);
  const { frames, size, widths, classes, epsilon } = model;
  const width = widths[3]!;
  const [t, h, w] = lastGrid(model);
  return {
    family: 'uniformer-v1',
    kind: 'encoder',
    config: {
      img_size: size,
      frames,
      num_classes: classes,
      embed_dim: [...widths],
      depth: [...model.depths],
      head_dim: model.headWidth,
      mlp_ratio: model.ratio,
      norm_eps: epsilon.block,
      patch_norm_eps: epsilon.patch,
      batchnorm_eps: epsilon.batch,
      activation: 'gelu_erf',
      mean: [...model.mean],
      std: [...model.std],
    },
    preset: presetFor(model, context, { base: readPreset('uniformer-v1-fhp-320'), feature: 'pooled' }),
    frames,
    size,
    classes,
    outputs: {
      pooled: { shape: ['batch', width], meaning: 'mean of features over time, rows and columns' },
      ...(classes > 0 && {
        logits: { shape: ['batch', classes], meaning: 'class scores; of a hand-prediction model its 20 coordinates' },
        probs: { shape: ['batch', classes], meaning: 'softmax of logits' },
      }),
      tokens: {
        shape: ['batch', t * h * w, width],
        meaning: 'features, one row a place: time slowest, columns fastest',
      },
      features: { shape: ['batch', width, t, h, w], meaning: 'last stage after the final batch norm' },
    },
    tokenOutput: 'tokens',
    arrays: {},
    build: (variant) => uniformerGraph('uniformer-v1', model, variant),
    adapt: (tensors) => tensors,
    leftover: (key) => leftover(key, classes),
    feeds: onlyFrames,
    probeArrays: () => ({}),
  };
}

function leftover(key: string, classes: number): string | undefined {
  if (/^(blocks[12]\.\d+\.norm[12]|norm)\.num_batches_tracked$/.test(key)) return 'counter of the training';
  if (classes === 0 && /^head\.(weight|bias)$/.test(key)) return 'classifier of another task (num_classes 0)';
  return undefined;
}

function infer(keys: KeyShapes): Record<string, JsonValue> {
  const stages = [1, 2, 3, 4];
  const widths = stages.flatMap((stage) => keys.get(`patch_embed${stage}.proj.weight`)?.slice(0, 1) ?? []);
  const depths = stages.map((stage) => depthOf(keys, `blocks${stage}.`));
  const fc1 = keys.get('blocks3.0.mlp.fc1.weight');
  return defined({
    embed_dim: widths.length === 4 ? widths : undefined,
    depth: depths.includes(0) ? undefined : depths,
    // The shapes do not tell heads: those of the published widths are known, others come from the configuration.
    head_dim: widths.join() === publishedWidths.join() ? 64 : undefined,
    mlp_ratio: fc1?.[1] === undefined ? undefined : ratioOf(fc1[0]!, fc1[1]),
    num_classes: keys.get('head.weight')?.[0] ?? 0,
  });
}

export const uniformerV1: ModelFamily = {
  name: 'uniformer-v1',
  summary: 'UniFormer, first version, for video: the hand-prediction and verb models of the Ego4D 2022 challenge',
  sizes,
  recognises: (keys) =>
    keys.get('patch_embed1.proj.weight')?.length === 5 &&
    keys.has('blocks1.0.conv1.weight') &&
    keys.has('blocks3.0.attn.qkv.weight'),
  official: (tensors) => tensors,
  infer,
  spec,
};
