import { assert } from '../errors.js';
import { tensor } from '../tensor.js';
import { GraphBuilder, type Graph } from './builder.js';
import { identity, lookUp } from './layers.js';
import type { LoopAttrs, Value } from './ops.js';
import { prepended } from './prune.js';

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
  const known = new Set([...carried.map(([name]) => name), ...Object.keys(values.captured)]);
  for (const { name } of inputs.slice(2)) assert(known.has(name), `loop: \`${name}\` is neither carried nor captured`);
  const captured = Object.entries(values.captured).filter(([name]) => asked.has(name));
  const formal = [...carried, ...captured].map(([name, { dtype, shape }]) => asked.get(name) ?? { name, dtype, shape });
  const body: Graph = { ...made, inputs: [round, goesOn, ...formal] };
  const results = looped(g, count, { body, carried: carried.length }, [...carried, ...captured]);
  const named = (names: readonly string[], from: number): Record<string, Value> =>
    Object.fromEntries(names.map((name, i) => [name, results[from + i]!]));
  return { last: named(Object.keys(values.carried), 0), each: named(Object.keys(each), carried.length) };
}

function looped(
  g: GraphBuilder,
  count: number,
  attrs: LoopAttrs,
  values: readonly (readonly [name: string, value: Value])[],
): readonly Value[] {
  const rounds = g.constant(tensor('int64', [], BigInt64Array.of(BigInt(count))));
  const goesOn = g.constant(tensor('bool', [], Uint8Array.of(1)));
  return g.op('Loop', [rounds, goesOn, ...values.map(([, value]) => value)], attrs);
}

/**
 * Runs a finished graph `count` times. Its inputs become inputs of `g` under their names, those of a single round with an axis of `count` before
 * the others.
 *
 * @param carried input -> the output that takes its place in the next round
 * @param rows inputs of which each round takes its own row
 * @param each outputs of single rounds that are wanted
 */
export function loopOver(
  g: GraphBuilder,
  count: number,
  graph: Graph,
  names: {
    readonly carried: Readonly<Record<string, string>>;
    readonly rows: readonly string[];
    readonly each: readonly string[];
  },
): Rounds {
  const { carried, rows, each } = names;
  const first = new GraphBuilder('body', { params: 'inputs' });
  const round = first.input('loop.round', 'int64', []);
  const goesOn = first.input('loop.goes_on', 'bool', []);
  const [captured, taken] = [new Map<string, Value>(), new Map<string, Value>()];
  const onward = first.scope('loop', () => {
    for (const { name, dtype, shape } of graph.inputs.filter((input) => rows.includes(input.name))) {
      const table = first.input(`rows of ${name}`, dtype, [count, ...shape]);
      captured.set(name, table);
      taken.set(name, lookUp(first, table, round));
    }
    return identity(first, goesOn);
  });
  for (const input of graph.inputs) {
    if (!taken.has(input.name) && carried[input.name] === undefined) captured.set(input.name, input);
  }
  const inputOf = (name: string): Value => {
    const value = graph.inputs.find((input) => input.name === name);
    assert(value !== undefined, `loop: ${graph.name} has no input \`${name}\``);
    return value;
  };
  const outputOf = (name: string): Value => {
    const value = graph.outputs.get(name);
    assert(value !== undefined, `loop: ${graph.name} has no output \`${name}\``);
    return value;
  };
  const formal = [...Object.keys(carried).map(inputOf), ...captured.values()];
  const merged = prepended({ inputs: [], constants: [], nodes: first.nodes }, taken, graph);
  const outputs = [...Object.values(carried), ...each].map((name) => [name, outputOf(name)] as const);
  const body: Graph = {
    ...merged,
    inputs: [round, goesOn, ...formal],
    outputs: new Map([['loop.next_goes_on', onward], ...outputs]),
  };
  const actual = formal.map(({ dtype, shape }, i) => {
    const name = [...Object.keys(carried), ...captured.keys()][i]!; // the same order
    return [name, g.input(name, dtype, shape)] as const;
  });
  const results = looped(g, count, { body, carried: Object.keys(carried).length }, actual);
  const named = (keys: readonly string[], from: number): Record<string, Value> =>
    Object.fromEntries(keys.map((key, i) => [key, results[from + i]!]));
  return { last: named(Object.keys(carried), 0), each: named(each, Object.keys(carried).length) };
}
