/** `train scod`: a detector of objects that change, or of the next objects of interaction, scored by the official evaluator on the way. */
import type { ChangeAsk, Corners } from '../ego4d/asked-frames.js';
import { objectSource, type ObjectSource } from '../ego4d/object-asks.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { sha256File } from '../files.js';
import type { JsonValue } from '../json.js';
import type { BoxCorners } from '../models/forecasts.js';
import type { Head } from '../models/head.js';
import { sampleRandom } from '../train/order.js';
import type { TrainingData } from '../train/trainer.js';
import type { JsonDocument, Tensor } from '../types.js';
import { unitSize } from './detector.js';
import { readDocument } from './documents.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { readRowsAt } from './feature-rows.js';
import type { FrameSize, FrameSizes } from './frame-sizes.js';
import { frameFiles, tokenGridOf } from './frame-windows.js';
import { itemMaps, mapsForm, mirroredMaps, pickRows, stacked, type MapsForm } from './object-maps.js';
import { asksOfFrames, objectRecord, objectSchema, rowsOfFrames } from './object-task.js';
import { formOfClips } from './missing-clips.js';
import type { TaskRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
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
export interface ObjectTraining extends HeadTrainingOptions {
  readonly method: ObjectMethod;
  readonly frameSizes: FrameSizes;
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

/** A frame to learn from, or to be scored by. */
interface Item {
  readonly ask: ChangeAsk;
  readonly size: FrameSize;
  /** As the file has them. */
  readonly boxes: readonly Corners[];
  readonly path: string;
  /** Rows of that file, as many as the head looks at windows. */
  readonly rows: readonly [number, ...number[]];
}

interface Split {
  readonly items: readonly Item[];
  readonly form: FeatureForm;
  readonly tokens: number;
  readonly digest: string;
}

/** Most bytes of token maps that stay in memory; the others are read again when they are needed. */
const keptBytes = 2 * 2 ** 30;
/** Frames of one file that are read at a time, and of one run of the scoring graph. */
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
  const own = await readSplit(document, gt, { index, frames, options });
  const val = await readSplit(valDocument, valFile, { index, frames, options, like: own });
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
  const mapsOf = await mapReader([...own.items, ...val.items], mapsForm(head), options);
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

async function readSplit(
  document: JsonDocument,
  path: string,
  {
    index,
    frames,
    options,
    like,
  }: {
    readonly index: FeatureIndex;
    readonly frames: number;
    readonly options: ObjectTraining;
    readonly like?: Split;
  },
): Promise<Split> {
  const { forceFeatures, reading, signal, progress, frameSizes } = options;
  const asks = asksOfFrames(document, frames);
  for (const { id, boxes } of asks) {
    if (boxes !== null) continue;
    throw new EgolensError('data.invalid', `\`${path}\`: frame \`${id}\`: expected boxes, found none`, {
      input: path,
      try: 'the train and val splits: the test split has no annotations',
    });
  }
  const found = await frameFiles(asks, document, index, {
    ...(like && { like: like.form }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const { missing, files, tokens, digest } = found;
  const placed = files.reduce((sum, { places }) => sum + places.length, 0);
  const form = formOfClips(path, { form: found.form, found: placed, missing, what: 'frame' }, options);
  if (like !== undefined && tokens !== like.tokens) {
    throw new EgolensError(
      'data.shape',
      `\`${path}\`: rows of ${tokens} tokens; those to learn from have ${like.tokens}`,
      {
        input: path,
        try: 'features of one model',
      },
    );
  }
  await frameSizes.readBeside(path);
  const items = files.flatMap(({ path: features, file, places }) =>
    places.map(({ ask, rows }): Item => {
      const size = frameSizes.of(ask, { path: features, meta: file.meta });
      return { ask, size, boxes: ask.boxes ?? [], path: features, rows: rowsOfFrames(rows, frames) };
    }),
  );
  return { items, form, tokens, digest };
}

/** What is learnt from a frame: its boxes, cut to it, without those of which nothing is left. */
function learnt({ size, boxes }: Item): FrameTruth {
  const [width, height] = size;
  const within = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
  const truths = boxes.flatMap(([x1, y1, x2, y2]) => {
    const box = [within(x1, width), within(y1, height), within(x2, width), within(y2, height)] as const;
    return box[2] > box[0] && box[3] > box[1] ? [{ box, label: 0 }] : [];
  });
  return { size, truths };
}

type MapReader = (item: Item) => Promise<Tensor<'float32'>>;

/** The maps of each item: read file by file as long as there is room for them, the others when they are asked for. */
async function mapReader(
  items: readonly Item[],
  form: MapsForm,
  { reading, signal, progress }: ObjectTraining,
): Promise<MapReader> {
  const kept = new Map<Item, Tensor<'float32'>>();
  const [h, w] = form.grid;
  const room = Math.floor(keptBytes / (4 * form.maps * h * w * form.width));
  const bar = progress.start('token maps', items.length);
  try {
    for (let first = 0; first < Math.min(room, items.length);) {
      signal.throwIfAborted();
      const { path } = items[first]!; // below the length
      const group: Item[] = [];
      for (let i = first; items[i]?.path === path && group.length < Math.min(atOnce, room - first); i++)
        group.push(items[i]!); // as above
      const maps = await mapsOfFile(path, group, { form, reading });
      group.forEach((item, i) => kept.set(item, maps[i]!)); // one of each
      first += group.length;
      bar.advance(group.length);
    }
  } finally {
    bar.stop();
  }
  return async (item) => kept.get(item) ?? (await mapsOfFile(item.path, [item], { form, reading }))[0]!; // one
}

/** Maps of items of one file. @throws EgolensError as `readRowsAt` and `itemMaps` */
async function mapsOfFile(
  path: string,
  items: readonly Item[],
  { form, reading }: { readonly form: MapsForm; readonly reading: ReadOptions | undefined },
): Promise<Tensor<'float32'>[]> {
  const wanted = [...new Set(items.flatMap(({ rows }) => rows))].sort((a, b) => a - b);
  const rows = await readRowsAt(path, wanted, reading);
  return items.map((item) =>
    itemMaps(
      pickRows(
        rows,
        item.rows.map((row) => wanted.indexOf(row)),
      ),
      form,
    ),
  );
}

function dataOf(
  items: readonly Item[],
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
    readonly mapsOf: MapReader;
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
        maps.push(isMirrored ? mirroredMaps(own) : own);
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
    readonly items: readonly Item[];
    readonly mapsOf: MapReader;
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
function truthOf(items: readonly Item[]): JsonDocument {
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
