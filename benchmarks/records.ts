/** Our own records (files.md 7) on the way into a challenge: checked fields, and whose seconds they are. */
import { EgolensError } from '../src/errors.js';
import { isObject, type JsonObject } from './reading.js';

/** Whose seconds a record's are. */
export interface Owner {
  readonly kind: 'clip' | 'video';
  readonly uid: string;
}

/** A fault of the record with that index (from 0), which messages count from 1. */
export function recordFault(index: number, what: string, hint: string): EgolensError {
  return new EgolensError('data.invalid', `record ${index + 1}: ${what}`, { try: hint });
}

/** The number in a field of the record with that index. */
export function recordNumber(record: JsonObject, index: number, field: string): number {
  const value = record[field];
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw recordFault(
    index,
    `\`${field}\`: expected a finite number, found \`${String(value)}\``,
    'predict again, or remove the record',
  );
}

/** The text in a field of the record with that index. */
export function recordText(record: JsonObject, index: number, field: string): string {
  const value = record[field];
  if (typeof value === 'string' && value !== '') return value;
  const found = value === null || value === undefined ? 'none' : `\`${JSON.stringify(value)}\``;
  throw recordFault(
    index,
    `\`${field}\`: expected text, found ${found}`,
    'predict with `--ego4d`, which gives records their ids',
  );
}

/** Whose seconds the record's are; a file of one's own belongs to no challenge. */
export function recordOwner(record: JsonObject, index: number): Owner {
  const of = record['of'];
  const kind = isObject(of) ? of['kind'] : undefined;
  const uid = isObject(of) ? of['uid'] : undefined;
  if ((kind === 'clip' || kind === 'video') && typeof uid === 'string') return { kind, uid };
  throw recordFault(
    index,
    `\`of\`: expected the clip or video of the data set whose seconds these are, found \`${JSON.stringify(of)}\``,
    'predict with `--ego4d`: a file by itself does not tell which clip it is',
  );
}

/** Are these records of that schema? An empty list is, of any. */
export function areRecords(value: unknown, schema: string): value is readonly JsonObject[] {
  return Array.isArray(value) && value.every((item) => isObject(item) && item['schema'] === schema);
}

/** Every record has the schema; throws naming the first that has another. */
export function assertRecords(records: readonly JsonObject[], schema: string): void {
  records.forEach((record, index) => {
    if (record['schema'] !== schema) {
      throw recordFault(
        index,
        `expected \`${schema}\`, found \`${JSON.stringify(record['schema'])}\``,
        'give the records of this task',
      );
    }
  });
}
