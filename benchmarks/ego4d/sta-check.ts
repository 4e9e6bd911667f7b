/** Faults of the files of Short-Term Anticipation (ego4d.md 3.5, 5). Numbers are read with their literals: an integer is a bigint. */
import { findingList, type FindingList } from '../../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import {
  below,
  expectConstant,
  expectCorners,
  expectInteger,
  expectList,
  expectNumber,
  expectObject,
  expectShare,
  expectText,
  wrongType,
  type Picture,
  type Place,
} from './box-checks.js';
import { isNumber } from './box-reading.js';
import { asWritten, checkFinite, checkIds, pointer, shown, tiedScores, warnTied } from './checks.js';

/** What `challenge` says in a submission. */
export const staChallengeName = 'ego4d_short_term_object_interaction_anticipation';
/** What `version` says in a submission. */
export const staVersion = '1.0';

const guessFields = ['box', 'noun_category_id', 'verb_category_id', 'time_to_contact', 'score'];
const objectFields = ['box', 'verb_category_id', 'noun_category_id', 'time_to_contact'];

const submissionForm =
  'a submission is {version, challenge, results: {uid: [{box, noun_category_id, verb_category_id, time_to_contact, score}]}}';

/** What the annotations say about predictions. */
interface Reference {
  readonly uids: ReadonlySet<string>;
  readonly pictureOf: ReadonlyMap<string, Picture>;
  readonly nouns: ReadonlySet<number>;
  readonly verbs: ReadonlySet<number>;
}

/** Every fault of annotations, or of predictions and submissions, which have the same form. */
export function checkSta(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  list.add(document.findings);
  if (kind === 'annotations') checkAnnotations(list, document.value);
  else checkResults(list, document.value, against === undefined ? undefined : referenceOf(against.value));
  return list.all();
}

function checkAnnotations(list: FindingList, value: unknown): void {
  const root: Place = () => '';
  if (!expectObject(list, value, root, ['annotations', 'noun_categories', 'verb_categories'])) return;
  const { nouns, verbs, pictureOf } = referenceOf(value);
  for (const field of ['noun_categories', 'verb_categories']) checkCategories(list, value[field], field);
  const annotations = value['annotations'];
  if (annotations === undefined || !expectList(list, annotations, below(root, 'annotations'))) return;
  // A test file has no objects at all; in any other, an image without them ends the official script.
  const isTest = !annotations.some((annotation) => isObject(annotation) && 'objects' in annotation);
  const uids: string[] = [];
  const uidAt: number[] = [];
  annotations.forEach((annotation, i) => {
    const at = below(root, 'annotations', i);
    if (!expectObject(list, annotation, at, ['uid', 'video_id', 'frame', ...(isTest ? [] : ['objects'])])) return;
    const { uid, frame, objects } = annotation;
    if (uid !== undefined && expectText(list, uid, below(at, 'uid'))) {
      uids.push(uid);
      uidAt.push(i);
    }
    if (frame !== undefined) expectInteger(list, frame, below(at, 'frame'));
    if (objects === undefined || !expectList(list, objects, below(at, 'objects'))) return;
    if (objects.length === 0) {
      list.error('list.empty', () => ({
        at: below(at, 'objects')(),
        expected: 'at least one object',
        found: 'an empty list',
        hint: 'the official evaluator ends at an image without truth: leave the image out',
      }));
    }
    const picture = typeof uid === 'string' ? pictureOf.get(uid) : undefined;
    objects.forEach((object, k) => {
      const place = below(at, 'objects', k);
      if (!expectObject(list, object, place, objectFields)) return;
      if ('box' in object) expectCorners(list, object['box'], below(place, 'box'), picture);
      checkCategory(list, object['noun_category_id'], below(place, 'noun_category_id'), nouns, 'noun');
      checkCategory(list, object['verb_category_id'], below(place, 'verb_category_id'), verbs, 'verb');
      const time = object['time_to_contact'];
      if (time !== undefined && expectNumber(list, time, below(place, 'time_to_contact'))) {
        warnPast(list, Number(time), below(place, 'time_to_contact'));
      }
    });
  });
  checkIds(list, new Set(uids), uids, (i) => pointer('annotations', uidAt[i]!, 'uid'), {
    what: 'uid',
    within: '/annotations',
  });
}

function checkCategories(list: FindingList, value: unknown, field: string): void {
  if (value === undefined || !expectList(list, value, () => pointer(field))) return;
  const ids: string[] = [];
  value.forEach((category, i) => {
    const at: Place = () => pointer(field, i);
    if (!expectObject(list, category, at, ['id', 'name'])) return;
    if ('name' in category) expectText(list, category['name'], below(at, 'name'));
    if ('id' in category && expectInteger(list, category['id'], below(at, 'id'))) ids.push(String(category['id']));
  });
  checkIds(list, new Set(ids), ids, (i) => pointer(field, i, 'id'), { what: 'category id', within: pointer(field) });
}

function checkResults(list: FindingList, value: unknown, reference: Reference | undefined): void {
  const root: Place = () => '';
  if (!expectObject(list, value, root, ['version', 'challenge', 'results'], [], submissionForm)) return;
  expectConstant(list, value['version'], below(root, 'version'), staVersion);
  expectConstant(list, value['challenge'], below(root, 'challenge'), staChallengeName);
  const results = value['results'];
  if (results === undefined) return;
  if (!isObject(results)) {
    wrongType(list, results, below(root, 'results'), 'an object of lists by uid');
    return;
  }
  const uids = Object.keys(results);
  const scores: number[] = [];
  for (const uid of uids) {
    const guesses = results[uid];
    const at: Place = () => pointer('results', uid);
    if (!expectList(list, guesses, at)) continue;
    const picture = reference?.pictureOf.get(uid);
    guesses.forEach((guess, k) => checkGuess(list, guess, below(at, k), picture, reference, scores));
  }
  if (uids.length > 0 && scores.length === 0 && list.errors === 0) {
    list.error('list.empty', () => ({
      at: '/results',
      expected: 'at least one prediction',
      found: 'empty lists only',
      hint: 'the official evaluator ends where nothing is predicted at all',
    }));
  }
  warnTied(list, tiedScores(scores), scores.length, '/results');
  if (reference !== undefined) {
    checkIds(list, reference.uids, uids, (i) => pointer('results', uids[i]!), {
      what: 'uid',
      within: '/results',
      unknown: 'warning', // the official evaluator ignores them
      hint: 'every uid of the annotations needs a list, `[]` where nothing is predicted; others are ignored',
    });
  }
}

function checkGuess(
  list: FindingList,
  guess: unknown,
  at: Place,
  picture: Picture | undefined,
  reference: Reference | undefined,
  scores: number[],
): void {
  if (!expectObject(list, guess, at, guessFields, [])) return;
  // The official validator lets an inverted box pass; its evaluator gives it no area.
  if ('box' in guess) expectCorners(list, guess['box'], below(at, 'box'), picture, 'warning');
  for (const [field, known, what] of [
    ['noun_category_id', reference?.nouns, 'noun'],
    ['verb_category_id', reference?.verbs, 'verb'],
  ] as const) {
    if (field in guess) checkCategoryLiteral(list, guess, field, at, known, what);
  }
  for (const field of ['time_to_contact', 'score'] as const) {
    if (!(field in guess)) continue;
    const number = guess[field];
    if (typeof number !== 'number') {
      list.error('number.literal', () => ({
        at: below(at, field)(),
        expected: 'a float: digits with a decimal point or exponent',
        found: shown(number),
        hint:
          typeof number === 'bigint'
            ? 'write `1.0`, not `1`: the official check refuses integers here'
            : 'write a number, without quotes',
      }));
      if (field === 'score' && typeof number === 'bigint') scores.push(Number(number));
      continue;
    }
    if (!checkFinite(list, number, below(at, field))) continue;
    if (field === 'score') {
      scores.push(number);
      expectShare(list, number, below(at, field));
    } else {
      warnPast(list, number, below(at, field));
    }
  }
}

function checkCategoryLiteral(
  list: FindingList,
  guess: JsonObject,
  field: string,
  at: Place,
  known: ReadonlySet<number> | undefined,
  what: string,
): void {
  const id = guess[field];
  if (typeof id === 'boolean') {
    list.warning('number.literal', () => ({
      at: below(at, field)(),
      expected: 'an integer',
      found: shown(id),
      hint: `the official check takes it for ${id ? 1 : 0}`,
    }));
    return;
  }
  if (typeof id !== 'bigint') {
    list.error('number.literal', () => ({
      at: below(at, field)(),
      expected: 'an integer: digits without a decimal point',
      found: shown(asWritten(id)),
      hint: typeof id === 'number' ? 'write `3`, not `3.0`' : 'write the id of the category, without quotes',
    }));
    return;
  }
  checkCategory(list, id, below(at, field), known, what);
}

function checkCategory(
  list: FindingList,
  id: unknown,
  at: Place,
  known: ReadonlySet<number> | undefined,
  what: string,
): void {
  if (id === undefined || !expectInteger(list, id, at)) return;
  if (known === undefined || known.size === 0 || known.has(Number(id))) return;
  list.error('category.unknown', () => ({
    at: at(),
    expected: `the id of a ${what} category of the annotations`,
    found: shown(id),
    hint: 'the lists differ between versions 1 and 2 of the data set',
  }));
}

function warnPast(list: FindingList, time: number, at: Place): void {
  if (time >= 0) return;
  list.warning('time.negative', () => ({
    at: at(),
    expected: 'seconds from the frame on, at least 0',
    found: shown(time),
  }));
}

function referenceOf(value: unknown): Reference {
  const uids = new Set<string>();
  const pictureOf = new Map<string, Picture>();
  const annotations = isObject(value) ? value['annotations'] : undefined;
  const info = isObject(value) ? value['info'] : undefined;
  const videos = isObject(info) ? info['video_metadata'] : undefined;
  for (const annotation of Array.isArray(annotations) ? (annotations as unknown[]) : []) {
    const uid = isObject(annotation) ? annotation['uid'] : undefined;
    if (typeof uid !== 'string') continue;
    uids.add(uid);
    const video = isObject(annotation) ? annotation['video_id'] : undefined;
    const metadata = isObject(videos) && typeof video === 'string' ? videos[video] : undefined;
    if (!isObject(metadata)) continue;
    const [width, height] = [metadata['frame_width'], metadata['frame_height']];
    if (isNumber(width) && isNumber(height)) pictureOf.set(uid, { width: Number(width), height: Number(height) });
  }
  return { uids, pictureOf, nouns: idsOf(value, 'noun_categories'), verbs: idsOf(value, 'verb_categories') };
}

function idsOf(value: unknown, field: string): Set<number> {
  const list = isObject(value) ? value[field] : undefined;
  const ids = new Set<number>();
  for (const category of Array.isArray(list) ? (list as unknown[]) : []) {
    if (isObject(category) && isNumber(category['id'])) ids.add(Number(category['id']));
  }
  return ids;
}
