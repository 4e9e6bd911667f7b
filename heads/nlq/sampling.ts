/**
 * The grid of VSLNet: features averaged down to so many units, and what unit an instant belongs to. Arithmetic is that of the official
 * code, float32 where numpy has float32.
 *
 * Official code: EGO4D/episodic-memory NLQ/VSLNet/utils/data_util.py (visual_feature_sampling, time_to_index, index_to_time,
 * calculate_iou) and utils/prepare_ego4d_dataset.py (get_nearest_frame).
 */
import { assert } from '../../src/errors.js';
import { tensor } from '../../src/tensor.js';
import type { Seconds, Span, Tensor } from '../../src/types.js';
import { roundHalfEven } from '../../src/video/sampling.js';

const float = Math.fround;

/** Features a second of the official feature grid: 30 frames a second, a feature every 16. */
export const officialRate = 1.875;

/**
 * Feature rows averaged down to at most `most`: [n, width] -> [min(n, most), width]. Unit k is the mean of the rows from round(k n / most)
 * to round((k + 1) n / most), or the one row there where that is none. Few rows pass through.
 */
export function sampleFeatures(features: Tensor<'float32'>, most: number): Tensor<'float32'> {
  const [rows, width] = features.shape as readonly [number, number];
  assert(features.shape.length === 2 && most >= 1, 'rows of features, and one unit at least');
  if (rows <= most) return features;
  const edge = (k: number): number => Math.min(roundHalfEven((k / most) * rows), rows - 1);
  const data = new Float32Array(most * width);
  for (let k = 0; k < most; k++) {
    const [from, to] = [edge(k), Math.max(edge(k + 1), edge(k) + 1)];
    const unit = data.subarray(k * width, (k + 1) * width);
    for (let row = from; row < to; row++) {
      for (let i = 0; i < width; i++) unit[i] = unit[i]! + features.data[row * width + i]!;
    }
    for (let i = 0; i < width; i++) unit[i] = unit[i]! / (to - from);
  }
  return tensor('float32', [most, width], data);
}

/** First and last unit, both of them inside. */
export type UnitSpan = readonly [start: number, end: number];

/** Seconds of a span of units: starts at `start`, ends where the unit `end` ends. `duration` is that of all units. */
export function unitsToSeconds([start, end]: UnitSpan, units: number, duration: Seconds): Span {
  const at = (unit: number): number => float(float(unit * float(duration)) / units);
  return [at(start), at(end + 1)];
}

/**
 * The span of units that overlaps `span` best; the first one of equal ones, by start, then by end.
 *
 * @quirk the borders of units are divided first and multiplied then, unlike on the way back: they can differ in the last bit
 */
export function secondsToUnits(span: Span, units: number, duration: Seconds): UnitSpan {
  const at = (unit: number): number => float(float(unit / units) * float(duration));
  let best: UnitSpan = [0, 0];
  let most = -Infinity;
  for (let i = 0; i < units; i++) {
    for (let j = i; j < units; j++) {
      const overlap = overlapOf(at(i), at(j + 1), span);
      if (overlap > most) [best, most] = [[i, j], overlap];
    }
  }
  return best;
}

/** Intersection over hull; 0 where they are apart. */
function overlapOf(start: number, end: number, [from, to]: Span): number {
  const shared = Math.min(end, to) - Math.max(start, from);
  return Math.max(0, shared / (Math.max(end, to) - Math.min(start, from)));
}

/** The feature that an instant lies in: truncated, for starts as for ends (the official rounding up comes after the truncation). */
export function featureAt(seconds: Seconds): number {
  return Math.trunc(seconds * officialRate);
}

/** Seconds that the official code believes a clip to have: what its whole features span. */
export function officialDuration(seconds: Seconds): Seconds {
  return featureAt(seconds) / officialRate;
}

/**
 * Units near the answer: the answer, longer by a tenth of its units on both sides.
 *
 * @returns 1 for them, 0 for others: [units]
 */
export function highlightLabels([start, end]: UnitSpan, units: number, extend = 0.1): Float32Array<ArrayBuffer> {
  const further = roundHalfEven(extend * (end - start + 1));
  const [from, to] = [Math.max(0, start - further), further > 0 ? Math.min(end + further, units - 1) : end];
  return Float32Array.from({ length: units }, (_, i) => (i >= from && i <= to ? 1 : 0));
}
