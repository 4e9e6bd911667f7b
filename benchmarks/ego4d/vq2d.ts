/**
 * Visual Queries 2D (VQ2D): where an object was last seen, as a track of boxes.
 *
 * Source: EGO4D/episodic-memory VQ2D/evaluate_vq.py (reading and checks), VQ2D/vq2d/metrics/ (numbers, in vq2d-score.ts). Formats and
 * quirks: ego4d.md 3.3.
 */
import { tiedCount } from '../../src/metrics/order.js';
import { recallPoints } from '../../src/metrics/ranking.js';
import type {
  Challenge,
  EvalOptions,
  Evaluation,
  JsonDocument,
  Nested,
  Prepared,
  Score,
  TieRule,
} from '../../src/types.js';
import { repeatsOf } from '../detections.js';
import { fault, isObject, listAt, NameTable, numberAt, objectAt, type JsonObject } from '../reading.js';
import { isNumber, onlyDocument } from './box-reading.js';
import { inChallengeForm } from './box-records.js';
import { pointer } from './checks.js';
import { checkVq2d, submissionForm, vq2dChallengeName } from './vq2d-check.js';
import {
  hasInverted,
  isContiguous,
  overlapOf,
  rankQueries,
  trackFigures,
  trackThresholds,
  withoutInverted,
  type QueryOverlap,
  type RankedQueries,
  type Track,
  type TrackFigures,
} from './vq2d-score.js';
import { vq2dSchema, vq2dSubmission } from './vq2d-submission.js';

/** The challenge of Visual Queries 2D. */
export const vq2d: Challenge = {
  task: 'vq2d',
  summary: 'Visual Queries 2D: average precision of tracks in time and space, success and recovery',
  primary: { metric: 'stAP25', higherIsBetter: true },
  keepsKeyOrder: true,
  check: checkVq2d,
  prepare,
  submission: vq2dSubmission,
};

/** Our names of the numbers, and the official ones without their padding. */
const metricNames: readonly (readonly [name: keyof TrackFigures, official: string])[] = [
  ['tAP', 'Temporal AP @ IoU=0.25:0.95'],
  ['tAP25', 'Temporal AP @ IoU=0.25'],
  ['stAP', 'SpatioTemporal AP @ IoU=0.25:0.95'],
  ['stAP25', 'SpatioTemporal AP @ IoU=0.25'],
  ['recovery', 'Tracking % recovery (max scr) @ IoU=0.50'],
  ['success', 'Success (max scr) @ IoU=0.05'],
];

/** Visual crops and largest response boxes at or above this many square pixels are left out. */
const areaLimit = 1e5 ** 2;

/** One valid query with its prediction. */
interface Query {
  readonly name: string;
  readonly title: string;
  readonly unit: number;
  readonly truth: Track;
  readonly predicted: Track;
  readonly score: number;
  /** JSON pointer of the prediction. */
  readonly at: string;
  /** Is it among those that are scored? Practically always. */
  readonly isCounted: boolean;
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  const annotations = onlyDocument(truth, 'the annotations (`vq_val.json`)', '--gt');
  const predicted = inChallengeForm(onlyDocument(predictions, 'the predictions', '--pred'), vq2dSchema, (records) =>
    vq2dSubmission(records, annotations, { fillMissing: true }),
  );
  const { queries, units } = readVq2d(annotations, predicted);
  const counted = queries.filter(({ isCounted }) => isCounted);
  const overlaps = counted.map((query) => {
    const overlap = overlapOf(query.predicted, query.truth);
    if (Number.isNaN(overlap.spatioTemporal) || Number.isNaN(overlap.recovered)) throw noArea(predicted, query);
    return overlap;
  });
  const scores = Float64Array.from(counted, ({ score }) => score);
  const unitOf = Int32Array.from(counted, ({ unit }) => unit);
  const rankings = new Map<TieRule, RankedQueries>();
  const ranked = (ties: TieRule): RankedQueries => {
    let ranking = rankings.get(ties);
    if (ranking === undefined) rankings.set(ties, (ranking = rankQueries(overlaps, scores, ties)));
    return ranking;
  };
  return {
    units,
    evaluate: (options) => evaluate(queries.length, counted, scores, ranked, options),
    resample(sample, ties) {
      const repeats = repeatsOf(sample, units.length);
      const figures = trackFigures(
        ranked(ties),
        unitOf.map((unit) => repeats[unit]!),
      );
      return rowsOf(figures);
    },
  };
}

function noArea(document: JsonDocument, query: Query): Error {
  return fault(
    document,
    `${query.at}/bboxes`,
    'a box with an area wherever the truth has none',
    query.predicted.frames.length === 0 ? [] : 'boxes without area',
    `neither the truth of \`${query.name}\` nor its prediction has an area, and the official code divides by their sum: mend the truth, or predict boxes with an area`,
  );
}

function evaluate(
  queryCount: number,
  counted: readonly Query[],
  scores: Float64Array,
  ranked: (ties: TieRule) => RankedQueries,
  options: EvalOptions,
): Evaluation {
  if (counted.length === 0) {
    const empty: Nested = {};
    return {
      official: { num_queries: queryCount, metrics: empty },
      corrected: null,
      rows: [],
      notes: [`none of ${queryCount} valid queries has boxes below ${areaLimit} square pixels: nothing is scored`],
    };
  }
  const ranking = ranked(options.ties);
  const figures = trackFigures(ranking);
  const tied = tiedCount(scores, ranking.order);
  const under = (ties: TieRule): Nested => officialNames(tied === 0 ? figures : trackFigures(ranked(ties)));
  const [first, last] = [under('first'), under('last')];
  return {
    official: {
      num_queries: queryCount,
      metrics: { all: officialNames(figures) },
      tie_sensitivity: { first_listed_wins: first, last_listed_wins: last },
    },
    corrected: corrected(counted, scores, options.ties),
    rows: rowsOf(figures),
    ties: { tied, first, last },
    ...(options.detail ? details(counted, ranking) : {}),
    notes: notesOf(queryCount, counted),
  };
}

/** Inverted boxes count as empty instead of as negative volume; null where there is none. */
function corrected(counted: readonly Query[], scores: Float64Array, ties: TieRule): Nested | null {
  if (!counted.some(({ predicted, truth }) => hasInverted(predicted) || hasInverted(truth))) return null;
  const overlaps = counted.map(({ predicted, truth }): QueryOverlap => {
    const overlap = overlapOf(withoutInverted(predicted), withoutInverted(truth));
    return { ...overlap, recovered: Number.isNaN(overlap.recovered) ? 0 : overlap.recovered };
  });
  return { metrics: { all: officialNames(trackFigures(rankQueries(overlaps, scores, ties))) } };
}

function officialNames(figures: TrackFigures): Nested {
  return Object.fromEntries(metricNames.map(([name, official]) => [official, figures[name]]));
}

function rowsOf(figures: TrackFigures): Score[] {
  return metricNames.map(([metric]) => ({ metric, value: figures[metric] }));
}

function notesOf(queryCount: number, counted: readonly Query[]): string[] {
  const notes: string[] = [];
  const left = queryCount - counted.length;
  if (left > 0)
    notes.push(`${left} of ${queryCount} queries have boxes of ${areaLimit} square pixels or more and are left out`);
  const empty = counted.filter(({ predicted }) => predicted.frames.length === 0).length;
  if (empty > 0) notes.push(`${empty} of ${counted.length} predicted tracks are empty`);
  return notes;
}

function details(
  counted: readonly Query[],
  ranking: RankedQueries,
): Pick<Evaluation, 'perClass' | 'perItem' | 'curves'> {
  const { overlaps } = ranking;
  const titles = new NameTable();
  const titleOf = counted.map(({ title }) => titles.add(title));
  const perClass = titles.names.flatMap((label, at): Score[] => {
    const repeats = Int32Array.from(titleOf, (title) => (title === at ? 1 : 0));
    return rowsOf(trackFigures(ranking, repeats)).map((row) => ({ ...row, at: { label } }));
  });
  const perItem = counted.flatMap(({ name }, q): Score[] => {
    const { temporal, spatioTemporal, boxes, recovered } = overlaps[q]!;
    const at = { item: name };
    return [
      { metric: 'tIoU', value: temporal, at },
      { metric: 'stIoU', value: spatioTemporal, at },
      { metric: 'recovery', value: (100 * recovered) / boxes, at },
    ];
  });
  const curves = (['temporal', 'spatioTemporal'] as const).flatMap((kind) =>
    trackThresholds.map((threshold, t) => {
      const { recall, precision } = recallPoints(ranking[kind][t]!, counted.length);
      return {
        name: `${kind === 'temporal' ? 'tAP' : 'stAP'}, IoU=${threshold}`,
        x: 'recall',
        y: 'precision',
        points: Array.from(recall, (value, i) => [value, precision[i]!] as const),
      };
    }),
  );
  return { perClass, perItem, curves };
}

const truthForm = 'this should be `vq_val.json` or a file of its form';
const orderHint =
  'videos, clips and annotations must stand in the order of the annotation file: `submit vq2d` writes them so';

/**
 * The valid queries of both files.
 *
 * @throws EgolensError data.invalid or data.unknown_id where the official script ends with an assertion, KeyError or ValueError
 * @source evaluate_vq.py, validate_model_predictions and evaluate
 */
function readVq2d(truth: JsonDocument, predictions: JsonDocument): { queries: Query[]; units: string[] } {
  const annotations = objectAt(truth, truth.value, () => '', truthForm);
  const videos = listAt(truth, annotations['videos'], () => '/videos', truthForm);
  const submission = objectAt(predictions, predictions.value, () => '', submissionForm);
  expectEqual(
    predictions,
    '/version',
    submission['version'],
    annotations['version'],
    'take the version of the annotations',
  );
  expectEqual(predictions, '/challenge', submission['challenge'], vq2dChallengeName, submissionForm);
  const results = objectAt(predictions, submission['results'], () => '/results', submissionForm);
  const predicted = listAt(predictions, results['videos'], () => '/results/videos', submissionForm);
  expectLength(predictions, '/results/videos', predicted, videos.length);

  const units = new NameTable();
  const queries: Query[] = [];
  videos.forEach((value, v) => {
    const video = objectAt(truth, value, () => pointer('videos', v), truthForm);
    const at = pointer('results', 'videos', v);
    const guess = objectAt(predictions, predicted[v], () => at, submissionForm);
    expectEqual(predictions, `${at}/video_uid`, guess['video_uid'], video['video_uid'], orderHint);
    const clips = listAt(truth, video['clips'], () => pointer('videos', v, 'clips'), truthForm);
    const guessed = listAt(predictions, guess['clips'], () => `${at}/clips`, submissionForm);
    expectLength(predictions, `${at}/clips`, guessed, clips.length);
    const unit = units.add(String(video['video_uid']));
    clips.forEach((clip, c) => {
      const source = { truth, predictions, truthAt: pointer('videos', v, 'clips', c), at: `${at}/clips/${c}`, unit };
      readClip(source, clip, guessed[c], queries);
    });
  });
  return { queries, units: units.names };
}

interface ClipSource {
  readonly truth: JsonDocument;
  readonly predictions: JsonDocument;
  readonly truthAt: string;
  readonly at: string;
  readonly unit: number;
}

function readClip(source: ClipSource, truthClip: unknown, predictedClip: unknown, queries: Query[]): void {
  const { truth, predictions, truthAt, at, unit } = source;
  const clip = objectAt(truth, truthClip, () => truthAt, truthForm);
  const guess = objectAt(predictions, predictedClip, () => at, submissionForm);
  expectEqual(predictions, `${at}/clip_uid`, guess['clip_uid'], clip['clip_uid'], orderHint);
  const annotations = listAt(truth, clip['annotations'], () => `${truthAt}/annotations`, truthForm);
  const predicted = listAt(predictions, guess['predictions'], () => `${at}/predictions`, submissionForm);
  expectLength(predictions, `${at}/predictions`, predicted, annotations.length);
  annotations.forEach((annotation, a) => {
    const setsAt = `${truthAt}/annotations/${a}/query_sets`;
    const sets = objectAt(truth, isObject(annotation) ? annotation['query_sets'] : undefined, () => setsAt, truthForm);
    const guessesAt = `${at}/predictions/${a}/query_sets`;
    const prediction = objectAt(predictions, predicted[a], () => `${at}/predictions/${a}`, submissionForm);
    const guesses = objectAt(predictions, prediction['query_sets'], () => guessesAt, submissionForm);
    for (const [key, value] of Object.entries(guesses)) {
      if (!Object.hasOwn(sets, key)) {
        const hint = 'list the query sets of the annotation, and no others';
        throw fault(predictions, `${guessesAt}/${key}`, 'a query set of the annotation', key, hint, 'data.unknown_id');
      }
      const set = objectAt(predictions, value, () => `${guessesAt}/${key}`, 'a query set is {bboxes, score}');
      for (const field of ['bboxes', 'score']) {
        if (Object.hasOwn(set, field)) continue;
        throw fault(
          predictions,
          `${guessesAt}/${key}/${field}`,
          `a member \`${field}\``,
          undefined,
          'a query set is {bboxes, score}',
        );
      }
    }
    // In the order of the file: it decides between equal scores.
    for (const key of truth.keys?.(sets) ?? Object.keys(sets)) {
      const query = objectAt(truth, sets[key], () => `${setsAt}/${key}`, truthForm);
      if (!Object.hasOwn(query, 'is_valid')) {
        throw fault(truth, `${setsAt}/${key}/is_valid`, 'a member `is_valid`', undefined, truthForm);
      }
      if (!isTrue(query['is_valid'])) continue;
      const place = `${guessesAt}/${key}`;
      const hint = 'predict every valid query set; `bboxes` may be empty';
      const set = objectAt(predictions, guesses[key], () => place, hint);
      const { track, largest } = readTruth(truth, query, `${setsAt}/${key}`);
      const crop = cropArea(truth, query, `${setsAt}/${key}`);
      queries.push({
        name: `${String(clip['clip_uid'])}/${a}/${key}`,
        title: String(query['object_title']),
        unit,
        truth: track,
        predicted: readPrediction(predictions, set, place),
        score: numberAt(predictions, set['score'], () => `${place}/score`, 'every track needs a score'),
        at: place,
        isCounted: crop < areaLimit && largest < areaLimit,
      });
    }
  });
}

/** Python's truth of `is_valid`. */
function isTrue(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false && value !== 0 && value !== '';
}

function readTruth(document: JsonDocument, query: JsonObject, at: string): { track: Track; largest: number } {
  const hint = 'a valid query has a track; files for testing have none: score on the validation split';
  const listed = listAt(document, query['response_track'], () => `${at}/response_track`, hint);
  const track = trackOf(document, listed, `${at}/response_track`, ['frame_number', 'x', 'y', 'width', 'height']);
  if (listed.length === 0) {
    throw fault(document, `${at}/response_track`, 'at least one box', listed, hint);
  }
  let largest = 0;
  const { boxes } = track;
  for (let i = 0; i < boxes.length; i += 4) {
    boxes[i + 2]! += boxes[i]!;
    boxes[i + 3]! += boxes[i + 1]!;
    largest = Math.max(largest, Math.abs(boxes[i + 2]! - boxes[i]!) * Math.abs(boxes[i + 3]! - boxes[i + 1]!));
  }
  return { track, largest };
}

/** Area of the visual crop as the official code takes it: from corners. */
function cropArea(document: JsonDocument, query: JsonObject, at: string): number {
  const crop = objectAt(document, query['visual_crop'], () => `${at}/visual_crop`, 'a valid query has a visual crop');
  const [x, y, width, height] = (['x', 'y', 'width', 'height'] as const).map((field) =>
    numberAt(document, crop[field], () => `${at}/visual_crop/${field}`, truthForm),
  ) as [number, number, number, number]; // of four names
  return Math.abs(x + width - x) * Math.abs(y + height - y);
}

function readPrediction(document: JsonDocument, set: JsonObject, at: string): Track {
  const listed = listAt(document, set['bboxes'], () => `${at}/bboxes`, 'write `[]` for an empty track');
  return trackOf(document, listed, `${at}/bboxes`, ['fno', 'x1', 'y1', 'x2', 'y2']);
}

/** Boxes by rising frame, equal frames in file order; the first field is the frame. */
function trackOf(document: JsonDocument, listed: readonly unknown[], at: string, fields: readonly string[]): Track {
  const values = new Float64Array(5 * listed.length);
  let isRising = true;
  for (let i = 0; i < listed.length; i++) {
    const box = listed[i];
    if (!isObject(box)) throw fault(document, `${at}/${i}`, 'an object', box, `a box is {${fields.join(', ')}}`);
    for (let f = 0; f < 5; f++) {
      const value = box[fields[f]!];
      if (!isNumber(value)) {
        throw fault(document, `${at}/${i}/${fields[f]!}`, 'a number', value, `a box is {${fields.join(', ')}}`);
      }
      values[5 * i + f] = Number(value);
    }
    if (i > 0 && values[5 * i]! < values[5 * i - 5]!) isRising = false;
  }
  const order = Int32Array.from(listed, (_, i) => i);
  if (!isRising) order.sort((i, k) => values[5 * i]! - values[5 * k]! || i - k);
  const track = { frames: new Float64Array(order.length), boxes: new Float64Array(4 * order.length) };
  order.forEach((from, to) => {
    track.frames[to] = values[5 * from]!;
    for (let side = 0; side < 4; side++) track.boxes[4 * to + side] = values[5 * from + 1 + side]!;
  });
  if (!isContiguous(track)) {
    throw fault(document, at, 'a box for every frame from the first to the last, each once', listed, gapHint(track));
  }
  return track;
}

function gapHint({ frames }: Track): string {
  for (let i = 1; i < frames.length; i++) {
    const [before, frame] = [frames[i - 1]!, frames[i]!];
    if (frame === before) return `frame ${frame} is listed twice`;
    if (frame !== before + 1) return `after frame ${before} comes frame ${frame}: fill the gap, or keep one side of it`;
  }
  return 'frames are whole numbers at 5 a second';
}

function expectEqual(document: JsonDocument, at: string, found: unknown, wanted: unknown, hint: string): void {
  if (found === wanted && found !== undefined) return;
  throw fault(document, at, `\`${JSON.stringify(wanted)}\``, found, hint);
}

function expectLength(document: JsonDocument, at: string, list: readonly unknown[], wanted: number): void {
  if (list.length !== wanted) throw fault(document, at, `a list of ${wanted}, as in the annotations`, list, orderHint);
}
