import { seededRandom, type Random } from '../random.js';

/** The samples of an epoch, from 0, in an order that depends on seed and epoch alone. */
export function epochOrder(seed: number, epoch: number, samples: number): number[] {
  const order = Array.from({ length: samples }, (_, i) => i);
  return seededRandom(seed, `order ${epoch}`).shuffle(order);
}

/** Samples of an epoch in groups of one size, and how many there are of them. */
export interface Groups {
  /** In every epoch. */
  readonly perEpoch: number;
  /** The groups of an epoch, from 0, in the order of that epoch; what fills no group is left out. */
  of(epoch: number): readonly (readonly number[])[];
}

/**
 * The samples of each epoch in groups of `size`, in an order that depends on seed and epoch alone. With buckets the samples of a group are all of one
 * bucket; a group stands where its last sample stands in the order.
 */
export function groupedOrder(
  seed: number,
  samples: number,
  size: number,
  bucketOf: (sample: number) => number | string = () => 0,
): Groups {
  const counts = new Map<number | string, number>();
  for (let sample = 0; sample < samples; sample++) {
    const bucket = bucketOf(sample);
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  return {
    perEpoch: [...counts.values()].reduce((total, count) => total + Math.floor(count / size), 0),
    of(epoch) {
      const open = new Map<number | string, number[]>();
      const groups: number[][] = [];
      for (const sample of epochOrder(seed, epoch, samples)) {
        const bucket = bucketOf(sample);
        const group = open.get(bucket) ?? [];
        open.set(bucket, group);
        if (group.push(sample) < size) continue;
        groups.push(group);
        open.delete(bucket);
      }
      return groups;
    },
  };
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
