/**
 * The arithmetic of Visual Queries 2D: tracks of boxes compared in time and in space (ego4d.md 3.3).
 *
 * Source: EGO4D/episodic-memory VQ2D/vq2d/metrics/ and VQ2D/vq2d/structures.py.
 */
import { intersection, signedArea } from '../../src/metrics/boxes.js';
import { inclusiveTiou } from '../../src/metrics/intervals.js';
import { fallingOrder } from '../../src/metrics/order.js';
import { interpolatedAveragePrecision } from '../../src/metrics/ranking.js';
import { pairwiseMean } from '../../src/metrics/sums.js';
import type { TieRule } from '../../src/types.js';

/** Boxes of one object over time: a box a frame, by rising frame, frames at 5 a second. */
export interface Track {
  readonly frames: Float64Array;
  /** Corners, four numbers a box. */
  readonly boxes: Float64Array;
}

/** What one query contributes to every number. */
export interface QueryOverlap {
  /** tIoU of the frame spans, both ends included. */
  readonly temporal: number;
  /** IoU of the two tubes; NaN where neither has a volume: the official code divides by zero. */
  readonly spatioTemporal: number;
  /** Truth boxes, and those whose predicted box overlaps them by half or more; NaN where two boxes on one frame have no area. */
  readonly boxes: number;
  readonly recovered: number;
}

/** Thresholds of both average precisions; each AP is also told at the first. */
export const trackThresholds = [0.25, 0.5, 0.75, 0.95] as const;
const successThreshold = 0.05;
const recoveryThreshold = 0.5;

/** First and last frame; (0, -1) for an empty track. */
export function extentOf({ frames }: Track): readonly [first: number, last: number] {
  return frames.length === 0 ? [0, -1] : [frames[0]!, frames[frames.length - 1]!];
}

/** As many boxes as frames from the first to the last: all that the official reader asks. */
export function isContiguous(track: Track): boolean {
  const [first, last] = extentOf(track);
  return track.frames.length === last - first + 1;
}

/**
 * Overlap of a predicted track with the true one.
 *
 * @source VQ2D/vq2d/metrics/utils.py
 * @quirk  areas keep their sign, so inverted boxes add negative volume; of boxes on the same frame the last one counts
 */
export function overlapOf(predicted: Track, truth: Track): QueryOverlap {
  const [first, last] = extentOf(predicted);
  const [trueFirst, trueLast] = extentOf(truth);
  let shared = 0;
  let recovered = 0;
  for (let t = 0, p = 0; t < truth.frames.length; t++) {
    const frame = truth.frames[t]!;
    while (p < predicted.frames.length && predicted.frames[p]! < frame) p++;
    while (predicted.frames[p + 1] === frame) p++; // the last of its frame
    if (predicted.frames[p] !== frame) continue;
    const both = intersection(predicted.boxes, p, truth.boxes, t);
    shared += both;
    if (truth.frames[t + 1] === frame) continue;
    const union = signedArea(truth.boxes, t) + signedArea(predicted.boxes, p) - both;
    if (union === 0) recovered = NaN;
    else if (both / union >= recoveryThreshold) recovered++;
  }
  const volume = volumeOf(predicted) + volumeOf(truth) - shared;
  return {
    temporal: inclusiveTiou(trueFirst, trueLast, first, last),
    spatioTemporal: volume === 0 ? NaN : shared / volume,
    boxes: truth.frames.length,
    recovered,
  };
}

function volumeOf({ frames, boxes }: Track): number {
  let volume = 0;
  for (let i = 0; i < frames.length; i++) volume += signedArea(boxes, i);
  return volume;
}

/** The same track with boxes that are inverted in x or y emptied: their area is 0 and nothing overlaps them. */
export function withoutInverted({ frames, boxes }: Track): Track {
  const kept = boxes.slice();
  for (let i = 0; i < kept.length; i += 4) {
    if (kept[i + 2]! < kept[i]! || kept[i + 3]! < kept[i + 1]!) {
      kept[i + 2] = kept[i]!;
      kept[i + 3] = kept[i + 1]!;
    }
  }
  return { frames, boxes: kept };
}

/** Has the track a box whose corners are the wrong way round? */
export function hasInverted({ boxes }: Track): boolean {
  for (let i = 0; i < boxes.length; i += 4) {
    if (boxes[i + 2]! < boxes[i]! || boxes[i + 3]! < boxes[i + 1]!) return true;
  }
  return false;
}

/** The numbers of the challenge, shares of 1 but the last two, which are percentages. */
export interface TrackFigures {
  readonly tAP: number;
  readonly tAP25: number;
  readonly stAP: number;
  readonly stAP25: number;
  readonly recovery: number;
  readonly success: number;
}

/** Queries from the highest score to the lowest, with what each hits. */
export interface RankedQueries {
  readonly overlaps: readonly QueryOverlap[];
  readonly order: Int32Array;
  /** Per threshold, in that order. */
  readonly temporal: readonly Uint8Array[];
  readonly spatioTemporal: readonly Uint8Array[];
}

/** Ranks the queries: all are one class, each has one truth. An undefined overlap is a miss. */
export function rankQueries(overlaps: readonly QueryOverlap[], scores: Float64Array, ties: TieRule): RankedQueries {
  const order = fallingOrder(scores, ties);
  const hits = (value: (overlap: QueryOverlap) => number): Uint8Array[] =>
    trackThresholds.map((threshold) => Uint8Array.from(order, (q) => (value(overlaps[q]!) >= threshold ? 1 : 0)));
  return {
    overlaps,
    order,
    temporal: hits(({ temporal }) => temporal),
    spatioTemporal: hits(({ spatioTemporal }) => spatioTemporal),
  };
}

/**
 * The numbers of ranked queries.
 *
 * @param repeats how often each query counts (bootstrap); once where absent
 * @source VQ2D/vq2d/metrics/temporal_metrics.py, spatio_temporal_metrics.py, tracking_metrics.py, success_metrics.py
 * @quirk  recovery adds up boxes over all queries, so that long tracks weigh more
 */
export function trackFigures(ranked: RankedQueries, repeats?: Int32Array): TrackFigures {
  const { overlaps, order } = ranked;
  const weights = repeats === undefined ? undefined : Int32Array.from(order, (q) => repeats[q]!);
  let queries = 0;
  let successes = 0;
  let boxes = 0;
  let recovered = 0;
  overlaps.forEach((overlap, q) => {
    const times = repeats === undefined ? 1 : repeats[q]!;
    if (times === 0) return;
    queries += times;
    if (overlap.spatioTemporal >= successThreshold) successes += times;
    boxes += times * overlap.boxes;
    recovered += times * overlap.recovered;
  });
  const precisions = (hits: readonly Uint8Array[]): number[] =>
    hits.map((list) => interpolatedAveragePrecision(list, queries, weights));
  const temporal = precisions(ranked.temporal);
  const spatioTemporal = precisions(ranked.spatioTemporal);
  return {
    tAP: pairwiseMean(temporal),
    tAP25: temporal[0]!,
    stAP: pairwiseMean(spatioTemporal),
    stAP25: spatioTemporal[0]!,
    recovery: boxes === 0 ? 0 : (100 * recovered) / boxes,
    success: (successes / queries) * 100,
  };
}
