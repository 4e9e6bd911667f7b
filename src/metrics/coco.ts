/**
 * COCO detection figures for boxes, with the library's default parameters: IoU 0.50:0.05:0.95, 101 recall points, at most 100
 * detections an image, four area ranges.
 *
 * Source: cocodataset/cocoapi PythonAPI/pycocotools/cocoeval.py.
 */
import { matchGreedy, sizedIous } from './boxes.js';
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

/** Detections of one category matched to its truths, ready to be added up. */
export interface CocoMatches {
  readonly images: number;
  /** Image of each detection that counts (100 an image at most), its place among those of its image, and all by falling score. */
  readonly image: Int32Array;
  readonly place: Int32Array;
  readonly order: Int32Array;
  /** Row-major [area range, IoU threshold, detection]: what the detection counts as. */
  readonly outcome: Uint8Array;
  /** Truths that count, row-major [area range, image]. */
  readonly wanted: Int32Array;
  /** Scores that have an equal among the detections that count. */
  readonly tied: number;
}

export const cocoThresholds: readonly number[] = linspace(0.5, 0.95, 10);
export const cocoRecalls: readonly number[] = linspace(0, 1, 101);

const outcomes = { miss: 0, hit: 1, ignored: 2 } as const;
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

/**
 * Which detections hit, at every threshold and area range.
 *
 * @param ties   which of equal scores comes first; the library sorts stably, so the earlier listed one
 * @source pycocotools/cocoeval.py, computeIoU, evaluateImg
 * @quirk  of equal overlaps the later truth is taken; a truth with id 0 is taken, but its detection counts as a miss
 */
export function matchCoco(boxes: CocoBoxes, ties: 'first' | 'last' = 'first'): CocoMatches {
  const { images, truthStart, detectionStart } = boxes;
  let kept = 0;
  let mostTruths = 0;
  let mostPairs = 0;
  for (let i = 0; i < images; i++) {
    const detections = Math.min(detectionLimit, detectionStart[i + 1]! - detectionStart[i]!);
    const truths = truthStart[i + 1]! - truthStart[i]!;
    kept += detections;
    mostTruths = Math.max(mostTruths, truths);
    mostPairs = Math.max(mostPairs, truths * detections);
  }
  const image = new Int32Array(kept);
  const place = new Int32Array(kept);
  const scores = new Float64Array(kept);
  const outcome = new Uint8Array(areaRanges.length * thresholdCount * kept);
  const wanted = new Int32Array(areaRanges.length * images);
  const ious = new Float64Array(mostPairs);
  const taken = new Uint8Array(mostTruths);
  const ignored = new Uint8Array(mostTruths);
  const matched = new Int32Array(detectionLimit);
  const inOrder = Int32Array.from({ length: detectionLimit }, (_, i) => i);
  const ranked = new Float64Array(4 * detectionLimit);
  let at = 0;
  for (let i = 0; i < images; i++) {
    const from = detectionStart[i]!;
    const order = cocoOrder(boxes.scores.subarray(from, detectionStart[i + 1]), ties);
    const detections = Math.min(detectionLimit, order.length);
    for (let d = 0; d < detections; d++) {
      const listed = from + order[d]!;
      image[at + d] = i;
      place[at + d] = d;
      scores[at + d] = boxes.scores[listed]!;
      for (let side = 0; side < 4; side++) ranked[4 * d + side] = boxes.detections[4 * listed + side]!;
    }
    const firstTruth = truthStart[i]!;
    const truths = truthStart[i + 1]! - firstTruth;
    const crowd = boxes.crowd.subarray(firstTruth, firstTruth + truths);
    sizedIous(
      ranked.subarray(0, 4 * detections),
      boxes.truths.subarray(4 * firstTruth, 4 * (firstTruth + truths)),
      crowd,
      ious,
    );
    for (const [range, [least, most]] of areaRanges.entries()) {
      let count = 0;
      for (let t = 0; t < truths; t++) {
        const area = boxes.truthArea[firstTruth + t]!;
        ignored[t] = crowd[t] === 1 || area < least || area > most ? 1 : 0;
        count += 1 - ignored[t]!;
      }
      wanted[range * images + i] = count;
      const match = { ious, detections, truths, order: inOrder, ignored, crowd };
      for (let threshold = 0; threshold < thresholdCount; threshold++) {
        const needed = Math.min(cocoThresholds[threshold]!, 1 - 1e-10);
        matchGreedy(match, { threshold: needed, overlap: 'atLeast', equals: 'last' }, taken, matched);
        const row = (range * thresholdCount + threshold) * kept + at;
        for (let d = 0; d < detections; d++) {
          const t = matched[d]!;
          const area = ranked[4 * d + 2]! * ranked[4 * d + 3]!;
          const isSeen = t !== -1 && boxes.unseen[firstTruth + t] === 0;
          const isIgnored = (t !== -1 && ignored[t] === 1) || (!isSeen && (area < least || area > most));
          outcome[row + d] = isIgnored ? outcomes.ignored : isSeen ? outcomes.hit : outcomes.miss;
        }
      }
    }
    at += detections;
  }
  const order = cocoOrder(scores, ties);
  return { images, image, place, order, outcome, wanted, tied: tiedCount(scores, order) };
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
  const all = curvesOf(categories, 0, 100, repeats);
  const ranges = [1, 2, 3].map((range) => curvesOf(categories, range, 100, repeats));
  const [small, medium, large] = ranges as [Curves, Curves, Curves]; // three above
  const recallAt = (limit: number): number => meanOfKnown(curvesOf(categories, 0, limit, repeats).recall);
  const at = (values: Float64Array, threshold: number): Float64Array => {
    const size = values.length / thresholdCount;
    return values.subarray(threshold * size, (threshold + 1) * size);
  };
  const byThreshold = (values: Float64Array): Float64Array =>
    Float64Array.from({ length: thresholdCount }, (_, threshold) => meanOfKnown(at(values, threshold)));
  return {
    stats: {
      AP: meanOfKnown(all.precision),
      AP50: meanOfKnown(at(all.precision, 0)),
      AP75: meanOfKnown(at(all.precision, 5)),
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
    const { images, image, place, order } = matches;
    let wanted = 0;
    for (let i = 0; i < images; i++) wanted += matches.wanted[range * images + i]! * (repeats?.[i] ?? 1);
    if (wanted === 0) continue;
    const atHit = new Float64Array(wanted + 1); // precision after each hit
    for (let threshold = 0; threshold < thresholdCount; threshold++) {
      const row = (range * thresholdCount + threshold) * order.length;
      let hits = 0;
      let misses = 0;
      for (const d of order) {
        if (place[d]! >= limit) continue;
        const outcome = matches.outcome[row + d]!;
        if (outcome === outcomes.ignored) continue;
        const times = repeats === undefined ? 1 : repeats[image[d]!]!;
        if (outcome === outcomes.miss) {
          misses += times;
          continue;
        }
        for (let k = 0; k < times; k++) {
          hits++;
          atHit[hits - 1] = hits / (misses + hits + epsilon);
        }
      }
      for (let hit = hits - 1; hit > 0; hit--) {
        if (atHit[hit]! > atHit[hit - 1]!) atHit[hit - 1] = atHit[hit]!;
      }
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

/** Mean of the values above -1; -1 where there is none. */
function meanOfKnown(values: Float64Array): number {
  const known = values.filter((value) => value > -1);
  return known.length === 0 ? -1 : pairwiseSum(known) / known.length;
}
