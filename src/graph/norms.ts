import type { GraphBuilder } from './builder.js';
import { add, div, mean, mul, reshape, scalar, sqrt, sub } from './layers.js';
import type { Value } from './ops.js';

/** Normalisations that are put together from smaller operations, and so differentiate by themselves. */

/** What was subtracted and divided by. */
export interface Standardised {
  readonly y: Value;
  /** Axes kept with size 1. */
  readonly mean: Value;
  /** Biased: the mean of squares. Axes kept with size 1. */
  readonly variance: Value;
}

/** (x - mean) / sqrt(variance + epsilon) over the axes. */
export function standardise(g: GraphBuilder, x: Value, axes: readonly number[], epsilon: number): Standardised {
  const average = mean(g, x, axes, 1);
  const centred = sub(g, x, average);
  const variance = mean(g, mul(g, centred, centred), axes, 1);
  return { y: div(g, centred, sqrt(g, add(g, variance, scalar(g, epsilon)))), mean: average, variance };
}

/** Scale and shift of the channels of x [b, c, ...space]: `weight` and `bias` hold c values in any shape. */
function perChannel(g: GraphBuilder, x: Value, weight: Value, bias: Value): Value {
  const shape = [x.shape[1] as number, ...x.shape.slice(2).map(() => 1)];
  return add(g, mul(g, x, reshape(g, weight, shape)), reshape(g, bias, shape));
}

/** Affine parameters, c values each. */
export interface Affine {
  readonly weight: Value;
  readonly bias: Value;
}

/** Layer norm over the channels of x [b, c, ...space], as convolutional heads have it. Source: ActionFormer libs/modeling/blocks.py, LayerNorm. */
export function channelNorm(g: GraphBuilder, x: Value, { weight, bias }: Affine, epsilon: number): Value {
  return perChannel(g, standardise(g, x, [1], epsilon).y, weight, bias);
}

/** x [b, c, ...space], all but b known, normalised over the channels of each of `groups` groups and over space. Source: Wu and He, 2018. */
export function groupNorm(
  g: GraphBuilder,
  x: Value,
  { weight, bias }: Affine,
  { groups, epsilon }: { readonly groups: number; readonly epsilon: number },
): Value {
  const rest = x.shape.slice(1) as readonly number[];
  const grouped = reshape(g, x, [0, groups, -1]);
  return perChannel(g, reshape(g, standardise(g, grouped, [2], epsilon).y, [0, ...rest]), weight, bias);
}

/**
 * Batch norm in training: x [b, c, ...space] of known sizes, by the statistics of the batch. Running statistics are the trainer's:
 * `mean` and `variance` are what they are made of, the variance times n / (n - 1) first.
 */
export function batchNorm(g: GraphBuilder, x: Value, { weight, bias }: Affine, epsilon: number): Standardised {
  const axes = x.shape.flatMap((_, i) => (i === 1 ? [] : [i]));
  const { y, ...statistics } = standardise(g, x, axes, epsilon);
  return { y: perChannel(g, y, weight, bias), ...statistics };
}
