import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { GraphBuilder } from './builder.js';
import { add, layerNorm, linear, lookUp, reshape, split } from './layers.js';
import { graphText } from './print.js';

function graph(scope: string): string {
  const g = new GraphBuilder('small');
  const x = g.input('x', 'float32', ['batch', 2, 4]);
  const ids = g.input('ids', 'int64', ['batch', 2]);
  const table = g.constant(tensor('float32', [3, 4], new Float32Array(12)), 'table');
  const y = g.scope(scope, () => linear(g, layerNorm(g, add(g, x, lookUp(g, table, ids)), 'norm', 1e-6), 'fc', 8));
  const [left, right] = split(g, y, [3, 5], 2);
  g.output('left', reshape(g, left!, [0, -1]));
  g.output('right', right!);
  return graphText(g.finish());
}

test('a graph prints a line for each input, parameter, operation and output, with types and attributes', () => {
  expect(graph('mlp')).toBe(`graph small
input x: float32 [batch, 2, 4]
input ids: int64 [batch, 2]
param mlp.norm.weight: [4]
param mlp.norm.bias: [4]
param mlp.fc.weight: [8, 4]
param mlp.fc.bias: [8]
%0 = Gather(table: float32 [3, 4], ids) axis=0: float32 [batch, 2, 4]
%1 = Add(x, %0): float32 [batch, 2, 4]
%2 = LayerNormalization(%1, mlp.norm.weight, mlp.norm.bias) axis=-1 epsilon=0.000001: float32 [batch, 2, 4]
%3 = Reshape(%2, int64(-1 4)): float32 [batch*2, 4]
%4 = Gemm(%3, mlp.fc.weight, mlp.fc.bias) transB=1: float32 [batch*2, 8]
%5 = Reshape(%4, int64(-1 2 8)): float32 [batch, 2, 8]
%6, %7 = Split(%5, int64(3 5)) axis=2: float32 [batch, 2, 3], float32 [batch, 2, 5]
%8 = Reshape(%6, int64(0 -1)): float32 [batch, 6]
output left = %8
output right = %7
`);
});

test('scopes show in the names of parameters only', () => {
  expect(graph('a').replaceAll('a.', 'b.')).toBe(graph('b'));
});
