import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { linear, mean, mul, sub } from '../graph/layers.js';
import { seededRandom } from '../random.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { tensor } from '../tensor.js';
import type { StepDescription } from './graphs.js';
import { decayMatrices } from './groups.js';
import { adamw } from './optimiser.js';
import { groupedOrder } from './order.js';
import { openTraining, type Training } from './step.js';
import { train } from './trainer.js';

const width = 3;
/** Sequences of several lengths; every second sample is a short one, every fifth has a length of its own. */
const lengthOf = (sample: number): number => (sample % 5 === 0 ? 7 : sample % 2 === 0 ? 2 : 4);

function sequenceStep(batch: number): StepDescription {
  return {
    name: 'sequences',
    sizes: { batch },
    buckets: [{ length: 2 }, { length: 4 }, { length: 7 }],
    groups: decayMatrices(0.01),
    optimiser: { rule: adamw },
    forward(g) {
      const x = g.input('x', 'float32', ['batch', 'length', width]);
      const target = g.input('target', 'float32', ['batch', 1]);
      const error = sub(g, linear(g, mean(g, x, [1]), 'head', 1), target);
      return { loss: mean(g, mul(g, error, error), [0, 1]) };
    },
  };
}

const weights = new Map([
  ['head.weight', tensor('float32', [1, width], Float32Array.of(0.1, -0.2, 0.3))],
  ['head.bias', tensor('float32', [1], Float32Array.of(0))],
]);

function batchOf(samples: readonly number[]): TensorsByName {
  const length = lengthOf(samples[0]!);
  const values = samples.flatMap((sample) => {
    const random = seededRandom(sample, 'sequence');
    return Array.from({ length: length * width }, () => random.normal());
  });
  return {
    x: tensor('float32', [samples.length, length, width], Float32Array.from(values)),
    target: tensor(
      'float32',
      [samples.length, 1],
      Float32Array.from(samples, (sample) => Math.sin(sample)),
    ),
  };
}

const open = (stepsPerRun = 1): Promise<Training> =>
  openTraining(sequenceStep(2), weights, { device: 'cpu', threads: 1, stepsPerRun });

test('groups are of one bucket, each sample once an epoch, in an order of seed and epoch', () => {
  const groups = groupedOrder(5, 23, 3, lengthOf);
  expect(groups.perEpoch).toBe(7); // of 5, 9 and 9 samples
  for (const epoch of [0, 1]) {
    const found = groups.of(epoch);
    expect(found.length).toBe(groups.perEpoch);
    expect(found.every((group) => new Set(group.map(lengthOf)).size === 1 && group.length === 3)).toBe(true);
    expect(new Set(found.flat()).size).toBe(21);
    expect(groupedOrder(5, 23, 3, lengthOf).of(epoch)).toEqual(found);
  }
  expect(groups.of(0)).not.toEqual(groups.of(1));
});

test('batches of several lengths train one model', async () => {
  await using training = await open();
  for (const samples of [
    [2, 4],
    [1, 3],
    [0, 5],
    [6, 8],
  ]) {
    await training.run(batchOf(samples), 0.01);
  }
  const { step, weights: trained, moments } = await training.state();
  expect(step).toBe(4);
  expect(trained.get('head.weight')!.data).not.toEqual(weights.get('head.weight')!.data);
  expect([...moments.m!.keys()]).toEqual(['head.weight', 'head.bias']);
  // Accumulation adds up over batches of one length.
  await training.run([batchOf([2, 4]), batchOf([6, 8])], 0.01);
  await expect(training.run([batchOf([2, 4]), batchOf([1, 3])], 0.01)).rejects.toMatchObject({ code: 'data.shape' });
  const other = { ...batchOf([2, 4]), x: tensor('float32', [2, 5, width], new Float32Array(30)) };
  await expect(training.run(other, 0.01)).rejects.toMatchObject({
    code: 'data.shape',
    message: expect.stringContaining('found float32 [2, 5, 3]') as string,
  });
});

test('a run over buckets is the same whatever the loaders do; runs of several steps do what is of one length', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-buckets-'));
  try {
    const losses = async (name: string, ahead: number, stepsPerRun: number): Promise<number[]> => {
      await using training = await open(stepsPerRun);
      let loads = 0;
      await train({
        ...{ training, folder: join(folder, name), config: {}, updates: 20, seed: 2, ahead, rate: () => 0.01 },
        data: {
          samples: 23,
          batch: 2,
          bucket: lengthOf,
          async load(samples) {
            if (ahead > 1) await later(loads++ % 2);
            return batchOf(samples);
          },
        },
      });
      const log = await readFile(join(folder, name, 'log.ndjson'), 'utf8');
      return log
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { loss: number }).loss);
    };
    const straight = await losses('straight', 1, 1);
    expect(straight.length).toBe(20);
    expect(await losses('hasty', 4, 1)).toEqual(straight);
    (await losses('rounds', 2, 3)).forEach((loss, i) => {
      expect(loss).toBeCloseTo(straight[i]!, 5);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
