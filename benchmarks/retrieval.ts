/**
 * Retrieval: recall at 1, 5 and 10, median and mean rank of the first right item of each query.
 *
 * Truth: `[{query, item}]`, or `{query: item}` or lists of items by query. Predictions: `[{query, item, score}]`, or lists of items by
 * query, scored or best first. An item that is not listed has an infinite rank.
 */
import { median } from '../src/metrics/classes.js';
import type {
  Challenge,
  EvalOptions,
  Evaluation,
  JsonDocument,
  Nested,
  Prepared,
  Score,
  TieRule,
} from '../src/types.js';
import { fault } from './reading.js';
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

const form: ListForm = { keyWord: 'query', nameWord: 'item', keys: ['query', 'id'], names: ['item', 'input'] };
const depths = [1, 5, 10] as const;

/** Retrieval as a scored task. */
export const retrieval: Challenge = {
  task: 'retrieval',
  summary: 'Retrieval: recall at 1, 5 and 10, median and mean rank',
  primary: { metric: 'R@1', higherIsBetter: true },
  check: (kind, document, against) => checkRankedLists(kind, document, against, form),
  prepare,
};

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  const truthFile = onlyFile(truth, 'the right items by query');
  const wanted = readWanted(truthFile, form);
  if (wanted.size === 0)
    throw fault(truthFile, '', 'at least one query', truthFile.value, 'shares of nothing are undefined');
  const lists = readRankedLists(onlyFile(predictions, 'the items found for each query'), form);
  const ranksOf = ranker(wanted, lists);
  const units = [...wanted.keys()];
  const numbers = (ties: TieRule): Nested =>
    Object.fromEntries(rowsOf(ranksOf(ties)).map(({ metric, value }) => [metric, value]));
  const evaluate = ({ ties, detail }: EvalOptions): Evaluation => {
    const ranks = ranksOf(ties);
    return {
      official: { ...numbers(ties), num_queries: units.length },
      corrected: null,
      rows: rowsOf(ranks),
      ties: { tied: tiedAnswers(lists.values()), first: numbers('first'), last: numbers('last') },
      ...(detail ? { perItem: units.map((item, i) => ({ metric: 'rank', value: ranks[i]!, at: { item } })) } : {}),
      notes: coverageNotes(wanted, lists, form),
    };
  };
  return {
    units,
    evaluate,
    resample(sample, ties) {
      const ranks = ranksOf(ties);
      return rowsOf(Float64Array.from(sample, (unit) => ranks[unit]!));
    },
  };
}

function rowsOf(ranks: Float64Array): Score[] {
  return [
    ...depths.map((k) => ({ metric: `R@${k}`, value: ranks.filter((rank) => rank <= k).length / ranks.length })),
    { metric: 'median_rank', value: median(ranks) },
    { metric: 'mean_rank', value: ranks.reduce((sum, rank) => sum + rank, 0) / ranks.length },
  ];
}
