/** The loss of future hands (heads.md 3): smooth L1 in pixels over the hands that are annotated. */
import type { GraphBuilder } from '../src/graph/builder.js';
import { abs, div, less, max, mul, scalar, sub, sum, where } from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';

/** Difference in pixels from which on the loss grows linearly. Source: OpenGVLab/ego4d-eccv2022-solutions, hand prediction. */
export const handBeta = 5;

/**
 * Sum over masked entries of d^2 / (2 beta) for |d| < beta, else |d| - beta / 2, by the number of ones in the mask (at least 1): [].
 *
 * @param predicted, target, mask of one shape
 */
export function maskedSmoothL1(
  g: GraphBuilder,
  predicted: Value,
  target: Value,
  { mask, beta = handBeta }: { readonly mask: Value; readonly beta?: number },
): Value {
  const axes = predicted.shape.map((_, i) => i);
  const error = mul(g, sub(g, predicted, target), mask);
  const size = abs(g, error);
  const near = mul(g, mul(g, error, error), scalar(g, 0.5 / beta));
  const far = sub(g, size, scalar(g, beta / 2));
  const total = sum(g, where(g, less(g, size, scalar(g, beta)), near, far), axes);
  return div(g, total, max(g, sum(g, mask, axes), scalar(g, 1)));
}
