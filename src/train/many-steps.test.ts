import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { loadCheckpoint } from './checkpoint.js';
import { openTraining, type Training, type TrainingState, type Weights } from './step.js';
import { toyBatch, toyStep, toyWeights } from './toy-step.js';
import { train, type StepRecord, type TrainerOptions } from './trainer.js';

/** Several updates in one run of the runtime, against as many runs. */
const cpu = { device: 'cpu', threads: 1 } as const;
const batchAt = (i: number) => toyBatch([4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]);
const batches = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => batchAt(from + i));
const rates = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => 0.01 + 0.002 * (from + i));
const open = (stepsPerRun: number): Promise<Training> =>
  openTraining(toyStep(4), toyWeights(), { ...cpu, update: 'graph', stepsPerRun });

function expectSameState(found: TrainingState, expected: TrainingState): void {
  expect(found.step).toBe(expected.step);
  const pairs: [Weights, Weights][] = [
    [found.weights, expected.weights],
    ...(['m', 'v', 'ema'] as const).map((name): [Weights, Weights] => [found.moments[name]!, expected.moments[name]!]),
  ];
  for (const [a, b] of pairs) {
    for (const [name, { data }] of a) {
      const other = b.get(name)!.data;
      const off = Math.max(...Array.from(data, (value, i) => Math.abs(value - other[i]!)));
      expect(off, name).toBeLessThanOrEqual(2.4e-7);
    }
  }
}

test('five steps in one run are five runs: losses, norms, weights, moments', async () => {
  await using one = await open(5);
  await using five = await open(1);
  const together = await one.runMany(batches(0, 5), rates(0, 5));
  const apart = await five.runMany(batches(0, 5), rates(0, 5));
  expect(together.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  together.forEach((result, i) => {
    expect(Math.abs(result.loss - apart[i]!.loss)).toBeLessThanOrEqual(2.4e-7);
    expect(Math.abs(result.gradientNorm - apart[i]!.gradientNorm)).toBeLessThanOrEqual(1e-6);
  });
  expect(together[4]!.loss).not.toBe(together[0]!.loss);
  expectSameState(await one.state(), await five.state());
});

test('what fills no run is done step by step, and a state goes from one session to the other', async () => {
  await using straight = await open(1);
  await straight.runMany(batches(0, 9), rates(0, 9));
  await using first = await open(4);
  await first.runMany(batches(0, 4), rates(0, 4));
  await first.runMany(batches(4, 6), rates(4, 6)); // two: no whole run
  await using second = await open(3);
  await second.load(await first.state());
  await second.runMany(batches(6, 9), rates(6, 9));
  expectSameState(await second.state(), await straight.state());
});

test('a step that is not finite is named, and the state stays that before the run', async () => {
  await using training = await open(4);
  await training.run(batchAt(0), 0.02);
  const before = await training.state();
  const poisoned = { ...batchAt(3), x: tensor('float32', [4, 6], new Float32Array(24).fill(Infinity)) };
  await expect(training.runMany([batchAt(1), batchAt(2), poisoned, batchAt(4)], rates(0, 4))).rejects.toMatchObject({
    code: 'data.not_finite',
    message: expect.stringMatching(/^step 4: loss is NaN.*the state is that of step 1, before the 4 steps/) as string,
  });
  expectSameState(await training.state(), before);
  expect((await training.runMany(batches(1, 5), rates(1, 5))).map(({ step }) => step)).toEqual([2, 3, 4, 5]);
});

test('refuses a wrong batch before anything runs, and what does not go together', async () => {
  await using training = await open(2);
  await expect(training.runMany([batchAt(0), toyBatch([1])], [0.1, 0.1])).rejects.toMatchObject({
    code: 'data.shape',
  });
  expect(training.step).toBe(0);
  await expect(
    openTraining(toyStep(4), toyWeights(), { ...cpu, update: 'host', stepsPerRun: 2 }),
  ).rejects.toMatchObject({ code: 'usage.conflict' });
  await expect(openTraining(toyStep(4), toyWeights(), { ...cpu, stepsPerRun: 0.5 })).rejects.toMatchObject({
    code: 'usage.flag',
  });
});

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-rounds-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Five updates an epoch, saved after each third, scored after each fourth. */
async function run(name: string, stepsPerRun: number, more: Partial<TrainerOptions> = {}): Promise<StepRecord[]> {
  await using training = await open(stepsPerRun);
  const records: StepRecord[] = [];
  const scoring = {
    every: 4,
    metric: 'step',
    better: 'higher',
    run: ({ step }: Training) => Promise.resolve({ step }),
  } as const;
  await train({
    ...{ training, folder: join(folder, name), config: { seed: 3 }, updates: 11, seed: 3, saveEvery: 3, keep: 9 },
    data: { samples: 21, batch: 4, load: (samples) => Promise.resolve(toyBatch(samples)) },
    rate: (update) => 0.02 / (1 + update),
    scoring,
    onStep: (record) => records.push(record),
    ...more,
  });
  return records;
}

test('a trainer with several steps in a run saves and scores at the same steps, and goes on after an interruption', async () => {
  const one = await run('one', 1);
  const three = await run('three', 3);
  expect(three.map(({ step, epoch, lr, metrics }) => ({ step, epoch, lr, metrics }))).toEqual(
    one.map(({ step, epoch, lr, metrics }) => ({ step, epoch, lr, metrics })),
  );
  three.forEach(({ loss }, i) => {
    expect(loss).toBeCloseTo(one[i]!.loss, 6);
  });
  const interrupt = new AbortController();
  const onStep = ({ step }: StepRecord): void => {
    if (step === 6) interrupt.abort();
  };
  await run('broken', 3, { signal: interrupt.signal, onStep });
  await run('broken', 3);
  for (const step of [3, 6, 9, 11]) {
    const { state } = await loadCheckpoint(join(folder, 'three'), step);
    expectSameState(state, (await loadCheckpoint(join(folder, 'one'), step)).state);
    expect((await loadCheckpoint(join(folder, 'broken'), step)).state).toEqual(state);
  }
  const logs = await Promise.all(['three', 'broken'].map((name) => readFile(join(folder, name, 'log.ndjson'), 'utf8')));
  expect(logs[1]).toBe(logs[0]);
});

test('accumulation and several steps in a run exclude each other', async () => {
  await expect(run('both', 2, { accumulate: 2 })).rejects.toMatchObject({ code: 'usage.conflict' });
});
