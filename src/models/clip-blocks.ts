/**
 * Transformer blocks as CLIP has them, shared by everything that was made of CLIP: its own two towers, UniFormerV2, ViCLIP and
 * InternVideo's multimodal model. Keys: `resblocks.{i}` of OpenAI's model.py (openai/CLIP d05afc4).
 */
import type { GraphBuilder } from '../graph/builder.js';
import {
  add,
  attention,
  layerNorm,
  linear,
  multiply,
  quickGelu,
  slice,
  split,
  type AttentionForm,
  type AttentionOptions,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';

/** One stack of CLIP blocks. */
export interface ClipTower {
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
  /** CLIP's is 1e-5. */
  readonly epsilon: number;
}

type Causal = Pick<AttentionOptions, 'causal'>;

/** x [b, n, width] through `resblocks.{i}`, i = 0 to depth - 1. */
export function clipBlocks(
  g: GraphBuilder,
  x: Value,
  tower: ClipTower,
  form: AttentionForm,
  options: Causal = {},
): Value {
  for (let i = 0; i < tower.depth; i++) x = g.scope(`resblocks.${i}`, () => clipBlock(g, x, tower, form, options));
  return x;
}

/** One block: x += attention(ln_1 x); x += mlp(ln_2 x). */
export function clipBlock(
  g: GraphBuilder,
  x: Value,
  tower: ClipTower,
  form: AttentionForm,
  options: Causal = {},
): Value {
  const h = layerNorm(g, x, 'ln_1', tower.epsilon);
  x = add(
    g,
    x,
    g.scope('attn', () => packedSelfAttention(g, h, tower, form, options)),
  );
  return add(g, x, clipMlp(g, layerNorm(g, x, 'ln_2', tower.epsilon), tower.width));
}

/** PyTorch's MultiheadAttention over its own input: `in_proj_weight` [3 width, width] holds q, k, v one after the other. */
export function packedSelfAttention(
  g: GraphBuilder,
  x: Value,
  { width, heads }: ClipTower,
  form: AttentionForm,
  options: Causal = {},
): Value {
  const packed = multiply(g, x, g.param('in_proj_weight', [3 * width, width]), g.param('in_proj_bias', [3 * width]));
  const [q, k, v] = split(g, packed, [width, width, width], 2);
  const mixed = attention(g, [q!, k!, v!], { heads, scale: (width / heads) ** -0.5, form, ...options });
  return linear(g, mixed, 'out_proj', width);
}

/** The same layer as cross attention: queries of x [b, n, width], keys and values of y [b, m, width]. */
export function packedCrossAttention(
  g: GraphBuilder,
  x: Value,
  y: Value,
  { width, heads }: ClipTower,
  form: AttentionForm,
): Value {
  const weight = g.param('in_proj_weight', [3 * width, width]);
  const bias = g.param('in_proj_bias', [3 * width]);
  const part = (of: Value, from: number, to: number): Value =>
    multiply(g, of, slice(g, weight, 0, from * width, to * width), slice(g, bias, 0, from * width, to * width));
  const [k, v] = split(g, part(y, 1, 3), [width, width], 2);
  const mixed = attention(g, [part(x, 0, 1), k!, v!], { heads, scale: (width / heads) ** -0.5, form });
  return linear(g, mixed, 'out_proj', width);
}

/** linear `mlp.c_fc` to 4 width, QuickGELU, linear `mlp.c_proj` back. */
export function clipMlp(g: GraphBuilder, x: Value, width: number): Value {
  return g.scope('mlp', () => linear(g, quickGelu(g, linear(g, x, 'c_fc', 4 * width)), 'c_proj', width));
}
