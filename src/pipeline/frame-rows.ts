/** Windows of a run that looks at them again and again: what fits is read at once, file by file, the rest when it is asked for. */
import type { ReadOptions } from '../features/store.js';
import { sizeOf, tensor } from '../tensor.js';
import type { Progress, Tensor } from '../types.js';
import { readRowsAt } from './feature-rows.js';

/** A window of a feature file. */
export interface WindowPlace {
  readonly path: string;
  readonly row: number;
}

/** Most elements that are kept: 2 GiB of float32. */
const keptElements = 2 ** 29;

export interface WindowReading {
  readonly reading?: ReadOptions;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
  /** Most elements that are kept in memory. */
  readonly most?: number;
}

/**
 * The windows of places, which may lie in several files: the result gives that of a place as [tokens, width], or [width] where rows are vectors. All
 * are of one shape.
 *
 * @throws EgolensError as `readRowsAt`
 */
export async function windowReader(
  places: readonly WindowPlace[],
  { reading, signal, progress, most = keptElements }: WindowReading = {},
): Promise<(place: WindowPlace) => Promise<Tensor<'float32'>>> {
  const rowsByPath = new Map<string, Set<number>>();
  for (const { path, row } of places) {
    const rows = rowsByPath.get(path) ?? new Set();
    rowsByPath.set(path, rows.add(row));
  }
  const kept = new Map<string, Map<number, Tensor<'float32'>>>();
  const bar = progress?.start('reading features', rowsByPath.size);
  let room = most;
  try {
    for (const [path, rows] of rowsByPath) {
      signal?.throwIfAborted();
      bar?.advance(1);
      const wanted = [...rows].sort((a, b) => a - b);
      const first = await readRowsAt(path, wanted.slice(0, 1), reading);
      if (first.data.length * wanted.length > room) continue;
      const all = wanted.length === 1 ? first : await readRowsAt(path, wanted, reading);
      room -= all.data.length;
      kept.set(path, new Map(wanted.map((row, i) => [row, rowOf(all, i)])));
    }
  } finally {
    bar?.stop();
  }
  return async ({ path, row }) => kept.get(path)?.get(row) ?? rowOf(await readRowsAt(path, [row], reading), 0);
}

function rowOf({ data, shape }: Tensor<'float32'>, row: number): Tensor<'float32'> {
  const rest = shape.slice(1);
  const size = sizeOf(rest);
  return tensor('float32', rest, data.subarray(row * size, (row + 1) * size));
}
