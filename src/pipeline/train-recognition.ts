/** `train recognition`: a head over cached features of labelled segments. */
import { join } from 'node:path';
import { segmentsOf, type LabelKind, type SegmentList } from '../ego4d/segments.js';
import { EgolensError } from '../errors.js';
import { makeFolder, sha256File } from '../files.js';
import type { JsonValue } from '../json.js';
import { initialWeights, type Head, type HeadFamily } from '../models/head.js';
import { seededRandom } from '../random.js';
import { openSession } from '../runtime/session.js';
import { tensor } from '../tensor.js';
import { latestStep, writeTensors } from '../train/checkpoint.js';
import { columnStatistics, fitRidge } from '../train/ridge.js';
import type { Weights } from '../train/step.js';
import type { Progress } from '../types.js';
import { readDocument } from './documents.js';
import { indexFeatures } from './feature-index.js';
import { recognitionData, recognitionSplit, scoreLogits, type RecognitionSplit } from './recognition-split.js';
import { classLists } from './segment-classes.js';
import { segmentRows, type SegmentRows } from './segment-features.js';
import { usualBatch, writeFinal, type HeadTraining, type HeadTrainingOptions, type TrainedHead } from './train-head.js';

/** Everything that decides a run. */
export interface RecognitionTraining extends HeadTrainingOptions {
  readonly family: HeadFamily;
  /** Members of the head's configuration beside width and classes. */
  readonly headConfig?: Readonly<Record<string, JsonValue>>;
  /** Class list, or a taxonomy of verbs and nouns. */
  readonly labels?: string;
  /** Most rows of a segment that the head sees; heads of the mean see all. */
  readonly rows: number;
  /** Of the labels. */
  readonly smoothing: number;
}

/** A head over labelled segments: to be trained by steps, or solved. */
export interface PreparedRecognition extends HeadTraining {
  readonly initial: Weights;
  readonly train: RecognitionSplit;
  readonly val: RecognitionSplit;
}

/**
 * Reads what a recognition head is trained on.
 *
 * @throws EgolensError data.*, input.*, usage.conflict as `segmentsOf`, `classesOf` and `segmentRows`; data.not_finite for features whose
 *   variance is none
 */
export async function prepareRecognition(options: RecognitionTraining): Promise<PreparedRecognition> {
  const { progress, signal, skipMissing, family, rows, reading, forceFeatures, smoothing } = options;
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
  const isMean = specOf(1).pooling === 'mean';
  const shared = { rows: isMean ? ('mean' as const) : rows, skipMissing, mixed: forceFeatures, signal, progress };
  const trainRows = await segmentRows(gt, index, { ...shared, ...(reading && { reading }) });
  const valRows = await segmentRows(val, index, { ...shared, ...(reading && { reading }), like: trainRows.form });
  noteSkipped(progress, gt, trainRows);
  noteSkipped(progress, val, valRows);
  const { form } = trainRows;
  const head = specOf(form.width);
  const split = recognitionSplit(gt, trainRows, classes);
  const valSplit = recognitionSplit(val, valRows, classes);
  const counts = kinds.map(({ kind, count }) => `${count} of ${kind}`).join(', ');
  return {
    task: 'recognition',
    head,
    train: split,
    val: valSplit,
    summary: `${split.rows.length} segments, ${valSplit.rows.length} to validate; ${counts}`,
    samples: split.rows.length,
    usual: { batch: usualBatch(split.rows.length, options, 64), updates: 2000, epochs: [20, 100] },
    initial: statisticsOf(head, split),
    sizes: { rows: split.longest },
    clip: 0,
    data: (batch) => recognitionData(split, { kinds: head.kinds, batch, smoothing }),
    digests: {
      gt: await sha256File(options.gt),
      val: await sha256File(options.val),
      train_features: trainRows.digest,
      val_features: valRows.digest,
      labels: Object.fromEntries([...classes].map(([kind, { labels }]) => [kind, [...labels]])),
    },
    settings: { label_smoothing: smoothing },
    metrics: recognitionMetrics(head.kinds),
    score: (evaluate) => scoreLogits(valSplit, head.kinds, async (feeds) => (await evaluate(feeds))['logits']!.data), // the output of every such head
    final: {
      labels: Object.fromEntries(classes),
      features: [form],
      clock: form.clock ?? null,
      options: isMean ? {} : { rows },
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

/** What a run may be judged by. */
export function recognitionMetrics(kinds: Head['kinds']): Readonly<Record<string, 'higher' | 'lower'>> {
  const own = kinds.flatMap(({ kind }) => ['top1', 'top5', 'mean_class'].map((name) => `${kind}_${name}`));
  const scores = kinds.length === 1 ? ['top5', 'mean_class_accuracy'] : ['action_top1', ...own];
  return { ...Object.fromEntries(['top1', ...scores].map((name) => [name, 'higher' as const])), val_loss: 'lower' };
}

/** The statistics of the training features, where the head holds them. */
function statisticsOf(head: Head, { rows, width }: RecognitionSplit): Weights {
  if (head.statistics === undefined) return new Map();
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
  return new Map(Object.entries(values).map(([name, data]) => [name, tensor('float32', [data.length], data)]));
}

/**
 * Ridge regression on class indicators, in the parameters of a linear probe: at once, in place of `trainHead`.
 *
 * @throws EgolensError output.exists where a run of steps is in the folder
 */
export async function solveRecognition(
  options: HeadTrainingOptions,
  prepared: PreparedRecognition,
): Promise<TrainedHead> {
  const { progress, folder, seed } = options;
  await makeFolder(folder);
  const step = await latestStep(folder);
  if (step !== undefined) {
    throw new EgolensError('output.exists', `\`${folder}\`: a run of steps is there, at step ${step}`, {
      try: 'another folder: ridge takes no steps, and would replace the result of these',
    });
  }
  const { head, train: own, val, initial } = prepared;
  const { kinds } = head;
  const weights = new Map([...initialWeights(head, seededRandom(seed, 'weights')), ...initial]);
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
  await using session = await openSession({ graph: join(written.folder, 'graph.onnx'), device: 'cpu' });
  const scores = await scoreLogits(val, kinds, async (feeds) => (await session.run(feeds, ['logits']))['logits']!.data);
  return { ended: 'done', step: 0, best: null, head: written, scores };
}
