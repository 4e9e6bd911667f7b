/** `train mq`: a head for Moment Queries over cached features, scored by the official evaluator on the way. */
import { dirname } from 'node:path';
import { sha256File } from '../files.js';
import type { Head } from '../models/head.js';
import type { TensorsByName } from '../runtime/training-session.js';
import type { StepDescription } from '../train/graphs.js';
import type { Schedule } from '../train/schedule.js';
import type { TrainingData } from '../train/trainer.js';
import type { FeatureClock, JsonDocument, Seconds, Tensor } from '../types.js';
import { clipSequences, gridClock, type ClipSequence } from './clip-sequences.js';
import { readDocument } from './documents.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { readRows } from './feature-rows.js';
import { keptTensors } from './kept-tensors.js';
import { formOfClips } from './missing-clips.js';
import { momentClasses } from './moment-classes.js';
import { momentRecord, momentSchema } from './moment-task.js';
import { stretchOf, type PredictionRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
import { checkedMetric, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

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
    options: { readonly batch: number; readonly decay: number; readonly average?: number },
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
    /** After the warm-up. */
    readonly epochs: number;
    readonly updatesPerEpoch: number;
  }): Schedule;
  /** Inputs of the evaluation: as many sequences as a batch has. */
  feeds(head: Head, sequences: readonly Tensor<'float32'>[]): TensorsByName;
}

/** Everything that decides a run. */
export interface MomentTraining extends HeadTrainingOptions {
  readonly method: MomentMethod;
  /** Metrics of records on the validation file, by the evaluator of the challenge: more is better. */
  readonly score: (truth: JsonDocument, records: readonly PredictionRecord[]) => Readonly<Record<string, number>>;
  /** Metrics that `score` gives, the one that ranks first. */
  readonly metrics: readonly string[];
  readonly labels?: string;
  /** Of the labels. */
  readonly smoothing: number;
}

/** The clips of a file. */
interface Split {
  readonly document: JsonDocument;
  readonly sequences: readonly ClipSequence[];
  readonly form: FeatureForm;
  readonly digest: string;
}

type RowsOf = (sequence: ClipSequence) => Promise<Tensor<'float32'>>;

/**
 * Reads what a head for Moment Queries is trained on.
 *
 * @throws EgolensError data.invalid for annotations of another form or a class outside the list; input.not_found for clips without
 *   features; data.clock, data.shape, usage.conflict as `clipSequences`; usage.flag for a metric that there is not
 */
export async function prepareMoments(options: MomentTraining): Promise<HeadTraining> {
  const { method, reading, smoothing, metrics, accumulate, seed } = options;
  checkedMetric(options.metric, metrics);
  const [gt, truth] = [await readDocument(options.gt), await readDocument(options.val)];
  const index = await indexFeatures(options.features);
  const own = await splitOf(gt, index, options);
  const val = await splitOf(truth, index, options, own.form);
  const { form } = own;
  const clock = gridClock(form.clock, form.path);
  const classes = await momentClasses(
    { path: options.gt, folder: dirname(options.gt) },
    own.sequences.flatMap(({ moments }) => moments.map(({ label }) => label)),
    options.labels,
  );
  const { labels } = classes;
  const numbers = new Map(labels.map((label, i) => [label, i]));
  const rowsOf: RowsOf = keptTensors(({ path, rows }) => readRows(path, rows, reading));
  const longest = [...own.sequences, ...val.sequences].reduce((most, { rows: [a, b] }) => Math.max(most, b - a), 1);
  const head = method.head({ width: form.width, classes: labels.length, longest, clock, smoothing });
  const items = own.sequences.map((sequence) => itemOf(sequence, numbers, rowsOf));
  return {
    task: 'mq',
    head,
    summary: `${items.length} clips, ${val.sequences.length} to validate, ${labels.length} classes`,
    samples: items.length,
    usual: {
      batch: Math.min(4, Math.max(1, Math.floor(items.length / (4 * accumulate)))),
      updates: 2000,
      epochs: [15, 100],
    },
    usualWarmup: ({ epochs }) => Math.min(5, Math.floor(epochs / 3)),
    // A run of few updates needs an average that forgets sooner.
    usualAverage: ({ epochs, updatesPerEpoch }) => Math.min(0.999, Math.max(0.9, 1 - 20 / (epochs * updatesPerEpoch))),
    data: (batch) => method.data(head, { items, batch, accumulate, seed, clock }),
    digests: {
      gt: await sha256File(options.gt),
      val: await sha256File(options.val),
      train_features: own.digest,
      val_features: val.digest,
      labels: [...labels],
    },
    settings: { label_smoothing: smoothing },
    metrics: Object.fromEntries(metrics.map((name) => [name, 'higher' as const])),
    score: (evaluate, batch) => scoreRun(evaluate, options, { head, val, labels, clock, batch, rowsOf }),
    step: ({ batch, decay, average }) => method.step(head, { batch, decay, ...(average !== undefined && { average }) }),
    schedule: ({ rate, warmupEpochs, epochs, updatesPerEpoch }) => {
      const rising = Math.min(epochs - 1, warmupEpochs);
      return method.schedule({ rate, warmupEpochs: rising, epochs: epochs - rising, updatesPerEpoch });
    },
    final: { labels: { label: classes }, features: [form], clock },
  };
}

async function splitOf(
  document: JsonDocument,
  index: FeatureIndex,
  options: MomentTraining,
  like?: FeatureForm,
): Promise<Split> {
  const { forceFeatures, reading, signal, progress } = options;
  const { form, sequences, missing, digest } = await clipSequences(document, index, {
    ...(like && { like }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const found = { form, found: sequences.length, missing };
  return { document, form: formOfClips(document.name, found, options), sequences, digest };
}

function itemOf(sequence: ClipSequence, numbers: ReadonlyMap<string, number>, rowsOf: RowsOf): TrainingSequence {
  const { rows, duration } = sequence;
  const moments = sequence.moments.flatMap(({ start, end, label }) => {
    const number = numbers.get(label)!; // the class list holds them all
    const [from, to] = [Math.max(0, start), Math.min(duration, end)];
    // What is left of a moment at the end of its clip may be nothing on the grid.
    return to - from > 0.01 ? [{ start: from, end: to, label: number }] : [];
  });
  return { rows: rows[1] - rows[0], moments, load: async () => [await rowsOf(sequence)] };
}

/** Scores of the validation split. */
async function scoreRun(
  evaluate: Evaluate,
  { method, score }: MomentTraining,
  {
    head,
    val: { document, sequences },
    labels,
    clock,
    batch,
    rowsOf,
  }: {
    readonly head: Head;
    readonly val: Split;
    readonly labels: readonly string[];
    readonly clock: FeatureClock;
    readonly batch: number;
    readonly rowsOf: RowsOf;
  },
): Promise<Readonly<Record<string, number>>> {
  const records: PredictionRecord[] = [];
  for (let first = 0; first < sequences.length; first += batch) {
    const group = sequences.slice(first, first + batch);
    const rows = await Promise.all(group.map(rowsOf));
    // The graph has a fixed batch: what is left over is filled up with its last sequence.
    const filled = Array.from({ length: batch }, (_, i) => rows[Math.min(i, rows.length - 1)]!);
    const found = head.decode(await evaluate(method.feeds(head, filled)), {
      labels: { label: labels },
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
  return score(document, records);
}
