import { shortText } from './bytes.js';

/**
 * What a pickle holds, as data. Tuples are frozen arrays; dicts are Maps, so a key `__proto__` is a key like any other;
 * integers beyond 2^53 are bigint. The structure may share parts and may contain itself: who walks it must bound the walk.
 */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly PickleValue[]
  | Map<PickleValue, PickleValue>
  | Set<PickleValue>
  | PickleRecord
  | PicklePersistent;

/** A class or function that the pickle names, or what calling it would have made. Nothing was called: this is what the file says, no more. */
export interface PickleRecord {
  readonly kind: 'record';
  readonly module: string;
  readonly name: string;
  /** What it would have been called with; null for the bare name. */
  readonly args: readonly PickleValue[] | null;
  /** Argument of BUILD: usually the attributes, as a Map. */
  state: PickleValue | undefined;
  /** Elements, of list-like objects. */
  items: PickleValue[] | null;
  /** Pairs, of dict-like objects. */
  entries: Map<PickleValue, PickleValue> | null;
}

/** A reference to something outside the pickle: for torch a storage. */
export interface PicklePersistent {
  readonly kind: 'persistent';
  readonly id: PickleValue;
}

/** A record for `module.name`, bare or with arguments. */
export function record(module: string, name: string, args: readonly PickleValue[] | null): PickleRecord {
  return { kind: 'record', module, name, args, state: undefined, items: null, entries: null };
}

/** Is it a list or a tuple? */
export function isSequence(value: PickleValue | undefined): value is readonly PickleValue[] {
  return Array.isArray(value);
}

/** Is it a tuple, that is a sequence that cannot grow? */
export function isTuple(value: PickleValue | undefined): value is readonly PickleValue[] {
  return isSequence(value) && Object.isFrozen(value);
}

/** Is it a class, a function or an object of one? */
export function isRecord(value: PickleValue | undefined): value is PickleRecord {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'record';
}

/** Is it a reference to something outside the pickle? */
export function isPersistent(value: PickleValue | undefined): value is PicklePersistent {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'persistent';
}

/** `torch._utils._rebuild_tensor_v2` */
export function dottedName(value: PickleRecord): string {
  return `${value.module}.${value.name}`;
}

/** A few words for a message: what the value is, not all it holds. */
export function describe(value: PickleValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'None';
  if (typeof value === 'string') return `the text \`${shortText(value)}\``;
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number' || typeof value === 'bigint') return `the number ${shortText(String(value))}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (isTuple(value)) return `a tuple of ${value.length}`;
  if (isSequence(value)) return `a list of ${value.length}`;
  if (value instanceof Map) return `a dictionary of ${value.size}`;
  if (value instanceof Set) return `a set of ${value.size}`;
  if (isRecord(value)) {
    const name = shortText(dottedName(value));
    return value.args === null ? `the name \`${name}\`` : `an object of \`${name}\``;
  }
  return 'a reference to something outside the pickle';
}
