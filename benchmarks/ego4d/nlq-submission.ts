/** Natural Language Queries: records of `nlq` -> the entries of a submission. */
import { EgolensError } from '../../src/errors.js';
import { float } from '../../src/json.js';
import type { JsonDocument, Submission, SubmissionOptions } from '../../src/types.js';
import type { JsonObject } from '../reading.js';
import { areRecords, assertRecords, recordFault, recordNumber, recordOwner, recordText } from '../records.js';
import { readQueries, type Query, type QueryFile } from './queries.js';

const schema = 'egolens.answer/1';
/** Windows that the challenge looks at. */
export const windowsPerQuery = 5;

/** An entry of the results; times in seconds of the clip, best window first. */
export interface AnswerEntry {
  readonly clip_uid: string;
  readonly annotation_uid: string;
  readonly query_idx: number;
  readonly predicted_times: readonly (readonly [start: number, end: number])[];
}

/** Are these records of `nlq`? An empty list counts. */
export function isAnswerRecords(value: unknown): value is readonly JsonObject[] {
  return areRecords(value, schema);
}

interface Window {
  readonly rank: number;
  readonly score: number;
  readonly times: readonly [number, number];
}

/**
 * One entry for each query that has records, in the order of the annotation file: windows by rank (where records have none, by falling
 * score), in seconds of the clip. They may end after it, as annotated windows do.
 *
 * @throws EgolensError data.unknown_id for a query that is not in the file; data.invalid for a record of no query
 */
export function answerEntries(
  records: readonly JsonObject[],
  file: QueryFile,
): { readonly entries: readonly AnswerEntry[]; readonly outside: number } {
  const windows = new Map<Query, Window[]>();
  let outside = 0;
  records.forEach((record, index) => {
    const query = queryOf(record, index, file);
    const owner = recordOwner(record, index);
    const offset = owner.kind === 'video' ? file.videoStarts[query.clip] : 0;
    if (offset === undefined)
      throw recordFault(index, `clip \`${query.clipUid}\` has no \`video_start_sec\``, 'give times of the clip');
    const start = Math.max(0, recordNumber(record, index, 'start') - offset);
    const times = [start, recordNumber(record, index, 'end') - offset] as const;
    const isInside = times[1] >= 0 && times[0] <= (file.durations[query.clip] ?? Infinity);
    let list = windows.get(query);
    if (list === undefined) windows.set(query, (list = []));
    if (!isInside) {
      outside++;
      return;
    }
    const rank = record['rank'] === undefined || record['rank'] === null ? 0 : recordNumber(record, index, 'rank');
    const score = record['score'] === undefined || record['score'] === null ? 0 : recordNumber(record, index, 'score');
    list.push({ rank, score, times });
  });
  const entries = file.queries.flatMap((query): AnswerEntry[] => {
    const list = windows.get(query);
    if (list === undefined || list.length === 0) return [];
    list.sort((a, b) => a.rank - b.rank || b.score - a.score);
    return [
      entryOf(
        query,
        list.map(({ times }) => times),
      ),
    ];
  });
  return { entries, outside };
}

function queryOf(record: JsonObject, index: number, file: QueryFile): Query {
  const clipUid = recordText(record, index, 'clip_uid');
  const annotationUid = recordText(record, index, 'annotation_uid');
  const queryIndex = recordNumber(record, index, 'query_idx');
  const query = file.annotation(clipUid, annotationUid)?.queries[queryIndex];
  if (query !== undefined) return query;
  throw new EgolensError(
    'data.unknown_id',
    `record ${index + 1}: query ${queryIndex} of annotation \`${annotationUid}\` of clip \`${clipUid}\` is not in \`${file.name}\``,
    { try: 'give the annotation file of the split that was predicted' },
  );
}

function entryOf(query: Query, windows: AnswerEntry['predicted_times']): AnswerEntry {
  return {
    clip_uid: query.clipUid,
    annotation_uid: query.annotationUid,
    query_idx: query.index,
    predicted_times: windows,
  };
}

/** The submission of Natural Language Queries: five windows a query; a query without records is left out, or filled with five equal parts of its clip. */
export function answerSubmission(
  records: readonly JsonObject[],
  test: JsonDocument,
  options: SubmissionOptions,
): Submission {
  assertRecords(records, schema);
  const file = readQueries([test]);
  const { entries, outside } = answerEntries(records, file);
  const answered = new Map(
    entries.map((entry) => [file.annotation(entry.clip_uid, entry.annotation_uid)!.queries[entry.query_idx], entry]),
  );
  let [filled, missing, cut] = [0, 0, 0];
  const results = file.queries.flatMap((query) => {
    let entry = answered.get(query);
    if (entry === undefined) {
      if (!options.fillMissing) {
        missing++;
        return [];
      }
      filled++;
      entry = entryOf(query, equalParts(file.durations[query.clip] ?? windowsPerQuery));
    }
    cut += Math.max(0, entry.predicted_times.length - windowsPerQuery);
    const windows = entry.predicted_times.slice(0, windowsPerQuery);
    return [{ ...entry, predicted_times: windows.map((window) => window.map(float)) }];
  });
  const notes: string[] = [];
  if (filled > 0)
    notes.push(`${filled} of ${file.queries.length} queries had no answer: filled with five equal parts of their clip`);
  if (missing > 0)
    notes.push(
      `${missing} of ${file.queries.length} queries have no answer and were left out: \`--fill-missing\` fills them`,
    );
  if (cut > 0) notes.push(`${cut} windows past the first ${windowsPerQuery} of their query were left out`);
  if (outside > 0) notes.push(`${outside} windows outside their clip were left out`);
  return {
    json: { version: '1.0', challenge: 'ego4d_nlq_challenge', results },
    counts: { queries: file.queries.length, written: results.length, filled, missing, cut, outside },
    notes,
  };
}

function equalParts(duration: number): [number, number][] {
  const part = duration / windowsPerQuery;
  return Array.from({ length: windowsPerQuery }, (_, i) => [i * part, (i + 1) * part]);
}
