/**
 * Orders of scores. The official evaluators sort with numpy's default argsort, which is not stable: with equal scores the metric
 * depends on that exact algorithm, so it is written out here (ego4d.md 2.1).
 */
import { assertNever } from '../errors.js';
import type { TieRule } from '../types.js';

/** Partitions of at most this many items are sorted by insertion, hence stably. */
const insertionItems = 16;

/**
 * Indices that sort `values` ascending, NaN last, as numpy 1.24 orders them: introsort of float64, equal values included.
 *
 * @source numpy/numpy v1.24 numpy/core/src/npysort/quicksort.cpp, aquicksort_; heapsort.cpp, aheapsort_
 * @quirk  later numpy sorts with other kernels on machines with AVX-512 or AVX2, and orders equal values otherwise
 */
export function argsort(values: Float64Array): Int32Array<ArrayBuffer> {
  const order = new Int32Array(values.length);
  for (let i = 0; i < order.length; i++) order[i] = i;
  sortIndices(values, order, order.length);
  return order;
}

/** Sorts the first `count` of `order` by `values[order[i]]`, as `argsort` does: for callers that keep their arrays. */
export function sortIndices(values: Float64Array, order: Int32Array, count: number): void {
  if (count <= insertionItems) insertionSort(values, order, 0, count - 1);
  else introsort(values, order, count);
}

/**
 * Indices from the highest score to the lowest; NaN comes first.
 *
 * `numpy`: `scores.argsort()[::-1]`, so up to 16 equal scores come out in reversed order. `first` and `last`: of equal scores, the one
 * listed earlier, or later, comes first.
 */
export function fallingOrder(scores: Float64Array, ties: TieRule): Int32Array<ArrayBuffer> {
  const order = argsort(scores);
  switch (ties) {
    case 'numpy':
      break;
    case 'last':
      sortRuns(scores, order);
      break;
    case 'first':
      sortRuns(scores, order);
      reverseRuns(scores, order);
      break;
    default:
      return assertNever(ties);
  }
  return order.reverse();
}

/**
 * Indices from the highest score to the lowest as pandas' `sort_values(ascending=False)` gives them; NaN comes last.
 *
 * @source pandas-dev/pandas 1.5 pandas/core/sorting.py, nargsort: reversed, argsorted, reversed again
 */
export function pandasFallingOrder(scores: Float64Array): Int32Array<ArrayBuffer> {
  const present: number[] = [];
  const absent: number[] = [];
  for (let i = 0; i < scores.length; i++) (Number.isNaN(scores[i]) ? absent : present).push(i);
  present.reverse();
  const order = argsort(Float64Array.from(present, (i) => scores[i]!)).reverse();
  return Int32Array.from([...Array.from(order, (rank) => present[rank]!), ...absent]);
}

/** How many scores have an equal; NaN equals NaN. `order` sorts them (either way); without it they are sorted here. */
export function tiedCount(scores: Float64Array, order: Int32Array = argsort(scores)): number {
  let tied = 0;
  forEachRun(scores, order, (from, to) => {
    if (to - from > 1) tied += to - from;
  });
  return tied;
}

/** Calls back with each run [from, to) of equal values in a sorted order. */
function forEachRun(values: Float64Array, order: Int32Array, visit: (from: number, to: number) => void): void {
  let from = 0;
  for (let i = 1; i <= order.length; i++) {
    if (i < order.length && sameValue(values[order[i]!]!, values[order[from]!]!)) continue;
    if (i > from) visit(from, i);
    from = i;
  }
}

function sameValue(a: number, b: number): boolean {
  return a === b || (Number.isNaN(a) && Number.isNaN(b));
}

/** Equal values in the order in which they are listed: a stable sort out of any sort. */
function sortRuns(values: Float64Array, order: Int32Array): void {
  forEachRun(values, order, (from, to) => {
    if (to - from > 1) order.subarray(from, to).sort();
  });
}

function reverseRuns(values: Float64Array, order: Int32Array): void {
  forEachRun(values, order, (from, to) => {
    if (to - from > 1) order.subarray(from, to).reverse();
  });
}

/** numpy's order of floats: NaN is above every number. */
function isBelow(a: number, b: number): boolean {
  return a < b || (b !== b && a === a);
}

function insertionSort(values: Float64Array, order: Int32Array, lo: number, hi: number): void {
  for (let i = lo + 1; i <= hi; i++) {
    const index = order[i]!;
    const value = values[index]!;
    let j = i;
    while (j > lo && isBelow(value, values[order[j - 1]!]!)) {
      order[j] = order[j - 1]!;
      j--;
    }
    order[j] = index;
  }
}

function introsort(values: Float64Array, order: Int32Array, count: number): void {
  const pending: number[] = []; // lo, hi, budget of each partition that waits
  let lo = 0;
  let hi = count - 1;
  let budget = 2 * (31 - Math.clz32(count));
  for (;;) {
    if (budget < 0) {
      heapsort(values, order, lo, hi - lo + 1);
    } else {
      while (hi - lo >= insertionItems) {
        const pivotAt = partition(values, order, lo, hi);
        budget--;
        // The larger side waits, so the stack stays small.
        if (pivotAt - lo < hi - pivotAt) {
          pending.push(pivotAt + 1, hi, budget);
          hi = pivotAt - 1;
        } else {
          pending.push(lo, pivotAt - 1, budget);
          lo = pivotAt + 1;
        }
      }
      insertionSort(values, order, lo, hi);
    }
    if (pending.length === 0) return;
    budget = pending.pop()!;
    hi = pending.pop()!;
    lo = pending.pop()!;
  }
}

/** Median of three as pivot, Hoare's scheme; returns where the pivot ends up. */
function partition(values: Float64Array, order: Int32Array, lo: number, hi: number): number {
  const middle = lo + ((hi - lo) >> 1);
  if (isBelow(values[order[middle]!]!, values[order[lo]!]!)) swap(order, middle, lo);
  if (isBelow(values[order[hi]!]!, values[order[middle]!]!)) swap(order, hi, middle);
  if (isBelow(values[order[middle]!]!, values[order[lo]!]!)) swap(order, middle, lo);
  const pivot = values[order[middle]!]!;
  let i = lo;
  let j = hi - 1;
  swap(order, middle, j);
  for (;;) {
    do i++;
    while (isBelow(values[order[i]!]!, pivot));
    do j--;
    while (isBelow(pivot, values[order[j]!]!));
    if (i >= j) break;
    swap(order, i, j);
  }
  swap(order, i, hi - 1);
  return i;
}

function heapsort(values: Float64Array, order: Int32Array, lo: number, count: number): void {
  const base = lo - 1; // the heap counts from 1
  const sink = (index: number, from: number, size: number): void => {
    const value = values[index]!;
    let i = from;
    for (let j = i << 1; j <= size; j = i << 1) {
      if (j < size && isBelow(values[order[base + j]!]!, values[order[base + j + 1]!]!)) j++;
      if (!isBelow(value, values[order[base + j]!]!)) break;
      order[base + i] = order[base + j]!;
      i = j;
    }
    order[base + i] = index;
  };
  for (let from = count >> 1; from > 0; from--) sink(order[base + from]!, from, count);
  for (let size = count; size > 1; size--) {
    const last = order[base + size]!;
    order[base + size] = order[base + 1]!;
    sink(last, 1, size - 1);
  }
}

function swap(order: Int32Array, i: number, j: number): void {
  const kept = order[i]!;
  order[i] = order[j]!;
  order[j] = kept;
}
