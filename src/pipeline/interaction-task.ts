/** Coming interactions as a task of `predict`: the same records from `anticipate` and from the scoring of its training. */
import { interactionAsks, type InteractionAsk } from '../ego4d/asked-frames.js';
import { fault, isEntry } from '../ego4d/entries.js';
import { EgolensError } from '../errors.js';
import { float, type JsonValue } from '../json.js';
import type { CandidateBox } from '../models/forecasts.js';
import { checkFeatures, type HeadFolder } from '../models/head-folder.js';
import type { HeadPrediction } from '../models/head.js';
import type { JsonDocument, Tensor } from '../types.js';
import type { CandidateBoxes } from './candidate-boxes.js';
import type { Detector } from './detector.js';
import type { SequenceFile } from './feature-rows.js';
import type { FrameSize } from './frame-sizes.js';
import { FrameQueries, type FrameQuery } from './frame-task.js';
import type { PictureBoxes, PictureFrame } from './picture-detector.js';
import type { Stretch, TaskRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';

export const interactionSchema = 'egolens.interaction/1';

/** Interactions of a frame: with n objects about to be touched, Top-5 metrics forgive 4 n false ones. */
export const usualTop = 5;

export type InteractionQuery = FrameQuery<InteractionAsk>;

export const interactionQueries = (): FrameQueries<InteractionAsk> => new FrameQueries(interactionAsks);

/** Classes of one kind: ids of the data set, and names in the same order. */
export interface Categories {
  readonly ids: readonly number[];
  readonly names: readonly string[];
}

export type CategoryKind = 'noun' | 'verb';

/**
 * The categories of an annotation file; undefined where it has none, as a test file may.
 *
 * @throws EgolensError data.invalid for a list of another form, and for an id that comes twice
 */
export function categoriesOf(document: JsonDocument, kind: CategoryKind): Categories | undefined {
  const field = `${kind}_categories`;
  const list = isEntry(document.value) ? document.value[field] : undefined;
  if (list === undefined) return undefined;
  if (!Array.isArray(list) || list.length === 0) throw fault(document, `/${field}`, 'a list of categories', list);
  const names = new Map<number, string>();
  list.forEach((item: unknown, i) => {
    const at = `/${field}/${i}`;
    if (!isEntry(item)) throw fault(document, at, 'an object', item);
    const { id, name } = item;
    if (typeof id !== 'number' || !Number.isSafeInteger(id)) throw fault(document, `${at}/id`, 'a whole number', id);
    if (names.has(id)) throw fault(document, `${at}/id`, 'ids that come once', id);
    if (typeof name !== 'string' || name === '') throw fault(document, `${at}/name`, 'a text', name);
    names.set(id, name);
  });
  return { ids: [...names.keys()], names: [...names.values()] };
}

/**
 * Refuses annotations with other classes than those of a head: an id that is none of them, or has another name.
 *
 * @param name of whose classes they are: a head, or an annotation file
 * @throws EgolensError usage.conflict with both sides
 */
export function checkCategories(document: JsonDocument, kind: CategoryKind, own: Categories, name: string): void {
  const found = categoriesOf(document, kind);
  const names = new Map(own.ids.map((id, i) => [id, own.names[i]!])); // as many
  found?.ids.forEach((id, i) => {
    const known = names.get(id);
    if (known === found.names[i]) return;
    const said = known === undefined ? `has no ${kind} ${id}` : `knows it as \`${known}\``;
    throw new EgolensError(
      'usage.conflict',
      `\`${document.name}\`: ${kind} ${id} is \`${found.names[i]!}\`; ${name} ${said}, of ${own.ids.length} ${kind}s`, // i is in range
      { input: document.name, try: 'a head trained on annotations with the same categories' },
    );
  });
}

/** Class lists of a head folder; undefined where it does not say. */
export function headCategories({ info, labels }: HeadFolder, kind: CategoryKind): Categories | undefined {
  const names = labels[kind];
  const ids = info.options[`${kind}_ids`];
  if (!names || !Array.isArray(ids) || ids.length !== names.length) return undefined;
  return { ids: ids as readonly number[], names }; // `train sta` wrote them
}

/** The members of a record beside the common ones; undefined for a prediction of another task. */
export function interactionRecord(
  prediction: HeadPrediction,
  { id, frame }: { readonly id: string | null; readonly frame: number },
): TaskRecord | undefined {
  if (prediction.task !== 'sta') return undefined;
  const { box, noun, nounId, verb, verbId, timeToContact, score } = prediction;
  return {
    ...(id !== null && { id }),
    frame,
    box: box.map(float) as JsonValue[],
    noun_category_id: nounId,
    verb_category_id: verbId,
    ...{ noun, verb },
    time_to_contact: float(timeToContact),
    score: float(score),
  };
}

/** The frame of the video that is asked about: of an own one the last of its window. */
export function frameOf({ ask, rows: [row] }: InteractionQuery, { times }: Pick<SequenceFile, 'times'>): number {
  return ask?.frame ?? times[row]!.lastFrame; // a row of the file
}

/** Where candidate boxes come from: a file, or a detector that looks at the same windows. */
export type BoxSource =
  | { readonly file: CandidateBoxes }
  | { readonly detector: Detector }
  /** A detector that looks at pixels: at the frames of a stretch together, before they are asked for. */
  | { readonly pictures: PictureBoxes };

/** A frame whose boxes are asked for. */
export interface BoxedFrame {
  /** Of the annotation file, or `boxName`. */
  readonly id: string;
  readonly size: FrameSize;
  /** Where its pixels are, for a source that looks at them. */
  readonly picture?: PictureFrame;
}

/**
 * The picture that an ask is about: the last frame of its window, in the video that the features were computed of.
 *
 * @throws EgolensError usage.conflict for a video of standard input, which is gone by then
 */
export function pictureOf({ rows: [row] }: InteractionQuery, { input, file }: Stretch): PictureFrame {
  if (input === 'video:-') {
    throw new EgolensError('usage.conflict', '`video:-`: a detector that looks at pixels reads a video twice', {
      try: 'give the video as a file',
    });
  }
  return { path: input, frame: file.times[row]!.lastFrame }; // a row of the file
}

/**
 * Candidate boxes of frames.
 *
 * @param windows of the frames, [tokens, width] each
 * @param nouns of the head whose boxes they are, for the nouns that come with boxes
 * @throws EgolensError data.shape for windows that the detector was not made for
 */
export async function candidates(
  source: BoxSource,
  frames: readonly BoxedFrame[],
  windows: readonly Tensor<'float32'>[],
  nouns: Categories | undefined,
): Promise<(readonly CandidateBox[])[]> {
  if ('file' in source) {
    const byId = new Map(nouns?.ids.map((id, i) => [id, i]));
    // A head without a list of its own goes by the numbers of the file.
    const nounOf = (id: number): number | undefined => (nouns === undefined ? id : byId.get(id));
    return frames.map(({ id, size }) => source.file.of(id, size, nounOf));
  }
  if ('pictures' in source) {
    return frames.map(({ id, size, picture }) => {
      if (picture === undefined) throw new EgolensError('internal.bug', `${id}: a frame without a picture`);
      return source.pictures.of(picture, size, nouns?.names).slice(0, mostDetected);
    });
  }
  const { detector } = source;
  const found = await detector.boxes(
    windows,
    frames.map(({ size }) => size),
  );
  const names = detector.folder.labels['noun'] ?? [];
  return found.map((boxes) =>
    boxes.slice(0, mostDetected).map(({ box, score, noun }): CandidateBox => {
      const own = noun === undefined ? -1 : (nouns?.names.indexOf(names[noun] ?? '') ?? noun);
      return { box, score, ...(own >= 0 && { noun: own }) };
    }),
  );
}

/** Detected boxes of a frame that the head looks at. */
const mostDetected = 20;

/** Refuses features that the detector was not made for. @throws EgolensError as `checkFeatures` */
export function checkSource(source: BoxSource, form: FeatureForm, force: boolean): void {
  if ('detector' in source) checkFeatures(source.detector.folder, { name: form.path, ...form }, { force });
}
