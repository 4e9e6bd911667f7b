/** `train fhp`: a head for future hands over the tokens of single windows, scored by the official evaluator on the way. */
import { handAsks, type HandAsk } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import { sha256File } from '../files.js';
import type { Head } from '../models/head.js';
import type { Grid } from '../models/positions.js';
import { stacked } from '../tensor.js';
import { sampleRandom } from '../train/order.js';
import type { TrainingData } from '../train/trainer.js';
import type { JsonDocument, Tensor } from '../types.js';
import { readDocument } from './documents.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { windowReader, type WindowPlace } from './frame-rows.js';
import { FrameSizes, type FrameSize } from './frame-sizes.js';
import { frameFiles, tokenGridOf } from './frame-windows.js';
import { handRecord, handSchema, unitSize } from './hand-task.js';
import { formOfClips } from './missing-clips.js';
import { mirroredColumns } from './object-maps.js';
import type { TaskRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
import { usualBatch, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

/** Hands of one clip: 20 pixel values, (0, 0) where a hand is not annotated, and the frame that they lie in. */
export interface KnownHands {
  readonly points: readonly number[];
  readonly size: FrameSize;
}

/** What the family of heads brings to a run; the command gives it. */
export interface HandMethod {
  head(given: { readonly width: number; readonly grid: Grid }): Head;
  /** Targets of a batch under the names of the loss, without `targets.`. */
  targets(clips: readonly KnownHands[]): Readonly<Record<'points' | 'mask' | 'scale', Tensor<'float32'>>>;
  /** The parameter of mean places, [5, 4] as shares of the frame, and its values. */
  prior(clips: readonly KnownHands[]): readonly [parameter: string, places: Tensor<'float32'>];
}

/** Metrics of a run, in pixels, the one that ranks first: the mean of both hands, then the official numbers under their own names. */
export const handMetrics = [
  'mean_displacement',
  'left_mean_disp',
  'right_mean_disp',
  'left_contact_disp',
  'right_contact_disp',
] as const;
export type HandScores = Readonly<Record<(typeof handMetrics)[number], number>>;

/** Everything that decides a run. */
export interface HandTraining extends HeadTrainingOptions {
  readonly method: HandMethod;
  /** Of all frames, where the user says it. */
  readonly frameSize?: FrameSize;
  /** Share of samples of an epoch that are seen in a mirror. */
  readonly mirror: number;
  /** The official numbers of records on the validation file. */
  readonly score: (truth: JsonDocument, records: readonly TaskRecord[]) => HandScores;
}

interface Item extends WindowPlace {
  readonly ask: HandAsk;
  readonly known: KnownHands;
}

interface Split {
  readonly document: JsonDocument;
  readonly items: readonly Item[];
  readonly form: FeatureForm;
  /** Of a window. */
  readonly tokens: number;
  readonly digest: string;
}

/** Items of one run of the scoring graph. */
const scoredAtOnce = 16;

/**
 * Reads what a head for hands is trained on.
 *
 * @throws EgolensError data.*, input.*, usage.conflict as `frameFiles` and `tokenGridOf`; data.invalid for a validation split that the
 *   official evaluator has no number for
 */
export async function prepareHands(options: HandTraining): Promise<HeadTraining> {
  const { gt, val: valFile, method, reading, signal, progress, mirror } = options;
  const index = await indexFeatures(options.features);
  const own = await readSplit(gt, index, options);
  const val = await readSplit(valFile, index, options, own);
  const grid = await tokenGridOf(own.form, own.tokens);
  const head = method.head({ width: own.form.width, grid });
  const [parameter, prior] = method.prior(own.items.map(({ known }) => known));
  const blind = options.score(
    val.document,
    val.items.map(({ ask, known }) => blindRecord(ask, known.size, prior)),
  );
  const load = await windowReader([...own.items, ...val.items], {
    ...(reading && { reading }),
    signal,
    progress,
  });
  const said = handMetrics.slice(0, 1).map((metric) => `${metric} ${blind[metric].toFixed(1)}`);
  return {
    task: 'fhp',
    head,
    summary: `${own.items.length} frames, ${val.items.length} to validate; the mean place of the training split: ${said.join(', ')}`,
    samples: own.items.length,
    usual: { batch: usualBatch(own.items.length, options), updates: 1500, epochs: [10, 60] },
    data: (batch) => dataOf(own.items, { options, grid, batch, load }),
    digests: {
      gt: await sha256File(gt),
      val: await sha256File(valFile),
      train_features: own.digest,
      val_features: val.digest,
    },
    settings: { mirror },
    metrics: Object.fromEntries(handMetrics.map((metric) => [metric, 'lower'])),
    score: (evaluate) => scoreRun(evaluate, options, { head, val, load }),
    initial: new Map([[parameter, prior]]),
    final: { labels: {}, features: [own.form], clock: own.form.clock ?? null },
  };
}

async function readSplit(path: string, index: FeatureIndex, options: HandTraining, like?: Split): Promise<Split> {
  const { forceFeatures, reading, signal, progress, frameSize } = options;
  const document = await readDocument(path);
  const asks = handAsks(document);
  const isKnown = (ask: HandAsk): ask is HandAsk & { readonly points: readonly number[] } => ask.points !== null;
  const known = asks.filter(isKnown);
  if (known.length === 0) {
    throw new EgolensError(
      'data.invalid',
      `\`${path}\`: expected key frames with the places of hands, found none in ${asks.length} items`,
      { input: path, try: 'the train and val splits: the test split has no annotations' },
    );
  }
  const found = await frameFiles(known, document, index, {
    ...(like && { like: like.form }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const { files, missing, tokens, digest } = found;
  const placed = files.reduce((sum, { places }) => sum + places.length, 0);
  const form = formOfClips(path, { form: found.form, found: placed, missing, what: 'frame' }, options);
  if (like !== undefined && tokens !== like.tokens) {
    throw new EgolensError(
      'data.shape',
      `\`${files[0]!.path}\`: windows of ${tokens} tokens; those of the training split have ${like.tokens}`, // one frame at least was placed
      { try: 'features of one model for both splits' },
    );
  }
  const sizes = new FrameSizes(frameSize);
  await sizes.readBeside(path);
  const items = files.flatMap(({ path: features, file, places }) =>
    places.map(({ ask, rows: [row] }): Item => {
      const size = sizes.of(ask, { path: features, meta: file.meta });
      return { path: features, row, ask, known: { points: ask.points, size } };
    }),
  );
  return { document, items, form, tokens, digest };
}

type Load = (place: WindowPlace) => Promise<Tensor<'float32'>>;

function dataOf(
  items: readonly Item[],
  {
    options: { method, seed, mirror },
    grid,
    batch,
    load,
  }: { readonly options: HandTraining; readonly grid: Grid; readonly batch: number; readonly load: Load },
): TrainingData {
  return {
    samples: items.length,
    batch,
    async load(samples, epoch) {
      const chosen = await Promise.all(
        samples.map(async (sample) => {
          const item = items[sample]!; // the trainer's numbers are below `samples`
          const window = await load(item);
          const isMirrored = sampleRandom(seed, epoch, sample).uniform() < mirror;
          return isMirrored
            ? { window: mirroredColumns(window, grid[2]), known: mirroredHands(item.known) }
            : { window, known: item.known };
        }),
      );
      const targets = Object.entries(method.targets(chosen.map(({ known }) => known)));
      return {
        tokens: stacked(chosen.map(({ window }) => window)),
        ...Object.fromEntries(targets.map(([name, value]) => [`targets.${name}`, value])),
      };
    },
  };
}

/** The hands of the picture in a mirror: left is right. */
export function mirroredHands({ points, size }: KnownHands): KnownHands {
  const [width] = size;
  const mirrored = points.map((_, i) => {
    const from = i - (i % 4) + ((i + 2) % 4);
    const [value, y] = [points[from]!, points[from + 1]!];
    if (i % 2 === 1) return value;
    // A hand at exactly (0, 0) is not annotated.
    return value === 0 && y === 0 ? 0 : width - value;
  });
  return { points: mirrored, size };
}

async function scoreRun(
  evaluate: Evaluate,
  { score }: HandTraining,
  { head, val, load }: { readonly head: Head; readonly val: Split; readonly load: Load },
): Promise<HandScores> {
  const records: TaskRecord[] = [];
  for (let first = 0; first < val.items.length; first += scoredAtOnce) {
    const group = val.items.slice(first, first + scoredAtOnce);
    const outputs = await evaluate({ tokens: stacked(await Promise.all(group.map(load))) });
    const found = head.decode(outputs, { labels: {}, options: { sizes: [...unitSize] }, clock: null });
    group.forEach(({ ask, known: { size } }, i) => {
      for (const prediction of found[i] ?? []) {
        const record = handRecord(prediction, { ask, time: 0, frame: ask.frame, size }, { isShares: true });
        if (record !== undefined) records.push({ schema: handSchema, ...record });
      }
    });
  }
  return score(val.document, records);
}

/** The mean places of the training split for a frame. */
function blindRecord(ask: HandAsk, size: FrameSize, { data }: Tensor<'float32'>): TaskRecord {
  const points = Array.from({ length: data.length / 4 }, (_, time) =>
    [0, 2].map((hand) => [0, 1].map((axis) => data[4 * time + hand + axis]!)),
  );
  const record = handRecord({ task: 'fhp', points }, { ask, time: 0, frame: ask.frame, size }, { isShares: true });
  return { schema: handSchema, ...record };
}
