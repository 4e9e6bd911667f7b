/** `train sta`: a head for coming interactions over cached tokens and candidate boxes, scored by the official evaluator on the way. */
import { sha256File } from '../files.js';
import type { BoxCorners, CandidateBox } from '../models/forecasts.js';
import type { Head } from '../models/head.js';
import type { Random } from '../random.js';
import { sampleRandom } from '../train/order.js';
import type { TrainingData } from '../train/trainer.js';
import type { FeatureClock, JsonDocument, Tensor } from '../types.js';
import { indexFeatures } from './feature-index.js';
import { FrameSizes, type FrameSize } from './frame-sizes.js';
import { tokenGridOf } from './frame-windows.js';
import {
  classesIn,
  interactionItems,
  mapsOfItems,
  openBoxSource,
  readInteractions,
  type CandidatePicture,
  type InteractionClasses,
  type InteractionItem,
  type InteractionSplitOptions,
  type KnownInteraction,
  type MapOf,
} from './interaction-splits.js';
import {
  checkCategories,
  checkSource,
  interactionRecord,
  interactionSchema,
  usualTop,
  type Categories,
  type CategoryKind,
} from './interaction-task.js';
import type { LabelList } from './label-lists.js';
import type { TaskRecord } from './predict.js';
import { usualBatch, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

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
export interface InteractionTraining extends HeadTrainingOptions, InteractionSplitOptions {
  readonly method: InteractionMethod;
  readonly score: (truth: JsonDocument, records: readonly TaskRecord[]) => Readonly<Record<string, number>>;
  readonly frameSize?: FrameSize;
}

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
  const own = await readInteractions(options.gt, index, options);
  const val = await readInteractions(options.val, index, options, own.form);
  const classes: InteractionClasses = { noun: classesIn(own.document, 'noun'), verb: classesIn(own.document, 'verb') };
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
  const source = await openBoxSource(options);
  try {
    checkSource(source.boxes, own.form, forceFeatures);
    const sizes = new FrameSizes(options.frameSize);
    const [items, valItems] = [
      await interactionItems(own, classes, { options, source: source.boxes, sizes }),
      await interactionItems(val, classes, { options, source: source.boxes, sizes }),
    ];
    if ('file' in source.boxes) source.boxes.file.notes().forEach((note) => options.progress.note(note));
    const mapOf = mapsOfItems((window) => method.map(head, window), options.reading);
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

function listOf(kind: CategoryKind, { names }: Categories): LabelList {
  return {
    schema: 'egolens.labels/1',
    name: `sta-${kind}s`,
    version: 1,
    order: `${kind}_categories of the training annotations; their ids are options.${kind}_ids`,
    labels: names,
  };
}

function dataOf(
  items: readonly InteractionItem[],
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
    readonly classes: InteractionClasses;
    readonly items: readonly InteractionItem[];
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
function truthOf(document: JsonDocument, items: readonly InteractionItem[]): JsonDocument {
  const kept = new Set(items.map(({ ask }) => ask.id));
  const whole = document.value as Readonly<Record<string, unknown>>; // interactionAsks read it
  const annotations = (whole['annotations'] as readonly { readonly uid: string }[]).filter(({ uid }) => kept.has(uid)); // the same
  return { ...document, value: { ...whole, annotations }, line: () => undefined };
}
