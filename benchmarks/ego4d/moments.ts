/** Files of Moment Queries: the annotations as they are published, and the working file that the official evaluator runs on. */
import { EgolensError } from '../../src/errors.js';
import type { JsonDocument } from '../../src/types.js';
import { entriesOf, isObject, listAt, numberAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { pointer } from './checks.js';
import { describeFile, kindOf } from './videos-file.js';

/** One clip with the labels that are scored. */
export interface MomentClip {
  /** Key in the working file: detection results go by it. */
  readonly key: string;
  /** `clip_id` in the working file: retrieval results go by it. */
  readonly clipId: string;
  readonly videoUid: string;
  readonly subset: string;
  /** Span of the clip in its video, in seconds; undefined in a working file without it. */
  readonly parent: readonly [start: number, end: number] | undefined;
  readonly moments: readonly { readonly label: string; readonly start: number; readonly end: number }[];
}

/** Entry of the official `clip_annotations.json`; `v_duration` and `fps` only where `ego4d.json` was given. */
export interface ClipAnnotation {
  readonly video_id: string;
  readonly clip_id: string;
  readonly parent_start_sec: number;
  readonly parent_end_sec: number;
  readonly v_duration?: number;
  /** Feature rows a second. */
  readonly fps?: number;
  /** Label objects as they were. */
  readonly annotations: readonly JsonObject[];
  readonly subset: string;
}

/**
 * The clips of truth files: of the working file where one is given, else of the annotations.
 *
 * @param keep whether clips of annotations without a label to score are left out, as in the official working file
 */
export function momentClips(documents: readonly JsonDocument[], keep: 'labelled' | 'all' = 'labelled'): MomentClip[] {
  const sorted = sortDocuments(documents);
  if (sorted.working.length > 0) {
    // One object in the end: of a key that stands twice the later entry counts.
    return [...new Map(sorted.working.flatMap(workingClips).map((clip) => [clip.key, clip])).values()];
  }
  const converted = clipAnnotations(sorted.moments, sorted.info, keep);
  return Object.entries(converted).map(([key, entry]) => ({
    key,
    clipId: entry.clip_id,
    videoUid: entry.video_id,
    subset: entry.subset,
    parent: [entry.parent_start_sec, entry.parent_end_sec],
    // Checked by the conversion.
    moments: entry.annotations.map((label) => ({
      label: label['label'] as string,
      start: label['start_time'] as number,
      end: label['end_time'] as number,
    })),
  }));
}

function sortDocuments(documents: readonly JsonDocument[]): {
  readonly moments: readonly JsonDocument[];
  readonly working: readonly JsonDocument[];
  readonly info: JsonDocument | undefined;
} {
  const moments: JsonDocument[] = [];
  const working: JsonDocument[] = [];
  let info: JsonDocument | undefined;
  for (const document of documents) {
    const kind = kindOf(document.value);
    if (kind === 'moments' || kind === 'clips') moments.push(document);
    else if (kind === 'working') working.push(document);
    else if (kind === 'info') info = document;
    else throw notMoments(document);
  }
  if (moments.length + working.length === 0) {
    throw new EgolensError(
      'data.invalid',
      'no truth among the files: expected `moments_*.json` or `clip_annotations.json`',
      {
        try: 'give the annotation file of the split with `--gt`',
      },
    );
  }
  return { moments, working, info };
}

function notMoments(document: JsonDocument): EgolensError {
  return new EgolensError(
    'data.invalid',
    `\`${document.name}\`: expected Moment Queries annotations (\`moments_*.json\` or \`clip_annotations.json\`), found ${describeFile(document)}`,
    { try: 'give the file of this task, or name the task of this file', input: document.name },
  );
}

function workingClips(document: JsonDocument): MomentClip[] {
  const hint = 'make the working file anew from `moments_*.json`, or give that file instead';
  const file = objectAt(document, document.value, () => '', hint);
  return entriesOf(document, file).map(([key, value]): MomentClip => {
    const entry = objectAt(document, value, () => pointer(key), hint);
    const subset = textAt(document, entry['subset'], () => pointer(key, 'subset'), hint);
    const annotations = listAt(document, entry['annotations'], () => pointer(key, 'annotations'), hint);
    const [from, to] = [entry['parent_start_sec'], entry['parent_end_sec']];
    return {
      key,
      clipId: textAt(document, entry['clip_id'] ?? key, () => pointer(key, 'clip_id'), hint),
      videoUid: typeof entry['video_id'] === 'string' ? entry['video_id'] : '',
      subset,
      parent: typeof from === 'number' && typeof to === 'number' ? [from, to] : undefined,
      moments: annotations.map((annotation, i) => {
        const at = (): string => pointer(key, 'annotations', i);
        return readLabel(document, objectAt(document, annotation, at, hint), at);
      }),
    };
  });
}

function readLabel(document: JsonDocument, label: JsonObject, at: () => string): MomentClip['moments'][number] {
  const hint = 'a label is {label, start_time, end_time, primary, …}, times in seconds of the clip';
  return {
    label: textAt(document, label['label'], () => `${at()}/label`, hint),
    start: numberAt(document, label['start_time'], () => `${at()}/start_time`, hint),
    end: numberAt(document, label['end_time'], () => `${at()}/end_time`, hint),
  };
}

/**
 * The official working file, `{clip_uid: …}`: the primary labels of all annotators, one after the other, duplicates included; clips
 * without a label are left out unless they are for testing, and so are videos that `info` (`ego4d.json`) does not list.
 *
 * @source EGO4D/episodic-memory MQ/Convert_annotation.py
 */
export function clipAnnotations(
  moments: readonly JsonDocument[],
  info?: JsonDocument,
  keep: 'labelled' | 'all' = 'labelled',
): Readonly<Record<string, ClipAnnotation>> {
  const videoInfo = info === undefined ? undefined : videoInfoByUid(info);
  const clips = new Map<string, Omit<ClipAnnotation, 'annotations'> & { readonly annotations: JsonObject[] }>();
  const hint = 'the file should be `moments_train.json`, `moments_val.json` or `moments_test_unannotated.json`';
  for (const document of moments) {
    const videos = listAt(document, (document.value as JsonObject)['videos'], () => '/videos', hint); // an object: its kind was seen
    videos.forEach((item, v) => {
      const video = objectAt(document, item, () => pointer('videos', v), hint);
      const uid = textAt(document, video['video_uid'], () => pointer('videos', v, 'video_uid'), hint);
      const subset = textAt(document, video['split'], () => pointer('videos', v, 'split'), hint);
      const known = videoInfo?.get(uid);
      if (videoInfo !== undefined && known === undefined) return;
      listAt(document, video['clips'], () => pointer('videos', v, 'clips'), hint).forEach((clipItem, c) => {
        const at = (...parts: (string | number)[]): string => pointer('videos', v, 'clips', c, ...parts);
        const clip = objectAt(document, clipItem, () => at(), hint);
        const clipUid = textAt(document, clip['clip_uid'], () => at('clip_uid'), hint);
        let entry = clips.get(clipUid);
        if (entry === undefined) {
          entry = {
            video_id: uid,
            clip_id: clipUid,
            parent_start_sec: numberAt(document, clip['video_start_sec'], () => at('video_start_sec'), hint),
            parent_end_sec: numberAt(document, clip['video_end_sec'], () => at('video_end_sec'), hint),
            ...known,
            annotations: [],
            subset,
          };
          clips.set(clipUid, entry);
        }
        if (subset !== 'test') entry.annotations.push(...primaryLabels(document, clip, at));
      });
    });
  }
  const isKept = ({ subset, annotations }: ClipAnnotation): boolean =>
    keep === 'all' || subset === 'test' || annotations.length > 0;
  return Object.fromEntries([...clips].filter(([, entry]) => isKept(entry)));
}

function primaryLabels(
  document: JsonDocument,
  clip: JsonObject,
  at: (...parts: (string | number)[]) => string,
): JsonObject[] {
  const hint = 'clips outside the test split have `annotations[].labels[]`';
  return listAt(document, clip['annotations'], () => at('annotations'), hint).flatMap((item, a) => {
    const annotator = objectAt(document, item, () => at('annotations', a), hint);
    const labels = listAt(document, annotator['labels'], () => at('annotations', a, 'labels'), hint);
    return labels.flatMap((value, l): JsonObject[] => {
      const place = (): string => at('annotations', a, 'labels', l);
      const label = objectAt(document, value, place, hint);
      if (!('primary' in label))
        textAt(document, undefined, () => `${place()}/primary`, 'say whether the label is scored');
      if (!isTrue(label['primary'])) return [];
      readLabel(document, label, place);
      return [label];
    });
  });
}

/** Python's truth of a JSON value. */
function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isObject(value)) return Object.keys(value).length > 0;
  return value !== false && value !== null && value !== undefined && value !== 0 && value !== 0n && value !== '';
}

/**
 * Duration of each video, and its feature rows a second: windows of 32 frames every 16, a last one moved back to the end.
 * @quirk the official converter counts the rows of the feature file; from `ego4d.json` their number follows (ego4d.md 1.5)
 */
function videoInfoByUid(
  info: JsonDocument,
): ReadonlyMap<string, { readonly v_duration: number; readonly fps: number }> {
  const videos = (info.value as JsonObject)['videos'] as readonly unknown[]; // seen when its kind was looked at
  return new Map(
    videos.flatMap((video) => {
      if (!isObject(video) || typeof video['video_uid'] !== 'string' || typeof video['duration_sec'] !== 'number')
        return [];
      const duration = video['duration_sec'];
      const metadata = video['video_metadata'];
      const counted = isObject(metadata) ? metadata['num_frames'] : undefined;
      const rows = featureRows(typeof counted === 'number' ? counted : Math.round(duration * 30));
      return [[video['video_uid'], { v_duration: duration, fps: rows / duration }] as const];
    }),
  );
}

function featureRows(frames: number): number {
  if (frames < 32) return 1;
  return Math.floor((frames - 32) / 16) + 1 + ((frames - 32) % 16 === 0 ? 0 : 1);
}
