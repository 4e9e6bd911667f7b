/**
 * Ranked answers by key, which recognition (labels of a video) and retrieval (videos of a query) share: how files hold them, where
 * the wanted one stands, and what can be wrong with them.
 */
import { findingList, type FindingList } from '../src/findings.js';
import { fallingOrder, tiedCount } from '../src/metrics/order.js';
import type { DocumentKind, Finding, JsonDocument, TieRule } from '../src/types.js';
import { checkFinite, checkIds, pointer, shown } from './ego4d/checks.js';
import { castFiles, needed } from './ego4d/by-id.js';
import { fault, isObject, numberAt, type JsonObject } from './reading.js';

type Name = string | number;

/** Words of a task: what its files call the key and the answer. */
export interface ListForm {
  /** For messages: `video`, `query`. */
  readonly keyWord: string;
  readonly nameWord: string;
  /** Members that may hold the key, the first one that is there. */
  readonly keys: readonly string[];
  /** Members that may hold the answer; all that are there name the same one. */
  readonly names: readonly string[];
}

/** Answers of one key in file order. */
export interface RankedList {
  /** Each with all its names. */
  readonly names: (readonly Name[])[];
  /** One for each, or none at all: then the list is best first. */
  readonly scores: number[];
}

/** The one file of a side, whatever it holds. */
export function onlyFile(documents: readonly JsonDocument[], what: string): JsonDocument {
  const role = { what, is: () => true };
  return needed(castFiles(documents, { role }).role, role);
}

/**
 * Predictions: `[{key, name, score}]` (our records), `{key: [{name, score}]}`, or `{key: [names, best first]}`.
 *
 * @throws EgolensError data.invalid for anything else
 */
export function readRankedLists(document: JsonDocument, form: ListForm): Map<string, RankedList> {
  const lists = new Map<string, RankedList>();
  visitEntries(document, form, (key, answer, at) => {
    let list = lists.get(key);
    if (list === undefined) lists.set(key, (list = { names: [], scores: [] }));
    if (answer === undefined) return;
    const names = namesOf(answer, form);
    if (names.length === 0) throw fault(document, at(), `a ${form.nameWord}`, answer, expectation(form));
    const score = isObject(answer) ? answer['score'] : undefined;
    if (score !== undefined) list.scores.push(numberAt(document, score, () => `${at()}/score`, 'write a plain number'));
    list.names.push(names);
    if (list.scores.length !== 0 && list.scores.length !== list.names.length) {
      throw fault(document, at(), 'a score for every answer of a list, or for none', answer, expectation(form));
    }
  });
  return lists;
}

/** Truth in the same forms, scores not looked at: by key the names of what is right. */
export function readWanted(document: JsonDocument, form: ListForm): Map<string, Set<Name>> {
  const wanted = new Map<string, Set<Name>>();
  visitEntries(document, form, (key, answer, at) => {
    const names = namesOf(answer, form);
    if (names.length === 0) throw fault(document, at(), `a ${form.nameWord}`, answer, expectation(form));
    // Of several names of one answer the first tells it: a label, and its number only where there is none.
    const set = wanted.get(key);
    if (set === undefined) wanted.set(key, new Set([names[0]!]));
    else set.add(names[0]!);
  });
  return wanted;
}

/** Place, from 1, of the first wanted answer among the different answers of the list; Infinity where it is not there. */
export function rankOf(list: RankedList | undefined, wanted: ReadonlySet<Name>, ties: TieRule): number {
  if (list === undefined) return Infinity;
  const seen = new Set<Name>();
  const order = list.scores.length === 0 ? list.names.keys() : fallingOrder(Float64Array.from(list.scores), ties);
  for (const i of order) {
    const names = list.names[i]!;
    if (names.some((name) => wanted.has(name))) return seen.size + 1;
    seen.add(names[0]!);
  }
  return Infinity;
}

/** Scores that are equal to another one of their list. */
export function tiedAnswers(lists: Iterable<RankedList>): number {
  let tied = 0;
  for (const { scores } of lists) if (scores.length > 1) tied += tiedCount(Float64Array.from(scores));
  return tied;
}

/** Ranks of every key under each tie rule, computed when they are asked for. */
export function ranker(
  wanted: ReadonlyMap<string, ReadonlySet<Name>>,
  lists: ReadonlyMap<string, RankedList>,
): (ties: TieRule) => Float64Array {
  const known = new Map<TieRule, Float64Array>();
  return (ties) => {
    let ranks = known.get(ties);
    if (ranks === undefined) {
      ranks = Float64Array.from(wanted, ([key, names]) => rankOf(lists.get(key), names, ties));
      known.set(ties, ranks);
    }
    return ranks;
  };
}

/** Keys without an answer, and answers without a key, for people. */
export function coverageNotes(
  wanted: ReadonlyMap<string, unknown>,
  lists: ReadonlyMap<string, unknown>,
  { keyWord }: ListForm,
): string[] {
  const missing = [...wanted.keys()].filter((key) => !lists.has(key)).length;
  const surplus = [...lists.keys()].filter((key) => !wanted.has(key)).length;
  const notes: string[] = [];
  if (missing > 0) notes.push(`${missing} of ${wanted.size} have no prediction and count as misses (${keyWord})`);
  if (surplus > 0) notes.push(`${surplus} of the predictions are not in the truth and are ignored (${keyWord})`);
  return notes;
}

/** Every fault of a file of truth or predictions. */
export function checkRankedLists(
  kind: DocumentKind,
  document: JsonDocument,
  against: JsonDocument | undefined,
  form: ListForm,
): Finding[] {
  const list = findingList(document);
  list.add(document.findings);
  const { value } = document;
  if (!Array.isArray(value) && !isObject(value)) {
    list.error('file.form', () => ({ at: '', expected: expectation(form), found: shown(value) }));
    return list.all();
  }
  const [keys, places] = checkEntries(list, value, form);
  if (keys.length === 0) {
    list.error('file.empty', () => ({ at: '', expected: `at least one ${form.keyWord}`, found: 'none' }));
  }
  if (against === undefined || kind === 'annotations') return list.all();
  const asked = new Set<string>();
  checkEntries(findingList(undefined, 0), against.value, form)[0].forEach((key) => asked.add(key));
  checkIds(list, asked, keys, (i) => places[i]!, {
    what: form.keyWord,
    within: '',
    missing: 'warning',
    repeated: false,
  });
  return list.all();
}

function checkEntries(list: FindingList, value: unknown, form: ListForm): [keys: string[], places: string[]] {
  const keys: string[] = [];
  const places: string[] = [];
  const checkAnswer = (answer: unknown, at: string): void => {
    if (namesOf(answer, form).length === 0) {
      list.error('field.missing', () => ({ at, expected: `a ${form.nameWord}`, found: shown(answer) }));
    } else if (isObject(answer) && 'score' in answer) {
      checkFinite(list, answer['score'], () => `${at}/score`);
    }
  };
  if (Array.isArray(value)) {
    (value as readonly unknown[]).forEach((entry, i) => {
      const key = isObject(entry) ? keyOf(entry, form) : undefined;
      if (key === undefined) {
        list.error('field.missing', () => ({ at: pointer(i), expected: `a ${form.keyWord}`, found: shown(entry) }));
        return;
      }
      keys.push(key);
      places.push(pointer(i));
      checkAnswer(entry, pointer(i));
    });
  } else if (isObject(value)) {
    for (const [key, answers] of Object.entries(value)) {
      keys.push(key);
      places.push(pointer(key));
      if (Array.isArray(answers)) answers.forEach((answer: unknown, i) => checkAnswer(answer, pointer(key, i)));
      else checkAnswer(answers, pointer(key));
    }
  }
  return [keys, places];
}

/** Calls `entry` for every answer; for a key whose list is empty once, without one. */
function visitEntries(
  document: JsonDocument,
  form: ListForm,
  entry: (key: string, answer: unknown, at: () => string) => void,
): void {
  const { value } = document;
  if (Array.isArray(value)) {
    (value as readonly unknown[]).forEach((item, i) => {
      const key = isObject(item) ? keyOf(item, form) : undefined;
      if (key === undefined) throw fault(document, pointer(i), `a ${form.keyWord}`, item, expectation(form));
      entry(key, item, () => pointer(i));
    });
  } else if (isObject(value)) {
    for (const [key, answers] of Object.entries(value)) {
      if (!Array.isArray(answers)) entry(key, answers, () => pointer(key));
      else if (answers.length === 0) entry(key, undefined, () => pointer(key));
      else answers.forEach((answer: unknown, i) => entry(key, answer, () => pointer(key, i)));
    }
  } else throw fault(document, '', expectation(form), value, 'give a file of this task');
}

function keyOf(item: JsonObject, { keys }: ListForm): string | undefined {
  const key = keys.map((field) => item[field]).find((value) => value !== undefined && value !== null);
  return typeof key === 'string' || typeof key === 'number' ? String(key) : undefined;
}

function namesOf(answer: unknown, { names }: ListForm): Name[] {
  const values: unknown[] = isObject(answer) ? names.map((field) => answer[field]) : [answer];
  return values.filter((value): value is Name => typeof value === 'string' || typeof value === 'number');
}

function expectation({ keyWord, nameWord, keys, names }: ListForm): string {
  return `a list of {${keys[0] ?? ''}, ${names[0] ?? ''}, score}, or an object with a list of ${nameWord}s by ${keyWord}`;
}
