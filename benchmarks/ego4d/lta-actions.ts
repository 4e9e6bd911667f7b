/** The annotation file of Long-Term action Anticipation: actions of each clip in order, and the keys that can be asked for. */
import type { JsonDocument } from '../../src/types.js';
import { fault, isObject, listAt, numberAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { pointer } from './checks.js';

/** Actions to be foretold. */
export const futureLength = 20;

/** All actions, those of one clip together and in order of `action_idx`. */
export interface ActionList {
  readonly clips: readonly ActionClip[];
  /** Place of the last seen action of every key whose action has a place, also of those with too few after them. */
  readonly placeOf: ReadonlyMap<string, number>;
  /** By place: the action's entry, its place in the file, the number of its clip. */
  readonly actions: readonly JsonObject[];
  readonly fileIndex: Int32Array;
  readonly clipOf: Int32Array;
}

/** One clip and where its actions stand in the list. */
export interface ActionClip {
  readonly uid: string;
  readonly videoUid: string;
  /** Places of its actions: [from, to). */
  readonly from: number;
  readonly to: number;
}

/** Is this an annotation file with one entry an action? */
export function isActionFile(value: unknown): value is JsonObject {
  if (!isObject(value) || !Array.isArray(value['clips'])) return false;
  const clips = value['clips'] as readonly unknown[];
  return clips.length === 0 || clips.some((clip) => isObject(clip) && 'action_idx' in clip);
}

/** Is this the file of class names? */
export function isTaxonomy(
  value: unknown,
): value is { readonly verbs: readonly unknown[]; readonly nouns: readonly unknown[] } {
  return isObject(value) && Array.isArray(value['verbs']) && Array.isArray(value['nouns']);
}

/** `<clip_uid>_<action_idx of the last seen action>` */
export function keyOf(clipUid: string, actionIndex: number): string {
  return `${clipUid}_${actionIndex}`;
}

/** The actions of the file; their labels are not looked at. Of two actions with the same index the one listed later is the key's. */
export function readActions(document: JsonDocument): ActionList {
  const root = objectAt(document, document.value, () => '', 'give the annotations of Long-Term Anticipation');
  const list = listAt(document, root['clips'], () => '/clips', 'give the annotations of Long-Term Anticipation');
  const byClip = new Map<
    string,
    { videoUid: string; members: { index: number; file: number; action: JsonObject }[] }
  >();
  list.forEach((value, file) => {
    const at = (field: string): string => pointer('clips', file, field);
    const action = objectAt(document, value, () => pointer('clips', file), 'an entry is one action of a clip');
    const uid = textAt(document, action['clip_uid'], () => at('clip_uid'), 'keys begin with it');
    const index = numberAt(document, action['action_idx'], () => at('action_idx'), 'actions are ordered by it');
    const videoUid = typeof action['video_uid'] === 'string' ? action['video_uid'] : uid;
    const clip = byClip.get(uid);
    if (clip === undefined) byClip.set(uid, { videoUid, members: [{ index, file, action }] });
    else clip.members.push({ index, file, action });
  });
  const clips: ActionClip[] = [];
  const placeOf = new Map<string, number>();
  const actions: JsonObject[] = [];
  const fileIndex = new Int32Array(list.length);
  const clipOf = new Int32Array(list.length);
  for (const [uid, { videoUid, members }] of byClip) {
    members.sort((a, b) => a.index - b.index);
    const from = actions.length;
    for (const { index, file, action } of members) {
      placeOf.set(keyOf(uid, index), actions.length);
      fileIndex[actions.length] = file;
      clipOf[actions.length] = clips.length;
      actions.push(action);
    }
    clips.push({ uid, videoUid, from, to: actions.length });
  }
  return { clips, placeOf, actions, fileIndex, clipOf };
}

/** Do 20 actions follow the one at this place? */
export function hasFuture({ clips, clipOf }: ActionList, place: number): boolean {
  return place + futureLength < clips[clipOf[place]!]!.to;
}

/** All keys with a whole future when `inputActions` are seen, in the order of the file's clips. */
export function askedKeys({ clips, actions }: ActionList, inputActions: number): string[] {
  return clips.flatMap(({ uid, from, to }) => {
    const keys: string[] = [];
    for (let place = from + inputActions - 1; place + futureLength < to; place++) {
      keys.push(keyOf(uid, actions[place]!['action_idx'] as number)); // readActions has seen it
    }
    return keys;
  });
}

/**
 * How many actions were seen, told from the earliest key of each clip: what most clips say, the fewer where two say it equally often.
 * Undefined without a known key.
 */
export function inferInputActions(list: ActionList, keys: Iterable<string>): number | undefined {
  const earliest = new Map<number, number>();
  for (const key of keys) {
    const place = list.placeOf.get(key);
    if (place === undefined || !hasFuture(list, place)) continue;
    const clip = list.clipOf[place]!;
    const seen = place - list.clips[clip]!.from + 1;
    earliest.set(clip, Math.min(seen, earliest.get(clip) ?? Infinity));
  }
  const votes = new Map<number, number>();
  for (const seen of earliest.values()) votes.set(seen, (votes.get(seen) ?? 0) + 1);
  let best: number | undefined;
  for (const [seen, count] of votes) {
    const most = best === undefined ? 0 : votes.get(best)!;
    if (count > most || (count === most && seen < best!)) best = seen;
  }
  return best;
}

/** A label of an action; classes are numbered from 0. */
export function labelAt(
  document: JsonDocument,
  list: ActionList,
  place: number,
  field: 'verb_label' | 'noun_label',
): number {
  const value = list.actions[place]![field];
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= largestLabel) return value;
  const at = pointer('clips', list.fileIndex[place]!, field);
  throw fault(
    document,
    at,
    `a whole number from 0 to ${largestLabel}`,
    value,
    'give annotations with labels, not the test file',
  );
}

const largestLabel = 0xffff;
