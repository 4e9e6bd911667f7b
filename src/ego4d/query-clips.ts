/** Clips of Natural Language Queries with their questions: `nlq_train.json`, `nlq_val.json`, `nlq_test_unannotated.json`. */
import { EgolensError } from '../errors.js';
import type { JsonDocument, Seconds, Span } from '../types.js';
import { annotatedVideos } from './annotated-videos.js';

/** A question, and under which numbers the challenge knows it; null for one's own. */
export interface Question {
  readonly text: string;
  /** `<annotation_uid>_<query_idx>`, or one's own: what given vectors of its words are called. */
  readonly id: string;
  readonly annotationUid: string | null;
  /** Among all entries of its annotation, those without text counted. */
  readonly index: number | null;
}

/** A question of an annotation file. */
export interface ClipQuestion extends Question {
  /** In seconds of the clip; undefined where the file does not tell it, and for answers of no length. */
  readonly answer: Span | undefined;
}

export interface QueryClip {
  readonly clipUid: string;
  readonly videoUid: string;
  /** Seconds of the video at the start of the clip; undefined where the file does not tell it. */
  readonly videoStart: Seconds | undefined;
  readonly duration: Seconds | undefined;
  readonly questions: readonly ClipQuestion[];
  /** Entries without text: nothing is asked by them. */
  readonly silent: number;
}

type Entry = Readonly<Record<string, unknown>>;

/**
 * The clips of a queries file, in its order.
 *
 * @throws EgolensError data.invalid with the place of the first fault
 */
export function queryClips(document: JsonDocument): QueryClip[] {
  // Looks at the uids, which become names of files.
  annotatedVideos(document);
  const top = entryOf(document, '', document.value);
  return entries(document, '/videos', top['videos']).flatMap(([at, video]) =>
    entries(document, `${at}/clips`, video['clips']).map(([place, clip]) =>
      clipOf(document, place, clip, String(video['video_uid'])),
    ),
  );
}

function clipOf(document: JsonDocument, at: string, clip: Entry, videoUid: string): QueryClip {
  const clipStart = numberOf(clip['clip_start_sec']) ?? 0;
  const clipEnd = numberOf(clip['clip_end_sec']);
  const [start, end] = [numberOf(clip['video_start_sec']), numberOf(clip['video_end_sec'])];
  const questions: ClipQuestion[] = [];
  let silent = 0;
  for (const [place, annotation] of entries(document, `${at}/annotations`, clip['annotations'])) {
    const uid = annotation['annotation_uid'];
    if (typeof uid !== 'string' || uid === '') throw fault(document, `${place}/annotation_uid`, 'a uid', uid);
    const asked = entries(document, `${place}/language_queries`, annotation['language_queries']);
    for (const [index, [where, query]] of asked.entries()) {
      const text = query['query'];
      if (text === undefined || text === null || (typeof text === 'string' && text.trim() === '')) {
        silent++;
        continue;
      }
      if (typeof text !== 'string') throw fault(document, `${where}/query`, 'text', text);
      const [from, to] = [numberOf(query['clip_start_sec']), numberOf(query['clip_end_sec'])];
      const answer = from !== undefined && to !== undefined && from < to ? ([from, to] as const) : undefined;
      questions.push({ text, id: `${uid}_${index}`, annotationUid: uid, index, answer });
    }
  }
  return {
    clipUid: String(clip['clip_uid']), // looked at above, as the uid of the video
    videoUid,
    // Published starts are off zero by up to a microsecond.
    videoStart: start === undefined ? undefined : Math.max(0, start - clipStart),
    duration:
      clipEnd !== undefined ? clipEnd - clipStart : start !== undefined && end !== undefined ? end - start : undefined,
    questions,
    silent,
  };
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function entries(document: JsonDocument, at: string, list: unknown): (readonly [at: string, entry: Entry])[] {
  if (!Array.isArray(list)) throw fault(document, at, 'a list', list);
  return list.map((entry: unknown, i) => [`${at}/${i}`, entryOf(document, `${at}/${i}`, entry)] as const);
}

function entryOf(document: JsonDocument, at: string, value: unknown): Entry {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Entry; // checked
  throw fault(document, at, 'an object', value);
}

function fault(document: JsonDocument, at: string, expected: string, value: unknown): EgolensError {
  const line = document.line(at);
  const where = `${at === '' ? 'the whole file' : at}${line === undefined ? '' : ` (line ${line})`}`;
  const found = value === undefined ? 'none' : `\`${JSON.stringify(value).slice(0, 60)}\``;
  return new EgolensError('data.invalid', `\`${document.name}\`: ${where}: expected ${expected}, found ${found}`, {
    input: document.name,
    try: 'the file should be `nlq_train.json`, `nlq_val.json` or `nlq_test_unannotated.json`',
  });
}
