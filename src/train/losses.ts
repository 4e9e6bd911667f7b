/**
 * Losses over graph values. Targets, masks and normalisers are inputs or constants: nothing flows back to them.
 *
 * Papers: Szegedy et al., "Rethinking the Inception Architecture", 2016 (label smoothing); Lin et al., "Focal Loss", 2017; Zheng et al.,
 * "Distance-IoU Loss", 2020. Code: happyharrycn/actionformer_release libs/modeling/losses.py.
 */
import type { GraphBuilder } from '../graph/builder.js';
import {
  abs,
  add,
  div,
  less,
  log,
  logSoftmax,
  max,
  mean,
  min,
  mul,
  neg,
  scalar,
  sigmoid,
  softplus,
  sub,
  sum,
  where,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

const axesOf = (x: Value): number[] => x.shape.map((_, i) => i);

/** Mean over rows of -sum(targets log softmax(logits)); logits and targets [rows, classes], targets sum to 1: []. */
export function softCrossEntropy(g: GraphBuilder, logits: Value, targets: Value): Value {
  return neg(g, mean(g, sum(g, mul(g, targets, logSoftmax(g, logits)), [1]), [0]));
}

/**
 * As `softCrossEntropy`, over the rows that count: sum over rows of weight times loss, by the sum of weights, which must not be 0.
 *
 * @param weights float32 [rows]
 */
export function weightedCrossEntropy(g: GraphBuilder, logits: Value, targets: Value, weights: Value): Value {
  const rows = sum(g, mul(g, targets, logSoftmax(g, logits)), [1]);
  return neg(g, div(g, sum(g, mul(g, rows, weights), [0]), sum(g, weights, [0])));
}

/**
 * Targets of a cross-entropy on the host: rows of 1 - smoothing at the label and smoothing / classes everywhere.
 *
 * @param labels from 0 to classes - 1
 * @param smoothing in [0, 1)
 * @returns [labels, classes]
 */
export function classTargets(labels: ArrayLike<number>, classes: number, smoothing = 0): Tensor<'float32'> {
  const data = new Float32Array(labels.length * classes).fill(smoothing / classes);
  for (let i = 0; i < labels.length; i++) data[i * classes + labels[i]!]! += 1 - smoothing;
  return tensor('float32', [labels.length, classes], data);
}

/** Mean of squared differences over all elements: []. */
export function meanSquaredError(g: GraphBuilder, predicted: Value, target: Value): Value {
  const error = sub(g, predicted, target);
  return mean(g, mul(g, error, error), axesOf(predicted));
}

/** Mean of absolute differences over all elements: []. */
export function meanAbsoluteError(g: GraphBuilder, predicted: Value, target: Value): Value {
  return mean(g, abs(g, sub(g, predicted, target)), axesOf(predicted));
}

/** Mean over all elements of d^2 / (2 beta) for differences |d| < beta, else |d| - beta / 2: []. Source: Girshick, "Fast R-CNN", 2015. */
export function smoothAbsoluteError(g: GraphBuilder, predicted: Value, target: Value, beta: number): Value {
  const error = sub(g, predicted, target);
  const size = abs(g, error);
  const near = mul(g, mul(g, error, error), scalar(g, 0.5 / beta));
  const far = sub(g, size, scalar(g, beta / 2));
  return mean(g, where(g, less(g, size, scalar(g, beta)), near, far), axesOf(predicted));
}

/** Mean over rows of sum(targets (log targets - log softmax(logits))); logits and targets [rows, classes], targets above 0: []. */
export function klDivergence(g: GraphBuilder, logits: Value, targets: Value): Value {
  const apart = sub(g, log(g, targets), logSoftmax(g, logits));
  return mean(g, sum(g, mul(g, targets, apart), [1]), [0]);
}

/** softplus(x) - x t, element by element: the binary cross-entropy of sigmoid(x) against t in [0, 1]. */
export function binaryCrossEntropy(g: GraphBuilder, logits: Value, targets: Value): Value {
  return sub(g, softplus(g, logits), mul(g, logits, targets));
}

/** Constants of the focal loss: alpha weighs positives (1 - alpha negatives). */
export interface Focal {
  readonly alpha: number;
}

/** Focal loss with gamma 2, element by element: alpha_t (1 - p_t)^2 times the binary cross-entropy. */
export function focalLoss(g: GraphBuilder, logits: Value, targets: Value, { alpha }: Focal = { alpha: 0.25 }): Value {
  const p = sigmoid(g, logits);
  // 1 - p_t = p + t - 2 p t
  const miss = sub(g, add(g, p, targets), mul(g, mul(g, p, targets), scalar(g, 2)));
  const weight = add(g, mul(g, targets, scalar(g, 2 * alpha - 1)), scalar(g, 1 - alpha));
  return mul(g, mul(g, weight, binaryCrossEntropy(g, logits, targets)), mul(g, miss, miss));
}

/**
 * Distance-IoU loss of spans around common centres, row by row: 1 - IoU + (distance of the middles / hull)^2.
 *
 * @param predicted, target [..., 2]: distances from the centre to the start and to the end, at least 0, not both 0 in target and
 *   predicted together: rows that do not count are to be replaced by ones before, and masked after (`whereCounted`)
 * @returns [..., 1]
 */
export function distanceIou(g: GraphBuilder, predicted: Value, target: Value): Value {
  const last = predicted.shape.length - 1;
  const total = (x: Value): Value => sum(g, x, [last], 1);
  const inter = total(min(g, predicted, target));
  const union = sub(g, add(g, total(predicted), total(target)), inter);
  const hull = total(max(g, predicted, target));
  // The middle of [-l, r] lies (r - l) / 2 from the centre.
  const signs = g.constant(tensor('float32', [2], Float32Array.of(-0.5, 0.5)));
  const apart = div(g, total(mul(g, sub(g, predicted, target), signs)), hull);
  return add(g, sub(g, scalar(g, 1), div(g, inter, union)), mul(g, apart, apart));
}

/** x where the mask is 1, ones where it is 0: keeps rows that do not count away from 0 / 0. */
export function whereCounted(g: GraphBuilder, x: Value, mask: Value): Value {
  return add(g, mul(g, x, mask), sub(g, scalar(g, 1), mask));
}
