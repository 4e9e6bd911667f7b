/** Faults of Long-Term action Anticipation files. */
import { findingList, type FindingList } from '../../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import { checkForm, checkNoEnvelope, checkNotEmpty, readReference, warnOtherFields } from './by-id.js';
import { checkIds, pointer, shown } from './checks.js';
import {
  askedKeys,
  futureLength,
  hasFuture,
  inferInputActions,
  isActionFile,
  isTaxonomy,
  readActions,
  type ActionList,
} from './lta-actions.js';

/** Sequences that the challenge wants for each key. */
export const sequenceCount = 5;

const fields = ['verb', 'noun'] as const;
/** Classes of v2, the larger taxonomy (ego4d.md 3.6, from memory): more than these is suspicious where no taxonomy is given. */
const usualClasses = { verb: 117, noun: 521 } as const;

type ClassLimits = Readonly<Record<(typeof fields)[number], { readonly count: number; readonly isSure: boolean }>>;

/**
 * Every fault of a file of this task; a predictions file has the form of a submission. `against` may be the annotations (keys) or the
 * taxonomy (classes).
 */
export function checkLta(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  list.add(document.findings);
  if (kind === 'annotations') checkAnnotations(list, document, against);
  else checkAnswers(list, document.value, kind, against);
  return list.all();
}

function checkAnswers(
  list: FindingList,
  value: unknown,
  kind: Exclude<DocumentKind, 'annotations'>,
  against: JsonDocument | undefined,
): void {
  if (!checkForm(list, value, 'object', 'an object of {verb, noun} by key') || !isObject(value)) return;
  if (isActionFile(value)) {
    list.error('file.form', () => ({ at: '/clips', expected: 'predictions by key', found: 'an annotation file' }));
    return;
  }
  if (!checkNoEnvelope(list, value)) return;
  const keys = Object.keys(value);
  checkNotEmpty(list, keys.length, 'key');
  const limits = classLimits(against);
  for (const key of keys) checkItem(list, value[key], key, limits);
  if (against !== undefined && !isTaxonomy(against.value)) {
    checkKeys(list, keys, kind, against);
    return;
  }
  for (const key of keys) {
    if (/^.+_\d+$/.test(key)) continue;
    list.error('key.form', () => ({ at: pointer(key), expected: '`<clip_uid>_<action_idx>`', found: `\`${key}\`` }));
  }
}

function checkKeys(
  list: FindingList,
  keys: readonly string[],
  kind: Exclude<DocumentKind, 'annotations'>,
  against: JsonDocument,
): void {
  const actions = readReference(list, against, () => (isActionFile(against.value) ? readActions(against) : undefined));
  if (actions === undefined) return;
  const seen = inferInputActions(actions, keys);
  const asked = new Set(seen === undefined ? [] : askedKeys(actions, seen));
  // Keys with more or fewer seen actions than the rest: scored, but perhaps not asked for.
  const others = keys.filter((key) => !asked.has(key) && isScored(actions, key));
  for (const key of others) {
    list.warning('key.seen', () => ({
      at: pointer(key),
      expected: `a key of at least ${seen ?? 0} seen actions, as in the other clips`,
      found: `\`${key}\``,
    }));
  }
  const given = keys.filter((key) => {
    const place = actions.placeOf.get(key);
    if (place === undefined || hasFuture(actions, place)) return true;
    list.error('key.future', () => ({
      at: pointer(key),
      expected: `an action with ${futureLength} after it`,
      found: `${actions.clips[actions.clipOf[place]!]!.to - place - 1} after \`${key}\``,
      hint: 'there is nothing to compare the last sequences with',
    }));
    return false;
  });
  checkIds(list, new Set([...asked, ...others]), given, (i) => pointer(given[i]!), {
    what: 'key',
    within: '',
    missing: kind === 'submission' ? 'error' : 'warning',
    hint: `a key is <clip_uid>_<action_idx of the last seen action>${seen === undefined ? '' : `; ${seen} actions are seen`}`,
  });
}

function isScored(actions: ActionList, key: string): boolean {
  const place = actions.placeOf.get(key);
  return place !== undefined && hasFuture(actions, place);
}

function classLimits(against: JsonDocument | undefined): ClassLimits {
  if (against !== undefined && isTaxonomy(against.value)) {
    const { verbs, nouns } = against.value;
    return { verb: { count: verbs.length, isSure: true }, noun: { count: nouns.length, isSure: true } };
  }
  return { verb: { count: usualClasses.verb, isSure: false }, noun: { count: usualClasses.noun, isSure: false } };
}

function checkItem(list: FindingList, item: unknown, key: string, limits: ClassLimits): void {
  if (!isObject(item)) {
    list.error('field.type', () => ({
      at: pointer(key),
      expected: 'an object of `verb` and `noun`',
      found: shown(item),
    }));
    return;
  }
  warnOtherFields(list, item, fields, () => pointer(key));
  for (const field of fields) checkSequences(list, item, key, field, limits[field]);
}

function checkSequences(
  list: FindingList,
  item: JsonObject,
  key: string,
  field: (typeof fields)[number],
  limit: ClassLimits['verb'],
): void {
  const rows = item[field];
  if (!Array.isArray(rows)) {
    list.error(rows === undefined ? 'field.missing' : 'field.type', () => ({
      at: pointer(key, field),
      expected: `${sequenceCount} lists of ${futureLength} classes`,
      found: shown(rows),
    }));
    return;
  }
  if (rows.length !== sequenceCount) {
    const isTurned = rows.length === futureLength && Array.isArray(rows[0]) && rows[0].length === sequenceCount;
    list.error('list.length', () => ({
      at: pointer(key, field),
      expected: `${sequenceCount} sequences`,
      found: shown(rows),
      ...(isTurned ? { hint: `this is ${futureLength} x ${sequenceCount}: turn it round` } : {}),
    }));
    if (isTurned) return;
  }
  for (let k = 0; k < rows.length; k++) checkSequence(list, rows[k], key, field, k, limit);
}

function checkSequence(
  list: FindingList,
  row: unknown,
  key: string,
  field: (typeof fields)[number],
  k: number,
  limit: ClassLimits['verb'],
): void {
  if (!Array.isArray(row)) {
    list.error('field.type', () => ({
      at: pointer(key, field, k),
      expected: `a list of ${futureLength} classes`,
      found: shown(row),
    }));
    return;
  }
  if (row.length !== futureLength) {
    list.error('list.length', () => ({
      at: pointer(key, field, k),
      expected: `${futureLength} classes`,
      found: shown(row),
    }));
  }
  for (let z = 0; z < row.length; z++) {
    const label: unknown = row[z];
    if (typeof label === 'number' && label >= 0 && label < limit.count && Number.isInteger(label)) continue;
    const at = (): string => pointer(key, field, k, z);
    if (typeof label !== 'bigint' && !Number.isInteger(label)) {
      list.error('field.type', () => ({ at: at(), expected: 'a whole number', found: shown(label) }));
      continue;
    }
    const number = Number(label);
    if (number >= 0 && number < limit.count) continue;
    const detail = () => ({
      at: at(),
      expected: `a class from 0 to ${limit.count - 1}`,
      found: shown(label),
      ...(limit.isSure ? {} : { hint: 'the taxonomy of v2 has no more; compare with `fho_lta_taxonomy.json`' }),
    });
    if (number < 0 || limit.isSure) list.error('number.range', detail);
    else list.warning('number.range', detail);
  }
}

function checkAnnotations(list: FindingList, document: JsonDocument, against: JsonDocument | undefined): void {
  const { value } = document;
  if (isTaxonomy(value)) {
    for (const field of ['verbs', 'nouns'] as const) {
      const names = value[field].map(String);
      checkIds(list, new Set(names), names, (i) => pointer(field, i), {
        what: 'name',
        within: pointer(field),
        repeated: 'warning',
      });
    }
    return;
  }
  if (!isActionFile(value)) {
    list.error('file.form', () => ({
      at: '/clips',
      expected: 'a list of actions with `action_idx`',
      found: shown(value),
    }));
    return;
  }
  const limits = against !== undefined && isTaxonomy(against.value) ? classLimits(against) : undefined;
  const keys: string[] = [];
  const places: number[] = [];
  const labels = { verb: new Map<number, unknown>(), noun: new Map<number, unknown>() };
  for (const [i, action] of (value['clips'] as readonly unknown[]).entries()) {
    const at = (field: string): string => pointer('clips', i, field);
    if (!isObject(action)) {
      list.error('field.type', () => ({ at: pointer('clips', i), expected: 'an object', found: shown(action) }));
      continue;
    }
    const { clip_uid: clip, action_idx: index } = action;
    if (typeof clip !== 'string' || typeof index !== 'number' || !Number.isInteger(index)) {
      const field = typeof clip === 'string' ? 'action_idx' : 'clip_uid';
      list.error(action[field] === undefined ? 'field.missing' : 'field.type', () => ({
        at: at(field),
        expected: field === 'clip_uid' ? 'text' : 'a whole number',
        found: shown(action[field]),
      }));
      continue;
    }
    keys.push(`${clip}_${index}`);
    places.push(i);
    for (const field of fields) checkLabel(list, action, field, i, limits, labels[field]);
  }
  checkIds(list, new Set(keys), keys, (i) => pointer('clips', places[i]!, 'action_idx'), {
    what: '`clip_uid` and `action_idx`',
    within: '/clips',
  });
}

function checkLabel(
  list: FindingList,
  action: JsonObject,
  field: (typeof fields)[number],
  i: number,
  limits: ClassLimits | undefined,
  names: Map<number, unknown>,
): void {
  const name = action[field];
  const label = action[`${field}_label`];
  if (name === undefined && label === undefined) return; // the test file
  const at = pointer('clips', i, `${field}_label`);
  if (typeof label !== 'number' || !Number.isInteger(label)) {
    list.error('field.type', () => ({ at, expected: 'a whole number', found: shown(label) }));
    return;
  }
  if (label < 0 || (limits !== undefined && label >= limits[field].count)) {
    const most = limits === undefined ? 'up' : `to ${limits[field].count - 1}`;
    list.error('number.range', () => ({ at, expected: `a class from 0 ${most}`, found: shown(label) }));
  }
  if (!names.has(label)) names.set(label, name);
  else if (names.get(label) !== name) {
    list.warning('label.name', () => ({
      at,
      expected: `class ${label} to be ${shown(names.get(label))}`,
      found: shown(name),
    }));
  }
}
