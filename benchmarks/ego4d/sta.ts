/**
 * Short-Term object-interaction Anticipation (STA): boxes of the next active objects with noun, verb and time to contact.
 *
 * Source: EGO4D/forecasting tools/short_term_anticipation/evaluate_short_term_anticipation_results.py (reading and checks),
 * ego4d/evaluation/sta_metrics.py (numbers, in sta-score.ts). Formats and quirks: ego4d.md 3.5.
 */
import type { EgolensError } from '../../src/errors.js';
import { fallingOrder, tiedCount } from '../../src/metrics/order.js';
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
import { fault, isObject, listAt, NameTable, numberAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { isNumber, onlyDocument, putBox } from './box-reading.js';
import { inChallengeForm } from './box-records.js';
import { asWritten, pointer } from './checks.js';
import { checkSta, staChallengeName, staVersion } from './sta-check.js';
import {
  classPrecisions,
  countedImages,
  matchSta,
  meanPrecision,
  nounClasses,
  rankClasses,
  singleClass,
  staBits,
  staCurve,
  withCriterion,
  type Criterion,
  type RankedClass,
  type StaBoxes,
  type StaClasses,
  type StaMatches,
} from './sta-score.js';
import { staSchema, staSubmission } from './sta-submission.js';

/** The challenge of Short-Term object-interaction Anticipation. */
export const sta: Challenge = {
  task: 'sta',
  summary: 'Short-Term object-interaction Anticipation: Top-5 mAP of box, noun, verb and time to contact',
  primary: { metric: 'map_box_noun_verb_ttc', higherIsBetter: true },
  keepsLiterals: true,
  check: checkSta,
  prepare,
  submission: staSubmission,
};

const challengeTopK = 5;
const objectTopK = 3;

/** The four numbers of the challenge, in the order of the official output. */
const challengeMetrics: readonly (readonly [name: string, criterion: Criterion])[] = [
  ['map_box_noun', staBits.noun],
  ['map_box_noun_verb', 3],
  ['map_box_noun_ttc', 5],
  ['map_box_noun_verb_ttc', 7],
];
/** The single APs of the library's overall metric. */
const singleMetrics: readonly (readonly [name: string, criterion: Criterion])[] = [
  ['ap_box', 0],
  ['ap_box_noun', staBits.noun],
  ['ap_box_verb', staBits.verb],
  ['ap_box_ttc', staBits.ttc],
  ['ap_box_noun_verb', 3],
  ['ap_box_noun_ttc', 5],
  ['ap_box_verb_ttc', 6],
  ['ap_box_noun_verb_ttc', 7],
];

interface StaData {
  readonly boxes: StaBoxes;
  readonly uids: readonly string[];
  /** Unit of each image, and the names of the units: videos. */
  readonly unitOf: Int32Array;
  readonly units: readonly string[];
  readonly nounNames: ReadonlyMap<number, string>;
  readonly notes: readonly string[];
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  const annotations = onlyDocument(truth, 'the annotations (`fho_sta_val.json`)', '--gt');
  const data = readSta(
    annotations,
    inChallengeForm(onlyDocument(predictions, 'the predictions', '--pred'), staSchema, (records) =>
      staSubmission(records, annotations, { fillMissing: true }),
    ),
  );
  const matchesOf = new Map<TieRule, StaMatches>();
  const matchesFor = (ties: TieRule): StaMatches => {
    let matches = matchesOf.get(ties);
    if (matches === undefined) {
      const [like] = matchesOf.values();
      matchesOf.set(ties, (matches = matchSta(data.boxes, ties, like)));
    }
    return matches;
  };
  let samples: { readonly ties: TieRule; readonly resample: (sample: Int32Array) => readonly Score[] } | undefined;
  return {
    units: data.units,
    evaluate: (options) => evaluate(data, matchesFor, options),
    resample(sample, ties) {
      if (samples?.ties !== ties) samples = { ties, resample: resampler(data, matchesFor(ties)) };
      return samples.resample(sample);
    },
  };
}

function evaluate(data: StaData, matchesFor: (ties: TieRule) => StaMatches, options: EvalOptions): Evaluation {
  const { boxes } = data;
  const matches = matchesFor(options.ties);
  const counted = countedImages(boxes);
  const isWhole = counted.every((isCounted) => isCounted === 1);
  const nouns = nounClasses(boxes, counted, 'truth');
  const single = singleClass(boxes, counted);
  const ranking = fallingOrder(boxes.score, 'first');
  const tied = tiedCount(boxes.score, ranking);

  const ranked = challengeMetrics.map(([, criterion]) => rankClasses(matches, nouns, criterion, challengeTopK));
  const challenge = named(challengeMetrics, (_, i) => meanPrecision(ranked[i]!, nouns.positives));
  const mean = (classes: StaClasses, topK: number) => (criterion: Criterion) =>
    meanPrecision(rankClasses(matches, classes, criterion, topK), classes.positives);
  const plain = rankClasses(matches, nouns, 0, 1);
  const withoutTopK = named(challengeMetrics, (criterion) =>
    meanPrecision(withCriterion(plain, matches, criterion), nouns.positives),
  );
  const under = (ties: TieRule): Readonly<Record<string, number>> => {
    if (tied === 0 || ties === options.ties) return challenge;
    const listed = ties === 'last' ? withRunsReversed(ranking, boxes.score) : ranking;
    return named(challengeMetrics, (criterion) =>
      meanPrecision(rankClasses(matchesFor(ties), nouns, criterion, challengeTopK, listed), nouns.positives),
    );
  };
  const [first, last] = [under('first'), under('last')];

  const isOnlyGuessed = nouns.ofGuess.includes(-1);
  const official: Nested = {
    challenge,
    num_classes_in_truth: nouns.nouns.length,
    num_truth_boxes_counted: single.positives[0]!,
    num_truth_boxes_in_file: boxes.truthNoun.length,
    overall_top5: { ...named(singleMetrics, mean(single, challengeTopK)), ...challenge },
    sta_no_top_k: withoutTopK,
    sta_top1_same_as_none: withoutTopK,
    sta_top5_all_classes: isOnlyGuessed
      ? named(challengeMetrics, mean(nounClasses(boxes, counted, 'all'), challengeTopK))
      : challenge,
    object_only_top3: {
      map_box_noun: mean(nouns, objectTopK)(staBits.noun),
      ap_box: mean(single, objectTopK)(0),
    },
    tie_sensitivity: { first_listed_wins: first, last_listed_wins: last },
  };

  const everyNoun = isWhole ? nouns : nounClasses(boxes, new Uint8Array(boxes.images).fill(1), 'truth');
  const everyTruth = isWhole ? challenge : named(challengeMetrics, mean(everyNoun, challengeTopK));
  const corrected: Nested = {
    challenge: everyTruth,
    num_truth_boxes_counted: boxes.truthNoun.length,
  };
  return {
    official,
    corrected,
    rows: challengeMetrics.map(([metric]) => ({ metric, value: challenge[metric]! })),
    correctedRows: challengeMetrics.map(([metric]) => ({ metric, value: everyTruth[metric]! })),
    ties: { tied, first, last },
    ...(options.detail ? details(data, matches, nouns, ranked, single) : {}),
    notes: [...data.notes, ...emptyNotes(boxes, counted)],
  };
}

function named(
  metrics: readonly (readonly [name: string, criterion: Criterion])[],
  value: (criterion: Criterion, index: number) => number,
): Readonly<Record<string, number>> {
  return Object.fromEntries(metrics.map(([name, criterion], i) => [name, value(criterion, i)]));
}

/** An order of falling scores with the equal ones the other way round. */
function withRunsReversed(order: Int32Array, score: Float64Array): Int32Array {
  const turned = order.slice();
  for (let from = 0, to = 0; from < order.length; from = to) {
    const value = score[order[from]!]!;
    for (to = from + 1; to < order.length; to++) {
      const next = score[order[to]!]!;
      if (next !== value && !(Number.isNaN(next) && Number.isNaN(value))) break;
    }
    if (to - from > 1) turned.subarray(from, to).reverse();
  }
  return turned;
}

function emptyNotes(boxes: StaBoxes, counted: Uint8Array): string[] {
  const empty = counted.filter((isCounted) => isCounted === 0).length;
  if (empty === 0) return [];
  return [
    `${empty} of ${boxes.images} images have an empty list of predictions: the official code leaves their truth out, the corrected numbers count it`,
  ];
}

function details(
  data: StaData,
  matches: StaMatches,
  nouns: StaClasses,
  ranked: readonly (readonly RankedClass[])[],
  single: StaClasses,
): Pick<Evaluation, 'perClass' | 'perItem' | 'curves'> {
  const { boxes, uids, nounNames } = data;
  const perClass = challengeMetrics.flatMap(([name], i) =>
    classPrecisions(ranked[i]!, nouns.positives).map((value, at): Score => {
      const noun = nouns.nouns[at]!;
      return { metric: name.replace(/^map/, 'ap'), value, at: { label: nounNames.get(noun) ?? String(noun) } };
    }),
  );
  const perItem = uids.flatMap((uid, i): Score[] => {
    const truths = boxes.truthStart[i + 1]! - boxes.truthStart[i]!;
    const [from, to] = [boxes.guessStart[i]!, boxes.guessStart[i + 1]!];
    return challengeMetrics.map(([name, criterion]) => {
      let found = 0;
      for (let g = from; g < to; g++) found += (matches.hits[g]! >> criterion) & 1;
      return { metric: name.replace(/^map/, 'recall'), value: found / truths, at: { item: uid } };
    });
  });
  const curves = challengeMetrics.map(([name, criterion]) => {
    const points = staCurve(rankClasses(matches, single, criterion, challengeTopK)[0]!, single.positives[0]!);
    return {
      name: name.replace(/^map_/, ''),
      x: 'recall',
      y: 'precision',
      points: Array.from(points.recall, (recall, i) => [recall, points.precision[i]!] as const),
    };
  });
  return { perClass, perItem, curves };
}

/** Samples of videos: a video drawn twice counts as two, equal scores keep the order that they have in the whole file. */
function resampler(data: StaData, matches: StaMatches): (sample: Int32Array) => readonly Score[] {
  const { boxes, unitOf } = data;
  const nouns = nounClasses(boxes, countedImages(boxes), 'truth');
  const ranked = challengeMetrics.map(([, criterion]) => rankClasses(matches, nouns, criterion, challengeTopK));
  const weights = new Int32Array(boxes.score.length);
  return (sample) => {
    const repeats = repeatsOf(sample, data.units.length);
    const positives = new Int32Array(nouns.nouns.length);
    for (let i = 0; i < boxes.images; i++) {
      const times = repeats[unitOf[i]!]!;
      weights.fill(times, boxes.guessStart[i], boxes.guessStart[i + 1]);
      for (let t = boxes.truthStart[i]!; t < boxes.truthStart[i + 1]!; t++) {
        const at = nouns.ofTruth[t]!;
        if (at !== -1) positives[at]! += times;
      }
    }
    return challengeMetrics.map(([metric], i) => ({ metric, value: meanPrecision(ranked[i]!, positives, weights) }));
  };
}

/** Both files as arrays; throws where the official script dies. */
function readSta(truth: JsonDocument, predictions: JsonDocument): StaData {
  const results = readResults(predictions);
  const annotations = readAnnotations(truth);
  const missing = annotations.filter(({ uid }) => !Object.hasOwn(results, uid));
  if (missing.length > 0) {
    throw fault(
      predictions,
      '/results',
      `a list for each of the ${annotations.length} images (${missing.length} lack one), also for \`${missing[0]!.uid}\``,
      undefined,
      'list every uid of the annotations, with `[]` where nothing is predicted (`submit sta --fill-missing`)',
    );
  }
  const images = annotations.length;
  const truthStart = new Int32Array(images + 1);
  const guessStart = new Int32Array(images + 1);
  annotations.forEach(({ uid, objects }, i) => {
    truthStart[i + 1] = truthStart[i]! + objects.length;
    guessStart[i + 1] = guessStart[i]! + listOf(results[uid]).length;
  });
  if (guessStart[images] === 0) {
    const hint = 'the official code cannot score a file without any prediction';
    throw fault(predictions, '/results', 'at least one prediction', undefined, hint);
  }
  const boxes = emptyBoxes(images, truthStart, guessStart);
  const units = new NameTable();
  const unitOf = new Int32Array(images);
  annotations.forEach(({ uid, unit, objects }, i) => {
    unitOf[i] = units.add(unit);
    objects.forEach((object, k) => {
      const at = truthStart[i]! + k;
      putBox(truth, object['box'], boxes.truths, at, () => pointer('annotations', i, 'objects', k, 'box'));
      boxes.truthNoun[at] = Number(object['noun_category_id']);
      boxes.truthVerb[at] = Number(object['verb_category_id']);
      boxes.truthTtc[at] = Number(object['time_to_contact']);
    });
    listOf(results[uid]).forEach((guess, k) => {
      const at = guessStart[i]! + k;
      putBox(predictions, guess['box'], boxes.guesses, at, () => pointer('results', uid, k, 'box'));
      boxes.guessNoun[at] = Number(guess['noun_category_id']);
      boxes.guessVerb[at] = Number(guess['verb_category_id']);
      boxes.guessTtc[at] = guess['time_to_contact'] as number; // checkGuess has seen it
      boxes.score[at] = guess['score'] as number; // the same
    });
  });
  const uids = annotations.map(({ uid }) => uid);
  const surplus = Object.keys(results).length - new Set(uids).size;
  return {
    boxes,
    uids,
    unitOf,
    units: units.names,
    nounNames: categoryNames(truth.value, 'noun_categories'),
    notes: surplus > 0 ? [`${surplus} uids of the predictions are not in the annotations and are ignored`] : [],
  };
}

function emptyBoxes(images: number, truthStart: Int32Array, guessStart: Int32Array): StaBoxes {
  const [truths, guesses] = [truthStart[images]!, guessStart[images]!];
  return {
    images,
    truthStart,
    truths: new Float64Array(4 * truths),
    truthNoun: new Float64Array(truths),
    truthVerb: new Float64Array(truths),
    truthTtc: new Float64Array(truths),
    guessStart,
    guesses: new Float64Array(4 * guesses),
    guessNoun: new Float64Array(guesses),
    guessVerb: new Float64Array(guesses),
    guessTtc: new Float64Array(guesses),
    score: new Float64Array(guesses),
  };
}

/**
 * The lists of predictions by uid, each checked as the official script does before it scores anything.
 *
 * @source evaluate_short_term_anticipation_results.py, validate_results
 * @quirk  Python's int and float are told apart by the literal; `true` passes as an int
 */
function readResults(document: JsonDocument): JsonObject {
  const form = `a submission is {"version": "${staVersion}", "challenge": "${staChallengeName}", "results": {uid: […]}}`;
  const value = objectAt(document, document.value, () => '', form);
  for (const key of ['results', 'version', 'challenge']) {
    if (!Object.hasOwn(value, key)) throw fault(document, pointer(key), `a member \`${key}\``, undefined, form);
  }
  for (const [key, wanted] of [
    ['challenge', staChallengeName],
    ['version', staVersion],
  ] as const) {
    if (value[key] !== wanted) throw fault(document, pointer(key), `\`"${wanted}"\``, value[key], form);
  }
  const results = objectAt(document, value['results'], () => '/results', form);
  for (const uid in results) {
    const list = results[uid];
    // Python walks over an empty object as over an empty list.
    if (isObject(list) && Object.keys(list).length === 0) continue;
    const guesses = listAt(document, list, () => pointer('results', uid), 'write `[]` where nothing is predicted');
    for (let k = 0; k < guesses.length; k++) checkGuess(document, guesses[k], uid, k);
  }
  return results;
}

function checkGuess(document: JsonDocument, value: unknown, uid: string, k: number): void {
  const guess = objectAt(
    document,
    value,
    () => pointer('results', uid, k),
    'a prediction is {box, noun_category_id, verb_category_id, time_to_contact, score}',
  );
  const wrong = (field: string, expected: string, hint: string): EgolensError =>
    fault(document, pointer('results', uid, k, field), expected, asWritten(guess[field]), hint);
  const box = guess['box'];
  if (!Array.isArray(box) || box.length !== 4) {
    throw wrong('box', 'a list of four numbers', 'write the box as [x1, y1, x2, y2]');
  }
  for (const field of ['noun_category_id', 'verb_category_id'] as const) {
    if (typeof guess[field] === 'bigint' || typeof guess[field] === 'boolean') continue;
    const isFloat = typeof guess[field] === 'number';
    throw wrong(
      field,
      'an integer, without a decimal point',
      isFloat ? 'write `3`, not `3.0`' : 'write the id, without quotes',
    );
  }
  for (const field of ['time_to_contact', 'score'] as const) {
    if (typeof guess[field] === 'number') continue;
    const hint = 'write `1.0`, not `1`: integers are refused here';
    const isInteger = typeof guess[field] === 'bigint';
    throw wrong(
      field,
      'a float, with a decimal point or exponent',
      isInteger ? hint : 'write a number, without quotes',
    );
  }
}

interface StaAnnotation {
  readonly uid: string;
  readonly unit: string;
  readonly objects: readonly JsonObject[];
}

function readAnnotations(document: JsonDocument): StaAnnotation[] {
  const form = 'this should be `fho_sta_val.json` or a file of its form';
  const { annotations } = objectAt(document, document.value, () => '', form);
  return listAt(document, annotations, () => '/annotations', form).map((value, i): StaAnnotation => {
    const at = (...parts: (string | number)[]): string => pointer('annotations', i, ...parts);
    const annotation = objectAt(document, value, () => at(), form);
    const uid = textAt(document, annotation['uid'], () => at('uid'), form);
    const listed = annotation['objects'];
    if (!Array.isArray(listed) || listed.length === 0) {
      const hint =
        'the official code cannot score an image without truth: leave it out; files for testing have no truth at all';
      throw fault(document, at('objects'), 'at least one annotated object', listed, hint);
    }
    const objects = listed.map((item: unknown, k): JsonObject => {
      const object = objectAt(document, item, () => at('objects', k), form);
      for (const field of ['noun_category_id', 'verb_category_id', 'time_to_contact']) {
        numberAt(document, object[field], () => at('objects', k, field), form);
      }
      return object;
    });
    const video = annotation['video_id'];
    return { uid, unit: typeof video === 'string' ? video : uid, objects };
  });
}

function listOf(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? (value as readonly JsonObject[]) : []; // readResults has seen every item
}

/** Names by id of `noun_categories` or `verb_categories`. */
function categoryNames(truth: unknown, field: string): Map<number, string> {
  const list = isObject(truth) ? truth[field] : undefined;
  const names = new Map<number, string>();
  for (const category of Array.isArray(list) ? (list as unknown[]) : []) {
    if (isObject(category) && isNumber(category['id']) && typeof category['name'] === 'string') {
      names.set(Number(category['id']), category['name']);
    }
  }
  return names;
}
