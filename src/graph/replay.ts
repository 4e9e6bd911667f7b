import type { Graph, GraphBuilder, GraphNode } from './builder.js';
import type { Value } from './ops.js';

export interface ReplayOptions {
  /**
   * Name of the stretch that a node belongs to, undefined where it belongs to none. Neighbours of one stretch are computed again on the way
   * back instead of kept, as `checkpoint` (grad.ts) does it.
   */
  readonly stretchOf?: (node: GraphNode) => string | undefined;
  /** Other inputs for a node than those that take the place of its own. */
  readonly change?: (node: GraphNode, inputs: readonly Value[]) => readonly Value[];
}

/**
 * Adds the nodes of a finished graph to a builder: a model that is defined for inference becomes part of a training graph, whatever its
 * family. Inputs and parameters come under their names, so in a builder with `params: 'inputs'` parameters are inputs; symbols in shapes
 * take the sizes of the builder, and all shapes are inferred anew.
 *
 * @returns what the outputs of `graph` are called -> their values here
 */
export function replay(
  g: GraphBuilder,
  graph: Graph,
  { stretchOf = () => undefined, change = (_, inputs) => inputs }: ReplayOptions = {},
): ReadonlyMap<string, Value> {
  const here = new Map<string, Value>();
  for (const { name, dtype, shape } of graph.inputs) here.set(name, g.input(name, dtype, shape));
  for (const { name, shape } of graph.params) here.set(name, g.param(name, shape));
  for (const { name, constant, shared } of graph.constants) {
    here.set(name, shared ? g.constant(constant, name) : g.constant(constant));
  }
  const valueOf = (value: Value): Value => here.get(value.name)!; // nodes stand in an order in which they can run
  const run = (node: GraphNode): void => {
    const end = node.name.lastIndexOf('.');
    const add = (): readonly Value[] => g.op(node.op, change(node, node.inputs.map(valueOf)), node.attrs);
    const outputs = end < 0 ? add() : g.scope(node.name.slice(0, end), add);
    node.outputs.forEach(({ name }, i) => here.set(name, outputs[i]!)); // inference gives as many outputs for the same operation
  };
  for (let at = 0; at < graph.nodes.length;) {
    const name = stretchOf(graph.nodes[at]!); // below the length
    let end = at + 1;
    while (name !== undefined && end < graph.nodes.length && stretchOf(graph.nodes[end]!) === name) end++;
    const stretch = graph.nodes.slice(at, end);
    const from = g.nodes.length;
    stretch.forEach(run);
    if (name !== undefined) g.mark({ from, to: g.nodes.length, inputs: enteringOf(stretch, graph).map(valueOf) });
    at = end;
  }
  return new Map([...graph.outputs].map(([name, value]) => [name, valueOf(value)]));
}

/** What a stretch takes from the nodes before it. */
function enteringOf(stretch: readonly GraphNode[], graph: Graph): Value[] {
  const known = new Set(
    [...graph.params, ...graph.constants, ...stretch.flatMap(({ outputs }) => outputs)].map(({ name }) => name),
  );
  const entering = stretch.flatMap(({ inputs }) => inputs).filter(({ name }) => !known.has(name));
  return [...new Map(entering.map((value) => [value.name, value])).values()];
}
