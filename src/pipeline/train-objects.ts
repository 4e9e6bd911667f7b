/** `train scod`: a detector of objects that change, or of the next objects of interaction, scored by the official evaluator on the way. */
import { objectSource, type ObjectSource } from '../ego4d/object-asks.js';
import { EgolensError } from '../errors.js';
import { sha256File } from '../files.js';
import type { JsonValue } from '../json.js';
import type { BoxCorners } from '../models/forecasts.js';
import type { Head } from '../models/head.js';
import { stacked } from '../tensor.js';
import { sampleRandom } from '../train/order.js';
import type { TrainingData } from '../train/trainer.js';
import type { JsonDocument, Tensor } from '../types.js';
import { unitSize } from './detector.js';
import { readDocument } from './documents.js';
import { indexFeatures } from './feature-index.js';
import { tokenGridOf } from './frame-windows.js';
import { mapsForm, mirroredColumns } from './object-maps.js';
import { mapsOfItems, readObjects, type MapsOf, type ObjectItem, type ObjectSplitOptions } from './object-splits.js';
import { objectRecord, objectSchema } from './object-task.js';
import type { TaskRecord } from './predict.js';
import { usualBatch, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

/** A frame with its boxes in pixels. */
export interface FrameTruth {
  readonly size: readonly [width: number, height: number];
  readonly truths: readonly { readonly box: BoxCorners; readonly label: number }[];
}

/** What the family of heads brings to a run; the command gives it. */
export interface ObjectMethod {
  /** The head of a configuration. */
  head(config: Readonly<Record<string, JsonValue>>): Head;
  /** Targets of a batch under the names of the loss, without `targets.`. */
  targets(
    frames: readonly FrameTruth[],
    head: Head,
  ): Readonly<Record<'class' | 'distances' | 'centreness' | 'positive', Tensor<'float32'>>>;
}

/** Where the user says nothing. */
const usualFrames = 'all';
const usualTimes = 2;
const usualMirror = 0.5;

/** Metrics under the names of the run, and as the evaluator calls them; the first one ranks. */
export const objectMetrics = { ap50: 'AP50', ap: 'AP', ap75: 'AP75' } as const;

/** Everything that decides a run. */
export interface ObjectTraining extends HeadTrainingOptions, ObjectSplitOptions {
  readonly method: ObjectMethod;
  /** `all`: the frames before and after the change too. Default `all`; coming interactions have `pnr` alone. */
  readonly frames?: 'pnr' | 'all';
  /** Members of the head's configuration beside those that the features decide. */
  readonly headConfig?: Readonly<Record<string, JsonValue>>;
  /** Times of the window that ends at the frame that the head is shown. */
  readonly times?: number;
  /** Share of samples of an epoch that are seen in a mirror. */
  readonly mirror?: number;
  /** Numbers of the evaluator under its own names for records and a truth in the form of COCO. */
  readonly score: (truth: JsonDocument, records: readonly TaskRecord[]) => Readonly<Record<string, number>>;
}

/** Frames of one run of the scoring graph. */
const atOnce = 64;

/**
 * Reads what a detector is trained on.
 *
 * @throws EgolensError data.*, input.*, usage.conflict as `frameFiles`; data.invalid for frames without annotations, or without any box
 */
export async function prepareObjects(options: ObjectTraining): Promise<HeadTraining> {
  const { gt, val: valFile, method, signal } = options;
  const [document, valDocument] = [await readDocument(gt), await readDocument(valFile)];
  const source = objectSource(document);
  if (objectSource(valDocument) !== source) {
    throw new EgolensError('usage.conflict', `\`${gt}\` and \`${valFile}\`: expected files of one task`, {
      try: 'fho_scod_train.json with fho_scod_val.json, fho_sta_train.json with fho_sta_val.json',
    });
  }
  const frames = framesOf(source, options);
  const index = await indexFeatures(options.features);
  const own = await readObjects(document, gt, { index, frames, options });
  const val = await readObjects(valDocument, valFile, { index, frames, options, like: own });
  const [times, ...grid] = await tokenGridOf(own.form, own.tokens);
  const maps = Math.min(times, options.times ?? usualTimes) + frames - 1;
  const head = method.head({ ...options.headConfig, dim: own.form.width, classes: 1, maps, frames, grid });
  const shown = own.items.map(learnt);
  const boxes = shown.reduce((sum, { truths }) => sum + truths.length, 0);
  const left = own.items.reduce((sum, item) => sum + item.boxes.length, 0) - boxes;
  if (left > 0) options.progress.note(`${gt}: ${left} boxes left out, for they have no area within their frame`);
  checkBoxes(gt, boxes);
  checkBoxes(
    valFile,
    val.items.reduce((sum, item) => sum + item.boxes.length, 0),
  );
  const mapsOf = await mapsOfItems([...own.items, ...val.items], mapsForm(head), options);
  const mirror = options.mirror ?? usualMirror;
  return {
    task: 'scod',
    head,
    summary: `${own.items.length} frames with ${boxes} boxes, ${val.items.length} to validate; ${maps} maps of ${grid.join(' x ')}`,
    samples: own.items.length,
    usual: { batch: usualBatch(own.items.length, options), updates: 400, epochs: [8, 40] },
    data: (batch) => dataOf(own.items, shown, { head, mapsOf, method, batch, mirror, seed: options.seed }),
    digests: {
      gt: await sha256File(gt),
      val: await sha256File(valFile),
      train_features: own.digest,
      val_features: val.digest,
    },
    settings: { mirror },
    metrics: { ap50: 'higher', ap: 'higher', ap75: 'higher' },
    score: (evaluate) => scoreRun(evaluate, options, { head, items: val.items, mapsOf, signal }),
    final: { labels: {}, features: [own.form], clock: own.form.clock ?? null },
  };
}

function framesOf(source: ObjectSource, { gt, frames }: ObjectTraining): number {
  if (source === 'scod') return (frames ?? usualFrames) === 'all' ? 3 : 1;
  if (frames === 'all') {
    throw new EgolensError('usage.conflict', `--frames all: \`${gt}\` has no frames before and after a change`, {
      try: '`--frames pnr`, the one before the interaction',
    });
  }
  return 1;
}

function checkBoxes(path: string, boxes: number): void {
  if (boxes > 0) return;
  throw new EgolensError('data.invalid', `\`${path}\`: expected at least one box within its frame, found none`, {
    input: path,
  });
}

/** What is learnt from a frame: its boxes, cut to it, without those of which nothing is left. */
function learnt({ size, boxes }: ObjectItem): FrameTruth {
  const [width, height] = size;
  const within = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
  const truths = boxes.flatMap(([x1, y1, x2, y2]) => {
    const box = [within(x1, width), within(y1, height), within(x2, width), within(y2, height)] as const;
    return box[2] > box[0] && box[3] > box[1] ? [{ box, label: 0 }] : [];
  });
  return { size, truths };
}

function dataOf(
  items: readonly ObjectItem[],
  shown: readonly FrameTruth[],
  {
    head,
    mapsOf,
    method,
    batch,
    mirror,
    seed,
  }: {
    readonly head: Head;
    readonly mapsOf: MapsOf;
    readonly method: ObjectMethod;
    readonly batch: number;
    readonly mirror: number;
    readonly seed: number;
  },
): TrainingData {
  return {
    samples: items.length,
    batch,
    async load(samples, epoch) {
      const maps: Tensor<'float32'>[] = [];
      const truths: FrameTruth[] = [];
      for (const sample of samples) {
        const [own, truth] = [await mapsOf(items[sample]!), shown[sample]!]; // the trainer's numbers are below `samples`
        const isMirrored = sampleRandom(seed, epoch, sample).uniform() < mirror;
        maps.push(isMirrored ? mirroredColumns(own, own.shape[2]!) : own);
        truths.push(isMirrored ? mirroredTruth(truth) : truth);
      }
      const targets = Object.entries(method.targets(truths, head));
      return {
        maps: stacked(maps),
        ...Object.fromEntries(targets.map(([name, value]) => [`targets.${name}`, value])),
      };
    },
  };
}

function mirroredTruth({ size, truths }: FrameTruth): FrameTruth {
  const [width] = size;
  const mirrored = ({ box: [x1, y1, x2, y2], label }: FrameTruth['truths'][number]) => {
    return { box: [width - x2, y1, width - x1, y2] as const, label };
  };
  return { size, truths: truths.map(mirrored) };
}

/** The official numbers of the validation split. */
async function scoreRun(
  evaluate: Evaluate,
  { score }: ObjectTraining,
  {
    head,
    items,
    mapsOf,
    signal,
  }: {
    readonly head: Head;
    readonly items: readonly ObjectItem[];
    readonly mapsOf: MapsOf;
    readonly signal: AbortSignal;
  },
): Promise<Readonly<Record<string, number>>> {
  const records: TaskRecord[] = [];
  for (let first = 0; first < items.length; first += atOnce) {
    signal.throwIfAborted();
    const group = items.slice(first, first + atOnce);
    const maps: Tensor<'float32'>[] = [];
    for (const item of group) maps.push(await mapsOf(item));
    const found = head.decode(await evaluate({ maps: stacked(maps) }), { labels: {}, options: unitSize, clock: null });
    group.forEach(({ ask: { id, frame }, size }, i) => {
      for (const prediction of found[i] ?? []) {
        const record = objectRecord(prediction, { id, frame, size });
        if (record !== undefined) records.push({ schema: objectSchema, ...record });
      }
    });
  }
  // The evaluator takes no empty list.
  return records.length === 0 ? { ap50: 0, ap: 0, ap75: 0 } : score(truthOf(items), records);
}

/** The truth of these frames in the form of COCO, as the evaluator makes it of annotations. */
function truthOf(items: readonly ObjectItem[]): JsonDocument {
  const images = items.map(({ ask: { id } }) => ({ id }));
  const annotations = items.flatMap(({ ask, boxes }) =>
    boxes.map(([x1, y1, x2, y2]) => {
      const [width, height] = [x2 - x1, y2 - y1];
      return { image_id: ask.id, category_id: 1, bbox: [x1, y1, width, height], area: width * height, iscrowd: 0 };
    }),
  );
  const value = {
    images,
    categories: [{ id: 1, name: 'object' }],
    annotations: annotations.map((one, i) => ({ id: i + 1, ...one })),
  };
  return { name: 'truth', bytes: 0, value, findings: [], line: () => undefined };
}
