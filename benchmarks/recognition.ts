/**
 * Recognition over a labelled list: top-1 and top-5 accuracy, and the mean over classes of top-1.
 *
 * Truth: `[{id, label}]` or `{id: label}`; a label is its name, or its number. Predictions: records of `recognize`, or lists of
 * labels by id. A video without a prediction is a miss. Verbs and nouns of actions: recognition-kinds.ts.
 */
import { EgolensError } from '../src/errors.js';
import { accuracy, countByClass, meanClassAccuracy } from '../src/metrics/classes.js';
import type {
  Challenge,
  DocumentKind,
  EvalOptions,
  Evaluation,
  Finding,
  JsonDocument,
  Nested,
  Prepared,
  Score,
  TieRule,
} from '../src/types.js';
import { fault, NameTable } from './reading.js';
import { hasKinds, idsOnly, prepareKinds } from './recognition-kinds.js';
import {
  checkRankedLists,
  coverageNotes,
  onlyFile,
  ranker,
  readRankedLists,
  readWanted,
  tiedAnswers,
  type ListForm,
} from './ranked-lists.js';

const form: ListForm = { keyWord: 'video', nameWord: 'label', keys: ['id', 'input'], names: ['label', 'label_id'] };

/** Recognition as a scored task. */
export const recognition: Challenge = {
  task: 'recognition',
  summary: 'Recognition: top-1, top-5 and mean class accuracy over a labelled list',
  primary: { metric: 'top1', higherIsBetter: true },
  check,
  prepare,
};

function check(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  try {
    const truth = kind === 'annotations' && hasKinds(document) ? idsOnly(document) : document;
    const ids = against !== undefined && hasKinds(against) ? idsOnly(against) : against;
    return checkRankedLists(kind, truth, ids, form);
  } catch (error) {
    if (!(error instanceof EgolensError)) throw error;
    return [{ level: 'error', code: 'file.form', at: '', expected: 'segments with labels', found: error.message }];
  }
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  const truthFile = onlyFile(truth, 'the labelled list');
  if (hasKinds(truthFile)) return prepareKinds(truthFile, onlyFile(predictions, 'the predicted labels'));
  const wanted = readWanted(truthFile, form);
  if (wanted.size === 0)
    throw fault(truthFile, '', 'at least one video', truthFile.value, 'shares of nothing are undefined');
  const lists = readRankedLists(onlyFile(predictions, 'the predicted labels'), form);
  const ranksOf = ranker(wanted, lists);
  const labels = new NameTable();
  const units = [...wanted.keys()];
  const classes = Int32Array.from(wanted, ([id, names]) => {
    const [label] = names;
    if (names.size === 1) return labels.add(String(label));
    throw fault(truthFile, '', `one label for \`${id}\``, [...names], 'a video has one label; leave the others out');
  });
  const rows = (ties: TieRule, weights?: Int32Array): Score[] => {
    const ranks = ranksOf(ties);
    const within = (k: number) => Uint8Array.from(ranks, (rank) => Number(rank <= k));
    const best = countByClass(classes, within(1), labels.size, weights);
    return [
      { metric: 'top1', value: accuracy(best) },
      { metric: 'top5', value: accuracy(countByClass(classes, within(5), labels.size, weights)) },
      { metric: 'mean_class_accuracy', value: meanClassAccuracy(best) },
    ];
  };
  const numbers = (ties: TieRule): Nested => Object.fromEntries(rows(ties).map(({ metric, value }) => [metric, value]));
  const evaluate = ({ ties, detail }: EvalOptions): Evaluation => {
    const ranks = ranksOf(ties);
    const counts = countByClass(
      classes,
      Uint8Array.from(ranks, (rank) => Number(rank === 1)),
      labels.size,
    );
    return {
      official: { ...numbers(ties), num_videos: units.length, num_classes: labels.size },
      corrected: null,
      rows: rows(ties),
      ties: { tied: tiedAnswers(lists.values()), first: numbers('first'), last: numbers('last') },
      ...(detail
        ? {
            perClass: labels.names.map((label, c) => ({
              metric: 'top1',
              value: counts.hits[c]! / counts.items[c]!,
              at: { label, videos: counts.items[c]! },
            })),
            perItem: units.map((item, i) => ({ metric: 'rank', value: ranks[i]!, at: { item } })),
          }
        : {}),
      notes: coverageNotes(wanted, lists, form),
    };
  };
  return { units, evaluate, resample: (sample, ties) => rows(ties, repeatsOf(sample, units.length)) };
}

function repeatsOf(sample: Int32Array, count: number): Int32Array {
  const repeats = new Int32Array(count);
  for (const unit of sample) repeats[unit]!++;
  return repeats;
}
