/**
 * Temporal action localisation in the ActivityNet form: mAP at tIoU 0.5 to 0.95.
 *
 * @source activitynet/ActivityNet Evaluation/eval_detection.py, ANETdetection; Moment Queries is scored by a near copy of it
 */
import { EgolensError } from '../src/errors.js';
import { linspace } from '../src/metrics/sums.js';
import type { Challenge, EvalOptions, Evaluation, JsonDocument, Nested, Prepared, Score } from '../src/types.js';
import {
  DetectionScorer,
  guessNotes,
  meanNumbers,
  mended,
  readGuesses,
  repeatsOf,
  segmentOf,
  shortNumber,
  SpanList,
  type DetectionTruth,
} from './detections.js';
import { pointer } from './ego4d/checks.js';
import { describeFile } from './ego4d/videos-file.js';
import { entriesOf, fault, isObject, listAt, NameTable, objectAt, textAt, type JsonObject } from './reading.js';
import { areRecords, recordNumber, recordText } from './records.js';
import { checkActivities } from './tal-checks.js';

const thresholds = linspace(0.5, 0.95, 10);

/** Temporal action localisation; truth and predictions in the form of ActivityNet, or our own moments. */
export const tal: Challenge = {
  task: 'tal',
  summary: 'Temporal action localisation (ActivityNet): mAP at tIoU 0.5:0.05:0.95',
  primary: { metric: 'Average mAP', higherIsBetter: true },
  keepsKeyOrder: true,
  check: checkActivities,
  prepare,
};

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[], options: EvalOptions): Prepared {
  const { spans, split } = readTruth(truth, options.split);
  const [document, ...others] = predictions;
  if (document === undefined || others.length > 0) {
    throw new EgolensError('data.invalid', `expected one file of predictions, found ${predictions.length}`, {
      try: 'give all results in one file with `--pred`',
    });
  }
  const guesses = readGuesses(document, resultsOf(document), 'results', spans);
  const scorer = new DetectionScorer(spans, guesses, thresholds);
  const notes = guessNotes(guesses, 'videos');
  if (spans.units.size === 0) notes.push(`no video has the split \`${split}\`: every number is undefined`);
  return {
    units: spans.units.names,
    evaluate: (evalOptions) => evaluate(scorer, evalOptions, notes),
    resample: (sample, ties) => rowsOf(scorer, scorer.score(ties, repeatsOf(sample, spans.units.size))),
  };
}

/**
 * Truth of one split, compared for equality: the one asked for, else the only one of the file, else `validation`.
 */
function readTruth(
  documents: readonly JsonDocument[],
  wanted: string | undefined,
): { readonly spans: DetectionTruth; readonly split: string } {
  const hint = 'truth is {database: {video: {subset, annotations: [{label, segment}]}}}';
  const videos = documents.flatMap((document) => {
    const { value } = document;
    if (!isObject(value) || !isObject(value['database'])) {
      throw new EgolensError(
        'data.invalid',
        `\`${document.name}\`: expected ActivityNet annotations with a \`database\`, found ${describeFile(document)}`,
        { try: hint, input: document.name },
      );
    }
    return entriesOf(document, value['database']).map(([name, item]) => {
      const at = (...parts: (string | number)[]): string => pointer('database', name, ...parts);
      const video = objectAt(document, item, () => at(), hint);
      return { document, name, video, at, subset: textAt(document, video['subset'], () => at('subset'), hint) };
    });
  });
  const splits = new Set(videos.map(({ subset }) => subset));
  const split = wanted ?? (splits.size === 1 ? [...splits][0]! : 'validation');
  const units = new NameTable();
  const labels = new NameTable();
  const list = new SpanList();
  for (const { document, name, video, at, subset } of videos) {
    if (subset !== split) continue;
    const unit = units.add(name);
    listAt(document, video['annotations'], () => at('annotations'), hint).forEach((item, i) => {
      const annotation = objectAt(document, item, () => at('annotations', i), hint);
      const label = textAt(document, annotation['label'], () => at('annotations', i, 'label'), hint);
      const [start, end] = segmentOf(document, annotation['segment'], () => at('annotations', i, 'segment'));
      list.add(unit, labels.add(label), start, end);
    });
  }
  return { spans: { units, labels, spans: list.done() }, split };
}

function resultsOf(document: JsonDocument): unknown {
  const { value } = document;
  if (areRecords(value, 'egolens.moment/1')) return resultsOfRecords(value);
  if (!isObject(value) || !isObject(value['results'])) {
    throw new EgolensError(
      'data.invalid',
      `\`${document.name}\`: expected predictions with \`results\` by video, found ${describeFile(document)}`,
      {
        try: 'predictions are {version, external_data, results: {video: [{label, score, segment}]}}',
        input: document.name,
      },
    );
  }
  for (const key of ['version', 'external_data']) {
    if (!(key in value)) {
      const hint = 'add it (its value is not looked at): the official reader asks for it';
      throw fault(document, pointer(key), `a member \`${key}\``, undefined, hint);
    }
  }
  return value['results'];
}

/** Our own moments by video: the uid where the record has one, else the name of its file without the extension. */
function resultsOfRecords(records: readonly JsonObject[]): Readonly<Record<string, unknown[]>> {
  const byVideo = new Map<string, unknown[]>();
  records.forEach((record, index) => {
    const of = record['of'];
    const uid = isObject(of) ? of['uid'] : undefined;
    const file = (): string =>
      recordText(record, index, 'input')
        .replace(/^.*[/\\]/, '')
        .replace(/\.[^.]*$/, '');
    const video = typeof uid === 'string' ? uid : file();
    const item = {
      label: recordText(record, index, 'label'),
      score: recordNumber(record, index, 'score'),
      segment: [recordNumber(record, index, 'start'), recordNumber(record, index, 'end')],
    };
    const items = byVideo.get(video);
    if (items === undefined) byVideo.set(video, [item]);
    else items.push(item);
  });
  return Object.fromEntries(byVideo);
}

function evaluate(scorer: DetectionScorer, { ties, detail }: EvalOptions, notes: readonly string[]): Evaluation {
  const mean = scorer.score(ties);
  const spread = scorer.ties();
  const repaired = new DetectionScorer(...mended(scorer.truth, scorer.guesses), thresholds);
  return {
    official: {
      ...numbersOf(scorer, ties),
      tie_sensitivity: { first_listed_wins: spread.first, last_listed_wins: spread.last },
    },
    corrected: numbersOf(repaired, ties),
    rows: rowsOf(scorer, mean),
    correctedRows: rowsOf(repaired, repaired.score(ties)),
    ties: spread,
    notes,
    ...(detail
      ? {
          perClass: scorer.perClass(mean),
          perItem: scorer.perItem(ties, 0),
          curves: scorer.curves(ties, mean, 0),
        }
      : {}),
  };
}

function numbersOf(scorer: DetectionScorer, ties: EvalOptions['ties']): Nested {
  const mean = scorer.score(ties);
  return {
    tiou_thresholds: thresholds.map(shortNumber),
    ...meanNumbers(mean),
    classes: scorer.truth.labels.names,
    ap_per_class: mean.ap.map((values) => Array.from(values)),
    num_ground_truth: scorer.truth.spans.unit.length,
    num_predictions_kept: scorer.guesses.spans.unit.length,
  };
}

function rowsOf(scorer: DetectionScorer, mean: ReturnType<DetectionScorer['score']>): Score[] {
  return [
    { metric: 'Average mAP', value: mean.average },
    ...scorer.thresholds.map((tIoU, t) => ({ metric: `mAP,tIoU=${shortNumber(tIoU)}`, value: mean.mAP[t]! })),
  ];
}
