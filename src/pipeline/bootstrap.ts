/** How sure a number is: percentile intervals over resampled units, and paired differences of two sets of predictions. */
import { setImmediate as turn } from 'node:timers/promises';
import { EgolensError } from '../errors.js';
import { seededRandom } from '../random.js';
import type { Prepared, Progress, Score, TieRule } from '../types.js';

export interface BootstrapOptions {
  readonly samples: number;
  readonly seed: number;
  readonly ties: TieRule;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** Ends of the middle 95 % of the samples; NaN where no sample has the number. */
export type Interval = readonly [low: number, high: number];

/** What resampling says of one metric. */
export interface Uncertainty {
  readonly interval: Interval;
  /** Against the other predictions, on the same samples. */
  readonly difference?: { readonly interval: Interval; readonly p: number };
}

/**
 * Draws as many units as there are, with repetition, `samples` times; the same seed draws the same units. With `other`, both are scored
 * on the same draws of the units that both have.
 *
 * @returns by metric; and how many units were drawn from
 */
export async function bootstrap(
  prepared: Prepared,
  other: Prepared | undefined,
  options: BootstrapOptions,
): Promise<{ readonly byMetric: ReadonlyMap<string, Uncertainty>; readonly units: number }> {
  const { samples, seed, ties, signal, progress } = options;
  const [mine, theirs] = pairedUnits(prepared, other);
  if (mine.length === 0) {
    throw new EgolensError('data.invalid', 'nothing to draw samples from: found no unit that the predictions share');
  }
  const values = new Map<string, Float64Array>();
  const differences = new Map<string, Float64Array>();
  const random = seededRandom(seed, 'bootstrap');
  const item = progress?.start('bootstrap', samples);
  try {
    for (let i = 0; i < samples; i++) {
      const draw = Int32Array.from(mine, () => random.integer(mine.length));
      const rows = prepared.resample(
        draw.map((unit) => mine[unit]!),
        ties,
      );
      keep(values, rows, i, samples);
      if (other !== undefined) {
        const others = other.resample(
          draw.map((unit) => theirs[unit]!),
          ties,
        );
        keep(differences, differenceOf(rows, others), i, samples);
      }
      item?.advance(1);
      // A resample is work without a pause: here a signal comes through.
      await turn();
      signal?.throwIfAborted();
    }
  } finally {
    item?.stop();
  }
  return {
    units: mine.length,
    byMetric: new Map(
      [...values].map(([metric, drawn]): [string, Uncertainty] => {
        const differing = differences.get(metric);
        return [
          metric,
          {
            interval: intervalOf(drawn),
            ...(differing === undefined
              ? {}
              : { difference: { interval: intervalOf(differing), p: pValueOf(differing) } }),
          },
        ];
      }),
    ),
  };
}

/** Numbers of the units that both have, in each; of all units without another. */
function pairedUnits(prepared: Prepared, other: Prepared | undefined): readonly [Int32Array, Int32Array] {
  const all = Int32Array.from(prepared.units, (_, unit) => unit);
  if (other === undefined) return [all, all];
  const numbers = new Map(other.units.map((name, unit) => [name, unit]));
  const mine = all.filter((unit) => numbers.has(prepared.units[unit]!));
  return [mine, mine.map((unit) => numbers.get(prepared.units[unit]!)!)];
}

function keep(into: Map<string, Float64Array>, rows: readonly Score[], sample: number, samples: number): void {
  for (const { metric, value } of rows) {
    let drawn = into.get(metric);
    if (drawn === undefined) into.set(metric, (drawn = new Float64Array(samples).fill(NaN)));
    drawn[sample] = value;
  }
}

/** Mine minus theirs, of the metrics that both have. */
export function differenceOf(mine: readonly Score[], theirs: readonly Score[]): Score[] {
  const values = new Map(theirs.map(({ metric, value }) => [metric, value]));
  return mine.flatMap(({ metric, value }) => {
    const other = values.get(metric);
    return other === undefined ? [] : [{ metric, value: value - other }];
  });
}

function intervalOf(drawn: Float64Array): Interval {
  const sorted = drawn.filter((value) => !Number.isNaN(value)).sort();
  return [percentile(sorted, 0.025), percentile(sorted, 0.975)];
}

/** Between neighbours the value is linear, as numpy's default. */
function percentile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return NaN;
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low === high ? low : low + (place - below) * (high - low);
}

/** Two-sided: twice the rarer side of zero; never 0, for the samples drawn are one of many possible sets. */
function pValueOf(drawn: Float64Array): number {
  let [below, above, count] = [0, 0, 0];
  for (const value of drawn) {
    if (Number.isNaN(value)) continue;
    count++;
    if (value <= 0) below++;
    if (value >= 0) above++;
  }
  return count === 0 ? NaN : Math.min(1, (2 * (Math.min(below, above) + 1)) / (count + 1));
}
