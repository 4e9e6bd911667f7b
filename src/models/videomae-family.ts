import { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import { seededRandom } from '../random.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Normalisation, Tensor } from '../types.js';
import { ConfigReader, defined, depthOf, limits, ratioOf } from './config.js';
import { imagenet, onlyFrames, presetFor } from './recipe.js';
import { readGeometry, refuseManyTokens } from './geometry.js';
import { gridOf, tokenCount, type Geometry } from './patches.js';
import type { Grid } from './positions.js';
import { readPreset } from './presets.js';
import type { ConfigContext, KeyShapes, ModelFamily, ModelSpec, OutputInfo } from './spec.js';
import { adaptVideoMae, leftoverReason, officialKeys } from './videomae-keys.js';
import {
  classifierGraph,
  interpolatedFrom,
  pretrainingGraph,
  type Classifier,
  type PositionRule,
  type Pretraining,
  type Tower,
} from './videomae.js';

/** Published sizes. Source: encoder.md 2.1 of the design; MCG-NJU/VideoMAE and OpenGVLab/VideoMAEv2 model files. */
interface Size {
  readonly patch: number;
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
  readonly ratio: number;
  /** Pre-training decoder: width, heads, blocks. */
  readonly decoder: readonly [width: number, heads: number, depth: number];
}
const sizes: Readonly<Record<string, Size>> = {
  s: { patch: 16, width: 384, depth: 12, heads: 6, ratio: 4, decoder: [192, 3, 4] },
  b: { patch: 16, width: 768, depth: 12, heads: 12, ratio: 4, decoder: [384, 6, 4] },
  l: { patch: 16, width: 1024, depth: 24, heads: 16, ratio: 4, decoder: [512, 8, 12] },
  'l-v2': { patch: 16, width: 1024, depth: 24, heads: 16, ratio: 4, decoder: [512, 8, 4] },
  h: { patch: 16, width: 1280, depth: 32, heads: 16, ratio: 4, decoder: [640, 8, 12] },
  'h-v2': { patch: 16, width: 1280, depth: 32, heads: 16, ratio: 4, decoder: [512, 8, 4] },
  g: { patch: 14, width: 1408, depth: 40, heads: 16, ratio: 48 / 11, decoder: [512, 8, 4] },
  'g-16': { patch: 16, width: 1408, depth: 40, heads: 16, ratio: 48 / 11, decoder: [512, 8, 4] },
  gigantic: { patch: 14, width: 1664, depth: 48, heads: 16, ratio: 64 / 13, decoder: [512, 8, 4] },
};

/** Statistics that the configuration leaves open are those of the preset: the graph normalises with them. */
function readOwnGeometry(config: ConfigReader, { preset = imagenet }: { readonly preset?: Normalisation }): Geometry {
  const sizes = {
    size: config.integer('img_size', 1, limits.size, 224),
    patch: config.integer('patch_size', 1, limits.size, 16),
    frames: config.integer('all_frames', 1, limits.frames, 16),
    tubelet: config.integer('tubelet_size', 1, limits.frames, 2),
  };
  const members = { size: 'img_size', patch: 'patch_size', frames: 'all_frames', tubelet: 'tubelet_size' };
  const geometry = readGeometry(config, sizes, members, preset);
  refuseManyTokens(config, 'patch_size', geometry);
  return geometry;
}

/** Refuses a positional table over `grid` that would take more memory than any model's. */
function refuseLargeTable(config: ConfigReader, member: string, grid: Grid, width: number): void {
  const values = sizeOf([...grid, width]);
  if (values > limits.table)
    throw config.fail(
      member,
      `a positional table of at most ${limits.table} values; ${grid.join(' x ')} tokens take ${values}`,
    );
}

function readTower(
  config: ConfigReader,
  prefix: '' | 'encoder_' | 'decoder_',
  geometry: Geometry,
  shared: Pick<Tower, 'epsilon' | 'qvBias' | 'cosine'>,
): Tower {
  const width = config.integer(`${prefix}embed_dim`, 1, limits.width);
  const heads = config.integer(`${prefix}num_heads`, 1, limits.width);
  if (width % heads !== 0) throw config.fail(`${prefix}embed_dim`, `a multiple of ${prefix}num_heads ${heads}`);
  if (width % 2 !== 0)
    throw config.fail(`${prefix}embed_dim`, 'an even number: the positional table pairs sine and cosine');
  refuseLargeTable(config, `${prefix}embed_dim`, gridOf(geometry), width);
  const ratio = config.positive('mlp_ratio', 4);
  const hidden = Math.trunc(width * ratio);
  if (hidden < 1 || hidden > 8 * limits.width)
    throw config.fail('mlp_ratio', `a hidden width of 1 to ${8 * limits.width}`);
  return {
    width,
    heads,
    depth: config.integer(`${prefix}depth`, 1, limits.depth),
    hidden,
    layerScale: config.nonNegative('init_values', 0) > 0,
    ...shared,
  };
}

function readShared(config: ConfigReader): Pick<Tower, 'epsilon' | 'qvBias' | 'cosine'> {
  return {
    epsilon: config.positive('norm_eps', 1e-6),
    qvBias: config.flag('qkv_bias', true),
    cosine: config.flag('cos_attn', false),
  };
}

/** A table of every member that was read, with defaults filled in. */
function completeConfig(geometry: Geometry, tower: Tower): Record<string, JsonValue> {
  return {
    img_size: geometry.size,
    patch_size: geometry.patch,
    all_frames: geometry.frames,
    tubelet_size: geometry.tubelet,
    norm_eps: tower.epsilon,
    qkv_bias: tower.qvBias,
    cos_attn: tower.cosine,
    mean: [...geometry.mean],
    std: [...geometry.std],
  };
}

function tokenInfo(geometry: Geometry, width: number): OutputInfo {
  return {
    shape: ['batch', tokenCount(geometry), width],
    meaning: 'tokens after the last block, before any final norm',
  };
}

/** A classifier's configuration as its model. Throws `model.config` as the family's `spec` does. */
export function readClassifier(config: ConfigReader, context: ConfigContext): Classifier {
  const geometry = readOwnGeometry(config, context);
  const tower = readTower(config, '', geometry, readShared(config));
  const classes = config.integer('num_classes', 0, limits.classes, 0);
  const meanPooling = config.flag('use_mean_pooling', true);
  // InternVideo's own scripts resample the table; nothing in the file tells (encoder.md 2.5).
  const byRepository: PositionRule = context.repository === 'OpenGVLab/InternVideo' ? 'interpolated' : 'built';
  const rule = config.oneOf('position_rule', ['built', 'interpolated', 'learned'] as const, byRepository);
  const isLearned = config.flag('use_learnable_pos_emb', rule === 'learned');
  if (rule === 'learned' && !isLearned)
    throw config.fail('use_learnable_pos_emb', 'true, as position_rule `learned` has it');
  const positions = isLearned ? 'learned' : rule;
  if (positions === 'interpolated') {
    // The table is built on one grid and resampled axis by axis to the other: what lies between is as large as both together.
    const [from, to] = [interpolatedFrom(geometry.patch), gridOf(geometry)];
    if (from[1] < 1) throw config.fail('patch_size', 'at most 224, where position_rule is `interpolated`');
    refuseLargeTable(
      config,
      'patch_size',
      [Math.max(from[0], to[0]), Math.max(from[1], to[1]), Math.max(from[2], to[2])],
      tower.width,
    );
  }
  return { geometry, stem: readStem(config, geometry), tower, positions, meanPooling, classes };
}

/** `stem_dims`, ours: channels of the convolutions before the patches. */
function readStem(config: ConfigReader, { size, patch }: Geometry): readonly number[] {
  const stem = config.integers('stem_dims', 'few', 1, 1024, []);
  if (patch % 2 ** stem.length !== 0 || size % patch !== 0) {
    throw config.fail('stem_dims', `at most as many entries as patch_size ${patch} can be halved`);
  }
  return stem;
}

function classifierSpec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const config = new ConfigReader('videomae-classifier', raw);
  const model = readClassifier(config, context);
  const { geometry, tower, positions, meanPooling, classes } = model;
  const pooledMeaning = meanPooling ? 'fc_norm of the token mean' : 'first token after norm';
  return {
    family: 'videomae-classifier',
    kind: 'encoder',
    config: {
      ...completeConfig(geometry, tower),
      num_classes: classes,
      ...(model.stem.length > 0 && { stem_dims: [...model.stem] }),
      embed_dim: tower.width,
      depth: tower.depth,
      num_heads: tower.heads,
      mlp_ratio: config.positive('mlp_ratio', 4),
      init_values: config.nonNegative('init_values', 0),
      use_mean_pooling: meanPooling,
      use_learnable_pos_emb: positions === 'learned',
      position_rule: positions,
    },
    preset: presetFor(geometry, context, { base: readPreset('ego4d-mq'), feature: 'pooled' }),
    frames: geometry.frames,
    size: geometry.size,
    classes,
    outputs: {
      pooled: { shape: ['batch', tower.width], meaning: pooledMeaning },
      ...(classes > 0 && {
        logits: { shape: ['batch', classes], meaning: 'class scores' },
        probs: { shape: ['batch', classes], meaning: 'softmax of logits' },
      }),
      out_last: tokenInfo(geometry, tower.width),
    },
    tokenOutput: 'out_last',
    tokenGrid: gridOf(geometry),
    arrays: {},
    build: (variant) => classifierGraph('videomae-classifier', model, variant),
    adapt: (tensors) => adaptVideoMae(tensors, { positions, grid: gridOf(geometry), target: 'classifier' }),
    leftover: (key) => leftoverReason(key, { target: 'classifier', meanPooling, classes }),
    feeds: onlyFrames,
    probeArrays: () => ({}),
  };
}

function pretrainingSpec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const config = new ConfigReader('videomae-pretraining', raw);
  const geometry = readOwnGeometry(config, context);
  const shared = readShared(config);
  const encoder = readTower(config, 'encoder_', geometry, shared);
  const decoder = readTower(config, 'decoder_', geometry, shared);
  const learned = config.flag('use_learnable_pos_emb', false);
  const maskRatio = config.positive('mask_ratio', 0.9);
  const slice = (geometry.size / geometry.patch) ** 2;
  if (maskRatio >= 1 || Math.trunc(maskRatio * slice) < 1)
    throw config.fail('mask_ratio', `a number below 1 that hides at least one of ${slice} positions`);
  const cube = 3 * geometry.tubelet * geometry.patch ** 2;
  if (config.integer('decoder_num_classes', 1, 2 ** 31, cube) !== cube) {
    throw config.fail('decoder_num_classes', `3 x tubelet_size x patch_size^2 = ${cube}`);
  }
  const model: Pretraining = { geometry, encoder, decoder, positions: learned ? 'learned' : 'built' };
  const tokens = tokenCount(geometry);
  return {
    family: 'videomae-pretraining',
    kind: 'encoder',
    config: {
      ...completeConfig(geometry, encoder),
      ...prefixed('encoder_', encoder),
      ...prefixed('decoder_', decoder),
      decoder_num_classes: cube,
      mlp_ratio: config.positive('mlp_ratio', 4),
      init_values: config.nonNegative('init_values', 0),
      use_learnable_pos_emb: learned,
      mask_ratio: maskRatio,
    },
    preset: presetFor(geometry, context, { base: readPreset('ego4d-mq'), feature: 'encoder_visible' }),
    frames: geometry.frames,
    size: geometry.size,
    classes: 0,
    outputs: {
      encoder_visible: {
        shape: ['batch', 'visible', encoder.width],
        meaning: 'visible tokens in raster order, after encoder.norm',
      },
      pred: { shape: ['batch', 'decoded', cube], meaning: 'predicted normalised pixels of the decoded positions' },
      targets: { shape: ['batch', 'decoded', cube], meaning: 'normalised pixels of the decoded positions' },
      loss: { shape: [], meaning: 'mean squared error over the decoded positions that the encoder did not see' },
    },
    tokenOutput: 'encoder_visible',
    arrays: {
      mask: `bool [batch, ${tokens}], true = hidden from the encoder`,
      decode_mask: `bool [batch, ${tokens}], false = reconstructed; absent: every hidden position is`,
    },
    build: (variant) => pretrainingGraph('videomae-pretraining', model, variant),
    adapt: (tensors) =>
      adaptVideoMae(tensors, { positions: model.positions, grid: gridOf(geometry), target: 'pretraining' }),
    leftover: () => undefined,
    feeds: (arrays, batch) => pretrainingFeeds(arrays, batch, tokens),
    probeArrays: () => ({ mask: tubeMask(geometry, maskRatio, 0) }),
  };
}

function prefixed(prefix: string, { width, depth, heads }: Tower): Record<string, JsonValue> {
  return { [`${prefix}embed_dim`]: width, [`${prefix}depth`]: depth, [`${prefix}num_heads`]: heads };
}

/**
 * The masks of a batch as the index lists that the graph takes.
 *
 * @param arrays `mask` bool [batch, tokens] (true = hidden), and optionally `decode_mask` (false = reconstructed)
 * @returns `visible`, `decoded` int64 in raster order; `scored` float32, 1 where the encoder did not see the decoded position
 * @throws EgolensError data.shape when a mask is missing, misshapen, or hides none, all, or another number of tokens in another sample
 */
export function pretrainingFeeds(
  arrays: Readonly<Record<string, AnyTensor>>,
  batch: number,
  tokens: number,
): Readonly<Record<string, AnyTensor>> {
  for (const name of Object.keys(arrays)) {
    if (name !== 'mask' && name !== 'decode_mask') {
      throw new EgolensError(
        'data.invalid',
        `\`${name}\`: this model takes no such array; expected \`mask\` and \`decode_mask\``,
      );
    }
  }
  const hidden = maskOf(arrays['mask'], 'mask', batch, tokens);
  const undecoded =
    arrays['decode_mask'] === undefined
      ? hidden.map((row) => row.map((bit) => 1 - bit))
      : maskOf(arrays['decode_mask'], 'decode_mask', batch, tokens);
  const visible = hidden.map((row) => positions(row, 0));
  const decoded = undecoded.map((row) => positions(row, 0));
  const scored = decoded.map((row, i) => row.map((position) => hidden[i]![position]!));
  const indices = (rows: number[][], name: string): Tensor<'int64'> => {
    const count = equalLength(rows, name);
    return tensor('int64', [batch, count], BigInt64Array.from(rows.flat(), BigInt));
  };
  return {
    visible: indices(visible, 'mask'),
    decoded: indices(decoded, arrays['decode_mask'] === undefined ? 'mask' : 'decode_mask'),
    scored: tensor('float32', [batch, decoded[0]!.length], Float32Array.from(scored.flat())),
  };
}

function maskOf(value: AnyTensor | undefined, name: string, batch: number, tokens: number): number[][] {
  if (value === undefined) {
    throw new EgolensError('data.shape', `\`${name}\`: expected a bool array [${batch}, ${tokens}], found none`, {
      try: `give it with \`--${name.replace('_', '-')} FILE.npy\``,
    });
  }
  if (value.dtype !== 'bool' && value.dtype !== 'uint8') {
    throw new EgolensError('data.dtype', `\`${name}\`: expected bool, found ${value.dtype}`);
  }
  if (value.shape.length !== 2 || value.shape[0] !== batch || value.shape[1] !== tokens) {
    throw new EgolensError(
      'data.shape',
      `\`${name}\`: expected [${batch}, ${tokens}], found ${shapeText(value.shape)}`,
    );
  }
  return Array.from({ length: batch }, (_, i) =>
    Array.from(value.data.subarray(i * tokens, (i + 1) * tokens), (bit) => (bit === 0 ? 0 : 1)),
  );
}

function positions(row: readonly number[], wanted: number): number[] {
  return row.flatMap((bit, i) => (bit === wanted ? [i] : []));
}

function equalLength(rows: readonly (readonly number[])[], name: string): number {
  const lengths = new Set(rows.map((row) => row.length));
  const [length] = lengths;
  if (lengths.size !== 1 || length === undefined || length === 0) {
    throw new EgolensError(
      'data.shape',
      `\`${name}\`: expected the same number of chosen tokens, at least 1, in every sample, found ${[...lengths].join(', ')}`,
    );
  }
  return length;
}

/**
 * A tube mask for one sample: the same int(ratio * h * w) positions hidden in every time step.
 *
 * @returns bool [1, t*h*w], true = hidden
 * @source MCG-NJU/VideoMAE masking_generator.py, TubeMaskingGenerator (the choice itself is ours, from the seed)
 */
export function tubeMask(geometry: Geometry, ratio: number, seed: number): Tensor<'bool'> {
  const [t, h, w] = gridOf(geometry);
  const slice = new Uint8Array(h * w).fill(1, 0, Math.trunc(ratio * h * w));
  const order = seededRandom(seed, 'tube-mask').shuffle([...slice]);
  return tensor(
    'bool',
    [1, t * h * w],
    Uint8Array.from({ length: t * h * w }, (_, i) => order[i % (h * w)]!),
  );
}

/** Heads of a width among the published sizes; the one thing that shapes do not tell. */
function headsOf(width: number): number | undefined {
  for (const size of Object.values(sizes)) {
    if (size.width === width) return size.heads;
    if (size.decoder[0] === width) return size.decoder[1];
  }
  return undefined;
}

function inferTower(
  keys: KeyShapes,
  prefix: string,
): { width?: number; depth: number; heads?: number; ratio?: number } {
  const fc1 = keys.get(`${prefix}blocks.0.mlp.fc1.weight`);
  const width = fc1?.[1];
  const heads = keys.get(`${prefix}blocks.0.attn.scale`)?.[0] ?? (width === undefined ? undefined : headsOf(width));
  return {
    depth: depthOf(keys, `${prefix}blocks.`),
    ...(width !== undefined && { width, ratio: ratioOf(fc1![0]!, width) }),
    ...(heads !== undefined && { heads }),
  };
}

/** Shapes of the kernels of the stem, in order. */
function inferStem(keys: KeyShapes, prefix: string): (readonly number[])[] {
  const shapes: (readonly number[])[] = [];
  for (;;) {
    const shape = keys.get(`${prefix}${shapes.length}.weight`);
    if (shape?.length !== 4) return shapes;
    shapes.push(shape);
  }
}

/** Members both families read off the same keys, below `prefix`. */
function inferShared(keys: KeyShapes, prefix: string): Record<string, JsonValue> {
  const kernel = keys.get(`${prefix}patch_embed.proj.weight`);
  const stem = inferStem(keys, `${prefix}patch_embed.stem.`);
  return {
    ...(kernel?.length === 5 && { tubelet_size: kernel[2]!, patch_size: kernel[3]! }),
    ...(stem.length > 0 &&
      kernel?.length === 4 && {
        tubelet_size: Math.trunc(stem[0]![1]! / 3), // frames of a tubelet are channels
        patch_size: kernel[2]! * 2 ** stem.length,
        stem_dims: stem.map((shape) => shape[0]!),
      }),
    qkv_bias: keys.has(`${prefix}blocks.0.attn.q_bias`),
    cos_attn: keys.has(`${prefix}blocks.0.attn.scale`),
    ...(keys.has(`${prefix}blocks.0.gamma_1`) && { init_values: 0.1 }),
    ...(keys.has(`${prefix}pos_embed`) && { use_learnable_pos_emb: true }),
  };
}

export const videomaeClassifier: ModelFamily = {
  name: 'videomae-classifier',
  summary: 'VideoMAE v1, v2 and InternVideo1 classifiers; the masked stream',
  sizes: Object.fromEntries(
    Object.entries(sizes)
      .filter(([name]) => !name.endsWith('-v2'))
      .map(([name, size]) => [
        `videomae-${name}`,
        {
          patch_size: size.patch,
          embed_dim: size.width,
          depth: size.depth,
          num_heads: size.heads,
          mlp_ratio: size.ratio,
        },
      ]),
  ),
  recognises: (keys) =>
    keys.has('patch_embed.proj.weight') && keys.has('blocks.0.attn.qkv.weight') && keys.has('blocks.0.attn.q_bias'),
  official: (tensors) => officialKeys(tensors, 'classifier'),
  infer(keys) {
    // A pre-training file, or one with the encoder below `encoder.`, tells the same things one level down.
    const prefix = keys.has('patch_embed.proj.weight') ? '' : 'encoder.';
    const { width, depth, heads, ratio } = inferTower(keys, prefix);
    return defined({
      embed_dim: width,
      depth: depth === 0 ? undefined : depth,
      num_heads: heads,
      mlp_ratio: ratio,
      num_classes: keys.get('head.weight')?.[0] ?? 0,
      use_mean_pooling: !keys.has(`${prefix}norm.weight`),
      ...inferShared(keys, prefix),
    });
  },
  spec: classifierSpec,
};

export const videomaePretraining: ModelFamily = {
  name: 'videomae-pretraining',
  summary: 'VideoMAE v1 and v2 pre-training models: masked encoder and pixel decoder',
  sizes: Object.fromEntries(
    Object.entries(sizes).map(([name, size]) => [
      `videomae-${name}-pretraining`,
      {
        patch_size: size.patch,
        encoder_embed_dim: size.width,
        encoder_depth: size.depth,
        encoder_num_heads: size.heads,
        mlp_ratio: size.ratio,
        decoder_embed_dim: size.decoder[0],
        decoder_num_heads: size.decoder[1],
        decoder_depth: size.decoder[2],
      },
    ]),
  ),
  recognises: (keys) => keys.has('encoder.patch_embed.proj.weight') && keys.has('encoder_to_decoder.weight'),
  official: (tensors) => officialKeys(tensors, 'pretraining'),
  infer(keys) {
    const encoder = inferTower(keys, 'encoder.');
    const decoder = inferTower(keys, 'decoder.');
    return defined({
      encoder_embed_dim: encoder.width,
      encoder_depth: encoder.depth === 0 ? undefined : encoder.depth,
      encoder_num_heads: encoder.heads,
      decoder_embed_dim: decoder.width,
      decoder_depth: decoder.depth === 0 ? undefined : decoder.depth,
      decoder_num_heads: decoder.heads,
      mlp_ratio: encoder.ratio,
      ...inferShared(keys, 'encoder.'),
    });
  },
  spec: pretrainingSpec,
};
