/** Objects in frames as a task of `predict`: the same records from `state-change` and from the scoring of its training. */
import type { ChangeAsk } from '../ego4d/asked-frames.js';
import { objectAsks } from '../ego4d/object-asks.js';
import { float } from '../json.js';
import type { Head, HeadPrediction } from '../models/head.js';
import type { TensorsByName } from '../runtime/training-session.js';
import type { JsonDocument, Tensor } from '../types.js';
import { inPixels } from './detector.js';
import type { FrameSize, FrameSizes } from './frame-sizes.js';
import { FrameQueries } from './frame-task.js';
import type { FrameOptions } from './frame-windows.js';
import { mapsForm, mapsOf } from './object-maps.js';
import type { FrameRows, OwnFrames } from './own-frames.js';
import type { Stretch, TaskRecord } from './predict.js';
import type { FeatureSet } from './recognize-head.js';

export const objectSchema = 'egolens.object/1';

/** A frame as records have it. */
export interface ObjectPlace {
  /** Of the annotation file; null in own videos. */
  readonly id: string | null;
  readonly frame: number;
  readonly size: FrameSize;
}

/** The members of a record beside the common ones; undefined for a box without area. `prediction`: in shares of the frame. */
export function objectRecord(prediction: HeadPrediction, { id, frame, size }: ObjectPlace): TaskRecord | undefined {
  if (prediction.task !== 'scod') return undefined;
  const [x1, y1, x2, y2] = inPixels(prediction.box, size);
  if (!(x2 > x1 && y2 > y1)) return undefined;
  return { ...(id !== null && { id }), frame, box: [x1, y1, x2, y2].map(float), score: float(prediction.score) };
}

/** Windows of one frame -> inputs of the head. @throws EgolensError data.shape as `mapsOf` */
export function objectFeeds(head: Head, windows: Tensor<'float32'>): TensorsByName {
  return { maps: mapsOf([windows], mapsForm(head)) };
}

/** Rows of an ask for a head of so many frames: frames that are not annotated are shown as the frame itself. */
export function rowsOfFrames(rows: FrameRows, frames: number): FrameRows {
  return [rows[0], ...Array.from({ length: frames - 1 }, (_, i) => rows[i + 1] ?? rows[0])];
}

/**
 * The frames of a file of changing objects or coming interactions, for heads that look at so many: of one the times before and after a change do not
 * matter, nor whether they have features.
 *
 * @throws EgolensError data.invalid
 */
export function asksOfFrames(document: JsonDocument, frames: number): readonly ChangeAsk[] {
  const asks = objectAsks(document);
  return frames === 1 ? asks.map((ask) => ({ ...ask, times: [ask.times[0]] })) : asks;
}

/** A frame that a detector is asked about. */
export interface ObjectQuery extends ObjectPlace {
  /** Rows of the file, as many as the head looks at windows. */
  readonly rows: FrameRows;
}

/** What a detector is asked of the files of a run. */
export class ObjectQueries {
  readonly #frames: number;
  readonly #sizes: FrameSizes;
  readonly #own: OwnFrames;
  readonly #asked: FrameQueries<ChangeAsk>;

  /** @param frames that the head looks at */
  constructor({
    frames,
    sizes,
    own,
  }: {
    readonly frames: number;
    readonly sizes: FrameSizes;
    readonly own: OwnFrames;
  }) {
    [this.#frames, this.#sizes, this.#own] = [frames, sizes, own];
    this.#asked = new FrameQueries((document) => asksOfFrames(document, frames));
  }

  /** Files with frames of an annotation file, and the ids of frames without features. */
  async clips(document: JsonDocument, set: FeatureSet, options: FrameOptions) {
    await this.#sizes.readBeside(document.name);
    return await this.#asked.clips(document, set, options);
  }

  /** The frames of an annotation file that a file shows, else those that are asked of own videos. @throws EgolensError as `FrameSizes` */
  of(stretch: Stretch): readonly ObjectQuery[] {
    const { file, path } = stretch;
    const sizeOf = (ask: ChangeAsk | null): FrameSize => this.#sizes.of(ask, { path, meta: file.meta });
    const asked = this.#asked.of(stretch).flatMap(({ ask, rows }): ObjectQuery[] => {
      if (ask === null) return [];
      return [{ id: ask.id, frame: ask.frame, size: sizeOf(ask), rows: rowsOfFrames(rows, this.#frames) }];
    });
    if (asked.length > 0) return asked;
    const size = sizeOf(null);
    return this.#own.rowsOf(file).map((rows) => ({ id: null, frame: file.times[rows[0]]!.lastFrame, size, rows })); // a row of it
  }
}
