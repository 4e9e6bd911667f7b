/** Actions of clips in their order, and what is asked about them: `fho_lta_*.json` (ego4d.md 3.6). */
import type { JsonDocument, Seconds } from '../types.js';
import { fault, isEntry, numberIn, uidIn, type Entry } from './entries.js';

/** Actions to be foretold, as the challenge wants them. */
export const futureActions = 20;
/** Actions that are seen before the first question of a clip, as in the official configurations. */
export const usualInputActions = 2;

/** A class by its place in the taxonomy, and by its name where the file says it. */
export interface ActionClass {
  readonly label: number;
  readonly name: string | null;
}

/** What is done, to what. */
export interface ClipLabels {
  readonly verb: ActionClass;
  readonly noun: ActionClass;
}

export interface ClipAction {
  /** `<clip_uid>_<action_idx>`: what answers are matched by. */
  readonly id: string;
  /** In seconds of the clip. */
  readonly start: Seconds;
  readonly end: Seconds;
  /** Null in the test split. */
  readonly labels: ClipLabels | null;
}

/** A clip and its actions in order of `action_idx`. */
export interface ActionClip {
  readonly clipUid: string;
  readonly videoUid: string;
  /** Where the clip begins in its video; null where the file does not say. */
  readonly clipStart: Seconds | null;
  readonly actions: readonly ClipAction[];
}

/** What comes next, asked at the end of an action. */
export interface ActionAsk {
  /** Of the last action that was seen. */
  readonly id: string;
  readonly clipUid: string;
  readonly videoUid: string;
  readonly clipStart: Seconds | null;
  /** End of that action in seconds of the clip: the observed input ends there. */
  readonly time: Seconds;
  /** Actions seen, the last one included. */
  readonly seen: number;
  /** The next actions, 20 at most; null in the test split. */
  readonly future: readonly ClipLabels[] | null;
}

/** Labels beyond this are no classes. */
const largestLabel = 0xffff;

/**
 * The clips of a file in the order in which they first appear. Two actions may have one `action_idx`: both count, as in the official reader.
 *
 * @throws EgolensError data.invalid with the place of the first fault
 */
export function actionClips(document: JsonDocument): ActionClip[] {
  const list = isEntry(document.value) ? document.value['clips'] : undefined;
  if (!Array.isArray(list)) {
    throw fault(document, '/clips', 'an object that holds a list of actions as `clips`', list);
  }
  const clips = new Map<
    string,
    Omit<ActionClip, 'actions'> & { members: { readonly index: number; readonly action: ClipAction }[] }
  >();
  list.forEach((value: unknown, i) => {
    const at = `/clips/${i}`;
    if (!isEntry(value)) throw fault(document, at, 'an action', value);
    const clipUid = uidIn(document, value, 'clip_uid', at);
    const videoUid = uidIn(document, value, 'video_uid', at);
    const index = numberIn(document, value, 'action_idx', at);
    let clip = clips.get(clipUid);
    if (clip === undefined) {
      const parent = value['clip_parent_start_sec'] ?? null;
      // Published starts are off zero by up to a microsecond.
      const clipStart = parent === null ? null : Math.max(0, numberIn(document, value, 'clip_parent_start_sec', at));
      clip = { clipUid, videoUid, clipStart, members: [] };
      clips.set(clipUid, clip);
    }
    if (clip.videoUid !== videoUid) throw fault(document, `${at}/video_uid`, `\`${clip.videoUid}\``, videoUid);
    clip.members.push({ index, action: actionOf(document, value, `${clipUid}_${index}`, at) });
  });
  return [...clips.values()].map(({ members, ...clip }) => ({
    ...clip,
    actions: members.sort((a, b) => a.index - b.index).map(({ action }) => action),
  }));
}

/**
 * The asks about clips: at the end of each action from the `inputActions`-th on that has a future.
 *
 * @param least actions that must follow: 20 for those that are scored, 1 for all that something can be learnt from
 */
export function actionAsks(
  clips: readonly ActionClip[],
  { inputActions, least }: { readonly inputActions: number; readonly least: number },
): ActionAsk[] {
  return clips.flatMap(({ actions, ...clip }) => {
    // Of two actions with one index the later one is the key's, as `eval lta` has it.
    const placeOf = new Map(actions.map(({ id }, place) => [id, place]));
    return actions.flatMap(({ id, end }, place): ActionAsk[] => {
      if (place + 1 < inputActions || place + least >= actions.length || placeOf.get(id) !== place) return [];
      const next = actions.slice(place + 1, place + 1 + futureActions).map(({ labels }) => labels);
      const future = next.every((labels) => labels !== null) ? next : null;
      return [{ ...clip, id, time: end, seen: place + 1, future }];
    });
  });
}

function actionOf(document: JsonDocument, entry: Entry, id: string, at: string): ClipAction {
  const start = Math.max(0, numberIn(document, entry, 'action_clip_start_sec', at));
  const end = numberIn(document, entry, 'action_clip_end_sec', at);
  if (!(end > start)) throw fault(document, `${at}/action_clip_end_sec`, `more than ${start}`, end);
  const isTest = (entry['verb_label'] ?? null) === null && (entry['noun_label'] ?? null) === null;
  const labels = isTest
    ? null
    : { verb: classIn(document, entry, 'verb', at), noun: classIn(document, entry, 'noun', at) };
  return { id, start, end, labels };
}

function classIn(document: JsonDocument, entry: Entry, kind: 'verb' | 'noun', at: string): ActionClass {
  const [label, name] = [entry[`${kind}_label`], entry[kind]];
  if (typeof label !== 'number' || !Number.isInteger(label) || label < 0 || label > largestLabel) {
    throw fault(document, `${at}/${kind}_label`, `a whole number from 0 to ${largestLabel}`, label);
  }
  return { label, name: typeof name === 'string' && name !== '' ? name : null };
}
