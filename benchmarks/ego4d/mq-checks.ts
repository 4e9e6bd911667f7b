/** Faults of the files of Moment Queries (ego4d.md 3.1, 5). */
import { findingList, type FindingList } from '../../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { entriesOf, isObject, type JsonObject } from '../reading.js';
import { areRecords } from '../records.js';
import {
  addScores,
  checkSpanList,
  checkTimes,
  eachObject,
  warnTiedLabels,
  type SpanReference,
} from '../span-checks.js';
import { below, expectConstant, expectObject, expectText, wrongType, type Place } from './box-checks.js';
import { checkIds, pointer } from './checks.js';
import { readReference } from './by-id.js';
import { momentClips } from './moments.js';
import { itemsPerClip } from './mq-submission.js';
import { describeFile, kindOf } from './videos-file.js';

const challengeName = 'ego4d_moment_queries';
const clipFields = ['clip_uid', 'video_start_sec', 'video_end_sec'];

/** What the annotations say about predictions. */
interface Reference {
  readonly clips: ReadonlyMap<string, SpanReference>;
  /** Undefined where the file holds no labels, as the one for testing. */
  readonly labels?: ReadonlySet<string>;
}

/** Every fault of annotations, of the local evaluator's files, and of submissions. */
export function checkMoments(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  if (kind === 'annotations') checkAnnotations(list, document);
  else checkPredictions(list, kind, document, against === undefined ? undefined : referenceOf(list, against));
  return list.all();
}

function referenceOf(list: FindingList, against: JsonDocument): Reference | undefined {
  return readReference(list, against, () => {
    const clips = momentClips([against], 'all');
    const labels = new Set(clips.flatMap(({ moments }) => moments.map(({ label }) => label)));
    return {
      clips: new Map(
        clips.map(({ key, parent }) => [key, { duration: parent === undefined ? undefined : parent[1] - parent[0] }]),
      ),
      ...(labels.size === 0 ? {} : { labels }),
    };
  });
}

function checkPredictions(
  list: FindingList,
  kind: DocumentKind,
  document: JsonDocument,
  reference: Reference | undefined,
): void {
  const { value } = document;
  const root: Place = () => '';
  if (kind === 'predictions' && areRecords(value, 'egolens.moment/1')) return; // our own, held to their schema elsewhere
  if (kind === 'predictions' && isObject(value) && 'results' in value) {
    if (!expectObject(list, value, root, ['version', 'results', 'external_data'], [])) return;
    checkLists(list, document, value['results'], 'results', reference, { isOrdered: false, isComplete: false });
    return;
  }
  if (!isObject(value)) {
    wrongType(
      list,
      value,
      root,
      'an object',
      'a submission is {version, challenge, detect_results: {clip_uid: […]}, retrieve_results: {clip_uid: […]}}',
    );
    return;
  }
  const parts = ['detect_results', 'retrieve_results'];
  expectObject(list, value, root, ['version', 'challenge', ...parts], []);
  expectConstant(list, value['version'], () => '/version', '1.0');
  expectConstant(list, value['challenge'], () => '/challenge', challengeName);
  for (const part of parts) {
    if (value[part] === undefined) continue;
    checkLists(list, document, value[part], part, reference, {
      isOrdered: part === 'retrieve_results',
      isComplete: true,
    });
  }
}

function checkLists(
  list: FindingList,
  document: JsonDocument,
  results: unknown,
  part: string,
  reference: Reference | undefined,
  rules: { readonly isOrdered: boolean; readonly isComplete: boolean },
): void {
  const at: Place = () => pointer(part);
  if (!isObject(results)) {
    wrongType(list, results, at, 'an object with a list for each clip');
    return;
  }
  const entries = entriesOf(document, results);
  if (reference !== undefined) {
    const names = entries.map(([clip]) => clip);
    checkIds(list, new Set(reference.clips.keys()), names, (i) => pointer(part, names[i]!), {
      what: 'clip_uid',
      within: at(),
      missing: rules.isComplete ? 'error' : 'warning',
      hint: 'every clip needs an entry: write `[]` where nothing is predicted; ids must be of this split',
    });
  }
  const scores = new Map<string, number[]>();
  for (const [clip, items] of entries) {
    const found = checkSpanList(list, items, below(at, clip), reference?.clips.get(clip), {
      ...(reference?.labels === undefined ? {} : { labels: reference.labels }),
      isOrdered: rules.isOrdered,
      limit: itemsPerClip,
    });
    addScores(scores, found);
  }
  if (!rules.isOrdered) warnTiedLabels(list, scores, at());
}

function checkAnnotations(list: FindingList, document: JsonDocument): void {
  const kind = kindOf(document.value);
  if (kind === 'info') return; // beside the annotations; nothing of it is scored
  if (kind === 'working') {
    checkWorkingFile(list, document);
    return;
  }
  const root: Place = () => '';
  const { value } = document;
  if (!isObject(value)) {
    wrongType(list, value, root, 'an object with `videos`', `this is ${describeFile(document)}`);
    return;
  }
  expectObject(list, value, root, ['version', 'videos']);
  const clips = new Map<string, string>();
  eachObject(list, value['videos'], below(root, 'videos'), ['video_uid', 'split', 'clips'], (video, at) => {
    if (video['video_uid'] !== undefined) expectText(list, video['video_uid'], below(at, 'video_uid'));
    if (video['split'] !== undefined) expectText(list, video['split'], below(at, 'split'));
    const needed = video['split'] === 'test' ? clipFields : [...clipFields, 'annotations'];
    eachObject(list, video['clips'], below(at, 'clips'), needed, (clip, place) => {
      checkClip(list, clip, place, clips);
    });
  });
}

function checkClip(list: FindingList, clip: JsonObject, at: Place, seen: Map<string, string>): void {
  const uid = clip['clip_uid'];
  if (uid !== undefined && expectText(list, uid, below(at, 'clip_uid'))) {
    const before = seen.get(uid);
    if (before !== undefined) {
      list.error('ids.repeated', () => ({
        at: below(at, 'clip_uid')(),
        expected: 'each clip once',
        found: `\`${uid}\` again, before at ${before}`,
        hint: 'the official converter joins the labels of both',
      }));
    } else seen.set(uid, at());
  }
  const duration = checkTimes(list, clip, at, 'video_start_sec', 'video_end_sec');
  if (clip['annotations'] === undefined) return;
  const labels = new Set<string>();
  let primary = 0;
  eachObject(list, clip['annotations'], below(at, 'annotations'), ['labels'], (annotator, place) => {
    const needed = ['label', 'start_time', 'end_time', 'primary'];
    eachObject(list, annotator['labels'], below(place, 'labels'), needed, (label, labelAt) => {
      if (label['primary'] === true) primary++;
      else if (label['primary'] !== undefined && label['primary'] !== false) {
        wrongType(list, label['primary'], below(labelAt, 'primary'), 'true or false');
      }
      checkLabel(list, label, labelAt, duration, label['primary'] === true ? labels : undefined);
    });
  });
  if (primary === 0) {
    list.warning('truth.empty', () => ({
      at: below(at, 'annotations')(),
      expected: 'at least one primary label',
      found: 'none',
      hint: 'the official converter drops such a clip',
    }));
  }
}

function checkLabel(
  list: FindingList,
  label: JsonObject,
  at: Place,
  duration: number | undefined,
  seen: Set<string> | undefined,
): void {
  const { label: name, start_time: start, end_time: end } = label;
  if (name !== undefined) expectText(list, name, below(at, 'label'));
  checkTimes(list, label, at, 'start_time', 'end_time');
  if (typeof start === 'number' && typeof end === 'number' && duration !== undefined) {
    if (start < -0.1 || end > duration + 0.1) {
      list.warning('segment.outside', () => ({
        at: at(),
        expected: `times from 0 to ${duration}`,
        found: `\`[${start}, ${end}]\``,
        hint: '`start_time` and `end_time` are seconds of the clip',
      }));
    }
  }
  const key = JSON.stringify([name, start, end]);
  if (seen?.has(key) === true) {
    list.warning('truth.repeated', () => ({
      at: at(),
      expected: 'each label once',
      found: 'an equal one again',
      hint: 'the official evaluator wants two hits; the corrected number merges them',
    }));
  }
  seen?.add(key);
}

function checkWorkingFile(list: FindingList, document: JsonDocument): void {
  if (!isObject(document.value)) return;
  for (const [clip, value] of entriesOf(document, document.value)) {
    const at: Place = () => pointer(clip);
    if (!expectObject(list, value, at, ['clip_id', 'subset', 'annotations'])) continue;
    if (value['clip_id'] !== undefined && expectText(list, value['clip_id'], below(at, 'clip_id'))) {
      expectConstant(list, value['clip_id'], below(at, 'clip_id'), clip);
    }
    if (value['subset'] !== undefined) expectText(list, value['subset'], below(at, 'subset'));
    const duration =
      value['parent_start_sec'] === undefined
        ? undefined
        : checkTimes(list, value, at, 'parent_start_sec', 'parent_end_sec');
    const seen = new Set<string>();
    eachObject(
      list,
      value['annotations'],
      below(at, 'annotations'),
      ['label', 'start_time', 'end_time'],
      (label, place) => {
        checkLabel(list, label, place, duration, seen);
      },
    );
  }
}
