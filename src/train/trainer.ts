/**
 * The training loop: batches in a seeded order, a schedule, checkpoints, scores, a log. Everything that a step depends on follows from the
 * seed, the number of the step and the state in the checkpoint, so that a resumed run is the uninterrupted one, bit for bit.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';
import { holderText, removeDeadTemporaries, tryLock, type Lock } from '../features/locks.js';
import { makeFolder, pathExists, readSmallFile, writeFileAtomic } from '../files.js';
import { jsonText, type JsonValue } from '../json.js';
import { firstNotFinite } from '../runtime/finite.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { shapeText } from '../tensor.js';
import {
  checkpointName,
  configDifferences,
  hasCheckpoint,
  latestStep,
  loadCheckpoint,
  pruneCheckpoints,
  saveCheckpoint,
  type Best,
  type RunConfig,
} from './checkpoint.js';
import { groupedOrder, loadedInOrder, type Groups } from './order.js';
import type { Schedule } from './schedule.js';
import type { StepResult, Training, TrainingState } from './step.js';

/** Where the batches come from. */
export interface TrainingData {
  /** Samples of an epoch. */
  readonly samples: number;
  /** Samples of one batch. What is left at the end of an epoch and fills no update is left out. */
  readonly batch: number;
  /**
   * What the samples of an update have in common, as the length that their sequences are padded to; absent: all fit together. What is left of a bucket
   * at the end of an epoch and fills no update is left out.
   */
  bucket?(sample: number): number | string;
  /** Inputs of the step for these samples; random choices out of `sampleRandom(seed, epoch, sample)`. May be called for several batches at a time. */
  load(samples: readonly number[], epoch: number): Promise<TensorsByName>;
}

/** How the model is scored on the way. */
export interface Scoring {
  /** Updates between scorings; the last update is scored in any case. */
  readonly every: number;
  run(training: Training): Promise<Readonly<Record<string, number>>>;
  /** The metric that tells the best checkpoint. */
  readonly metric: string;
  readonly better: 'higher' | 'lower';
  /** End the run after so many scorings without a better one; absent: never. */
  readonly patience?: number;
}

export interface TrainerOptions {
  readonly training: Training;
  /** Of the run: checkpoints, config.json, log.ndjson. */
  readonly folder: string;
  /** Settings in force: written to config.json, and what a resumed run must share. */
  readonly config: RunConfig;
  readonly data: TrainingData;
  /** Updates of the whole run. */
  readonly updates: number;
  readonly rate: Schedule;
  readonly seed: number;
  /** Batches whose gradients make one update; default 1. */
  readonly accumulate?: number;
  /**
   * Updates that are handed over at a time (`Training.runMany`); default: what `training` was opened for. No run goes beyond a step at which the model is
   * scored or saved, so that their distances are best multiples of it. Not together with accumulation.
   */
  readonly stepsPerRun?: number;
  /** Batches that are prepared while one is in use; default 2. The result does not depend on it. */
  readonly ahead?: number;
  /** Updates between checkpoints; default: an epoch. */
  readonly saveEvery?: number;
  /** Newest checkpoints that stay; default 2. The best one stays in any case. */
  readonly keep?: number;
  readonly scoring?: Scoring;
  /** `auto`: from the latest checkpoint, if there is one. `no`: a folder with a run in it is refused. A number: from that step. */
  readonly resume?: 'auto' | 'no' | number;
  /** Save and end when so many seconds of `clock` have passed. */
  readonly maxSeconds?: number;
  /** Seconds; default: those of the process. */
  readonly clock?: () => number;
  /** Aborted: the step in flight is finished, saved, and the run ends. */
  readonly signal?: AbortSignal;
  /** Gets every record of the log as it is written. */
  readonly onStep?: (record: StepRecord) => void;
}

/** A line of log.ndjson. */
export interface StepRecord {
  readonly schema: 'egolens.step/1';
  readonly step: number;
  /** From 1. */
  readonly epoch: number;
  readonly loss: number;
  readonly parts?: Readonly<Record<string, number>>;
  readonly lr: number;
  readonly grad_norm: number;
  readonly metrics?: Readonly<Record<string, number | string>>;
}

export interface TrainingOutcome {
  readonly ended: 'done' | 'time' | 'patience' | 'interrupted';
  /** Updates done. */
  readonly step: number;
  readonly best: Best | null;
}

/**
 * Trains to the end, or until time, patience or the user ends it; a checkpoint of the last step is there in each case.
 *
 * @throws EgolensError data.invalid when the samples do not fill one update; usage.conflict for several steps in a run together with accumulation, and when the folder holds a run of another
 *   configuration, with the difference; output.exists for a run in the folder with `resume: 'no'`; store.locked while another process
 *   trains in it; data.not_finite with step and parameter, the last good checkpoint being kept; limit.disk, output.unwritable
 */
export async function train(options: TrainerOptions): Promise<TrainingOutcome> {
  const run = new TrainingRun(options);
  return await run.go();
}

class TrainingRun {
  readonly #options: TrainerOptions;
  readonly #clock: () => number;
  /** Updates of an epoch. */
  readonly #perEpoch: number;
  readonly #accumulate: number;
  readonly #stepsPerRun: number;
  readonly #groups: Groups;
  #best: Best | null = null;
  #waited = 0;
  #saved: number | undefined;

  constructor(options: TrainerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now() / 1000);
    const { data, accumulate = 1, seed, stepsPerRun = options.training.stepsPerRun } = options;
    this.#accumulate = accumulate;
    this.#stepsPerRun = stepsPerRun;
    if (stepsPerRun > 1 && accumulate > 1) {
      throw new EgolensError(
        'usage.conflict',
        `${stepsPerRun} steps in a run and ${accumulate} batches in a step, expected one of the two to be 1`,
      );
    }
    const needed = data.batch * accumulate;
    this.#groups = groupedOrder(seed, data.samples, needed, data.bucket && ((sample) => data.bucket!(sample)));
    this.#perEpoch = this.#groups.perEpoch;
    if (this.#perEpoch < 1) {
      throw new EgolensError(
        'data.invalid',
        `the training split has ${data.samples} samples, expected at least the ${needed} of one update`,
        { try: 'a smaller batch, or other data' },
      );
    }
  }

  async go(): Promise<TrainingOutcome> {
    const { training, folder, updates, signal, maxSeconds, onStep } = this.#options;
    const begun = this.#clock();
    await makeFolder(folder);
    await using lock = await lockRun(folder);
    await removeDeadTemporaries(folder);
    await this.#resume();
    await using log = await openLog(folder, training.step);
    const batches = loadedInOrder(this.#positions(), this.#options.ahead ?? 2, (position) => this.#load(position));
    let ended: TrainingOutcome['ended'] = 'done';
    try {
      while (training.step < updates) {
        lock.lost.throwIfAborted();
        if (signal?.aborted === true) ended = 'interrupted';
        else if (maxSeconds !== undefined && this.#clock() - begun >= maxSeconds) ended = 'time';
        if (ended !== 'done') break;
        const { records, isDue } = await this.#steps(batches);
        // The log first: lines beyond a checkpoint are dropped on a resume, missing ones cannot be made again.
        for (const record of records) await log.write(record);
        if (isDue) await this.#save();
        for (const record of records) onStep?.(record);
        const { scoring } = this.#options;
        const isScored = records.at(-1)?.metrics !== undefined;
        if (scoring?.patience !== undefined && isScored && this.#waited >= scoring.patience) {
          ended = 'patience';
          break;
        }
      }
    } finally {
      await batches.return();
    }
    if (this.#saved !== training.step) await this.#save();
    return { ended, step: training.step, best: this.#best };
  }

  /** The updates of one run, with scores behind the last where they are due; `isDue` asks for a checkpoint. */
  async #steps(
    batches: AsyncGenerator<TensorsByName, void, undefined>,
  ): Promise<{ readonly records: readonly StepRecord[]; readonly isDue: boolean }> {
    const { training, updates, rate, scoring, saveEvery = this.#perEpoch } = this.#options;
    const toNext = (every: number): number => every - (training.step % every);
    const until = [toNext(saveEvery), updates - training.step, ...(scoring ? [toNext(scoring.every)] : [])];
    const count = Math.min(this.#stepsPerRun, ...until);
    const group: TensorsByName[] = [];
    while (group.length < count * this.#accumulate) {
      const next = await batches.next();
      if (next.done === true) throw new EgolensError('internal.bug', 'the batches ended before the run');
      group.push(next.value);
    }
    const rates = Array.from({ length: count }, (_, i) => rate(training.step + i));
    const updating =
      this.#stepsPerRun === 1
        ? training.run(group, rates[0]!).then((result) => [result])
        : training.runMany(group, rates);
    const results = await updating.catch((error: unknown) => this.#explain(error));
    const { step } = training;
    const isScored = scoring !== undefined && (step % scoring.every === 0 || step === updates);
    const metrics = isScored ? await scoring.run(training) : undefined;
    const isBest = metrics !== undefined && this.#judge(metrics, step);
    const records = results.map((result, i) =>
      recordOf(result, {
        epoch: this.#epochOf(result.step),
        rate: rates[i]!,
        metrics: result.step === step ? metrics : undefined,
      }),
    );
    return { records, isDue: isBest || step % saveEvery === 0 };
  }

  #explain(error: unknown): never {
    if (!(error instanceof EgolensError) || error.code !== 'data.not_finite') throw error;
    const kept =
      this.#saved === undefined
        ? 'no checkpoint was written yet'
        : `\`${checkpointName(this.#saved)}\` is the last good checkpoint`;
    throw new EgolensError(error.code, `${error.message}; ${kept}`, error.details);
  }

  /** Is this the best score so far? */
  #judge(metrics: Readonly<Record<string, number>>, step: number): boolean {
    const { metric, better } = this.#options.scoring!; // called after a scoring
    const value = metrics[metric];
    if (value === undefined) {
      throw new EgolensError(
        'internal.bug',
        `the scoring gives no \`${metric}\`, but ${Object.keys(metrics).join(', ')}`,
      );
    }
    const isBetter = this.#best === null || (better === 'higher' ? value > this.#best.value : value < this.#best.value);
    if (!isBetter || !Number.isFinite(value)) {
      this.#waited++;
      return false;
    }
    this.#best = { step, value };
    this.#waited = 0;
    return true;
  }

  async #resume(): Promise<void> {
    const { training, folder, config, resume = 'auto' } = this.#options;
    const latest = await latestStep(folder);
    if (latest !== undefined && resume === 'no') {
      throw new EgolensError('output.exists', `\`${folder}\`: a run is there, at step ${latest}`, {
        try: '`--resume auto` goes on with it; or another folder',
      });
    }
    const step = typeof resume === 'number' ? resume : latest;
    if (step === undefined) {
      await writeFileAtomic(join(folder, 'config.json'), `${jsonText(config, 2)}\n`);
      return;
    }
    const { state, config: before, best, waited } = await loadCheckpoint(folder, step);
    // Through text, as the other one went: -0 is 0, undefined members are gone.
    const differences = configDifferences(JSON.parse(jsonText(config)) as JsonValue, before);
    if (differences.length > 0) {
      const more = differences.length > 8 ? ` (and ${differences.length - 8} more)` : '';
      throw new EgolensError(
        'usage.conflict',
        `\`${folder}\`: the run there has another configuration: ${differences.slice(0, 8).join('; ')}${more}`,
        { try: 'the same flags, or another folder' },
      );
    }
    const weights = new Map([...(await training.state()).weights, ...state.weights]);
    await training.load({ ...state, weights });
    // A best checkpoint that a better one replaced, beyond the step that is resumed, is no longer there to be the result.
    this.#best = best !== null && (await hasCheckpoint(folder, best.step)) ? best : null;
    this.#waited = waited;
    this.#saved = step;
  }

  async #save(): Promise<void> {
    const { training, folder, config, keep = 2 } = this.#options;
    const state = await training.state();
    const strange = notFiniteIn(state);
    // Weights that overflowed in the last update would take the place of good ones: the loss tells it a step later.
    if (strange !== undefined)
      this.#explain(new EgolensError('data.not_finite', strange, { try: 'a lower learning rate' }));
    const weights = new Map(training.parameters.map(({ name }) => [name, state.weights.get(name)!]));
    await saveCheckpoint(folder, { state: { ...state, weights }, config, best: this.#best, waited: this.#waited });
    this.#saved = state.step;
    await pruneCheckpoints(folder, { keep, current: state.step, best: this.#best?.step });
  }

  /** Epoch of a step, from 1. */
  #epochOf(step: number): number {
    return Math.floor((step - 1) / this.#perEpoch) + 1;
  }

  /** The batches of the rest of the run: which samples. */
  *#positions(): Generator<{ readonly epoch: number; readonly samples: readonly number[] }> {
    const { training, data, updates } = this.#options;
    let epoch = -1;
    let groups: readonly (readonly number[])[] = [];
    for (let step = training.step + 1; step <= updates; step++) {
      if (this.#epochOf(step) !== epoch) {
        epoch = this.#epochOf(step);
        groups = this.#groups.of(epoch);
      }
      const group = groups[(step - 1) % this.#perEpoch]!; // every epoch has as many
      for (let i = 0; i < this.#accumulate; i++) {
        yield { epoch, samples: group.slice(i * data.batch, (i + 1) * data.batch) };
      }
    }
  }

  async #load({
    epoch,
    samples,
  }: {
    readonly epoch: number;
    readonly samples: readonly number[];
  }): Promise<TensorsByName> {
    return await this.#options.data.load(samples, epoch);
  }
}

/** What a state holds that is not finite, in words. */
function notFiniteIn({ step, weights, moments }: TrainingState): string | undefined {
  for (const [what, values] of [['weights', weights] as const, ...Object.entries(moments)]) {
    for (const [name, { data, shape }] of values) {
      const at = firstNotFinite(data);
      if (at < 0) continue;
      const part = what === 'weights' ? '' : `\`${what}\` of `;
      return `step ${step}: ${part}\`${name}\` ${shapeText(shape)}: element ${at} is ${data[at]!}, expected finite numbers`;
    }
  }
  return undefined;
}

/** Two trainers in one folder would mix their checkpoints. */
async function lockRun(folder: string): Promise<Lock> {
  const path = join(folder, 'run.lock');
  const lock = await tryLock(path);
  if (lock !== undefined) return lock;
  throw new EgolensError('store.locked', `\`${folder}\`: ${await holderText(path)} trains in it`, {
    try: 'another folder, or wait for its end',
    retryable: true,
  });
}

function recordOf(
  { step, loss, parts, gradientNorm }: StepResult,
  { epoch, rate, metrics }: { epoch: number; rate: number; metrics: Readonly<Record<string, number>> | undefined },
): StepRecord {
  return {
    schema: 'egolens.step/1',
    step,
    epoch,
    loss,
    ...(Object.keys(parts).length === 0 ? {} : { parts }),
    lr: rate,
    grad_norm: gradientNorm,
    // JSON has no NaN: an undefined metric is named.
    ...(metrics && {
      metrics: Object.fromEntries(
        Object.entries(metrics).map(([name, value]) => [name, Number.isFinite(value) ? value : String(value)]),
      ),
    }),
  };
}

interface Log extends AsyncDisposable {
  write(record: StepRecord): Promise<void>;
}

/** log.ndjson with the records up to `step`: those of an interrupted run beyond its checkpoint are computed again. */
async function openLog(folder: string, step: number): Promise<Log> {
  const path = join(folder, 'log.ndjson');
  if (await pathExists(path)) {
    const lines = new TextDecoder().decode(await readSmallFile(path, 2 ** 30)).split('\n');
    const kept = lines.filter((line) => {
      const number = stepIn(line);
      return number !== undefined && number <= step;
    });
    await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
  }
  let handle: FileHandle;
  try {
    handle = await open(path, 'a');
  } catch (cause) {
    throw new EgolensError('output.unwritable', `\`${path}\`: cannot be written`, { cause });
  }
  return {
    async write(record) {
      try {
        await handle.appendFile(`${jsonText(record as unknown as JsonValue)}\n`); // a record is plain JSON
      } catch (cause) {
        throw asEgolensError(cause, path);
      }
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Step of a line of the log; undefined for a torn one. */
function stepIn(line: string): number | undefined {
  try {
    const { step } = JSON.parse(line) as { step?: unknown };
    return typeof step === 'number' ? step : undefined;
  } catch {
    return undefined;
  }
}
