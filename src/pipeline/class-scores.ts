/** From what a model says of the views of a video to classes with scores, in float64. Pure. */
import { assert } from '../errors.js';
import type { Preset, Seconds, Tensor } from '../types.js';

/** Probabilities of logits: exp(x - max) over their sum. */
export function softmax(logits: ArrayLike<number>): Float64Array<ArrayBuffer> {
  let largest = -Infinity;
  for (let i = 0; i < logits.length; i++) largest = Math.max(largest, logits[i]!);
  const values = new Float64Array(logits.length);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const value = Math.exp(logits[i]! - largest);
    values[i] = value;
    sum += value;
  }
  for (let i = 0; i < values.length; i++) values[i]! /= sum;
  return values;
}

/** All classes of one stretch of video. */
export interface ClassScores {
  /** Sums to 1. */
  readonly scores: Float64Array;
  /** Mean over the views. */
  readonly logits: Float64Array;
}

/**
 * Views become one: `softmax-mean` averages their probabilities, `logit-mean` their logits, of which it takes the softmax then
 * (encoder.md 10.2: both rules are official, of different models).
 */
export class ViewFusion {
  #logits: Float64Array | undefined;
  #scores: Float64Array | undefined;
  #views = 0;

  constructor(readonly rule: Preset['sampling']['fusion']) {}

  /** The logits of one more view, one a class. */
  add(logits: ArrayLike<number>): void {
    this.#logits = added(this.#logits, logits);
    if (this.rule === 'softmax-mean') this.#scores = added(this.#scores, softmax(logits));
    this.#views++;
  }

  /** The views so far as one; the next view begins anew. At least one was added. */
  take(): ClassScores {
    assert(this.#logits, 'ViewFusion: no view');
    const views = this.#views;
    const logits = this.#logits.map((sum) => sum / views);
    const scores = this.#scores?.map((sum) => sum / views) ?? softmax(logits);
    this.#logits = this.#scores = undefined;
    this.#views = 0;
    return { scores, logits };
  }
}

function added(sums: Float64Array | undefined, values: ArrayLike<number>): Float64Array {
  if (sums === undefined) return Float64Array.from(values);
  for (let i = 0; i < sums.length; i++) sums[i]! += values[i]!;
  return sums;
}

/**
 * Logits of a picture vector against class vectors: scale x cosine.
 *
 * @param vector  [width], of any length; one of zeros has cosine 0 with every class
 * @param classes [classes, width], of unit length
 */
export function cosineLogits(
  vector: ArrayLike<number>,
  classes: Tensor<'float32'>,
  scale: number,
): Float64Array<ArrayBuffer> {
  const [count, width] = classes.shape;
  assert(
    count !== undefined && width === vector.length,
    `class vectors of ${width}, a picture vector of ${vector.length}`,
  );
  let square = 0;
  for (let i = 0; i < width; i++) square += vector[i]! * vector[i]!;
  const factor = square === 0 ? 0 : scale / Math.sqrt(square);
  const row = Float64Array.from(vector);
  const logits = new Float64Array(count);
  const { data } = classes;
  let c = 0;
  // Four classes side by side: one sum alone would wait for each addition (three times slower at 100,000 classes).
  for (; c + 3 < count; c += 4) {
    let at0 = c * width;
    let at1 = at0 + width;
    let at2 = at1 + width;
    let at3 = at2 + width;
    let sum0 = 0;
    let sum1 = 0;
    let sum2 = 0;
    let sum3 = 0;
    for (let i = 0; i < width; i++) {
      const value = row[i]!;
      sum0 += value * data[at0++]!;
      sum1 += value * data[at1++]!;
      sum2 += value * data[at2++]!;
      sum3 += value * data[at3++]!;
    }
    logits[c] = factor * sum0;
    logits[c + 1] = factor * sum1;
    logits[c + 2] = factor * sum2;
    logits[c + 3] = factor * sum3;
  }
  for (; c < count; c++) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += row[i]! * data[c * width + i]!;
    logits[c] = factor * sum;
  }
  return logits;
}

/** Mean of the raw vectors of the frames of a window (foundation.md 3.1: averaged first, brought to unit length after). */
export class FrameMean {
  #sum: Float64Array | undefined;
  #frames = 0;

  constructor(readonly frames: number) {}

  /** One more frame's vector; the mean with the last frame of a window, else undefined. */
  add(vector: ArrayLike<number>): Float64Array | undefined {
    this.#sum = added(this.#sum, vector);
    this.#frames++;
    if (this.#frames < this.frames) return undefined;
    const mean = this.#sum.map((sum) => sum / this.frames);
    this.#sum = undefined;
    this.#frames = 0;
    return mean;
  }
}

/** Class numbers by falling score, at most `most`, each with a score of at least `least`; of equal ones the lower number first. */
export function topClasses(scores: Float64Array, most: number, least: number): number[] {
  const top: number[] = [];
  for (let c = 0; c < scores.length; c++) {
    const score = scores[c]!;
    if (score < least || (top.length === most && score <= scores[top[most - 1]!]!)) continue;
    let place = top.length;
    while (place > 0 && scores[top[place - 1]!]! < score) place--;
    top.splice(place, 0, c);
    if (top.length > most) top.pop();
  }
  return top;
}

/** One class of one window, or of several that follow on each other. */
export interface ScoredLabel {
  /** Number of the window, or of the segment. */
  readonly index: number;
  readonly start: Seconds;
  readonly end: Seconds;
  readonly label: number;
  readonly score: number;
  readonly logit: number;
}

/**
 * Joins neighbours with the same label: a segment goes from the start of its first window to the end of its last, but begins no sooner
 * than the segment before it ends (windows may overlap); score and logit are the means of its windows. A window that was left out
 * separates its neighbours.
 *
 * @param windows at most one label a window, in the order of the windows
 */
export function mergeLabels(windows: readonly ScoredLabel[]): ScoredLabel[] {
  const runs: ScoredLabel[][] = [];
  for (const window of windows) {
    const last = runs.at(-1)?.at(-1);
    if (last?.label === window.label && last.index + 1 === window.index) runs.at(-1)!.push(window);
    else runs.push([window]);
  }
  const segments: ScoredLabel[] = [];
  for (const run of runs) {
    const start = Math.max(run[0]!.start, segments.at(-1)?.end ?? -Infinity);
    const { end, label } = run.at(-1)!;
    // Nothing is left of a window that lies within the segment before it.
    if (end <= start) continue;
    const mean = (of: 'score' | 'logit'): number => run.reduce((sum, window) => sum + window[of], 0) / run.length;
    segments.push({ index: segments.length, start, end, label, score: mean('score'), logit: mean('logit') });
  }
  return segments;
}
