/** `train sta`: a head for coming interactions over cached tokens and candidate boxes, scored by the official evaluator on the way. */
import { interactionAsks, type InteractionAsk } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import { sha256File } from '../files.js';
import type { BoxCorners, CandidateBox } from '../models/forecasts.js';
import type { Head } from '../models/head.js';
import type { Random } from '../random.js';
import { sizeOf, tensor } from '../tensor.js';
import { sampleRandom } from '../train/order.js';
import type { TrainingData } from '../train/trainer.js';
import type { FeatureClock, JsonDocument, Tensor } from '../types.js';
import { readCandidateBoxes } from './candidate-boxes.js';
import { readDocument } from './documents.js';
import { openDetector, type DetectorOptions } from './detector.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { readRowsAt } from './feature-rows.js';
import { FrameSizes, type FrameSize } from './frame-sizes.js';
import { frameFiles, tokenGridOf, type FrameFile } from './frame-windows.js';
import {
  candidates,
  categoriesOf,
  checkCategories,
  checkSource,
  interactionRecord,
  interactionSchema,
  usualTop,
  type BoxSource,
  type Categories,
  type CategoryKind,
} from './interaction-task.js';
import { keptTensors } from './kept-tensors.js';
import type { LabelList } from './label-lists.js';
import { formOfClips } from './missing-clips.js';
import type { TaskRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
import { usualBatch, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

/** An annotated interaction, as the head counts: classes by number. */
export interface KnownInteraction {
  readonly box: BoxCorners;
  readonly noun: number;
  readonly verb: number;
  /** Seconds. */
  readonly contact: number;
}

/** A frame and its candidate boxes. */
export interface CandidatePicture {
  readonly size: FrameSize;
  readonly boxes: readonly CandidateBox[];
}

/** What the family of heads brings to a run; the command gives it. */
export interface InteractionMethod {
  head(given: {
    readonly width: number;
    readonly grid: readonly [h: number, w: number];
    readonly nouns: number;
    readonly verbs: number;
    /** Seconds to contact that are to be told apart from later ones. */
    readonly latest: number;
  }): Head;
  /** What the head looks at of a window [tokens, width]. */
  map(head: Head, window: Tensor<'float32'>): Tensor<'float32'>;
  feeds(
    head: Head,
    maps: readonly Tensor<'float32'>[],
    pictures: readonly CandidatePicture[],
    slots: number,
  ): Record<string, Tensor<'float32'>>;
  /** Targets of a batch under the names of the loss, without `targets.`. */
  targets(
    head: Head,
    pictures: readonly (CandidatePicture & { readonly truths: readonly KnownInteraction[] })[],
    slots: number,
  ): object;
}

/** Metrics of a run, the one that ranks first, by their names in the evaluator. */
export const interactionMetrics = {
  overall: 'map_box_noun_verb_ttc',
  noun: 'map_box_noun',
  noun_verb: 'map_box_noun_verb',
  noun_ttc: 'map_box_noun_ttc',
} as const;

/** Everything that decides a run. */
export interface InteractionTraining extends HeadTrainingOptions {
  readonly method: InteractionMethod;
  readonly score: (truth: JsonDocument, records: readonly TaskRecord[]) => Readonly<Record<string, number>>;
  /** Candidate boxes: files of both splits, or a detector. */
  readonly boxes: readonly string[] | { readonly detector: string; readonly headOf: DetectorOptions['headOf'] };
  readonly frameSize?: FrameSize;
}

/** A frame of a split. */
interface Item extends CandidatePicture {
  readonly ask: InteractionAsk;
  readonly truths: readonly KnownInteraction[];
  /** Where its window lies: file, and which of the windows that are read of it. */
  readonly file: FrameFile<InteractionAsk>;
  readonly place: number;
}

interface Split {
  readonly document: JsonDocument;
  readonly files: readonly FrameFile<InteractionAsk>[];
  readonly form: FeatureForm;
  readonly tokens: number;
  readonly digest: string;
}

type Classes = Readonly<Record<CategoryKind, Categories>>;

/** Boxes of a frame in training: the best ones, and those of the truth. */
const trainedSlots = 24;
/** Largest move of an edge of a box in training, as a share of its side. */
const jitter = 0.1;
/** Frames of one run of the scoring graph. */
const scoredAtOnce = 32;

/**
 * Reads what a head for coming interactions is trained on.
 *
 * @throws EgolensError data.invalid, data.unknown_id, data.shape, usage.conflict, input.*, model.*: as `frameFiles`, `readCandidateBoxes`
 *   and `openDetector`
 */
export async function prepareInteractions(options: InteractionTraining): Promise<HeadTraining> {
  const { method, forceFeatures, seed, accumulate } = options;
  const index = await indexFeatures(options.features);
  const own = await readSplit(options.gt, index, options);
  const val = await readSplit(options.val, index, options, own.form);
  const classes: Classes = { noun: categoriesIn(own.document, 'noun'), verb: categoriesIn(own.document, 'verb') };
  for (const kind of ['noun', 'verb'] as const) checkCategories(val.document, kind, classes[kind], `\`${options.gt}\``);
  const [, h, w] = await tokenGridOf(own.form, own.tokens);
  const asks = own.files.flatMap(({ places }) => places.map(({ ask }) => ask));
  const latest = asks.reduce(
    (most, { objects }) => Math.max(most, ...(objects ?? []).map(({ contact }) => contact)),
    0,
  );
  const head = method.head({
    width: own.form.width,
    grid: [h, w],
    nouns: classes.noun.ids.length,
    verbs: classes.verb.ids.length,
    latest,
  });
  const source = await openSource(options);
  try {
    checkSource(source.boxes, own.form, forceFeatures);
    const sizes = new FrameSizes(options.frameSize);
    const [items, valItems] = [
      await itemsOf(own, classes, { options, source: source.boxes, sizes }),
      await itemsOf(val, classes, { options, source: source.boxes, sizes }),
    ];
    if ('file' in source.boxes) source.boxes.file.notes().forEach((note) => options.progress.note(note));
    const mapOf = mapReader(head, options);
    const boxes = items.reduce((sum, item) => sum + item.boxes.length, 0);
    const slots = items.reduce((most, item) => Math.max(most, item.boxes.length + item.truths.length), 1);
    return {
      task: 'sta',
      head,
      summary: `${items.length} frames with ${boxes} candidate boxes, ${valItems.length} to validate; ${classes.noun.ids.length} nouns, ${classes.verb.ids.length} verbs`,
      samples: items.length,
      usual: { batch: usualBatch(items.length, { accumulate }), updates: 500, epochs: [10, 24] },
      usualAverage: ({ epochs, updatesPerEpoch }) =>
        Math.min(0.999, Math.max(0.9, 1 - 20 / (epochs * updatesPerEpoch))),
      sizes: { boxes: Math.min(trainedSlots, slots) },
      data: (batch) => dataOf(items, { head, method, batch, seed, slots: Math.min(trainedSlots, slots), mapOf }),
      digests: {
        gt: await sha256File(options.gt),
        val: await sha256File(options.val),
        train_features: own.digest,
        val_features: val.digest,
        boxes: source.digest,
      },
      metrics: Object.fromEntries(Object.keys(interactionMetrics).map((name) => [name, 'higher' as const])),
      score: (evaluate) =>
        scoreRun(evaluate, options, { head, classes, items: valItems, document: val.document, mapOf }),
      final: {
        labels: { noun: listOf('noun', classes.noun), verb: listOf('verb', classes.verb) },
        features: [own.form],
        clock: own.form.clock ?? null,
        options: {
          noun_ids: [...classes.noun.ids],
          verb_ids: [...classes.verb.ids],
          ...(source.detector !== undefined && { detector: source.detector }),
        },
      },
    };
  } finally {
    await source.close();
  }
}

async function readSplit(
  path: string,
  index: FeatureIndex,
  options: InteractionTraining,
  like?: FeatureForm,
): Promise<Split> {
  const { reading, forceFeatures, signal, progress } = options;
  const document = await readDocument(path);
  const found = await frameFiles(interactionAsks(document), document, index, {
    ...(like && { like }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const placed = found.files.reduce((sum, { places }) => sum + places.length, 0);
  const form = formOfClips(path, { form: found.form, found: placed, missing: found.missing }, options);
  return { document, files: found.files, form, tokens: found.tokens, digest: found.digest };
}

function categoriesIn(document: JsonDocument, kind: CategoryKind): Categories {
  const found = categoriesOf(document, kind);
  if (found !== undefined) return found;
  throw new EgolensError('data.invalid', `\`${document.name}\`: expected \`${kind}_categories\`, found none`, {
    input: document.name,
    try: 'fho_sta_train.json and its kind',
  });
}

function listOf(kind: CategoryKind, { names }: Categories): LabelList {
  return {
    schema: 'egolens.labels/1',
    name: `sta-${kind}s`,
    version: 1,
    order: `${kind}_categories of the training annotations; their ids are options.${kind}_ids`,
    labels: names,
  };
}

/** Where boxes come from, and what tells that they would be the same again. */
async function openSource({ boxes, device, threads, signal }: InteractionTraining): Promise<{
  readonly boxes: BoxSource;
  readonly digest: string;
  /** Name and digest of the detector. */
  readonly detector: string | undefined;
  close(): Promise<void>;
}> {
  if ('detector' in boxes) {
    const detector = await openDetector(boxes.detector, {
      ...{ device, signal, headOf: boxes.headOf },
      ...(threads !== undefined && { threads }),
    });
    const { id } = detector.folder;
    return {
      boxes: { detector },
      digest: id,
      detector: id,
      close: async () => {
        await detector[Symbol.asyncDispose]();
      },
    };
  }
  const digests: string[] = [];
  for (const path of boxes) digests.push(await sha256File(path));
  const file = await readCandidateBoxes(boxes);
  return { boxes: { file }, digest: digests.join(' '), detector: undefined, close: () => Promise.resolve() };
}

async function itemsOf(
  { document, files }: Split,
  classes: Classes,
  {
    options: { reading, signal, progress, gt, val },
    source,
    sizes,
  }: { readonly options: InteractionTraining; readonly source: BoxSource; readonly sizes: FrameSizes },
): Promise<Item[]> {
  await sizes.readBeside(document.name === val ? val : gt);
  if ('file' in source) {
    const ids = files.flatMap(({ places }) => places.map(({ ask }) => ask.id));
    const notes = source.file.compare(ids, document.name);
    // Boxes of the other split are expected.
    notes.filter((note) => note.includes('no boxes for')).forEach((note) => progress.note(note));
  }
  const classOf = {
    noun: new Map(classes.noun.ids.map((id, i) => [id, i])),
    verb: new Map(classes.verb.ids.map((id, i) => [id, i])),
  };
  const items: Item[] = [];
  for (const file of files) {
    signal.throwIfAborted();
    const framed = file.places.map(({ ask }) => ({
      id: ask.id,
      size: sizes.of(ask, { path: file.path, meta: file.file.meta }),
    }));
    const windows = 'file' in source ? noWindows : await windowsOf(file, reading);
    const found = await candidates(source, framed, windows, classes.noun);
    file.places.forEach(({ ask }, place) => {
      if (ask.objects === null) {
        throw new EgolensError(
          'data.invalid',
          `\`${document.name}\`: frame \`${ask.id}\`: expected \`objects\`, found none`,
          {
            input: document.name,
            try: 'the train and val splits: the test split has no annotations',
          },
        );
      }
      const truths = ask.objects.map(({ box, noun, verb, contact }): KnownInteraction => {
        const [n, v] = [classOf.noun.get(noun), classOf.verb.get(verb)];
        if (n !== undefined && v !== undefined) return { box, noun: n, verb: v, contact };
        const [kind, id] = n === undefined ? ['noun', noun] : ['verb', verb];
        throw new EgolensError(
          'data.invalid',
          `\`${document.name}\`: frame \`${ask.id}\`: ${kind} ${id} is none of the \`${kind}_categories\``,
          { input: document.name },
        );
      });
      items.push({ ask, truths, file, place, size: framed[place]!.size, boxes: found[place]! }); // one for each place
    });
  }
  return items;
}

const noWindows = tensor('float32', [0, 0, 0], new Float32Array());

/** The windows of the asks of a file, in their order. */
async function windowsOf(
  { path, places }: FrameFile<InteractionAsk>,
  reading: InteractionTraining['reading'],
): Promise<Tensor<'float32'>> {
  const rows = [...new Set(places.map(({ rows: [row] }) => row))].sort((a, b) => a - b);
  const { data, shape } = await readRowsAt(path, rows, reading);
  const length = sizeOf(shape.slice(1));
  const chosen = new Float32Array(places.length * length);
  places.forEach(({ rows: [row] }, i) => {
    const at = rows.indexOf(row) * length;
    chosen.set(data.subarray(at, at + length), i * length);
  });
  return tensor('float32', [places.length, ...shape.slice(1)], chosen);
}

type MapOf = (item: Item) => Promise<Tensor<'float32'>>;

/** What the head looks at of the window of an item; files are read whole and kept. */
function mapReader(head: Head, { method, reading }: InteractionTraining): MapOf {
  const mapsOf = keptTensors(async (file: FrameFile<InteractionAsk>) => {
    const { data, shape } = await windowsOf(file, reading);
    const [count = 0, ...rest] = shape;
    const length = sizeOf(rest);
    const maps = Array.from({ length: count }, (_, i) =>
      method.map(head, tensor('float32', rest, data.subarray(i * length, (i + 1) * length))),
    );
    const size = maps[0]?.data.length ?? 0;
    const all = new Float32Array(count * size);
    maps.forEach((map, i) => {
      all.set(map.data, i * size);
    });
    return tensor('float32', [count, ...(maps[0]?.shape ?? [])], all);
  });
  return async ({ file, place }) => {
    const { data, shape } = await mapsOf(file);
    const length = sizeOf(shape.slice(1));
    return tensor('float32', shape.slice(1), data.subarray(place * length, (place + 1) * length));
  };
}

function dataOf(
  items: readonly Item[],
  {
    head,
    method,
    batch,
    seed,
    slots,
    mapOf,
  }: {
    readonly head: Head;
    readonly method: InteractionMethod;
    readonly batch: number;
    readonly seed: number;
    readonly slots: number;
    readonly mapOf: MapOf;
  },
): TrainingData {
  return {
    samples: items.length,
    batch,
    async load(samples, epoch) {
      const chosen = samples.map((sample) => {
        const item = items[sample]!; // the trainer's numbers are below `samples`
        const random = sampleRandom(seed, epoch, sample);
        // The truth is among the boxes, as what no detector has named; the worst boxes make room for it.
        const detected = item.boxes.slice(0, Math.max(0, slots - item.truths.length));
        const boxes = [...item.truths.map(({ box }): CandidateBox => ({ box, score: 1 })), ...detected];
        const { size, truths } = item;
        return { item, size, truths, boxes: boxes.map((one) => ({ ...one, box: moved(one.box, size, random) })) };
      });
      const maps = await Promise.all(chosen.map(({ item }) => mapOf(item)));
      const targets = Object.entries(method.targets(head, chosen, slots) as Record<string, Tensor<'float32'>>); // as the loss takes them
      return {
        ...method.feeds(head, maps, chosen, slots),
        ...Object.fromEntries(targets.map(([name, value]) => [`targets.${name}`, value])),
      };
    },
  };
}

/** A box with its edges moved a little, within its frame. */
function moved([x1, y1, x2, y2]: BoxCorners, [width, height]: FrameSize, random: Random): BoxCorners {
  const move = (side: number): number => jitter * side * (2 * random.uniform() - 1);
  const within = (edge: number, most: number): number => Math.min(Math.max(edge, 0), most);
  const [across, down] = [x2 - x1, y2 - y1];
  return [
    within(x1 + move(across), width),
    within(y1 + move(down), height),
    within(x2 + move(across), width),
    within(y2 + move(down), height),
  ];
}

/** Official numbers on the validation split. */
async function scoreRun(
  evaluate: Evaluate,
  { score, method }: InteractionTraining,
  {
    head,
    classes,
    items,
    document,
    mapOf,
  }: {
    readonly head: Head;
    readonly classes: Classes;
    readonly items: readonly Item[];
    readonly document: JsonDocument;
    readonly mapOf: MapOf;
  },
): Promise<Readonly<Record<string, number>>> {
  const records: TaskRecord[] = [];
  const labels = { noun: classes.noun.names, verb: classes.verb.names };
  const options = { noun_ids: [...classes.noun.ids], verb_ids: [...classes.verb.ids], max_detections: usualTop };
  const clock: FeatureClock | null = null; // boxes have no clock
  for (let first = 0; first < items.length; first += scoredAtOnce) {
    const group = items.slice(first, first + scoredAtOnce);
    const slots = group.reduce((most, { boxes }) => Math.max(most, boxes.length), 1);
    const maps = await Promise.all(group.map(mapOf));
    const found = head.decode(await evaluate(method.feeds(head, maps, group, slots)), { labels, options, clock });
    group.forEach(({ ask: { id, frame } }, i) => {
      for (const prediction of found[i] ?? []) {
        const record = interactionRecord(prediction, { id, frame });
        if (record !== undefined) records.push({ schema: interactionSchema, ...record });
      }
    });
  }
  // The evaluator cannot score a file without any prediction.
  if (records.length === 0) return Object.fromEntries(Object.keys(interactionMetrics).map((name) => [name, 0]));
  return score(truthOf(document, items), records);
}

/** The validation file without the frames that have no features. */
function truthOf(document: JsonDocument, items: readonly Item[]): JsonDocument {
  const kept = new Set(items.map(({ ask }) => ask.id));
  const whole = document.value as Readonly<Record<string, unknown>>; // interactionAsks read it
  const annotations = (whole['annotations'] as readonly { readonly uid: string }[]).filter(({ uid }) => kept.has(uid)); // the same
  return { ...document, value: { ...whole, annotations }, line: () => undefined };
}
