/**
 * Training of ActionFormer heads: the step, its schedule, and batches out of cached features.
 *
 * Source: happyharrycn/actionformer_release train.py, libs/utils/train_utils.py (groups, schedule), libs/datasets/data_utils.py
 * (truncate_feats). Differences: no dropout and no drop path; the crop is drawn from a generator for each sample of each epoch, so that a
 * resumed run sees what the uninterrupted one would have seen.
 */
import { EgolensError } from '../src/errors.js';
import { headInputs } from '../src/models/head.js';
import type { Random } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import type { GroupRule } from '../src/train/groups.js';
import type { StepDescription } from '../src/train/graphs.js';
import { adamw } from '../src/train/optimiser.js';
import { epochOrder, sampleRandom } from '../src/train/order.js';
import { warmupCosine, type Schedule } from '../src/train/schedule.js';
import type { TrainingData } from '../src/train/trainer.js';
import type { Seconds } from '../src/types.js';
import { type ActionFormerConfig } from './actionformer-config.js';
import { openSizes, pointsOf } from './actionformer-sizes.js';
import {
  nextNormaliser,
  sequenceFeeds,
  targetFeeds,
  targetInputs,
  type GridSegment,
  type Streams,
} from './actionformer-targets.js';
import { actionFormerHead, parameterKind, scalarTensor } from './actionformer.js';
import { secondsToGrid, type FeatureGrid } from './numerics/grid.js';

/** Settings of the official Ego4D runs. */
export const officialTraining = {
  rate: 1e-4,
  decay: 0.05,
  clip: 1,
  average: 0.999,
  warmupEpochs: 5,
  epochs: 10,
} as const;

/** Sizes of the symbols of a step over batches of `batch` sequences padded to `length`. */
export function stepSizes(config: ActionFormerConfig, batch: number, length: number): Record<string, number> {
  const { rows, points } = openSizes(config);
  return { batch, [rows]: length, [points]: pointsOf(config, length) };
}

/** Weight decay for the kernels of convolutions alone. */
export const kernelDecay =
  (decay: number): GroupRule =>
  ({ name }) => ({ decay: parameterKind(name) === 'kernel' ? decay : 0, scale: 1 });

/** A training step; its evaluation `outputs` gives those of the head for a batch of the same size. */
export function actionFormerStep(
  config: ActionFormerConfig,
  {
    batch,
    length = config.maxLength,
    decay = officialTraining.decay,
    average = officialTraining.average,
  }: { readonly batch: number; readonly length?: number; readonly decay?: number; readonly average?: number },
): StepDescription {
  const head = actionFormerHead(config);
  const sizes = stepSizes(config, batch, length);
  return {
    name: head.family,
    sizes,
    forward: (g) => head.loss(g, head.forward(g, headInputs(g, head))),
    groups: kernelDecay(decay),
    optimiser: { rule: adamw, clip: officialTraining.clip, average },
    evaluations: { outputs: (g) => head.forward(g, headInputs(g, head)) },
  };
}

/** Linear warm-up from 0 over whole epochs, then half a cosine to 1e-8. */
export function actionFormerSchedule({
  rate,
  warmupEpochs,
  epochs,
  updatesPerEpoch,
}: {
  readonly rate: number;
  readonly warmupEpochs: number;
  /** After the warm-up. */
  readonly epochs: number;
  readonly updatesPerEpoch: number;
}): Schedule {
  const warmup = warmupEpochs * updatesPerEpoch;
  return warmupCosine({ base: rate, warmup, updates: warmup + epochs * updatesPerEpoch, final: 1e-8 });
}

/** A labelled moment in seconds from the start of its sequence. */
export interface LabelledMoment {
  readonly start: Seconds;
  readonly end: Seconds;
  readonly label: number;
}

/** A training sequence: what is in it is read when it is needed. */
export interface MomentItem {
  /** Of its features. */
  readonly rows: number;
  readonly moments: readonly LabelledMoment[];
  /** A tensor for each stream: [rows, width]. */
  load(): Promise<Streams>;
}

/** Sequences to train on, and how batches of them are made. */
export interface MomentDataOptions {
  readonly items: readonly MomentItem[];
  /** Sequences of a batch. */
  readonly batch: number;
  /** Batches of an update, as the trainer has it; default 1. */
  readonly accumulate?: number;
  readonly seed: number;
  /** Where the features lie in time; default: that of the configuration. */
  readonly grid?: FeatureGrid;
  /** Sequences that are not longer are taken whole; default true: cut to a part of them at random, as the original does. */
  readonly cropsShort?: boolean;
}

/** Batches for `actionFormerStep` with its default length. */
export function momentData(config: ActionFormerConfig, options: MomentDataOptions): TrainingData {
  const { items, batch, seed, accumulate = 1, grid = config.grid } = options;
  const placed = items.map(({ rows, moments }) => ({
    rows,
    segments: moments.map(({ start, end, label }) => ({
      start: secondsToGrid(start, grid),
      end: secondsToGrid(end, grid),
      label,
    })),
  }));
  const length = config.maxLength;
  const cropOf = (sample: number, epoch: number): Crop => {
    const { rows, segments } = placed[sample]!; // the order has no other
    const bounds = cropBounds(rows, config, options.cropsShort ?? true);
    const random = sampleRandom(seed, epoch, sample);
    return cropSequence({ rows, segments }, bounds, random, {
      keep: config.training.keep,
      margin: (0.5 * grid.window) / grid.stride,
    });
  };
  const targetsOf = (samples: readonly number[], epoch: number): ReturnType<typeof targetFeeds> =>
    targetFeeds(
      config,
      samples.map((sample) => cropOf(sample, epoch)),
      length,
    );
  const normalisers = new RunningNormaliser(config.training.normaliser, {
    perEpoch: Math.floor(items.length / (batch * accumulate)) * accumulate,
    positives: (epoch, index) => {
      const samples = epochOrder(seed, epoch, items.length).slice(index * batch, (index + 1) * batch);
      return targetsOf(samples, epoch).positives;
    },
  });
  return {
    samples: items.length,
    batch,
    async load(samples, epoch) {
      const { feeds, positives } = targetsOf(samples, epoch);
      const place = epochOrder(seed, epoch, items.length).indexOf(samples[0]!); // a batch has samples
      const normaliser = normalisers.after(epoch, Math.floor(place / batch), positives);
      const streams = await Promise.all(
        samples.map(async (sample) => {
          const { first, rows } = cropOf(sample, epoch);
          return cutStreams(await items[sample]!.load(), first, rows, placed[sample]!.rows); // as above
        }),
      );
      return {
        ...sequenceFeeds(config, streams, length),
        ...feeds,
        [targetInputs.normaliser]: scalarTensor(normaliser),
      };
    },
  };
}

/**
 * The normaliser after each batch of a run. It hangs on all batches before, which a resumed run has not loaded: their positives follow from
 * the seed, and are counted again where they are not known.
 */
class RunningNormaliser {
  readonly #perEpoch: number;
  readonly #positives: (epoch: number, index: number) => number;
  /** After each batch so far; the first one is the value before all. */
  readonly #values: number[];

  constructor(
    initial: number,
    {
      perEpoch,
      positives,
    }: { readonly perEpoch: number; readonly positives: (epoch: number, index: number) => number },
  ) {
    this.#values = [initial];
    this.#perEpoch = perEpoch;
    this.#positives = positives;
  }

  /** @param epoch from 1 */
  after(epoch: number, index: number, positives: number): number {
    const batch = (epoch - 1) * this.#perEpoch + index;
    const values = this.#values;
    while (values.length <= batch) {
      const at = values.length - 1;
      const before = this.#positives(Math.floor(at / this.#perEpoch) + 1, at % this.#perEpoch);
      values.push(nextNormaliser(values[at]!, before)); // the last one
    }
    if (values.length === batch + 1) values.push(nextNormaliser(values[batch]!, positives)); // just filled up to it
    return values[batch + 1]!; // just filled
  }
}

/** Part of a sequence, with the segments that it keeps, on its own grid. */
export interface Crop {
  readonly first: number;
  readonly rows: number;
  readonly segments: readonly GridSegment[];
}

/** Least and greatest length of a crop. */
export function cropBounds(
  rows: number,
  { maxLength, training: { crop } }: Pick<ActionFormerConfig, 'maxLength' | 'training'>,
  cropsShort: boolean,
): readonly [least: number, greatest: number] {
  if (rows > maxLength) return [maxLength, maxLength];
  if (!cropsShort) return [rows, rows];
  const least = Math.max(1, Math.round(crop[0] * rows));
  return [least, Math.max(least, Math.min(rows, Math.round(crop[1] * rows)))];
}

/** Draws that may fail to keep an action before the last one is taken as it is. */
const mostDraws = 200;

/**
 * A random part that keeps at least `keep` of one segment, where one of 200 draws does. Segments that it keeps are cut to it; it counts as
 * `margin` wider on both sides.
 */
export function cropSequence(
  { rows, segments }: { readonly rows: number; readonly segments: readonly GridSegment[] },
  [least, greatest]: readonly [least: number, greatest: number],
  random: Random,
  { keep, margin }: { readonly keep: number; readonly margin: number },
): Crop {
  const length = least + random.integer(greatest - least + 1);
  if (length >= rows) return { first: 0, rows, segments };
  let crop: Crop = { first: 0, rows: length, segments: [] };
  for (let draw = 0; draw < mostDraws; draw++) {
    const first = random.integer(rows - length + 1);
    const [from, to] = [first - margin, first + length + margin];
    const kept = segments.flatMap((segment) => {
      const [start, end] = [Math.max(from, segment.start), Math.min(to, segment.end)];
      const isKept = start < end && end - start >= keep * (segment.end - segment.start);
      return isKept ? [{ start: start - first, end: end - first, label: segment.label }] : [];
    });
    crop = { first, rows: length, segments: kept };
    if (kept.length > 0) break;
  }
  return crop;
}

function cutStreams(streams: Streams, first: number, rows: number, expected: number): Streams {
  return streams.map(({ shape, data }) => {
    const [count = 0, width = 0] = shape;
    if (count !== expected) {
      throw new EgolensError(
        'data.shape',
        `a sequence of ${count} feature rows; expected the ${expected} it was listed with`,
        {
          try: 'start again: features have changed under the run',
        },
      );
    }
    return tensor('float32', [rows, width], data.slice(first * width, (first + rows) * width));
  });
}
