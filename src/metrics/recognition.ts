/** Scores of classifiers with one or several kinds of classes, as verbs and nouns of an action. */
import { accuracy, countByClass, meanClassAccuracy } from './classes.js';

/** The classes of one kind; their logits lie one kind after the other. */
export interface ScoredKind {
  readonly kind: string;
  readonly count: number;
}

/** How many classes are better than this one; of equal ones those before it are. */
export function rankIn(logits: ArrayLike<number>, label: number): number {
  const own = logits[label]!; // labels are checked where they are read
  let rank = 0;
  for (let i = 0; i < logits.length; i++) rank += Number(logits[i]! > own || (logits[i] === own && i < label));
  return rank;
}

/**
 * Shares in [0, 1] over items: of one kind `top1`, `top5`, `mean_class_accuracy`; of several `verb_top1`, `verb_top5`, `verb_mean_class`, …,
 * `action_top1`, all kinds right at once, and `top1`, the mean over the kinds.
 *
 * @param ranks by kind, for each item how many classes were better than the right one
 * @param labels by kind, the right class of each item
 */
export function recognitionScores(
  kinds: readonly ScoredKind[],
  ranks: ReadonlyMap<string, ArrayLike<number>>,
  labels: ReadonlyMap<string, Int32Array>,
): Record<string, number> {
  const scores: Record<string, number> = {};
  let all: Uint8Array | undefined;
  for (const { kind, count } of kinds) {
    const own = Array.from(ranks.get(kind)!); // one for each kind
    const within = (most: number): Uint8Array => Uint8Array.from(own, (rank) => Number(rank < most));
    const best = countByClass(labels.get(kind)!, within(1), count); // one for each kind
    const prefix = kinds.length === 1 ? '' : `${kind}_`;
    scores[`${prefix}top1`] = accuracy(best);
    scores[`${prefix}top5`] = accuracy(countByClass(labels.get(kind)!, within(5), count));
    scores[kinds.length === 1 ? 'mean_class_accuracy' : `${kind}_mean_class`] = meanClassAccuracy(best);
    const hits = within(1);
    all = all === undefined ? hits : hits.map((hit, i) => hit & all![i]!); // of the same items
  }
  if (kinds.length > 1 && all !== undefined) {
    scores['action_top1'] = all.reduce((sum, hit) => sum + hit, 0) / all.length;
    scores['top1'] = kinds.reduce((sum, { kind }) => sum + scores[`${kind}_top1`]! / kinds.length, 0); // counted above
  }
  return scores;
}
