/** Reading documents of challenges: what the official evaluator dies on becomes an error that names the file, the place and the remedy. */
import { EgolensError, type ErrorCode } from '../src/errors.js';
import type { JsonDocument } from '../src/types.js';
import { shown } from './ego4d/checks.js';

/** A JSON object whose members are not checked yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Is the value a JSON object, and no list? */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A fault at a JSON pointer; of a missing member, the pointer of what should hold it followed by its name. */
export function fault(
  document: JsonDocument,
  at: string,
  expected: string,
  found: unknown,
  hint: string,
  code: ErrorCode = 'data.invalid',
): EgolensError {
  const line = document.line(at) ?? document.line(at.slice(0, Math.max(0, at.lastIndexOf('/'))));
  const place = `${at === '' ? 'the whole file' : at}${line === undefined ? '' : ` (line ${line})`}`;
  return new EgolensError(code, `\`${document.name}\`: ${place}: expected ${expected}, found ${shown(found)}`, {
    try: hint,
    input: document.name,
  });
}

/** The value as an object, else a fault at `at()`. */
export function objectAt(document: JsonDocument, value: unknown, at: () => string, hint: string): JsonObject {
  if (!isObject(value)) throw fault(document, at(), 'an object', value, hint);
  return value;
}

/** Members of an object of the document, in the order of the file. */
export function entriesOf(document: JsonDocument, object: JsonObject): readonly (readonly [string, unknown])[] {
  const keys = document.keys?.(object);
  return keys === undefined ? Object.entries(object) : keys.map((key) => [key, object[key]]);
}

/** The value as a list, else a fault at `at()`. */
export function listAt(document: JsonDocument, value: unknown, at: () => string, hint: string): readonly unknown[] {
  if (!Array.isArray(value)) throw fault(document, at(), 'a list', value, hint);
  return value;
}

/** The value as text, else a fault at `at()`. */
export function textAt(document: JsonDocument, value: unknown, at: () => string, hint: string): string {
  if (typeof value !== 'string') throw fault(document, at(), 'text', value, hint);
  return value;
}

/** The value as a number (NaN and infinities are numbers), else a fault at `at()`. */
export function numberAt(document: JsonDocument, value: unknown, at: () => string, hint: string): number {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'number') throw fault(document, at(), 'a number', value, hint);
  return value;
}

/** Numbers names in the order in which they first appear. */
export class NameTable {
  readonly #numbers = new Map<string, number>();

  get names(): string[] {
    return [...this.#numbers.keys()];
  }

  get size(): number {
    return this.#numbers.size;
  }

  /** The number of a name that was added; undefined for others. */
  find(name: string): number | undefined {
    return this.#numbers.get(name);
  }

  /** The number of a name, which is added where it is new. */
  add(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) this.#numbers.set(name, (number = this.#numbers.size));
    return number;
  }
}
