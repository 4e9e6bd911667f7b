/**
 * Checks that several challenges share: ids against a reference list, finite numbers, segments, boxes, order, ties. Each adds to a
 * `FindingList` (src/findings.ts), which bounds what is kept and counts everything.
 */
import type { FaultDetail, FindingList } from '../../src/findings.js';
import { Float, float, floatText } from '../../src/json.js';
import { escapePointer } from '../../src/json-text.js';

/** JSON pointer of parts: `pointer('results', uid, 3)` is `/results/<uid>/3`. */
export function pointer(...parts: readonly (string | number)[]): string {
  return parts.map((part) => `/${typeof part === 'number' ? part : escapePointer(part)}`).join('');
}

/** A short form of a value for the `found` of a finding. */
export function shown(value: unknown): string {
  if (value === undefined) return 'none';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Float) return `\`${floatText(value.value)}\``;
  if (typeof value === 'object' && value !== null) return `an object of ${Object.keys(value).length} members`;
  const text = typeof value === 'number' || typeof value === 'bigint' ? String(value) : JSON.stringify(value);
  return `\`${text.length > 60 ? `${text.slice(0, 57)}…` : text}\``;
}

/** A value of a document that keeps literals, for `shown`: a whole number that is no bigint was written with a point. */
export function asWritten(value: unknown): unknown {
  return typeof value === 'number' && Number.isInteger(value) ? float(value) : value;
}

/** How many of the asked ids were answered. */
export interface Coverage {
  readonly asked: number;
  readonly answered: number;
  readonly missing: number;
  readonly unknown: number;
  readonly repeated: number;
  /** 100 * answered / asked; 100 when nothing is asked. */
  readonly percent: number;
}

/** How `checkIds` speaks of ids, and what it takes as a fault. */
export interface IdRules {
  /** What an id is, for messages: `clip_uid`, `query`. */
  readonly what: string;
  /** Pointer of the list or object that should hold the missing ones. */
  readonly within: string;
  /** Levels; `error` where not given, `false` for what does not matter. */
  readonly missing?: 'error' | 'warning' | false;
  readonly unknown?: 'error' | 'warning' | false;
  readonly repeated?: 'error' | 'warning' | false;
  readonly hint?: string;
}

/**
 * Compare ids with those that are asked for. Codes: `ids.missing`, `ids.unknown`, `ids.repeated`; below full coverage one warning
 * `ids.coverage` with the share in percent.
 *
 * @param found ids in file order; `at` gives the pointer of the i-th
 */
export function checkIds(
  list: FindingList,
  asked: ReadonlySet<string>,
  found: readonly string[],
  at: (index: number) => string,
  rules: IdRules,
): Coverage {
  const { what, within, missing = 'error', unknown = 'error', repeated = 'error' } = rules;
  const hint = rules.hint === undefined ? {} : { hint: rules.hint };
  const seen = new Set<string>();
  let [unknownCount, repeatedCount] = [0, 0];
  found.forEach((id, index) => {
    if (seen.has(id)) {
      repeatedCount++;
      if (repeated !== false)
        list[repeated]('ids.repeated', () => ({
          at: at(index),
          expected: `each ${what} once`,
          found: `\`${id}\` again`,
          ...hint,
        }));
      return;
    }
    seen.add(id);
    if (asked.has(id)) return;
    unknownCount++;
    if (unknown !== false)
      list[unknown]('ids.unknown', () => ({
        at: at(index),
        expected: `${what} of the reference file`,
        found: `\`${id}\``,
        hint: rules.hint ?? 'the file may belong to another split or version',
      }));
  });
  const answered = seen.size - unknownCount;
  const missingCount = asked.size - answered;
  if (missingCount > 0 && missing !== false) {
    for (const id of asked) {
      if (!seen.has(id))
        list[missing]('ids.missing', () => ({ at: within, expected: `${what} \`${id}\``, found: 'none', ...hint }));
    }
  }
  const percent = asked.size === 0 ? 100 : (100 * answered) / asked.size;
  if (missingCount > 0) {
    list.warning('ids.coverage', () => ({
      at: within,
      expected: `all ${asked.size} of the reference file`,
      found: `${answered} (${percentText(percent)})`,
    }));
  }
  return {
    asked: asked.size,
    answered,
    missing: missingCount,
    unknown: unknownCount,
    repeated: repeatedCount,
    percent,
  };
}

/** `99.98 %`; never rounded up to 100. */
export function percentText(percent: number): string {
  return `${(percent < 100 ? Math.floor(percent * 100) / 100 : 100).toFixed(2)} %`;
}

/** `number.not_finite` unless the value is a finite number. A bigint of a reader that keeps literals is one. */
export function checkFinite(list: FindingList, value: unknown, at: () => string): boolean {
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isFinite(value))) return true;
  list.error('number.not_finite', () => ({ at: at(), expected: 'a finite number', found: shown(value) }));
  return false;
}

/** `segment.reversed` unless start < end; both finite. `at` is the pointer of the pair. */
export function checkSegment(
  list: FindingList,
  start: number,
  end: number,
  at: () => string,
  level: 'error' | 'warning' = 'error',
): boolean {
  if (start < end) return true;
  if (Number.isNaN(start) || Number.isNaN(end)) return false; // told as not finite
  list[level]('segment.reversed', () => ({
    at: at(),
    expected: 'start < end',
    found: `\`[${start}, ${end}]\``,
    ...(start === end ? { hint: 'a segment of no length overlaps nothing' } : {}),
  }));
  return false;
}

/** `box.inverted` unless x1 < x2 and y1 < y2. */
export function checkCorners(
  list: FindingList,
  [x1, y1, x2, y2]: readonly [number, number, number, number],
  at: () => string,
  level: 'error' | 'warning' = 'error',
): boolean {
  if ((x1 < x2 && y1 < y2) || [x1, y1, x2, y2].some(Number.isNaN)) return true;
  list[level]('box.inverted', () => ({
    at: at(),
    expected: 'corners x1 < x2 and y1 < y2',
    found: `\`[${x1}, ${y1}, ${x2}, ${y2}]\``,
    hint: 'the form is x1, y1, x2, y2, not x, y, width, height',
  }));
  return false;
}

/** `order.unsorted`, once, at the first score above the one before it: for lists that the evaluator reads in file order. */
export function checkFalling(list: FindingList, scores: ArrayLike<number>, at: (index: number) => string): boolean {
  for (let i = 1; i < scores.length; i++) {
    const [before, score] = [scores[i - 1]!, scores[i]!];
    if (!(score > before)) continue;
    list.error('order.unsorted', (): FaultDetail => ({
      at: at(i),
      expected: `falling scores, at most \`${before}\``,
      found: `\`${score}\``,
      hint: 'the evaluator reads this list in file order and never looks at the score; `--fix` sorts it',
    }));
    return false;
  }
  return true;
}

/** How many scores equal another one of the list: their order depends on the sorting algorithm. */
export function tiedScores(scores: ArrayLike<number>): number {
  const sorted = Float64Array.from(scores).sort();
  let tied = 0;
  for (let i = 0; i < sorted.length;) {
    let end = i + 1;
    while (end < sorted.length && sorted[end] === sorted[i]) end++;
    if (end - i > 1) tied += end - i;
    i = end;
  }
  return tied;
}

/** One warning `score.tied` where scores are tied. */
export function warnTied(list: FindingList, tied: number, of: number, at: string): void {
  if (tied === 0) return;
  list.warning('score.tied', () => ({
    at,
    expected: 'scores that differ',
    found: `${tied} of ${of} equal to another`,
    hint: 'the official order of equal scores is that of an unstable sort; `eval` prints the spread',
  }));
}
