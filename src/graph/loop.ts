import { assert } from '../errors.js';
import { tensor } from '../tensor.js';
import { GraphBuilder, type Graph } from './builder.js';
import { identity } from './layers.js';
import type { Value } from './ops.js';

/** What one round gives. */
export interface Round {
  /** Carried values after it, under the names of those before it. */
  readonly next: Readonly<Record<string, Value>>;
  /** Values of this round alone. */
  readonly each?: Readonly<Record<string, Value>>;
}

/** What all rounds gave. */
export interface Rounds {
  readonly last: Readonly<Record<string, Value>>;
  /** [count, ...]: a row a round. */
  readonly each: Readonly<Record<string, Value>>;
}

/**
 * Runs the graph that `build` makes `count` times, without a return to the host between.
 *
 * The body is a builder of its own with parameters as inputs: each of its inputs and parameters is the carried or the captured value of
 * that name. Carried ones go from round to round, captured ones are the same in each.
 *
 * @param build gets the number of the round, int64 []; it has to name all carried values in `next`
 */
export function loop(
  g: GraphBuilder,
  count: number,
  values: { readonly carried: Readonly<Record<string, Value>>; readonly captured: Readonly<Record<string, Value>> },
  build: (body: GraphBuilder, round: Value) => Round,
): Rounds {
  const inner = new GraphBuilder('body', { params: 'inputs' });
  const round = inner.input('loop.round', 'int64', []);
  const goesOn = inner.input('loop.goes_on', 'bool', []);
  const { next, each = {} } = build(inner, round);
  const carried = Object.entries(values.carried);
  const outputs: [string, Value][] = [
    ['loop.next_goes_on', goesOn],
    ...carried.map(([name]): [string, Value] => {
      const value = next[name];
      assert(value !== undefined, `loop: a round gives nothing for \`${name}\``);
      return [`next ${name}`, value];
    }),
    ...Object.entries(each).map(([name, value]): [string, Value] => [`each ${name}`, value]),
  ];
  for (const [name, value] of outputs) inner.output(name, identity(inner, value));
  const { inputs, ...made } = inner.finish();
  const asked = new Map(inputs.map((value) => [value.name, value]));
  const captured = Object.entries(values.captured).filter(([name]) => asked.has(name));
  const formal = [...carried, ...captured].map(([name, { dtype, shape }]) => asked.get(name) ?? { name, dtype, shape });
  const known = new Set(formal.map(({ name }) => name));
  for (const { name } of inputs.slice(2)) assert(known.has(name), `loop: \`${name}\` is neither carried nor captured`);
  const body: Graph = { ...made, inputs: [round, goesOn, ...formal] };
  const results = g.op(
    'Loop',
    [
      g.constant(tensor('int64', [], BigInt64Array.of(BigInt(count)))),
      g.constant(tensor('bool', [], Uint8Array.of(1))),
      ...[...carried, ...captured].map(([, value]) => value),
    ],
    { body, carried: carried.length },
  );
  const named = (names: readonly string[], from: number): Record<string, Value> =>
    Object.fromEntries(names.map((name, i) => [name, results[from + i]!]));
  return { last: named(Object.keys(values.carried), 0), each: named(Object.keys(each), carried.length) };
}
