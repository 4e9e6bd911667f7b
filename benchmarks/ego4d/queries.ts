/** Annotation files of Natural Language Queries: every query by clip, annotation and index. */
import { EgolensError } from '../../src/errors.js';
import type { JsonDocument } from '../../src/types.js';
import { fault, isObject, listAt, numberAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { pointer } from './checks.js';
import { describeFile, kindOf } from './videos-file.js';

/** A question about a clip; its window only where it is asked for. */
export interface Query {
  /** Among all queries of the truth. */
  readonly number: number;
  /** Number of its clip. */
  readonly clip: number;
  /** `<clip_uid>/<annotation_uid>/<index>` */
  readonly name: string;
  readonly clipUid: string;
  readonly annotationUid: string;
  readonly index: number;
  readonly template: string;
  /** The window has a positive length. */
  readonly isProper: boolean;
  /** Seconds of the clip. Throws where the file does not tell them, as files for testing. */
  times(): readonly [start: number, end: number];
}

/** All queries of the truth files. */
export interface QueryFile {
  /** Names of the files, for messages. */
  readonly name: string;
  readonly clips: readonly string[];
  /** Length of each clip in seconds, where the file tells it. */
  readonly durations: readonly (number | undefined)[];
  /** Start of each clip in its video, in seconds, where the file tells it. */
  readonly videoStarts: readonly (number | undefined)[];
  readonly queries: readonly Query[];
  /** The queries of an annotation; of a pair that stands twice in the file, the later one, as in the official reader. */
  annotation(
    clipUid: string,
    annotationUid: string,
  ): { readonly clip: number; readonly queries: readonly Query[] } | undefined;
}

/**
 * Reads `nlq_train.json`, `nlq_val.json`, `nlq_test_unannotated.json`. A query without text counts: the index goes over all of them.
 *
 * @throws EgolensError data.invalid for another file, or a member that is missing
 */
export function readQueries(documents: readonly JsonDocument[]): QueryFile {
  const clips: string[] = [];
  const clipNumbers = new Map<string, number>();
  const durations: (number | undefined)[] = [];
  const videoStarts: (number | undefined)[] = [];
  const queries: Query[] = [];
  const annotations = new Map<string, { readonly clip: number; readonly queries: readonly Query[] }>();
  const hint = 'the file should be `nlq_train.json`, `nlq_val.json` or `nlq_test_unannotated.json`';
  const files = documents.filter((document) => kindOf(document.value) !== 'info');
  for (const document of files) {
    const kind = kindOf(document.value);
    const { value } = document;
    if (
      (kind !== 'nlq' && kind !== 'clips' && kind !== 'unknown') ||
      !isObject(value) ||
      !Array.isArray(value['videos'])
    ) {
      throw new EgolensError(
        'data.invalid',
        `\`${document.name}\`: expected Natural Language Queries annotations (\`nlq_*.json\`), found ${describeFile(document)}`,
        { try: 'give the file of this task, or name the task of this file', input: document.name },
      );
    }
    forEachClip(document, value['videos'], hint, (clip, at) => {
      const clipUid = textAt(document, clip['clip_uid'], () => at('clip_uid'), hint);
      let number = clipNumbers.get(clipUid);
      if (number === undefined) {
        number = clips.push(clipUid) - 1;
        clipNumbers.set(clipUid, number);
        durations.push(difference(clip['clip_end_sec'], clip['clip_start_sec']));
        videoStarts.push(difference(clip['video_start_sec'], clip['clip_start_sec']));
      }
      const clipNumber = number;
      listAt(document, clip['annotations'], () => at('annotations'), hint).forEach((item, a) => {
        const annotation = objectAt(document, item, () => at('annotations', a), hint);
        const annotationUid = textAt(
          document,
          annotation['annotation_uid'],
          () => at('annotations', a, 'annotation_uid'),
          hint,
        );
        const asked = listAt(
          document,
          annotation['language_queries'],
          () => at('annotations', a, 'language_queries'),
          hint,
        ).map((entry, index): Query => {
          const place = (): string => at('annotations', a, 'language_queries', index);
          const query = objectAt(document, entry, place, hint);
          return {
            number: queries.length + index,
            clip: clipNumber,
            name: `${clipUid}/${annotationUid}/${index}`,
            clipUid,
            annotationUid,
            index,
            template: typeof query['template'] === 'string' ? query['template'] : 'none',
            isProper: Number(query['clip_end_sec']) > Number(query['clip_start_sec']),
            times: () => timesOf(document, query, place),
          };
        });
        queries.push(...asked);
        annotations.set(JSON.stringify([clipUid, annotationUid]), { clip: clipNumber, queries: asked });
      });
    });
  }
  if (files.length === 0) {
    throw new EgolensError('data.invalid', 'no truth among the files: expected `nlq_*.json`', {
      try: 'give the annotation file of the split with `--gt`',
    });
  }
  return {
    name: files.map(({ name }) => name).join(', '),
    clips,
    durations,
    videoStarts,
    queries,
    annotation: (clipUid, annotationUid) => annotations.get(JSON.stringify([clipUid, annotationUid])),
  };
}

function forEachClip(
  document: JsonDocument,
  videos: readonly unknown[],
  hint: string,
  visit: (clip: JsonObject, at: (...parts: (string | number)[]) => string) => void,
): void {
  videos.forEach((item, v) => {
    const video = objectAt(document, item, () => pointer('videos', v), hint);
    listAt(document, video['clips'], () => pointer('videos', v, 'clips'), hint).forEach((clip, c) => {
      const at = (...parts: (string | number)[]): string => pointer('videos', v, 'clips', c, ...parts);
      visit(
        objectAt(document, clip, () => at(), hint),
        at,
      );
    });
  });
}

function timesOf(document: JsonDocument, query: JsonObject, at: () => string): [number, number] {
  if (!('clip_start_sec' in query)) {
    const hint = 'files for testing have no times: score on the validation split';
    throw fault(document, `${at()}/clip_start_sec`, 'a number', undefined, hint);
  }
  const hint = 'a query has `clip_start_sec` and `clip_end_sec`';
  return [
    numberAt(document, query['clip_start_sec'], () => `${at()}/clip_start_sec`, hint),
    numberAt(document, query['clip_end_sec'], () => `${at()}/clip_end_sec`, hint),
  ];
}

function difference(a: unknown, b: unknown): number | undefined {
  return typeof a === 'number' ? a - (typeof b === 'number' ? b : 0) : undefined;
}
