import type { JsonValue } from '../json.js';
import type { Normalisation } from '../types.js';
import { ConfigReader, defined, depthOf, limits } from './config.js';
import { readGeometry } from './geometry.js';
import { gridOf, type Geometry } from './patches.js';
import { readPreset } from './presets.js';
import { onlyFrames, presetFor, slowfastStatistics } from './recipe.js';
import type { ConfigContext, KeyShapes, ModelFamily, ModelSpec } from './spec.js';
import { stepTokens, uniformerGraph, type Uniformer, type UniformerTower } from './uniformerv2.js';

/** Published backbones. Source: encoder.md 3.1 of the design; OpenGVLab/UniFormerV2 uniformerv2_model.py. */
interface Backbone {
  readonly size: number;
  readonly patch: number;
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
}
const b16: Backbone = { size: 224, patch: 16, width: 768, depth: 12, heads: 12 };
const l14: Backbone = { size: 224, patch: 14, width: 1024, depth: 24, heads: 16 };
const l14At336: Backbone = { ...l14, size: 336 };

/** What the configurations of the repository come in: for appearance (Kinetics and the like), and for motion (Something-Something). */
type Kind = 'kinetics' | 'frozen' | 'something';

function sizeOf({ size, patch, width, depth, heads }: Backbone, kind: Kind): Record<string, JsonValue> {
  const isMotion = kind === 'something';
  return {
    input_resolution: size,
    patch_size: patch,
    width,
    layers: depth,
    heads,
    n_layers: isMotion ? (depth / 3) * 2 : 4,
    temporal_downsample: isMotion,
    no_lmhra: !isMotion,
    ...(isMotion && { double_lmhra: true, dw_reduction: 1.5 }),
    frozen: kind === 'frozen',
  };
}

/**
 * int(width // reduction): channels inside a local block, by Python's rule, which floors the exact quotient where a division would
 * round it up first.
 */
export function localWidthOf(width: number, reduction: number): number {
  return Math.round((width - (width % reduction)) / reduction);
}

/** A reduction that gives so many channels; the official one where it does. */
function reductionOf(width: number, localWidth: number): number {
  if (localWidthOf(width, 1.5) === localWidth) return 1.5;
  const ratio = width / localWidth;
  // The quotient may lie above the true one, and floors to one channel less then.
  return localWidthOf(width, ratio) === localWidth ? ratio : ratio * (1 - Number.EPSILON);
}

function readOwnGeometry(config: ConfigReader, statistics: Normalisation): Geometry {
  const size = config.integer('input_resolution', 1, limits.size, 224);
  const patch = config.integer('patch_size', 1, limits.size);
  const tubelet = config.flag('temporal_downsample', false) ? 2 : 1;
  // Nothing in the file tells. Published models of the second kind take 16 or 32, most of the first 8.
  const frames = config.integer('t_size', 1, limits.frames, 8 * tubelet);
  if (frames % tubelet !== 0) throw config.fail('t_size', 'an even number, where temporal_downsample is true');
  const members = { size: 'input_resolution', patch: 'patch_size', frames: 't_size' };
  return readGeometry(config, { size, patch, frames, tubelet }, members, statistics);
}

/** Number of local blocks per frame block, and their width. */
function readLocal(config: ConfigReader, width: number): Pick<UniformerTower, 'local' | 'localWidth'> {
  if (config.flag('no_lmhra', true)) return { local: 0, localWidth: 0 };
  const localWidth = localWidthOf(width, config.positive('dw_reduction', 1.5));
  if (localWidth < 1 || localWidth > limits.width)
    throw config.fail('dw_reduction', `a number that leaves 1 to ${limits.width} of ${width} channels`);
  return { local: config.flag('double_lmhra', true) ? 2 : 1, localWidth };
}

function readTower(config: ConfigReader, statistics: Normalisation): UniformerTower {
  const geometry = readOwnGeometry(config, statistics);
  const [steps, rows, columns] = gridOf(geometry);
  const tokens = steps * stepTokens({ geometry });
  if (tokens > limits.tokens)
    throw config.fail(
      'patch_size',
      `at most ${limits.tokens} tokens; ${steps} x (1 + ${rows} x ${columns}) are ${tokens}`,
    );
  const width = config.integer('width', 1, limits.width);
  const heads = config.integer('heads', 1, limits.width);
  if (width % heads !== 0) throw config.fail('width', `a multiple of heads ${heads}`);
  if (stepTokens({ geometry }) * width > limits.table)
    throw config.fail('width', `a positional table of at most ${limits.table} values`);
  const depth = config.integer('layers', 1, limits.depth);
  if (config.integer('n_dim', 1, limits.width, width) !== width)
    throw config.fail('n_dim', `width ${width}: the global blocks read the frame tokens`);
  const globalHeads = config.integer('n_head', 1, limits.width, heads);
  if (width % globalHeads !== 0) throw config.fail('n_head', `a divisor of width ${width}`);
  config.oneOf('activation', ['quick_gelu'] as const, 'quick_gelu');
  return {
    geometry,
    width,
    heads,
    depth,
    after: readReturnList(config, depth),
    globalHeads,
    frozen: config.flag('frozen', false),
    epsilon: config.positive('norm_eps', 1e-5),
    batchNormEpsilon: config.positive('batchnorm_eps', 1e-5),
    ...readLocal(config, width),
  };
}

/** Frame blocks that a global block follows: the last `n_layers` ones where the configuration does not name them. */
function readReturnList(config: ConfigReader, depth: number): readonly number[] {
  const count = config.integer('n_layers', 1, depth, Math.min(4, depth));
  const last = Array.from({ length: count }, (_, j) => depth - count + j);
  const list = config.ascending('return_list', 0, depth - 1, last);
  if (config.integer('n_layers', 1, depth, list.length) !== list.length)
    throw config.fail('n_layers', `the length of return_list, ${list.length}`);
  return list;
}

/** A configuration's model, under the official names. Throws `model.config` as the family's `spec` does. */
export function readUniformer(config: ConfigReader, statistics: Normalisation): Uniformer {
  return { tower: readTower(config, statistics), classes: config.integer('num_classes', 0, limits.classes, 0) };
}

/** Every member of the configuration, with defaults filled in. */
function completeConfig(config: ConfigReader, { tower, classes }: Uniformer): Record<string, JsonValue> {
  const { geometry, width, depth, heads, after, globalHeads, local, frozen } = tower;
  return {
    input_resolution: geometry.size,
    patch_size: geometry.patch,
    width,
    layers: depth,
    heads,
    t_size: geometry.frames,
    temporal_downsample: geometry.tubelet === 2,
    no_lmhra: local === 0,
    ...(local > 0 && { double_lmhra: local === 2, dw_reduction: config.positive('dw_reduction', 1.5) }),
    return_list: [...after],
    n_layers: after.length,
    n_dim: width,
    n_head: globalHeads,
    num_classes: classes,
    frozen,
    norm_eps: tower.epsilon,
    batchnorm_eps: tower.batchNormEpsilon,
    activation: 'quick_gelu',
    mean: [...geometry.mean],
    std: [...geometry.std],
  };
}

/** The published test recipes, the likeliest first: each model takes the first that fits its frames, size and kind. */
const recipes: Readonly<Record<Kind, readonly string[]>> = {
  kinetics: [
    'uniformerv2-k400-8x4x3',
    'uniformerv2-k400-16x4x3',
    'uniformerv2-k400-32x2x3',
    'uniformerv2-k400-8x4x3-336px',
    'uniformerv2-k400-32x2x3-336px',
    'uniformerv2-k400-64x2x3-336px',
  ],
  frozen: ['uniformerv2-frozen-8x3x1-336px', 'uniformerv2-frozen-32x4x3-336px'],
  something: ['uniformerv2-ssv2-16x1x3', 'uniformerv2-ssv2-32x1x3'],
};

function recipeOf({ geometry, local, frozen }: UniformerTower): ReturnType<typeof readPreset> {
  const kind: Kind = local > 0 && !frozen ? 'something' : frozen ? 'frozen' : 'kinetics';
  const presets = recipes[kind].map((name) => readPreset(name));
  const fits = presets.find(
    ({ sampling, pixels }) => sampling.frames === geometry.frames && pixels.size === geometry.size,
  );
  return fits ?? presets[0]!; // no kind is without a recipe
}

function uniformerSpec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const config = new ConfigReader('uniformerv2', raw);
  const model = readUniformer(config, context.preset ?? slowfastStatistics);
  const { tower, classes } = model;
  const { geometry, width } = tower;
  const steps = gridOf(geometry)[0];
  const count = stepTokens(tower);
  const lines = steps === 1 ? 'batch' : `batch*${steps}`;
  return {
    family: 'uniformerv2',
    kind: 'encoder',
    config: completeConfig(config, model),
    preset: presetFor(geometry, context, { base: recipeOf(tower), feature: 'pooled' }),
    frames: geometry.frames,
    size: geometry.size,
    classes,
    outputs: {
      pooled: {
        shape: ['batch', width],
        meaning: tower.frozen
          ? 'video token after the last global block, before the norm of the head'
          : 'video token and mean class token mixed by `balance`, before the norm of the head',
      },
      ...(classes > 0 && {
        logits: { shape: ['batch', classes], meaning: 'class scores' },
        probs: { shape: ['batch', classes], meaning: 'softmax of logits' },
      }),
      global_token: { shape: [1, 'batch', width], meaning: 'video token after the last global block' },
      tokens: {
        shape: ['batch', steps * count, width],
        meaning: `frame tokens after the last block, no final norm: ${steps} steps of a class token and ${count - 1} patches`,
      },
      out_last: {
        shape: [count, lines, width],
        meaning: 'the same tokens as the official code lays them out, time fastest',
      },
      embedded: { shape: [lines, count, width], meaning: 'frame tokens after ln_pre' },
    },
    tokenOutput: 'tokens',
    arrays: {},
    build: (variant) => uniformerGraph('uniformerv2', model, variant),
    adapt: (tensors) => tensors,
    leftover: (key) => leftoverReason(key, model),
    feeds: onlyFrames,
    probeArrays: () => ({}),
  };
}

/** Why a tensor of the file is not needed: exact keys, never a pattern that could hide a fault. */
function leftoverReason(key: string, { tower, classes }: Uniformer): string | undefined {
  const counter = /^transformer\.resblocks\.(\d+)\.lmhra([12])\.pos_embed\.0\.num_batches_tracked$/.exec(key);
  if (counter && Number(counter[1]) < tower.depth && Number(counter[2]) <= tower.local)
    return 'how many batches the batch norm saw in training';
  if (classes === 0 && /^transformer\.proj\.[02]\.(weight|bias)$/.test(key))
    return 'classifier of another task (num_classes 0)';
  return undefined;
}

/** What the official keys tell of a tower. */
function inferTower(keys: KeyShapes): Record<string, JsonValue> {
  const kernel = keys.get('conv1.weight');
  const [width, , kernelFrames, patch] = kernel?.length === 5 ? kernel : [];
  const side = Math.sqrt((keys.get('positional_embedding')?.[0] ?? 0) - 1);
  const local = 'transformer.resblocks.0.lmhra';
  const localWidth = keys.get(`${local}1.pos_embed.1.weight`)?.[0];
  const depth = depthOf(keys, 'transformer.resblocks.');
  const globals = depthOf(keys, 'transformer.dec.');
  return defined({
    width,
    patch_size: patch,
    input_resolution: patch !== undefined && Number.isInteger(side) && side > 0 ? side * patch : undefined,
    layers: depth === 0 ? undefined : depth,
    heads: width !== undefined && width % 64 === 0 ? width / 64 : undefined,
    n_layers: globals === 0 ? undefined : globals,
    temporal_downsample: kernelFrames === undefined ? undefined : kernelFrames > 1,
    no_lmhra: localWidth === undefined,
    double_lmhra: localWidth === undefined ? undefined : keys.has(`${local}2.pos_embed.1.weight`),
    dw_reduction:
      width === undefined || localWidth === undefined || localWidth < 1 ? undefined : reductionOf(width, localWidth),
    frozen: !keys.has('transformer.balance'),
  });
}

export const uniformerv2: ModelFamily = {
  name: 'uniformerv2',
  summary: 'UniFormerV2 video classifiers on CLIP: global, local and frozen kinds; the multimodal stream',
  sizes: {
    'uniformerv2-b16': sizeOf(b16, 'kinetics'),
    'uniformerv2-l14': sizeOf(l14, 'kinetics'),
    'uniformerv2-l14-336': sizeOf(l14At336, 'kinetics'),
    'uniformerv2-b16-sth': sizeOf(b16, 'something'),
    'uniformerv2-l14-sth': sizeOf(l14, 'something'),
    'uniformerv2-l14-336-frozen': sizeOf(l14At336, 'frozen'),
  },
  recognises: (keys) =>
    keys.has('conv1.weight') && keys.has('class_embedding') && keys.has('transformer.temporal_cls_token'),
  official: (tensors) => tensors,
  infer: (keys) => ({ ...inferTower(keys), num_classes: keys.get('transformer.proj.2.weight')?.[0] ?? 0 }),
  spec: uniformerSpec,
};
