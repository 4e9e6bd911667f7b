/** Clips as a data set: their uids, and the numbers that every annotation file repeats. */
import { sha256 } from '../files.js';
import { float, type JsonValue } from '../json.js';
import { makeScene, worldVersion, type ClipRequest, type Scene, type Split } from './scene.js';

/** The clips of one split. */
export interface SetRequest extends Omit<ClipRequest, 'index'> {
  readonly clips: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

/** One clip: a canonical video that is one canonical clip of full length. */
export interface Clip {
  readonly scene: Scene;
  readonly videoUid: string;
  readonly clipUid: string;
  readonly sourceClipUid: string;
  readonly width: number;
  readonly height: number;
}

/** An id of the form of RFC 4122, from a name: the same name, the same id. */
export function uidOf(...name: readonly (string | number)[]): string {
  const hex = sha256(`tabletop/${JSON.stringify(name)}`);
  const variant = '89ab'[parseInt(hex.charAt(16), 16) & 3] ?? '8';
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** The uid says all that a clip is made from, so that a file of that name holds what it should. */
export function clipOf(set: SetRequest, index: number): Clip {
  const { seed, split, seconds, fps, difficulty, width, height } = set;
  const name = [worldVersion, seed >>> 0, split, index, seconds, fps, difficulty, width, height];
  return {
    scene: makeScene({ seed, split, index, seconds, fps, difficulty }),
    videoUid: uidOf('video', ...name),
    clipUid: uidOf('clip', ...name),
    sourceClipUid: uidOf('source', ...name),
    width,
    height,
  };
}

export function clipsOf(set: SetRequest): Clip[] {
  return Array.from({ length: set.clips }, (_, index) => clipOf(set, index));
}

/** Seconds of a frame on the clip's constant rate. */
export function secondsAt(scene: Scene, frame: number): number {
  return frame / scene.request.fps;
}

type Json = Readonly<Record<string, JsonValue>>;

/** The first five members of a file, in the order that the official readers count on. */
export function fileHead(what: string, split: Split, version = '1.0'): Json {
  return {
    version,
    date: null,
    description: `Tabletop ${what}: made by egolens synth, not part of Ego4D`,
    manifest: 'ego4d.json',
    split,
  };
}

/** Where the clip lies in its video, as MQ, NLQ and VQ say it. */
export function clipPlace(clip: Clip): Json {
  const { scene } = clip;
  const end = float(secondsAt(scene, scene.frames));
  return {
    clip_uid: clip.clipUid,
    video_start_sec: float(0),
    video_end_sec: end,
    video_start_frame: 0,
    video_end_frame: scene.frames,
    clip_start_sec: 0,
    clip_end_sec: end,
    clip_start_frame: 0,
    clip_end_frame: scene.frames,
    source_clip_uid: clip.sourceClipUid,
  };
}

/** The same as the hand and object tracks say it. */
export function parentPlace({ scene }: Clip): Json {
  return {
    clip_parent_start_sec: float(0),
    clip_parent_end_sec: float(secondsAt(scene, scene.frames)),
    clip_parent_start_frame: 0,
    clip_parent_end_frame: scene.frames,
  };
}

/** A thousandth of a pixel is exact enough for every metric, and keeps files small. */
export function pixel(value: number): JsonValue {
  return float(Math.round(value * 1000) / 1000);
}
