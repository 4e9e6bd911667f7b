/** Batches and scores of a fine-tuning run. */
import type { TensorsByName } from '../runtime/training-session.js';
import { seededRandom } from '../random.js';
import { tensor } from '../tensor.js';
import { classTargets } from '../train/losses.js';
import { loadedInOrder } from '../train/order.js';
import type { Training } from '../train/step.js';
import type { TrainingData } from '../train/trainer.js';
import type { ClassKind } from '../models/head.js';
import type { Tensor } from '../types.js';
import type { ClipLoader } from './clip-loader.js';
import type { ClipSegment } from './clip-plan.js';
import type { LabelKind } from '../ego4d/segments.js';
import { scoreLogits } from './recognition-split.js';
import { stepInputs, type TuningStep } from './fine-tune-step.js';

/** A segment with the number of its class, by kind. */
export interface TuneSample extends ClipSegment {
  readonly labels: Readonly<Record<string, number>>;
}

export interface BatchOptions {
  /** Over samples: its segments have their labels. */
  readonly clips: ClipLoader;
  readonly step: TuningStep;
  readonly kinds: readonly ClassKind[];
  readonly batch: number;
  readonly smoothing: number;
  readonly dropout: number;
  readonly seed: number;
}

/** The training split as the trainer takes it. */
export function tuningData(options: BatchOptions): TrainingData {
  const { clips, step, kinds, batch, smoothing, dropout, seed } = options;
  return {
    samples: clips.segments.length,
    batch,
    async load(samples, epoch) {
      const { frames, shown } = await clips.train(samples, epoch);
      const feeds: Record<string, TensorsByName[string]> = { frames, [stepInputs.mask]: ones(samples.length) };
      const shownSamples = shown.map((number) => clips.segments[number] as TuneSample); // the loader was opened over samples
      for (const { kind, count } of kinds) {
        const labels = shownSamples.map((sample) => sample.labels[kind]!); // every sample has all kinds of the head
        feeds[`targets.${kind}`] = classTargets(labels, count, smoothing);
      }
      const chance = samples.map((sample) => seededRandom(seed, `regularisation ${epoch} ${sample}`));
      if (dropout > 0) {
        const kept = chance.map((random) =>
          Float32Array.from({ length: step.width }, () => share(random.uniform(), dropout)),
        );
        feeds[stepInputs.dropout] = tensor('float32', [samples.length, step.width], joined(kept));
      }
      for (const [branch, dropped] of step.paths.entries()) {
        const kept = Float32Array.from(chance, (random) => share(random.uniform(), dropped));
        feeds[stepInputs.path(branch)] = tensor('float32', [samples.length, 1, 1], kept);
      }
      return feeds;
    },
  };
}

/** 0 with probability `dropped`, else what keeps the mean. */
const share = (uniform: number, dropped: number): number => (uniform < dropped ? 0 : 1 / (1 - dropped));

const ones = (rows: number): Tensor<'float32'> => tensor('float32', [rows, 1], new Float32Array(rows).fill(1));

function joined(rows: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const all = new Float32Array(rows.reduce((total, row) => total + row.length, 0));
  let at = 0;
  for (const row of rows) {
    all.set(row, at);
    at += row.length;
  }
  return all;
}

export interface ScoreOptions {
  readonly clips: ClipLoader;
  readonly kinds: readonly ClassKind[];
  readonly batch: number;
  /** Batches that are decoded while one is computed. */
  readonly ahead: number;
  readonly weights: 'current' | 'average';
}

/**
 * Scores of the validation split as `train recognition` gives them on features, of one clip from the middle of each segment.
 *
 * @returns the scores of `recognitionScores`, and `val_loss`
 */
export async function scoreClips(training: Training, options: ScoreOptions): Promise<Record<string, number>> {
  const { clips, kinds, batch, ahead, weights } = options;
  const count = clips.segments.length;
  const groups = Array.from({ length: Math.ceil(count / batch) }, (_, i) => {
    return Array.from({ length: Math.min(batch, count - i * batch) }, (_, j) => i * batch + j);
  });
  const classes = kinds.reduce((total, { count: own }) => total + own, 0);
  const rows: Float32Array<ArrayBuffer>[] = [];
  const samples: TuneSample[] = [];
  for await (const { frames, shown } of loadedInOrder(groups, ahead, (group) => clips.middle(group))) {
    const feeds = { frames, [stepInputs.mask]: ones(shown.length) };
    const { data } = (await training.evaluate('scores', feeds, weights))['logits']!; // the output of every recognition head
    shown.forEach((number, i) => {
      rows.push(data.slice(i * classes, (i + 1) * classes));
      samples.push(clips.segments[number] as TuneSample); // the loader was opened over samples
    });
  }
  const labels = new Map(
    kinds.map(({ kind }) => [kind as LabelKind, Int32Array.from(samples, (sample) => sample.labels[kind]!)]), // kinds of the data
  );
  // The rows are the logits already.
  const given = (feeds: TensorsByName): Promise<Float32Array> =>
    Promise.resolve(feeds['features']!.data as Float32Array);
  return await scoreLogits({ rows, width: classes, longest: 1, labels }, kinds, given);
}
