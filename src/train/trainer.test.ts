import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findings, loadValidator } from '../check.js';
import { tensor } from '../tensor.js';
import { configDifferences, latestStep, loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { epochOrder, loadedInOrder, sampleRandom } from './order.js';
import { warmupCosine } from './schedule.js';
import { openTraining } from './step.js';
import { toyBatch, toyStep, toyWeights } from './toy-step.js';
import { train, type TrainerOptions, type TrainingOutcome } from './trainer.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-train-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A run of 20 rows in batches of 4: five updates an epoch. */
async function run(overrides: Partial<TrainerOptions> = {}): Promise<TrainingOutcome> {
  await using training = await openTraining(toyStep(4), toyWeights(), { device: 'cpu', threads: 1 });
  return await train({
    training,
    folder: join(folder, 'run'),
    config: { rate: 0.02, seed: 7 },
    data: { samples: 21, batch: 4, load: (samples) => Promise.resolve(toyBatch(samples)) },
    updates: 10,
    rate: warmupCosine({ base: 0.02, updates: 10, warmup: 2 }),
    seed: 7,
    ...overrides,
  });
}

const filesIn = async (name: string): Promise<Record<string, string>> => {
  const at = join(folder, name, 'step-000010');
  const names = [...(await readdir(at)).map((file) => join(at, file)), join(folder, name, 'log.ndjson')];
  return Object.fromEntries(
    await Promise.all(
      names.map(
        async (path) => [path.slice(join(folder, name).length), (await readFile(path)).toString('base64')] as const,
      ),
    ),
  );
};

test('ten updates are five, a new process and five: every file bit for bit', async () => {
  await run({ folder: join(folder, 'straight') });
  let steps = 0;
  const interrupt = new AbortController();
  const first = await run({
    folder: join(folder, 'broken'),
    signal: interrupt.signal,
    onStep: () => {
      if (++steps === 5) interrupt.abort();
    },
  });
  expect(first).toEqual({ ended: 'interrupted', step: 5, best: null });
  expect(await run({ folder: join(folder, 'broken') })).toEqual({ ended: 'done', step: 10, best: null });
  expect(await filesIn('broken')).toEqual(await filesIn('straight'));
});

test('neither the number of loads at a time nor their speed changes the result', async () => {
  await run({ folder: join(folder, 'straight'), ahead: 1 });
  let loads = 0;
  await run({
    folder: join(folder, 'hasty'),
    ahead: 4,
    data: {
      samples: 21,
      batch: 4,
      async load(samples) {
        await later(loads++ % 3 === 0 ? 8 : 0);
        return toyBatch(samples);
      },
    },
  });
  expect(await filesIn('hasty')).toEqual(await filesIn('straight'));
});

test('the log holds one valid record a step', async () => {
  await run();
  const lines = (await readFile(join(folder, 'run', 'log.ndjson'), 'utf8')).trim().split('\n');
  const records = lines.map((line) => JSON.parse(line) as { step: number; epoch: number; lr: number });
  const validator = await loadValidator('egolens.step/1');
  expect(records.flatMap((record) => findings(validator, record))).toEqual([]);
  expect(records.map(({ step, epoch }) => [step, epoch])).toEqual(
    Array.from({ length: 10 }, (_, i) => [i + 1, i < 5 ? 1 : 2]),
  );
  expect(records.slice(0, 3).map(({ lr }) => lr)).toEqual([0, 0.02, 0.02]);
});

test('a resume with another configuration is refused with the difference', async () => {
  await run({ updates: 5 });
  await expect(run({ config: { rate: 0.03, seed: 7, note: 'x' } })).rejects.toMatchObject({
    code: 'usage.conflict',
    message: expect.stringContaining('note: "x" here, nothing there; rate: 0.03 here, 0.02 there') as string,
  });
  await expect(run({ resume: 'no' })).rejects.toMatchObject({ code: 'output.exists' });
});

test('a loss that is not finite stops the run; the last good checkpoint stays and can be resumed', async () => {
  let batches = 0;
  const load = (samples: readonly number[]) => {
    const batch = toyBatch(samples);
    return Promise.resolve(
      ++batches === 8 ? { ...batch, x: tensor('float32', [4, 6], new Float32Array(24).fill(Infinity)) } : batch,
    );
  };
  await expect(run({ data: { samples: 21, batch: 4, load } })).rejects.toMatchObject({
    code: 'data.not_finite',
    message: expect.stringMatching(/^step 8: .*`body\.weight`.*`step-000005` is the last good checkpoint$/s) as string,
  });
  expect((await readFile(join(folder, 'run', 'latest'), 'utf8')).trim()).toBe('step-000005');
  expect((await run()).step).toBe(10);
});

test('ends when the time is over, with a checkpoint of the step that it reached', async () => {
  let now = 0;
  expect(await run({ maxSeconds: 3, clock: () => now++ })).toEqual({ ended: 'time', step: 2, best: null });
  expect((await readFile(join(folder, 'run', 'latest'), 'utf8')).trim()).toBe('step-000002');
});

test('ends when the score gets no better; the best checkpoint stays beside the newest', async () => {
  const scores = [0.2, 0.6, 0.5, NaN, 0.4, 0.9];
  const outcome = await run({
    keep: 1,
    scoring: {
      every: 1,
      run: () => Promise.resolve({ top1: scores.shift()! }),
      metric: 'top1',
      better: 'higher',
      patience: 3,
    },
  });
  expect(outcome).toEqual({ ended: 'patience', step: 5, best: { step: 2, value: 0.6 } });
  const kept = (await readdir(join(folder, 'run'))).filter((name) => name.startsWith('step-')).sort();
  expect(kept).toEqual(['step-000002', 'step-000005']);
  const log = await readFile(join(folder, 'run', 'log.ndjson'), 'utf8');
  expect(log.split('\n')[3]).toContain('"metrics":{"top1":"NaN"}');
});

test('a folder in which a run is going on is refused; its lock goes with the run, and what a dead one left half written', async () => {
  const at = join(folder, 'run');
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((done) => (begin = done));
  let go: () => void = () => undefined;
  const waiting = new Promise<void>((done) => (go = done));
  const load = async (samples: readonly number[]) => {
    begin();
    await waiting;
    return toyBatch(samples);
  };
  const first = run({ data: { samples: 21, batch: 4, load } });
  await begun;
  await expect(run()).rejects.toMatchObject({
    code: 'store.locked',
    message: expect.stringContaining(`process ${process.pid} on `) as string,
  });
  go();
  await first;
  // No process has this number.
  await mkdir(join(at, '.step-000005.4194305.tmp'));
  await run();
  expect((await readdir(at)).filter((name) => /lock|tmp/.test(name))).toEqual([]);
});

test('a split that fills no update is refused', async () => {
  await expect(run({ data: { samples: 3, batch: 4, load: () => Promise.reject(new Error()) } })).rejects.toMatchObject({
    code: 'data.invalid',
    message: 'the training split has 3 samples, expected at least the 4 of one update',
  });
});

test('a checkpoint that cannot be written leaves no trace, and the one before', async () => {
  await run({ updates: 5 });
  const before = (await readdir(join(folder, 'run'))).sort();
  const { state, ...rest } = await loadCheckpoint(join(folder, 'run'), 5);
  const torn = { dtype: 'float32', shape: [7], data: new Float32Array(3) } as const; // fails in the middle of a file
  const broken = { ...state, step: 6, moments: { m: new Map([['body.bias', torn]]) } };
  await expect(saveCheckpoint(join(folder, 'run'), { state: broken, ...rest })).rejects.toMatchObject({
    code: 'data.shape',
  });
  expect((await readdir(join(folder, 'run'))).sort()).toEqual(before);
  expect(await latestStep(join(folder, 'run'))).toBe(5);
});

test('a damaged checkpoint is named', async () => {
  await run({ updates: 5 });
  const [latest, trainer] = [join(folder, 'run', 'latest'), join(folder, 'run', 'step-000005', 'trainer.json')];
  await writeFile(latest, '../step-12\n');
  await expect(run()).rejects.toMatchObject({ code: 'input.format' });
  await writeFile(latest, 'step-000009\n');
  await expect(run()).rejects.toMatchObject({ code: 'input.not_found' });
  await writeFile(latest, 'step-000005\n');
  await writeFile(trainer, '{"schema":"egolens.trainer/1","step":-1}');
  await expect(run()).rejects.toMatchObject({ code: 'data.invalid' });
});

test('the order of an epoch is a permutation of its own', () => {
  const [first, second] = [epochOrder(1, 1, 50), epochOrder(1, 2, 50)];
  expect([...first].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  expect(first).toEqual(epochOrder(1, 1, 50));
  expect(first).not.toEqual(second);
  expect(first).not.toEqual(epochOrder(2, 1, 50));
  expect(sampleRandom(1, 1, 3).uniform()).not.toBe(sampleRandom(1, 2, 3).uniform());
});

test('a load that fails is thrown in its place, and no more are begun', async () => {
  const begun: number[] = [];
  const results = loadedInOrder([0, 1, 2, 3, 4, 5], 2, (i) => {
    begun.push(i);
    return i === 1 ? Promise.reject(new Error('torn')) : Promise.resolve(i);
  });
  expect((await results.next()).value).toBe(0);
  await expect(results.next()).rejects.toThrow('torn');
  expect(begun.length).toBeLessThan(5);
});

test('the schedule gives the rates of the golden cases', () => {
  const rates = (updates: number, warmup: number, base: number, start: number) =>
    Array.from({ length: 5 }, (_, i) => warmupCosine({ base, updates, warmup, start, final: 1e-5 })(i));
  const close = (found: readonly number[], expected: readonly number[]) => {
    found.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 12);
    });
  };
  close(rates(12, 3, 1e-3, 1e-4), [0.0001, 0.00055, 0.001, 0.001, 0.0009701478472890247]);
  close(rates(10, 2, 1e-3, 1e-4), [0.0001, 0.001, 0.001, 0.000962320368593087, 0.000855017856687341]);
  close(rates(10, 1, 5e-3, 5e-3), [0.005, 0.005, 0.004849533088860842, 0.00441628088558185, 0.0037525]);
  expect(() => warmupCosine({ base: 1, updates: 5, warmup: 5 })).toThrow(/fewer than the 5 of the run/);
});

test('differences of configurations name the place', () => {
  expect(configDifferences({ a: { b: [1, 2] }, c: 1 }, { a: { b: [1, 3] }, c: 1 })).toEqual([
    'a.b: [1,2] here, [1,3] there',
  ]);
  expect(configDifferences({ a: null }, { a: null })).toEqual([]);
});

test('a resume from an earlier step keeps what it writes, whatever newer checkpoints there were', async () => {
  const scores = [1, 2, 3, 9, 8, 7, 6, 5, 4, 3];
  const scored = (at: readonly number[]): Partial<TrainerOptions> => ({
    saveEvery: 1,
    scoring: {
      every: 1,
      run: ({ step }) => Promise.resolve({ top1: at[step - 1]! }),
      metric: 'top1',
      better: 'higher',
    },
  });
  await run({ ...scored(scores), keep: 8 });
  // The best of step 5 was that of step 4; it goes astray.
  await rm(join(folder, 'run', 'step-000004'), { recursive: true });
  const interrupt = new AbortController();
  const outcome = await run({
    ...scored(scores),
    resume: 5,
    signal: interrupt.signal,
    onStep: () => {
      interrupt.abort();
    },
  });
  expect(outcome).toEqual({ ended: 'interrupted', step: 6, best: { step: 6, value: 7 } });
  const left = (await readdir(join(folder, 'run'))).filter((name) => name.startsWith('step-')).sort();
  expect(left).toEqual(['step-000005', 'step-000006']);
  expect(await latestStep(join(folder, 'run'))).toBe(6);
  expect(await run(scored(scores))).toMatchObject({ ended: 'done', step: 10, best: { step: 6 } });
});

test('weights that overflow in the update before a checkpoint are not saved, whatever the score says', async () => {
  const scoring = { every: 5, run: () => Promise.resolve({ top1: 1 }), metric: 'top1', better: 'higher' } as const;
  await expect(run({ rate: (step) => (step === 9 ? 1e300 : 0.02), saveEvery: 5, scoring })).rejects.toMatchObject({
    code: 'data.not_finite',
    message: expect.stringMatching(
      /^step 10: `.+` \[.+\]: element \d+ is .+; `step-000005` is the last good/,
    ) as string,
  });
  expect(await latestStep(join(folder, 'run'))).toBe(5);
  expect((await readdir(join(folder, 'run'))).filter((name) => name.startsWith('step-'))).toEqual(['step-000005']);
});

test('a checkpoint that is not there is refused with those that are', async () => {
  await run();
  await expect(run({ resume: 7 })).rejects.toMatchObject({
    code: 'input.not_found',
    message: expect.stringMatching(/run`: found no checkpoint of step 7$/) as string,
    details: { try: '`--resume STEP` with another checkpoint of this run: 10, 5' },
  });
});
