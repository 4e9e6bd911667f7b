/**
 * Point-of-no-return (PNR) temporal localisation: the frame at which an object changes its state, by its distance in seconds.
 *
 * Source: EGO4D/hands-and-objects (0aea0a4e) state-change-localization-classification/i3d-resnet50/evaluation/metrics.py, and the
 * Perceiver variant beside it. Formats and quirks: ego4d.md 3.8.
 */
import type { FindingList } from '../../src/findings.js';
import { float } from '../../src/json.js';
import { argmax } from '../../src/metrics/classes.js';
import { pairwiseMean, sequentialSum } from '../../src/metrics/sums.js';
import type {
  Challenge,
  DocumentKind,
  Evaluation,
  Finding,
  JsonDocument,
  Nested,
  Prepared,
  Score,
  Submission,
  SubmissionOptions,
} from '../../src/types.js';
import { fault, numberAt, type JsonObject } from '../reading.js';
import { areRecords, recordNumber } from '../records.js';
import { missingNotes, recordsById } from './by-id.js';
import { checkFinite, shown } from './checks.js';
import {
  answersById,
  castAnswers,
  checkChanges,
  logitsOf,
  missingAnswer,
  readTruth,
  surplusNotes,
  unitsOf,
  type AnswerForm,
  type ChangeClip,
} from './state-change-clips.js';

/** The challenge of PNR temporal localisation. */
export const pnr: Challenge = {
  task: 'pnr',
  summary: 'PNR temporal localisation: mean distance from the frame of no return, in seconds',
  primary: { metric: 'mean_error_sec', higherIsBetter: false },
  check,
  prepare,
  submission,
};

const binCount = 16;
const form: AnswerForm = { field: 'pnr_frame', schema: 'egolens.pnr/1', logits: binCount };

/** A clip with a change, and where it happens. */
interface PositiveClip {
  readonly clip: ChangeClip;
  /** `parent_end_frame - parent_start_frame` */
  readonly frames: number;
  /** Frames after `parent_start_frame`. */
  readonly truth: number;
  /** Frames a second. */
  readonly rate: number;
}

interface Errors {
  /** Seconds, by positive clip: of the left edge of the best bin, of its centre, of the submission. */
  readonly logits?: Float64Array;
  readonly centres?: Float64Array;
  readonly answers?: Float64Array;
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  const { document, clips } = readTruth(truth);
  const positives = clips.filter(({ isChange }) => isChange).map((clip) => positiveOf(document, clip));
  const files = castAnswers(predictions, form);
  const notes: string[] = [];
  const errors: { -readonly [K in keyof Errors]: Errors[K] } = {};
  const { logits, answers } = files;
  if (logits !== undefined) {
    const bins = positives.map(({ clip }) => argmax(logitsOf(logits, clip, binCount)));
    errors.logits = errorsOf(positives, (positive, i) => (positive.frames / binCount) * bins[i]!);
    errors.centres = errorsOf(positives, (positive, i) => (positive.frames / binCount) * (bins[i]! + 0.5));
    notes.push(...surplusNotes(Object.keys(logits.value as JsonObject), clips, logits.name)); // castAnswers: an object
  }
  if (answers !== undefined) {
    const frames = framesById(answers, clips, document.name);
    errors.answers = errorsOf(positives, ({ clip }) => {
      const answer = frames.get(clip.id);
      if (answer === undefined) throw missingAnswer(answers, clip);
      return numberAt(answers, answer.value, () => answer.at, 'a frame after `parent_start_frame`, a plain number');
    });
    notes.push(...surplusNotes(frames.keys(), clips, answers.name));
  }
  if (positives.length === 0) notes.push('no clip has a state change: there is nothing to measure');
  const { units, unitOf } = unitsOf(positives.map(({ clip }) => clip));
  return {
    units,
    evaluate: ({ detail }) => evaluate(positives, errors, notes, detail),
    resample: (sample) => rowsOf(errors, (values) => sampledMean(values, unitOf, units.length, sample)),
  };
}

/** @source EGO4D/hands-and-objects i3d-resnet50/evaluation/metrics.py, keyframe_distance */
function errorsOf(
  positives: readonly PositiveClip[],
  frameOf: (positive: PositiveClip, i: number) => number,
): Float64Array {
  return Float64Array.from(positives, (positive, i) => Math.abs(frameOf(positive, i) - positive.truth) / positive.rate);
}

function positiveOf(document: JsonDocument, clip: ChangeClip): PositiveClip {
  const number = (field: string): number =>
    numberAt(document, clip.clip[field], () => `${clip.at}/${field}`, 'give annotations, not the test file');
  const start = number('parent_start_frame');
  const frames = number('parent_end_frame') - start;
  const seconds = number('parent_end_sec') - number('parent_start_sec');
  if (seconds === 0) {
    throw fault(document, `${clip.at}/parent_end_sec`, 'a clip with a length', 0, 'the official code divides by it');
  }
  const field = (clip.clip['parent_pnr_frame'] ?? null) === null ? 'pnr_frame' : 'parent_pnr_frame';
  const change = clip.clip[field];
  if (typeof change !== 'number') {
    const hint = 'a clip counts as a change unless its `state_change` is false; files for testing say neither';
    throw fault(document, `${clip.at}/parent_pnr_frame`, 'the frame of the change', change, hint);
  }
  return { clip, frames, truth: change - start, rate: (frames + 1) / seconds };
}

/**
 * The official numbers: those of logits, those of a submission, or both.
 *
 * @quirk the left edge of the best bin is measured, not its centre; the Perceiver variant rounds each distance to float32; without a
 *        clip with a change the one returns None, the other 0
 */
function evaluate(
  positives: readonly PositiveClip[],
  errors: Errors,
  notes: readonly string[],
  detail: boolean,
): Evaluation {
  const { logits, answers, centres } = errors;
  const count = positives.length;
  const mean = (values: Float64Array): number | null => (count === 0 ? null : pairwiseMean(values));
  const official: Nested = {
    ...(logits === undefined ? {} : { i3d_mean_error_sec: mean(logits) }),
    num_positive: count,
    ...(logits === undefined
      ? {}
      : {
          per_clip_error_sec: [...logits],
          perceiver_sum_over_positive: count === 0 ? 0 : sequentialSum(logits.map(Math.fround)) / count,
          perceiver_alternate_over_positive: count === 0 ? 0 : pairwiseMean(logits),
        }),
    ...(answers === undefined ? {} : { same_formula_on_submission: mean(answers) }),
  };
  const rows = rowsOf(errors, pairwiseMean);
  return {
    official,
    corrected: centres === undefined ? null : { i3d_mean_error_sec: mean(centres) },
    rows,
    ...(detail
      ? {
          perItem: positives.map(({ clip }, i) => ({
            metric: 'error_sec',
            value: (answers ?? logits)![i]!, // castAnswers: one of them is there
            at: { item: clip.id },
          })),
        }
      : {}),
    notes: [
      ...notes,
      ...(centres === undefined
        ? []
        : ['corrected: the centre of the best bin; the official code takes its left edge']),
    ],
  };
}

/** The submission ranks where there is one; the logits are then a second row. */
function rowsOf({ logits, answers }: Errors, mean: (values: Float64Array) => number): Score[] {
  return [
    { metric: 'mean_error_sec', value: mean((answers ?? logits)!) }, // castAnswers: one of them is there
    ...(answers === undefined || logits === undefined ? [] : [{ metric: 'i3d_mean_error_sec', value: mean(logits) }]),
  ];
}

function sampledMean(values: Float64Array, unitOf: Int32Array, unitCount: number, sample: Int32Array): number {
  const repeats = new Int32Array(unitCount);
  for (const unit of sample) repeats[unit]!++;
  let [sum, count] = [0, 0];
  values.forEach((value, i) => {
    sum += value * repeats[unitOf[i]!]!;
    count += repeats[unitOf[i]!]!;
  });
  return sum / count;
}

function framesById(
  document: JsonDocument,
  clips: readonly ChangeClip[],
  reference: string,
): ReturnType<typeof answersById> {
  const { value } = document;
  if (!areRecords(value, form.schema)) return answersById(document, form.field);
  const { found } = framesOfRecords(value, clips, reference);
  return new Map([...found].map(([id, frame]) => [id, { value: frame, at: '' }]));
}

function framesOfRecords(
  records: readonly JsonObject[],
  clips: readonly ChangeClip[],
  reference: string,
): { readonly found: ReadonlyMap<string, number>; readonly missing: readonly string[] } {
  const asked = [...new Set(clips.map(({ id }) => id))];
  const known = new Set(asked);
  const { found, missing } = recordsById(records, form.schema, asked, reference, (id) => known.has(id));
  const frames = new Map<string, number>();
  for (const [id, { record, index }] of found) frames.set(id, recordNumber(record, index, 'frame'));
  return { found: frames, missing };
}

/**
 * Records of `state-change --mode localize` -> the submission, in the order of the annotation file. Their `frame` counts from
 * `parent_start_frame`, as the challenge's does. Missing clips are filled with the middle of the clip, the best blind guess.
 */
function submission(records: readonly JsonObject[], test: JsonDocument, options: SubmissionOptions): Submission {
  const { document, clips } = readTruth([test]);
  const { found, missing } = framesOfRecords(records, clips, document.name);
  const fillable = new Set(options.fillMissing ? missing : []);
  const written = new Set<string>();
  const json = clips.flatMap(({ id, frames }) => {
    if (written.has(id)) return [];
    written.add(id);
    const frame = found.get(id) ?? (fillable.has(id) ? (frames ?? 240) / 2 : undefined); // eight seconds where nothing is said
    return frame === undefined ? [] : [{ unique_id: id, pnr_frame: float(frame) }];
  });
  return {
    json,
    counts: { written: found.size, filled: fillable.size, left_out: missing.length - fillable.size },
    notes: missingNotes(
      missing.length,
      written.size,
      'clips',
      options.fillMissing ? 'the middle of the clip' : undefined,
    ),
  };
}

function check(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  return checkChanges(kind, document, against, form, checkFrame, ({ clip }) => clip['state_change'] === false);
}

function checkFrame(list: FindingList, value: unknown, at: () => string, clip: ChangeClip | undefined): void {
  if (typeof value !== 'number' && typeof value !== 'bigint') {
    list.error('field.type', () => ({ at: at(), expected: 'a number', found: shown(value) }));
    return;
  }
  if (!checkFinite(list, value, at)) return;
  const frame = Number(value);
  const last = clip?.frames ?? longestClip;
  if (frame >= 0 && frame <= last) return;
  const start = clip?.clip['parent_start_frame'];
  const isAbsolute = typeof start === 'number' ? frame >= start && frame <= start + last : frame > last;
  list.error('number.range', () => ({
    at: at(),
    expected: `a frame of the clip, 0 to ${last}`,
    found: shown(value),
    ...(isAbsolute ? { hint: 'this looks like a frame of the video: subtract `parent_start_frame`' } : {}),
  }));
}

/** Frames; clips have eight seconds at 30 frames a second, give or take a few. */
const longestClip = 600;
