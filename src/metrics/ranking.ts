/**
 * Scored guesses against truth: one matching rule, one interpolated average precision, for every challenge that ranks spans
 * (Moment Queries, VQ2D's tracks, ActivityNet) and for the average precision of boxes.
 */
import type { TieRule } from '../types.js';
import type { SpanOverlap } from './intervals.js';
import { fallingOrder, sortIndices, tiedCount } from './order.js';
import { pairwiseMean, pairwiseSum } from './sums.js';

/**
 * Average precision with every recall point interpolated: precision is made non-increasing from the right and summed over the steps
 * of recall (ego4d.md 2.2). Only hits step recall, so only they are kept.
 *
 * @param hits      1 for a true, 0 for a false positive, in order of falling score
 * @param positives how many truths there are
 * @param weights   how often each guess is listed (a bootstrap sample repeats it); once where absent
 * @returns AP in [0, 1]; 0 for no guesses; NaN for guesses without truth
 * @source activitynet/ActivityNet Evaluation/utils.py, interpolated_prec_rec; the same in VQ2D and STA
 */
export function interpolatedAveragePrecision(hits: ArrayLike<number>, positives: number, weights?: Int32Array): number {
  return areaBelow(recallPoints(hits, positives, weights), positives);
}

function areaBelow({ recall, precision, guesses }: RecallPoints, positives: number): number {
  if (guesses === 0) return 0;
  if (positives === 0) return NaN;
  const count = recall.length;
  // One term a step of recall; the step from the last recall to 1 adds nothing but takes its place in the pairwise sum.
  const isComplete = count > 0 && recall[count - 1] === 1;
  const terms = new Float64Array(isComplete ? count : count + 1);
  let best = 0;
  for (let i = count - 1; i >= 0; i--) {
    best = Math.max(best, precision[i]!);
    terms[i] = (recall[i]! - (i === 0 ? 0 : recall[i - 1]!)) * best;
  }
  return pairwiseSum(terms);
}

/** Recall and (not interpolated) precision after each hit. */
export interface RecallPoints {
  readonly recall: Float64Array;
  readonly precision: Float64Array;
  /** Guesses in all, hits or not. */
  readonly guesses: number;
}

/** The points of a precision-recall curve at which recall rises; arguments as for `interpolatedAveragePrecision`. */
export function recallPoints(hits: ArrayLike<number>, positives: number, weights?: Int32Array): RecallPoints {
  return pointsAt(hitRanks(hits), listedUpTo(hits.length, weights), positives);
}

/** Ranks, from 0, of the hits. */
function hitRanks(hits: ArrayLike<number>): Int32Array {
  let count = 0;
  for (let rank = 0; rank < hits.length; rank++) if (hits[rank] !== 0) count++;
  const ranks = new Int32Array(count);
  for (let rank = 0, at = 0; rank < hits.length; rank++) if (hits[rank] !== 0) ranks[at++] = rank;
  return ranks;
}

/** How many guesses are listed before each rank, and in all, when each is listed `weights` times. */
function listedUpTo(count: number, weights?: ArrayLike<number>): Float64Array {
  const listed = new Float64Array(count + 1);
  for (let rank = 0; rank < count; rank++)
    listed[rank + 1] = listed[rank]! + (weights === undefined ? 1 : weights[rank]!);
  return listed;
}

function pointsAt(ranks: Int32Array, listed: Float64Array, positives: number): RecallPoints {
  const recall = new Float64Array(ranks.length);
  const precision = new Float64Array(ranks.length);
  let found = 0;
  let count = 0;
  for (const rank of ranks) {
    const weight = listed[rank + 1]! - listed[rank]!;
    if (weight === 0) continue;
    found += weight;
    recall[count] = found / positives;
    precision[count] = found / listed[rank + 1]!;
    count++;
  }
  return { recall: recall.subarray(0, count), precision: precision.subarray(0, count), guesses: listed.at(-1)! };
}

/** When a guess hits a truth. */
export interface MatchRules {
  /** Each is matched for itself: a truth can be taken once per threshold. */
  readonly thresholds: readonly number[];
  /** Must the overlap exceed the threshold, or only reach it? */
  readonly comparison: '>=' | '>';
  /** What an undefined overlap (NaN, 0/0) does: the official code sorts it first and never finds it below a threshold. */
  readonly undefinedOverlap: 'hit' | 'miss';
}

/**
 * Matches guesses with truths, best guess first: a guess takes the truth of its unit with the largest overlap that is not taken yet.
 *
 * @param order      guesses from the highest score to the lowest
 * @param guessUnits unit (video, clip, query) of each guess
 * @param truthUnits unit of each truth
 * @param overlap    overlap of a guess and a truth, by their indices
 * @returns per threshold, 1 or 0 for each guess in the order given
 * @source EGO4D/episodic-memory MQ/Evaluation/ego4d/eval_detection.py, compute_average_precision_detection
 * @quirk  of equally overlapping truths the later one is taken (numpy's argsort, reversed)
 */
export function matchRanked(
  order: Int32Array,
  guessUnits: Int32Array,
  truthUnits: Int32Array,
  overlap: (guess: number, truth: number) => number,
  rules: MatchRules,
): Uint8Array[] {
  const { thresholds } = rules;
  const isStrict = rules.comparison === '>';
  const undefinedValue = rules.undefinedOverlap === 'hit' ? NaN : -Infinity;
  const truths = byUnit(truthUnits);
  const hits = thresholds.map(() => new Uint8Array(order.length));
  const taken = thresholds.map(() => new Uint8Array(truthUnits.length));
  const overlaps = new Float64Array(truths.largest);
  const ranked = new Int32Array(truths.largest);
  for (let rank = 0; rank < order.length; rank++) {
    const guess = order[rank]!;
    const unit = guessUnits[guess]!;
    const from = truths.from[unit] ?? 0;
    const count = (truths.from[unit + 1] ?? 0) - from;
    if (count <= 0) continue;
    for (let i = 0; i < count; i++) {
      const value = overlap(guess, truths.members[from + i]!);
      overlaps[i] = value === value ? value : undefinedValue;
      ranked[i] = i;
    }
    if (count > 1) sortIndices(overlaps, ranked, count);
    for (let t = 0; t < thresholds.length; t++) {
      const threshold = thresholds[t]!;
      const takenHere = taken[t]!;
      for (let i = count - 1; i >= 0; i--) {
        const value = overlaps[ranked[i]!]!;
        if (value < threshold || (isStrict && value === threshold)) break;
        const truth = truths.members[from + ranked[i]!]!;
        if (takenHere[truth] === 1) continue;
        takenHere[truth] = 1;
        hits[t]![rank] = 1;
        break;
      }
    }
  }
  return hits;
}

/** Members of each unit in their order: members[from[u]] to members[from[u + 1] - 1]. */
function byUnit(units: Int32Array): {
  readonly members: Int32Array;
  readonly from: Int32Array;
  readonly largest: number;
} {
  let unitCount = 0;
  for (const unit of units) unitCount = Math.max(unitCount, unit + 1);
  const from = new Int32Array(unitCount + 1);
  for (const unit of units) from[unit + 1]!++;
  let largest = 0;
  for (let u = 0; u < unitCount; u++) {
    largest = Math.max(largest, from[u + 1]!);
    from[u + 1]! += from[u]!;
  }
  const next = from.slice();
  const members = new Int32Array(units.length);
  for (let i = 0; i < units.length; i++) {
    const unit = units[i]!;
    members[next[unit]!] = i;
    next[unit]!++;
  }
  return { members, from, largest };
}

/** Spans of all labels and units, one array per field; labels and units are numbered from 0. */
export interface LabelledSpans {
  readonly unit: Int32Array;
  readonly label: Int32Array;
  readonly start: Float64Array;
  readonly end: Float64Array;
}
/** Guesses in file order: the order matters between equal scores. */
export interface ScoredSpans extends LabelledSpans {
  readonly score: Float64Array;
}

export interface SpanRules extends MatchRules {
  /** Called with the truth first. */
  readonly overlap: SpanOverlap;
  readonly ties: TieRule;
}

/** The guesses of one label, ranked and matched. */
export interface RankedLabel {
  /** Guesses from the highest score to the lowest, as indices into the spans that were ranked. */
  readonly order: Int32Array;
  /** Unit of each, in that order. */
  readonly units: Int32Array;
  /** Unit of each truth of the label. */
  readonly truthUnits: Int32Array;
  /** Per threshold, 1 for a hit, in that order. */
  readonly hits: readonly Uint8Array[];
  /** Per threshold, the ranks (from 0) of the hits: what a sample of units needs of them. */
  readonly hitRanks: readonly Int32Array[];
  /** Guesses that share their score with another one of the label. */
  readonly tied: number;
}

/** Ranks and matches every label for itself, all units together. */
export function rankSpans(
  truth: LabelledSpans,
  guesses: ScoredSpans,
  labelCount: number,
  rules: SpanRules,
): RankedLabel[] {
  const truthsOf = byLabel(truth.label, labelCount);
  const guessesOf = byLabel(guesses.label, labelCount);
  const { overlap } = rules;
  return truthsOf.map((truths, label) => {
    const listed = guessesOf[label]!;
    const scores = take(guesses.score, listed);
    const order = fallingOrder(scores, rules.ties);
    const tied = tiedCount(scores, order);
    for (let rank = 0; rank < order.length; rank++) order[rank] = listed[order[rank]!]!;
    const truthUnits = Int32Array.from(truths, (i) => truth.unit[i]!);
    const hits = matchRanked(
      order,
      guesses.unit,
      truthUnits,
      (guess, i) => {
        const at = truths[i]!;
        return overlap(truth.start[at]!, truth.end[at]!, guesses.start[guess]!, guesses.end[guess]!);
      },
      rules,
    );
    const units = Int32Array.from(order, (i) => guesses.unit[i]!);
    return { order, units, truthUnits, hits, hitRanks: hits.map(hitRanks), tied };
  });
}

function byLabel(labels: Int32Array, labelCount: number): Int32Array[] {
  const counts = new Int32Array(labelCount);
  for (const label of labels) counts[label]!++;
  const members = Array.from(counts, (count) => new Int32Array(count));
  counts.fill(0);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    members[label]![counts[label]!] = i;
    counts[label]!++;
  }
  return members;
}

function take(values: Float64Array, indices: Int32Array): Float64Array {
  const taken = new Float64Array(indices.length);
  for (let i = 0; i < indices.length; i++) taken[i] = values[indices[i]!]!;
  return taken;
}

/** Average precision per threshold and label, and its means. */
export interface MeanAveragePrecision {
  /** [threshold][label] */
  readonly ap: readonly Float64Array[];
  /** Mean over labels, per threshold; NaN without labels. */
  readonly mAP: readonly number[];
  /** Mean over thresholds. */
  readonly average: number;
}

/**
 * Mean average precision of ranked labels; labels count alike, however many truths they have.
 *
 * @param repeats how often each unit is drawn (bootstrap); a repeated unit counts as so many units of its own, and a label whose
 *                truths are all left out is no label of the sample. Guesses of unknown units stay, once.
 */
export function meanAveragePrecision(
  ranked: readonly RankedLabel[],
  thresholdCount: number,
  repeats?: Int32Array,
): MeanAveragePrecision {
  const positives = ranked.map(({ truthUnits }) =>
    repeats === undefined ? truthUnits.length : truthUnits.reduce((sum, unit) => sum + repeats[unit]!, 0),
  );
  const counted = repeats === undefined ? ranked : ranked.filter((_, label) => positives[label]! > 0);
  const countedPositives = repeats === undefined ? positives : positives.filter((count) => count > 0);
  const ap = Array.from({ length: thresholdCount }, () => new Float64Array(counted.length));
  counted.forEach(({ hitRanks: ranks, units }, label) => {
    const listed = listedUpTo(
      units.length,
      repeats === undefined ? undefined : units.map((unit) => repeats[unit] ?? 1),
    );
    for (let t = 0; t < thresholdCount; t++) {
      const points = pointsAt(ranks[t]!, listed, countedPositives[label]!);
      ap[t]![label] = areaBelow(points, countedPositives[label]!);
    }
  });
  const mAP = ap.map((values) => pairwiseMean(values));
  return { ap, mAP, average: pairwiseMean(mAP) };
}

/** Rank, from 1, of the first overlap above the threshold; Infinity where there is none. A NaN is a miss. Recall@k counts ranks <= k. */
export function firstHitRank(overlaps: ArrayLike<number>, threshold: number): number {
  for (let i = 0; i < overlaps.length; i++) if (overlaps[i]! > threshold) return i + 1;
  return Infinity;
}

/** [threshold][k] share of the ranks (one list per threshold) that are at most k; NaN of nothing. `weights` repeats entries. */
export function recallAt(
  ranks: readonly ArrayLike<number>[],
  ks: readonly number[],
  weights?: ArrayLike<number>,
): number[][] {
  return ranks.map((list) =>
    ks.map((k) => {
      let found = 0;
      let total = 0;
      for (let i = 0; i < list.length; i++) {
        const weight = weights === undefined ? 1 : weights[i]!;
        total += weight;
        if (list[i]! <= k) found += weight;
      }
      return found / total;
    }),
  );
}
