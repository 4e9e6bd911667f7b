/** What a file is, by its content: the annotation files of episodic memory are all lists of `videos`. */
import type { JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';

export type FileKind =
  | 'moments'
  | 'nlq'
  | 'vq2d'
  /** Clips without annotations: MQ's test file. */
  | 'clips'
  /** `ego4d.json`: videos with a duration. */
  | 'info'
  /** MQ's working file, `clip_annotations.json`. */
  | 'working'
  | 'unknown';

const names: Readonly<Record<Exclude<FileKind, 'unknown'>, string>> = {
  moments: 'Moment Queries annotations',
  nlq: 'Natural Language Queries annotations',
  vq2d: 'Visual Queries annotations',
  clips: 'clips without annotations',
  info: 'the video list `ego4d.json`',
  working: 'the Moment Queries working file `clip_annotations.json`',
};

/** Looks at the first clip that has annotations, so it takes as long as the file has clips without. */
export function kindOf(value: unknown): FileKind {
  if (!isObject(value)) return 'unknown';
  const videos = value['videos'];
  if (!Array.isArray(videos)) return isWorkingFile(value) ? 'working' : 'unknown';
  let hasClips = false;
  for (const video of videos as readonly unknown[]) {
    if (!isObject(video)) continue;
    const clips = video['clips'];
    if (!Array.isArray(clips)) {
      if (typeof video['duration_sec'] === 'number') return 'info';
      continue;
    }
    for (const clip of clips as readonly unknown[]) {
      hasClips = true;
      const annotations = isObject(clip) ? clip['annotations'] : undefined;
      if (!Array.isArray(annotations)) continue;
      for (const annotation of annotations as readonly unknown[]) {
        if (!isObject(annotation)) continue;
        if ('labels' in annotation) return 'moments';
        if ('language_queries' in annotation) return 'nlq';
        if ('query_sets' in annotation) return 'vq2d';
      }
    }
  }
  return hasClips ? 'clips' : 'unknown';
}

function isWorkingFile(value: JsonObject): boolean {
  const entries = Object.values(value);
  return entries.length > 0 && entries.some((entry) => isObject(entry) && 'subset' in entry && 'annotations' in entry);
}

/** What a document seems to be, for messages. */
export function describeFile(document: JsonDocument): string {
  const kind = kindOf(document.value);
  if (kind !== 'unknown') return names[kind];
  const { value } = document;
  if (isObject(value)) {
    if (typeof value['challenge'] === 'string') return `a submission to \`${value['challenge']}\``;
    const keys = Object.keys(value);
    return keys.length === 0
      ? 'an empty object'
      : `an object with ${keys
          .slice(0, 4)
          .map((key) => `\`${key.length > 40 ? `${key.slice(0, 39)}…` : key}\``)
          .join(', ')}${keys.length > 4 ? ', …' : ''}`;
  }
  return Array.isArray(value) ? `a list of ${value.length}` : typeof value;
}
