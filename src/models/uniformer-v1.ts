/**
 * UniFormer, the first version, for video: convolutions that mix neighbours in stages 1 and 2, attention over all tokens in 3 and 4.
 *
 * Paper: Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning", ICLR 2022.
 * Code: OpenGVLab/ego4d-eccv2022-solutions 1084ab9; Sense-X/UniFormer 45843cb video_classification/slowfast/models/uniformer.py.
 * Loads: the hand-prediction and verb models of the Ego4D 2022 challenge, and others of that module tree (blocks without `split`).
 * Differs from the official graph in one point: batch norms are folded into the products after them.
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import {
  add,
  attention,
  batchNormAffine,
  cast,
  convolve,
  depthwise3d,
  floats,
  gelu,
  layerNorm,
  linear,
  mean,
  mlp,
  mul,
  multiply,
  reshape,
  softmax,
  split,
  sub,
  transpose,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import type { Normalisation } from '../types.js';
import type { GraphVariant } from './spec.js';

export interface UniFormer extends Normalisation {
  readonly frames: number;
  /** Side of the input in pixels. */
  readonly size: number;
  /** Channels of the four stages. */
  readonly widths: readonly number[];
  /** Blocks of the four stages. */
  readonly depths: readonly number[];
  /** Channels of one attention head. */
  readonly headWidth: number;
  /** Hidden width of an MLP over its width. */
  readonly ratio: number;
  /** Of the layer norms in blocks, those after patch embeddings, and the batch norms. */
  readonly epsilon: { readonly block: number; readonly patch: number; readonly batch: number };
  /** 0: no `head`. */
  readonly classes: number;
}

/** Kernel of each stage's patch embedding: time, height and width; its stride in time is 2, 1, 1, 1, in space the kernel itself. */
const patches = [
  { kernel: [3, 4, 4], strides: [2, 4, 4], padding: [1, 0, 0] },
  { kernel: [1, 2, 2], strides: [1, 2, 2], padding: [0, 0, 0] },
  { kernel: [1, 2, 2], strides: [1, 2, 2], padding: [0, 0, 0] },
  { kernel: [1, 2, 2], strides: [1, 2, 2], padding: [0, 0, 0] },
] as const;

/** Steps in time, rows and columns of the last stage. */
export function lastGrid({ frames, size }: Pick<UniFormer, 'frames' | 'size'>): readonly [number, number, number] {
  const side = Math.floor(size / 32); // 4, 2, 2, 2; each cuts off what is left over, as one division does
  return [Math.ceil(frames / 2), side, side];
}

/** Outputs: `features` [b, width, t, h, w] and `tokens` [b, t h w, width] after the final batch norm, `pooled` [b, width], `logits` and `probs`. */
export function uniformerGraph(name: string, model: UniFormer, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  let x = pixels(g, model, variant); // [b, 3, t, h, w]
  model.widths.forEach((width, stage) => {
    x = g.scope(`patch_embed${stage + 1}`, () => patchEmbedding(g, x, width, patches[stage]!, model.epsilon.patch));
    for (let i = 0; i < model.depths[stage]!; i++) {
      x = g.scope(`blocks${stage + 1}.${i}`, () =>
        stage < 2 ? convolutionBlock(g, x, model) : attentionBlock(g, x, model, variant),
      );
    }
  });
  const width = x.shape[1] as number;
  const { scale, shift } = batchNormAffine(g, 'norm', width, model.epsilon.batch);
  const features = add(g, mul(g, x, perChannel(g, scale)), perChannel(g, shift));
  g.output('features', features);
  g.output('tokens', toTokens(g, features));
  const pooled = mean(g, features, [2, 3, 4]);
  g.output('pooled', pooled);
  if (model.classes > 0) {
    const logits = linear(g, pooled, 'head', model.classes);
    g.output('logits', logits);
    g.output('probs', softmax(g, logits));
  }
  return g.finish();
}

/** The input, normalised: [b, 3, t, h, w]. The first convolution pads with black of the normalised kind, so nothing can be folded. */
function pixels(
  g: GraphBuilder,
  { frames, size, mean: average, std }: UniFormer,
  { input, form }: GraphVariant,
): Value {
  if (input === 'normalised') return g.input('input', 'float32', ['batch', 3, frames, size, size]);
  const bytes = g.input('frames', 'uint8', ['batch', frames, size, size, 3]);
  // Moving bytes is cheaper than moving floats, but WebGPU has no Transpose of bytes (performance.md 7.3).
  const x = form === 'separate' ? cast(g, bytes, 'float32') : bytes;
  const moved = cast(g, transpose(g, x, [0, 4, 1, 2, 3]), 'float32');
  const scale = floats(
    g,
    std.map((s) => 1 / (255 * s)),
    [3, 1, 1, 1],
  );
  const shift = floats(
    g,
    average.map((m, c) => m / std[c]!),
    [3, 1, 1, 1],
  );
  return sub(g, mul(g, moved, scale), shift);
}

/** Convolution, then layer norm over the channels. */
function patchEmbedding(
  g: GraphBuilder,
  x: Value,
  width: number,
  { kernel, strides, padding }: (typeof patches)[number],
  epsilon: number,
): Value {
  const weight = g.param('proj.weight', [width, x.shape[1] as number, ...kernel]);
  const cut = convolve(g, x, weight, g.param('proj.bias', [width]), { strides, padding });
  return fromTokens(g, layerNorm(g, toTokens(g, cut), 'norm', epsilon), cut);
}

/** Stages 1 and 2: a 5 x 5 x 5 depthwise convolution takes the place of attention. x [b, width, t, h, w]. */
function convolutionBlock(g: GraphBuilder, x: Value, { ratio, epsilon }: UniFormer): Value {
  const width = x.shape[1] as number;
  x = add(g, x, depthwise3d(g, x, 'pos_embed', 3));
  const mixed = depthwise3d(
    g,
    pointwise(g, x, 'conv1', width, batchNormAffine(g, 'norm1', width, epsilon.batch)),
    'attn',
    5,
  );
  x = add(g, x, pointwise(g, mixed, 'conv2', width));
  const hidden = pointwise(
    g,
    x,
    'mlp.fc1',
    Math.trunc(width * ratio),
    batchNormAffine(g, 'norm2', width, epsilon.batch),
  );
  return add(g, x, pointwise(g, gelu(g, hidden), 'mlp.fc2', width));
}

/** 1 x 1 x 1 convolution of x, or of scale x + shift, which goes into the weight: [b, out, t, h, w]. */
function pointwise(
  g: GraphBuilder,
  x: Value,
  name: string,
  out: number,
  norm?: ReturnType<typeof batchNormAffine>,
): Value {
  const width = x.shape[1] as number;
  let weight: Value = g.param(`${name}.weight`, [out, width, 1, 1, 1]);
  let bias: Value = g.param(`${name}.bias`, [out]);
  if (norm) {
    const matrix = reshape(g, weight, [out, width]);
    bias = reshape(g, multiply(g, reshape(g, norm.shift, [1, width]), matrix, bias), [out]);
    weight = mul(g, weight, perChannel(g, norm.scale));
  }
  return convolve(g, x, weight, bias, { strides: [1, 1, 1], padding: [0, 0, 0] });
}

/** Stages 3 and 4: pre-norm attention over all t h w tokens. x [b, width, t, h, w]. */
function attentionBlock(g: GraphBuilder, x: Value, model: UniFormer, variant: GraphVariant): Value {
  const width = x.shape[1] as number;
  x = add(g, x, depthwise3d(g, x, 'pos_embed', 3));
  let tokens = toTokens(g, x);
  const h = layerNorm(g, tokens, 'norm1', model.epsilon.block);
  tokens = add(
    g,
    tokens,
    g.scope('attn', () => {
      const [q, k, v] = split(g, linear(g, h, 'qkv', 3 * width), [width, width, width], 2);
      const options = { heads: width / model.headWidth, scale: model.headWidth ** -0.5, form: variant.form };
      return linear(g, attention(g, [q!, k!, v!], options), 'proj', width);
    }),
  );
  const m = layerNorm(g, tokens, 'norm2', model.epsilon.block);
  tokens = add(
    g,
    tokens,
    g.scope('mlp', () => mlp(g, m, Math.trunc(width * model.ratio))),
  );
  return fromTokens(g, tokens, x);
}

/** [b, width, t, h, w] -> [b, t h w, width]. */
function toTokens(g: GraphBuilder, x: Value): Value {
  return transpose(g, reshape(g, x, [0, 0, -1]), [0, 2, 1]);
}

/** [b, t h w, width] -> [b, width, t, h, w], sizes as in `like`. */
function fromTokens(g: GraphBuilder, tokens: Value, like: Value): Value {
  const [t, h, w] = like.shape.slice(2) as number[];
  return reshape(g, transpose(g, tokens, [0, 2, 1]), [0, 0, t!, h!, w!]);
}

/** [width] as a factor or summand of [b, width, t, h, w]. */
function perChannel(g: GraphBuilder, value: Value): Value {
  return reshape(g, value, [value.shape[0] as number, 1, 1, 1]);
}
