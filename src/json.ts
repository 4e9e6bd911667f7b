import { EgolensError } from './errors.js';

/** A number that is always written with a decimal point or exponent: `1` becomes `1.0` (files.md 1). */
export class Float {
  constructor(readonly value: number) {}
}

/** Shorthand for records: `{ start: float(0) }` prints `{"start":0.0}`. */
export function float(value: number): Float {
  return new Float(value);
}

/** What the writer takes: JSON values, and `Float` where a decimal point is part of the contract. Undefined members are left out. */
export type JsonValue =
  null | boolean | number | string | Float | readonly JsonValue[] | { readonly [key: string]: JsonValue | undefined };

/** `0.5`, `1.0`, `1e+21`; throws `data.not_finite` for NaN and infinities, which JSON does not have. */
export function floatText(value: number): string {
  if (!Number.isFinite(value)) throw new EgolensError('data.not_finite', `expected a finite number, found ${value}`);
  const text = Object.is(value, -0) ? '-0.0' : String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** JSON text; keys in insertion order; one line, or indented by `indent` blanks with no final newline. */
export function jsonText(value: JsonValue, indent = 0): string {
  return write(value, indent, '');
}

function write(value: JsonValue, indent: number, margin: string): string {
  if (value instanceof Float) return floatText(value.value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new EgolensError('data.not_finite', `expected a finite number, found ${value}`);
    return JSON.stringify(value);
  }
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const inner = margin + ' '.repeat(indent);
  const open = indent > 0 ? `\n${inner}` : '';
  const separator = indent > 0 ? `,\n${inner}` : ',';
  const close = indent > 0 ? `\n${margin}` : '';
  if (Array.isArray(value)) {
    const items = value as readonly JsonValue[];
    if (items.length === 0) return '[]';
    // Rows of plain numbers stay on one line: shapes, means and views are read at a glance.
    if (items.every((item) => typeof item === 'number' || item instanceof Float)) {
      return `[${items.map((item) => write(item, 0, '')).join(indent > 0 ? ', ' : ',')}]`;
    }
    return `[${open}${items.map((item) => write(item, indent, inner)).join(separator)}${close}]`;
  }
  const entries = Object.entries(value as { readonly [key: string]: JsonValue | undefined }).flatMap(([key, member]) =>
    member === undefined ? [] : [`${JSON.stringify(key)}:${indent > 0 ? ' ' : ''}${write(member, indent, inner)}`],
  );
  return entries.length === 0 ? '{}' : `{${open}${entries.join(separator)}${close}}`;
}

/**
 * JSON text of plain data with the keys of every object in order of their UTF-16 codes: what digests are taken of. Undefined
 * members are left out; anything that JSON does not have (NaN, functions, bigints, class instances) is refused as a fault of ours.
 */
export function canonicalText(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(',')}]`;
  if (typeof value !== 'object' || ![Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)) {
    throw new EgolensError('internal.bug', `expected plain JSON data, found another ${typeof value}`);
  }
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalText(member)}`).join(',')}}`;
}
