/** Lists of labelled segments and paths of videos as the splits of a fine-tuning run. */
import type { Progress } from '../types.js';
import type { TuneSample } from './fine-tune-data.js';
import { listInputs } from './inputs.js';
import type { LabelList } from './label-lists.js';
import { classLists } from './segment-classes.js';
import { segmentSamples } from './segment-videos.js';
import { checkKinds, readSegments } from './train-recognition.js';

export interface TuningLists {
  /** Labelled segments: `fho_lta_train.json`, or an own list. */
  readonly gt: string;
  readonly val: string;
  /** Files, folders, patterns, lists of videos. */
  readonly videos: readonly string[];
  /** Class list, or a taxonomy of verbs and nouns. */
  readonly labels?: string;
  /** Leave segments out whose video is not given. */
  readonly skipMissing: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** Both splits with the class lists of the first. */
export interface TuningSplits {
  readonly train: readonly TuneSample[];
  readonly val: readonly TuneSample[];
  readonly labels: Readonly<Record<string, LabelList>>;
}

/** @throws EgolensError as `readSegments`, `classLists`, `listInputs` and `segmentSamples` */
export async function tuningSplits(lists: TuningLists): Promise<TuningSplits> {
  const { signal, progress, skipMissing } = lists;
  const gt = await readSegments(lists.gt);
  const val = await readSegments(lists.val);
  checkKinds(gt, val);
  const classes = await classLists(gt, lists.labels);
  await using inputs = await listInputs(lists.videos, { signal, progress });
  const [own, scored] = [gt, val].map((list) => {
    const { samples, missing } = segmentSamples(list, classes, inputs.items, { skipMissing });
    if (missing > 0)
      progress.note(`${list.name}: ${missing} of ${list.segments.length} segments left out, for want of a video`);
    return samples;
  });
  return { train: own!, val: scored!, labels: Object.fromEntries(classes) }; // one for each list
}
