/**
 * The arithmetic of Short-Term object-interaction Anticipation: which guess hits under which criterion, and the top-k average
 * precision made of it (ego4d.md 3.5).
 *
 * Source: EGO4D/forecasting ego4d/evaluation/sta_metrics.py.
 */
import { matchGreedy, pixelIous, type MatchRule } from '../../src/metrics/boxes.js';
import { fallingOrder } from '../../src/metrics/order.js';
import { interpolatedAveragePrecision, recallPoints, type RecallPoints } from '../../src/metrics/ranking.js';
import { pairwiseMean } from '../../src/metrics/sums.js';
import type { TieRule } from '../../src/types.js';

/** Truth and guesses of all images, one array per field, images in the order of the annotation file. */
export interface StaBoxes {
  readonly images: number;
  /** Truths of image i are [truthStart[i], truthStart[i + 1]). */
  readonly truthStart: Int32Array;
  /** Corners, four numbers a box. */
  readonly truths: Float64Array;
  readonly truthNoun: Float64Array;
  readonly truthVerb: Float64Array;
  readonly truthTtc: Float64Array;
  readonly guessStart: Int32Array;
  readonly guesses: Float64Array;
  readonly guessNoun: Float64Array;
  readonly guessVerb: Float64Array;
  readonly guessTtc: Float64Array;
  readonly score: Float64Array;
}

/** What must agree besides the box, as bits: a criterion is a set of them. */
export const staBits = { noun: 1, verb: 2, ttc: 4 } as const;
/** What a match has to agree on beside the box: a set of noun, verb and time to contact, as bits. */
export type Criterion = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** Guesses matched to truths under one tie rule. */
export interface StaMatches {
  readonly boxes: StaBoxes;
  readonly ties: TieRule;
  /** Guesses image by image, those of an image by falling score. */
  readonly order: Int32Array;
  /** By guess: bit `1 << criterion` is set where it hits under that criterion. */
  readonly hits: Uint8Array;
}

/**
 * Matches every image under all eight criteria.
 *
 * @param like matches under another tie rule: images without equal scores are taken over from them
 * @source sta_metrics.py, AbstractMeanAveragePrecision.add
 * @quirk  IoU must exceed 0.5; of equal overlaps the first truth is taken; each criterion has its own free truths
 */
export function matchSta(boxes: StaBoxes, ties: TieRule, like?: StaMatches): StaMatches {
  const { images, truthStart, guessStart, score } = boxes;
  const order = like?.order.slice() ?? new Int32Array(score.length);
  const hits = like?.hits.slice() ?? new Uint8Array(score.length);
  const scratch = scratchFor(boxes);
  for (let i = 0; i < images; i++) {
    const from = guessStart[i]!;
    const to = guessStart[i + 1]!;
    if (from === to) continue;
    if (like !== undefined) {
      if (!hasTies(score, order, from, to)) continue;
      hits.fill(0, from, to);
    }
    const ranked = fallingOrder(score.subarray(from, to), ties);
    for (let rank = 0; rank < ranked.length; rank++) order[from + rank] = from + ranked[rank]!;
    matchImage(boxes, i, truthStart[i]!, ranked, scratch, hits);
  }
  return { boxes, ties, order, hits };
}

/** Two equal scores among those of a sorted order. */
function hasTies(score: Float64Array, order: Int32Array, from: number, to: number): boolean {
  for (let rank = from + 1; rank < to; rank++) {
    const before = score[order[rank - 1]!]!;
    const after = score[order[rank]!]!;
    if (before === after || (before !== before && after !== after)) return true; // NaN equals NaN
  }
  return false;
}

function matchImage(
  boxes: StaBoxes,
  image: number,
  firstTruth: number,
  ranked: Int32Array,
  { ious, agreement, taken, matched, candidates }: Scratch,
  hits: Uint8Array,
): void {
  const firstGuess = boxes.guessStart[image]!;
  const truths = boxes.truthStart[image + 1]! - firstTruth;
  pixelIous(
    boxes.guesses.subarray(4 * firstGuess, 4 * (firstGuess + ranked.length)),
    boxes.truths.subarray(4 * firstTruth, 4 * (firstTruth + truths)),
    ious,
  );
  let count = 0;
  let possible = 0; // criteria that any pair meets
  for (let rank = 0; rank < ranked.length; rank++) {
    const g = ranked[rank]!;
    let isCandidate = false;
    for (let t = 0; t < truths; t++) {
      if (!(ious[g * truths + t]! > overlapNeeded)) continue;
      isCandidate = true;
      const agreed = agreementOf(boxes, firstGuess + g, firstTruth + t);
      agreement[g * truths + t] = agreed;
      possible |= subsets[agreed]!;
    }
    if (isCandidate) candidates[count++] = g;
  }
  if (count === 0) return;
  const match = { ious, truths, order: candidates, candidates: count, agreement };
  for (let criterion = 0; criterion < rules.length; criterion++) {
    const bit = 1 << criterion;
    if ((possible & bit) === 0) continue;
    matchGreedy(match, rules[criterion]!, taken, matched);
    for (let k = 0; k < count; k++) {
      const g = candidates[k]!;
      if (matched[g] !== -1) hits[firstGuess + g]! |= bit;
    }
  }
}

function agreementOf(boxes: StaBoxes, guess: number, truth: number): number {
  return (
    (boxes.guessNoun[guess] === boxes.truthNoun[truth] ? staBits.noun : 0) |
    (boxes.guessVerb[guess] === boxes.truthVerb[truth] ? staBits.verb : 0) |
    (Math.abs(boxes.guessTtc[guess]! - boxes.truthTtc[truth]!) <= ttcTolerance ? staBits.ttc : 0)
  );
}

const overlapNeeded = 0.5;
const ttcTolerance = 0.25;
const criteria: readonly Criterion[] = [0, 1, 2, 3, 4, 5, 6, 7];
const rules: readonly MatchRule[] = criteria.map((wanted) => ({
  threshold: overlapNeeded,
  overlap: 'above',
  equals: 'first',
  wanted,
}));
/** By what agrees: the criteria that are met, as bits `1 << criterion`. */
const subsets: readonly number[] = criteria.map((agreed) =>
  criteria.reduce<number>((met, wanted) => met | ((agreed & wanted) === wanted ? 1 << wanted : 0), 0),
);

interface Scratch {
  readonly ious: Float64Array;
  readonly agreement: Uint8Array;
  readonly taken: Uint8Array;
  readonly matched: Int32Array;
  readonly candidates: Int32Array;
}

/** Arrays that fit the largest image. */
function scratchFor({ images, truthStart, guessStart }: StaBoxes): Scratch {
  let truths = 0;
  let guesses = 0;
  let pairs = 0;
  for (let i = 0; i < images; i++) {
    const t = truthStart[i + 1]! - truthStart[i]!;
    const g = guessStart[i + 1]! - guessStart[i]!;
    truths = Math.max(truths, t);
    guesses = Math.max(guesses, g);
    pairs = Math.max(pairs, t * g);
  }
  return {
    ious: new Float64Array(pairs),
    agreement: new Uint8Array(pairs),
    taken: new Uint8Array(truths),
    matched: new Int32Array(guesses),
    candidates: new Int32Array(guesses),
  };
}

/** The nouns that are averaged over, and where guesses and truths belong. */
export interface StaClasses {
  /** Values of the ids, rising. */
  readonly nouns: Float64Array;
  /** By guess and by truth: position in `nouns`, -1 where it is not among them. */
  readonly ofGuess: Int32Array;
  readonly ofTruth: Int32Array;
  /** Truths that count, by class. */
  readonly positives: Int32Array;
}

/**
 * Classes by noun. `counted` says which images lend their truth; nouns that are only guessed are classes with `all`.
 *
 * @source sta_metrics.py, AbstractMeanAveragePrecision.evaluate
 */
export function nounClasses(boxes: StaBoxes, counted: Uint8Array, which: 'truth' | 'all'): StaClasses {
  const seen = new Set<number>();
  forEachTruth(boxes, counted, (t) => seen.add(boxes.truthNoun[t]!));
  if (which === 'all') for (const noun of boxes.guessNoun) seen.add(noun);
  const nouns = Float64Array.from(seen).sort();
  const position = new Map(Array.from(nouns, (noun, i) => [noun, i]));
  const positives = new Int32Array(nouns.length);
  const ofTruth = new Int32Array(boxes.truthNoun.length).fill(-1);
  forEachTruth(boxes, counted, (t) => {
    const at = position.get(boxes.truthNoun[t]!) ?? -1;
    ofTruth[t] = at;
    positives[at]!++;
  });
  const ofGuess = Int32Array.from(boxes.guessNoun, (noun) => position.get(noun) ?? -1);
  return { nouns, ofGuess, ofTruth, positives };
}

/** One class with everything in it: the single APs of the library. */
export function singleClass(boxes: StaBoxes, counted: Uint8Array): StaClasses {
  const ofTruth = new Int32Array(boxes.truthNoun.length).fill(-1);
  let positives = 0;
  forEachTruth(boxes, counted, (t) => {
    ofTruth[t] = 0;
    positives++;
  });
  return {
    nouns: Float64Array.of(1),
    ofGuess: new Int32Array(boxes.guessNoun.length),
    ofTruth,
    positives: Int32Array.of(positives),
  };
}

/** Images whose truth the official code counts: those with guesses. */
export function countedImages({ images, guessStart }: StaBoxes): Uint8Array {
  return Uint8Array.from({ length: images }, (_, i) => (guessStart[i + 1]! > guessStart[i]! ? 1 : 0));
}

function forEachTruth({ images, truthStart }: StaBoxes, counted: Uint8Array, visit: (truth: number) => void): void {
  for (let i = 0; i < images; i++) {
    if (counted[i] === 0) continue;
    for (let t = truthStart[i]!; t < truthStart[i + 1]!; t++) visit(t);
  }
}

/** Guesses of one class that are left after the top-k discount, by falling score. */
export interface RankedClass {
  readonly guesses: Int32Array;
  /** 1 for a hit, in that order. */
  readonly hits: Uint8Array;
}

/**
 * Ranks the guesses of every class.
 *
 * @param topK of each image the first (topK - 1) x truths false positives are struck out, whatever their class; 1 strikes out none
 * @param ranking all guesses by falling score, under the tie rules `first` and `last`; made here where absent
 * @source sta_metrics.py, add (the discount) and _compute_prec_rec (the order)
 * @quirk  with a discount, guesses are sorted within the image first and then again within the class, so that the order of equal
 *         scores differs from the order without one
 */
export function rankClasses(
  matches: StaMatches,
  classes: StaClasses,
  criterion: Criterion,
  topK: number,
  ranking?: Int32Array,
): RankedClass[] {
  const { boxes, hits, ties } = matches;
  const bit = 1 << criterion;
  const struck = topK > 1 ? struckOut(matches, bit, topK) : undefined;
  const isNumpy = ties === 'numpy';
  // First-listed and last-listed mean places in the file; numpy's order depends on the order in which it is given the scores.
  const listed = isNumpy ? (topK > 1 ? matches.order : undefined) : (ranking ?? fallingOrder(boxes.score, ties));
  const members = distribute(classes, struck, listed);
  if (isNumpy) for (const guesses of members) sortFalling(guesses, boxes.score);
  return members.map((guesses) => {
    const found = new Uint8Array(guesses.length);
    for (let rank = 0; rank < found.length; rank++) found[rank] = (hits[guesses[rank]!]! & bit) === 0 ? 0 : 1;
    return { guesses, hits: found };
  });
}

/** The same guesses with the hits of another criterion: without a discount the order does not depend on it. */
export function withCriterion(
  ranked: readonly RankedClass[],
  { hits }: StaMatches,
  criterion: Criterion,
): RankedClass[] {
  return ranked.map(({ guesses }) => {
    const found = new Uint8Array(guesses.length);
    for (let rank = 0; rank < found.length; rank++) found[rank] = (hits[guesses[rank]!]! >> criterion) & 1;
    return { guesses, hits: found };
  });
}

/** Guesses that are left, by class, in the order given (file order where absent). */
function distribute(
  { nouns, ofGuess }: StaClasses,
  struck: Uint8Array | undefined,
  listed: Int32Array | undefined,
): Int32Array[] {
  const counts = new Int32Array(nouns.length);
  for (let g = 0; g < ofGuess.length; g++) {
    const at = ofGuess[g]!;
    if (at !== -1 && struck?.[g] !== 1) counts[at]!++;
  }
  const members = Array.from(counts, (size) => new Int32Array(size));
  counts.fill(0);
  for (let k = 0; k < ofGuess.length; k++) {
    const g = listed === undefined ? k : listed[k]!;
    const at = ofGuess[g]!;
    if (at === -1 || struck?.[g] === 1) continue;
    members[at]![counts[at]!] = g;
    counts[at]!++;
  }
  return members;
}

/** numpy's order of the guesses as they are listed, in place. */
function sortFalling(guesses: Int32Array, score: Float64Array): void {
  const scores = new Float64Array(guesses.length);
  for (let i = 0; i < scores.length; i++) scores[i] = score[guesses[i]!]!;
  const order = fallingOrder(scores, 'numpy');
  for (let rank = 0; rank < order.length; rank++) order[rank] = guesses[order[rank]!]!;
  guesses.set(order);
}

function struckOut({ boxes, order, hits }: StaMatches, bit: number, topK: number): Uint8Array {
  const struck = new Uint8Array(order.length);
  for (let i = 0; i < boxes.images; i++) {
    let left = (topK - 1) * (boxes.truthStart[i + 1]! - boxes.truthStart[i]!);
    const end = boxes.guessStart[i + 1]!;
    for (let rank = boxes.guessStart[i]!; rank < end && left > 0; rank++) {
      const g = order[rank]!;
      if ((hits[g]! & bit) !== 0) continue;
      struck[g] = 1;
      left--;
    }
  }
  return struck;
}

/**
 * Mean over the classes of their average precision, in percent; a class with truth but without guesses counts 0, one with neither
 * does not count. NaN without classes.
 *
 * @param weights how often each guess is listed (bootstrap); once where absent
 */
export function meanPrecision(ranked: readonly RankedClass[], positives: Int32Array, weights?: Int32Array): number {
  const measures: number[] = [];
  ranked.forEach(({ guesses, hits }, at) => {
    const truths = positives[at]!;
    if (truths > 0) {
      measures.push(interpolatedAveragePrecision(hits, truths, weightsOf(guesses, weights)) * 100);
    } else if (weights === undefined && guesses.length > 0) {
      measures.push(0);
    }
  });
  return pairwiseMean(measures);
}

function weightsOf(guesses: Int32Array, weights: Int32Array | undefined): Int32Array | undefined {
  if (weights === undefined) return undefined;
  const listed = new Int32Array(guesses.length);
  for (let i = 0; i < listed.length; i++) listed[i] = weights[guesses[i]!]!;
  return listed;
}

/** Average precision of each class, in percent. */
export function classPrecisions(ranked: readonly RankedClass[], positives: Int32Array): number[] {
  return ranked.map(({ hits }, at) => interpolatedAveragePrecision(hits, positives[at]!) * 100);
}

/** Precision-recall points of everything in one class. */
export function staCurve(ranked: RankedClass, positives: number): RecallPoints {
  return recallPoints(ranked.hits, positives);
}
