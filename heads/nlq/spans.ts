/** Answers out of the logits of starts and ends. */
import { hullTiou } from '../../src/metrics/intervals.js';

/** Rows from `start` to `end`, both of them in it, and the probability of this pair. */
export interface RowSpan {
  readonly start: number;
  readonly end: number;
  readonly score: number;
}

/** Logits below this are of padding (-1e30 less than they would be). */
const paddingBelow = -1e29;

/** Rows of an item that are no padding, by its logits. */
export function rowsOf(logits: Float32Array): number {
  let count = logits.length;
  while (count > 0 && logits[count - 1]! < paddingBelow) count--;
  return count;
}

/** Softmax in float32 arithmetic. */
export function shares(logits: Float32Array): Float32Array<ArrayBuffer> {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float32Array.from(logits, (value) => Math.exp(Math.fround(value - most)));
  const total = powers.reduce((a, b) => Math.fround(a + b), 0);
  return powers.map((value) => value / total);
}

/** How many answers, and how different. */
export interface SpanOptions {
  /** Most answers. */
  readonly top: number;
  /** Answers that overlap a better one by this tIoU or more are left out; 1: none but equal ones. Absent: none are. */
  readonly nms?: number;
}

/**
 * The best pairs of a start and an end not before it, by the product of their probabilities; of equal ones the earlier start, then the
 * earlier end, first.
 *
 * @param start logits of one item; the rows behind the last one that counts are padding
 * @source EGO4D/episodic-memory NLQ/VSLNet/model/layers.py, extract_index (which has no overlap rule; `nms` is ours)
 */
export function bestSpans(start: Float32Array, end: Float32Array, { top, nms }: SpanOptions): RowSpan[] {
  const [from, to] = [shares(start), shares(end)];
  const n = rowsOf(start);
  const found: RowSpan[] = [];
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) found.push({ start: i, end: j, score: Math.fround(from[i]! * to[j]!) });
  }
  // The sort is stable, and the pairs stand in that order.
  found.sort((a, b) => b.score - a.score);
  if (nms === undefined) return found.slice(0, top);
  const kept: RowSpan[] = [];
  for (const one of found) {
    if (kept.length >= top) break;
    if (kept.every((better) => rowTiou(better, one) < nms)) kept.push(one);
  }
  return kept;
}

function rowTiou(a: RowSpan, b: RowSpan): number {
  return hullTiou(a.start, a.end + 1, b.start, b.end + 1);
}
