/**
 * The network of ActionFormer: convolutions, a stem of transformer blocks, a pyramid of them that halves the time, a neck, and two heads
 * that all levels share.
 *
 * Paper: Zhang et al., "ActionFormer", ECCV 2022. Source: happyharrycn/actionformer_release libs/modeling (backbones.py, blocks.py,
 * necks.py, meta_archs.py). Loads its checkpoints. Differences: padded times are masked by -1e9 where the original has -inf, for gradients;
 * a local window is read in blocks of half its size; the table of positions is an input (`positionTable`), so that its length is free.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  add,
  concat,
  convolve,
  floats,
  gelu,
  identity,
  matMul,
  max,
  mul,
  pad,
  relu,
  reshape,
  scalar,
  slice,
  softmax,
  sub,
  transpose,
  trim,
} from '../src/graph/layers.js';
import { channelNorm } from '../src/graph/norms.js';
import type { Value } from '../src/graph/ops.js';
import type { ActionFormerConfig } from './actionformer-config.js';

/** What a key outside of the sequence adds to its logit, and one in the padding: the official -inf and -1e4. */
const outside = -1e9;
const padding = -1e4;

/** Everything that the network computes, by level: x is [b, c, t]. */
export interface Pyramid {
  /** [b, 1, t] */
  readonly masks: readonly Value[];
  readonly backbone: readonly Value[];
  readonly neck: readonly Value[];
  /** [b, t, classes] */
  readonly logits: readonly Value[];
  /** [b, t, 2] */
  readonly offsets: readonly Value[];
}

/** Declared inputs of the graph, as values. */
export interface PyramidInputs {
  /** A value for each stream: [b, rows, width]. */
  readonly streams: readonly Value[];
  /** [b, rows] */
  readonly mask: Value;
  /** [1, width, rows], where the configuration has absolute positions. */
  readonly positions?: Value;
}

/** The levels of the pyramid over the streams: values [b, width, t] and masks, finest first. */
export function pyramidValues(g: GraphBuilder, config: ActionFormerConfig, inputs: PyramidInputs): Pyramid {
  return pyramidOver(g, config, inputs.mask, (masks) => backboneValues(g, config, inputs, masks));
}

/** The pyramid over another backbone, which gives [b, width, t] for the mask of each level. */
export function pyramidOver(
  g: GraphBuilder,
  config: ActionFormerConfig,
  mask: Value,
  backboneOf: (masks: readonly Value[]) => Value[],
): Pyramid {
  const masks = [reshape(g, mask, [0, 1, -1])];
  for (let level = 1; level <= config.branches; level++) masks.push(everySecond(g, masks[level - 1]!)); // one before
  const backbone = g.scope('backbone', () => backboneOf(masks));
  const neck = g.scope('neck', () => neckValues(g, config, backbone, masks));
  const logits = g.scope('cls_head', () =>
    neck.map((x, level) => towerValues(g, config, x, masks[level]!, ['cls_head', config.classes])),
  );
  const offsets = g.scope('reg_head', () =>
    neck.map((x, level) => {
      const raw = towerValues(g, config, x, masks[level]!, ['offset_head', 2]);
      return relu(g, mul(g, raw, g.param(`scale.${level}.scale`, [])));
    }),
  );
  return { masks, backbone, neck, logits, offsets };
}

/** Form of a convolution along time, zeros around it; stride and groups 1 and a bias where absent. */
export interface ConvOptions {
  readonly kernel: number;
  readonly stride?: number;
  readonly bias?: boolean;
  readonly groups?: number;
}

/** x [b, in, t] -> [b, out, t / stride]; `name.weight` [out, in / groups, kernel]. */
export function conv(g: GraphBuilder, x: Value, name: string, out: number, options: ConvOptions): Value {
  const { kernel, stride = 1, bias = false, groups = 1 } = options;
  const weight = g.param(`${name}.weight`, [out, channels(x) / groups, kernel]);
  const shift = bias ? g.param(`${name}.bias`, [out]) : undefined;
  return convolve(g, x, weight, shift, { strides: [stride], padding: [(kernel - 1) / 2], groups });
}

/** Channels are known in all of these graphs. */
const channels = (x: Value): number => x.shape[1] as number;

/** Layer norm over the channels of x [b, c, t]. */
export function norm(g: GraphBuilder, x: Value, name: string): Value {
  const shape = [1, channels(x), 1];
  return channelNorm(g, x, { weight: g.param(`${name}.weight`, shape), bias: g.param(`${name}.bias`, shape) }, 1e-5);
}

/** Values of x [b, c, t] at even and at odd times, [b, c, t / 2, 1] each. */
function halves(g: GraphBuilder, x: Value): readonly [even: Value, odd: Value] {
  const pairs = reshape(g, x, [0, channels(x), -1, 2]);
  return [slice(g, pairs, 3, 0, 1), slice(g, pairs, 3, 1, 2)];
}

function everySecond(g: GraphBuilder, x: Value): Value {
  return reshape(g, halves(g, x)[0], [0, channels(x), -1]);
}

/** Largest of each even time and its two neighbours: [b, c, t / 2]. Of equal ones the earliest takes the gradient, as in PyTorch. */
function poolSkip(g: GraphBuilder, x: Value): Value {
  const [even, odd] = halves(g, x);
  const before = trim(g, pad(g, odd, [0, 0, 1, 0], [0, 0, 0, 0], outside), 2, 0, 1);
  // Max gives a tie to its second operand.
  return reshape(g, max(g, odd, max(g, even, before)), [0, channels(x), -1]);
}

function backboneValues(
  g: GraphBuilder,
  config: ActionFormerConfig,
  { streams, positions }: PyramidInputs,
  masks: readonly Value[],
): Value[] {
  const mask = masks[0]!; // of the first level
  const { projections, width, norms, kernels } = config;
  const given = streams.map((stream) => transpose(g, stream, [0, 2, 1]));
  let x = given[0]!; // a stream at least
  if (projections !== null) {
    const projected = given.map((stream, i) =>
      mul(g, conv(g, stream, `proj.${i}.conv`, projections[i]!, { kernel: 1, bias: true }), mask),
    );
    x = projected.length === 1 ? projected[0]! : concat(g, projected, 1);
  }
  for (let i = 0; i < config.embeddings; i++) {
    const options = { kernel: kernels.embedding, bias: !norms.embedding };
    const own = mul(g, conv(g, x, `embd.${i}.conv`, width, options), mask);
    x = relu(g, norms.embedding ? norm(g, own, `embd_norm.${i}`) : own);
  }
  if (positions !== undefined) x = add(g, x, mul(g, positions, mask));
  for (let i = 0; i < config.stem; i++) {
    const before = x;
    x = g.scope(`stem.${i}`, () => block(g, config, before, mask, { stride: 1, window: config.windows[0]! }));
  }
  const levels = [x];
  for (let i = 0; i < config.branches; i++) {
    const level = { stride: 2, window: config.windows[i + 1]! }; // a window for each level
    levels.push(g.scope(`branch.${i}`, () => block(g, config, levels[i]!, masks[i + 1]!, level)));
  }
  return levels;
}

/** How a block steps over its input, and how far it looks at its own level. */
export interface Step {
  readonly stride: number;
  readonly window: number;
  /** Padding is 0 before the convolutions of the attention, so that none of it reaches the sequence; the original lets it. */
  readonly clean?: boolean;
}

/**
 * x [b, c, t] -> [b, c, t / stride]; the mask is that of the result.
 *
 * @param further what a block with another source of attention does between its two halves
 */
export function block(
  g: GraphBuilder,
  config: ActionFormerConfig,
  x: Value,
  mask: Value,
  step: Step,
  further: (x: Value, scaled: (y: Value, name: string) => Value) => Value = (middle) => middle,
): Value {
  const { width } = config;
  const scaled = (y: Value, name: string): Value =>
    config.scaledBranches ? mul(g, y, g.param(`${name}.scale`, [1, width, 1])) : y;
  const normed = step.clean === true ? mul(g, norm(g, x, 'ln1'), mask) : norm(g, x, 'ln1');
  const attended = g.scope('attn', () => attention(g, config, normed, mask, step));
  const skip = step.stride === 1 ? x : poolSkip(g, x);
  const middle = further(add(g, mul(g, skip, mask), scaled(attended, 'drop_path_attn')), scaled);
  const hidden = gelu(g, conv(g, norm(g, middle, 'ln2'), 'mlp.0', 4 * width, { kernel: 1, bias: true }));
  const out = conv(g, hidden, 'mlp.3', width, { kernel: 1, bias: true });
  return add(g, middle, scaled(mul(g, out, mask), 'drop_path_mlp'));
}

function attention(
  g: GraphBuilder,
  { width, heads, relativePositions }: ActionFormerConfig,
  x: Value,
  mask: Value,
  { stride, window }: Step,
): Value {
  const [q, k, v] = (['query', 'key', 'value'] as const).map((name) => {
    const own = mul(g, conv(g, x, `${name}_conv.conv`, width, { kernel: 3, stride, groups: width }), mask);
    const projected = conv(g, norm(g, own, `${name}_norm`), name, width, { kernel: 1, bias: true });
    const headed = reshape(g, projected, [0, heads, width / heads, -1]);
    return transpose(g, headed, [0, 1, 3, 2]); // [b, heads, t, d]
  }) as [Value, Value, Value]; // of three names
  const scaled = mul(g, q, scalar(g, (width / heads) ** -0.5));
  const bias =
    relativePositions && window > 1 ? reshape(g, g.param('rel_pe', [1, 1, heads, window]), [heads, window]) : undefined;
  const mixed =
    window > 1 ? localAttention(g, [scaled, k, v], mask, { window, bias }) : globalAttention(g, [scaled, k, v], mask);
  const joined = reshape(g, transpose(g, mixed, [0, 1, 3, 2]), [0, width, -1]);
  return mul(g, conv(g, joined, 'proj', width, { kernel: 1, bias: true }), mask);
}

type Projected = readonly [q: Value, k: Value, v: Value];

/** Every time looks at all of the sequence. */
function globalAttention(g: GraphBuilder, [q, k, v]: Projected, mask: Value): Value {
  const hidden = mul(g, sub(g, mask, scalar(g, 1)), scalar(g, -outside)); // [b, 1, t]: 0, or far below all logits
  const keys = reshape(g, hidden, [0, 1, 1, -1]);
  const logits = add(g, matMul(g, q, transpose(g, k, [0, 1, 3, 2])), keys);
  return matMul(g, softmax(g, logits), v);
}

/**
 * Every time looks at the (window - 1) / 2 before and after it. In blocks of that many: the window of every time of a block lies in the block
 * and its two neighbours, so that both products are of matrices, on three copies of the keys instead of as many as the window is wide.
 */
function localAttention(
  g: GraphBuilder,
  [q, k, v]: Projected,
  mask: Value,
  { window, bias }: { readonly window: number; readonly bias: Value | undefined },
): Value {
  const half = (window - 1) / 2;
  const [heads, d] = [q.shape[1] as number, q.shape[3] as number]; // reshaped to them
  const blocks = (x: Value): Value => reshape(g, x, [0, heads, -1, half, d]);
  const near = (x: Value): Value => withNeighbours(g, blocks(x), 3, 0); // [b, heads, blocks, 3 half, d]
  const hidden = mul(g, sub(g, mask, scalar(g, 1)), scalar(g, -padding));
  const keys = withNeighbours(g, reshape(g, hidden, [0, 1, -1, 1, half]), 4, outside); // [b, 1, blocks, 1, 3 half]
  const logits = matMul(g, blocks(q), transpose(g, near(k), [0, 1, 2, 4, 3]));
  const seen = add(g, add(g, logits, bandOf(g, half, bias)), keys);
  const mixed = matMul(g, softmax(g, seen), near(v)); // [b, heads, blocks, half, d]
  return reshape(g, mixed, [0, heads, -1, d]);
}

/** Each block of axis 2 between the one before and the one after it, joined along `axis`; `filler` where there is none. */
function withNeighbours(g: GraphBuilder, blocks: Value, axis: number, filler: number): Value {
  const along = (width: number): number[] => blocks.shape.map((_, i) => (i === 2 ? width : 0));
  const padded = pad(g, blocks, along(1), along(2), filler);
  return concat(g, [trim(g, padded, 2, 0, 3), blocks, trim(g, padded, 2, 2, 1)], axis);
}

/**
 * What is added to the logits of a block [half] by its keys [3 half], the same for all blocks: 0 within the window, or the bias for the
 * distance ([heads, window]), and `outside` beyond it: [half, 3 half] or [heads, 1, half, 3 half].
 */
function bandOf(g: GraphBuilder, half: number, bias: Value | undefined): Value {
  const window = 2 * half + 1;
  const slots = Array.from({ length: half * 3 * half }, (_, i) => (i % (3 * half)) - Math.floor(i / (3 * half)));
  const band = floats(
    g,
    slots.map((slot) => (slot >= 0 && slot < window ? 0 : outside)),
    [half, 3 * half],
  );
  if (bias === undefined) return band;
  const chosen = Array.from({ length: window }, (_, distance) => slots.map((slot) => (slot === distance ? 1 : 0)));
  const spread = matMul(g, bias, floats(g, chosen.flat(), [window, slots.length]));
  return add(g, reshape(g, spread, [-1, 1, half, 3 * half]), band);
}

function neckValues(
  g: GraphBuilder,
  config: ActionFormerConfig,
  backbone: readonly Value[],
  masks: readonly Value[],
): Value[] {
  const normed = (x: Value, level: number): Value => (config.norms.neck ? norm(g, x, `fpn_norms.${level}`) : x);
  if (config.neck === 'identity') return backbone.map(normed);
  const width = config.neckWidth;
  const laterals = backbone.map((x, level) =>
    mul(g, conv(g, x, `lateral_convs.${level}.conv`, width, { kernel: 1 }), masks[level]!),
  );
  for (let level = laterals.length - 1; level > 0; level--) {
    laterals[level - 1] = add(g, laterals[level - 1]!, twice(g, laterals[level]!)); // both within the list
  }
  return laterals.map((x, level) => {
    const own = conv(g, x, `fpn_convs.${level}.conv`, width, { kernel: 3, groups: width });
    return normed(mul(g, own, masks[level]!), level);
  });
}

/** Each time of x [b, c, t] two times. */
function twice(g: GraphBuilder, x: Value): Value {
  const apart = reshape(g, x, [0, channels(x), -1, 1]);
  return reshape(g, concat(g, [apart, apart], 3), [0, channels(x), -1]);
}

/** A head over one level: [b, t, outputs]. */
function towerValues(
  g: GraphBuilder,
  { headLayers, headWidth, norms, kernels }: ActionFormerConfig,
  x: Value,
  mask: Value,
  [last, outputs]: readonly [name: string, outputs: number],
): Value {
  const kernel = kernels.head;
  let y = x;
  for (let i = 0; i < headLayers - 1; i++) {
    const own = mul(g, conv(g, y, `head.${i}.conv`, headWidth, { kernel, bias: !norms.head }), mask);
    y = relu(g, norms.head ? norm(g, own, `norm.${i}`) : own);
  }
  return transpose(g, mul(g, conv(g, y, `${last}.conv`, outputs, { kernel, bias: true }), mask), [0, 2, 1]);
}

/** Levels one after the other: what the head gives. */
export function joinedOutputs(g: GraphBuilder, { logits, offsets, masks }: Pyramid): Record<string, Value> {
  const joined = (values: readonly Value[]): Value =>
    values.length === 1 ? identity(g, values[0]!) : concat(g, values, 1);
  return {
    logits: joined(logits),
    offsets: joined(offsets),
    valid: joined(masks.map((mask) => reshape(g, mask, [0, -1]))),
  };
}
