/**
 * Suppression of overlapping segments as the ActionFormer family does it (its compiled `nms_1d_cpu` and the wrapper around it): float32,
 * rounded after each operation. Other families have other rules: `vsgn.ts`, `box-nms.ts`.
 *
 * Papers: Bodla et al., "Soft-NMS", 2017; Gidaris and Komodakis, 2015 (voting). Source: happyharrycn/actionformer_release
 * libs/utils/csrc/nms_cpu.cpp, libs/utils/nms.py.
 */
import { fallingOrder, joinSegments, pickSegments, type Segments } from './segments.js';

const { fround } = Math;

/** Keeps areas above 0. */
const areaEpsilon = fround(1e-6);

/** What an overlap does to a score: `cut` to 0 from the threshold on; `linear`: times 1 - IoU from it on; `gaussian`: exp(-IoU^2 / sigma) always. */
export type Decay = 'cut' | 'linear' | 'gaussian';

/** Rule of soft suppression: how scores fall beside a better segment. */
export interface SoftOptions {
  readonly decay: Decay;
  /** Of `gaussian`. */
  readonly sigma: number;
  /** Of `cut` and `linear`. */
  readonly overlapFrom: number;
  /** Segments that fall below it are dropped; the best one stays in any case. */
  readonly minScore: number;
  /** Stop after so many picks; absent: never. Picks come by falling score, so that a cut of the whole list is the same. */
  readonly most?: number;
}

/** Which segments are left, in the order in which they were picked, and their decayed scores. */
export interface Picks {
  readonly index: Int32Array;
  readonly score: Float32Array;
}

/**
 * Soft-NMS over all segments, whatever their label. Equal scores go by the order that earlier removals left, as in the original: a segment
 * that falls out is replaced by the last one.
 */
export function softNms(segments: Pick<Segments, 'start' | 'end' | 'score'>, options: SoftOptions): Picks {
  const start = Float32Array.from(segments.start);
  const end = Float32Array.from(segments.end);
  const score = Float32Array.from(segments.score);
  const index = Int32Array.from(score.keys());
  const area = areas(start, end);
  const least = fround(options.minScore);
  const from = fround(options.overlapFrom);
  const sigma = fround(options.sigma);
  const { decay, most = Infinity } = options;
  let n = score.length;
  let i = 0;
  let best = 0;
  for (let p = 1; p < n; p++) if (score[p]! > score[best]!) best = p;
  for (; i < n && i < most; i++) {
    for (const row of [start, end, score, area, index]) {
      const kept = row[i]!;
      row[i] = row[best]!;
      row[best] = kept;
    }
    const [a, b, own] = [start[i]!, end[i]!, area[i]!];
    let p = i + 1;
    best = p; // of those that are left, the first of equal ones
    while (p < n) {
      const inter = Math.max(0, fround(Math.min(b, end[p]!) - Math.max(a, start[p]!)));
      // Apart: the weight is 1 by every rule but a threshold of 0.
      if (inter > 0 || from <= 0) {
        const iou = fround(inter / fround(fround(own + area[p]!) - inter));
        if (decay === 'gaussian') score[p] = fround(score[p]! * fround(Math.exp(fround(-fround(iou * iou) / sigma))));
        else if (iou >= from) score[p] = decay === 'cut' ? 0 : fround(score[p]! * fround(1 - iou));
      }
      if (score[p]! < least) {
        n--;
        start[p] = start[n]!;
        end[p] = end[n]!;
        score[p] = score[n]!;
        area[p] = area[n]!;
        index[p] = index[n]!;
      } else {
        if (score[p]! > score[best]!) best = p;
        p++;
      }
    }
  }
  return { index: index.slice(0, i), score: score.slice(0, i) };
}

function areas(start: Float32Array, end: Float32Array): Float32Array {
  return start.map((value, i) => fround(fround(end[i]! - value) + areaEpsilon));
}

/** Rule of hard suppression. */
export interface HardOptions {
  /** IoU from which on the lower score falls. */
  readonly overlapFrom: number;
  /** Stop after so many picks; absent: never. */
  readonly most?: number;
}

/**
 * Places of the segments that no better one overlaps, by falling score. Equal scores: the lower place first (the original leaves that open,
 * since its sort is not stable).
 */
export function hardNms(
  segments: Pick<Segments, 'start' | 'end' | 'score'>,
  { overlapFrom, most = Infinity }: HardOptions,
): Int32Array {
  const { start, end, score } = segments;
  const area = areas(start, end);
  const from = fround(overlapFrom);
  const order = fallingOrder(score);
  const isOut = new Uint8Array(order.length);
  const picked: number[] = [];
  for (let i = 0; i < order.length && picked.length < most; i++) {
    if (isOut[i] === 1) continue;
    const at = order[i]!;
    picked.push(at);
    const [a, b, own] = [start[at]!, end[at]!, area[at]!];
    for (let j = i + 1; j < order.length; j++) {
      if (isOut[j] === 1) continue;
      const other = order[j]!;
      const inter = Math.max(0, fround(Math.min(b, end[other]!) - Math.max(a, start[other]!)));
      if (fround(inter / fround(fround(own + area[other]!) - inter)) >= from) isOut[j] = 1;
    }
  }
  return Int32Array.from(picked);
}

/**
 * Each segment becomes the mean of all that overlap it by at least `overlapFrom`, weighted by score times IoU.
 *
 * @param picked segments that suppression left
 * @param all segments before suppression, with the scores that they had
 */
export function voteSegments(picked: Segments, all: Segments, overlapFrom: number): Segments {
  const from = fround(overlapFrom);
  const [start, end] = [Float32Array.from(picked.start), Float32Array.from(picked.end)];
  for (let i = 0; i < start.length; i++) {
    const [a, b] = [picked.start[i]!, picked.end[i]!];
    let [total, left, right] = [0, 0, 0];
    for (let j = 0; j < all.score.length; j++) {
      const inter = fround(Math.min(b, all.end[j]!) - Math.max(a, all.start[j]!));
      if (!(inter > 0)) continue; // no vote without weight
      const lengths = fround(fround(b - a) + fround(all.end[j]! - all.start[j]!));
      const iou = fround(inter / fround(lengths - inter));
      if (!(iou >= from)) continue;
      const weight = fround(all.score[j]! * iou);
      total += weight;
      left += weight * all.start[j]!;
      right += weight * all.end[j]!;
    }
    // Without votes (a segment of no length) it stays as it is; the original divides 0 by 0.
    if (!(total > 0)) continue;
    start[i] = left / total;
    end[i] = right / total;
  }
  return { ...picked, start, end };
}

/** As a configuration of the official code has it. */
export interface SuppressionOptions {
  /** `soft` is gaussian. `none`: candidates are left as they are. */
  readonly method: 'soft' | 'hard' | 'none';
  readonly sigma: number;
  /** Of `hard`. */
  readonly overlapFrom: number;
  /** `soft`: as `softNms`. `hard`: scores at or below it are dropped, where it is above 0. */
  readonly minScore: number;
  /** Segments left of each class, and of all. */
  readonly most: number;
  /** Suppress within each class; else over all classes at once, and then vote. */
  readonly perClass: boolean;
  /** Of the voting, which only suppression over all classes has; 0: none. */
  readonly votingFrom: number;
}

/** Suppression over the candidates of one sequence: what is left, by falling score. */
export function suppress(all: Segments, options: SuppressionOptions): Segments {
  if (options.method === 'none' || all.score.length === 0) return all;
  const left = options.perClass
    ? joinSegments(placesByClass(all.label).map((places) => suppressed(pickSegments(all, places), options)))
    : voted(suppressed(all, options), all, options);
  return pickSegments(left, fallingOrder(left.score).subarray(0, options.most));
}

function suppressed(segments: Segments, options: SuppressionOptions): Segments {
  const { method, sigma, overlapFrom, minScore, most } = options;
  if (method === 'soft') {
    const { index, score } = softNms(segments, { decay: 'gaussian', sigma, overlapFrom, minScore, most });
    return { ...pickSegments(segments, index), score };
  }
  const least = fround(minScore);
  const isFiltered = minScore > 0;
  const above = isFiltered
    ? pickSegments(
        segments,
        Array.from(segments.score.keys()).filter((i) => segments.score[i]! > least),
      )
    : segments;
  return pickSegments(above, hardNms(above, { overlapFrom, most }));
}

function voted(left: Segments, all: Segments, { votingFrom }: SuppressionOptions): Segments {
  return votingFrom > 0 ? voteSegments(left, all, votingFrom) : left;
}

/** Places of each class, in the order of the array; classes in rising order. */
function placesByClass(label: Int32Array): number[][] {
  const places = new Map<number, number[]>();
  for (let i = 0; i < label.length; i++) {
    const own = places.get(label[i]!);
    if (own === undefined) places.set(label[i]!, [i]);
    else own.push(i);
  }
  return [...places].sort(([a], [b]) => a - b).map(([, own]) => own);
}
