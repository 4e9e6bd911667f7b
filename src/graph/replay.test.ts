import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { GraphBuilder } from './builder.js';
import { gradients } from './grad.js';
import { add, gelu, linear, mean, reshape } from './layers.js';
import { onnxBytes } from './onnx.js';
import { replay } from './replay.js';

/** Two residual blocks and a mean, as a model for inference. */
function model() {
  const g = new GraphBuilder('model');
  let x = add(
    g,
    g.input('x', 'float32', ['batch', 4]),
    g.constant(tensor('float32', [4], new Float32Array(4)), 'table'),
  );
  for (let i = 0; i < 2; i++) {
    x = g.scope(`blocks.${i}`, () => add(g, x, gelu(g, linear(g, x, 'fc', 4))));
  }
  g.output('rows', mean(g, x, [1]));
  return g.finish();
}

test('a graph comes back as it was: names, order, shapes', () => {
  const graph = model();
  const g = new GraphBuilder('model');
  for (const [name, value] of replay(g, graph)) g.output(name, value);
  const plan = { slots: [], inline: [], totalBytes: 0 };
  const bytes = (of: ReturnType<typeof model>) =>
    onnxBytes(of, { weightsFile: '', plan, inline: () => tensor('float32', [], new Float32Array(1)) });
  expect(Buffer.compare(bytes(g.finish()), bytes(graph))).toBe(0);
});

test('in a training graph parameters are inputs below the scope, and symbols are numbers', () => {
  const g = new GraphBuilder('step', { params: 'inputs', sizes: { batch: 3 } });
  const rows = g.scope('encoder', () => replay(g, model())).get('rows')!;
  expect(rows.shape).toEqual([3]);
  expect(g.params.map(({ name }) => name)).toEqual([
    'encoder.blocks.0.fc.weight',
    'encoder.blocks.0.fc.bias',
    'encoder.blocks.1.fc.weight',
    'encoder.blocks.1.fc.bias',
  ]);
  const found = gradients(g, mean(g, reshape(g, rows, [3]), [0]), g.params);
  expect(found.size).toBe(4);
});

test('stretches are marked with what enters them, neighbours of one name as one', () => {
  const g = new GraphBuilder('step', { params: 'inputs' });
  replay(g, model(), { stretchOf: ({ name }) => /^blocks\.\d+/.exec(name)?.[0] });
  expect(g.segments.map(({ inputs }) => inputs.length)).toEqual([1, 1]);
  const [first, second] = g.segments;
  expect(first!.to).toBe(second!.from);
  expect(g.nodes[second!.to]!.op).toBe('ReduceMean');
});

test('a node can be given other inputs', () => {
  const g = new GraphBuilder('step', { params: 'inputs' });
  const scale = g.input('scale', 'float32', []);
  replay(g, model(), {
    change: ({ op, name }, inputs) => (op === 'Add' && name.startsWith('blocks.1.') ? [inputs[0]!, scale] : inputs),
  });
  const sums = g.nodes.filter(({ op, inputs }) => op === 'Add' && inputs.includes(scale));
  expect(sums.map(({ name }) => name.startsWith('blocks.1.'))).toEqual([true]);
});
