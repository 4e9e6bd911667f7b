import type { GraphNode } from '../graph/builder.js';
import type { Value } from '../graph/ops.js';
import { elementSize, sizeOf } from '../tensor.js';

/** The least memory that a training step can do with, in bytes. */
export interface MemoryPlan {
  /** Weights, moments and averages: two sets that change places, or one and the gradients. */
  readonly state: number;
  /** Weights that do not change. */
  readonly frozen: number;
  /** Results of the forward pass that the backward pass reads. */
  readonly kept: number;
  /** The batch. */
  readonly batch: number;
  readonly total: number;
}

/** Operations whose result lies where their first input lies. */
const views = new Set(['Reshape', 'Identity']);

/** Bytes of a value; symbolic sizes count as 1. */
export function bytesOfValue({ dtype, shape }: Pick<Value, 'dtype' | 'shape'>): number {
  return elementSize[dtype] * sizeOf(shape.map((dim) => (typeof dim === 'number' ? dim : 1)));
}

/** Bytes that the nodes before `forward` make and the others read, each buffer once. */
export function keptBytes(nodes: readonly GraphNode[], forward: number): number {
  const buffers = new Map<string, Value>(); // value name -> the value whose buffer holds it
  for (const node of nodes.slice(0, forward)) {
    for (const output of node.outputs) {
      const source = views.has(node.op) ? node.inputs[0]! : output;
      buffers.set(output.name, buffers.get(source.name) ?? source);
    }
  }
  const made = new Set(nodes.slice(0, forward).flatMap(({ outputs }) => outputs.map(({ name }) => name)));
  const kept = new Map<string, Value>();
  for (const { inputs } of nodes.slice(forward)) {
    for (const { name } of inputs) {
      const buffer = buffers.get(name);
      if (buffer && made.has(buffer.name)) kept.set(buffer.name, buffer);
    }
  }
  return [...kept.values()].reduce((total, value) => total + bytesOfValue(value), 0);
}

/** One line for a log or a person: `5.0 MB: state 1.2 MB, …`. */
export function memoryText({ state, frozen, kept, batch, total }: MemoryPlan): string {
  const text = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  return `${text(total)}: state ${text(state)}, frozen ${text(frozen)}, kept activations ${text(kept)}, batch ${text(batch)}`;
}
