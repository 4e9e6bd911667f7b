/**
 * Steps of the checks of the three challenges about boxes: types, members, numbers, boxes. Each tells what is wrong with one value and
 * returns whether the walk can go on into it.
 */
import type { FindingList } from '../../src/findings.js';
import { escapePointer } from '../../src/json-text.js';
import { isObject, type JsonObject } from '../reading.js';
import { isInteger } from './box-reading.js';
import { checkCorners, checkFinite, shown } from './checks.js';

/** JSON pointer of a value, made when a fault needs it. */
export type Place = () => string;

/** The pointer of a member or item of the value at `at`. */
export function below(at: Place, ...parts: readonly (string | number)[]): Place {
  return () => at() + parts.map((part) => `/${typeof part === 'number' ? part : escapePointer(part)}`).join('');
}

/** `value.type` */
export function wrongType(list: FindingList, value: unknown, at: Place, expected: string, hint?: string): false {
  list.error('value.type', () => ({
    at: at(),
    expected,
    found: shown(value),
    ...(hint === undefined ? {} : { hint }),
  }));
  return false;
}

/**
 * An object that has the members it needs: `member.missing` for each that it lacks, `member.unknown` (a warning) for each that is
 * neither needed nor known; `known` may be left out where any other member is welcome. `hint`: the form that it should have.
 */
export function expectObject(
  list: FindingList,
  value: unknown,
  at: Place,
  needed: readonly string[],
  known?: readonly string[],
  hint?: string,
): value is JsonObject {
  if (!isObject(value)) return wrongType(list, value, at, 'an object', hint);
  for (const key of needed) {
    if (!Object.hasOwn(value, key)) {
      list.error('member.missing', () => ({
        at: below(at, key)(),
        expected: `a member \`${key}\``,
        found: 'none',
        ...(hint === undefined ? {} : { hint }),
      }));
    }
  }
  if (known === undefined) return true;
  for (const key in value) {
    if (needed.includes(key) || known.includes(key)) continue;
    list.warning('member.unknown', () => ({
      at: below(at, key)(),
      expected: `only ${[...needed, ...known].map((name) => `\`${name}\``).join(', ')}`,
      found: 'another member',
      hint: 'a misspelt name is read as a missing member',
    }));
  }
  return true;
}

/** A list, of `length` items where that is given (`list.length`). */
export function expectList(list: FindingList, value: unknown, at: Place, length?: number): value is readonly unknown[] {
  if (!Array.isArray(value)) return wrongType(list, value, at, 'a list');
  if (length !== undefined && value.length !== length) {
    list.error('list.length', () => ({ at: at(), expected: `a list of ${length}`, found: shown(value) }));
  }
  return true;
}

/** `value.type` unless the value is text that is not empty. */
export function expectText(list: FindingList, value: unknown, at: Place): value is string {
  return (typeof value === 'string' && value !== '') || wrongType(list, value, at, 'text that is not empty');
}

/** `number.not_finite` or `value.type` unless the value is a finite number. */
export function expectNumber(list: FindingList, value: unknown, at: Place): value is number | bigint {
  if (typeof value !== 'number' && typeof value !== 'bigint') return wrongType(list, value, at, 'a number');
  return checkFinite(list, value, at);
}

/** `value.type` unless the value is a whole number. */
export function expectInteger(list: FindingList, value: unknown, at: Place): value is number | bigint {
  return isInteger(value) || wrongType(list, value, at, 'a whole number');
}

/** `value.wrong` unless the value is that text. */
export function expectConstant(list: FindingList, value: unknown, at: Place, wanted: unknown): void {
  if (value === undefined || value === wanted) return; // a missing member is told by its object
  list.error('value.wrong', () => ({ at: at(), expected: `\`${JSON.stringify(wanted)}\``, found: shown(value) }));
}

/** Width and height of the picture that boxes lie in. */
export interface Picture {
  readonly width: number;
  readonly height: number;
}

/** Four finite numbers [x1, y1, x2, y2] with x1 < x2, y1 < y2; `box.outside` (a warning) where the box leaves the picture. */
export function expectCorners(
  list: FindingList,
  value: unknown,
  at: Place,
  picture?: Picture,
  inverted: 'error' | 'warning' = 'error',
): void {
  if (!expectList(list, value, at, 4) || value.length !== 4) return;
  const isFinite = value.map((side, i) => expectNumber(list, side, below(at, i))).every(Boolean);
  if (isFinite) expectBox(list, value.map(Number) as [number, number, number, number], at, picture, inverted); // four, checked above
}

/** The same for numbers at hand. */
export function expectBox(
  list: FindingList,
  corners: readonly [number, number, number, number],
  at: Place,
  picture?: Picture,
  inverted: 'error' | 'warning' = 'error',
  hint = 'boxes are in pixels of the full-scale frame; predictions on scaled frames must be scaled back',
): void {
  if (!checkCorners(list, corners, at, inverted) || picture === undefined) return;
  const [x1, y1, x2, y2] = corners;
  // A pixel to spare: rounding at the border is no fault.
  if (x1 >= -1 && y1 >= -1 && x2 <= picture.width + 1 && y2 <= picture.height + 1) return;
  list.warning('box.outside', () => ({
    at: at(),
    expected: `a box inside the picture of ${picture.width} x ${picture.height}`,
    found: `\`[${corners.join(', ')}]\``,
    hint,
  }));
}

/** `score.range` (a warning) for a score outside [0, 1]. */
export function expectShare(list: FindingList, score: number, at: Place): void {
  if (!(score < 0 || score > 1)) return;
  list.warning('score.range', () => ({
    at: at(),
    expected: 'a score from 0 to 1',
    found: shown(score),
    hint: 'only the order of scores counts, but a logit here is often a slip',
  }));
}
