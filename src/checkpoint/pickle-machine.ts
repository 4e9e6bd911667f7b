import { EgolensError } from '../errors.js';
import { latin1, utf8 } from './bytes.js';
import { isTuple, type PickleValue } from './pickle-values.js';

/** Bounds that are checked before memory is taken. An honest checkpoint stays far below each. */
export interface PickleLimits {
  /** Bytes of one string or byte string. */
  readonly stringBytes: number;
  /** Bytes of one integer: conversion to bigint takes more than linear time. */
  readonly integerBytes: number;
  /** MARKs open at once, and levels of tuples in tuples. Python's own pickler stops near 1,000. */
  readonly depth: number;
  readonly stack: number;
  readonly memo: number;
  /**
   * Units of some 16 bytes and of the time to fill them, in total: a value pushed or copied is one, a container several. Bounds time
   * and memory when a short pickle asks for the same thing often, and when a long one is full of empty dicts.
   */
  readonly work: number;
}

/** Limits for files of strangers. */
export const pickleLimits: PickleLimits = {
  stringBytes: 16 * 2 ** 20,
  integerBytes: 1024,
  depth: 1000,
  stack: 1_000_000,
  memo: 2_000_000,
  work: 16_000_000,
};

/** The state of an unpickling. */
export interface Machine {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly limits: PickleLimits;
  readonly persistent: (id: PickleValue) => PickleValue;
  readonly stack: PickleValue[];
  /** Heights of the stack where MARK stood. */
  readonly marks: number[];
  readonly memo: Map<number, PickleValue>;
  /** Levels of tuples in a tuple, where there are more than one. Lists and dicts grow later, so their depth cannot be kept this way. */
  readonly tupleDepth: WeakMap<object, number>;
  readonly foreignNames: Set<string>;
  at: number;
  work: number;
}

/** `checkpoint.pickle`, with the place. */
export function damaged(m: Machine, message: string): EgolensError {
  return new EgolensError('checkpoint.pickle', `\`${m.name}\`, byte ${m.at} of the pickle: ${message}`);
}

/** Units of work that a new object takes, empty; a Map has some 200 bytes. */
export const objectUnits = { sequence: 3, bytes: 12, text: 2, record: 8, map: 14 } as const;

/** `limit.size`, with the place. */
export function tooLarge(m: Machine, what: string, found: number | string, limit: number): EgolensError {
  return new EgolensError(
    'limit.size',
    `\`${m.name}\`, byte ${m.at} of the pickle: expected at most ${limit} ${what}, found ${found}`,
  );
}

/** Count work that is about to be done. */
export function charge(m: Machine, amount: number): void {
  m.work += amount;
  if (m.work > m.limits.work) throw tooLarge(m, 'units of work', m.work, m.limits.work);
}

// ---- bytes -------------------------------------------------------------------------------------------------------

/** Make sure that `count` more bytes exist; throws `input.truncated`. */
export function need(m: Machine, count: number | bigint): void {
  const left = m.bytes.length - m.at;
  if (count <= left) return;
  throw new EgolensError(
    'input.truncated',
    `\`${m.name}\`, byte ${m.at} of the pickle: needed ${count} more bytes, found ${left}`,
  );
}

export function byte(m: Machine): number {
  need(m, 1);
  return m.bytes[m.at++]!;
}

export function uint16(m: Machine): number {
  need(m, 2);
  m.at += 2;
  return m.view.getUint16(m.at - 2, true);
}

export function uint32(m: Machine): number {
  need(m, 4);
  m.at += 4;
  return m.view.getUint32(m.at - 4, true);
}

export function int32(m: Machine): number {
  return uint32(m) | 0;
}

export function uint64(m: Machine): bigint {
  need(m, 8);
  m.at += 8;
  return m.view.getBigUint64(m.at - 8, true);
}

/** Big-endian, alone among the numbers of a pickle. */
export function float64(m: Machine): number {
  need(m, 8);
  m.at += 8;
  return m.view.getFloat64(m.at - 8, false);
}

/** The next `count` bytes, without a copy. */
export function take(m: Machine, count: number | bigint, limit = m.limits.stringBytes): Uint8Array {
  need(m, count);
  if (count > limit) throw tooLarge(m, 'bytes in one value', String(count), limit);
  const start = m.at;
  m.at += Number(count);
  return m.bytes.subarray(start, m.at);
}

/** UTF-8 text of `count` bytes. */
export function text(m: Machine, count: number | bigint): string {
  const value = utf8(take(m, count));
  if (value === null) throw damaged(m, 'expected UTF-8 text');
  return value;
}

/** The bytes up to the next newline, which is passed over. */
export function line(m: Machine, limit: number): Uint8Array {
  const end = m.bytes.indexOf(0x0a, m.at);
  if (end < 0 || end - m.at > limit) {
    // A line that is too long and a file that was cut look alike from here; the nearer explanation first.
    if (m.bytes.length - m.at > limit) throw damaged(m, `expected the end of a line within ${limit} bytes`);
    need(m, m.bytes.length - m.at + 1);
  }
  const value = m.bytes.subarray(m.at, end);
  m.at = end + 1;
  return value;
}

/** Two's complement, little-endian, of `count` bytes; bigint only where a number would lose digits. */
export function integer(m: Machine, count: number): number | bigint {
  const bytes = take(m, count, m.limits.integerBytes);
  if (bytes.length === 0) return 0;
  const unsigned = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  return plainInteger(BigInt.asIntN(8 * bytes.length, unsigned));
}

/** Decimal text of protocols 0 and 1. */
export function decimalInteger(m: Machine, digits: Uint8Array): number | bigint {
  const value = latin1(digits);
  if (!/^[+-]?\d+$/.test(value)) throw damaged(m, 'expected a decimal integer');
  return plainInteger(BigInt(value.replace('+', '')));
}

function plainInteger(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

// ---- stack and memo ----------------------------------------------------------------------------------------------

export function push(m: Machine, value: PickleValue, units = 1): void {
  charge(m, units);
  if (m.stack.length >= m.limits.stack) throw tooLarge(m, 'values on the stack', m.stack.length + 1, m.limits.stack);
  m.stack.push(value);
}

export function mark(m: Machine): void {
  charge(m, 1);
  if (m.marks.length >= m.limits.depth) throw tooLarge(m, 'levels of nesting', m.marks.length + 1, m.limits.depth);
  m.marks.push(m.stack.length);
}

/** The value on top; never one from below the last MARK. */
export function top(m: Machine): PickleValue {
  if (m.stack.length <= (m.marks.at(-1) ?? 0)) throw damaged(m, 'an operation needs a value and the stack has none');
  return m.stack[m.stack.length - 1]!;
}

export function pop(m: Machine): PickleValue {
  const value = top(m);
  m.stack.pop();
  return value;
}

/** All values above the last MARK, which is taken away too. */
export function popMark(m: Machine): PickleValue[] {
  const start = m.marks.pop();
  if (start === undefined) throw damaged(m, 'an operation needs a MARK and none is open');
  return m.stack.splice(start);
}

/** Frozen, with its depth checked: an unbounded tower of tuples needs neither stack nor marks. */
export function tuple(m: Machine, items: PickleValue[]): readonly PickleValue[] {
  charge(m, objectUnits.sequence);
  let depth = 1;
  for (const item of items) {
    if (isTuple(item)) depth = Math.max(depth, 1 + (m.tupleDepth.get(item) ?? 1));
  }
  if (depth > m.limits.depth) throw tooLarge(m, 'levels of nesting', depth, m.limits.depth);
  const frozen = Object.freeze(items);
  if (depth > 1) m.tupleDepth.set(frozen, depth);
  return frozen;
}

/** Remember the value on top. The index may be any number: a Map has no holes to fill. */
export function put(m: Machine, index: number): void {
  const value = top(m);
  if (m.memo.size >= m.limits.memo) throw tooLarge(m, 'remembered values', m.memo.size + 1, m.limits.memo);
  m.memo.set(index, value);
}

export function get(m: Machine, index: number): PickleValue {
  const value = m.memo.get(index);
  if (value === undefined) throw damaged(m, `value ${index} is asked for and was never remembered`);
  return value;
}
