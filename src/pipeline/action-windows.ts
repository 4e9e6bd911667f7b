/** What was seen before actions are foretold: rows of feature files that end before a time. */
import { actionAsks, actionClips, type ActionAsk } from '../ego4d/action-clips.js';
import type { TimeBase } from '../features/store.js';
import { EgolensError } from '../errors.js';
import type { JsonDocument, Seconds } from '../types.js';
import type { FeatureIndex } from './feature-index.js';
import type { SequenceFile } from './feature-rows.js';
import { placedFiles, rowGrid, type PlacedFiles, type PlacedOptions, type RowWindow } from './placed-clips.js';
import type { Stretch } from './predict.js';

/** Most seconds that a head looks back. */
export const seenSeconds: Seconds = 60;

/** The rows before a time. */
export interface ActionWindow extends RowWindow {
  /** `<clip_uid>_<action_idx>`; null in own videos. */
  readonly id: string | null;
  /** When it is asked, in seconds of the file's video or clip. No row ends later. */
  readonly time: Seconds;
}

export type ActionFiles = PlacedFiles<ActionAsk, ActionWindow>;

/** Which asks of a file count. */
export interface ActionSelection {
  /** Actions seen before the first ask of a clip. */
  readonly inputActions: number;
  /** Actions that must follow. */
  readonly least: number;
}

/**
 * The asks of an annotation file that have features: those of their clip, else of their video.
 *
 * @throws EgolensError as `actionClips` and `placedFiles`; data.clock for features without a grid
 */
export async function actionFiles(
  document: JsonDocument,
  index: FeatureIndex,
  selection: ActionSelection,
  options?: PlacedOptions,
): Promise<ActionFiles> {
  const clips = actionAsks(actionClips(document), selection);
  const windowOf = ({ id, time, clipStart }: ActionAsk, file: SequenceFile, { kind }: TimeBase) => {
    const offset = kind === 'video' ? clipStart : 0;
    return offset === null ? undefined : windowBefore(file, offset + time, id);
  };
  return await placedFiles(document, index, { clips, windowOf }, options);
}

/**
 * What comes after an own video, or after a time in it.
 *
 * @throws EgolensError data.clock for features without a grid; data.invalid for a time outside the video, or before its first row ends
 */
export function ownAsk({ file, bounds: [start, end], input }: Stretch, at: Seconds | undefined): ActionWindow {
  const time = at ?? end;
  // Times that are typed have few digits.
  if (time > end + 1e-3) {
    throw new EgolensError('data.invalid', `\`${input}\`: asked at ${time} s; its rows end at ${end} s`, {
      input,
      try: 'a time within the video, or none: then the end counts',
    });
  }
  const window = windowBefore(file, time, null);
  if (window !== undefined) return window;
  throw new EgolensError(
    'data.invalid',
    `\`${input}\`: asked at ${time} s; the first row sees ${start} to ${file.times[0]!.end} s`, // a row at least
    { input, try: 'a later time' },
  );
}

/** The rows of the last minute whose windows end by the time, on the grid of the file; undefined where there is none. */
function windowBefore(file: SequenceFile, time: Seconds, id: string | null): ActionWindow | undefined {
  const { count, step } = rowGrid(file);
  const firstEnd = file.times[0]!.end; // a row at least
  const end = Math.min(count, Math.floor((time - firstEnd) / step + 1e-6) + 1);
  if (end <= 0) return undefined;
  return { id, time, rows: [Math.max(0, end - mostRows(step)), end] };
}

/** Rows of so many seconds apart that fill the last minute. */
export function mostRows(step: Seconds): number {
  return Math.max(1, Math.floor(seenSeconds / step + 1e-6));
}
