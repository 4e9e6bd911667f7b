/** The annotation file of Future Hand Prediction: items, their keys and their 20 numbers. */
import { handNumbers } from '../../src/metrics/tracks.js';
import type { JsonDocument } from '../../src/types.js';
import { fault, isObject, listAt, numberAt, objectAt, type JsonObject } from '../reading.js';
import { pointer } from './checks.js';

/** Key frames of an item, in the order of the 20 numbers. */
export const keyFrames = ['pre_45', 'pre_30', 'pre_15', 'pre_frame', 'contact_frame'] as const;

/** One item: a moment before a contact, with its truth. */
export interface HandInstance {
  /** `<clip_id>_<pre_45 frame - 1>`: the input ends at that frame. */
  readonly key: string;
  readonly videoUid: string | undefined;
  /** JSON pointer of the item in the file. */
  readonly at: string;
  /** [5][left, right][x, y]; zeros where nothing is annotated. */
  readonly points: readonly number[];
}

/** Is this an annotation file with clips of frames? */
export function isAnnotated(value: unknown): value is JsonObject {
  if (!isObject(value) || !Array.isArray(value['clips'])) return false;
  const clips = value['clips'] as readonly unknown[];
  return clips.length === 0 || clips.some((clip) => isObject(clip) && Array.isArray(clip['frames']));
}

/**
 * The items in file order. An item without `pre_45` has no key, and none in the official loader.
 *
 * @source EGO4D/forecasting Ego4D-Future-Hand-Prediction/slowfast/datasets/ego4dhand.py
 * @quirk  a key frame without boxes (as all of the test file) gives zeros, which the evaluator reads as not annotated
 */
export function readInstances(document: JsonDocument): HandInstance[] {
  const root = objectAt(document, document.value, () => '', 'give the annotations of Future Hand Prediction');
  const clips = listAt(document, root['clips'], () => '/clips', 'give the annotations of Future Hand Prediction');
  return clips.flatMap((value, c) => {
    const clip = objectAt(
      document,
      value,
      () => pointer('clips', c),
      'a clip is {clip_id, clip_uid, video_uid, frames}',
    );
    const id = clip['clip_id'];
    if (typeof id !== 'number' && typeof id !== 'string') {
      throw fault(document, pointer('clips', c, 'clip_id'), 'a whole number', id, 'keys begin with it');
    }
    const videoUid = typeof clip['video_uid'] === 'string' ? clip['video_uid'] : undefined;
    const frames = listAt(document, clip['frames'], () => pointer('clips', c, 'frames'), 'write `[]` for no items');
    return frames.flatMap((item, f): HandInstance[] => {
      const at = pointer('clips', c, 'frames', f);
      const frame = objectAt(document, item, () => at, 'an item holds its key frames by name');
      if (!isObject(frame['pre_45'])) return [];
      const number = numberAt(
        document,
        frame['pre_45']['frame'],
        () => `${at}/pre_45/frame`,
        'keys end with it, less one',
      );
      return [{ key: `${id}_${number - 1}`, videoUid, at, points: pointsOf(document, frame, at) }];
    });
  });
}

function pointsOf(document: JsonDocument, item: JsonObject, at: string): number[] {
  const points = new Array<number>(handNumbers).fill(0);
  keyFrames.forEach((name, time) => {
    const keyFrame = item[name];
    const boxes = isObject(keyFrame) ? keyFrame['boxes'] : undefined;
    if (!Array.isArray(boxes)) return;
    (boxes as readonly unknown[]).forEach((box, b) => {
      const here = (): string => `${at}/${name}/boxes/${b}`;
      const hands = objectAt(document, box, here, 'write {left_hand: [x, y]} or {right_hand: [x, y]}');
      for (const [hand, field] of ['left_hand', 'right_hand'].entries()) {
        const centre = hands[field];
        if (centre === undefined) continue;
        const hint = 'a hand is its centre [x, y]';
        const [x, y] = listAt(document, centre, () => `${here()}/${field}`, hint);
        points[4 * time + 2 * hand] = numberAt(document, x, () => `${here()}/${field}/0`, hint);
        points[4 * time + 2 * hand + 1] = numberAt(document, y, () => `${here()}/${field}/1`, hint);
      }
    });
  });
  return points;
}

/** No frame is wider; a sum over 30 views of a hand that is in the picture is larger, but for hands in a corner. */
export const widestFrame = 4096;

/** Are all of these values so small that they must be pixels of one view, or shares of the picture? */
export function looksLikeOneView(values: ArrayLike<number>): boolean {
  const largest = largestMagnitude(values);
  return largest > 0 && largest < widestFrame;
}

/** Largest absolute value; 0 of nothing. */
export function largestMagnitude(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!));
  return largest;
}
