import { elementSize, sizeOf } from '../tensor.js';
import type { AnyTensor, DType } from '../types.js';
import type { Graph } from './builder.js';

/** Where one array lies in `weights.bin`. */
export interface WeightSlot {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly length: number;
  /** The values, for arrays that the graph brings itself; parameters get theirs from a checkpoint. */
  readonly constant?: AnyTensor;
}

export interface WeightPlan {
  /** In order of their offsets, which is that of their first appearance over the graphs. */
  readonly slots: readonly WeightSlot[];
  /** Parameters below the limit: their values stand inside each graph file. */
  readonly inline: readonly { readonly name: string; readonly shape: readonly number[] }[];
  readonly totalBytes: number;
}

/** Arrays below this size stay inside the graph. */
const externalFrom = 1024;
const largeFrom = 2 ** 20;

/**
 * One layout for all graphs of a model over one little-endian weights file (files.md 4): arrays of 1 KiB and more lie at
 * multiples of 64 bytes, those of 1 MiB and more at multiples of 64 KiB.
 */
export function planWeights(graphs: readonly Graph[]): WeightPlan {
  const slots = new Map<string, WeightSlot>();
  const inline = new Map<string, { name: string; shape: readonly number[] }>();
  let end = 0;
  const place = (name: string, dtype: DType, shape: readonly number[], constant?: AnyTensor): void => {
    const length = sizeOf(shape) * elementSize[dtype];
    const alignment = length >= largeFrom ? 65536 : 64;
    const offset = Math.ceil(end / alignment) * alignment;
    slots.set(name, { name, dtype, shape, offset, length, ...(constant === undefined ? {} : { constant }) });
    end = offset + length;
  };
  for (const graph of graphs) {
    for (const { name, shape } of graph.params) {
      if (slots.has(name) || inline.has(name)) continue;
      if (sizeOf(shape) * elementSize.float32 < externalFrom) inline.set(name, { name, shape });
      else place(name, 'float32', shape);
    }
    for (const { name, dtype, constant, shared } of graph.constants) {
      if (shared && !slots.has(name) && sizeOf(constant.shape) * elementSize[dtype] >= externalFrom) {
        place(name, dtype, constant.shape, constant);
      }
    }
  }
  return { slots: [...slots.values()], inline: [...inline.values()], totalBytes: end };
}
