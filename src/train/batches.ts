import { EgolensError } from '../errors.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { shapeText, stacked } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { StepGraphs } from './graphs.js';

/** Batches of a training step: which graph they are for, and how several become one. */

type Inputs = Pick<StepGraphs, 'inputs'>;

/** The first of the graphs whose inputs have the shapes of the batch; 0 where there is none, for `checkBatch` to say why. */
export function bucketOf(graphs: readonly Inputs[], batch: TensorsByName): number {
  return Math.max(
    0,
    graphs.findIndex(({ inputs }) =>
      inputs.every(({ name, shape }) => {
        const value = batch[name];
        return value !== undefined && shapeText(value.shape) === shapeText(shape);
      }),
    ),
  );
}

/** Throws `data.shape` where an input of the graph is missing in the batch, or of another type or shape. */
export function checkBatch({ inputs }: Inputs, batch: TensorsByName): void {
  for (const { name, dtype, shape } of inputs) {
    const value = batch[name];
    const found = value ? `${value.dtype} ${shapeText(value.shape)}` : 'nothing';
    if (found !== `${dtype} ${shapeText(shape)}`) {
      throw new EgolensError(
        'data.shape',
        `batch, input \`${name}\`: expected ${dtype} ${shapeText(shape)}, found ${found}`,
      );
    }
  }
}

/** Inputs of equal shapes behind each other, along a new first axis. */
export function stackedBatches(batches: readonly TensorsByName[]): TensorsByName {
  const names = Object.keys(batches[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, stacked(batches.map((batch) => batch[name]!))] as const)); // checked to be equal
}

/** Single numbers by name. */
export function numbersOf(values: Readonly<Record<string, Tensor<'float32'>>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, { data }]) => [name, data[0]!]));
}

/** The numbers of each of `count` steps out of [count] by name. */
export function numbersByStep(
  values: Readonly<Record<string, Tensor<'float32'>>>,
  count: number,
): Record<string, number>[] {
  return Array.from({ length: count }, (_, i) =>
    Object.fromEntries(Object.entries(values).map(([name, { data }]) => [name, data[i]!])),
  );
}
