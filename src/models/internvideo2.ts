/**
 * InternVideo2, first stage: the video encoder of the distilled S, B and L models and of 1B.
 *
 * Paper: Wang et al., "InternVideo2: Scaling Foundation Models for Multimodal Video Understanding", ECCV 2024.
 * Code: OpenGVLab/InternVideo 12c79c5 InternVideo2/single_modality/models/internvideo2.py, internvideo2_distill.py; the MLP and the
 * norms it runs with: Dao-AILab/flash-attention 081c2b0 flash_attn/ops/fused_dense.py, rms_norm.py.
 * Loads: fine-tuned classifiers (InternVideo2) and distilled or pre-trained models (DistInternVideo2, PretrainInternVideo2).
 * No output of the official code was at hand: the graph is checked against a recomputation from the formulas (internvideo2.test.ts).
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import {
  add,
  attention,
  gelu,
  geluTanh,
  layerNorm,
  linear,
  mean,
  mul,
  multiply,
  prependToken,
  reshape,
  rmsNorm,
  slice,
  softmax,
  split,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { cubesOf, embedCubes, gridOf, tokenCount, type Geometry } from './patches.js';
import type { GraphVariant } from './spec.js';

export interface InternVideo2 {
  readonly geometry: Geometry;
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
  /** Hidden width of the MLP. */
  readonly hidden: number;
  /** The official code runs a fused MLP, whose GELU is the tanh form, and offers a plain one in the erf form. */
  readonly activation: 'gelu_tanh' | 'gelu_erf';
  /** Tables for places and for times of their own, instead of one for both. */
  readonly separatePositions: boolean;
  readonly pool: { readonly heads: number; readonly width: number };
  /** A layer norm between pooling and classifier; distilled and pre-trained files have none. */
  readonly fcNorm: boolean;
  /** Of the RMS norms in blocks; of the layer norms in and after pooling. */
  readonly epsilon: { readonly block: number; readonly pool: number };
  /** 0: no `head`. */
  readonly classes: number;
}

/**
 * Outputs: `out_last` [b, 1 + n, width], the class token first; `pooled` [b, pool width], what enters the classifier; with `fc_norm`
 * also `projected`, the same before it; `logits` and `probs` [b, classes].
 */
export function internvideo2Graph(name: string, model: InternVideo2, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  const { geometry, width, depth, fcNorm, epsilon, classes } = model;
  const { patch, tubelet } = geometry;
  const cubes = cubesOf(g, geometry, variant);
  const kernel = g.param('patch_embed.proj.weight', [width, 3, tubelet, patch, patch]);
  const patches = embedCubes(g, cubes, geometry, kernel, g.param('patch_embed.proj.bias', [width]));
  const positions = model.separatePositions ? separateTables(g, geometry, width) : jointTable(g, geometry, width);
  const first = add(g, reshape(g, g.param('cls_token', [1, 1, width]), [width]), positions.first);
  let x = prependToken(g, first, add(g, patches, positions.rest)); // [b, 1 + n, width]
  for (let i = 0; i < depth; i++) x = g.scope(`blocks.${i}`, () => block(g, x, model, variant));
  g.output('out_last', x);
  const projected = g.scope('clip_projector', () => attentionPooling(g, x, model, variant));
  if (fcNorm) g.output('projected', projected);
  const pooled = fcNorm ? layerNorm(g, projected, 'fc_norm', epsilon.pool) : projected;
  g.output('pooled', pooled);
  if (classes > 0) {
    const logits = linear(g, pooled, 'head', classes);
    g.output('logits', logits);
    g.output('probs', softmax(g, logits));
  }
  return g.finish();
}

/** What is added to the class token, [width], and to the patches, [n, width]. */
interface Positions {
  readonly first: Value;
  readonly rest: Value;
}

function jointTable(g: GraphBuilder, geometry: Geometry, width: number): Positions {
  const count = tokenCount(geometry);
  const table = reshape(g, g.param('pos_embed', [1, 1 + count, width]), [1 + count, width]);
  return { first: reshape(g, slice(g, table, 0, 0, 1), [width]), rest: slice(g, table, 0, 1, 1 + count) };
}

function separateTables(g: GraphBuilder, geometry: Geometry, width: number): Positions {
  const [t, h, w] = gridOf(geometry);
  const times = reshape(g, g.param('pos_embed_temporal', [1, t, width]), [t, 1, width]);
  const both = add(g, times, g.param('pos_embed_spatial', [1, h * w, width])); // [t, h w, width]
  return {
    first: reshape(g, g.param('pos_embed_cls', [1, 1, width]), [width]),
    rest: reshape(g, both, [t * h * w, width]),
  };
}

/** Pre-norm block with layer scale: [b, n, width] -> [b, n, width]. */
function block(g: GraphBuilder, x: Value, model: InternVideo2, variant: GraphVariant): Value {
  const { width, hidden, epsilon } = model;
  const h = rmsNorm(g, x, 'norm1', epsilon.block);
  const mixed = g.scope('attn', () => selfAttention(g, h, model, variant));
  x = add(g, x, mul(g, mixed, g.param('ls1.gamma', [width])));
  const m = rmsNorm(g, x, 'norm2', epsilon.block);
  const activate = model.activation === 'gelu_tanh' ? geluTanh : gelu;
  const moved = g.scope('mlp', () => linear(g, activate(g, linear(g, m, 'fc1', hidden)), 'fc2', width));
  return add(g, x, mul(g, moved, g.param('ls2.gamma', [width])));
}

/** Queries and keys are normalised over the full width, before they are cut into heads. */
function selfAttention(g: GraphBuilder, x: Value, model: InternVideo2, { form }: GraphVariant): Value {
  const { width, heads, epsilon } = model;
  const packed = multiply(g, x, g.param('qkv.weight', [3 * width, width]));
  const [q, k, v] = split(g, packed, [width, width, width], 2);
  const unit = [rmsNorm(g, q!, 'q_norm', epsilon.block), rmsNorm(g, k!, 'k_norm', epsilon.block), v!] as const;
  return linear(g, attention(g, unit, { heads, scale: (width / heads) ** -0.5, form }), 'proj', width);
}

/** The mean of all tokens looks at all tokens: x [b, n, width] -> [b, pool.width]. */
function attentionPooling(
  g: GraphBuilder,
  x: Value,
  { width, pool, epsilon }: InternVideo2,
  { form }: GraphVariant,
): Value {
  const asked = layerNorm(g, mean(g, x, [1], 1), 'norm1_q', epsilon.pool);
  const keys = layerNorm(g, x, 'norm1_k', epsilon.pool);
  const values = layerNorm(g, x, 'norm1_v', epsilon.pool);
  return g.scope('cross_attn', () => {
    const part = (of: Value, name: string): Value =>
      linear(g, of, name, width, { bias: g.param(`${name}_bias`, [width]) });
    const parts = [part(asked, 'q'), part(keys, 'k'), part(values, 'v')] as const;
    const mixed = attention(g, parts, { heads: pool.heads, scale: (width / pool.heads) ** -0.5, form });
    return linear(g, reshape(g, mixed, [0, width]), 'proj', pool.width);
  });
}
