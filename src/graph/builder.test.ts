import { describe, expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { GraphBuilder } from './builder.js';
import { add, floats, layerNorm, linear, mul, scalar } from './layers.js';

test('scopes spell the keys of a checkpoint, and end with their body, thrown errors included', () => {
  const g = new GraphBuilder('g');
  const name = g.scope('blocks.3', () => g.scope('attn', () => g.param('qkv.weight', [6, 2]).name));
  expect(name).toBe('blocks.3.attn.qkv.weight');
  expect(() =>
    g.scope('broken', () => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(g.param('head.bias', [3]).name).toBe('head.bias');
});

test('a parameter asked for twice is one parameter, with another shape it is refused', () => {
  const g = new GraphBuilder('g');
  const weight = g.scope('fc', () => g.param('weight', [2, 3]));
  expect(g.param('fc.weight', [2, 3])).toBe(weight);
  expect(() => g.param('fc.weight', [3, 2])).toThrow(
    expect.objectContaining({ code: 'data.shape', message: 'fc.weight: used as [2, 3] and as [3, 2]' }),
  );
});

test('a named constant is one constant over all scopes; another value under its name is a fault of ours', () => {
  const g = new GraphBuilder('g');
  const table = g.scope('encoder', () => g.constant(tensor('float32', [2], Float32Array.of(1, 2)), 'table'));
  expect(g.constant(tensor('float32', [2], Float32Array.of(1, 2)), 'table')).toBe(table);
  for (const other of [
    tensor('float32', [2], Float32Array.of(1, 3)),
    tensor('float32', [1, 2], Float32Array.of(1, 2)),
    tensor('int32', [2], Int32Array.of(1, 2)),
  ]) {
    expect(() => g.constant(other, 'table')).toThrow('g: two constants are called `table`');
  }
});

test('unnamed constants stay apart', () => {
  const g = new GraphBuilder('g');
  expect(scalar(g, 2)).not.toBe(scalar(g, 2));
});

test('one name is one value: inputs, parameters, constants and outputs share a space', () => {
  const g = new GraphBuilder('g');
  const x = g.input('x', 'float32', ['batch', 2]);
  expect(() => g.input('x', 'float32', [1])).toThrow('g: two values are called `x`');
  expect(() => g.param('x', [1])).toThrow('two values are called `x`');
  expect(() => g.constant(tensor('float32', [], Float32Array.of(1)), 'x')).toThrow('two values are called `x`');
  expect(() => g.output('x', add(g, x, x))).toThrow('two values are called `x`');
});

test('an output is what an operation gave, once: ONNX has no other name for it', () => {
  const g = new GraphBuilder('g');
  const x = g.input('x', 'float32', ['batch', 2]);
  const y = add(g, x, x);
  g.output('y', y);
  expect(() => g.output('z', y)).toThrow('output `z`: expected the result of an operation that is no output yet');
  for (const value of [x, g.param('w', [2]), floats(g, [1, 2])]) {
    expect(() => g.output('same', value)).toThrow(`found \`${value.name}\``);
  }
});

test('a graph without outputs is not finished', () => {
  expect(() => new GraphBuilder('empty').finish()).toThrow(
    expect.objectContaining({ code: 'internal.bug', message: 'empty: a graph without outputs' }),
  );
});

test('a finished graph is what was built so far, and stays so', () => {
  const g = new GraphBuilder('g');
  const x = g.input('x', 'float32', ['batch', 2]);
  g.output('y', linear(g, x, 'fc', 3));
  const graph = g.finish();
  expect(graph.params.map(({ name, shape }) => [name, shape])).toEqual([
    ['fc.weight', [3, 2]],
    ['fc.bias', [3]],
  ]);
  g.output('z', mul(g, x, x));
  expect([graph.nodes.length, graph.outputs.size]).toEqual([1, 1]);
  expect(g.finish().nodes).toHaveLength(2);
});

describe('a graph for training', () => {
  test('has its parameters as inputs under their state-dict keys, after the others', () => {
    const g = new GraphBuilder('g', { params: 'inputs' });
    const y = g.scope('blocks.3', () => linear(g, g.param('table', [2, 4]), 'fc', 3));
    const x = g.input('x', 'float32', [2, 3]);
    g.output('y', mul(g, y, x));
    const { inputs, params } = g.finish();
    expect(params).toEqual([]);
    expect(inputs.map(({ name }) => name)).toEqual(['x', 'blocks.3.table', 'blocks.3.fc.weight', 'blocks.3.fc.bias']);
    expect(g.params.map(({ name }) => name)).toEqual(inputs.slice(1).map(({ name }) => name));
  });

  test('has one constant for equal small values, whatever the scope; type and shape tell them apart', () => {
    const g = new GraphBuilder('g', { params: 'inputs' });
    const two = scalar(g, 2);
    expect(g.scope('inside', () => scalar(g, 2))).toBe(two);
    expect(floats(g, [2])).not.toBe(two);
    expect(g.constant(tensor('int32', [1], Int32Array.of(1)))).not.toBe(floats(g, [1.401298464324817e-45])); // equal bytes
    const many = (): unknown =>
      floats(
        g,
        Array.from({ length: 65 }, () => 1),
      );
    expect(many()).not.toBe(many());
  });

  test('has numbers for the symbols of its inputs that are given', () => {
    const g = new GraphBuilder('g', { sizes: { batch: 8 } });
    expect(g.input('x', 'float32', ['batch', 'tokens', 3]).shape).toEqual([8, 'tokens', 3]);
  });
});

test('further outputs of an operation are added when they are asked for, once', () => {
  const g = new GraphBuilder('g');
  const x = g.input('x', 'float32', ['batch', 3]);
  g.output('y', layerNorm(g, x, 'norm', 1e-6));
  const [node] = g.nodes;
  expect(node!.outputs).toHaveLength(1);
  const all = g.allOutputs(node!);
  expect(all.map(({ shape }) => shape)).toEqual([
    ['batch', 3],
    ['batch', 1],
    ['batch', 1],
  ]);
  expect(all[0]).toBe(node!.outputs[0]);
  expect(g.allOutputs(node!)).toBe(all);
  expect(g.finish().nodes[0]!.outputs).toBe(all);
  g.op('Exp', [x], {});
  expect(g.allOutputs(g.nodes[1]!)).toHaveLength(1);
  expect(() => g.allOutputs({ inputs: [], outputs: [x] })).toThrow('`x` comes from no node of this graph');
});
