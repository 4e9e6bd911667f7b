/** What an evaluation prints: rows `egolens.score/1`, the document of `--format json`, the bounds of `--min` and `--max`. */
import { EgolensError } from '../errors.js';
import { float, type JsonValue } from '../json.js';
import type { Evaluation, Nested, Score, ScoredTask } from '../types.js';
import type { Interval, Uncertainty } from './bootstrap.js';

/** `egolens.score/1`: one number of an evaluation. */
export type ScoreRow = Readonly<Record<string, JsonValue>>;

export type Variant = 'official' | 'corrected';

/** The other predictions of `--compare`. */
export interface Compared {
  readonly input: string;
  readonly rows: readonly Score[];
}

/** A number that JSON does not have becomes its name: `NaN`, `Infinity`, `-Infinity`. */
export function numberJson(value: number): JsonValue {
  return Number.isFinite(value) ? float(value) : String(value);
}

/** Official numbers as JSON: keys and nesting as they are, whole numbers without a point. */
export function nestedJson(value: Nested[string]): JsonValue {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return (value as readonly Nested[string][]).map(nestedJson);
  return Object.fromEntries(Object.entries(value as Nested).map(([key, member]) => [key, nestedJson(member)]));
}

/** Makes the rows of one evaluation. */
export function rowMaker(
  task: ScoredTask,
  input: string,
): (
  variant: Variant,
  score: Score,
  more?: { readonly uncertainty?: Uncertainty | undefined; readonly compared?: Compared | undefined },
) => ScoreRow {
  return (variant, { metric, value, at }, { uncertainty, compared } = {}) => {
    const other = compared?.rows.find((row) => row.metric === metric)?.value;
    const paired = uncertainty?.difference;
    return {
      schema: 'egolens.score/1',
      input,
      task,
      variant,
      metric,
      value: numberJson(value),
      at: at === undefined ? null : { ...at },
      interval: uncertainty === undefined ? null : intervalJson(uncertainty.interval),
      compared:
        compared === undefined || other === undefined || paired === undefined
          ? null
          : {
              input: compared.input,
              value: numberJson(other),
              difference: numberJson(value - other),
              interval: intervalJson(paired.interval),
              p: numberJson(paired.p),
            },
    };
  };
}

function intervalJson([low, high]: Interval): JsonValue {
  return [numberJson(low), numberJson(high)];
}

/** Rows of the corrected numbers; where the challenge names none, every single number of them by its path. */
export function correctedScores({ corrected, correctedRows }: Evaluation): readonly Score[] {
  if (corrected === null) return [];
  return correctedRows ?? singleNumbers(corrected);
}

/** Numbers that stand by themselves, by the path of their keys; lists are left out. */
export function singleNumbers(numbers: Nested, path = ''): Score[] {
  return Object.entries(numbers).flatMap(([key, value]): Score[] => {
    const metric = path === '' ? key : `${path}.${key}`;
    if (typeof value === 'number') return [{ metric, value }];
    // What is an object and no list is nested again.
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return singleNumbers(value as Nested, metric);
    return [];
  });
}

/** What equal scores leave open, in one line; undefined where there are none. */
export function tieNote(ties: Evaluation['ties']): string | undefined {
  if (ties === undefined || ties.tied === 0) return undefined;
  const last = new Map(singleNumbers(ties.last).map(({ metric, value }) => [metric, value]));
  const moved = singleNumbers(ties.first).filter(({ metric, value }) => !Object.is(value, last.get(metric)));
  const spread = moved.map(
    ({ metric, value }) => `${metric} ${short(value)} (first listed wins) to ${short(last.get(metric) ?? NaN)} (last)`,
  );
  const effect = spread.length === 0 ? 'the main numbers do not depend on their order' : spread.join('; ');
  return `${ties.tied} predictions have a score that another one has: ${effect}`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(6)));
}

/** A bound of `--min` or `--max`. */
export interface Bound {
  readonly kind: 'min' | 'max';
  readonly metric: string;
  readonly bound: number;
}

/** `METRIC=VALUE`; names of metrics hold `=` and commas, so the last `=` counts. Throws `usage.flag`. */
export function parseBound(kind: Bound['kind'], text: string): Bound {
  const at = text.lastIndexOf('=');
  const metric = text.slice(0, Math.max(0, at)).trim();
  const number = text.slice(at + 1).trim();
  const bound = Number(number);
  if (metric === '' || number === '' || Number.isNaN(bound)) {
    throw new EgolensError('usage.flag', `--${kind}: expected METRIC=VALUE, found \`${text}\``, {
      try: `such as \`--${kind} 'R@1,IoU=0.3=0.12'\`; the last \`=\` counts`,
    });
  }
  return { kind, metric, bound };
}

export interface CheckedBound extends Bound {
  readonly value: number;
  readonly ok: boolean;
}

/** Every bound with the number it is about. An undefined number misses. Throws `usage.flag` for a metric that is not there. */
export function checkBounds(bounds: readonly Bound[], scores: readonly Score[]): CheckedBound[] {
  const values = new Map(scores.map(({ metric, value }) => [metric, value]));
  return bounds.map((bound) => {
    const value = values.get(bound.metric);
    if (value === undefined) {
      throw new EgolensError('usage.flag', `--${bound.kind}: no metric \`${bound.metric}\``, {
        try: `one of ${[...values.keys()].map((name) => `\`${name}\``).join(', ')}`,
      });
    }
    return { ...bound, value, ok: bound.kind === 'min' ? value >= bound.bound : value <= bound.bound };
  });
}

/** The error of bounds that were missed, all of them in it; undefined where none was. */
export function missedBounds(bounds: readonly CheckedBound[]): EgolensError | undefined {
  const missed = bounds.filter(({ ok }) => !ok);
  if (missed.length === 0) return undefined;
  const list = missed.map(
    ({ kind, metric, bound, value }) =>
      `${metric}: found ${value}, expected at ${kind === 'min' ? 'least' : 'most'} ${bound}`,
  );
  return new EgolensError('data.invalid', `${missed.length} of ${bounds.length} bounds missed: ${list.join('; ')}`);
}
