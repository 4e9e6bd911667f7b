import { EgolensError } from '../errors.js';

/** Learning rate of an update, counted from 0. */
export type Schedule = (update: number) => number;

export interface WarmupCosine {
  /** Rate at the end of the warm-up. */
  readonly base: number;
  /** Updates of the whole run. */
  readonly updates: number;
  /** Updates of the warm-up; 0: none. */
  readonly warmup: number;
  /** Rate of the first update of the warm-up; default 0, at which it changes nothing. */
  readonly start?: number;
  /** Rate that the cosine falls to; default 0. */
  readonly final?: number;
}

/**
 * Linear from `start` to `base` over the warm-up, both inclusive (a warm-up of one update has `base`), then half a cosine from `base`
 * towards `final`. Source: MCG-NJU/VideoMAE utils.py, cosine_scheduler.
 *
 * @throws EgolensError usage.flag for a warm-up as long as the run
 */
export function warmupCosine({ base, updates, warmup, start = 0, final = 0 }: WarmupCosine): Schedule {
  if (warmup >= updates) {
    throw new EgolensError(
      'usage.flag',
      `a warm-up of ${warmup} updates, expected fewer than the ${updates} of the run`,
    );
  }
  return (update) => {
    if (update < warmup) return warmup === 1 ? base : start + ((base - start) * update) / (warmup - 1);
    const done = Math.min(1, (update - warmup) / (updates - warmup));
    return final + ((base - final) * (1 + Math.cos(Math.PI * done))) / 2;
  };
}
