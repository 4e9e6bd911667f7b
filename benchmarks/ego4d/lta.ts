/**
 * Long-Term action Anticipation (LTA): the next 20 verbs and nouns, five sequences an instance, by edit distance.
 *
 * Source: EGO4D/forecasting (38d1931b) ego4d_forecasting/evaluation/lta_metrics.py. Formats and quirks: ego4d.md 3.6.
 */
import { lowerPrefixDistances, meanTrapezoid, type EditRule } from '../../src/metrics/edit-distance.js';
import { pairwiseMean } from '../../src/metrics/sums.js';
import type {
  Challenge,
  EvalOptions,
  Evaluation,
  JsonDocument,
  Nested,
  Prepared,
  Score,
  Submission,
  SubmissionOptions,
} from '../../src/types.js';
import { fault, isObject, listAt, NameTable, numberAt, objectAt, type JsonObject } from '../reading.js';
import { areRecords, recordFault } from '../records.js';
import { castFiles, missingNotes, needed, recordsById, type Role } from './by-id.js';
import { percentText, pointer } from './checks.js';
import {
  askedKeys,
  futureLength,
  hasFuture,
  inferInputActions,
  isActionFile,
  isTaxonomy,
  labelAt,
  readActions,
  type ActionList,
} from './lta-actions.js';
import { checkLta, sequenceCount } from './lta-check.js';

/** The challenge of Long-Term action Anticipation. */
export const lta: Challenge = {
  task: 'lta',
  summary: 'Long-Term action Anticipation: edit distance of the next 20 verbs, nouns and actions',
  primary: { metric: 'action ED@20', higherIsBetter: false },
  check: checkLta,
  prepare,
  submission,
};

const schema = 'egolens.sequence/1';
const kinds = ['verb', 'noun', 'action'] as const;

const roles = {
  annotations: { what: 'the annotations (`fho_lta_val.json`)', is: isActionFile },
  taxonomy: { what: 'the class names (`fho_lta_taxonomy.json`)', is: isTaxonomy },
} satisfies Record<string, Role>;
const predictionRoles = {
  predictions: {
    what: 'predictions by key, each with lists `verb` and `noun`',
    is: (value) => areRecords(value, schema) || (isObject(value) && !isActionFile(value) && !('challenge' in value)),
  },
} satisfies Record<string, Role>;

interface Sequences {
  readonly keys: readonly string[];
  /** Place of the last seen action of each key. */
  readonly places: Int32Array;
  /** Predicted sequences of each key. */
  readonly perKey: number;
  /** [keys, perKey, 20]; -1 for what is no class of the truth. */
  readonly verbs: Int32Array;
  readonly nouns: Int32Array;
}

interface SequenceData extends Sequences {
  readonly truthVerbs: Int32Array;
  readonly truthNouns: Int32Array;
  readonly unitOf: Int32Array;
  readonly units: readonly string[];
  readonly notes: readonly string[];
}

/** Least distance of each instance and prefix, [verb, noun, action][keys, 20]. */
type Distances = readonly [Uint8Array, Uint8Array, Uint8Array];

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[], options: EvalOptions): Prepared {
  const data = readSequences(truth, predictions, options);
  const distances = distancesOf(data, 'levenshtein');
  let sums: readonly Float64Array[] | undefined;
  const sizes = countsOf(data.unitOf, data.units.length);
  return {
    units: data.units,
    evaluate: ({ detail }) => evaluate(data, distances, detail),
    resample(sample) {
      sums ??= distances.map((least) => sumsByUnit(least, data));
      return resampled(sums, sizes, sample);
    },
  };
}

function evaluate(data: SequenceData, distances: Distances, detail: boolean): Evaluation {
  const curves = distances.map((least) => editCurve(least));
  const numbers = (byKind: readonly (readonly number[])[]): Nested =>
    Object.fromEntries(
      kinds.map((kind, i): [string, Nested] => {
        const ED = byKind[i]!;
        return [kind, { AUED: meanTrapezoid(ED), ED, 'ED@20': ED[futureLength - 1]! }];
      }),
    );
  const corrected = distancesOf(data, 'damerau').map((least) => editCurve(least));
  return {
    official: { instances: data.keys.length, Z: futureLength, K: data.perKey, ...numbers(curves) },
    corrected: numbers(corrected),
    rows: rowsOf(curves),
    correctedRows: rowsOf(corrected),
    ...(detail
      ? {
          perItem: data.keys.flatMap((item, i) =>
            kinds.map((kind, k): Score => {
              const least = distances[k]![futureLength * (i + 1) - 1]!;
              return { metric: `${kind} ED@20`, value: least / futureLength, at: { item } };
            }),
          ),
          curves: kinds.map((kind, k) => ({
            name: kind,
            x: 'z',
            y: 'edit distance',
            points: curves[k]!.map((value, z) => [z + 1, value] as const),
          })),
        }
      : {}),
    notes: [
      ...data.notes,
      'corrected: swapped neighbours cost one (restricted Damerau-Levenshtein), as the paper has it; the official code counts two',
    ],
  };
}

function rowsOf(curves: readonly (readonly number[])[]): Score[] {
  return [
    ...kinds.map((kind, k) => ({ metric: `${kind} ED@20`, value: curves[k]![futureLength - 1]! })),
    ...kinds.map((kind, k) => ({ metric: `${kind} AUED`, value: meanTrapezoid(curves[k]!) })),
  ];
}

/** ED_z of z = 1 … 20: mean over instances of the least distance, divided by z. */
function editCurve(least: Uint8Array): number[] {
  const instances = least.length / futureLength;
  const shares = new Float64Array(instances);
  return Array.from({ length: futureLength }, (_, z) => {
    for (let i = 0; i < instances; i++) shares[i] = least[futureLength * i + z]! / (z + 1);
    return pairwiseMean(shares);
  });
}

/**
 * Distances of all instances.
 *
 * @source EGO4D/forecasting ego4d_forecasting/evaluation/lta_metrics.py, edit_distance, AUED
 * @quirk  plain Levenshtein, although its comment says Damerau; every prefix chooses its best sequence anew
 */
function distancesOf(data: SequenceData, rule: EditRule): Distances {
  const { keys, places, perKey, verbs, nouns, truthVerbs, truthNouns } = data;
  const least = kinds.map(() => new Uint8Array(keys.length * futureLength).fill(255)) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ]; // three kinds
  // Per class the places of the 20 actions that hold it. A place matches as an action where verb and noun match.
  const verbPlaces = new Int32Array(truthVerbs.reduce((most, label) => Math.max(most, label + 1), 0));
  const nounPlaces = new Int32Array(truthNouns.reduce((most, label) => Math.max(most, label + 1), 0));
  const verbMatches = new Int32Array(futureLength);
  const nounMatches = new Int32Array(futureLength);
  const actionMatches = new Int32Array(futureLength);
  for (let i = 0; i < keys.length; i++) {
    const first = places[i]! + 1;
    for (let z = 0; z < futureLength; z++) {
      verbPlaces[truthVerbs[first + z]!]! |= 1 << z;
      nounPlaces[truthNouns[first + z]!]! |= 1 << z;
    }
    const out = i * futureLength;
    for (let k = 0; k < perKey; k++) {
      const from = (i * perKey + k) * futureLength;
      for (let z = 0; z < futureLength; z++) {
        const verb = verbs[from + z]!;
        const noun = nouns[from + z]!;
        verbMatches[z] = verb === -1 ? 0 : verbPlaces[verb]!;
        nounMatches[z] = noun === -1 ? 0 : nounPlaces[noun]!;
        actionMatches[z] = verbMatches[z]! & nounMatches[z]!;
      }
      lowerPrefixDistances(verbMatches, 0, futureLength, rule, least[0], out);
      lowerPrefixDistances(nounMatches, 0, futureLength, rule, least[1], out);
      lowerPrefixDistances(actionMatches, 0, futureLength, rule, least[2], out);
    }
    for (let z = 0; z < futureLength; z++) {
      verbPlaces[truthVerbs[first + z]!] = 0;
      nounPlaces[truthNouns[first + z]!] = 0;
    }
  }
  return least;
}

/** [units, 20] sums of distance / z. */
function sumsByUnit(least: Uint8Array, { unitOf, units }: SequenceData): Float64Array {
  const sums = new Float64Array(units.length * futureLength);
  unitOf.forEach((unit, i) => {
    for (let z = 0; z < futureLength; z++) {
      sums[futureLength * unit + z]! += least[futureLength * i + z]! / (z + 1);
    }
  });
  return sums;
}

function countsOf(unitOf: Int32Array, units: number): Int32Array {
  const counts = new Int32Array(units);
  for (const unit of unitOf) counts[unit]!++;
  return counts;
}

function resampled(sums: readonly Float64Array[], sizes: Int32Array, sample: Int32Array): Score[] {
  let instances = 0;
  const totals = sums.map(() => new Float64Array(futureLength));
  for (const unit of sample) {
    instances += sizes[unit]!;
    sums.forEach((byUnit, k) => {
      for (let z = 0; z < futureLength; z++) totals[k]![z]! += byUnit[futureLength * unit + z]!;
    });
  }
  return rowsOf(totals.map((total) => Array.from(total, (sum) => sum / instances)));
}

/**
 * Both files as arrays.
 *
 * @throws EgolensError data.unknown_id for a key that is no action of the truth or has fewer than 20 after it; data.invalid for
 *         sequences of another length, or of another number than in the first key
 */
function readSequences(
  truth: readonly JsonDocument[],
  predictions: readonly JsonDocument[],
  options: EvalOptions,
): SequenceData {
  const { annotations } = castFiles(truth, roles);
  const truthFile = needed(annotations, roles.annotations);
  const list = readActions(truthFile);
  const truthVerbs = Int32Array.from(list.actions, (_, place) => labelAt(truthFile, list, place, 'verb_label'));
  const truthNouns = Int32Array.from(list.actions, (_, place) => labelAt(truthFile, list, place, 'noun_label'));
  const document = needed(castFiles(predictions, predictionRoles).predictions, predictionRoles.predictions);
  const sequences = readPredictions(document, list, truthFile, [largest(truthVerbs), largest(truthNouns)]);
  const units = new NameTable();
  const unitOf = sequences.places.map((place) => units.add(list.clips[list.clipOf[place]!]!.videoUid));
  const notes = notesOf(sequences, list, options.inputActions);
  return { ...sequences, truthVerbs, truthNouns, unitOf, units: units.names, notes };
}

function largest(labels: Int32Array): number {
  return labels.reduce((most, label) => Math.max(most, label), -1);
}

function readPredictions(
  document: JsonDocument,
  list: ActionList,
  truthFile: JsonDocument,
  largestLabels: readonly [verb: number, noun: number],
): Sequences {
  const answers = areRecords(document.value, schema)
    ? Object.fromEntries(sequencesByKey(document.value, list, [], truthFile.name).found)
    : objectAt(document, document.value, () => '', 'write `{key: {verb: [5][20], noun: [5][20]}}`');
  const keys = Object.keys(answers);
  if (keys.length === 0) {
    throw fault(document, '', 'at least one key', answers, 'the official mean over instances is undefined without any');
  }
  const places = new Int32Array(keys.length);
  let perKey = 0;
  let verbs = new Int32Array(0);
  let nouns = new Int32Array(0);
  keys.forEach((key, i) => {
    const place = list.placeOf.get(key);
    if (place === undefined || !hasFuture(list, place)) {
      const what = place === undefined ? 'no such action' : `fewer than ${futureLength} actions after it`;
      const hint = `\`${truthFile.name}\` has ${what}: a key is <clip_uid>_<action_idx of the last seen action>`;
      throw fault(document, pointer(key), 'a key of the truth', key, hint, 'data.unknown_id');
    }
    places[i] = place;
    const item = objectAt(document, answers[key], () => pointer(key), 'write {verb: [5][20], noun: [5][20]}');
    if (i === 0) {
      perKey = listAt(document, item['verb'], () => pointer(key, 'verb'), 'five lists of 20 classes').length;
      if (perKey === 0) throw fault(document, pointer(key, 'verb'), 'at least one sequence', [], 'write five');
      verbs = new Int32Array(keys.length * perKey * futureLength);
      nouns = new Int32Array(keys.length * perKey * futureLength);
    }
    putSequences(document, item['verb'], key, 'verb', verbs, i * perKey * futureLength, perKey, largestLabels[0]);
    putSequences(document, item['noun'], key, 'noun', nouns, i * perKey * futureLength, perKey, largestLabels[1]);
  });
  return { keys, places, perKey, verbs, nouns };
}

function putSequences(
  document: JsonDocument,
  value: unknown,
  key: string,
  field: 'verb' | 'noun',
  into: Int32Array,
  from: number,
  perKey: number,
  largestLabel: number,
): void {
  const rows = listAt(document, value, () => pointer(key, field), 'five lists of 20 classes');
  if (rows.length !== perKey) {
    const hint = 'every key, verb and noun alike, needs the same number of sequences (the challenge wants 5)';
    throw fault(document, pointer(key, field), `${perKey} sequences, as in the first key`, rows, hint);
  }
  let at = from;
  for (let k = 0; k < perKey; k++) {
    const row = listAt(document, rows[k], () => pointer(key, field, k), `a sequence is ${futureLength} classes`);
    if (row.length !== futureLength) {
      throw fault(document, pointer(key, field, k), `${futureLength} classes`, row, 'one for each of the next actions');
    }
    for (let z = 0; z < futureLength; z++) {
      const label = row[z];
      const number =
        typeof label === 'number'
          ? label
          : numberAt(document, label, () => pointer(key, field, k, z), 'a class is a whole number from 0');
      // What is no class of the truth matches nothing.
      into[at++] = number >= 0 && number <= largestLabel && Number.isInteger(number) ? number : -1;
    }
  }
}

function notesOf({ keys, perKey }: Sequences, list: ActionList, inputActions: number | undefined): string[] {
  const notes: string[] = [];
  const seen = inputActions ?? inferInputActions(list, keys);
  if (seen !== undefined) {
    const asked = askedKeys(list, seen);
    const given = new Set(keys);
    const missing = asked.filter((key) => !given.has(key)).length;
    if (missing > 0) {
      const share = percentText((100 * (asked.length - missing)) / asked.length);
      notes.push(
        `${missing} of ${asked.length} keys of ${seen} seen actions are not predicted (${share} are); the official numbers are over the predicted ones`,
      );
    }
  }
  if (perKey !== sequenceCount) notes.push(`${perKey} sequences a key; the challenge wants ${sequenceCount}`);
  return notes;
}

/**
 * Records of `anticipate --mode actions` -> the submission. Keys stand in the order of the annotation file; how many actions were
 * seen, hence which keys are asked for, is told from the records. Missing keys are filled with the most frequent verb and noun.
 */
function submission(records: readonly JsonObject[], test: JsonDocument, options: SubmissionOptions): Submission {
  const list = readActions(needed(castFiles([test], roles).annotations, roles.annotations));
  const seen = inferInputActions(
    list,
    records.map(({ id }) => String(id)),
  );
  const asked = seen === undefined ? [] : askedKeys(list, seen);
  const { found, missing } = sequencesByKey(records, list, asked, test.name);
  const isFilled = options.fillMissing && missing.length > 0;
  const fill = isFilled ? usualSequences([...found.values()]) : undefined;
  const places = new Map([...found.keys(), ...(isFilled ? missing : [])].map((key) => [key, list.placeOf.get(key)!]));
  const ordered = [...places].sort(([, a], [, b]) => a - b);
  return {
    json: Object.fromEntries(ordered.map(([key]) => [key, found.get(key) ?? fill])),
    counts: {
      written: found.size,
      filled: isFilled ? missing.length : 0,
      left_out: isFilled ? 0 : missing.length,
    },
    notes: [
      ...(seen === undefined
        ? []
        : [`${asked.length} keys are asked for when ${seen} actions are seen, as in these predictions`]),
      ...missingNotes(missing.length, asked.length, 'keys', isFilled ? 'the most frequent verb and noun' : undefined),
    ],
  };
}

interface KeySequences {
  readonly verb: readonly (readonly number[])[];
  readonly noun: readonly (readonly number[])[];
}

function sequencesByKey(
  records: readonly JsonObject[],
  list: ActionList,
  asked: readonly string[],
  reference: string,
): { readonly found: ReadonlyMap<string, KeySequences>; readonly missing: readonly string[] } {
  const isKnown = (id: string): boolean => {
    const place = list.placeOf.get(id);
    return place !== undefined && hasFuture(list, place);
  };
  const { found, missing } = recordsById(records, schema, asked, reference, isKnown);
  const sequences = new Map<string, KeySequences>();
  for (const [key, { record, index }] of found) {
    const { verb, noun } = record;
    if (!isSequences(verb) || !isSequences(noun) || verb.length !== noun.length) {
      throw recordFault(
        index,
        `\`verb\`, \`noun\`: expected [${sequenceCount}][${futureLength}] whole numbers from 0`,
        'predict again, or remove the record',
      );
    }
    sequences.set(key, { verb, noun });
  }
  return { found: sequences, missing };
}

function isSequences(value: unknown): value is readonly (readonly number[])[] {
  return (
    Array.isArray(value) &&
    value.length === sequenceCount &&
    value.every(
      (row) =>
        Array.isArray(row) &&
        row.length === futureLength &&
        row.every((label: unknown) => typeof label === 'number' && Number.isInteger(label) && label >= 0),
    )
  );
}

function usualSequences(given: readonly KeySequences[]): KeySequences {
  const repeated = (label: number): number[][] =>
    Array.from({ length: sequenceCount }, () => new Array<number>(futureLength).fill(label));
  return {
    verb: repeated(mostFrequent(given.map(({ verb }) => verb))),
    noun: repeated(mostFrequent(given.map(({ noun }) => noun))),
  };
}

function mostFrequent(sequences: readonly (readonly (readonly number[])[])[]): number {
  const counts = new Map<number, number>();
  for (const rows of sequences) {
    for (const row of rows) for (const label of row) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  let best = 0;
  for (const [label, count] of counts) if (count > (counts.get(best) ?? 0)) best = label;
  return best;
}
