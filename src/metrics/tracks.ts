/** Displacement of predicted hands: five key times, left and right hand, x and y in pixels: 20 numbers an item. */

/** Key times of an item, the contact last. */
export const handTimes = 5;
/** Numbers of an item: per key time left x, left y, right x, right y. */
export const handNumbers = 4 * handTimes;

/** Distances of hands, row-major [items, key times, left and right]. */
export interface HandDistances {
  readonly distance: Float64Array;
  /** 1 where the hand is annotated; only those count. */
  readonly counted: Uint8Array;
}

/**
 * Euclidean distance of every annotated hand, in pixels.
 *
 * @param predicted [items, 20], `views` times the pixels
 * @param truth     [items, 20], pixels
 * @source EGO4D/forecasting Ego4D-Future-Hand-Prediction/tools/eval.py
 * @quirk  a truth at exactly (0, 0) is not annotated; at x = 0 or y = 0 alone it is
 */
export function handDistances(predicted: Float64Array, truth: Float64Array, views: number): HandDistances {
  const hands = truth.length / 2;
  const distance = new Float64Array(hands);
  const counted = new Uint8Array(hands);
  for (let hand = 0; hand < hands; hand++) {
    const x = truth[2 * hand]!;
    const y = truth[2 * hand + 1]!;
    if (x === 0 && y === 0) continue;
    const dx = predicted[2 * hand]! / views - x;
    const dy = predicted[2 * hand + 1]! / views - y;
    distance[hand] = Math.sqrt(dx * dx + dy * dy);
    counted[hand] = 1;
  }
  return { distance, counted };
}

/** Sum and number of some distances, left and right hand. */
export interface HandSums {
  readonly sum: readonly [left: number, right: number];
  readonly count: readonly [left: number, right: number];
}

/**
 * Distances added up one after the other, items first.
 *
 * @param times first and last (exclusive) key time that counts: `[0, 5]` is all, `[4, 5]` the contact
 * @param items first and last (exclusive) item
 */
export function sumHands(
  { distance, counted }: HandDistances,
  times: readonly [from: number, to: number],
  items: readonly [from: number, to: number] = [0, distance.length / (2 * handTimes)],
): HandSums {
  const sum: [number, number] = [0, 0];
  const count: [number, number] = [0, 0];
  for (let item = items[0]; item < items[1]; item++) {
    for (let time = times[0]; time < times[1]; time++) {
      for (const hand of [0, 1] as const) {
        const at = 2 * (handTimes * item + time) + hand;
        if (counted[at] === 0) continue;
        sum[hand] += distance[at]!;
        count[hand]++;
      }
    }
  }
  return { sum, count };
}
