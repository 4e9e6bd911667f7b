import type { Constant, Graph, GraphNode } from './builder.js';
import type { Value } from './ops.js';

/**
 * The graph without what no output needs: nodes, constants and inputs. Training graphs have such parts, because a derivative rule may
 * prepare more than was asked for; the runtime would drop the nodes itself, but not the inputs, which it then wants to be fed.
 */
export function pruned(graph: Graph): Graph {
  const needed = new Set([...graph.outputs.values()].map(({ name }) => name));
  const nodes: GraphNode[] = [];
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some(({ name }) => needed.has(name))) continue;
    nodes.push(node);
    for (const { name } of node.inputs) needed.add(name);
  }
  const kept = <T extends Value>(values: readonly T[]): T[] => values.filter(({ name }) => needed.has(name));
  return {
    ...graph,
    nodes: nodes.reverse(),
    inputs: kept(graph.inputs),
    params: kept(graph.params),
    constants: kept(graph.constants),
  };
}

/** A graph with nodes before it whose values take the place of the inputs named in `sources`; their inputs and constants become its own. */
export function prepended(
  first: Pick<Graph, 'inputs' | 'constants' | 'nodes'>,
  sources: ReadonlyMap<string, Value>,
  graph: Graph,
): Graph {
  const replaced = (value: Value): Value => sources.get(value.name) ?? value;
  const nodes = graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(replaced) }));
  return {
    ...graph,
    nodes: [...first.nodes, ...nodes],
    inputs: unique([...first.inputs, ...graph.inputs.filter(({ name }) => !sources.has(name))]),
    constants: unique<Constant>([...first.constants, ...graph.constants]),
  };
}

function unique<T extends Value>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [value.name, value])).values()];
}
