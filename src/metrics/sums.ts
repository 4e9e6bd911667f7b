/** Sums as numpy and Python add them: the last digits of a mean depend on the order of the additions. */

const blockSize = 128;

/**
 * Sum of values[from, to) in numpy's pairwise order: halves, down to blocks of 128 that are added in eight lanes.
 *
 * @source numpy/numpy v1.24 numpy/core/src/umath/loops_utils.h.src, pairwise_sum
 */
export function pairwiseSum(values: Float64Array, from = 0, to = values.length): number {
  const count = to - from;
  if (count < 8) {
    let sum = 0;
    for (let i = from; i < to; i++) sum += values[i]!;
    return sum;
  }
  if (count > blockSize) {
    let half = count >> 1;
    half -= half % 8;
    return pairwiseSum(values, from, from + half) + pairwiseSum(values, from + half, to);
  }
  let a = values[from]!;
  let b = values[from + 1]!;
  let c = values[from + 2]!;
  let d = values[from + 3]!;
  let e = values[from + 4]!;
  let f = values[from + 5]!;
  let g = values[from + 6]!;
  let h = values[from + 7]!;
  let i = from + 8;
  for (; i + 8 <= to; i += 8) {
    a += values[i]!;
    b += values[i + 1]!;
    c += values[i + 2]!;
    d += values[i + 3]!;
    e += values[i + 4]!;
    f += values[i + 5]!;
    g += values[i + 6]!;
    h += values[i + 7]!;
  }
  let sum = a + b + (c + d) + (e + f + (g + h));
  for (; i < to; i++) sum += values[i]!;
  return sum;
}

/** numpy's mean: the pairwise sum divided by the count; NaN of nothing. */
export function pairwiseMean(values: Float64Array | readonly number[]): number {
  const floats = values instanceof Float64Array ? values : Float64Array.from(values);
  return pairwiseSum(floats) / floats.length;
}

/** Python's `sum`: one after the other. */
export function sequentialSum(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/** `numpy.linspace(first, last, count)`, the rounding of its inner values included: 0.30000000000000004 lies in (0.1, 0.5, 5). */
export function linspace(first: number, last: number, count: number): number[] {
  const step = (last - first) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? last : i * step + first));
}
