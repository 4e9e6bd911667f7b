/** Our own records about boxes (files.md 7) on the way into a submission, and a submission on the way into an evaluator. */
import { EgolensError } from '../../src/errors.js';
import { Float, float } from '../../src/json.js';
import type { JsonDocument, Submission } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import { areRecords, recordFault, recordNumber } from '../records.js';
import { isNumber } from './box-reading.js';
import { shown } from './checks.js';

/** The finite number in a field, whichever way the reader gives integers. */
export function recordFloat(record: JsonObject, index: number, field: string): Float {
  const value = record[field];
  return float(typeof value === 'bigint' ? Number(value) : recordNumber(record, index, field));
}

/** The whole number in a field. */
export function recordInteger(record: JsonObject, index: number, field: string): number {
  const { value } = recordFloat(record, index, field);
  if (Number.isSafeInteger(value)) return value;
  throw recordFault(
    index,
    `\`${field}\`: expected a whole number, found \`${value}\``,
    'ids and frames are whole numbers',
  );
}

/** `box`: four finite numbers [x1, y1, x2, y2] of `holder`, which is the record or a part of it. */
export function recordCorners(holder: unknown, index: number): [number, number, number, number] {
  const box = isObject(holder) ? holder['box'] : undefined;
  if (Array.isArray(box) && box.length === 4) {
    const corners = box.map((side: unknown) => (isNumber(side) ? Number(side) : NaN));
    if (corners.every(Number.isFinite)) return corners as [number, number, number, number]; // four, checked above
  }
  const hint = 'a box is [x1, y1, x2, y2] in pixels of the full-scale frame';
  throw recordFault(index, `\`box\`: expected four finite numbers, found ${shown(box)}`, hint);
}

/** The id of the record as text: records and annotation files may differ in whether a number is written as one. */
export function recordId(record: JsonObject, index: number): string {
  const id = record['id'];
  if ((typeof id === 'string' && id !== '') || isNumber(id)) return String(id);
  const hint = 'predict with `--ego4d`, which gives records their ids';
  throw recordFault(index, `\`id\`: expected an id of the annotation file, found ${shown(id)}`, hint);
}

/** The error for a record of something that the annotation file does not hold. */
export function unknownRecord(index: number, what: string, test: JsonDocument): EgolensError {
  return new EgolensError('data.unknown_id', `record ${index + 1}: ${what} is not in \`${test.name}\``, {
    try: 'give the annotation file of the split that was predicted',
    input: test.name,
  });
}

/** The error for items without a record; `first` names one of them. */
export function incomplete(missing: number, of: number, what: string, first: string): EgolensError {
  return new EgolensError('data.invalid', `${missing} of ${of} ${what} have no record, so \`${first}\``, {
    try: 'predict them, or give `--fill-missing` to write them as empty',
  });
}

/**
 * Predictions in the challenge's form: a document that holds records of `schema` is turned into it first.
 *
 * @param write the writer of the challenge's submission; records of a part of the data set are filled up with empty predictions
 */
export function inChallengeForm(
  document: JsonDocument,
  schema: string,
  write: (records: readonly JsonObject[]) => Submission,
): JsonDocument {
  const { value, name, bytes, findings } = document;
  if (!Array.isArray(value) || value.length === 0 || !areRecords(value, schema)) return document;
  return { name, bytes, findings, value: asRead(write(value).json), line: () => undefined };
}

/** A value for the writer as the reader that keeps literals would give it: `Float` as number, a whole number as bigint. */
function asRead(value: unknown): unknown {
  if (value instanceof Float) return value.value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(asRead);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, asRead(member)]));
}
