/** `train recognition`: a head over cached features of labelled segments. */
import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { segmentsOf, type LabelKind, type SegmentList } from '../ego4d/segments.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { makeFolder, pathExists, readSmallFile, sha256File, writeFileAtomic } from '../files.js';
import type { JsonValue } from '../json.js';
import { headClockJson } from '../models/head-folder.js';
import { headInputs, initialWeights, type Head, type HeadFamily } from '../models/head.js';
import { seededRandom } from '../random.js';
import type { StoredModel } from '../models/folder.js';
import { learningCurveSvg } from '../report/learning-curve.js';
import { tensor } from '../tensor.js';
import { checkpointName, latestStep, loadCheckpoint, writeTensors, type RunConfig } from '../train/checkpoint.js';
import { checkGradients, type GradientCheck } from '../train/grad-check.js';
import { decayMatrices } from '../train/groups.js';
import { memoryText } from '../train/memory.js';
import { adamw } from '../train/optimiser.js';
import { epochOrder } from '../train/order.js';
import { columnStatistics, fitRidge } from '../train/ridge.js';
import { warmupCosine } from '../train/schedule.js';
import { openTraining, type Training, type Weights } from '../train/step.js';
import { train, type StepRecord, type TrainingOutcome } from '../train/trainer.js';
import type { Progress, Tensor } from '../types.js';
import { readDocument } from './documents.js';
import { indexFeatures } from './feature-index.js';
import { stateDictOf, writeHeadFolder } from './head-writer.js';
import type { LabelList } from './label-lists.js';
import { defaultName } from './model-folders.js';
import {
  recognitionData,
  recognitionSplit,
  scoreLogits,
  scoreRecognition,
  type RecognitionSplit,
} from './recognition-split.js';
import { classLists, type ClassLists } from './segment-classes.js';
import { segmentRows, type FeatureForm, type SegmentRows } from './segment-features.js';

/** Everything that decides a run. */
export interface RecognitionTraining {
  /** Labelled segments: `fho_lta_train.json`, or an own list. */
  readonly gt: string;
  readonly val: string;
  /** Folder of feature files. */
  readonly features: string;
  /** Of the run. */
  readonly folder: string;
  readonly family: HeadFamily;
  /** Members of the head's configuration beside width and classes. */
  readonly headConfig?: Readonly<Record<string, JsonValue>>;
  /** `ridge`: in closed form, no steps. */
  readonly method: 'gradient' | 'ridge';
  /** Class list, or a taxonomy of verbs and nouns. */
  readonly labels?: string;
  /** Most rows of a segment that the head sees; heads of the mean see all. */
  readonly rows: number;
  readonly epochs?: number;
  readonly rate: number;
  readonly batch?: number;
  readonly accumulate: number;
  readonly weightDecay: number;
  /** Epochs; parts of one too. */
  readonly warmup?: number;
  readonly smoothing: number;
  /** Decay of a moving average of the weights, which is then scored and kept. */
  readonly average?: number;
  readonly seed: number;
  readonly resume: 'auto' | 'no' | number;
  /** Metric of the best checkpoint; default `top1`, of several kinds of labels the mean of theirs. */
  readonly metric?: string;
  /** End after so many epochs without a better score. */
  readonly patience?: number;
  readonly maxSeconds?: number;
  readonly skipMissing: boolean;
  readonly forceFeatures: boolean;
  readonly reading?: ReadOptions;
  readonly device: string;
  readonly threads?: number;
  /** The number of threads is part of the run: with it every number is the same on every start. */
  readonly isDeterministic: boolean;
  readonly name?: string;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly onStep?: (record: StepRecord) => void;
}

export interface TrainedRecognition extends Pick<TrainingOutcome, 'ended' | 'step' | 'best'> {
  /** The end product; null where the run was interrupted. */
  readonly head: StoredModel | null;
  /** Scores of the end product on the validation split. */
  readonly scores: Readonly<Record<string, number>>;
}

/** What a run has read and decided before its first step. */
interface Prepared {
  readonly head: Head;
  readonly classes: ClassLists;
  readonly form: FeatureForm;
  readonly train: RecognitionSplit;
  readonly val: RecognitionSplit;
  /** Digests of everything that was read. */
  readonly data: Readonly<Record<string, JsonValue>>;
}

/**
 * Trains a recognition head and writes it to `final/` of the run.
 *
 * @throws EgolensError data.*, input.*, usage.conflict as `segmentsOf`, `classesOf` and `segmentRows`; usage.flag for a metric that there is
 *   not; as `train`
 */
export async function trainRecognition(options: RecognitionTraining): Promise<TrainedRecognition> {
  const prepared = await prepare(options);
  await makeFolder(options.folder);
  return options.method === 'ridge' ? await solved(options, prepared) : await descended(options, prepared);
}

async function prepare(options: RecognitionTraining): Promise<Prepared> {
  const { progress, signal, skipMissing, family, rows, reading, forceFeatures } = options;
  const gt = await readSegments(options.gt);
  const val = await readSegments(options.val);
  checkKinds(gt, val);
  const classes = await classLists(gt, options.labels);
  const index = await indexFeatures(options.features);
  const kinds = [...classes].map(([kind, { labels }]) => ({ kind, count: labels.length }));
  const specOf = (width: number): Head =>
    family.spec({
      ...options.headConfig,
      dim: width,
      kinds: kinds.map(({ kind }) => kind),
      classes: kinds.map(({ count }) => count),
    });
  const isMean = options.method === 'ridge' || specOf(1).pooling === 'mean';
  const shared = { rows: isMean ? ('mean' as const) : rows, skipMissing, mixed: forceFeatures, signal, progress };
  const trainRows = await segmentRows(gt, index, { ...shared, ...(reading && { reading }) });
  const valRows = await segmentRows(val, index, { ...shared, ...(reading && { reading }), like: trainRows.form });
  noteSkipped(progress, gt, trainRows);
  noteSkipped(progress, val, valRows);
  const { form } = trainRows;
  return {
    head: specOf(form.width),
    classes,
    form,
    train: recognitionSplit(gt, trainRows, classes),
    val: recognitionSplit(val, valRows, classes),
    data: {
      gt: await sha256File(options.gt),
      val: await sha256File(options.val),
      train_features: trainRows.digest,
      val_features: valRows.digest,
      labels: Object.fromEntries([...classes].map(([kind, { labels }]) => [kind, [...labels]])),
    },
  };
}

/** A list of labelled segments. @throws EgolensError data.invalid, input.* */
export async function readSegments(path: string, labels: 'needed' | 'optional' = 'needed'): Promise<SegmentList> {
  return segmentsOf(await readDocument(path), { labels });
}

export function checkKinds(gt: SegmentList, val: SegmentList): void {
  if (gt.segments.length === 0 || val.segments.length === 0) {
    const { name } = gt.segments.length === 0 ? gt : val;
    throw new EgolensError('data.invalid', `\`${name}\`: expected at least one segment, found none`, { input: name });
  }
  if (gt.kinds.join() === val.kinds.join()) return;
  const text = ({ kinds }: SegmentList): string => kinds.map((kind) => `\`${kind}\``).join(' and ');
  throw new EgolensError('data.invalid', `\`${val.name}\`: labels ${text(val)}; \`${gt.name}\` has ${text(gt)}`, {
    input: val.name,
    try: 'lists with the same kinds of labels',
  });
}

function noteSkipped(progress: Progress, { name, segments }: SegmentList, { skipped }: SegmentRows): void {
  if (skipped > 0) progress.note(`${name}: ${skipped} of ${segments.length} segments left out, for want of features`);
}

/** Items of a batch: a power of two up to this, so that an epoch of a small split has some updates too. */
const usualBatch = 64;
/** Updates that the default number of epochs comes to, within its bounds. */
const usualUpdates = 2000;

/** An eighth of the split, as a power of two. */
function batchFor(items: number): number {
  return Math.min(usualBatch, 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, items / 8)))));
}

async function descended(options: RecognitionTraining, prepared: Prepared): Promise<TrainedRecognition> {
  const { seed, progress, signal, folder, average, accumulate, threads, patience, maxSeconds, onStep } = options;
  const { head, train: own, val } = prepared;
  const { kinds } = head;
  const metric = checkedMetric(options.metric, kinds);
  const batch = options.batch ?? batchFor(own.rows.length / accumulate);
  const perEpoch = Math.max(1, Math.floor(own.rows.length / (batch * accumulate)));
  const epochs = options.epochs ?? Math.min(100, Math.max(20, Math.ceil(usualUpdates / perEpoch)));
  const updates = epochs * perEpoch;
  const warmup = Math.min(updates - 1, Math.round((options.warmup ?? epochs / 20) * perEpoch));
  const config: RunConfig = {
    task: 'recognition',
    head: { family: head.family, config: head.config },
    data: prepared.data,
    ...{ epochs, batch, accumulate, lr: options.rate, weight_decay: options.weightDecay, warmup },
    ...{ label_smoothing: options.smoothing, average: average ?? null, seed, metric },
    threads: options.isDeterministic ? (threads ?? null) : null,
  };
  const weights = startingWeights(head, own, seed);
  await using training = await openStep(options, prepared, { batch, weights });
  progress.note(
    `${own.rows.length} segments, ${val.rows.length} to validate; ${kinds.map(({ kind, count }) => `${count} of ${kind}`).join(', ')}; ${head.family} on ${training.device}`,
  );
  progress.note(`memory: ${memoryText(training.memory)}`);
  const used = average === undefined ? 'current' : 'average';
  const outcome = await train({
    training,
    folder,
    config,
    data: recognitionData(own, { kinds, batch, smoothing: options.smoothing }),
    updates,
    rate: warmupCosine({ base: options.rate, updates, warmup }),
    seed,
    accumulate,
    scoring: {
      every: perEpoch,
      run: () => scoreRecognition(training, val, { kinds, weights: used }),
      metric,
      better: metric === 'val_loss' ? 'lower' : 'higher',
      ...(patience !== undefined && { patience }),
    },
    resume: options.resume,
    signal,
    ...(maxSeconds !== undefined && { maxSeconds }),
    ...(onStep && { onStep }),
  });
  await writeCurve(folder, outcome, metric);
  if (outcome.ended === 'interrupted') return { ...outcome, head: null, scores: {} };
  const step = outcome.best?.step ?? outcome.step;
  const { state } = await loadCheckpoint(folder, step);
  const best = average === undefined ? state.weights : (state.moments.ema ?? state.weights);
  const whole: Weights = new Map([...weights, ...best]);
  await training.load({ ...(await training.state()), weights: whole });
  const scores = await scoreRecognition(training, val, { kinds, weights: 'current' });
  const source = join(folder, checkpointName(step), 'model.safetensors');
  return { ...outcome, scores, head: await writeFinal(options, prepared, { weights: whole, source }) };
}

/** The step of a run at its beginning. */
async function openStep(
  { average, threads, weightDecay, device }: RecognitionTraining,
  { head, train: own }: Prepared,
  { batch, weights }: { readonly batch: number; readonly weights: Weights },
): Promise<Training> {
  return await openTraining(
    {
      name: 'recognition',
      sizes: { batch, rows: own.longest },
      forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))), // recognition heads have one
      isTrained: (name) => head.isFrozen?.(name) !== true,
      groups: decayMatrices(weightDecay),
      optimiser: { rule: adamw, ...(average !== undefined && { average }) },
      evaluations: { scores: (g) => head.forward(g, headInputs(g, head)) },
    },
    weights,
    { device, ...(threads !== undefined && { threads }) },
  );
}

/**
 * The gradient of the step on the first batch of the run against finite differences; nothing is written.
 *
 * @throws EgolensError as `trainRecognition`
 */
export async function checkRecognition(options: RecognitionTraining): Promise<GradientCheck[]> {
  const prepared = await prepare(options);
  const { head, train: own } = prepared;
  const { seed, accumulate, smoothing } = options;
  const batch = options.batch ?? batchFor(own.rows.length / accumulate);
  await using training = await openStep(options, prepared, { batch, weights: startingWeights(head, own, seed) });
  const data = recognitionData(own, { kinds: head.kinds, batch, smoothing });
  const first = epochOrder(seed, 1, data.samples).slice(0, batch);
  return await checkGradients(training, await data.load(first, 1), seed);
}

/** @throws EgolensError usage.flag with the metrics there are */
export function checkedMetric(metric: string | undefined, kinds: Head['kinds']): string {
  const own = kinds.flatMap(({ kind }) => ['top1', 'top5', 'mean_class'].map((name) => `${kind}_${name}`));
  const scores = kinds.length === 1 ? ['top5', 'mean_class_accuracy'] : ['action_top1', ...own];
  const names = ['top1', ...scores, 'val_loss'];
  if (metric === undefined) return names[0]!; // there are some
  if (names.includes(metric)) return metric;
  throw new EgolensError('usage.flag', `--early-stop ${metric}: expected one of ${names.join(', ')}`);
}

/** Seeded values, with the statistics of the training features where the head holds them. */
function startingWeights(head: Head, { rows, width }: RecognitionSplit, seed: number): Map<string, Tensor<'float32'>> {
  const weights = initialWeights(head, seededRandom(seed, 'weights'));
  if (head.statistics === undefined) return weights;
  const { mean, variance } = columnStatistics(rows, width);
  const values = head.statistics(Float32Array.from(mean), Float32Array.from(variance));
  const column = variance.findIndex((value) => !Number.isFinite(Math.fround(value)));
  if (column >= 0) {
    throw new EgolensError(
      'data.not_finite',
      `the features to learn from: the variance of column ${column} is ${variance[column]!}, expected a number that float32 holds`,
      { try: 'look at these features with `egolens extract info`, and extract them again' },
    );
  }
  for (const [name, data] of Object.entries(values)) weights.set(name, tensor('float32', [data.length], data));
  return weights;
}

/** Ridge regression on class indicators, in the parameters of a linear probe. */
async function solved(options: RecognitionTraining, prepared: Prepared): Promise<TrainedRecognition> {
  const { progress, folder } = options;
  const step = await latestStep(folder);
  if (step !== undefined) {
    throw new EgolensError('output.exists', `\`${folder}\`: a run of steps is there, at step ${step}`, {
      try: 'another folder: ridge takes no steps, and would replace the result of these',
    });
  }
  const { head, train: own, val } = prepared;
  const { kinds } = head;
  const weights = startingWeights(head, own, options.seed);
  const epsilon = head.config['norm_eps'] as number; // readRecognition gave it
  const statistics = columnStatistics(own.rows, own.width);
  const targets = kinds.map(({ kind, count }) => ({ labels: own.labels.get(kind as LabelKind)!, classes: count }));
  const fits = fitRidge(own.rows, statistics, targets, { epsilon });
  fits.forEach(({ weights: matrix, bias, penalty, accuracy }, i) => {
    const { kind, count } = kinds[i]!; // a fit for each kind
    const name = `head${i === 0 ? '' : String(i + 1)}`;
    weights.set(`${name}.weight`, tensor('float32', [count, own.width], Float32Array.from(matrix)));
    weights.set(`${name}.bias`, tensor('float32', [count], Float32Array.from(bias)));
    progress.note(`ridge, ${kind}: penalty ${penalty}, leave-one-out accuracy ${accuracy.toFixed(4)}`);
  });
  const source = join(folder, 'ridge.safetensors');
  await writeTensors(source, weights);
  const written = await writeFinal(options, prepared, { weights, source });
  const { openSession } = await import('../runtime/session.js');
  await using session = await openSession({ graph: join(written.folder, 'graph.onnx'), device: 'cpu' });
  const scores = await scoreLogits(val, kinds, async (feeds) => (await session.run(feeds, ['logits']))['logits']!.data);
  return { ended: 'done', step: 0, best: null, head: written, scores };
}

async function writeFinal(
  { folder, name, signal, rows }: RecognitionTraining,
  { head, classes, form }: Prepared,
  { weights, source }: { readonly weights: Weights; readonly source: string },
): Promise<StoredModel> {
  const lists: Record<string, LabelList> = Object.fromEntries(classes);
  return await writeHeadFolder(
    {
      name: name ?? defaultName(basename(resolve(folder))),
      head,
      tensors: stateDictOf(weights),
      labels: lists,
      features: [
        {
          model: form.model ?? null,
          output: form.output ?? null,
          width: form.width,
          ...(form.preset !== undefined && { preset: form.preset }),
        },
      ],
      clock: form.clock === undefined ? null : headClockJson(form.clock),
      options: head.pooling === 'mean' ? {} : { rows },
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
  task = 'recognition',
): Promise<void> {
  const log = join(folder, 'log.ndjson');
  if (!(await pathExists(log))) return;
  const lines = new TextDecoder().decode(await readSmallFile(log, 2 ** 30)).split('\n');
  const records = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as StepRecord); // the trainer wrote them
  const title = `${task}, best by ${metric}`;
  await writeFileAtomic(join(folder, 'learning-curve.svg'), learningCurveSvg(records, { title, best }));
}
