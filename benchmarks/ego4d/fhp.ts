/**
 * Future Hand Prediction (FHP): places of both hands at five key times, up to the contact.
 *
 * Source: EGO4D/forecasting Ego4D-Future-Hand-Prediction (38d1931b), tools/eval.py for the numbers, slowfast/datasets for the keys.
 * Formats and quirks: ego4d.md 3.4.
 */
import { float } from '../../src/json.js';
import {
  handDistances,
  handNumbers,
  handTimes,
  sumHands,
  type HandDistances,
  type HandSums,
} from '../../src/metrics/tracks.js';
import type {
  Challenge,
  EvalOptions,
  Evaluation,
  JsonDocument,
  Prepared,
  Score,
  Submission,
  SubmissionOptions,
} from '../../src/types.js';
import { fault, isObject, listAt, NameTable, numberAt, objectAt, type JsonObject } from '../reading.js';
import { areRecords, recordFault } from '../records.js';
import { castFiles, missingNotes, needed, recordsById, type Role } from './by-id.js';
import { percentText, pointer } from './checks.js';
import { checkFhp } from './fhp-check.js';
import { isAnnotated, keyFrames, looksLikeOneView, readInstances, type HandInstance } from './fhp-instances.js';

/** The challenge of Future Hand Prediction. */
export const fhp: Challenge = {
  task: 'fhp',
  summary: 'Future Hand Prediction: displacement of both hands in pixels, over five key frames and at the contact',
  primary: { metric: 'left_mean_disp', higherIsBetter: false },
  check: checkFhp,
  prepare,
  submission,
};

const schema = 'egolens.hands/1';
/** Test views of the baseline: its file holds sums over them. */
const viewCount = 30;

const roles = {
  annotations: { what: 'the annotations (`fho_hands_val.json`)', is: isAnnotated },
  labels: {
    what: 'the labels by key (`labels.json`)',
    is: (value) => isObject(value) && !('challenge' in value) && Object.values(value).every(Array.isArray),
  },
} satisfies Record<string, Role>;
const predictionRoles = {
  submission: {
    what: 'predictions by key, 20 numbers each (`submission.json`)',
    is: (value) => areRecords(value, schema) || (isObject(value) && !isAnnotated(value) && !('challenge' in value)),
  },
} satisfies Record<string, Role>;

interface HandData {
  /** In the order of the predictions. */
  readonly keys: readonly string[];
  readonly distances: HandDistances;
  /** Unit of each item: its video, or the clip where the annotations are not given. */
  readonly unitOf: Int32Array;
  readonly units: readonly string[];
  readonly views: number;
  readonly notes: readonly string[];
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[], options: EvalOptions): Prepared {
  const data = readHands(truth, predictions, options);
  let unitSums: readonly (readonly [all: HandSums, contact: HandSums])[] | undefined;
  return {
    units: data.units,
    evaluate: ({ detail }) => evaluate(data, detail),
    resample(sample) {
      unitSums ??= sumsByUnit(data);
      const sums = unitSums;
      const drawn = Array.from(sample, (unit) => sums[unit]!);
      return rowsOf(addSums(drawn.map(([all]) => all)), addSums(drawn.map(([, contact]) => contact)));
    },
  };
}

function evaluate(data: HandData, detail: boolean): Evaluation {
  const all = sumHands(data.distances, [0, handTimes]);
  const contact = sumHands(data.distances, [handTimes - 1, handTimes]);
  const rows = rowsOf(all, contact);
  return {
    official: {
      num_views: data.views,
      counts: {
        left_list: all.count[0],
        right_list: all.count[1],
        left_final_list: contact.count[0],
        right_final_list: contact.count[1],
      },
      ...Object.fromEntries(rows.map(({ metric, value }) => [metric, value])),
    },
    corrected: null,
    rows,
    ...(detail ? details(data) : {}),
    notes: data.notes,
  };
}

function details({ keys, distances }: HandData): Pick<Evaluation, 'perClass' | 'perItem'> {
  const scores = (sums: HandSums, at: NonNullable<Score['at']>): Score[] =>
    (['left_disp', 'right_disp'] as const).map((metric, hand) => ({
      metric,
      value: sums.sum[hand]! / sums.count[hand]!,
      at,
    }));
  return {
    perClass: keyFrames.flatMap((label, time) => scores(sumHands(distances, [time, time + 1]), { label })),
    perItem: keys.flatMap((item, i) => scores(sumHands(distances, [0, handTimes], [i, i + 1]), { item })),
  };
}

function rowsOf(all: HandSums, contact: HandSums): Score[] {
  return [
    { metric: 'left_mean_disp', value: all.sum[0] / all.count[0] },
    { metric: 'right_mean_disp', value: all.sum[1] / all.count[1] },
    { metric: 'left_contact_disp', value: contact.sum[0] / contact.count[0] },
    { metric: 'right_contact_disp', value: contact.sum[1] / contact.count[1] },
  ];
}

function sumsByUnit({ distances, unitOf, units, keys }: HandData): (readonly [HandSums, HandSums])[] {
  const members = units.map((): [HandSums[], HandSums[]] => [[], []]);
  keys.forEach((_, i) => {
    const [all, contact] = members[unitOf[i]!]!;
    all.push(sumHands(distances, [0, handTimes], [i, i + 1]));
    contact.push(sumHands(distances, [handTimes - 1, handTimes], [i, i + 1]));
  });
  return members.map(([all, contact]) => [addSums(all), addSums(contact)]);
}

function addSums(parts: readonly HandSums[]): HandSums {
  const sum: [number, number] = [0, 0];
  const count: [number, number] = [0, 0];
  for (const part of parts) {
    for (const hand of [0, 1] as const) {
      sum[hand] += part.sum[hand];
      count[hand] += part.count[hand];
    }
  }
  return { sum, count };
}

/**
 * Both files as arrays.
 *
 * @throws EgolensError data.unknown_id for a key without truth; data.invalid for fewer than 20 numbers, for values that are none, and
 *         where a hand is annotated nowhere: there the official mean divides by zero
 * @quirk  only the keys of the predictions are scored; numbers after the 20th are not looked at
 */
function readHands(
  truth: readonly JsonDocument[],
  predictions: readonly JsonDocument[],
  options: EvalOptions,
): HandData {
  const { annotations, labels } = castFiles(truth, roles);
  const truthFile = needed(labels ?? annotations, roles.annotations);
  const document = needed(castFiles(predictions, predictionRoles).submission, predictionRoles.submission);
  const instances = annotations === undefined ? [] : readInstances(annotations);
  const instanceByKey = new Map(instances.map((instance) => [instance.key, instance]));
  const labelByKey =
    labels === undefined ? undefined : objectAt(labels, labels.value, () => '', 'a label is 20 numbers');
  const asked = labelByKey === undefined ? instances.map(({ key }) => key) : Object.keys(labelByKey);

  const views = options.fhpScale === 'mean' ? 1 : viewCount;
  const answers = areRecords(document.value, schema)
    ? Object.fromEntries(pointsByKey(document.value, asked, truthFile.name, views).points)
    : objectAt(document, document.value, () => '', 'write `{key: [20 numbers]}`');
  const keys = Object.keys(answers);
  if (keys.length === 0) {
    throw fault(document, '', 'at least one key', answers, 'the official code divides by the number of hands it finds');
  }
  const predicted = new Float64Array(handNumbers * keys.length);
  const wanted = new Float64Array(handNumbers * keys.length);
  const units = new NameTable();
  const unitOf = new Int32Array(keys.length);
  keys.forEach((key, i) => {
    const instance = instanceByKey.get(key);
    const numbers =
      labelByKey === undefined ? instance?.points : Object.hasOwn(labelByKey, key) ? labelByKey[key] : undefined;
    if (numbers === undefined) {
      const hint = `\`${truthFile.name}\` has no such key: a key is <clip_id>_<pre_45 frame - 1>; leave it out, or give the truth of its split`;
      throw fault(document, pointer(key), 'a key of the truth', key, hint, 'data.unknown_id');
    }
    putNumbers(truthFile, numbers, () => pointer(key), wanted, handNumbers * i);
    putNumbers(document, answers[key], () => pointer(key), predicted, handNumbers * i);
    unitOf[i] = units.add(instance?.videoUid ?? key.slice(0, key.lastIndexOf('_')));
  });

  const distances = handDistances(predicted, wanted, views);
  for (const times of [
    [0, handTimes],
    [handTimes - 1, handTimes],
  ] as const) {
    const { count } = sumHands(distances, times);
    for (const [hand, name] of ['left', 'right'].entries()) {
      if (count[hand] !== 0) continue;
      const when = times[0] === 0 ? 'at any key frame' : 'at a contact frame';
      const hint =
        'the official mean over these hands divides by zero: predict more items; is the truth the unannotated test file?';
      throw fault(document, '', `predictions for an item with an annotated ${name} hand ${when}`, answers, hint);
    }
  }
  return { keys, distances, unitOf, units: units.names, views, notes: notesOf(keys, asked, predicted, views) };
}

function notesOf(keys: readonly string[], asked: readonly string[], predicted: Float64Array, views: number): string[] {
  const notes: string[] = [];
  if (keys.length < asked.length) {
    const share = percentText((100 * keys.length) / asked.length);
    notes.push(
      `${keys.length} of ${asked.length} items (${share}) are predicted; the official numbers are over these alone`,
    );
  }
  if (views !== 1 && looksLikeOneView(predicted)) {
    notes.push(
      `the largest value is as small as a pixel of one view, and the official code divides by ${views}: \`--fhp-scale mean\` reads plain pixels`,
    );
  }
  return notes;
}

function putNumbers(document: JsonDocument, value: unknown, at: () => string, into: Float64Array, from: number): void {
  const list = listAt(document, value, at, 'write 20 numbers: five key frames of left x, left y, right x, right y');
  if (list.length < handNumbers) {
    throw fault(document, at(), `${handNumbers} numbers`, list, 'five key frames of left x, left y, right x, right y');
  }
  for (let i = 0; i < handNumbers; i++) {
    const number = list[i];
    into[from + i] =
      typeof number === 'boolean'
        ? Number(number) // as Python does
        : numberAt(document, number, () => `${at()}/${i}`, 'write a plain number, without quotes');
  }
}

/**
 * Records of `hands` -> the submission over the instances of `test`. Records hold pixels of one view; the file holds 30 times that
 * (`sum`, the default: the official evaluator divides by 30), or the pixels themselves (`mean`).
 *
 * Missing keys are filled with the mean of the others, the best guess that knows nothing of the clip.
 */
function submission(records: readonly JsonObject[], test: JsonDocument, options: SubmissionOptions): Submission {
  const instances = readInstances(
    needed(castFiles([test], { annotations: roles.annotations }).annotations, roles.annotations),
  );
  const asked = [...new Set(instances.map(({ key }: HandInstance) => key))];
  const views = options.fhpScale === 'mean' ? 1 : viewCount;
  const { points, missing } = pointsByKey(records, asked, test.name, views);
  const fill = options.fillMissing && missing.length > 0 ? meanPoints(points) : undefined;
  const json = Object.fromEntries(
    asked.flatMap((key): [string, unknown][] => {
      const values = points.get(key) ?? fill;
      return values === undefined ? [] : [[key, values.map(float)]];
    }),
  );
  const scale =
    views === 1
      ? 'pixels of one view (`--fhp-scale mean`)'
      : `sums over ${views} views, as the evaluator divides by ${views}`;
  return {
    json,
    counts: {
      written: points.size,
      filled: fill === undefined ? 0 : missing.length,
      left_out: fill === undefined ? missing.length : 0,
    },
    notes: [
      `values are ${scale}`,
      ...missingNotes(missing.length, asked.length, 'items', fill && 'the mean of all predictions'),
    ],
  };
}

function meanPoints(points: ReadonlyMap<string, readonly number[]>): number[] | undefined {
  if (points.size === 0) return undefined;
  const all = [...points.values()];
  return Array.from({ length: handNumbers }, (_, i) => all.reduce((sum, values) => sum + values[i]!, 0) / all.length);
}

function pointsByKey(
  records: readonly JsonObject[],
  asked: readonly string[],
  reference: string,
  views: number,
): { readonly points: ReadonlyMap<string, readonly number[]>; readonly missing: readonly string[] } {
  const known = new Set(asked);
  const { found, missing } = recordsById(records, schema, asked, reference, (id) => known.has(id));
  const points = new Map<string, readonly number[]>();
  for (const [key, { record, index }] of found) {
    if (record['space'] === 'normalized') {
      throw recordFault(index, '`space`: expected pixels, found shares of the frame', '`hands --space pixels`');
    }
    const values = flatPoints(record['points']);
    if (values === undefined) {
      throw recordFault(index, '`points`: expected finite numbers [5][left, right][x, y]', 'write pixels of one view');
    }
    points.set(
      key,
      values.map((value) => value * views),
    );
  }
  return { points, missing };
}

/** [5][2][2] -> 20 finite numbers. */
function flatPoints(points: unknown): number[] | undefined {
  if (!isList(points, handTimes)) return undefined;
  const hands = points.flatMap((hands) => (isList(hands, 2) ? hands : [undefined]));
  const numbers = hands.flatMap((hand) => (isList(hand, 2) ? hand : [undefined]));
  return numbers.length === handNumbers && numbers.every(isFinite) ? numbers : undefined;
}

function isList(value: unknown, length: number): value is readonly unknown[] {
  return Array.isArray(value) && value.length === length;
}

function isFinite(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}
