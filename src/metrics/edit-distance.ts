/**
 * Edit distance of sequences of at most 30 symbols, for all prefixes of equal length at once.
 *
 * A column of the distance table is two words of bits (Myers 1999, Hyyrö 2003). What is asked for lies on the diagonal of the table,
 * and bit z of `d0` says whether the diagonal stays level at z: so one pass gives all prefixes, without a table.
 */

/** Longest sequence: sums of two words must stay below 2^31. */
export const longestSequence = 30;

/**
 * Which changes cost one. `levenshtein`: insert, delete, replace. `damerau`: also swap two neighbours, of which neither is changed
 * again (restricted Damerau-Levenshtein, "optimal string alignment").
 */
export type EditRule = 'levenshtein' | 'damerau';

/**
 * Lower `out[z]` to the distance of the first z + 1 symbols of a truth from the first z + 1 of a guess, for every z.
 *
 * @param matches per symbol of the guess, the set of places in the truth that hold the same symbol: bit i is place i
 * @param from    where the guess begins in `matches`
 * @param length  symbols of both, at most `longestSequence`
 * @param out     distances at `[outFrom, outFrom + length)`; kept where they are lower already
 */
export function lowerPrefixDistances(
  matches: Int32Array,
  from: number,
  length: number,
  rule: EditRule,
  out: Uint8Array,
  outFrom: number,
): void {
  const all = (1 << length) - 1;
  const swaps = rule === 'damerau' ? -1 : 0;
  let vp = all;
  let vn = 0;
  let d0 = 0;
  let matchBefore = 0;
  let distance = 0;
  for (let z = 0; z < length; z++) {
    const match = matches[from + z]!;
    const swap = ((~d0 & match) << 1) & matchBefore & swaps;
    d0 = (((match & vp) + vp) ^ vp) | match | vn | swap;
    const hp = ((vn | ~(d0 | vp)) << 1) | 1;
    const hn = (d0 & vp) << 1;
    vp = (hn | ~(d0 | hp)) & all;
    vn = hp & d0 & all;
    matchBefore = match;
    distance += 1 - ((d0 >> z) & 1);
    if (distance < out[outFrom + z]!) out[outFrom + z] = distance;
  }
}

/** Area under a curve at 0, 1, 2, … by the trapezoid rule, divided by its width; NaN for fewer than two values. */
export function meanTrapezoid(values: ArrayLike<number>): number {
  let area = 0;
  for (let i = 1; i < values.length; i++) area += (values[i]! + values[i - 1]!) / 2;
  return area / (values.length - 1);
}
