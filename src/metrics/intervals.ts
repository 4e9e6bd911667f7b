/** Overlaps of spans, and the Soft-NMS of the Moment Queries baseline. Spans are plain pairs of numbers: seconds or frames. */
import { pandasFallingOrder } from './order.js';

/** Overlap of two spans, 0 to 1 where both are proper; what it gives for others is part of each metric. */
export type SpanOverlap = (aStart: number, aEnd: number, bStart: number, bEnd: number) => number;

/**
 * Intersection over the sum of the lengths less the intersection. NaN where both lengths sum to zero; a negative length counts as it is.
 *
 * @source activitynet/ActivityNet Evaluation/utils.py, segment_iou; `a` is the truth (its length is added first)
 */
export const continuousTiou: SpanOverlap = (aStart, aEnd, bStart, bEnd) => {
  const shared = Math.max(0, Math.min(aEnd, bEnd) - Math.max(aStart, bStart));
  return shared / (aEnd - aStart + (bEnd - bStart) - shared);
};

/** The same over whole frames whose last one belongs to the span: every length and the intersection are one longer. */
export const inclusiveTiou: SpanOverlap = (aStart, aEnd, bStart, bEnd) => {
  const shared = Math.max(0, Math.min(aEnd, bEnd) - Math.max(aStart, bStart) + 1);
  return shared / (aEnd - aStart + 1 + (bEnd - bStart + 1) - shared);
};

/**
 * Intersection over the hull of both spans: equal to the continuous one where they meet. NaN for two equal spans without length.
 *
 * @source EGO4D/episodic-memory NLQ/VSLNet/utils/evaluate_ego4d_nlq.py, compute_IoU
 */
export const hullTiou: SpanOverlap = (aStart, aEnd, bStart, bEnd) => {
  const shared = Math.max(0, Math.min(aEnd, bEnd) - Math.max(aStart, bStart));
  return shared / Math.max(0, Math.max(aEnd, bEnd) - Math.min(aStart, bStart));
};

/** Proposals of one clip, one array per field. */
export interface Proposals {
  readonly start: Float64Array;
  readonly end: Float64Array;
  readonly score: Float64Array;
  /** 0 is background: dropped when its turn comes. */
  readonly label: Int32Array;
}

/**
 * Gaussian Soft-NMS over all proposals of a clip, whatever their label: `score * exp(-IoU^2 / sigma)`; at most `keep` are left.
 *
 * @returns the kept proposals in the order in which they were picked
 * @source EGO4D/episodic-memory MQ/Evaluation/ego4d/generate_detection.py, Soft_NMS
 * @quirk  stops while one proposal is left, so the last one is always lost and a clip with one proposal returns none
 */
export function momentSoftNms(proposals: Proposals, sigma = 0.46, keep = 200): Proposals {
  const order = Array.from(pandasFallingOrder(proposals.score));
  const left = order.map((i) => ({
    start: proposals.start[i]!,
    end: proposals.end[i]!,
    score: proposals.score[i]!,
    label: proposals.label[i]!,
  }));
  const kept: typeof left = [];
  while (left.length > 1 && kept.length < keep) {
    const bestAt = left.reduce((best, one, i) => (one.score > left[best]!.score ? i : best), 0);
    const best = left[bestAt]!;
    if (!(best.score > 0)) break;
    left.splice(bestAt, 1);
    if (best.label === 0) continue;
    for (const other of left) {
      const iou = touchingIou(best.start, best.end, other.start, other.end);
      if (iou > 0) other.score *= Math.exp(-(iou * iou) / sigma);
    }
    kept.push(best);
  }
  return {
    start: Float64Array.from(kept, (one) => one.start),
    end: Float64Array.from(kept, (one) => one.end),
    score: Float64Array.from(kept, (one) => one.score),
    label: Int32Array.from(kept, (one) => one.label),
  };
}

/** Intersection over hull; 0 only where the spans lie strictly apart. */
const touchingIou: SpanOverlap = (aStart, aEnd, bStart, bEnd) => {
  if (bStart > aEnd || aStart > bEnd) return 0;
  return (Math.min(aEnd, bEnd) - Math.max(aStart, bStart)) / (Math.max(aEnd, bEnd) - Math.min(aStart, bStart));
};
