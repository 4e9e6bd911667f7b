/** Blocks that the light heads share: attention over rows of which some are padding, and the two layers after it. */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  add,
  layerNorm,
  linear,
  matMul,
  mlp,
  mul,
  reshape,
  scalar,
  softmax,
  sub,
  transpose,
} from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';

const epsilon = 1e-5;

/** Rows, and which of them count: 1 or 0, [b, m]. Absent: all. */
export interface Rows {
  readonly x: Value;
  readonly mask?: Value;
}

/**
 * Pre-norm block: queries look at rows, then two layers; both are added to the queries.
 *
 * @param queries [b, n, width]
 * @param rows [b, m, width]; the queries themselves for self-attention
 */
export function attentionBlock(g: GraphBuilder, queries: Value, rows: Rows, heads: number): Value {
  const width = queries.shape.at(-1) as number;
  const asked = layerNorm(g, queries, 'norm1', epsilon);
  const seen = rows.x === queries ? asked : layerNorm(g, rows.x, 'norm_rows', epsilon);
  const mixed = g.scope('attn', () => attended(g, asked, { ...rows, x: seen }, heads));
  const x = add(g, queries, mixed);
  const hidden = layerNorm(g, x, 'norm2', epsilon);
  return add(
    g,
    x,
    g.scope('mlp', () => mlp(g, hidden, 2 * width)),
  );
}

function attended(g: GraphBuilder, queries: Value, { x, mask }: Rows, heads: number): Value {
  const width = queries.shape.at(-1) as number;
  const each = width / heads;
  const headed = (of: Value, name: string, perm: readonly number[]): Value =>
    transpose(g, reshape(g, linear(g, of, name, width), [0, 0, heads, each]), perm);
  const q = mul(g, headed(queries, 'q', [0, 2, 1, 3]), scalar(g, each ** -0.5)); // [b, heads, n, each]
  const logits = matMul(g, q, headed(x, 'k', [0, 2, 3, 1])); // [b, heads, n, m]
  const counted = mask === undefined ? logits : add(g, logits, reshape(g, hiddenWhere(g, mask), [0, 1, 1, -1]));
  const mixed = matMul(g, softmax(g, counted), headed(x, 'v', [0, 2, 1, 3]));
  return linear(g, reshape(g, transpose(g, mixed, [0, 2, 1, 3]), [0, -1, width]), 'proj', width);
}

/** To be added to logits: 0 where the mask is 1, and where it is 0 a number whose exponential is 0. */
export function hiddenWhere(g: GraphBuilder, mask: Value): Value {
  return mul(g, sub(g, mask, scalar(g, 1)), scalar(g, 1e9));
}

/** As many attention heads of at least 32 channels as divide the width. */
export function usualHeads(width: number): number {
  let heads = Math.max(1, Math.floor(width / 32));
  while (width % heads !== 0) heads--;
  return heads;
}
