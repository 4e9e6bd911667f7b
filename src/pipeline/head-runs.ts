/** Runs of a head over several asks at once: a run costs a message to the thread of the session, whatever it carries. */
import type { Session } from '../runtime/session.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { joined, shapeText, sizeOf, unstacked } from '../tensor.js';
import type { Tensor } from '../types.js';

/** Asks of one run. */
export const asksAtOnce = 16;
/** Numbers of the inputs of one run, 16 MB: sequences of long clips go one by one. */
const mostNumbers = 4_000_000;

type Outputs = Readonly<Record<string, Tensor<'float32'>>>;

/**
 * Runs sets of inputs of batch 1. Neighbours of equal shapes share a run where the graph takes any batch.
 *
 * @returns outputs of each set, of batch 1
 * @throws EgolensError as `session.run`
 */
export async function runTogether(
  session: Pick<Session, 'inputs' | 'run'>,
  sets: readonly TensorsByName[],
  names: readonly string[],
): Promise<Outputs[]> {
  const isAnyBatch = session.inputs.every(({ shape }) => typeof shape[0] === 'string');
  const outputs: Outputs[] = [];
  for (let first = 0; first < sets.length;) {
    const count = isAnyBatch ? alike(sets.slice(first, first + asksAtOnce)) : 1;
    const group = sets.slice(first, first + count);
    // What was joined is of this run alone.
    const feeds = count === 1 ? group[0]! : together(group);
    outputs.push(...apart(await session.run(feeds, names, { transfer: count > 1 }), count));
    first += count;
  }
  return outputs;
}

/** How many sets from the first on have its shapes, as many as one run may carry. */
function alike(sets: readonly TensorsByName[]): number {
  const formOf = (set: TensorsByName): string =>
    Object.entries(set)
      .map(([name, { shape }]) => `${name} ${shapeText(shape)}`)
      .join();
  const [first = {}] = sets;
  const form = formOf(first);
  const numbers = Object.values(first).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const most = Math.max(1, Math.min(sets.length, Math.floor(mostNumbers / Math.max(1, numbers))));
  const other = sets.findIndex((set) => formOf(set) !== form);
  return Math.min(most, other < 0 ? sets.length : other);
}

function together(sets: readonly TensorsByName[]): TensorsByName {
  return Object.fromEntries(
    Object.keys(sets[0] ?? {}).map((name) => [name, joined(sets.map((set) => set[name]!))] as const), // of equal forms
  );
}

/** Outputs [count, ...] as `count` times [1, ...]. */
function apart(outputs: Outputs, count: number): Outputs[] {
  const rows = Object.entries(outputs).map(([name, value]) => [name, unstacked(value)] as const);
  return Array.from(
    { length: count },
    (_, i) =>
      Object.fromEntries(rows.map(([name, own]) => [name, { ...own[i]!, shape: [1, ...own[i]!.shape] }] as const)), // a row each
  );
}
