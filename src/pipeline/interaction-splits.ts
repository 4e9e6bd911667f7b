/** The splits of a run of `train sta`: which frames are asked about, what is true of them, their candidate boxes, and what their windows show. */
import { interactionAsks, type InteractionAsk } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { sha256File } from '../files.js';
import type { BoxCorners, CandidateBox } from '../models/forecasts.js';
import { sizeOf, tensor, unstacked } from '../tensor.js';
import type { JsonDocument, Tensor } from '../types.js';
import { readCandidateBoxes } from './candidate-boxes.js';
import { openDetector, type DetectorOptions } from './detector.js';
import { readDocument } from './documents.js';
import type { FeatureIndex } from './feature-index.js';
import { readRowsAt } from './feature-rows.js';
import type { FrameSize, FrameSizes } from './frame-sizes.js';
import { frameFiles, type FrameFile } from './frame-windows.js';
import { candidates, categoriesOf, type BoxSource, type Categories, type CategoryKind } from './interaction-task.js';
import { keptTensors } from './kept-tensors.js';
import { formOfClips } from './missing-clips.js';
import type { FeatureForm } from './segment-features.js';
import type { HeadTrainingOptions } from './train-head.js';

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

/** What decides the splits of a run. */
export interface InteractionSplitOptions extends Pick<
  HeadTrainingOptions,
  'gt' | 'val' | 'features' | 'skipMissing' | 'forceFeatures' | 'reading' | 'device' | 'threads' | 'signal' | 'progress'
> {
  /** Candidate boxes: files of both splits, or a detector. */
  readonly boxes: readonly string[] | { readonly detector: string; readonly headOf: DetectorOptions['headOf'] };
}

/** A frame of a split. */
export interface InteractionItem extends CandidatePicture {
  readonly ask: InteractionAsk;
  readonly truths: readonly KnownInteraction[];
  /** Where its window lies: file, and which of the windows that are read of it. */
  readonly file: FrameFile<InteractionAsk>;
  readonly place: number;
}

/** An annotation file, and the features of its frames. */
export interface InteractionSplit {
  readonly document: JsonDocument;
  readonly files: readonly FrameFile<InteractionAsk>[];
  readonly form: FeatureForm;
  readonly tokens: number;
  readonly digest: string;
}

/** Classes of a run: those of its training annotations. */
export type InteractionClasses = Readonly<Record<CategoryKind, Categories>>;

/**
 * An annotation file with the windows of its frames.
 *
 * @param like features that these must be like
 * @throws EgolensError as `interactionAsks`, `frameFiles` and `formOfClips`
 */
export async function readInteractions(
  path: string,
  index: FeatureIndex,
  options: InteractionSplitOptions,
  like?: FeatureForm,
): Promise<InteractionSplit> {
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

/** The categories of a file to learn from. @throws EgolensError data.invalid where it has none */
export function classesIn(document: JsonDocument, kind: CategoryKind): Categories {
  const found = categoriesOf(document, kind);
  if (found !== undefined) return found;
  throw new EgolensError('data.invalid', `\`${document.name}\`: expected \`${kind}_categories\`, found none`, {
    input: document.name,
    try: 'fho_sta_train.json and its kind',
  });
}

/**
 * Where boxes come from, and what tells that they would be the same again.
 *
 * @throws EgolensError as `readCandidateBoxes` and `openDetector`
 */
export async function openBoxSource({ boxes, device, threads, signal }: InteractionSplitOptions): Promise<{
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

/**
 * The frames of a split with their truth and their candidate boxes.
 *
 * @throws EgolensError data.invalid for frames without annotations or of classes that are none; data.unknown_id for boxes of other frames;
 *   as `FrameSizes` and `candidates`
 */
export async function interactionItems(
  { document, files }: InteractionSplit,
  classes: InteractionClasses,
  {
    options: { reading, signal, progress, gt, val },
    source,
    sizes,
  }: { readonly options: InteractionSplitOptions; readonly source: BoxSource; readonly sizes: FrameSizes },
): Promise<InteractionItem[]> {
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
  const items: InteractionItem[] = [];
  for (const file of files) {
    signal.throwIfAborted();
    const framed = file.places.map(({ ask }) => ({
      id: ask.id,
      size: sizes.of(ask, { path: file.path, meta: file.file.meta }),
    }));
    const windows = 'file' in source ? [] : unstacked(await windowsOf(file, reading));
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

/** The windows of the asks of a file, in their order. */
async function windowsOf(
  { path, places }: FrameFile<InteractionAsk>,
  reading: ReadOptions | undefined,
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

/** What a head looks at of the window of an item. */
export type MapOf = (item: InteractionItem) => Promise<Tensor<'float32'>>;

/**
 * Reads the windows of items; files are read whole and kept.
 *
 * @param shown of a window [tokens, width]
 */
export function mapsOfItems(shown: (window: Tensor<'float32'>) => Tensor<'float32'>, reading?: ReadOptions): MapOf {
  const mapsOf = keptTensors(async (file: FrameFile<InteractionAsk>) => {
    const { data, shape } = await windowsOf(file, reading);
    const [count = 0, ...rest] = shape;
    const length = sizeOf(rest);
    const maps = Array.from({ length: count }, (_, i) =>
      shown(tensor('float32', rest, data.subarray(i * length, (i + 1) * length))),
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
