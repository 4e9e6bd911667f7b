/** Videos and clips of Ego4D with the times that annotation files ask about: windows end there (`InputItem.at`). */
import { frameAsks, frameTasks, type FrameAsk, type FrameTask } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import type { JsonDocument, Progress } from '../types.js';
import { readDocument } from './documents.js';
import { annotationFiles, type Ego4dSelection } from './ego4d-inputs.js';
import type { InputItem } from './inputs.js';

/**
 * The items of a selection with the frames that the annotation files of its task ask about, of all its splits. Items of which nothing is
 * asked are left out, and told of.
 *
 * @param asksOf what a file asks; default: by the task of the selection
 * @throws EgolensError usage.flag for a task that asks about no frames; as `annotationFiles`, and whatever reading the files throws
 */
export async function askedItems(
  items: readonly InputItem[],
  selection: Ego4dSelection | undefined,
  {
    asksOf,
    progress,
  }: { readonly asksOf?: (document: JsonDocument) => readonly FrameAsk[]; readonly progress?: Progress } = {},
): Promise<InputItem[]> {
  const { task, split } = selection ?? {};
  const isOurs = (one: string | undefined): one is FrameTask => frameTasks.some((name) => name === one);
  const read = asksOf ?? (isOurs(task) ? (document: JsonDocument) => frameAsks(document, task) : undefined);
  if (selection === undefined || task === undefined || read === undefined) {
    throw new EgolensError(
      'usage.flag',
      `windows at annotated frames: expected --ego4d and --task ${frameTasks.join(', ')}; found ${task ?? 'none'}`,
    );
  }
  const asks: FrameAsk[] = [];
  for (const path of await annotationFiles(selection.folder, task, split)) asks.push(...read(await readDocument(path)));
  const asked = withAskedTimes(items, asks);
  const left = items.length - asked.length;
  if (left > 0) progress?.note(`${left} of ${items.length} videos or clips left out: no frame of them is asked about`);
  return asked;
}

/**
 * Items with the times of the asks about them: those of the video for a video, of the clip for a clip. A range of a video becomes the whole
 * video with the asks of its clip, since what led to a frame may begin before the clip. Items with an error stay as they are, items of which
 * nothing is asked go.
 */
export function withAskedTimes(items: readonly InputItem[], asks: readonly FrameAsk[]): InputItem[] {
  const [ofVideo, ofClip] = [new Map<string, FrameAsk[]>(), new Map<string, FrameAsk[]>()];
  for (const ask of asks) {
    listIn(ofVideo, ask.videoUid).push(ask);
    if (ask.clipUid !== null) listIn(ofClip, ask.clipUid).push(ask);
  }
  return items.flatMap((item): InputItem[] => {
    const { of, name, start, end, ...rest } = item;
    if (item.error !== undefined || of === undefined || of.kind === 'file') return [item];
    const isRange = start !== undefined || end !== undefined;
    const found = isRange ? ofClip.get(name ?? '') : (of.kind === 'clip' ? ofClip : ofVideo).get(of.uid);
    const times = (found ?? []).flatMap((ask) => ask.times.map((time) => time[of.kind]));
    // The frame before the first one is the first one.
    const at = [...new Set(times.flatMap((time) => (time === null ? [] : [Math.max(0, time)])))].sort((a, b) => a - b);
    return at.length === 0 ? [] : [{ ...rest, of, ...(name !== undefined && { name }), at }];
  });
}

function listIn(lists: Map<string, FrameAsk[]>, key: string): FrameAsk[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}
