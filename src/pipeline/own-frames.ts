/** Frames of one's own videos for detectors that may see what was before and after: which windows are computed, and which rows belong together. */
import { EgolensError } from '../errors.js';
import type { Seconds } from '../types.js';
import type { AnchorRequest } from './anchors.js';
import type { SequenceFile } from './feature-rows.js';

/** Rows of a file that one frame is seen by: its own window first. */
export type FrameRows = readonly [number, ...number[]];

/** What is asked of own videos. */
export interface OwnFrames {
  /** Windows that are to be computed; absent: as the head's recipe has them. */
  readonly at?: AnchorRequest;
  /** The frames of a file of such windows. */
  rowsOf(file: Pick<SequenceFile, 'times'>): readonly FrameRows[];
}

/** A change that somebody has placed. */
export interface PlacedChange {
  readonly pre: Seconds;
  readonly pnr: Seconds;
  readonly post: Seconds;
}

/** So far from a frame lie those before and after it where nothing else is said. */
const around: Seconds = 0.5;

/**
 * The windows of frames that were asked for.
 *
 * @param frames that the head looks at: 1, or 3 with those before and after
 * @throws EgolensError usage.flag for frames by their numbers where the head needs those around them
 */
export function ownFrames(at: AnchorRequest | undefined, frames: number): OwnFrames {
  if (frames === 1) return { ...(at && { at }), rowsOf: ({ times }) => times.map((_, row) => [row] as const) };
  const withOthers = (file: Pick<SequenceFile, 'times'>, row: number): FrameRows => {
    const { end } = file.times[row]!; // one of them
    return [row, nearest(file, end - around), nearest(file, end + around)];
  };
  if (at === undefined) return { rowsOf: (file) => file.times.map((_, row) => withOthers(file, row)) };
  if (!('length' in at)) {
    const each = Math.max(1, Math.round(at.every / around));
    return {
      at: { every: at.every / each },
      rowsOf(file) {
        const count = Math.max(1, Math.floor(file.times.length / each));
        const last = file.times.length - 1;
        return Array.from({ length: count }, (_, i) => withOthers(file, Math.min((i + 1) * each - 1, last)));
      },
    };
  }
  const asked = at.map((one) => {
    if (typeof one === 'number') return one;
    throw new EgolensError(
      'usage.flag',
      '--at #FRAME: the head looks at the frames before and after too; expected seconds',
    );
  });
  return {
    at: asked.flatMap((time) => [Math.max(0, time - around), time, time + around]),
    rowsOf: (file) => [...new Set(asked.map((time) => firstAfter(file, time)))].map((row) => withOthers(file, row)),
  };
}

/** The windows of a change whose three frames are known. */
export function placedFrames({ pre, pnr, post }: PlacedChange): OwnFrames {
  const times = [pnr, pre, post] as const;
  return { at: times, rowsOf: (file) => [times.map((time) => firstAfter(file, time)) as unknown as FrameRows] }; // three
}

/** The window that ends with the frame of a time: ends lie behind the whole frame. The last one where none ends so late. */
function firstAfter({ times }: Pick<SequenceFile, 'times'>, time: Seconds): number {
  let best: number | undefined;
  times.forEach(({ end }, row) => {
    if (end > time + 1e-4 && (best === undefined || end < times[best]!.end)) best = row;
  });
  return best ?? times.length - 1;
}

/** The window whose end is nearest, the first of equals. */
function nearest({ times }: Pick<SequenceFile, 'times'>, end: Seconds): number {
  let best = 0;
  times.forEach((one, row) => {
    if (Math.abs(one.end - end) < Math.abs(times[best]!.end - end)) best = row;
  });
  return best;
}
