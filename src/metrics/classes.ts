/** Numbers of classification: the class with the largest value, shares of hits over all items and over classes. */

/** Index of the first of the largest values; a NaN counts as larger than all, as numpy's argmax has it. -1 of nothing. */
export function argmax(values: ArrayLike<number>): number {
  let best = values.length === 0 ? -1 : 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) return i;
    if (values[i]! > values[best]!) best = i;
  }
  return best;
}

/** Items by class: how many there are, and how many are right. */
export interface ClassCounts {
  readonly items: Float64Array;
  readonly hits: Float64Array;
}

/**
 * Counts by class.
 *
 * @param classes class of each item
 * @param isHit   1 where the item is right
 * @param weights how often each item counts (bootstrap); once where absent
 */
export function countByClass(
  classes: Int32Array,
  isHit: Uint8Array,
  classCount: number,
  weights?: Int32Array,
): ClassCounts {
  const items = new Float64Array(classCount);
  const hits = new Float64Array(classCount);
  for (let i = 0; i < classes.length; i++) {
    const weight = weights === undefined ? 1 : weights[i]!;
    items[classes[i]!]! += weight;
    if (isHit[i] === 1) hits[classes[i]!]! += weight;
  }
  return { items, hits };
}

/** Share of all items that are right; NaN of nothing. */
export function accuracy({ items, hits }: ClassCounts): number {
  return hits.reduce((sum, count) => sum + count, 0) / items.reduce((sum, count) => sum + count, 0);
}

/** Mean over the classes that have items of the share that is right; NaN of nothing. */
export function meanClassAccuracy({ items, hits }: ClassCounts): number {
  let [sum, classes] = [0, 0];
  items.forEach((count, c) => {
    if (count === 0) return;
    sum += hits[c]! / count;
    classes++;
  });
  return sum / classes;
}

/** Middle of the values, or the mean of the two in the middle; NaN of nothing. */
export function median(values: Float64Array): number {
  const sorted = Float64Array.from(values).sort();
  const low = sorted[(sorted.length - 1) >> 1] ?? NaN;
  const high = sorted[sorted.length >> 1] ?? NaN;
  return low === high ? low : (low + high) / 2;
}
