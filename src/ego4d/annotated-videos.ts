/** Which videos and clips the annotation files of a task are about (ego4d.md 3): the same question of nine files of five forms. */
import { EgolensError } from '../errors.js';
import type { JsonDocument } from '../types.js';
import { videoSeconds, type VideoSeconds } from './manifest.js';

/** Tasks with annotation files of their own, by their codes. */
export const ego4dTasks = ['mq', 'nlq', 'fhp', 'sta', 'lta', 'scod', 'pnr', 'oscc', 'vq2d'] as const;
export type Ego4dTask = (typeof ego4dTasks)[number];

export const ego4dSplits = ['train', 'val', 'test'] as const;
export type Ego4dSplit = (typeof ego4dSplits)[number];

/** How the names of their files begin; two tasks share one file. */
export const annotationStems: Readonly<Record<Ego4dTask, string>> = {
  mq: 'moments',
  nlq: 'nlq',
  vq2d: 'vq',
  fhp: 'fho_hands',
  sta: 'fho_sta',
  lta: 'fho_lta',
  scod: 'fho_scod',
  pnr: 'fho_oscc-pnr',
  oscc: 'fho_oscc-pnr',
};

/** Names under which the annotations of a split may lie, best first. The test split is published without its annotations. */
export function annotationNames(task: Ego4dTask, split: Ego4dSplit): readonly string[] {
  const names = split === 'test' ? [`${annotationStems[task]}_test_unannotated.json`] : [];
  return [...names, `${annotationStems[task]}_${split}.json`].flatMap((name) => [name, `${name}.gz`]);
}

/** A clip as an annotation file places it in its video; null where that file does not say where. */
export interface AnnotatedClip {
  readonly clipUid: string;
  readonly videoUid: string;
  readonly start: VideoSeconds | null;
  readonly end: VideoSeconds | null;
}

/** What a file is about, each once, in the order of the file. */
export interface AnnotatedVideos {
  readonly videos: readonly string[];
  readonly clips: ReadonlyMap<string, AnnotatedClip>;
}

type Entry = Readonly<Record<string, unknown>>;

/**
 * Videos and clips of an annotation file of any task. Only ids and ranges are looked at; `validate annotations` checks the rest.
 *
 * @throws EgolensError data.invalid with the place of the first fault
 */
export function annotatedVideos(document: JsonDocument): AnnotatedVideos {
  const videos = new Set<string>();
  const clips = new Map<string, AnnotatedClip>();
  const add = (entry: Entry, at: string, videoUid: string): void => {
    const clipUid = entry['clip_uid'] ?? undefined; // null where a state change lies in no canonical clip
    if (clipUid === undefined) return;
    checkUid(document, `${at}/clip_uid`, clipUid);
    const [start, end] = rangeOf(entry);
    const known = clips.get(clipUid);
    if (known === undefined || known.start === null) clips.set(clipUid, { clipUid, videoUid, start, end });
  };
  for (const [at, entry] of entriesOf(document)) {
    // Short-term anticipation calls it `video_id`.
    const key = entry['video_uid'] === undefined && entry['video_id'] !== undefined ? 'video_id' : 'video_uid';
    const uid = entry[key];
    checkUid(document, `${at}/${key}`, uid);
    videos.add(uid);
    const inner = entry['clips'];
    if (inner === undefined) add(entry, at, uid);
    else for (const [below, clip] of listOf(document, `${at}/clips`, inner)) add(clip, below, uid);
  }
  return { videos: [...videos], clips };
}

/** The entries that name a video: `videos`, `clips`, `annotations`, or the bare list of old state-change files. */
function entriesOf(document: JsonDocument): readonly (readonly [at: string, entry: Entry])[] {
  const { value } = document;
  if (Array.isArray(value)) return listOf(document, '', value);
  const members = isEntry(value) ? value : {};
  const key = ['videos', 'clips', 'annotations'].find((name) => Array.isArray(members[name]));
  if (key === undefined) throw fault(document, '', 'a list `videos`, `clips` or `annotations`', 'none');
  return listOf(document, `/${key}`, members[key]);
}

function listOf(document: JsonDocument, at: string, list: unknown): (readonly [at: string, entry: Entry])[] {
  if (!Array.isArray(list)) throw fault(document, at, 'a list', typeof list);
  return list.map((entry: unknown, i) => {
    if (!isEntry(entry)) throw fault(document, `${at}/${i}`, 'an object', entry === null ? 'null' : typeof entry);
    return [`${at}/${i}`, entry] as const;
  });
}

function isEntry(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Where a clip lies in its video. The `parent_*` of a state change are those of eight seconds within it, hence not looked at. */
function rangeOf(entry: Entry): readonly [start: VideoSeconds | null, end: VideoSeconds | null] {
  for (const prefix of ['video', 'clip_parent']) {
    const [start, end] = [entry[`${prefix}_start_sec`], entry[`${prefix}_end_sec`]];
    if (typeof start === 'number' && typeof end === 'number' && end > start) {
      // Published starts are off zero by up to a microsecond.
      return [videoSeconds(Math.max(0, start)), videoSeconds(end)];
    }
  }
  return [null, null];
}

/** Ids become names of files: nothing that leads elsewhere. */
export function isUid(text: string): boolean {
  return /^[\w-][\w.-]{0,127}$/.test(text);
}

function checkUid(document: JsonDocument, at: string, value: unknown): asserts value is string {
  if (typeof value === 'string' && isUid(value)) return;
  throw fault(document, at, 'a uid', value === undefined ? 'none' : JSON.stringify(value).slice(0, 60));
}

function fault(document: JsonDocument, at: string, expected: string, found: string): EgolensError {
  const line = document.line(at);
  const where = at === '' ? 'the whole file' : at;
  return new EgolensError(
    'data.invalid',
    `\`${document.name}\`: ${where}${line === undefined ? '' : ` (line ${line})`}: expected ${expected}, found ${found}`,
    { input: document.name },
  );
}
