/**
 * COCO detection figures for boxes, with the library's default parameters: IoU 0.50:0.05:0.95, 101 recall points, at most 100
 * detections an image, four area ranges.
 *
 * Source: cocodataset/cocoapi PythonAPI/pycocotools/cocoeval.py.
 */
import { matchGreedy, sizedIous, type MatchRule } from './boxes.js';
import { fallingOrder, tiedCount } from './order.js';
import { linspace, pairwiseSum } from './sums.js';

/** Boxes of one category, grouped by image in rising order of the image ids; boxes are [x, y, width, height]. */
export interface CocoBoxes {
  readonly images: number;
  /** Truths of image i are [truthStart[i], truthStart[i + 1]). */
  readonly truthStart: Int32Array;
  readonly truths: Float64Array;
  /** The area that is written in the file, which decides the area range; not width times height. */
  readonly truthArea: Float64Array;
  readonly crowd: Uint8Array;
  /** 1 where a detection matched to this truth is recorded as unmatched: the library stores the truth's id, and 0 means none. */
  readonly unseen: Uint8Array;
  /** Detections of image i are [detectionStart[i], detectionStart[i + 1]), in file order. */
  readonly detectionStart: Int32Array;
  readonly detections: Float64Array;
  readonly scores: Float64Array;
}

/** Names of the twelve figures, in the order of the library's `stats`. */
export const cocoStats = [
  'AP',
  'AP50',
  'AP75',
  'APs',
  'APm',
  'APl',
  'AR@1',
  'AR@10',
  'AR@100',
  'ARs',
  'ARm',
  'ARl',
] as const;
export type CocoStat = (typeof cocoStats)[number];

export interface CocoFigures {
  readonly stats: Readonly<Record<CocoStat, number>>;
  /** By IoU threshold, all areas, 100 detections an image; -1 where there is no truth. */
  readonly ap: Float64Array;
  readonly recall: Float64Array;
  /** Precision at the 101 recall points, row-major [10, 101]; the mean over the categories that have truth. */
  readonly precision: Float64Array;
}

/** Detections of one category matched to its truths, by falling score, ready to be added up. */
export interface CocoMatches {
  readonly images: number;
  /** Image of each detection that counts (100 an image at most), and its place among those of its image. */
  readonly image: Int32Array;
  readonly place: Int32Array;
  /** Row-major [area range, IoU threshold, detection]: what the detection counts as. */
  readonly outcome: Uint8Array;
  /** Truths that count, row-major [area range, image]. */
  readonly wanted: Int32Array;
  /** Scores that have an equal among the detections that count. */
  readonly tied: number;
}

export const cocoThresholds: readonly number[] = linspace(0.5, 0.95, 10);
export const cocoRecalls: readonly number[] = linspace(0, 1, 101);

/** What a detection counts as. */
export const cocoOutcomes = { miss: 0, hit: 1, ignored: 2 } as const;
const detectionLimit = 100;
const thresholdCount = cocoThresholds.length;
const recallCount = cocoRecalls.length;
/** All, small, medium, large: both ends belong to the range. */
const areaRanges: readonly (readonly [least: number, most: number])[] = [
  [0, 1e5 ** 2],
  [0, 32 ** 2],
  [32 ** 2, 96 ** 2],
  [96 ** 2, 1e5 ** 2],
];
/** numpy's spacing(1): keeps 0 / 0 away, and a perfect precision of one detection below 1. */
const epsilon = 2 ** -52;

const rules: readonly MatchRule[] = cocoThresholds.map((threshold) => ({
  threshold: Math.min(threshold, 1 - 1e-10),
  overlap: 'atLeast',
  equals: 'last',
}));

/**
 * Which detections hit, at every threshold and area range.
 *
 * @param ties   which of equal scores comes first; the library sorts stably, so the earlier listed one
 * @source pycocotools/cocoeval.py, computeIoU, evaluateImg
 * @quirk  of equal overlaps the later truth is taken; a truth with id 0 is taken, but its detection counts as a miss
 */
export function matchCoco(boxes: CocoBoxes, ties: 'first' | 'last' = 'first'): CocoMatches {
  const { images, detectionStart } = boxes;
  const scratch = scratchFor(boxes);
  const { kept } = scratch;
  const listed = { image: new Int32Array(kept), place: new Int32Array(kept), score: new Float64Array(kept) };
  const outcome = new Uint8Array(areaRanges.length * thresholdCount * kept);
  const wanted = new Int32Array(areaRanges.length * images);
  let at = 0;
  for (let i = 0; i < images; i++) {
    const from = detectionStart[i]!;
    const order = cocoOrder(boxes.scores.subarray(from, detectionStart[i + 1]), ties);
    const count = Math.min(detectionLimit, order.length);
    // Where the later of equal scores comes first, the better one has the later column.
    const [first, step] = ties === 'first' ? [at, 1] : [at + count - 1, -1];
    for (let d = 0; d < count; d++) {
      const detection = from + order[d]!;
      const column = first + d * step;
      listed.image[column] = i;
      listed.place[column] = d;
      listed.score[column] = boxes.scores[detection]!;
      for (let side = 0; side < 4; side++) scratch.ranked[4 * d + side] = boxes.detections[4 * detection + side]!;
    }
    matchImage(boxes, i, count, scratch, { outcome, wanted, first, step });
    at += count;
  }
  const order = cocoOrder(listed.score, ties);
  return {
    images,
    image: order.map((d) => listed.image[d]!),
    place: order.map((d) => listed.place[d]!),
    outcome: inOrder(outcome, order),
    wanted,
    tied: tiedCount(listed.score, order),
  };
}

/** The columns of a table of rows as long as `order`, in that order. */
function inOrder(table: Uint8Array, order: Int32Array): Uint8Array {
  const sorted = new Uint8Array(table.length);
  for (let row = 0; row < table.length; row += order.length) {
    for (let k = 0; k < order.length; k++) sorted[row + k] = table[row + order[k]!]!;
  }
  return sorted;
}

interface Scratch {
  /** Detections that count. */
  readonly kept: number;
  /** Boxes of the image's detections, best first. */
  readonly ranked: Float64Array;
  readonly ious: Float64Array;
  readonly taken: Uint8Array;
  readonly ignored: Uint8Array;
  readonly matched: Int32Array;
  readonly candidates: Int32Array;
}

/** Arrays that fit the largest image. */
function scratchFor({ images, truthStart, detectionStart }: CocoBoxes): Scratch {
  let kept = 0;
  let truths = 0;
  let pairs = 0;
  for (let i = 0; i < images; i++) {
    const d = Math.min(detectionLimit, detectionStart[i + 1]! - detectionStart[i]!);
    const t = truthStart[i + 1]! - truthStart[i]!;
    kept += d;
    truths = Math.max(truths, t);
    pairs = Math.max(pairs, t * d);
  }
  return {
    kept,
    ranked: new Float64Array(4 * detectionLimit),
    ious: new Float64Array(pairs),
    taken: new Uint8Array(truths),
    ignored: new Uint8Array(truths),
    matched: new Int32Array(detectionLimit),
    candidates: new Int32Array(detectionLimit),
  };
}

interface Tables {
  readonly outcome: Uint8Array;
  readonly wanted: Int32Array;
  /** Column of the image's best detection, and from one to the next. */
  readonly first: number;
  readonly step: number;
}

function matchImage(boxes: CocoBoxes, image: number, count: number, scratch: Scratch, tables: Tables): void {
  const { ranked, ious, taken, ignored, matched, candidates, kept } = scratch;
  const { outcome, wanted, first, step } = tables;
  const firstTruth = boxes.truthStart[image]!;
  const truths = boxes.truthStart[image + 1]! - firstTruth;
  const crowd = boxes.crowd.subarray(firstTruth, firstTruth + truths);
  const truthBoxes = boxes.truths.subarray(4 * firstTruth, 4 * (firstTruth + truths));
  sizedIous(ranked.subarray(0, 4 * count), truthBoxes, crowd, ious);
  let best = 0;
  let near = 0;
  for (let d = 0; d < count; d++) {
    let largest = 0;
    for (let t = 0; t < truths; t++) largest = Math.max(largest, ious[d * truths + t]!);
    if (largest >= cocoThresholds[0]!) candidates[near++] = d;
    best = Math.max(best, largest);
  }
  const match = { ious, truths, order: candidates, candidates: near, ignored, crowd };
  for (let range = 0; range < areaRanges.length; range++) {
    const [least, most] = areaRanges[range]!;
    let seen = 0;
    for (let t = 0; t < truths; t++) {
      const area = boxes.truthArea[firstTruth + t]!;
      ignored[t] = crowd[t] === 1 || area < least || area > most ? 1 : 0;
      seen += 1 - ignored[t]!;
    }
    wanted[range * boxes.images + image] = seen;
    const firstRow = range * thresholdCount * kept + first;
    for (let d = 0; d < count; d++) {
      const area = ranked[4 * d + 2]! * ranked[4 * d + 3]!;
      outcome[firstRow + d * step] = area < least || area > most ? cocoOutcomes.ignored : cocoOutcomes.miss;
    }
    for (let row = firstRow + kept; row < firstRow + thresholdCount * kept; row += kept) {
      for (let d = 0; d < count; d++) outcome[row + d * step] = outcome[firstRow + d * step]!;
    }
    for (let threshold = 0; threshold < thresholdCount; threshold++) {
      const rule = rules[threshold]!;
      if (best < rule.threshold) break;
      matchGreedy(match, rule, taken, matched);
      const row = firstRow + threshold * kept;
      for (let k = 0; k < near; k++) {
        const d = candidates[k]!;
        const t = matched[d]!;
        if (t === -1) continue;
        if (ignored[t] === 1) outcome[row + d * step] = cocoOutcomes.ignored;
        else if (boxes.unseen[firstTruth + t] === 0) outcome[row + d * step] = cocoOutcomes.hit;
      }
    }
  }
}

/** Falling scores, NaN last; of equal ones the earlier (or later) listed first. */
function cocoOrder(scores: Float64Array, ties: 'first' | 'last'): Int32Array {
  return fallingOrder(
    scores.map((score) => -score),
    ties === 'first' ? 'last' : 'first',
  ).reverse();
}

/**
 * The twelve figures and what they are means of.
 *
 * @param categories matches of each category
 * @param repeats    how often each image counts; a repeated image counts as so many images. All once where absent
 * @source pycocotools/cocoeval.py, accumulate, summarize
 */
export function cocoFigures(categories: readonly CocoMatches[], repeats?: Int32Array): CocoFigures {
  const all = curvesOf(categories, 0, detectionLimit, repeats);
  const ranges = [1, 2, 3].map((range) => curvesOf(categories, range, detectionLimit, repeats));
  const [small, medium, large] = ranges as [Curves, Curves, Curves]; // three above
  const recallAt = (limit: number): number => meanOfKnown(curvesOf(categories, 0, limit, repeats).recall);
  const byThreshold = (values: Float64Array): Float64Array =>
    Float64Array.from({ length: thresholdCount }, (_, threshold) => meanOfKnown(rowOf(values, threshold)));
  return {
    stats: {
      ...precisionsOf(all),
      APs: meanOfKnown(small.precision),
      APm: meanOfKnown(medium.precision),
      APl: meanOfKnown(large.precision),
      'AR@1': recallAt(1),
      'AR@10': recallAt(10),
      'AR@100': meanOfKnown(all.recall),
      ARs: meanOfKnown(small.recall),
      ARm: meanOfKnown(medium.recall),
      ARl: meanOfKnown(large.recall),
    },
    ap: byThreshold(all.precision),
    recall: byThreshold(all.recall),
    precision: Float64Array.from({ length: thresholdCount * recallCount }, (_, point) =>
      meanOfKnown(all.precision.subarray(point * categories.length, (point + 1) * categories.length)),
    ),
  };
}

/**
 * AP, AP50 and AP75 alone, the numbers that rank: for bootstrap samples.
 *
 * @param repeats how often each image counts
 */
export function cocoPrecisions(
  categories: readonly CocoMatches[],
  repeats?: Int32Array,
): Pick<CocoFigures['stats'], 'AP' | 'AP50' | 'AP75'> {
  return precisionsOf(curvesOf(categories, 0, detectionLimit, repeats));
}

function precisionsOf({ precision }: Curves): Pick<CocoFigures['stats'], 'AP' | 'AP50' | 'AP75'> {
  return {
    AP: meanOfKnown(precision),
    AP50: meanOfKnown(rowOf(precision, 0)),
    AP75: meanOfKnown(rowOf(precision, 5)),
  };
}

/** The values of one threshold. */
function rowOf(values: Float64Array, threshold: number): Float64Array {
  const size = values.length / thresholdCount;
  return values.subarray(threshold * size, (threshold + 1) * size);
}

interface Curves {
  /** Row-major [threshold, recall point, category]; -1 where the category has no truth. */
  readonly precision: Float64Array;
  /** Row-major [threshold, category]. */
  readonly recall: Float64Array;
}

function curvesOf(
  categories: readonly CocoMatches[],
  range: number,
  limit: number,
  repeats: Int32Array | undefined,
): Curves {
  const count = categories.length;
  const precision = new Float64Array(thresholdCount * recallCount * count).fill(-1);
  const recall = new Float64Array(thresholdCount * count).fill(-1);
  for (const [category, matches] of categories.entries()) {
    const { images, place } = matches;
    let wanted = 0;
    for (let i = 0; i < images; i++) wanted += matches.wanted[range * images + i]! * (repeats?.[i] ?? 1);
    if (wanted === 0) continue;
    const weights = new Int32Array(place.length);
    for (let k = 0; k < weights.length; k++) {
      weights[k] = place[k]! >= limit ? 0 : repeats === undefined ? 1 : repeats[matches.image[k]!]!;
    }
    const atHit = new Float64Array(wanted); // precision after each hit
    for (let threshold = 0; threshold < thresholdCount; threshold++) {
      const row = (range * thresholdCount + threshold) * place.length;
      const hits = precisionAtHits(matches.outcome.subarray(row, row + place.length), weights, atHit);
      recall[threshold * count + category] = hits / wanted;
      let hit = 0;
      for (let point = 0; point < recallCount; point++) {
        while (hit < hits && (hit + 1) / wanted < cocoRecalls[point]!) hit++;
        precision[(threshold * recallCount + point) * count + category] = hit < hits ? atHit[hit]! : 0;
      }
    }
  }
  return { precision, recall };
}

/** Precision after each hit, made non-increasing from the right; returns how many hits there are. */
function precisionAtHits(outcome: Uint8Array, weights: Int32Array, atHit: Float64Array): number {
  let hits = 0;
  let misses = 0;
  for (let k = 0; k < outcome.length; k++) {
    const times = weights[k]!;
    if (outcome[k] === cocoOutcomes.miss) misses += times;
    else if (outcome[k] === cocoOutcomes.hit) {
      for (let copy = 0; copy < times; copy++) {
        hits++;
        atHit[hits - 1] = hits / (misses + hits + epsilon);
      }
    }
  }
  for (let hit = hits - 1; hit > 0; hit--) {
    if (atHit[hit]! > atHit[hit - 1]!) atHit[hit - 1] = atHit[hit]!;
  }
  return hits;
}

/** Mean of the values above -1; -1 where there is none. */
function meanOfKnown(values: Float64Array): number {
  const known = values.filter((value) => value > -1);
  return known.length === 0 ? -1 : pairwiseSum(known) / known.length;
}
