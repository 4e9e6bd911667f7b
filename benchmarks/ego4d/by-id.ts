/** For the tasks whose predictions are one answer an id (FHP, LTA, PNR, OSCC): which file is which, and our records by id. */
import { EgolensError } from '../../src/errors.js';
import type { FindingList } from '../../src/findings.js';
import type { JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import { assertRecords, recordFault, recordText } from '../records.js';
import { pointer, shown } from './checks.js';
import { describeFile } from './videos-file.js';

/** A part that a file can play, recognised by its content. */
export interface Role {
  /** For messages: ``the annotations (`fho_lta_val.json`)``. */
  readonly what: string;
  is(value: unknown): boolean;
}

/**
 * Which file plays which part.
 *
 * @throws EgolensError data.invalid for a file that plays none, and for two that play the same
 */
export function castFiles<Name extends string>(
  documents: readonly JsonDocument[],
  roles: Readonly<Record<Name, Role>>,
): Partial<Record<Name, JsonDocument>> {
  const cast: Partial<Record<Name, JsonDocument>> = {};
  const names = Object.keys(roles) as Name[]; // the keys of the table
  for (const document of documents) {
    const name = names.find((candidate) => roles[candidate].is(document.value));
    if (name === undefined) {
      const wanted = names.map((candidate) => roles[candidate].what).join(', or ');
      throw new EgolensError(
        'data.invalid',
        `\`${document.name}\`: expected ${wanted}; found ${describeFile(document)}`,
        { try: 'give the file of this task, or name the task of this file', input: document.name },
      );
    }
    const other = cast[name];
    if (other !== undefined) {
      throw new EgolensError(
        'data.invalid',
        `\`${other.name}\` and \`${document.name}\` are both ${roles[name].what}; expected one of them`,
        { input: document.name },
      );
    }
    cast[name] = document;
  }
  return cast;
}

/** The file of a part that must be there. */
export function needed(document: JsonDocument | undefined, role: Role): JsonDocument {
  if (document !== undefined) return document;
  throw new EgolensError('data.invalid', `expected ${role.what} among the files, found none`);
}

/** A record and its place in the list. */
export interface KeptRecord {
  readonly record: JsonObject;
  readonly index: number;
}

/**
 * Our records by `id`, and the ids that are asked for and have none.
 *
 * @param asked ids of the annotation file, in its order
 * @param isKnown also ids that are not asked for and yet belong to the file
 * @throws EgolensError data.unknown_id for an id that is not in the file; data.invalid for one that comes twice, for a record of
 *         another schema, and for a record of a file of one's own
 */
export function recordsById(
  records: readonly JsonObject[],
  schema: string,
  asked: readonly string[],
  reference: string,
  isKnown: (id: string) => boolean,
): { readonly found: ReadonlyMap<string, KeptRecord>; readonly missing: readonly string[] } {
  assertRecords(records, schema);
  const found = new Map<string, KeptRecord>();
  records.forEach((record, index) => {
    const of = record['of'];
    if (isObject(of) && of['kind'] === 'file') {
      throw recordFault(
        index,
        '`of`: expected a clip or video of the data set, found a file of your own',
        'predict with `--ego4d`, which gives records their ids',
      );
    }
    const id = recordText(record, index, 'id');
    if (!isKnown(id)) {
      throw new EgolensError('data.unknown_id', `record ${index + 1}: \`${id}\` is not in \`${reference}\``, {
        try: 'give the annotation file of the split that was predicted',
      });
    }
    const before = found.get(id);
    if (before !== undefined) {
      throw recordFault(
        index,
        `\`${id}\` comes a second time, before in record ${before.index + 1}`,
        'remove one of them',
      );
    }
    found.set(id, { record, index });
  });
  return { found, missing: asked.filter((id) => !found.has(id)) };
}

/** What `submit` tells of ids without a record. */
export function missingNotes(missing: number, asked: number, what: string, filledWith: string | undefined): string[] {
  if (missing === 0) return [];
  return [
    filledWith === undefined
      ? `${missing} of ${asked} ${what} have no prediction and are left out; \`--fill-missing\` writes them`
      : `${missing} of ${asked} ${what} have no prediction and are filled with ${filledWith}`,
  ];
}

/** `file.form` and false where the whole value is not what the task wants. */
export function checkForm(list: FindingList, value: unknown, form: 'object' | 'list', expected: string): boolean {
  if (form === 'object' ? isObject(value) : Array.isArray(value)) return true;
  list.error('file.form', () => ({ at: '', expected, found: shown(value) }));
  return false;
}

/** `file.envelope` where an object by id carries the members of other challenges' files. */
export function checkNoEnvelope(list: FindingList, value: JsonObject): boolean {
  const key = ['results', 'version', 'challenge'].find((name) => Object.hasOwn(value, name));
  if (key === undefined) return true;
  list.error('file.envelope', () => ({
    at: pointer(key),
    expected: 'answers by id, nothing around them',
    found: `a member \`${key}\``,
    hint: 'this challenge has no `version`, `challenge` or `results`',
  }));
  return false;
}

/** `file.empty` where nothing is predicted. */
export function checkNotEmpty(list: FindingList, count: number, what: string): void {
  if (count > 0) return;
  list.error('file.empty', () => ({ at: '', expected: `at least one ${what}`, found: 'none' }));
}

/** A warning `field.unknown` for members that the challenge does not read. */
export function warnOtherFields(list: FindingList, item: JsonObject, known: readonly string[], at: () => string): void {
  for (const field in item) {
    if (known.includes(field)) continue;
    list.warning('field.unknown', () => ({
      at: at() + pointer(field),
      expected: known.map((name) => `\`${name}\``).join(' and '),
      found: `a member \`${field}\``,
    }));
  }
}

/** What `read` makes of the reference file; undefined, and `reference.unreadable`, where it is another file or a broken one. */
export function readReference<T>(list: FindingList, against: JsonDocument, read: () => T | undefined): T | undefined {
  let found = `\`${against.name}\`: ${describeFile(against)}`;
  try {
    const value = read();
    if (value !== undefined) return value;
  } catch (error) {
    if (!(error instanceof EgolensError)) throw error;
    found = error.message;
  }
  list.error('reference.unreadable', () => ({
    at: '',
    expected: 'the annotation file of this task to compare with',
    found,
  }));
  return undefined;
}
