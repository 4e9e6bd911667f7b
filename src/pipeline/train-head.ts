/**
 * The run that all heads are trained with: plan, weights, step, scores by the official evaluator after each epoch, checkpoints, head folder.
 * A task reads its files and says the rest (`HeadTraining`).
 */
import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { makeFolder, pathExists, readSmallFile, sha256File, writeFileAtomic } from '../files.js';
import type { JsonValue } from '../json.js';
import type { StoredModel } from '../models/folder.js';
import { headClockJson } from '../models/head-folder.js';
import { headInputs, initialWeights, type Head, type HeadTask } from '../models/head.js';
import { seededRandom } from '../random.js';
import { learningCurveSvg } from '../report/learning-curve.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { checkpointName, loadCheckpoint, type RunConfig } from '../train/checkpoint.js';
import { checkGradients, type GradientCheck } from '../train/grad-check.js';
import type { StepDescription } from '../train/graphs.js';
import { decayMatrices } from '../train/groups.js';
import { memoryText } from '../train/memory.js';
import { adamw } from '../train/optimiser.js';
import { epochOrder } from '../train/order.js';
import { warmupCosine, type Schedule } from '../train/schedule.js';
import { openTraining, type Training, type Weights } from '../train/step.js';
import { train, type StepRecord, type TrainingData, type TrainingOutcome } from '../train/trainer.js';
import type { FeatureClock, Progress, Tensor } from '../types.js';
import { stateDictOf, writeHeadFolder } from './head-writer.js';
import type { LabelList } from './label-lists.js';
import { defaultName } from './model-folders.js';
import type { FeatureForm } from './segment-features.js';

/** What the user decides about a run, whatever the task. */
export interface HeadTrainingOptions {
  /** Annotation files to learn from, and to validate with. */
  readonly gt: string;
  readonly val: string;
  readonly features: string;
  /** Of the run. */
  readonly folder: string;
  readonly epochs?: number;
  readonly rate: number;
  readonly batch?: number;
  readonly accumulate: number;
  readonly weightDecay: number;
  /** Epochs; parts of one too. */
  readonly warmup?: number;
  /** Decay of a moving average of the weights, which is then scored and kept. */
  readonly average?: number;
  readonly seed: number;
  readonly resume: 'auto' | 'no' | number;
  /** Metric of the best checkpoint; default the first one of the task. */
  readonly metric?: string;
  /** End after so many epochs without a better score. */
  readonly patience?: number;
  readonly maxSeconds?: number;
  readonly skipMissing: boolean;
  readonly forceFeatures: boolean;
  readonly reading?: ReadOptions;
  readonly device: string;
  readonly threads?: number;
  /** The number of threads is part of the run. */
  readonly isDeterministic: boolean;
  /** Of the head; default that of the folder. */
  readonly name?: string;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly onStep?: (record: StepRecord) => void;
}

/** Outputs of the head, by the weights that are to be scored, for any batch that its step can take. */
export type Evaluate = (feeds: TensorsByName) => Promise<Readonly<Record<string, Tensor<'float32'>>>>;

/** A batch, and how often it comes. */
export interface RunSizes {
  readonly batch: number;
  readonly updatesPerEpoch: number;
  readonly epochs: number;
}

/** A task with its files read: what a run is about. */
export interface HeadTraining {
  readonly task: HeadTask;
  readonly head: Head;
  /** What is learnt from, for people: `40 clips, 20 to validate`. */
  readonly summary: string;
  /** Samples of the training split. */
  readonly samples: number;
  /** Sizes where the user says nothing: samples of a batch, updates of the run and the least and most epochs that they may come to. */
  readonly usual: { readonly batch: number; readonly updates: number; readonly epochs: readonly [number, number] };
  /** Epochs of the warm-up where the user says nothing; default a twentieth of the run. */
  usualWarmup?(sizes: RunSizes): number;
  /** Moving average where the user says nothing; default none. */
  usualAverage?(sizes: RunSizes): number;
  data(batch: number): TrainingData;
  /** Digests of what was read: a resumed run must have the same. */
  readonly digests: Readonly<Record<string, JsonValue>>;
  /** Settings beside those of every run, such as `label_smoothing`: a resumed run must have the same. */
  readonly settings?: Readonly<Record<string, JsonValue>>;
  /** Metrics that `score` gives, the one that ranks first, and which way is better. */
  readonly metrics: Readonly<Record<string, 'higher' | 'lower'>>;
  /** Scores of the validation split. `batch`: of the run, for steps of fixed size. */
  score(evaluate: Evaluate, batch: number): Promise<Readonly<Record<string, number>>>;
  /** Parameters that do not begin with the head's own values, such as the means of the training split. */
  readonly initial?: Weights;
  /** Sizes of the step beside `batch`; absent: none. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Largest norm of the gradients, 0: they are not clipped; default 1. */
  readonly clip?: number;
  /** In place of the head's own loss under AdamW; its evaluation `outputs` gives the outputs of the head. */
  step?(options: {
    readonly batch: number;
    readonly decay: number;
    readonly average: number | undefined;
  }): StepDescription;
  /** In place of a linear warm-up and half a cosine. */
  schedule?(options: { readonly rate: number; readonly warmupEpochs: number } & RunSizes): Schedule;
  /** What the head folder says beside the weights. */
  readonly final: {
    readonly labels: Readonly<Record<string, LabelList>>;
    readonly features: readonly FeatureForm[];
    readonly clock: FeatureClock | null;
    readonly options?: Readonly<Record<string, JsonValue>>;
  };
}

export interface TrainedHead extends Pick<TrainingOutcome, 'ended' | 'step' | 'best'> {
  /** The end product; null where the run was interrupted. */
  readonly head: StoredModel | null;
  /** Scores of the end product on the validation split. */
  readonly scores: Readonly<Record<string, number>>;
}

interface Plan extends RunSizes {
  readonly updates: number;
  /** Updates. */
  readonly warmup: number;
  readonly average: number | undefined;
  readonly metric: string;
}

/**
 * Trains a head and writes it to `final/` of the run.
 *
 * @throws EgolensError usage.flag for a metric that there is not; as `train`
 */
export async function trainHead(options: HeadTrainingOptions, task: HeadTraining): Promise<TrainedHead> {
  const { progress, folder, seed, accumulate, threads, patience, maxSeconds, onStep, signal } = options;
  const { head } = task;
  const plan = planOf(options, task);
  const { batch, epochs, updatesPerEpoch, updates, warmup, average, metric } = plan;
  await makeFolder(folder);
  const config: RunConfig = {
    task: task.task,
    head: { family: head.family, config: head.config },
    data: task.digests,
    ...{ epochs, batch, accumulate, lr: options.rate, weight_decay: options.weightDecay, warmup },
    ...{ ...task.settings, average: average ?? null, seed, metric },
    threads: options.isDeterministic ? (threads ?? null) : null,
  };
  const weights = firstWeights(task, seed);
  await using training = await openStep(options, task, { plan, weights });
  progress.note(`${task.summary}; ${head.family} on ${training.device}`);
  progress.note(`memory: ${memoryText(training.memory)}`);
  const scoreWith = async (
    used: 'current' | 'average',
    stop?: AbortSignal,
  ): Promise<Readonly<Record<string, number>>> =>
    await task.score(async (feeds) => {
      stop?.throwIfAborted();
      return await training.evaluate('outputs', feeds, used);
    }, batch);
  const rate =
    task.schedule?.({ ...plan, rate: options.rate, warmupEpochs: warmup / updatesPerEpoch }) ??
    warmupCosine({ base: options.rate, updates, warmup });
  const outcome = await train({
    ...{ training, folder, config, updates, rate, seed, accumulate, signal },
    data: task.data(batch),
    scoring: {
      every: updatesPerEpoch,
      // Not stopped half way: what was learned in the epoch is saved with its score.
      run: () => scoreWith(average === undefined ? 'current' : 'average'),
      metric,
      better: task.metrics[metric]!, // planOf saw it
      ...(patience !== undefined && { patience }),
    },
    resume: options.resume,
    ...(maxSeconds !== undefined && { maxSeconds }),
    ...(onStep && { onStep }),
  });
  await writeCurve(folder, outcome, metric, task.task);
  if (outcome.ended === 'interrupted') return { ...outcome, head: null, scores: {} };
  const step = outcome.best?.step ?? outcome.step;
  const { state } = await loadCheckpoint(folder, step);
  const best = average === undefined ? state.weights : (state.moments.ema ?? state.weights);
  const whole: Weights = new Map([...weights, ...best]);
  await training.load({ ...(await training.state()), weights: whole });
  const scores = await scoreWith('current', signal);
  const source = join(folder, checkpointName(step), 'model.safetensors');
  return { ...outcome, scores, head: await writeFinal(options, task, { weights: whole, source }) };
}

/**
 * The gradient of the step on the first batch of the run against finite differences; nothing is written.
 *
 * @throws EgolensError as `trainHead`
 */
export async function checkHead(options: HeadTrainingOptions, task: HeadTraining): Promise<GradientCheck[]> {
  const plan = planOf(options, task);
  await using training = await openStep(options, task, { plan, weights: firstWeights(task, options.seed) });
  const data = task.data(plan.batch);
  const first = epochOrder(options.seed, 1, data.samples).slice(0, plan.batch);
  return await checkGradients(training, await data.load(first, 1), options.seed);
}

/** A batch of a power of two samples: so many in an epoch at least, and no more than a limit. */
export function usualBatch(
  samples: number,
  { accumulate }: Pick<HeadTrainingOptions, 'accumulate'>,
  most = 32,
): number {
  return Math.min(most, 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, samples / (8 * accumulate))))));
}

/**
 * The metric that was asked for, else the first.
 *
 * @throws EgolensError usage.flag with the metrics that there are
 */
export function checkedMetric(metric: string | undefined, names: readonly string[]): string {
  if (metric === undefined) return names[0]!; // there are some
  if (names.includes(metric)) return metric;
  throw new EgolensError('usage.flag', `--early-stop ${metric}: expected one of ${names.join(', ')}`);
}

function planOf(options: HeadTrainingOptions, task: HeadTraining): Plan {
  const { accumulate } = options;
  const { usual, samples, metrics } = task;
  const metric = checkedMetric(options.metric, Object.keys(metrics));
  const batch = options.batch ?? usual.batch;
  const updatesPerEpoch = Math.max(1, Math.floor(samples / (batch * accumulate)));
  const [least, most] = usual.epochs;
  const epochs = options.epochs ?? Math.min(most, Math.max(least, Math.ceil(usual.updates / updatesPerEpoch)));
  const sizes: RunSizes = { batch, updatesPerEpoch, epochs };
  const updates = epochs * updatesPerEpoch;
  const rising = options.warmup ?? task.usualWarmup?.(sizes) ?? epochs / 20;
  return {
    ...sizes,
    updates,
    warmup: Math.min(updates - 1, Math.round(rising * updatesPerEpoch)),
    average: options.average ?? task.usualAverage?.(sizes),
    metric,
  };
}

function firstWeights({ head, initial }: HeadTraining, seed: number): Weights {
  return new Map([...initialWeights(head, seededRandom(seed, 'weights')), ...(initial ?? [])]);
}

async function openStep(
  { weightDecay, device, threads }: HeadTrainingOptions,
  task: HeadTraining,
  { plan: { batch, average }, weights }: { readonly plan: Plan; readonly weights: Weights },
): Promise<Training> {
  const { head, sizes, clip = 1 } = task;
  const step = task.step?.({ batch, decay: weightDecay, average }) ?? {
    name: head.family,
    sizes: { batch, ...sizes },
    forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))), // heads that are trained have one
    isTrained: (name) => head.isFrozen?.(name) !== true,
    groups: decayMatrices(weightDecay),
    optimiser: { rule: adamw, ...(clip > 0 && { clip }), ...(average !== undefined && { average }) },
    evaluations: { outputs: (g) => head.forward(g, headInputs(g, head)) },
  };
  return await openTraining(step, weights, { device, ...(threads !== undefined && { threads }) });
}

/** Writes the head with these weights to `final/` of the run. `source`: the file that they lie in. */
export async function writeFinal(
  { folder, name, signal }: HeadTrainingOptions,
  { head, final: { labels, features, clock, options = {} } }: HeadTraining,
  { weights, source }: { readonly weights: Weights; readonly source: string },
): Promise<StoredModel> {
  return await writeHeadFolder(
    {
      name: name ?? defaultName(basename(resolve(folder))),
      head,
      tensors: stateDictOf(weights),
      labels,
      features: features.map(({ model, output, preset, width }) => {
        return { model: model ?? null, output: output ?? null, width, ...(preset !== undefined && { preset }) };
      }),
      clock: clock === null ? null : headClockJson(clock),
      options,
      trained: `run ${basename(resolve(folder))}`,
      licence: { code: 'unknown', weights: 'unknown' },
      source: {
        name: basename(source),
        bytes: (await stat(source)).size,
        sha256: await sha256File(source),
        container: 'safetensors',
        weightsKey: null,
        prefix: null,
        left: [],
      },
    },
    { output: join(folder, 'final'), force: true, signal },
  );
}

/** `learning-curve.svg` of the whole run, what went before a resume included. */
export async function writeCurve(
  folder: string,
  { best }: Pick<TrainingOutcome, 'best'>,
  metric: string,
  task: HeadTask,
): Promise<void> {
  const log = join(folder, 'log.ndjson');
  if (!(await pathExists(log))) return;
  const lines = new TextDecoder().decode(await readSmallFile(log, 2 ** 30)).split('\n');
  const records = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as StepRecord); // the trainer wrote them
  const title = `${task}, best by ${metric}`;
  await writeFileAtomic(join(folder, 'learning-curve.svg'), learningCurveSvg(records, { title, best }));
}
