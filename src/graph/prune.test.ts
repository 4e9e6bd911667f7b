import { expect, test } from 'vitest';
import { GraphBuilder, type Constant } from './builder.js';
import { add, mul, scalar, split } from './layers.js';
import { graphText } from './print.js';
import { prepended, pruned } from './prune.js';

test('keeps what an output needs, and of nodes with several outputs the whole', () => {
  const g = new GraphBuilder('g');
  const [x, unused] = [g.input('x', 'float32', [4]), g.input('unused', 'float32', [4])];
  const w = g.param('w', [4]);
  g.param('lost', [4]);
  mul(g, unused, scalar(g, 7));
  const [first] = split(g, add(g, x, w), [1, 3], 0);
  g.output('y', mul(g, first!, scalar(g, 2)));
  const { inputs, params, constants, nodes } = pruned(g.finish());
  expect(inputs.map(({ name }) => name)).toEqual(['x']);
  expect(params.map(({ name }) => name)).toEqual(['w']);
  expect(nodes.map(({ op }) => op)).toEqual(['Add', 'Split', 'Mul']);
  expect(constants.map(({ constant }) => Number(constant.data[0]))).toEqual([1, 2]); // the sizes of the split, the factor
});

test('nodes put before a graph take the place of its inputs', () => {
  const g = new GraphBuilder('g');
  g.output('y', add(g, g.input('a', 'float32', [2]), g.input('b', 'float32', [2])));
  const before = new GraphBuilder('before');
  const whole = before.input('whole', 'float32', [4]);
  const [a, b] = before.scope('unpack', () => split(before, whole, [2, 2], 0));
  const constants = before.nodes.flatMap(({ inputs }) =>
    inputs.filter((value): value is Constant => value.constant !== undefined),
  );
  const joined = prepended(
    { inputs: [whole], constants, nodes: before.nodes },
    new Map([
      ['a', a!],
      ['b', b!],
    ]),
    g.finish(),
  );
  expect(graphText(joined)).toBe(
    [
      'graph g',
      'input whole: float32 [4]',
      '%0, %1 = Split(whole, int64(2 2)) axis=0: float32 [2], float32 [2]',
      '%2 = Add(%0, %1): float32 [2]',
      'output y = %2',
      '',
    ].join('\n'),
  );
});
