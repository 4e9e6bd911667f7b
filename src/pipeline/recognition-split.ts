/** A split of labelled segments with its rows of features, and batches of it. */
import type { LabelKind, SegmentList } from '../ego4d/segments.js';
import { recognitionScores, rankIn } from '../metrics/recognition.js';
import type { ClassKind } from '../models/head.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { tensor } from '../tensor.js';
import { classTargets } from '../train/losses.js';
import type { TrainingData } from '../train/trainer.js';
import { classesOf, type ClassLists } from './segment-classes.js';
import type { SegmentRows } from './segment-features.js';

export interface RecognitionSplit {
  /** [rows, width] of each item. */
  readonly rows: readonly Float32Array<ArrayBuffer>[];
  readonly width: number;
  /** Most rows of an item. */
  readonly longest: number;
  /** Class of each item, by kind. */
  readonly labels: ReadonlyMap<LabelKind, Int32Array>;
}

/** The split of a list whose rows were read. @throws EgolensError data.invalid for labels outside the class lists */
export function recognitionSplit(
  list: SegmentList,
  { rows, indexes, form }: SegmentRows,
  classes: ClassLists,
): RecognitionSplit {
  const labels = new Map(
    [...classesOf(list, classes)].map(([kind, all]) => [kind, Int32Array.from(indexes, (index) => all[index]!)]),
  );
  return { rows, width: form.width, longest: longestOf(rows, form.width), labels };
}

function longestOf(rows: readonly Float32Array[], width: number): number {
  return rows.reduce((most, { length }) => Math.max(most, length / width), 1);
}

/** Rows of these items as a batch, padded to `longest`: inputs `features` and `mask` of a recognition head. */
export function featureBatch(
  rows: readonly Float32Array[],
  width: number,
  longest = longestOf(rows, width),
): TensorsByName {
  const features = new Float32Array(rows.length * longest * width);
  const mask = new Float32Array(rows.length * longest);
  rows.forEach((row, i) => {
    features.set(row, i * longest * width);
    mask.fill(1, i * longest, i * longest + row.length / width);
  });
  return {
    features: tensor('float32', [rows.length, longest, width], features),
    mask: tensor('float32', [rows.length, longest], mask),
  };
}

/** The training split as the trainer takes it. */
export function recognitionData(
  { rows, width, longest, labels }: RecognitionSplit,
  {
    kinds,
    batch,
    smoothing,
  }: { readonly kinds: readonly ClassKind[]; readonly batch: number; readonly smoothing: number },
): TrainingData {
  return {
    samples: rows.length,
    batch,
    load(samples) {
      const own = samples.map((sample) => rows[sample]!); // the trainer's numbers are below `samples`
      const targets = kinds.map(({ kind, count }) => {
        const classes = labels.get(kind as LabelKind)!; // kinds of the head are those of the split
        return [
          `targets.${kind}`,
          classTargets(
            samples.map((sample) => classes[sample]!),
            count,
            smoothing,
          ),
        ] as const;
      });
      return Promise.resolve({ ...featureBatch(own, width, longest), ...Object.fromEntries(targets) });
    },
  };
}

/** Items of one run of the scoring graph. */
const scoredAtOnce = 256;

/**
 * Scores of a split by its logits: those of `recognitionScores`, and `val_loss`, the mean over items of the cross-entropies added up.
 */
export async function scoreLogits(
  { rows, width, labels }: RecognitionSplit,
  kinds: readonly ClassKind[],
  logitsOf: (feeds: TensorsByName) => Promise<Float32Array>,
): Promise<Record<string, number>> {
  const classes = kinds.reduce((total, { count }) => total + count, 0);
  const ranks = new Map(kinds.map(({ kind }) => [kind, new Int32Array(rows.length)]));
  let loss = 0;
  for (let first = 0; first < rows.length; first += scoredAtOnce) {
    const group = rows.slice(first, first + scoredAtOnce);
    const logits = await logitsOf(featureBatch(group, width));
    for (let i = 0; i < group.length; i++) {
      let at = i * classes;
      for (const { kind, count } of kinds) {
        const own = logits.subarray(at, at + count);
        const label = labels.get(kind as LabelKind)![first + i]!; // a label for each item and kind
        ranks.get(kind)![first + i] = rankIn(own, label);
        loss += crossEntropy(own, label) / rows.length;
        at += count;
      }
    }
  }
  return { ...recognitionScores(kinds, ranks, labels), val_loss: loss };
}

function crossEntropy(logits: Float32Array, label: number): number {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  return Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0)) - (logits[label]! - most);
}
