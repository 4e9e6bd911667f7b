/**
 * Object state change classification (OSCC): does an object change its state in the clip?
 *
 * Source: EGO4D/hands-and-objects (0aea0a4e) state-change-localization-classification/i3d-resnet50/evaluation/metrics.py,
 * state_change_accuracy. Formats and quirks: ego4d.md 3.8.
 */
import type { FindingList } from '../../src/findings.js';
import { accuracy, argmax, countByClass, type ClassCounts } from '../../src/metrics/classes.js';
import type {
  Challenge,
  DocumentKind,
  Evaluation,
  Finding,
  JsonDocument,
  Prepared,
  Score,
  Submission,
  SubmissionOptions,
} from '../../src/types.js';
import { fault, type JsonObject } from '../reading.js';
import { areRecords, recordFault } from '../records.js';
import { missingNotes, recordsById } from './by-id.js';
import { shown } from './checks.js';
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

/** The challenge of object state change classification. */
export const oscc: Challenge = {
  task: 'oscc',
  summary: 'Object state change classification: share of clips told right',
  primary: { metric: 'accuracy', higherIsBetter: true },
  check,
  prepare,
  submission,
};

const form: AnswerForm = { field: 'state_change', schema: 'egolens.oscc/1', logits: 2 };
const labels = ['no change', 'change'] as const;

interface ChangeData {
  readonly clips: readonly ChangeClip[];
  /** By clip, 1 for a change. */
  readonly truth: Int32Array;
  readonly predicted: Uint8Array;
  readonly isRight: Uint8Array;
  readonly notes: readonly string[];
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  const { document, clips } = readTruth(truth);
  if (clips.length === 0) throw fault(document, '/clips', 'at least one clip', [], 'the official mean is undefined');
  const data = readChanges(document, clips, predictions);
  const { units, unitOf } = unitsOf(clips);
  return {
    units,
    evaluate: ({ detail }) => evaluate(data, detail),
    resample(sample) {
      const repeats = new Int32Array(units.length);
      for (const unit of sample) repeats[unit]!++;
      return rowsOf(
        countByClass(
          data.truth,
          data.isRight,
          labels.length,
          unitOf.map((unit) => repeats[unit]!),
        ),
      );
    },
  };
}

/** @quirk equal logits are no change: argmax takes the first of them */
function readChanges(
  truth: JsonDocument,
  clips: readonly ChangeClip[],
  predictions: readonly JsonDocument[],
): ChangeData {
  const files = castAnswers(predictions, form);
  const notes: string[] = [];
  const told: Uint8Array[] = [];
  const { logits, answers } = files;
  if (logits !== undefined) {
    told.push(Uint8Array.from(clips, (clip) => argmax(logitsOf(logits, clip, labels.length))));
    notes.push(...surplusNotes(Object.keys(logits.value as JsonObject), clips, logits.name)); // castAnswers: an object
  }
  if (answers !== undefined) {
    const byId = changesById(answers, clips, truth.name);
    told.push(
      Uint8Array.from(clips, (clip) => {
        const answer = byId.get(clip.id);
        if (answer === undefined) throw missingAnswer(answers, clip);
        if (typeof answer.value !== 'boolean') {
          throw fault(answers, answer.at, 'true or false', answer.value, 'write it without quotes');
        }
        return Number(answer.value);
      }),
    );
    notes.push(...surplusNotes(byId.keys(), clips, answers.name));
  }
  if (clips.length > 0 && clips.every(({ clip }) => (clip['state_change'] ?? null) === null))
    notes.push(
      `no clip of \`${truth.name}\` has a \`state_change\`, so all count as changes: is it the unannotated test file?`,
    );
  const predicted = told[0]!; // castAnswers: one of them is there
  const differing = predicted.filter((change, i) => change !== (told[1] ?? predicted)[i]).length;
  if (differing > 0)
    notes.push(`logits and submission differ in ${differing} clips; the numbers are those of the logits`);
  const truthLabels = Int32Array.from(clips, ({ isChange }) => Number(isChange));
  const isRight = predicted.map((change, i) => Number(change === truthLabels[i]));
  return { clips, truth: truthLabels, predicted, isRight, notes };
}

function evaluate({ clips, truth, predicted, isRight, notes }: ChangeData, detail: boolean): Evaluation {
  const counts = countByClass(truth, isRight, labels.length);
  const rows = rowsOf(counts);
  return {
    official: {
      accuracy: rows[0]!.value, // the only row
      num_clips: clips.length,
      num_positive: counts.items[1]!,
      predicted_positive: predicted.filter((change) => change === 1).length,
    },
    corrected: null,
    rows,
    ...(detail
      ? {
          perClass: labels.map((label, c) => ({
            metric: 'accuracy',
            value: counts.hits[c]! / counts.items[c]!,
            at: { label },
          })),
          perItem: clips.map(({ id }, i) => ({ metric: 'right', value: isRight[i]!, at: { item: id } })),
        }
      : {}),
    notes,
  };
}

function rowsOf(counts: ClassCounts): Score[] {
  return [{ metric: 'accuracy', value: accuracy(counts) }];
}

function changesById(
  document: JsonDocument,
  clips: readonly ChangeClip[],
  reference: string,
): ReturnType<typeof answersById> {
  const { value } = document;
  if (!areRecords(value, form.schema)) return answersById(document, form.field);
  const { found } = changesOfRecords(value, clips, reference);
  return new Map([...found].map(([id, change]) => [id, { value: change, at: '' }]));
}

function changesOfRecords(
  records: readonly JsonObject[],
  clips: readonly ChangeClip[],
  reference: string,
): { readonly found: ReadonlyMap<string, boolean>; readonly missing: readonly string[] } {
  const asked = [...new Set(clips.map(({ id }) => id))];
  const known = new Set(asked);
  const { found, missing } = recordsById(records, form.schema, asked, reference, (id) => known.has(id));
  const changes = new Map<string, boolean>();
  for (const [id, { record, index }] of found) {
    const change = record['state_change'];
    if (typeof change !== 'boolean') {
      const what = `\`state_change\`: expected true or false, found \`${JSON.stringify(change)}\``;
      throw recordFault(index, what, 'predict again, or remove the record');
    }
    changes.set(id, change);
  }
  return { found: changes, missing };
}

/**
 * Records of `state-change --mode classify` -> the submission, in the order of the annotation file. Missing clips are filled with
 * what most of the records say; no change where they say both equally often.
 */
function submission(records: readonly JsonObject[], test: JsonDocument, options: SubmissionOptions): Submission {
  const { document, clips } = readTruth([test]);
  const { found, missing } = changesOfRecords(records, clips, document.name);
  const usual = [...found.values()].filter((change) => change).length * 2 > found.size;
  const fillable = new Set(options.fillMissing ? missing : []);
  const written = new Set<string>();
  const json = clips.flatMap(({ id }) => {
    if (written.has(id)) return [];
    written.add(id);
    const change = found.get(id) ?? (fillable.has(id) ? usual : undefined);
    return change === undefined ? [] : [{ unique_id: id, state_change: change }];
  });
  return {
    json,
    counts: { written: found.size, filled: fillable.size, left_out: missing.length - fillable.size },
    notes: missingNotes(missing.length, written.size, 'clips', options.fillMissing ? `\`${usual}\`` : undefined),
  };
}

function check(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  return checkChanges(kind, document, against, form, checkChange, () => false);
}

function checkChange(list: FindingList, value: unknown, at: () => string): void {
  if (typeof value === 'boolean') return;
  list.error('field.type', () => ({
    at: at(),
    expected: 'true or false',
    found: shown(value),
    ...(value === 0 || value === 1 || value === 'true' || value === 'false'
      ? { hint: 'write the JSON word, without quotes and not as a number' }
      : {}),
  }));
}
