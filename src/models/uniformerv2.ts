/**
 * UniFormerV2: CLIP's image tower with local blocks along time and global blocks over all frames.
 *
 * Paper: Li et al., "UniFormerV2: Spatiotemporal Learning by Arming Image ViTs with Video UniFormer", 2022.
 * Code: OpenGVLab/UniFormerV2 722a434 slowfast/models/uniformerv2_model.py.
 * Loads: every kind of its model zoo (global blocks alone, with local blocks and temporal stride, frozen), and the video tower of
 * InternVideo's multimodal model, which is the same without the head.
 * Differs from the official graph in what is folded: scale and statistics of the pixels into the patch matrix, batch norm into the
 * product after it. Tokens are batch-first inside; the official outputs have the official layout.
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import {
  add,
  batchNormAffine,
  concat,
  convolve,
  depthwise3d,
  layerNorm,
  linear,
  mean,
  mul,
  multiply,
  prependToken,
  repeatToken,
  reshape,
  scalar,
  sigmoid,
  slice,
  softmax,
  split,
  sub,
  sum,
  tokenAt,
  transpose,
  type AttentionForm,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { clipMlp, packedCrossAttention, packedSelfAttention, type ClipTower } from './clip-blocks.js';
import { cubesOf, embedCubes, gridOf, type Cubes, type Geometry } from './patches.js';
import type { GraphVariant } from './spec.js';

/** The stack of frame blocks with what was added to it for video. */
export interface UniformerTower extends ClipTower {
  /** `tubelet` is the temporal stride: 1, or 2 with a kernel of 3 frames. */
  readonly geometry: Geometry;
  /** Local blocks (convolution along time) per frame block. */
  readonly local: 0 | 1 | 2;
  /** Channels inside a local block. */
  readonly localWidth: number;
  /** Of the batch norm in a local block. */
  readonly batchNormEpsilon: number;
  /** Frame blocks that a global block follows, ascending. */
  readonly after: readonly number[];
  readonly globalHeads: number;
  /** No `balance`: the video token alone goes to the head. */
  readonly frozen: boolean;
}

/** A tower and its head. */
export interface Uniformer {
  readonly tower: UniformerTower;
  /** 0: no `proj`. */
  readonly classes: number;
}

/** What the tower makes of a window: b windows of t steps, n = 1 + h w tokens each, the class token first. */
export interface UniformerValues {
  /** Tokens after `ln_pre`: [b t, n, width]. */
  readonly embedded: Value;
  /** Tokens after the last block, no final norm: [b t, n, width]. */
  readonly last: Value;
  /** Tokens of all frames after each block that a global one follows, t slowest: [b, t n, width] each. */
  readonly stages: readonly Value[];
  /** The video token after the last global block: [b, 1, width]. */
  readonly token: Value;
  /** What enters the head, before its norm: [b, width]. */
  readonly pooled: Value;
}

/** Tokens of one step: the class token and the patches. */
export function stepTokens({ geometry }: Pick<UniformerTower, 'geometry'>): number {
  const [, h, w] = gridOf(geometry);
  return 1 + h * w;
}

/**
 * The classifier. Outputs `embedded` [b t, n, width], `out_last` [n, b t, width] (t fastest) and `global_token` [1, b, width] as the
 * official code lays them out, `tokens` [b, t n, width], `pooled` [b, width], `logits` and `probs` [b, classes].
 */
export function uniformerGraph(name: string, { tower, classes }: Uniformer, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  const { embedded, last, token, pooled } = uniformerTower(g, cubesOf(g, tower.geometry, variant), tower, variant.form);
  g.output('embedded', embedded);
  g.output('out_last', transpose(g, last, [1, 0, 2]));
  g.output('tokens', allFrames(g, last, tower));
  g.output('global_token', transpose(g, token, [1, 0, 2]));
  g.output('pooled', pooled);
  if (classes > 0) {
    const logits = uniformerHead(g, pooled, tower, classes);
    g.output('logits', logits);
    g.output('probs', softmax(g, logits));
  }
  return g.finish();
}

/** The tower over pixels; keys as encoder.md 3.3 has them, under the scope of the caller. */
export function uniformerTower(
  g: GraphBuilder,
  cubes: Cubes,
  tower: UniformerTower,
  form: AttentionForm,
): UniformerValues {
  const { width, epsilon } = tower;
  const n = stepTokens(tower);
  const patches = reshape(g, embedFrames(g, cubes, tower), [-1, n - 1, width]); // [b t, h w, width]
  const x = add(
    g,
    prependToken(g, g.param('class_embedding', [width]), patches),
    g.param('positional_embedding', [n, width]),
  );
  const embedded = layerNorm(g, x, 'ln_pre', epsilon);
  return { embedded, ...g.scope('transformer', () => transformer(g, embedded, tower, form)) };
}

/** Class scores of what the tower pooled. */
export function uniformerHead(
  g: GraphBuilder,
  pooled: Value,
  { epsilon }: Pick<UniformerTower, 'epsilon'>,
  classes: number,
): Value {
  return g.scope('transformer', () => linear(g, layerNorm(g, pooled, 'proj.0', epsilon), 'proj.2', classes));
}

/** Patch embedding without bias: [b, t h w, width]. */
function embedFrames(g: GraphBuilder, cubes: Cubes, { geometry, width }: UniformerTower): Value {
  const { patch, tubelet } = geometry;
  if (tubelet === 1) return embedCubes(g, cubes, geometry, g.param('conv1.weight', [width, 3, 1, patch, patch]));
  // Stride 2, kernel 3, one step of padding: of the kernel's frames the last two lie on the pair of frames itself, the first on the
  // second frame of the pair before. Before the first pair lie zeros of the normalised pixels, that is no product at all.
  const kernel = g.param('conv1.weight', [width, 3, 3, patch, patch]);
  const [t, h, w] = gridOf(geometry);
  const own = embedCubes(g, cubes, geometry, slice(g, kernel, 2, 1, 3));
  if (t === 1) return own;
  const second = slice(g, slice(g, cubes.values, 1, 0, (t - 1) * h * w), 2, patch ** 2, 2 * patch ** 2);
  const frame = { ...geometry, tubelet: 1 };
  const before = embedCubes(g, { ...cubes, values: second }, frame, slice(g, kernel, 2, 0, 1));
  return concat(g, [slice(g, own, 1, 0, h * w), add(g, slice(g, own, 1, h * w, t * h * w), before)], 1);
}

function transformer(
  g: GraphBuilder,
  x: Value,
  tower: UniformerTower,
  form: AttentionForm,
): Omit<UniformerValues, 'embedded'> {
  const { width, depth, after, geometry } = tower;
  const stages: Value[] = [];
  let token = repeatToken(g, g.param('temporal_cls_token', [1, 1, width]), allFrames(g, x, tower));
  for (let i = 0; i < depth; i++) {
    x = g.scope(`resblocks.${i}`, () => frameBlock(g, x, tower, form));
    if (!after.includes(i)) continue;
    const j = stages.length;
    stages.push(allFrames(g, x, tower));
    // The term of `dpe` feeds the global block alone; the frames go on without it.
    const placed = allFrames(g, withPositions(g, x, tower, `dpe.${j}`), tower);
    token = g.scope(`dec.${j}`, () => globalBlock(g, token, placed, tower, form));
  }
  const video = reshape(g, token, [0, width]);
  if (tower.frozen) return { last: x, stages, token, pooled: video };
  const share = sigmoid(g, g.param('balance', [width]));
  const steps = gridOf(geometry)[0];
  const frames = mean(g, reshape(g, tokenAt(g, x, 0), [-1, steps, width]), [1]); // [b, width]
  const pooled = add(g, mul(g, video, sub(g, scalar(g, 1), share)), mul(g, frames, share));
  return { last: x, stages, token, pooled };
}

/** [b t, n, width] -> [b, t n, width]. */
function allFrames(g: GraphBuilder, x: Value, tower: UniformerTower): Value {
  return reshape(g, x, [-1, gridOf(tower.geometry)[0] * stepTokens(tower), tower.width]);
}

/** CLIP's block within each frame, with local blocks before its attention and before its MLP: [b t, n, width]. */
function frameBlock(g: GraphBuilder, x: Value, tower: UniformerTower, form: AttentionForm): Value {
  if (tower.local > 0) x = localBlock(g, x, tower, 'lmhra1');
  const h = layerNorm(g, x, 'ln_1', tower.epsilon);
  x = add(
    g,
    x,
    g.scope('attn', () => packedSelfAttention(g, h, tower, form)),
  );
  if (tower.local > 1) x = localBlock(g, x, tower, 'lmhra2');
  return add(g, x, clipMlp(g, layerNorm(g, x, 'ln_2', tower.epsilon), tower.width));
}

/** Patch tokens += batch norm, product to `localWidth`, depthwise convolution of 3 steps along time, product back. */
function localBlock(g: GraphBuilder, x: Value, tower: UniformerTower, name: string): Value {
  const { width, localWidth } = tower;
  return onPatches(g, x, tower, (patches) =>
    g.scope(`${name}.pos_embed`, () => {
      const { scale, shift } = batchNormAffine(g, '0', width, tower.batchNormEpsilon);
      const reduce = reshape(g, g.param('1.weight', [localWidth, width, 1, 1, 1]), [localWidth, width]);
      const bias = add(g, g.param('1.bias', [localWidth]), sum(g, mul(g, reduce, shift), [1]));
      const reduced = multiply(g, patches, mul(g, reduce, scale), bias);
      const expand = reshape(g, g.param('3.weight', [width, localWidth, 1, 1, 1]), [width, localWidth]);
      return multiply(g, alongTime(g, reduced, tower, '2'), expand, g.param('3.bias', [width]));
    }),
  );
}

/** Depthwise convolution of 3 steps along time, zeros before and after, over patches [b t, h w, c]. */
function alongTime(g: GraphBuilder, patches: Value, { geometry }: UniformerTower, name: string): Value {
  const [t, h, w] = gridOf(geometry);
  const c = patches.shape[2] as number;
  const weight = reshape(g, g.param(`${name}.weight`, [c, 1, 3, 1, 1]), [c, 1, 3, 1]);
  const steps = transpose(g, reshape(g, patches, [-1, t, h * w, c]), [0, 3, 1, 2]); // [b, c, t, h w]
  const mixed = convolve(g, steps, weight, g.param(`${name}.bias`, [c]), {
    strides: [1, 1],
    padding: [1, 0],
    groups: c,
  });
  return reshape(g, transpose(g, mixed, [0, 2, 3, 1]), [-1, h * w, c]);
}

/** Patch tokens += their depthwise 3 x 3 x 3 convolution, zeros around the volume. */
function withPositions(g: GraphBuilder, x: Value, tower: UniformerTower, name: string): Value {
  const { width, geometry } = tower;
  const [t, h, w] = gridOf(geometry);
  return onPatches(g, x, tower, (patches) => {
    const volume = transpose(g, reshape(g, patches, [-1, t, h, w, width]), [0, 4, 1, 2, 3]); // [b, width, t, h, w]
    return reshape(g, transpose(g, depthwise3d(g, volume, name, 3), [0, 2, 3, 4, 1]), [-1, h * w, width]);
  });
}

/** The class tokens of x [b t, n, width] as they are, the patch tokens plus what `change` makes of them. */
function onPatches(g: GraphBuilder, x: Value, tower: UniformerTower, change: (patches: Value) => Value): Value {
  const [first, patches] = split(g, x, [1, stepTokens(tower) - 1], 1);
  return concat(g, [first!, add(g, patches!, change(patches!))], 1);
}

/** The video token [b, 1, width] asks all tokens of all frames [b, t n, width]. */
function globalBlock(g: GraphBuilder, token: Value, frames: Value, tower: UniformerTower, form: AttentionForm): Value {
  const { width, epsilon, globalHeads: heads } = tower;
  const query = layerNorm(g, token, 'ln_1', epsilon);
  const asked = layerNorm(g, frames, 'ln_3', epsilon);
  token = add(
    g,
    token,
    g.scope('attn', () => packedCrossAttention(g, query, asked, { ...tower, heads }, form)),
  );
  return add(g, token, clipMlp(g, layerNorm(g, token, 'ln_2', epsilon), width));
}
