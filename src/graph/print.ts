import { shapeText } from '../tensor.js';
import type { Graph } from './builder.js';
import type { Value } from './ops.js';

/**
 * The graph as text, one line per input, parameter, operation and output: for review, and for tests that pin a model's
 * definition. Values are numbered in order, so that names do not hide a change of structure.
 */
export function graphText(graph: Graph): string {
  const labels = new Map<string, string>();
  for (const { name } of [...graph.inputs, ...graph.params]) labels.set(name, name);
  for (const value of graph.constants) labels.set(value.name, constantText(value));
  let count = 0;
  const lines = [`graph ${graph.name}`];
  for (const { name, dtype, shape } of graph.inputs) lines.push(`input ${name}: ${dtype} ${shapeText(shape)}`);
  for (const { name, shape } of graph.params) lines.push(`param ${name}: ${shapeText(shape)}`);
  for (const node of graph.nodes) {
    for (const output of node.outputs) labels.set(output.name, `%${count++}`);
    const left = node.outputs.map((output) => labels.get(output.name)).join(', ');
    const inputs = node.inputs.map((input) => labels.get(input.name) ?? `?${input.name}`).join(', ');
    const attrs = Object.entries(node.attrs)
      .filter(([key]) => key !== 'body')
      .map(([key, value]) => ` ${key}=${JSON.stringify(value)}`)
      .join('');
    const types = node.outputs.map(({ dtype, shape }) => `${dtype} ${shapeText(shape)}`).join(', ');
    lines.push(`${left} = ${node.op}(${inputs})${attrs}: ${types}`);
    if ('body' in node.attrs) lines.push(graphText(node.attrs.body).trimEnd().replace(/^/gm, '  '));
  }
  for (const [name, value] of graph.outputs) lines.push(`output ${name} = ${labels.get(value.name) ?? value.name}`);
  return `${lines.join('\n')}\n`;
}

/** Short constants by value, long ones by name and type. */
function constantText({ name, dtype, shape, constant }: Value): string {
  const values = constant === undefined || constant.data.length > 8 ? undefined : [...constant.data].map(Number);
  return values === undefined ? `${name}: ${dtype} ${shapeText(shape)}` : `${dtype}(${values.join(' ')})`;
}
