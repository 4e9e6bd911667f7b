/**
 * Ridge classifier in closed form, in double precision on the host: the exact baseline of the linear probe (training.md 10, ladder 4).
 *
 * Least squares on class indicators with an L2 penalty over standardised features; the penalty is chosen by leave-one-out accuracy, which
 * needs no second fit: with the leverage h of a row, its prediction without itself is y - (y - p) / (1 - h).
 * Source: Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", 2nd ed., 7.10 and 4.2.
 */
import { EgolensError } from '../errors.js';

/** Mean and variance (by n) of every column. */
export interface ColumnStatistics {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

/** Statistics of rows of one width, in double precision; of at least one row. */
export function columnStatistics(rows: readonly ArrayLike<number>[], width: number): ColumnStatistics {
  const mean = new Float64Array(width);
  const variance = new Float64Array(width);
  for (const row of rows) for (let j = 0; j < width; j++) mean[j]! += row[j]! / rows.length;
  for (const row of rows) for (let j = 0; j < width; j++) variance[j]! += (row[j]! - mean[j]!) ** 2 / rows.length;
  return { mean, variance };
}

export interface RidgeOptions {
  /** Added to variances before the root. */
  readonly epsilon: number;
  /** Penalties by the number of rows, from which leave-one-out chooses. */
  readonly penalties?: readonly number[];
}

/** logits = scale ((x - mean) / sqrt(variance + epsilon) weights^T + bias): the scale makes a softmax of them a fair probability. */
export interface Ridge {
  /** [classes, width] over standardised features, scale included. */
  readonly weights: Float64Array;
  /** [classes], scale included. */
  readonly bias: Float64Array;
  /** By the number of rows. */
  readonly penalty: number;
  /** Share of the rows that leave-one-out gets right. */
  readonly accuracy: number;
}

const usualPenalties = [1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1, 3, 10];
const scales = [1, 2, 4, 8, 16, 32];
/** Rows that the penalty is chosen by; evenly spaced ones of more. */
const judgedRows = 1024;

/**
 * Fits one classifier for each list of labels over the same rows.
 *
 * @param rows of one width
 * @param targets labels of the rows and the number of classes, for each classifier
 * @throws EgolensError data.invalid without rows
 */
export function fitRidge(
  rows: readonly ArrayLike<number>[],
  { mean, variance }: ColumnStatistics,
  targets: readonly { readonly labels: Int32Array; readonly classes: number }[],
  { epsilon, penalties = usualPenalties }: RidgeOptions,
): Ridge[] {
  const width = mean.length;
  const count = rows.length;
  if (count === 0) throw new EgolensError('data.invalid', 'ridge: expected at least one row, found none');
  const standard = rows.map((row) =>
    Float64Array.from({ length: width }, (_, j) => (row[j]! - mean[j]!) / Math.sqrt(variance[j]! + epsilon)),
  );
  const gram = gramOf(standard, width);
  const step = Math.max(1, Math.ceil(count / judgedRows));
  const judged = standard.map((_, i) => i).filter((i) => i % step === 0);
  const best: (Ridge | undefined)[] = targets.map(() => undefined);
  for (const penalty of [...penalties].sort((a, b) => b - a)) {
    const factor = cholesky(gram, width, penalty * count);
    const leverage = judged.map((i) => {
      const half = forward(factor, standard[i]!, width);
      return 1 / count + half.reduce((sum, value) => sum + value * value, 0);
    });
    targets.forEach((target, t) => {
      const fit = solve(factor, standard, target, width);
      const left = judged.map((i, k) => leftOut(fit, standard[i]!, target.labels[i]!, leverage[k]!));
      const truth = judged.map((i) => target.labels[i]!);
      const hits = left.filter((scores, k) => bestOf(scores) === truth[k]).length;
      const accuracy = hits / judged.length;
      // The larger penalty stays where both are as good.
      if (best[t] !== undefined && accuracy <= best[t].accuracy) return;
      const scale = bestScale(left, truth);
      best[t] = {
        weights: fit.weights.map((value) => scale * value),
        bias: fit.bias.map((value) => scale * value),
        penalty,
        accuracy,
      };
    });
  }
  return best.map((one) => one!); // there is at least one penalty
}

/** Z^T Z, [width, width], the lower triangle. */
function gramOf(rows: readonly Float64Array[], width: number): Float64Array {
  const gram = new Float64Array(width * width);
  for (const row of rows) {
    for (let a = 0; a < width; a++) {
      const value = row[a]!;
      if (value === 0) continue;
      const at = a * width;
      for (let b = 0; b <= a; b++) gram[at + b]! += value * row[b]!;
    }
  }
  return gram;
}

/** L with L L^T = gram + added I. */
function cholesky(gram: Float64Array, width: number, added: number): Float64Array {
  const factor = new Float64Array(width * width);
  for (let a = 0; a < width; a++) {
    for (let b = 0; b <= a; b++) {
      let sum = gram[a * width + b]! + (a === b ? added : 0);
      const [atA, atB] = [a * width, b * width];
      for (let k = 0; k < b; k++) sum -= factor[atA + k]! * factor[atB + k]!;
      // The sum on the diagonal is at least `added` but for rounding.
      factor[atA + b] = a === b ? Math.sqrt(Math.max(sum, added)) : sum / factor[atB + b]!;
    }
  }
  return factor;
}

/** y with L y = x. */
function forward(factor: Float64Array, x: Float64Array, width: number): Float64Array {
  const y = new Float64Array(width);
  for (let a = 0; a < width; a++) {
    let sum = x[a]!;
    for (let k = 0; k < a; k++) sum -= factor[a * width + k]! * y[k]!;
    y[a] = sum / factor[a * width + a]!;
  }
  return y;
}

/** x with L^T x = y. */
function backward(factor: Float64Array, y: Float64Array, width: number): Float64Array {
  const x = y.slice();
  for (let a = width - 1; a >= 0; a--) {
    x[a]! /= factor[a * width + a]!;
    for (let k = 0; k < a; k++) x[k]! -= factor[a * width + k]! * x[a]!;
  }
  return x;
}

interface Fit {
  readonly weights: Float64Array;
  readonly bias: Float64Array;
}

/** Columns of Z have mean 0, so the intercepts are the shares of the classes, and Z^T Y needs no centring. */
function solve(
  factor: Float64Array,
  rows: readonly Float64Array[],
  { labels, classes }: { readonly labels: Int32Array; readonly classes: number },
  width: number,
): Fit {
  const sums = Array.from({ length: classes }, () => new Float64Array(width));
  const bias = new Float64Array(classes);
  rows.forEach((row, i) => {
    const own = sums[labels[i]!]!; // labels are below `classes`
    bias[labels[i]!]! += 1 / rows.length;
    for (let j = 0; j < width; j++) own[j]! += row[j]!;
  });
  const weights = new Float64Array(classes * width);
  sums.forEach((sum, c) => weights.set(backward(factor, forward(factor, sum, width), width), c * width));
  return { weights, bias };
}

/** Scores of a row by the fit without it. */
function leftOut({ weights, bias }: Fit, row: Float64Array, label: number, leverage: number): Float64Array {
  const width = row.length;
  return bias.map((shift, c) => {
    let score = shift;
    for (let j = 0; j < width; j++) score += weights[c * width + j]! * row[j]!;
    const wanted = c === label ? 1 : 0;
    return wanted - (wanted - score) / Math.max(1 - leverage, 1e-9);
  });
}

function bestOf(scores: Float64Array): number {
  let best = 0;
  for (let c = 1; c < scores.length; c++) if (scores[c]! > scores[best]!) best = c;
  return best;
}

/** The factor under which the left-out scores are most likely. */
function bestScale(scores: readonly Float64Array[], labels: readonly number[]): number {
  let [best, least] = [scales[0]!, Infinity];
  for (const scale of scales) {
    let loss = 0;
    scores.forEach((row, i) => {
      const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
      const total = row.reduce((sum, value) => sum + Math.exp(scale * (value - most)), 0);
      loss += Math.log(total) - scale * (row[labels[i]!]! - most); // a label for each row
    });
    if (loss < least) [best, least] = [scale, loss];
  }
  return best;
}
