/** Heads that are asked about frames, as tasks of `predict`: which frames of a file, and which windows they see. */
import type { FrameAsk } from '../ego4d/asked-frames.js';
import type { JsonDocument, RowTime, Seconds } from '../types.js';
import { frameFiles, secondsIn, type FrameOptions } from './frame-windows.js';
import { PlacedQueries } from './placed-clips.js';
import type { Stretch } from './predict.js';
import type { FeatureSet } from './recognize-head.js';

/** A frame that a head is asked about. */
export interface FrameQuery<Ask extends FrameAsk> {
  /** Of the annotation file; null in own videos. */
  readonly ask: Ask | null;
  /** Middle of the frame, in seconds of the file's video or clip. */
  readonly time: Seconds;
  /** Rows of the file: the window that ends at the frame first, then those of the other frames of the ask. */
  readonly rows: readonly [number, ...number[]];
}

/** What such a head is asked of the files of a run. */
export class FrameQueries<Ask extends FrameAsk> {
  readonly #asksOf: (document: JsonDocument) => readonly Ask[];
  readonly #queries = new PlacedQueries<FrameQuery<Ask>>();

  constructor(asksOf: (document: JsonDocument) => readonly Ask[]) {
    this.#asksOf = asksOf;
  }

  /** Files with asks of an annotation file, and the ids of asks without features. */
  async clips(
    document: JsonDocument,
    set: FeatureSet,
    options: FrameOptions,
  ): Promise<{ readonly stretches: readonly Stretch[]; readonly missing: readonly string[] }> {
    const { files, missing } = await frameFiles(this.#asksOf(document), document, set.index, options);
    const placed = files.map(({ places, ...file }) => ({
      ...file,
      clips: places.map(({ ask, rows }) => {
        const time = secondsIn(ask.times[0], file.of)!; // it has a row, so it has a time
        return { clip: ask, window: { ask, rows, time } };
      }),
    }));
    return { stretches: this.#queries.stretches(placed, set), missing };
  }

  /** The asks about a file; of an own video the last frame of each of its windows. */
  of(stretch: Stretch): readonly FrameQuery<Ask>[] {
    const { file } = stretch;
    return this.#queries.of(stretch) ?? file.times.map(lastFrameOf);
  }
}

/** The frame that a window of an own video ends with; frames of a window are taken to be of one length. */
function lastFrameOf({ start, end, firstFrame, lastFrame }: RowTime, row: number): FrameQuery<never> {
  const length = (end - start) / (lastFrame - firstFrame + 1);
  return { ask: null, time: end - length / 2, rows: [row] };
}
