/** `train mq`: a head for Moment Queries over cached features, scored by the official evaluator on the way. */
import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { makeFolder, pathExists, sha256File } from '../files.js';
import type { JsonValue } from '../json.js';
import { headClockJson } from '../models/head-folder.js';
import { initialWeights, type Head } from '../models/head.js';
import type { StoredModel } from '../models/folder.js';
import { seededRandom } from '../random.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { checkpointName, loadCheckpoint, type RunConfig } from '../train/checkpoint.js';
import { checkGradients, type GradientCheck } from '../train/grad-check.js';
import type { StepDescription } from '../train/graphs.js';
import { memoryText } from '../train/memory.js';
import { epochOrder } from '../train/order.js';
import type { Schedule } from '../train/schedule.js';
import { openTraining, type Training, type Weights } from '../train/step.js';
import { train, type StepRecord, type TrainingData, type TrainingOutcome } from '../train/trainer.js';
import type { FeatureClock, JsonDocument, Progress, Seconds, Tensor } from '../types.js';
import { clipSequences, type ClipSequence } from './clip-sequences.js';
import { readDocument } from './documents.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { readRows } from './feature-rows.js';
import { stateDictOf, writeHeadFolder } from './head-writer.js';
import type { LabelList } from './label-lists.js';
import { momentClasses } from './moment-classes.js';
import { momentRecord, momentSchema } from './moment-task.js';
import { defaultName } from './model-folders.js';
import { stretchOf, type PredictionRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
import { writeCurve } from './train-recognition.js';

/** A sequence of the training split. */
export interface TrainingSequence {
  readonly rows: number;
  /** Seconds from the start of the first row; `label`: number of the class. */
  readonly moments: readonly { readonly start: Seconds; readonly end: Seconds; readonly label: number }[];
  load(): Promise<readonly Tensor<'float32'>[]>;
}

/** What a family of heads for moments brings to a training run; the command gives it. */
export interface MomentMethod {
  /** @param longest rows of the longest sequence */
  head(given: {
    readonly width: number;
    readonly classes: number;
    readonly longest: number;
    readonly clock: FeatureClock;
    readonly smoothing: number;
  }): Head;
  /** A step whose evaluation `outputs` gives the outputs of the head for a batch of the same size. */
  step(
    head: Head,
    options: { readonly batch: number; readonly decay: number; readonly average: number },
  ): StepDescription;
  data(
    head: Head,
    options: {
      readonly items: readonly TrainingSequence[];
      readonly batch: number;
      readonly accumulate: number;
      readonly seed: number;
      readonly clock: FeatureClock;
    },
  ): TrainingData;
  schedule(options: {
    readonly rate: number;
    readonly warmupEpochs: number;
    readonly epochs: number;
    readonly updatesPerEpoch: number;
  }): Schedule;
  /** Inputs of the evaluation: as many sequences as a batch has. */
  feeds(head: Head, sequences: readonly Tensor<'float32'>[]): TensorsByName;
}

/** Everything that decides a run. */
export interface MomentTraining {
  /** `moments_train.json` and its kind. */
  readonly gt: string;
  readonly val: string;
  readonly features: string;
  /** Of the run. */
  readonly folder: string;
  readonly method: MomentMethod;
  /** Metrics of records on the validation file, by the evaluator of the challenge. */
  readonly score: (truth: JsonDocument, records: readonly PredictionRecord[]) => Readonly<Record<string, number>>;
  /** Metrics that `score` gives, the one that ranks first. */
  readonly metrics: readonly string[];
  readonly labels?: string;
  readonly epochs?: number;
  readonly rate: number;
  readonly batch?: number;
  readonly accumulate: number;
  readonly weightDecay: number;
  readonly warmup?: number;
  readonly smoothing: number;
  /** Decay of the moving average of the weights, which is scored and kept. */
  readonly average?: number;
  readonly seed: number;
  readonly resume: 'auto' | 'no' | number;
  readonly metric?: string;
  readonly patience?: number;
  readonly maxSeconds?: number;
  readonly skipMissing: boolean;
  readonly forceFeatures: boolean;
  readonly reading?: ReadOptions;
  readonly device: string;
  readonly threads?: number;
  /** The number of threads is part of the run. */
  readonly isDeterministic: boolean;
  readonly name?: string;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly onStep?: (record: StepRecord) => void;
}

export interface TrainedMoments extends Pick<TrainingOutcome, 'ended' | 'step' | 'best'> {
  /** The end product; null where the run was interrupted. */
  readonly head: StoredModel | null;
  readonly scores: Readonly<Record<string, number>>;
}

interface Prepared {
  readonly head: Head;
  readonly classes: LabelList;
  readonly form: FeatureForm;
  readonly clock: FeatureClock;
  readonly items: readonly TrainingSequence[];
  readonly val: readonly ClipSequence[];
  readonly truth: JsonDocument;
  /** Rows of a sequence, kept in memory where there is room. */
  readonly rowsOf: (sequence: ClipSequence) => Promise<Tensor<'float32'>>;
  readonly data: Readonly<Record<string, JsonValue>>;
}

/** Most elements of features that a run keeps in memory: 2 GiB of float32. */
const keptElements = 2 ** 29;

/**
 * Trains a head for Moment Queries and writes it to `final/` of the run.
 *
 * @throws EgolensError data.invalid for annotations of another form or a class outside the list; input.not_found for clips without
 *   features; data.clock, data.shape, usage.conflict as `clipSequences`; usage.flag for a metric that there is not; as `train`
 */
export async function trainMoments(options: MomentTraining): Promise<TrainedMoments> {
  const { progress, folder, method, seed, accumulate, threads, patience, maxSeconds, onStep } = options;
  const metric = checkedMetric(options);
  const prepared = await prepare(options);
  const { head, items, val, classes } = prepared;
  await makeFolder(folder);
  const plan = planOf(options, items.length);
  const { batch, perEpoch, epochs, warmup, average } = plan;
  const updates = epochs * perEpoch;
  const config: RunConfig = {
    task: 'mq',
    head: { family: head.family, config: head.config },
    data: prepared.data,
    ...{ epochs, batch, accumulate, lr: options.rate, weight_decay: options.weightDecay, warmup },
    ...{ label_smoothing: options.smoothing, average, seed, metric },
    threads: options.isDeterministic ? (threads ?? null) : null,
  };
  const weights = initialWeights(head, seededRandom(seed, 'weights'));
  await using training = await openStep(options, prepared, { ...plan, weights });
  progress.note(
    `${items.length} clips, ${val.length} to validate, ${classes.labels.length} classes; ${head.family} on ${training.device}`,
  );
  progress.note(`memory: ${memoryText(training.memory)}`);
  const outcome = await train({
    training,
    folder,
    config,
    data: dataOf(options, prepared, batch),
    updates,
    rate: method.schedule({
      rate: options.rate,
      warmupEpochs: warmup,
      epochs: epochs - warmup,
      updatesPerEpoch: perEpoch,
    }),
    seed,
    accumulate,
    scoring: {
      every: perEpoch,
      run: (current) => scoreRun(current, options, prepared, { batch, weights: 'average' }),
      metric,
      better: 'higher',
      ...(patience !== undefined && { patience }),
    },
    resume: options.resume,
    signal: options.signal,
    ...(maxSeconds !== undefined && { maxSeconds }),
    ...(onStep && { onStep }),
  });
  await writeCurve(folder, outcome, metric, 'mq');
  if (outcome.ended === 'interrupted') return { ...outcome, head: null, scores: {} };
  const step = outcome.best?.step ?? outcome.step;
  const { state } = await loadCheckpoint(folder, step);
  const whole: Weights = new Map([...weights, ...(state.moments.ema ?? state.weights)]);
  await training.load({ ...(await training.state()), weights: whole });
  const scores = await scoreRun(training, options, prepared, { batch, weights: 'current' });
  const source = join(folder, checkpointName(step), 'model.safetensors');
  return { ...outcome, scores, head: await writeFinal(options, prepared, { weights: whole, source }) };
}

/**
 * The gradient of the step on the first batch of the run against finite differences; nothing is written.
 *
 * @throws EgolensError as `trainMoments`
 */
export async function checkMoments(options: MomentTraining): Promise<GradientCheck[]> {
  const prepared = await prepare(options);
  const plan = planOf(options, prepared.items.length);
  const weights = initialWeights(prepared.head, seededRandom(options.seed, 'weights'));
  await using training = await openStep(options, prepared, { ...plan, weights });
  const data = dataOf(options, prepared, plan.batch);
  const first = epochOrder(options.seed, 1, data.samples).slice(0, plan.batch);
  return await checkGradients(training, await data.load(first, 1), options.seed);
}

function checkedMetric({ metric, metrics }: MomentTraining): string {
  const name = metric ?? metrics[0]!; // there are some
  if (metrics.includes(name)) return name;
  throw new EgolensError('usage.flag', `--early-stop ${name}: expected one of ${metrics.join(', ')}`);
}

async function prepare(options: MomentTraining): Promise<Prepared> {
  const { features, method, reading, progress, signal, forceFeatures, smoothing } = options;
  const [gt, truth] = [await readDocument(options.gt), await readDocument(options.val)];
  const index = await indexFeatures(features);
  const shared = { mixed: forceFeatures, signal, progress, ...(reading && { reading }) };
  const own = await withFeatures(options, gt, index, shared);
  const { form } = own;
  const val = await withFeatures(options, truth, index, { ...shared, like: form });
  const { clock } = form;
  if (clock === undefined)
    throw new EgolensError('data.clock', `\`${form.path}\`: nothing tells the times of its rows`);
  const classes = await momentClasses(
    { path: options.gt, folder: dirname(options.gt) },
    own.sequences.flatMap(({ moments }) => moments.map(({ label }) => label)),
    options.labels,
  );
  const numbers = new Map(classes.labels.map((label, i) => [label, i]));
  const rowsOf = rowCache(reading);
  const longest = [...own.sequences, ...val.sequences].reduce((most, { rows: [a, b] }) => Math.max(most, b - a), 1);
  return {
    head: method.head({ width: form.width, classes: classes.labels.length, longest, clock, smoothing }),
    classes,
    form,
    clock,
    items: own.sequences.map((sequence) => itemOf(sequence, numbers, rowsOf)),
    val: val.sequences,
    truth,
    rowsOf,
    data: {
      gt: await sha256File(options.gt),
      val: await sha256File(options.val),
      train_features: own.digest,
      val_features: val.digest,
      labels: [...classes.labels],
    },
  };
}

async function withFeatures(
  { skipMissing, progress, features }: MomentTraining,
  document: JsonDocument,
  index: FeatureIndex,
  options: NonNullable<Parameters<typeof clipSequences>[2]>,
): Promise<{ readonly form: FeatureForm; readonly sequences: readonly ClipSequence[]; readonly digest: string }> {
  const { form, sequences, missing, digest } = await clipSequences(document, index, options);
  const count = sequences.length + missing.length;
  if (form === undefined || sequences.length === 0 || (missing.length > 0 && !skipMissing)) {
    throw new EgolensError(
      'input.not_found',
      `\`${document.name}\`: ${missing.length} of ${count} clips have no features in \`${features}\`, nor their videos${missing[0] === undefined ? '' : `: \`${missing[0]}\``}`,
      { input: document.name, try: '`egolens extract` for these videos, or `--skip-missing`' },
    );
  }
  if (missing.length > 0)
    progress.note(`${document.name}: ${missing.length} of ${count} clips left out, for want of features`);
  return { form, sequences, digest };
}

function itemOf(
  sequence: ClipSequence,
  numbers: ReadonlyMap<string, number>,
  rowsOf: Prepared['rowsOf'],
): TrainingSequence {
  const { rows, duration } = sequence;
  const moments = sequence.moments.flatMap(({ start, end, label }) => {
    const number = numbers.get(label)!; // the class list holds them all
    const [from, to] = [Math.max(0, start), Math.min(duration, end)];
    // What is left of a moment at the end of its clip may be nothing on the grid.
    return to - from > 0.01 ? [{ start: from, end: to, label: number }] : [];
  });
  return { rows: rows[1] - rows[0], moments, load: async () => [await rowsOf(sequence)] };
}

/** Reads sequences, and keeps the first ones up to a limit. */
function rowCache(reading: ReadOptions | undefined): Prepared['rowsOf'] {
  const kept = new Map<ClipSequence, Tensor<'float32'>>();
  let elements = 0;
  return async (sequence) => {
    const known = kept.get(sequence);
    if (known !== undefined) return known;
    const rows = await readRows(sequence.path, sequence.rows, reading);
    if (elements + rows.data.length <= keptElements) {
      kept.set(sequence, rows);
      elements += rows.data.length;
    }
    return rows;
  };
}

interface Plan {
  readonly batch: number;
  readonly perEpoch: number;
  readonly epochs: number;
  /** Epochs of the warm-up, in whole updates. */
  readonly warmup: number;
  readonly average: number;
}

/** Updates that the default number of epochs comes to, within its bounds. */
const usualUpdates = 2000;

function planOf({ batch: asked, accumulate, epochs: wanted, warmup, average }: MomentTraining, items: number): Plan {
  const batch = asked ?? Math.min(4, Math.max(1, Math.floor(items / (4 * accumulate))));
  const perEpoch = Math.max(1, Math.floor(items / (batch * accumulate)));
  const epochs = wanted ?? Math.min(100, Math.max(15, Math.ceil(usualUpdates / perEpoch)));
  const rising = Math.min(epochs - 1, warmup ?? Math.min(5, Math.floor(epochs / 3)));
  return {
    batch,
    perEpoch,
    epochs,
    warmup: Math.round(rising * perEpoch) / perEpoch,
    // A run of few updates needs an average that forgets sooner.
    average: average ?? Math.min(0.999, Math.max(0.9, 1 - 20 / (epochs * perEpoch))),
  };
}

async function openStep(
  { method, device, threads, weightDecay }: MomentTraining,
  { head }: Prepared,
  { batch, average, weights }: Plan & { readonly weights: Weights },
): Promise<Training> {
  return await openTraining(method.step(head, { batch, decay: weightDecay, average }), weights, {
    device,
    ...(threads !== undefined && { threads }),
  });
}

function dataOf(
  { method, accumulate, seed }: MomentTraining,
  { head, items, clock }: Prepared,
  batch: number,
): TrainingData {
  return method.data(head, { items, batch, accumulate, seed, clock });
}

/** Scores of the validation split with the weights of the run. */
async function scoreRun(
  training: Pick<Training, 'evaluate'>,
  { method, score, signal }: MomentTraining,
  { head, val, truth, rowsOf, clock, classes }: Prepared,
  { batch, weights }: { readonly batch: number; readonly weights: 'current' | 'average' },
): Promise<Readonly<Record<string, number>>> {
  const records: PredictionRecord[] = [];
  for (let first = 0; first < val.length; first += batch) {
    signal.throwIfAborted();
    const group = val.slice(first, first + batch);
    const rows = await Promise.all(group.map(rowsOf));
    // The graph has a fixed batch: what is left over is filled up with its last sequence.
    const filled = Array.from({ length: batch }, (_, i) => rows[Math.min(i, rows.length - 1)]!);
    const outputs = await training.evaluate('outputs', method.feeds(head, filled), weights);
    const found = head.decode(outputs, {
      labels: { label: classes.labels },
      options: {},
      clock,
      durations: filled.map((_, i) => group[Math.min(i, group.length - 1)]!.duration),
    });
    group.forEach((sequence, i) => {
      const stretch = stretchOf(sequence);
      for (const prediction of found[i] ?? []) {
        const own = momentRecord(prediction, stretch);
        if (own !== undefined) records.push({ schema: momentSchema, of: { ...stretch.of }, ...own });
      }
    });
  }
  return score(truth, records);
}

async function writeFinal(
  { folder, name, signal }: MomentTraining,
  { head, classes, form, clock }: Prepared,
  { weights, source }: { readonly weights: Weights; readonly source: string },
): Promise<StoredModel> {
  const { model, output, preset, width } = form;
  if (!(await pathExists(source))) throw new EgolensError('input.not_found', `\`${source}\`: no such checkpoint`);
  return await writeHeadFolder(
    {
      name: name ?? defaultName(basename(resolve(folder))),
      head,
      tensors: stateDictOf(weights),
      labels: { label: classes },
      features: [{ model: model ?? null, output: output ?? null, width, ...(preset !== undefined && { preset }) }],
      clock: headClockJson(clock),
      options: {},
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
