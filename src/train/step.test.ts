import { expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { tensor } from '../tensor.js';
import { stepGraphs } from './graphs.js';
import { memoryText } from './memory.js';
import { openTraining, type TrainingState, type Weights } from './step.js';
import { toyBatch, toyStep, toyWeights } from './toy-step.js';

const cpu = { device: 'cpu', threads: 1 } as const;
const places = ['host', 'graph'] as const;
const rows = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

function largestDifference(a: Weights, b: Weights): number {
  return Math.max(
    ...[...a].flatMap(([name, { data }]) => Array.from(data, (value, i) => Math.abs(value - b.get(name)!.data[i]!))),
  );
}

const allOf = ({ weights, moments }: TrainingState) =>
  [weights, ...Object.values(moments)].map((values) => [...values]);

test.each(places)(
  'accumulation over four batches is the step of one batch four times as large (%s)',
  async (update) => {
    await using whole = await openTraining(toyStep(8), toyWeights(), { ...cpu, update });
    await using parts = await openTraining(toyStep(2), toyWeights(), { ...cpu, update });
    for (let i = 0; i < 5; i++) {
      const large = await whole.run(toyBatch(rows(8 * i, 8 * i + 8)), 0.05);
      const small = await parts.run(
        [0, 2, 4, 6].map((from) => toyBatch(rows(8 * i + from, 8 * i + from + 2))),
        0.05,
      );
      expect(small.loss).toBeCloseTo(large.loss, 6);
      expect(small.gradientNorm).toBeCloseTo(large.gradientNorm, 6);
    }
    expect(largestDifference((await whole.state()).weights, (await parts.state()).weights)).toBeLessThan(2e-6);
  },
);

test('the update on the host is that of the graph', async () => {
  const make = (update: 'host' | 'graph') => openTraining(toyStep(4), toyWeights(), { ...cpu, update });
  await using host = await make('host');
  await using graph = await make('graph');
  for (let i = 0; i < 10; i++) {
    const batch = toyBatch(rows(4 * i, 4 * i + 4));
    const [a, b] = [await host.run(batch, 0.02), await graph.run(batch, 0.02)];
    expect(a.gradientNorm).toBeCloseTo(b.gradientNorm, 5);
  }
  const [a, b] = [await host.state(), await graph.state()];
  for (const moment of ['m', 'v', 'ema'] as const) {
    expect(largestDifference(a.moments[moment]!, b.moments[moment]!)).toBeLessThan(1e-5);
  }
  expect(largestDifference(a.weights, b.weights)).toBeLessThan(1e-5);
});

test.each(places)('learns: eight rows are fitted (%s)', async (update) => {
  await using training = await openTraining(toyStep(8), toyWeights(), { ...cpu, update });
  const batch = toyBatch(rows(0, 8));
  let loss = Infinity;
  for (let i = 0; i < 150; i++) loss = (await training.run(batch, 0.05)).loss;
  expect(loss).toBeLessThan(0.05);
});

test.each(places)(
  'ten steps are five, a state taken out and put into another session, and five (%s)',
  async (update) => {
    await using straight = await openTraining(toyStep(4), toyWeights(), { ...cpu, update });
    for (let i = 0; i < 10; i++) await straight.run(toyBatch(rows(4 * i, 4 * i + 4)), 0.02);
    await using first = await openTraining(toyStep(4), toyWeights(), { ...cpu, update });
    for (let i = 0; i < 5; i++) await first.run(toyBatch(rows(4 * i, 4 * i + 4)), 0.02);
    await using second = await openTraining(toyStep(4), toyWeights(99), { ...cpu, update });
    await second.load(await first.state());
    for (let i = 5; i < 10; i++) await second.run(toyBatch(rows(4 * i, 4 * i + 4)), 0.02);
    const [expected, found] = [await straight.state(), await second.state()];
    expect(found.step).toBe(10);
    expect(allOf(found)).toEqual(allOf(expected));
  },
);

test.each(places)(
  'a loss that is not finite names step and parameter, and leaves the state as it was (%s)',
  async (update) => {
    await using training = await openTraining(toyStep(4), toyWeights(), { ...cpu, update });
    await training.run(toyBatch(rows(0, 4)), 0.02);
    const before = await training.state();
    const batch = toyBatch(rows(4, 8));
    const poisoned = { ...batch, x: tensor('float32', [4, 6], new Float32Array(24).fill(NaN)) };
    const failure = await training.run(poisoned, 0.02).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(EgolensError);
    expect((failure as EgolensError).code).toBe('data.not_finite');
    expect((failure as EgolensError).message).toMatch(
      /^step 2: loss is NaN.*first gradient that is not finite is that of `body\.weight` \[8, 6\]/,
    );
    const after = await training.state();
    expect(after.step).toBe(1);
    expect(allOf(after)).toEqual(allOf(before));
    await training.run(batch, 0.02);
  },
);

test('what is not trained stays, has no moments, and still takes part', async () => {
  const step = toyStep(4, { isTrained: (name) => name.startsWith('head.') });
  await using training = await openTraining(step, toyWeights(), cpu);
  await training.run(toyBatch(rows(0, 4)), 0.1);
  const { weights, moments } = await training.state();
  expect(weights.get('body.weight')!.data).toEqual(toyWeights().get('body.weight')!.data);
  expect(weights.get('head.weight')!.data).not.toEqual(toyWeights().get('head.weight')!.data);
  expect([...moments.m!.keys()]).toEqual(['head.weight', 'head.bias']);
});

test('evaluates any number of rows, with the weights or with their average', async () => {
  await using training = await openTraining(toyStep(4), toyWeights(), cpu);
  const { x } = toyBatch(rows(0, 3));
  const start = await training.evaluate('scores', { x: x! });
  for (let i = 0; i < 3; i++) await training.run(toyBatch(rows(4 * i, 4 * i + 4)), 0.05);
  const [now, average] = [
    await training.evaluate('scores', { x: x! }),
    await training.evaluate('scores', { x: x! }, 'average'),
  ];
  expect(start['logits']!.shape).toEqual([3, 3]);
  const distance = (a: Float32Array, b: Float32Array) => Math.hypot(...a.map((value, i) => value - b[i]!));
  const moved = distance(now['logits']!.data, start['logits']!.data);
  const lag = distance(average['logits']!.data, start['logits']!.data);
  expect(lag).toBeGreaterThan(0);
  expect(lag).toBeLessThan(moved);
});

test('a batch of another size or type is refused before anything runs', async () => {
  await using training = await openTraining(toyStep(4), toyWeights(), cpu);
  await expect(training.run(toyBatch(rows(0, 3)), 0.1)).rejects.toMatchObject({
    code: 'data.shape',
    message: 'batch, input `x`: expected float32 [4, 6], found float32 [3, 6]',
  });
  const { targets } = toyBatch(rows(0, 4));
  await expect(training.run({ targets: targets! }, 0.1)).rejects.toMatchObject({ code: 'data.shape' });
  expect(training.step).toBe(0);
});

test('weights that are missing or misshapen are named', async () => {
  const weights = new Map(toyWeights());
  weights.set('head.bias', tensor('float32', [4], new Float32Array(4)));
  await expect(openTraining(toyStep(4), weights, cpu)).rejects.toMatchObject({
    code: 'model.shape',
    message: 'head.bias: expected [3], found [4]',
  });
  weights.delete('head.bias');
  await expect(openTraining(toyStep(4), weights, cpu)).rejects.toMatchObject({ code: 'model.key_unmatched' });
});

test('a loss that reaches no trained parameter is refused', () => {
  expect(() => stepGraphs(toyStep(4, { isTrained: () => false }))).toThrow(
    /expected a loss that depends on a trained parameter/,
  );
});

test('the memory plan counts the state twice and what the backward pass reads', () => {
  const graphs = stepGraphs(toyStep(4));
  const memory = graphs.memory('graph');
  // 83 weights with two moments and an average, in two sets of four bytes; on the host one set, and gradients.
  expect(memory.state).toBe(83 * 4 * 4 * 2);
  expect(graphs.memory('host').state).toBe(83 * 4 * 5);
  expect(memory.batch).toBe(4 * 4 * (6 + 3));
  expect(memory.kept).toBeGreaterThan(4 * 4 * 8);
  expect(memory.kept).toBeLessThan(4 * 4 * (8 + 8 + 3) * 2);
  expect(memoryText(memory)).toMatch(/^0\.0 MB: state 0\.0 MB/);
});
