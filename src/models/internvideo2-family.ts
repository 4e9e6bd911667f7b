import type { JsonValue } from '../json.js';
import { sizeOf, tensor } from '../tensor.js';
import type { Normalisation, StateDict, StoredTensor } from '../types.js';
import { ConfigReader, defined, depthOf, limits, ratioOf } from './config.js';
import { internvideo2Graph, type InternVideo2 } from './internvideo2.js';
import { readGeometry, refuseManyTokens } from './geometry.js';
import { gridOf, tokenCount, type Geometry } from './patches.js';
import { resampleTable, type Grid } from './positions.js';
import { readPreset } from './presets.js';
import { imagenet, onlyFrames, presetFor } from './recipe.js';
import type { ConfigContext, KeyShapes, ModelFamily, ModelSpec } from './spec.js';
import { computed } from './stored.js';

/** Source: OpenGVLab/InternVideo 12c79c5, the registered models at the end of internvideo2.py. */
const sizes = {
  'internvideo2-s14': { embed_dim: 384, depth: 12, num_heads: 6, mlp_ratio: 4 },
  'internvideo2-b14': { embed_dim: 768, depth: 12, num_heads: 12, mlp_ratio: 4 },
  'internvideo2-l14': { embed_dim: 1024, depth: 24, num_heads: 16, mlp_ratio: 4 },
  'internvideo2-1b': { embed_dim: 1408, depth: 40, num_heads: 16, mlp_ratio: 48 / 11 },
};

function readOwnGeometry(config: ConfigReader, { preset = imagenet }: { readonly preset?: Normalisation }): Geometry {
  const sizes = {
    size: config.integer('img_size', 1, limits.size, 224),
    patch: config.integer('patch_size', 1, limits.size, 14),
    frames: config.integer('num_frames', 1, limits.frames, 8),
    tubelet: config.integer('tubelet_size', 1, limits.frames, 1),
  };
  const members = { size: 'img_size', patch: 'patch_size', frames: 'num_frames', tubelet: 'tubelet_size' };
  const geometry = readGeometry(config, sizes, members, preset);
  refuseManyTokens(config, 'patch_size', geometry, 1);
  return geometry;
}

function readModel(config: ConfigReader, context: ConfigContext): InternVideo2 & { readonly ratio: number } {
  const geometry = readOwnGeometry(config, context);
  const width = config.integer('embed_dim', 1, limits.width);
  const heads = config.integer('num_heads', 1, limits.width);
  if (width % heads !== 0) throw config.fail('embed_dim', `a multiple of num_heads ${heads}`);
  const poolHeads = config.integer('attn_pool_num_heads', 1, limits.width, 16);
  if (width % poolHeads !== 0) throw config.fail('embed_dim', `a multiple of attn_pool_num_heads ${poolHeads}`);
  const table = (1 + tokenCount(geometry)) * width;
  if (table > limits.table)
    throw config.fail('embed_dim', `a positional table of at most ${limits.table} values; this one takes ${table}`);
  const ratio = config.positive('mlp_ratio', 4);
  const hidden = Math.trunc(width * ratio);
  if (hidden < 1 || hidden > 8 * limits.width)
    throw config.fail('mlp_ratio', `a hidden width of 1 to ${8 * limits.width}`);
  return {
    geometry,
    width,
    heads,
    hidden,
    ratio,
    depth: config.integer('depth', 1, limits.depth),
    activation: config.oneOf('activation', ['gelu_tanh', 'gelu_erf'] as const, 'gelu_tanh'),
    separatePositions: config.flag('sep_pos_embed', false),
    pool: { heads: poolHeads, width: config.integer('clip_embed_dim', 1, limits.width, 768) },
    fcNorm: config.flag('use_fc_norm', true),
    epsilon: { block: config.positive('norm_eps', 1e-6), pool: config.positive('pool_norm_eps', 1e-5) },
    classes: config.integer('num_classes', 0, limits.classes, 0),
  };
}

function spec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const model = readModel(new ConfigReader('internvideo2', raw), context);
  const { geometry, width, pool, fcNorm, classes } = model;
  return {
    family: 'internvideo2',
    kind: 'encoder',
    config: {
      img_size: geometry.size,
      patch_size: geometry.patch,
      num_frames: geometry.frames,
      tubelet_size: geometry.tubelet,
      embed_dim: width,
      depth: model.depth,
      num_heads: model.heads,
      mlp_ratio: model.ratio,
      activation: model.activation,
      sep_pos_embed: model.separatePositions,
      attn_pool_num_heads: pool.heads,
      clip_embed_dim: pool.width,
      use_fc_norm: fcNorm,
      num_classes: classes,
      norm_eps: model.epsilon.block,
      pool_norm_eps: model.epsilon.pool,
      mean: [...geometry.mean],
      std: [...geometry.std],
    },
    preset: presetFor(geometry, context, { base: readPreset('internvideo2-8'), feature: 'pooled' }),
    frames: geometry.frames,
    size: geometry.size,
    classes,
    outputs: {
      pooled: {
        shape: ['batch', pool.width],
        meaning: fcNorm ? 'attention pooling, after fc_norm: what enters the classifier' : 'attention pooling',
      },
      ...(classes > 0 && {
        logits: { shape: ['batch', classes], meaning: 'class scores' },
        probs: { shape: ['batch', classes], meaning: 'softmax of logits' },
      }),
      ...(fcNorm && { projected: { shape: ['batch', pool.width], meaning: 'attention pooling, before fc_norm' } }),
      out_last: {
        shape: ['batch', 1 + tokenCount(geometry), width],
        meaning: 'class token, then patches by time, row and column, after the last block; before any final norm',
      },
    },
    tokenOutput: 'out_last',
    arrays: {},
    build: (variant) => internvideo2Graph('internvideo2', model, variant),
    adapt: (tensors) => resizedTables(tensors, gridOf(geometry)),
    leftover: (key) => leftover(key, classes),
    feeds: onlyFrames,
    probeArrays: () => ({}),
  };
}

/** What pre-training and distillation leave in their files: heads that imitate a teacher's features, with tables of their own. */
function leftover(key: string, classes: number): string | undefined {
  if (/^(clip_decoder\.\d+|final_clip_decoder|mae_decoder\.\d+)\.(head|head\.[02]|norm)\.(weight|bias)$/.test(key))
    return 'decoder of the pre-training';
  if (/^(clip|mae)_pos_embed(_spatial|_temporal)?$/.test(key) || key === 'clip_pos_embed_cls')
    return 'positions of a decoder of the pre-training';
  if (classes === 0 && /^head\.(weight|bias)$/.test(key)) return 'classifier of another task (num_classes 0)';
  return undefined;
}

/** Grid of 224 pixels in patches of 14, which all published models have, and their numbers of frames. */
const publishedSide = 16;
const publishedFrames = [1, 2, 4, 8, 16, 32];

/** Grid of a table of `count` places without the class token; undefined where the count does not tell. Pre-training took 8 frames. */
function gridOfTable(count: number, wanted?: Grid): Grid | undefined {
  if (count < 1) return undefined;
  const square = (t: number): Grid | undefined => {
    const side = Math.sqrt(count / t);
    return Number.isInteger(side) && side > 0 ? [t, side, side] : undefined;
  };
  const sameSpace = wanted && count % (wanted[1] * wanted[2]) === 0 ? count / (wanted[1] * wanted[2]) : undefined;
  if (wanted && sameSpace !== undefined) return [sameSpace, wanted[1], wanted[2]];
  const frames = publishedFrames.find((t) => count === t * publishedSide ** 2);
  return (frames === undefined ? undefined : square(frames)) ?? square(8) ?? (wanted && square(wanted[0]));
}

/**
 * Positional tables of another grid: linear in time, bicubic in space; the class token's row stays.
 * Source: OpenGVLab/InternVideo 9d3d286, InternVideo2/single_modality/run_finetuning.py.
 */
function resizedTables(tensors: StateDict, grid: Grid): StateDict {
  const [t, h, w] = grid;
  return new Map(
    [...tensors].map(([key, value]): [string, StoredTensor] => {
      const [one, count = 0] = value.shape;
      if (value.shape.length !== 3 || one !== 1 || sizeOf(value.shape) > limits.table) return [key, value];
      const side = Math.sqrt(count);
      if (key === 'pos_embed') return [key, resized(value, 1, gridOfTable(count - 1, grid), grid)];
      if (key === 'pos_embed_temporal' && count > 0) return [key, resized(value, 0, [count, 1, 1], [t, 1, 1])];
      if (key === 'pos_embed_spatial' && Number.isInteger(side) && side > 0)
        return [key, resized(value, 0, [1, side, side], [1, h, w])];
      return [key, value];
    }),
  );
}

/** A stored table [1, kept + places, width] at other places; the first `kept` rows stay. */
function resized(stored: StoredTensor, kept: number, from: Grid | undefined, to: Grid): StoredTensor {
  if (from === undefined || from.join() === to.join()) return stored;
  const width = stored.shape[2]!;
  const places = to[0] * to[1] * to[2];
  return computed(stored, [1, kept + places, width], (values) => {
    const head = kept * width;
    const table = tensor('float32', [from[0] * from[1] * from[2], width], values.slice(head));
    const result = new Float32Array(head + places * width);
    result.set(values.subarray(0, head));
    result.set(resampleTable(table, from, to).data, head);
    return result;
  });
}

function infer(keys: KeyShapes): Record<string, JsonValue> {
  const kernel = keys.get('patch_embed.proj.weight');
  const [hidden, width] = keys.get('blocks.0.mlp.fc1.weight') ?? [];
  const depth = depthOf(keys, 'blocks.');
  const table = keys.get('pos_embed')?.[1];
  const times = keys.get('pos_embed_temporal')?.[1];
  const places = keys.get('pos_embed_spatial')?.[1];
  const grid = table === undefined ? undefined : gridOfTable(table - 1);
  const [t, side] = grid ?? [times, places === undefined ? undefined : Math.sqrt(places)];
  return defined({
    patch_size: kernel?.[3],
    tubelet_size: kernel?.[2],
    num_frames: t === undefined ? undefined : t * (kernel?.[2] ?? 1),
    img_size: side === undefined || !Number.isInteger(side) ? undefined : side * (kernel?.[3] ?? 14),
    embed_dim: width,
    depth: depth === 0 ? undefined : depth,
    // The one thing that shapes do not tell.
    num_heads: Object.values(sizes).find((size) => size.embed_dim === width)?.num_heads,
    mlp_ratio: hidden === undefined || width === undefined ? undefined : ratioOf(hidden, width),
    sep_pos_embed: keys.has('pos_embed_spatial'),
    clip_embed_dim: keys.get('clip_projector.cross_attn.proj.weight')?.[0],
    use_fc_norm: keys.has('fc_norm.weight'),
    num_classes: keys.get('head.weight')?.[0] ?? 0,
  });
}

export const internvideo2: ModelFamily = {
  name: 'internvideo2',
  summary: 'InternVideo2, first stage: the distilled S, B and L, and 1B; classifiers and encoders',
  sizes,
  parity: 'no parity data',
  recognises: (keys) =>
    keys.get('patch_embed.proj.weight')?.length === 5 &&
    keys.has('blocks.0.attn.q_norm.weight') &&
    keys.has('clip_projector.cross_attn.q.weight'),
  official: (tensors) => tensors,
  infer,
  spec,
};
