/** Members of annotation files, checked one by one: what the readers of single tasks share. */
import { EgolensError } from '../errors.js';
import type { JsonDocument } from '../types.js';
import { isUid } from './annotated-videos.js';

export type Entry = Readonly<Record<string, unknown>>;

export function isEntry(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A finite number. @throws EgolensError data.invalid */
export function numberIn(document: JsonDocument, entry: Entry, name: string, at: string): number {
  const value = entry[name];
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw fault(document, `${at}/${name}`, 'a number', value);
}

/** @throws EgolensError data.invalid for what can be no uid of Ego4D */
export function uidIn(document: JsonDocument, entry: Entry, name: string, at: string): string {
  const value = entry[name];
  if (typeof value === 'string' && isUid(value)) return value;
  throw fault(document, `${at}/${name}`, 'a uid', value);
}

/** The error for a member of another form: place, line where it is known, what was expected and found. */
export function fault(document: JsonDocument, at: string, expected: string, value: unknown): EgolensError {
  const line = document.line(at);
  const where = at === '' ? 'the whole file' : at;
  const found = value === undefined ? 'none' : JSON.stringify(value).slice(0, 60);
  return new EgolensError(
    'data.invalid',
    `\`${document.name}\`: ${where}${line === undefined ? '' : ` (line ${line})`}: expected ${expected}, found ${found}`,
    { input: document.name },
  );
}
