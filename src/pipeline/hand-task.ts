/** Future hands as a task of `predict`: the same records from `hands` and from the scoring of its training. */
import { handAsks, type HandAsk } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import { float, type JsonValue } from '../json.js';
import type { HandPrediction } from '../models/forecasts.js';
import type { Head, HeadPrediction } from '../models/head.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { shapeText } from '../tensor.js';
import type { JsonDocument, Seconds, Tensor } from '../types.js';
import type { RowKind, SequenceFile } from './feature-rows.js';
import { FrameSizes, type FrameSize } from './frame-sizes.js';
import { FrameQueries, type FrameQuery } from './frame-task.js';
import type { FrameOptions } from './frame-windows.js';
import type { Stretch, TaskRecord } from './predict.js';
import type { FeatureSet } from './recognize-head.js';

export const handSchema = 'egolens.hands/1';

/** Pixels of the annotated frame, or shares of its width and height. */
export type HandSpace = 'pixels' | 'normalized';

/** `decode` gives shares of the frame for this size, whatever the frame. */
export const unitSize: readonly [number, number] = [1, 1];

/** What the official input spans before pre_45. */
const officialInput: Seconds = 2;

/** Does the head look at the tokens of one window? Else it looks at pooled rows, and gives pixels of the frames that it was trained on. */
export function looksAtTokens({ inputs }: Pick<Head, 'inputs'>): boolean {
  return inputs['tokens'] !== undefined;
}

/** A frame that a head is asked about, and where its places lie. */
export interface HandQuery extends FrameQuery<HandAsk> {
  /** Last frame that is seen, by its number in the video. */
  readonly frame: number;
  /** Of the frame; null where nobody needs it. */
  readonly size: FrameSize | null;
}

/** The members of a record beside the common ones; undefined for predictions of other tasks. */
export function handRecord(
  prediction: HeadPrediction,
  { ask, time, frame, size }: Pick<HandQuery, 'ask' | 'time' | 'frame' | 'size'>,
  { isShares, space = 'pixels' }: { readonly isShares: boolean; readonly space?: HandSpace },
): TaskRecord | undefined {
  if (prediction.task !== 'fhp') return undefined;
  return {
    ...(ask !== null && { id: ask.id }),
    time: float(time),
    frame,
    ...(space === 'normalized' && { space }),
    points: pointsIn(prediction, space, isShares, size),
    ...(prediction.visible && { visible: prediction.visible.map((hands) => hands.map(float)) }),
  };
}

function pointsIn(
  { points }: HandPrediction,
  space: HandSpace,
  isShares: boolean,
  size: FrameSize | null,
): JsonValue[] {
  const [width, height] = size ?? unitSize;
  const factor =
    isShares === (space === 'normalized') ? unitSize : isShares ? [width, height] : [1 / width, 1 / height];
  return points.map((hands) => hands.map((place) => place.map((value, axis) => float(value * factor[axis]!)))); // x and y
}

/** Inputs of a head for the rows of one query. @throws EgolensError data.shape for another number of tokens */
export function handFeeds(head: Pick<Head, 'inputs' | 'family'>, rows: Tensor<'float32'>): TensorsByName {
  const { tokens } = head.inputs;
  if (tokens === undefined) return { features: { ...rows, shape: [1, ...rows.shape] } };
  if (rows.shape[1] !== tokens.shape[1]) {
    throw new EgolensError(
      'data.shape',
      `windows of ${shapeText(rows.shape.slice(1))} tokens; ${head.family} expects ${String(tokens.shape[1])} of them`,
      { try: 'features of the encoder that the head was trained on, `extract --pool tokens`' },
    );
  }
  return { tokens: rows };
}

export interface HandQueriesOptions {
  /** Of the head: tokens of one window, or rows of two seconds. */
  readonly kind: RowKind;
  /** Of all frames, where the user says it. */
  readonly size?: FrameSize;
  /** Are sizes of frames needed at all? A head that gives what is wanted needs none. */
  readonly needsSize: boolean;
}

/** What a head of hands is asked of the files of a run. */
export class HandQueries {
  readonly #queries = new FrameQueries(handAsks);
  readonly #options: HandQueriesOptions;
  readonly #sizes: FrameSizes;

  constructor(options: HandQueriesOptions) {
    this.#options = options;
    this.#sizes = new FrameSizes(options.size);
  }

  /** Files with asks of an annotation file, and the ids of asks without features. */
  async clips(
    document: JsonDocument,
    set: FeatureSet,
    options: FrameOptions,
  ): Promise<{ readonly stretches: readonly Stretch[]; readonly missing: readonly string[] }> {
    if (this.#options.needsSize) await this.#sizes.readBeside(document.name);
    return await this.#queries.clips(document, set, { ...options, kind: this.#options.kind });
  }

  /** The asks about a file; of an own video the last frame of each of its windows. @throws EgolensError data.invalid without a frame size */
  of(stretch: Stretch): readonly HandQuery[] {
    const { path, file } = stretch;
    return this.#queries.of(stretch).map((query): HandQuery => {
      const [row] = query.rows;
      return {
        ...query,
        rows: this.#options.kind === 'tokens' ? [row] : rowsBefore(file, row),
        frame: query.ask?.frame ?? file.times[row]!.lastFrame, // a row of the file
        size: this.#options.needsSize ? this.#sizes.of(query.ask, { path, meta: file.meta }) : null,
      };
    });
  }
}

/** A row, and the others of the two seconds up to its end: a pooled feature of the official input is their mean. */
function rowsBefore({ times }: Pick<SequenceFile, 'times'>, row: number): readonly [number, ...number[]] {
  const { end } = times[row]!; // a row of the file
  const from = end - officialInput - 1e-6;
  const before = times.flatMap((one, i) => (i !== row && one.start >= from && one.end <= end ? [i] : []));
  return [row, ...before];
}
