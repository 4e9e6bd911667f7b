/**
 * What the official Moment Queries baseline (VSGN) makes of its proposals: soft-NMS over all classes, rounding, clipping.
 *
 * Source: EGO4D/episodic-memory MQ/Evaluation/ego4d/generate_detection.py; the soft-NMS itself is `momentSoftNms`.
 */
import { momentSoftNms, type Proposals } from '../../src/metrics/intervals.js';
import { roundDecimals } from '../../src/metrics/rounding.js';
import type { Seconds } from '../../src/types.js';

/** A detection as it is submitted. */
export interface VsgnDetection {
  /** 1 is the first class: 0 is background, which is never given. */
  readonly label: number;
  /** Rounded to 6 decimals. */
  readonly score: number;
  /** Start at least 0 and end at most the duration, then rounded to tenths; nothing keeps the start before the end. */
  readonly segment: readonly [Seconds, Seconds];
}

/** Detections of one clip, in the order in which they were picked. */
export function vsgnDetections(
  proposals: Proposals,
  {
    duration,
    sigma = 0.46,
    keep = 200,
  }: { readonly duration: Seconds; readonly sigma?: number; readonly keep?: number },
): VsgnDetection[] {
  const { start, end, score, label } = momentSoftNms(proposals, sigma, keep);
  return Array.from(score, (value, i) => ({
    label: label[i]!,
    score: roundDecimals(value, 6),
    segment: [roundDecimals(Math.max(0, start[i]!), 1), roundDecimals(Math.min(duration, end[i]!), 1)],
  }));
}
