/** Faults of the files of Natural Language Queries (ego4d.md 3.2, 5). */
import { findingList, type FindingList } from '../../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import { areRecords } from '../records.js';
import { checkTimes, eachObject, expectSegment } from '../span-checks.js';
import {
  below,
  expectConstant,
  expectInteger,
  expectList,
  expectObject,
  expectText,
  wrongType,
  type Place,
} from './box-checks.js';
import { checkIds, pointer, shown } from './checks.js';
import { readReference } from './by-id.js';
import { windowsPerQuery } from './nlq-submission.js';
import { readQueries, type QueryFile } from './queries.js';
import { describeFile, kindOf } from './videos-file.js';

const challengeName = 'ego4d_nlq_challenge';

/** Every fault of annotations, or of predictions and submissions, which have the same form. */
export function checkQueries(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  if (kind === 'annotations') checkAnnotations(list, document);
  else
    checkResults(
      list,
      kind,
      document,
      against === undefined ? undefined : readReference(list, against, () => readQueries([against])),
    );
  return list.all();
}

function checkResults(
  list: FindingList,
  kind: DocumentKind,
  document: JsonDocument,
  reference: QueryFile | undefined,
): void {
  const { value } = document;
  const root: Place = () => '';
  if (kind === 'predictions' && areRecords(value, 'egolens.answer/1')) return; // our own, held to their schema elsewhere
  const form =
    'a submission is {version, challenge, results: [{clip_uid, annotation_uid, query_idx, predicted_times}]}';
  if (!expectObject(list, value, root, ['version', 'challenge', 'results'], [], form)) return;
  expectConstant(list, value['version'], () => '/version', '1.0');
  expectConstant(list, value['challenge'], () => '/challenge', challengeName);
  const results = value['results'];
  if (results === undefined || !expectList(list, results, () => '/results')) return;
  const names: string[] = [];
  const places: number[] = [];
  results.forEach((entry, i) => {
    const name = checkEntry(list, entry, () => pointer('results', i), reference);
    if (name === undefined) return;
    names.push(name);
    places.push(i);
  });
  const asked = reference === undefined ? new Set(names) : new Set(reference.queries.map((query) => query.name));
  checkIds(list, asked, names, (i) => pointer('results', places[i]!), {
    what: 'query (`clip_uid`/`annotation_uid`/`query_idx`)',
    within: '/results',
    missing: kind === 'submission' ? 'error' : 'warning',
    unknown: reference === undefined ? false : 'error',
    hint: 'every query of the file needs one entry; the local evaluator scores those that are there only',
  });
}

/** One entry; returns the name of its query, made of its ids as they stand. */
function checkEntry(
  list: FindingList,
  entry: unknown,
  at: Place,
  reference: QueryFile | undefined,
): string | undefined {
  const needed = ['clip_uid', 'annotation_uid', 'query_idx', 'predicted_times'];
  if (!expectObject(list, entry, at, needed, [])) return undefined;
  const { clip_uid: clip, annotation_uid: annotation, query_idx: index } = entry;
  const known =
    typeof clip === 'string' && typeof annotation === 'string' ? reference?.annotation(clip, annotation) : undefined;
  checkWindows(
    list,
    entry['predicted_times'],
    below(at, 'predicted_times'),
    known === undefined ? undefined : reference?.durations[known.clip],
  );
  const isClip = clip !== undefined && expectText(list, clip, below(at, 'clip_uid'));
  const isAnnotation = annotation !== undefined && expectText(list, annotation, below(at, 'annotation_uid'));
  const isIndex = index !== undefined && expectInteger(list, index, below(at, 'query_idx'));
  if (!isClip || !isAnnotation || !isIndex) return undefined;
  if (Number(index) < 0) {
    list.error('index.range', () => ({
      at: below(at, 'query_idx')(),
      expected: 'a whole number of at least 0',
      found: shown(index),
      hint: 'the evaluator counts negative ones from the end: -1 is the last query of its annotation',
    }));
    return undefined;
  }
  if (known !== undefined && Number(index) >= known.queries.length) {
    list.error('index.range', () => ({
      at: below(at, 'query_idx')(),
      expected: `a whole number below ${known.queries.length}`,
      found: shown(index),
      hint: '`query_idx` counts all queries of its annotation, from 0, those without text too',
    }));
    return undefined;
  }
  return `${clip}/${annotation}/${String(index)}`;
}

function checkWindows(list: FindingList, value: unknown, at: Place, duration: number | undefined): void {
  if (value === undefined || !expectList(list, value, at)) return;
  if (value.length === 0) {
    list.error('list.empty', () => ({
      at: at(),
      expected: 'at least one window',
      found: 'none',
      hint: 'the evaluator stops at an empty list',
    }));
  }
  const seen = new Set<string>();
  value.forEach((window, w) => {
    const place = below(at, w);
    if (!expectSegment(list, window, place, duration)) return;
    const key = String(window);
    if (seen.has(key)) {
      list.warning('item.repeated', () => ({ at: place(), expected: 'each window once', found: 'an equal one again' }));
    }
    seen.add(key);
  });
  if (value.length > windowsPerQuery) {
    list.warning('list.too_long', () => ({
      at: at(),
      expected: `at most ${windowsPerQuery} windows`,
      found: String(value.length),
      hint: 'the challenge looks at the first five',
    }));
  }
}

function checkAnnotations(list: FindingList, document: JsonDocument): void {
  const { value } = document;
  if (kindOf(value) === 'info') return; // beside the annotations; nothing of it is scored
  const root: Place = () => '';
  if (!isObject(value)) {
    wrongType(list, value, root, 'an object with `videos`', `this is ${describeFile(document)}`);
    return;
  }
  expectObject(list, value, root, ['version', 'videos']);
  // A test file has no times at all; in any other, a query without them ends the official evaluator.
  const isTest = !hasTimes(value);
  const seen = new Map<string, string>();
  eachObject(list, value['videos'], below(root, 'videos'), ['video_uid', 'clips'], (video, at) => {
    if (video['video_uid'] !== undefined) expectText(list, video['video_uid'], below(at, 'video_uid'));
    eachObject(list, video['clips'], below(at, 'clips'), ['clip_uid', 'annotations'], (clip, clipAt) => {
      if (clip['clip_uid'] !== undefined) expectText(list, clip['clip_uid'], below(clipAt, 'clip_uid'));
      checkTimes(list, clip, clipAt, 'video_start_sec', 'video_end_sec');
      const duration = checkTimes(list, clip, clipAt, 'clip_start_sec', 'clip_end_sec');
      const needed = ['annotation_uid', 'language_queries'];
      eachObject(list, clip['annotations'], below(clipAt, 'annotations'), needed, (annotation, place) => {
        checkRepeated(list, clip, annotation, place, seen);
        const asked = isTest ? [] : ['clip_start_sec', 'clip_end_sec'];
        eachObject(list, annotation['language_queries'], below(place, 'language_queries'), asked, (query, queryAt) => {
          checkQuery(list, query, queryAt, duration);
        });
      });
    });
  });
}

function hasTimes(value: JsonObject): boolean {
  const objects = (items: unknown): JsonObject[] =>
    Array.isArray(items) ? (items as readonly unknown[]).filter(isObject) : [];
  return objects(value['videos'])
    .flatMap((video) => objects(video['clips']))
    .flatMap((clip) => objects(clip['annotations']))
    .some((annotation) => objects(annotation['language_queries']).some((query) => 'clip_start_sec' in query));
}

function checkRepeated(
  list: FindingList,
  clip: JsonObject,
  annotation: JsonObject,
  at: Place,
  seen: Map<string, string>,
): void {
  const uid = annotation['annotation_uid'];
  if (uid === undefined || !expectText(list, uid, below(at, 'annotation_uid'))) return;
  const key = JSON.stringify([clip['clip_uid'], uid]);
  const before = seen.get(key);
  if (before === undefined) {
    seen.set(key, at());
    return;
  }
  list.error('ids.repeated', () => ({
    at: below(at, 'annotation_uid')(),
    expected: 'each annotation of a clip once',
    found: `\`${uid}\` again, before at ${before}`,
    hint: 'the evaluator sees the later one only',
  }));
}

function checkQuery(list: FindingList, query: JsonObject, at: Place, duration: number | undefined): void {
  const text = query['query'];
  if (typeof text !== 'string' || text.trim() === '') {
    list.warning('query.no_text', () => ({
      at: below(at, 'query')(),
      expected: 'the text of the query',
      found: shown(text),
      hint: 'it keeps its place in the count of `query_idx`, and an entry for it is scored',
    }));
  }
  if (checkTimes(list, query, at, 'clip_start_sec', 'clip_end_sec') === undefined) return;
  const [start, end] = [Number(query['clip_start_sec']), Number(query['clip_end_sec'])];
  if (duration === undefined || (start >= -0.1 && end <= duration + 0.1)) return;
  list.warning('segment.outside', () => ({
    at: at(),
    expected: `times from 0 to ${duration}`,
    found: `\`[${start}, ${end}]\``,
  }));
}
