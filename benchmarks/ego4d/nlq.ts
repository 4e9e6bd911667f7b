/**
 * Natural Language Queries: recall of the window that answers a question, among the first k guesses.
 *
 * @source EGO4D/episodic-memory NLQ/VSLNet/utils/evaluate_ego4d_nlq.py (5275b957), metrics of ego4d.md 3.2
 */
import { EgolensError } from '../../src/errors.js';
import { hullTiou } from '../../src/metrics/intervals.js';
import { firstHitRank, recallAt } from '../../src/metrics/ranking.js';
import { pairwiseMean } from '../../src/metrics/sums.js';
import type {
  Challenge,
  Curve,
  EvalOptions,
  Evaluation,
  JsonDocument,
  Nested,
  Prepared,
  Score,
} from '../../src/types.js';
import { repeatsOf } from '../detections.js';
import { fault, isObject, listAt, numberAt, objectAt, textAt } from '../reading.js';
import { pointer } from './checks.js';
import { checkQueries } from './nlq-checks.js';
import { answerEntries, answerSubmission, isAnswerRecords } from './nlq-submission.js';
import { readQueries, type QueryFile } from './queries.js';
import { describeFile } from './videos-file.js';

const thresholds = [0.3, 0.5, 0.01];
const topK = [1, 3, 5, 10];

/** Natural Language Queries: annotations as truth; a submission, or our own answers as predictions. */
export const nlq: Challenge = {
  task: 'nlq',
  summary: 'Ego4D Natural Language Queries: R@k at IoU 0.3 and 0.5',
  primary: { metric: 'mean R@1', higherIsBetter: true },
  check: checkQueries,
  prepare,
  submission: answerSubmission,
};

/** One entry of the results, met with its truth. */
interface Answer {
  /** Number of the query among all of the truth. */
  readonly query: number;
  /** Number of its clip. */
  readonly unit: number;
  /** Overlap of each window, best guess first. */
  readonly overlaps: Float64Array;
}

/** Entries as typed arrays: what one query contributes. */
interface Scored {
  /** Rank of the first hit, per threshold. */
  readonly ranks: readonly Float64Array[];
  readonly firstOverlap: Float64Array;
  readonly units: Int32Array;
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  const file = readQueries(truth);
  const answers = predictions.flatMap((document) => readAnswers(document, file));
  const scored = scoreOf(answers);
  return {
    units: file.clips,
    evaluate: (options) => evaluate(file, answers, scored, options),
    resample(sample) {
      const repeats = repeatsOf(sample, file.clips.length);
      return rowsOf(
        numbersOf(
          scored,
          Int32Array.from(scored.units, (unit) => repeats[unit]!),
        ),
      );
    },
  };
}

/**
 * The entries of a prediction file, with the overlaps of their windows.
 *
 * @throws EgolensError data.invalid for another version or challenge, an index out of range, windows that are no pairs of numbers, or
 *         truth without times; data.unknown_id for a pair of clip and annotation that is not in the truth
 * @quirk  `query_idx` -1 is the last query of its annotation, as Python indexes lists; an entry that stands twice counts twice
 */
function readAnswers(document: JsonDocument, file: QueryFile): Answer[] {
  const hint = 'an entry is {clip_uid, annotation_uid, query_idx, predicted_times}';
  return resultsOf(document, file).map((value, i) => {
    const at = (...parts: (string | number)[]): string => pointer('results', i, ...parts);
    const entry = objectAt(document, value, () => at(), hint);
    const clip = textAt(document, entry['clip_uid'], () => at('clip_uid'), hint);
    const annotation = textAt(document, entry['annotation_uid'], () => at('annotation_uid'), hint);
    const known = file.annotation(clip, annotation);
    if (known === undefined) {
      throw fault(
        document,
        at('annotation_uid'),
        'a pair of `clip_uid` and `annotation_uid` of the truth',
        annotation,
        'the predictions may be of another split or version',
        'data.unknown_id',
      );
    }
    const given = entry['query_idx'];
    const wanted = typeof given === 'boolean' ? Number(given) : numberAt(document, given, () => at('query_idx'), hint);
    const index = wanted < 0 ? wanted + known.queries.length : wanted;
    const query = known.queries[index];
    if (query === undefined) {
      const range = `a whole number below ${known.queries.length}`;
      throw fault(document, at('query_idx'), range, given, '`query_idx` counts all queries of its annotation, from 0');
    }
    const windows = readWindows(document, entry['predicted_times'], (...parts) => at('predicted_times', ...parts));
    const [start, end] = query.times();
    const overlaps = Float64Array.from(windows, ([from, to]) => hullTiou(from, to, start, end));
    return { query: query.number, unit: known.clip, overlaps };
  });
}

function resultsOf(document: JsonDocument, file: QueryFile): readonly unknown[] {
  const { value } = document;
  if (isAnswerRecords(value)) return answerEntries(value, file).entries;
  if (!isObject(value) || !('results' in value || value['challenge'] === 'ego4d_nlq_challenge')) {
    throw new EgolensError(
      'data.invalid',
      `\`${document.name}\`: expected Natural Language Queries predictions ({version, challenge, results}), found ${describeFile(document)}`,
      { try: 'give the predictions of this task, or name the task of this file', input: document.name },
    );
  }
  const envelope = { version: '1.0', challenge: 'ego4d_nlq_challenge' };
  for (const [key, wanted] of Object.entries(envelope)) {
    if (value[key] !== wanted) {
      throw fault(document, pointer(key), `\`${wanted}\``, value[key], 'the official evaluator stops at any other');
    }
  }
  return listAt(document, value['results'], () => '/results', 'results is a list with one entry a query');
}

function readWindows(
  document: JsonDocument,
  value: unknown,
  at: (...parts: number[]) => string,
): readonly (readonly [number, number])[] {
  const hint = 'windows are [[start, end], …] in seconds of the clip, best first';
  const windows = listAt(document, value, () => at(), hint);
  if (windows.length === 0) throw fault(document, at(), 'at least one window', windows, hint);
  const width = Array.isArray(windows[0]) ? windows[0].length : 2;
  return windows.map((item, w) => {
    const pair = listAt(document, item, () => at(w), hint);
    // Lists of different lengths make no array.
    if (pair.length < 2 || pair.length !== width) throw fault(document, at(w), '`[start, end]`', pair, hint);
    return [numberAt(document, pair[0], () => at(w, 0), hint), numberAt(document, pair[1], () => at(w, 1), hint)];
  });
}

function scoreOf(answers: readonly Answer[]): Scored {
  return {
    ranks: thresholds.map((threshold) =>
      Float64Array.from(answers, ({ overlaps }) => firstHitRank(overlaps, threshold)),
    ),
    firstOverlap: Float64Array.from(answers, ({ overlaps }) => overlaps[0] ?? 0),
    units: Int32Array.from(answers, ({ unit }) => unit),
  };
}

interface Numbers {
  /** [threshold][k] */
  readonly recall: readonly (readonly number[])[];
  readonly mIoU: number;
}

/**
 * Shares over the entries that were predicted, each as often as its clip is drawn.
 * @quirk the official mean IoU is written as a mean over the top three, but reads the first window only
 */
function numbersOf(scored: Scored, weights?: Int32Array): Numbers {
  const recall = recallAt(scored.ranks, topK, weights);
  if (weights === undefined) return { recall, mIoU: pairwiseMean(scored.firstOverlap) };
  let [sum, total] = [0, 0];
  weights.forEach((weight, i) => {
    sum += weight * scored.firstOverlap[i]!;
    total += weight;
  });
  return { recall, mIoU: sum / total };
}

function rowsOf({ recall, mIoU }: Numbers): Score[] {
  const at = (threshold: number, k: number): number => recall[thresholds.indexOf(threshold)]![topK.indexOf(k)]!;
  return [
    { metric: 'mean R@1', value: (at(0.3, 1) + at(0.5, 1)) / 2 },
    ...[1, 5].flatMap((k) => [0.3, 0.5].map((t) => ({ metric: `R@${k},IoU=${t}`, value: at(t, k) }))),
    { metric: 'mIoU', value: mIoU },
  ];
}

function evaluate(file: QueryFile, answers: readonly Answer[], scored: Scored, { detail }: EvalOptions): Evaluation {
  const numbers = numbersOf(scored);
  const answered = new Set(answers.map(({ query }) => query));
  const all = file.queries.length;
  const notes: string[] = [];
  if (answered.size < all) {
    notes.push(
      `${answered.size} of ${all} queries are answered (${((100 * answered.size) / all).toFixed(2)} %): the official shares are of those that are`,
    );
  }
  if (answered.size < answers.length) {
    notes.push(`${answers.length - answered.size} entries answer a query again: the official shares count each entry`);
  }
  return {
    official: officialOf(numbers, scored),
    ...correctedOf(file, answers),
    rows: rowsOf(numbers),
    notes,
    ...(detail ? detailOf(file, answers, scored) : {}),
  };
}

function officialOf({ recall, mIoU }: Numbers, scored: Scored): Nested {
  return { thresholds, topK, recall: recall.map((row) => [...row]), mIoU, rank1_iou: Array.from(scored.firstOverlap) };
}

/** Every query of the truth with a proper window counts once: by its first entry, as a miss where it has none. */
function correctedOf(file: QueryFile, answers: readonly Answer[]): Pick<Evaluation, 'corrected' | 'correctedRows'> {
  const firstByQuery = new Map<number, Answer>();
  for (const answer of answers) if (!firstByQuery.has(answer.query)) firstByQuery.set(answer.query, answer);
  const asked = file.queries.filter((query) => query.isProper);
  const scored = scoreOf(
    asked.map(
      ({ number, clip }) => firstByQuery.get(number) ?? { query: number, unit: clip, overlaps: new Float64Array() },
    ),
  );
  const numbers = numbersOf(scored);
  const recall = numbers.recall.map((row) => [...row]);
  return {
    corrected: { thresholds, topK, recall, mIoU: numbers.mIoU, num_queries: asked.length },
    correctedRows: rowsOf(numbers),
  };
}

function detailOf(file: QueryFile, answers: readonly Answer[], scored: Scored): Partial<Evaluation> {
  const perItem = answers.flatMap(({ query }, i): Score[] => {
    const at = { item: file.queries[query]!.name };
    return [
      { metric: 'IoU of the first window', value: scored.firstOverlap[i]!, at },
      { metric: 'R@5,IoU=0.3', value: scored.ranks[0]![i]! <= 5 ? 1 : 0, at },
    ];
  });
  const templates = [...new Set(answers.map(({ query }) => file.queries[query]!.template))].sort();
  const perClass = templates.flatMap((label): Score[] => {
    const weights = Int32Array.from(answers, ({ query }) => (file.queries[query]!.template === label ? 1 : 0));
    const queries = weights.reduce((sum, weight) => sum + weight, 0);
    return rowsOf(numbersOf(scored, weights)).map((row) => ({ ...row, at: { label, queries } }));
  });
  return { perClass, perItem, curves: [1, 5].map((k) => recallCurve(answers, k)) };
}

function recallCurve(answers: readonly Answer[], k: number): Curve {
  const points = Array.from({ length: 20 }, (_, i): [number, number] => {
    const threshold = (i * 5) / 100;
    const found = answers.filter(({ overlaps }) => firstHitRank(overlaps, threshold) <= k).length;
    return [threshold, found / answers.length];
  });
  return { name: `R@${k} over IoU`, x: 'IoU', y: `R@${k}`, points };
}
