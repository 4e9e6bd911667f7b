/** Windows of some seconds in feature files, for heads that tell when and whether an object changes its state. */
import { stateClips, type StateClip } from '../ego4d/state-clips.js';
import type { TimeBase } from '../features/store.js';
import { rationalNumber } from '../time.js';
import type { JsonDocument, Seconds } from '../types.js';
import { gridClock } from './clip-sequences.js';
import type { FeatureIndex } from './feature-index.js';
import type { SequenceFile } from './feature-rows.js';
import { placedFiles, rowGrid, type PlacedFile, type PlacedFiles, type PlacedOptions } from './placed-clips.js';

/** Length of an annotated clip; own videos are cut into as long ones. */
export const windowSeconds: Seconds = 8;

/** Rows of a feature file that are looked at together. */
export interface StateWindow {
  /** Of the annotation file; null in own videos. */
  readonly id: string | null;
  /** In seconds of the file's video or clip. */
  readonly start: Seconds;
  readonly end: Seconds;
  readonly rows: readonly [first: number, end: number];
  /** Middle of the first row in seconds after `start`, and what lies between rows. */
  readonly first: Seconds;
  readonly step: Seconds;
  /** Frames a second. */
  readonly rate: number;
}

/** A feature file and the clips in it. */
export type StateFile = PlacedFile<StateClip, StateWindow>;
export type StateFiles = PlacedFiles<StateClip, StateWindow>;
export type StateOptions = PlacedOptions;

/**
 * The clips of an annotation file that have features: those of the clip of some minutes that they were cut from, else of their video.
 *
 * @throws EgolensError as `stateClips` and `placedFiles`; data.clock for features without a grid
 */
export async function stateFiles(
  document: JsonDocument,
  index: FeatureIndex,
  options?: StateOptions,
): Promise<StateFiles> {
  const windowOfClip = (clip: StateClip, file: SequenceFile, { kind }: TimeBase): StateWindow | undefined => {
    const start = kind === 'video' ? clip.start : clip.clipStart;
    const window = start === null ? undefined : windowOf(file, start, start + clip.end - clip.start);
    return window && { ...window, id: clip.id, rate: clip.rate };
  };
  return await placedFiles(document, index, { clips: stateClips(document), windowOf: windowOfClip }, options);
}

/**
 * An own video in windows of eight seconds; the last one ends with it.
 *
 * @throws EgolensError data.clock for features without a grid
 */
export function ownWindows(file: SequenceFile, [from, to]: readonly [start: Seconds, end: Seconds]): StateWindow[] {
  const { rate } = gridClock(file.form.clock, file.form.path);
  const count = Math.max(1, Math.ceil((to - from) / windowSeconds - 1e-6));
  return Array.from({ length: count }, (_, i) => {
    const start = Math.max(from, Math.min(from + i * windowSeconds, to - windowSeconds));
    const window = windowOf(file, start, Math.min(to, start + windowSeconds));
    return window === undefined ? [] : [{ ...window, id: null, rate: rationalNumber(rate) }];
  }).flat();
}

/** Rows whose middle lies in the span, on the grid of the file; undefined where there is none. */
function windowOf(file: SequenceFile, start: Seconds, end: Seconds): Omit<StateWindow, 'id' | 'rate'> | undefined {
  const { count, middle, step } = rowGrid(file);
  const first = Math.max(0, Math.ceil((start - middle) / step - 1e-9));
  const last = Math.min(count, Math.ceil((end - middle) / step - 1e-9));
  if (first >= last) return undefined;
  return { start, end, rows: [first, last], first: middle + first * step - start, step };
}
