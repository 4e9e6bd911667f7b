import { seededRandom, type Random } from '../random.js';

/** The samples of an epoch, from 0, in an order that depends on seed and epoch alone. */
export function epochOrder(seed: number, epoch: number, samples: number): number[] {
  const order = Array.from({ length: samples }, (_, i) => i);
  return seededRandom(seed, `order ${epoch}`).shuffle(order);
}

/** Numbers for one sample of one epoch (augmentation, masks), the same whoever prepares it and when. */
export function sampleRandom(seed: number, epoch: number, sample: number): Random {
  return seededRandom(seed, `sample ${epoch} ${sample}`);
}

/**
 * Results of `load` in the order of `items`, with `ahead` loads under way at a time. A load that fails is thrown at its place in the order.
 */
export async function* loadedInOrder<T, R>(
  items: Iterable<T>,
  ahead: number,
  load: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const waiting: Promise<R>[] = [];
  const next = items[Symbol.iterator]();
  const fill = (): void => {
    while (waiting.length < Math.max(1, ahead)) {
      const item = next.next();
      if (item.done === true) return;
      const promise = load(item.value);
      promise.catch(() => undefined); // waited for below, unless the reader leaves before
      waiting.push(promise);
    }
  };
  fill();
  while (waiting.length > 0) {
    const result = await waiting.shift()!;
    fill(); // before the result is used, so that loading goes on meanwhile
    yield result;
  }
}
