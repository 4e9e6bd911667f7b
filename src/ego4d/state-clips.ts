/** Clips of eight seconds in which an object may change its state: `fho_oscc-pnr_*.json` (ego4d.md 3.8), of all ages. */
import type { JsonDocument, Seconds } from '../types.js';
import { fault, isEntry, numberIn, uidIn } from './entries.js';

/** A clip of the point of no return and of the change of state. */
export interface StateClip {
  /** `unique_id`: what answers are matched by. */
  readonly id: string;
  readonly videoUid: string;
  /** The clip of some minutes that it was cut from; null where it lies in none. */
  readonly clipUid: string | null;
  /** In seconds of the video. */
  readonly start: Seconds;
  readonly end: Seconds;
  /** Start in seconds of `clipUid`; null where the file does not say. */
  readonly clipStart: Seconds | null;
  /** Frames of the video from start to end, and how many of them a second has. */
  readonly frames: number;
  readonly rate: number;
  /** Null in the test split. As the official reader has it, all but `false` is a change. */
  readonly stateChange: boolean | null;
  /** Seconds after the start; null without a change, and in the test split. */
  readonly pnr: Seconds | null;
}

/**
 * The clips of a file, in its order. An id that comes twice counts once: the first of them.
 *
 * @throws EgolensError data.invalid with the place of the first fault
 */
export function stateClips(document: JsonDocument): StateClip[] {
  const { value } = document;
  const [list, above] = Array.isArray(value) ? [value as readonly unknown[], ''] : [clipsOf(document), '/clips'];
  const byId = new Map<string, StateClip>();
  list.forEach((entry, i) => {
    const clip = clipOf(document, entry, `${above}/${i}`);
    if (!byId.has(clip.id)) byId.set(clip.id, clip);
  });
  return [...byId.values()];
}

function clipsOf(document: JsonDocument): readonly unknown[] {
  const { value } = document;
  const clips = isEntry(value) ? value['clips'] : undefined;
  if (Array.isArray(clips)) return clips;
  throw fault(document, '', 'a list of clips, or an object that holds it as `clips`', clips ?? value);
}

function clipOf(document: JsonDocument, value: unknown, at: string): StateClip {
  if (!isEntry(value)) throw fault(document, at, 'an object', value);
  const number = (name: string): number => numberIn(document, value, name, at);
  const id = value['unique_id'];
  if (typeof id !== 'string' || id === '') throw fault(document, `${at}/unique_id`, 'a text', id);
  const videoUid = uidIn(document, value, 'video_uid', at);
  const clipUid = (value['clip_uid'] ?? null) === null ? null : uidIn(document, value, 'clip_uid', at);
  const [start, end] = [Math.max(0, number('parent_start_sec')), number('parent_end_sec')];
  if (!(end > start)) throw fault(document, `${at}/parent_end_sec`, `more than ${start}`, end);
  const firstFrame = number('parent_start_frame');
  const frames = number('parent_end_frame') - firstFrame;
  if (!(frames > 0)) throw fault(document, `${at}/parent_end_frame`, `more than ${firstFrame}`, frames + firstFrame);
  const rate = frames / (end - start);
  const isTest = !['state_change', 'parent_pnr_frame', 'pnr_frame'].some((name) => name in value);
  const stateChange = isTest ? null : value['state_change'] !== false;
  const frame = value['parent_pnr_frame'] ?? value['pnr_frame'] ?? null;
  if (frame !== null && typeof frame !== 'number') throw fault(document, `${at}/parent_pnr_frame`, 'a frame', frame);
  return {
    ...{ id, videoUid, clipUid, start, end, frames, rate, stateChange },
    clipStart: typeof value['clip_start_sec'] === 'number' ? value['clip_start_sec'] : null,
    pnr: stateChange === true && frame !== null ? (frame - firstFrame) / rate : null,
  };
}
