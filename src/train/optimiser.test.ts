import { expect, test } from 'vitest';
import { mean, mul, sub, sum } from '../graph/layers.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { StepDescription } from './graphs.js';
import { decayLayers, decayMatrices, planSlabs, type GroupRule } from './groups.js';
import { adamw, type Optimiser } from './optimiser.js';
import { openTraining, type Weights } from './step.js';

const floats = (values: readonly number[], shape: readonly number[] = [values.length]): Tensor<'float32'> =>
  tensor('float32', shape, Float32Array.from(values));

/** sum of (a - x)^2 + mean of (b - 2)^2; `c` is asked for and not reached. */
function parabolas(groups: GroupRule, optimiser: Optimiser): { step: StepDescription; weights: Weights } {
  return {
    step: {
      name: 'parabolas',
      groups,
      optimiser,
      forward(g) {
        const x = g.input('x', 'float32', [2, 2]);
        const [a, b] = [g.param('a', [2, 2]), g.param('b', [3])];
        g.param('c', [2]);
        const [first, second] = [sub(g, a, x), sub(g, b, g.constant(floats([2, 2, 2])))];
        const loss = sub(
          g,
          sum(g, mul(g, first, first), [0, 1]),
          mul(g, mean(g, mul(g, second, second), [0]), g.constant(floats([-1], []))),
        );
        return { loss };
      },
    },
    weights: new Map([
      ['a', floats([1, -2, 3, 0.5], [2, 2])],
      ['b', floats([0.1, -4, 7])],
      ['c', floats([5, 6])],
    ]),
  };
}

const places = ['host', 'graph'] as const;
const x = floats([0.3, 0.6, -0.9, 1.2], [2, 2]);

/** Gradients of the parabolas in double precision. */
function gradientsAt(a: readonly number[], b: readonly number[]): readonly [number[], number[]] {
  return [a.map((value, i) => 2 * (value - x.data[i]!)), b.map((value) => (2 / 3) * (value - 2))];
}

test.each(places)(
  'AdamW follows its formulas: clipping, decay and rate by group, bias correction, average (%s)',
  async (update) => {
    const optimiser = { rule: { ...adamw, epsilon: 1e-3 }, clip: 1.5, average: 0.9 } satisfies Optimiser;
    const { step, weights } = parabolas(
      ({ name }) => (name === 'a' ? { decay: 0.1, scale: 0.5 } : { decay: 0, scale: 1 }),
      optimiser,
    );
    await using training = await openTraining(step, weights, { device: 'cpu', threads: 1, update });
    const state = ['a', 'b'].map((name) => {
      const start = Array.from(weights.get(name)!.data);
      return { p: start, m: start.map(() => 0), v: start.map(() => 0), ema: [...start] };
    });
    for (let t = 1; t <= 4; t++) {
      const rate = 0.05 * t;
      const result = await training.run({ x }, rate);
      const gradients = gradientsAt(state[0]!.p, state[1]!.p);
      const norm = Math.hypot(...gradients.flat());
      expect(result.gradientNorm).toBeCloseTo(norm, 4);
      const factor = Math.min(1, 1.5 / (norm + 1e-6));
      for (const [k, { p, m, v, ema }] of state.entries()) {
        const [decay, scale] = k === 0 ? [0.1, 0.5] : [0, 1];
        for (let i = 0; i < p.length; i++) {
          const g = gradients[k]![i]! * factor;
          m[i] = 0.9 * m[i]! + 0.1 * g;
          v[i] = 0.999 * v[i]! + 0.001 * g * g;
          const change = m[i]! / (1 - 0.9 ** t) / (Math.sqrt(v[i]!) / Math.sqrt(1 - 0.999 ** t) + 1e-3);
          p[i] = p[i]! * (1 - rate * scale * decay) - rate * scale * change;
          ema[i] = 0.9 * ema[i]! + 0.1 * p[i]!;
        }
      }
    }
    const found = await training.state();
    for (const [k, name] of (['a', 'b'] as const).entries()) {
      const pairs = [found.weights, found.moments.m!, found.moments.v!, found.moments.ema!].map(
        (values) => values.get(name)!.data,
      );
      for (const [j, expected] of [state[k]!.p, state[k]!.m, state[k]!.v, state[k]!.ema].entries()) {
        expected.forEach((value, i) => {
          expect(pairs[j]![i]).toBeCloseTo(value, 5);
        });
      }
    }
  },
);

test.each(places)('a parameter that the loss does not reach is neither updated nor decayed (%s)', async (update) => {
  const { step, weights } = parabolas(() => ({ decay: 0.5, scale: 1 }), { rule: adamw });
  await using training = await openTraining(step, weights, { device: 'cpu', threads: 1, update });
  await training.run({ x }, 0.1);
  const state = await training.state();
  expect(training.parameters.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(state.weights.get('c')!.data).toEqual(weights.get('c')!.data);
  expect(state.weights.get('a')!.data).not.toEqual(weights.get('a')!.data);
});

test.each(places)('SGD with momentum and weight decay is that of torch (%s)', async (update) => {
  const { step, weights } = parabolas(() => ({ decay: 0.1, scale: 1 }), { rule: { kind: 'sgd', momentum: 0.9 } });
  await using training = await openTraining(step, weights, { device: 'cpu', threads: 1, update });
  const p = Array.from(weights.get('b')!.data);
  const m = p.map(() => 0);
  for (let t = 0; t < 3; t++) {
    await training.run({ x }, 0.1);
    const [, gradient] = gradientsAt([], p);
    for (let i = 0; i < p.length; i++) {
      m[i] = 0.9 * m[i]! + gradient[i]! + 0.1 * p[i]!;
      p[i] = p[i]! - 0.1 * m[i]!;
    }
  }
  const found = (await training.state()).weights.get('b')!.data;
  p.forEach((value, i) => {
    expect(found[i]).toBeCloseTo(value, 5);
  });
});

test('matrices decay, vectors, biases and listed names do not', () => {
  const rule = decayMatrices(0.05, ['mask_token']);
  expect(rule({ name: 'head.weight', shape: [2, 2] }).decay).toBe(0.05);
  for (const [name, shape] of [
    ['norm.weight', [2]],
    ['odd.bias', [1, 2, 1]],
    ['mask_token', [1, 1, 2]],
  ] as const) {
    expect(rule({ name, shape }).decay).toBe(0);
  }
});

test('rates shrink block by block towards the input', () => {
  const rule = decayLayers(decayMatrices(0), 2, 0.5, 'encoder.');
  const scaleOf = (name: string) => rule({ name, shape: [1] }).scale;
  const names = [
    'encoder.patch_embed.proj.weight',
    'encoder.blocks.0.norm1.bias',
    'encoder.blocks.1.norm1.bias',
    'encoder.norm.bias',
    'head.bias',
  ];
  expect(names.map(scaleOf)).toEqual([0.125, 0.25, 0.5, 1, 1]);
});

test('small parameters of a group share a state tensor, large ones have their own', () => {
  const slabs = planSlabs(
    [
      { name: 'a.weight', shape: [256, 256] },
      { name: 'a.bias', shape: [256] },
      { name: 'b.weight', shape: [4, 4] },
      { name: 'b.bias', shape: [4] },
    ],
    decayMatrices(0.1),
  );
  expect(slabs.map(({ name, shape, members }) => [name, shape, members.map((m) => `${m.name}@${m.offset}`)])).toEqual([
    ['a.weight', [256, 256], ['a.weight@0']],
    ['packed.0', [260], ['a.bias@0', 'b.bias@256']],
    ['packed.1', [16], ['b.weight@0']],
  ]);
});
