import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeGraph } from '../runtime/probe-graphs.js';
import { openSession } from '../runtime/session.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { GraphBuilder } from './builder.js';
import { gradients } from './grad.js';
import { add, identity, lookUp, mean, mul, multiply, relu, scalar, sub } from './layers.js';
import { loop, type Rounds } from './loop.js';
import type { Value } from './ops.js';
import { graphText } from './print.js';
import { pruned } from './prune.js';

/** One step of gradient descent on the squared error of relu(x w'): the loss, and the weight after it. */
function descent(g: GraphBuilder, x: Value, target: Value): { readonly loss: Value; readonly weight: Value } {
  const weight = g.param('fc.weight', [2, 3]);
  const error = sub(g, relu(g, multiply(g, x, weight)), target);
  const loss = mean(g, mul(g, error, error), [0, 1]);
  const gradient = gradients(g, loss, [weight]).get(weight)!;
  return { loss, weight: sub(g, weight, mul(g, gradient, scalar(g, 0.1))) };
}

const batches = tensor(
  'float32',
  [3, 2, 3],
  Float32Array.from({ length: 18 }, (_, i) => Math.sin(i + 1)),
);
const targets = tensor('float32', [2, 2], Float32Array.of(1, 0, 0.5, 2));
const start = tensor('float32', [2, 3], Float32Array.of(0.3, -0.2, 0.5, 0.1, 0.4, -0.6));

/** Three steps in one run, each with its batch out of a table; the targets come from outside. */
function steps(g: GraphBuilder): Rounds {
  const table = g.input('batches', 'float32', batches.shape);
  const target = g.input('targets', 'float32', targets.shape);
  return loop(
    g,
    3,
    { carried: { 'fc.weight': g.param('fc.weight', [2, 3]) }, captured: { table, target, unused: target } },
    (body, round) => {
      const x = lookUp(body, body.input('table', 'float32', batches.shape), round);
      const { loss, weight } = descent(body, x, body.input('target', 'float32', targets.shape));
      return { next: { 'fc.weight': weight }, each: { loss } };
    },
  );
}

test('steps in a loop are those of separate runs, bit for bit', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-loop-'));
  try {
    const looped = new GraphBuilder('looped', { params: 'inputs' });
    const { last, each } = steps(looped);
    looped.output('weight', last['fc.weight']!);
    looped.output('losses', each['loss']!);
    const single = new GraphBuilder('single', { params: 'inputs' });
    const step = descent(single, single.input('x', 'float32', [2, 3]), single.input('target', 'float32', [2, 2]));
    single.output('weight', identity(single, step.weight));
    single.output('loss', identity(single, step.loss));
    const open = async (g: GraphBuilder): ReturnType<typeof openSession> =>
      await openSession({ graph: await writeGraph(folder, pruned(g.finish())), device: 'cpu', threads: 1 });
    await using one = await open(looped);
    await using many = await open(single);

    const all = await one.run({ batches, targets, 'fc.weight': start }, ['weight', 'losses']);
    let weight: Tensor<'float32'> = start;
    const losses: number[] = [];
    for (let i = 0; i < 3; i++) {
      const x = tensor('float32', [2, 3], batches.data.slice(6 * i, 6 * i + 6));
      const result = await many.run({ x, target: targets, 'fc.weight': weight }, ['weight', 'loss']);
      weight = result['weight']!;
      losses.push(result['loss']!.data[0]!);
    }
    expect([...all['weight']!.data]).toEqual([...weight.data]);
    expect(all['losses']).toMatchObject({ shape: [3], data: Float32Array.from(losses) });
    expect(losses[2]).not.toBe(losses[0]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('what a body asks for is carried or captured, and what is carried goes on', () => {
  const g = new GraphBuilder('g');
  const x = g.input('x', 'float32', [2]);
  expect(() =>
    loop(g, 2, { carried: { x }, captured: {} }, (body) => ({ next: { x: body.param('elsewhere', [2]) } })),
  ).toThrow('loop: `elsewhere` is neither carried nor captured');
  expect(() => loop(g, 2, { carried: { x }, captured: {} }, () => ({ next: {} }))).toThrow(
    'loop: a round gives nothing for `x`',
  );
});

test('the text of a graph shows the body below the loop', () => {
  const g = new GraphBuilder('g');
  const x = g.input('x', 'float32', [2]);
  const { last } = loop(g, 2, { carried: { x }, captured: {} }, (body) => {
    const value = body.input('x', 'float32', [2]);
    return { next: { x: add(body, value, value) } };
  });
  g.output('y', last['x']!);
  expect(graphText(g.finish()).split('\n')).toEqual([
    'graph g',
    'input x: float32 [2]',
    '%0 = Loop(int64(2), bool(1), x) carried=1: float32 [2]',
    '  graph body',
    '  input loop.round: int64 []',
    '  input loop.goes_on: bool []',
    '  input x: float32 [2]',
    '  %0 = Add(x, x): float32 [2]',
    '  %1 = Identity(loop.goes_on): bool []',
    '  %2 = Identity(%0): float32 [2]',
    '  output loop.next_goes_on = %1',
    '  output next x = %2',
    'output y = %0',
    '',
  ]);
});
