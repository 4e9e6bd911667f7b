/**
 * What `validate --fix` may change by itself: number types that a server insists on, predictions that stand twice word for word,
 * and the order of lists that are read in file order while their scores say otherwise. Everything else is for people.
 */
import { findingList, type FindingList } from '../../src/findings.js';
import type { Finding, JsonDocument, ScoredTask } from '../../src/types.js';
import { pointer } from './checks.js';

/** A mended document, for `jsonPieces(value, { literals: true })`. */
export interface FixedDocument {
  readonly value: unknown;
  /** One warning a change, at the pointer before the change: `fix.number`, `fix.duplicate`, `fix.order`. [] = nothing to do. */
  readonly changes: readonly Finding[];
}

type Items = readonly unknown[];
type JsonObject = Readonly<Record<string, unknown>>;

/** Number types of one prediction, by member. */
interface NumberRules {
  readonly integers?: readonly string[];
  readonly floats?: readonly string[];
}

/**
 * The document with what is safe to mend mended. Parts without a change are those of the document itself.
 *
 * @param document a submission, read with `literals: true`: else integers and floats cannot be told apart
 */
export function fixDocument(task: ScoredTask, document: JsonDocument): FixedDocument {
  const changes = findingList(document);
  const { value } = document;
  const fixed = fixers[task]?.(value, changes) ?? value;
  return { value: fixed, changes: changes.all() };
}

const fixers: Readonly<Partial<Record<ScoredTask, (value: unknown, changes: FindingList) => unknown>>> = {
  mq: (value, changes) => {
    const detections = (items: Items, at: string): Items => withoutRepeats(items, at, changes);
    const kept = inMember(value, 'detect_results', (lists, at) => eachList(lists, at, detections));
    return inMember(kept, 'retrieve_results', (lists, at) =>
      eachList(lists, at, (items, place) =>
        byFallingScore(withoutRepeats(items, place, changes), items, place, changes),
      ),
    );
  },
  nlq: (value, changes) =>
    inMember(value, 'results', (entries, at) =>
      asList(entries, at, (items) =>
        withoutRepeats(
          items.map((entry, index) => {
            const place = `${at}${pointer(index)}`;
            return windowsByScore(withNumbers(entry, place, { integers: ['query_idx'] }, changes), place, changes);
          }),
          at,
          changes,
        ),
      ),
    ),
  vq2d: (value, changes) =>
    inMember(value, 'results', (results, at) =>
      inMember(
        results,
        'videos',
        (videos, videosAt) =>
          eachItem(videos, videosAt, (video, videoAt) =>
            inMember(
              video,
              'clips',
              (clips, clipsAt) =>
                eachItem(clips, clipsAt, (clip, clipAt) =>
                  inMember(
                    clip,
                    'predictions',
                    (predictions, predictionsAt) =>
                      eachItem(predictions, predictionsAt, (prediction, predictionAt) =>
                        inMember(
                          prediction,
                          'query_sets',
                          (sets, setsAt) =>
                            eachMember(sets, setsAt, (set, setAt) =>
                              inMember(
                                set,
                                'bboxes',
                                (boxes, boxesAt) =>
                                  asList(boxes, boxesAt, (items) =>
                                    withoutRepeats(
                                      items.map((box, index) =>
                                        withNumbers(box, `${boxesAt}${pointer(index)}`, { integers: ['fno'] }, changes),
                                      ),
                                      boxesAt,
                                      changes,
                                    ),
                                  ),
                                setAt,
                              ),
                            ),
                          predictionAt,
                        ),
                      ),
                    clipAt,
                  ),
                ),
              videoAt,
            ),
          ),
        at,
      ),
    ),
  sta: (value, changes) => {
    const rules = { integers: ['noun_category_id', 'verb_category_id'], floats: ['time_to_contact', 'score'] };
    return inMember(value, 'results', (lists, at) =>
      eachList(lists, at, (items, place) => fixedItems(items, place, rules, changes)),
    );
  },
  lta: (value, changes) =>
    eachMember(value, '', (item, at) =>
      ['verb', 'noun'].reduce<unknown>(
        (fixed, name) =>
          inMember(
            fixed,
            name,
            (lists, listsAt) =>
              eachItem(lists, listsAt, (list, listAt) =>
                eachItem(list, listAt, (label, labelAt) => asInteger(label, labelAt, changes)),
              ),
            at,
          ),
        item,
      ),
    ),
  scod: (value, changes) =>
    asList(value, '', (items, at) => fixedItems(items, at, { integers: ['image_id', 'category_id'] }, changes)),
  pnr: (value, changes) => asList(value, '', (items, at) => fixedItems(items, at, {}, changes)),
  oscc: (value, changes) => asList(value, '', (items, at) => fixedItems(items, at, {}, changes)),
};

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object with one member changed, the same object where it stays. */
function inMember(value: unknown, name: string, change: (member: unknown, at: string) => unknown, at = ''): unknown {
  if (!isObject(value) || !Object.hasOwn(value, name)) return value;
  const changed = change(value[name], `${at}${pointer(name)}`);
  return changed === value[name] ? value : { ...value, [name]: changed };
}

function eachMember(value: unknown, at: string, change: (member: unknown, at: string) => unknown): unknown {
  if (!isObject(value)) return value;
  let copy: Record<string, unknown> | undefined;
  for (const key of Object.keys(value)) {
    const changed = change(value[key], `${at}${pointer(key)}`);
    if (changed === value[key]) continue;
    copy ??= { ...value };
    Object.defineProperty(copy, key, { value: changed, enumerable: true, configurable: true, writable: true });
  }
  return copy ?? value;
}

function asList(value: unknown, at: string, change: (items: Items, at: string) => Items): unknown {
  return Array.isArray(value) ? change(value, at) : value;
}

function eachItem(value: unknown, at: string, change: (item: unknown, at: string) => unknown): unknown {
  return asList(value, at, (items) => mapped(items, (item, index) => change(item, `${at}${pointer(index)}`)));
}

function eachList(value: unknown, at: string, change: (items: Items, at: string) => Items): unknown {
  return eachMember(value, at, (list, listAt) => asList(list, listAt, change));
}

/** The list itself where no item changes. */
function mapped(items: Items, change: (item: unknown, index: number) => unknown): Items {
  const changed = items.map(change);
  return changed.every((item, index) => item === items[index]) ? items : changed;
}

function fixedItems(items: Items, at: string, rules: NumberRules, changes: FindingList): Items {
  const typed = mapped(items, (item, index) => withNumbers(item, `${at}${pointer(index)}`, rules, changes));
  return withoutRepeats(typed, at, changes);
}

function withNumbers(
  item: unknown,
  at: string,
  { integers = [], floats = [] }: NumberRules,
  changes: FindingList,
): unknown {
  let fixed = item;
  for (const name of integers) fixed = inMember(fixed, name, (number, place) => asInteger(number, place, changes), at);
  for (const name of floats) {
    fixed = inMember(
      fixed,
      name,
      (number, place) => {
        if (typeof number !== 'bigint' || !Number.isSafeInteger(Number(number))) return number;
        changes.warning('fix.number', () => ({
          at: place,
          expected: `\`${number}.0\`, a float`,
          found: `\`${number}\``,
        }));
        return Number(number);
      },
      at,
    );
  }
  return fixed;
}

function asInteger(number: unknown, at: string, changes: FindingList): unknown {
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) return number;
  changes.warning('fix.number', () => ({ at, expected: `\`${number}\`, an integer`, found: `\`${number}.0\`` }));
  return BigInt(number);
}

/** Of items with equal content the first. */
function withoutRepeats(items: Items, at: string, changes: FindingList): Items {
  const seen = new Map<string, number>();
  const kept = items.filter((item, index) => {
    const content = contentText(item);
    const first = seen.get(content);
    if (first === undefined) {
      seen.set(content, index);
      return true;
    }
    changes.warning('fix.duplicate', () => ({
      at: `${at}${pointer(index)}`,
      expected: 'each item once',
      found: `the content of item ${first}`,
    }));
    return false;
  });
  return kept.length === items.length ? items : kept;
}

/** Equal for equal content, whatever the order of keys; 1 and 1.0 differ. */
function contentText(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (Array.isArray(value)) return `[${(value as Items).map(contentText).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${JSON.stringify(key)}:${contentText(value[key])}`).join(',')}}`;
}

function scoreOf(item: unknown): number | undefined {
  const score = isObject(item) ? item['score'] : undefined;
  return typeof score === 'number' && !Number.isNaN(score)
    ? score
    : typeof score === 'bigint'
      ? Number(score)
      : undefined;
}

/** By falling score, equal ones as they stand; untouched unless every item has a score. `original` gives the pointers. */
function byFallingScore(items: Items, original: Items, at: string, changes: FindingList): Items {
  const order = fallingOrder(items.map(scoreOf));
  if (order === undefined) return items;
  const first = order.findIndex((from, to) => from !== to); // there is one
  changes.warning('fix.order', () => ({
    at: `${at}${pointer(original.indexOf(items[order[first]!]))}`,
    expected: 'items by falling score',
    found: 'another order',
  }));
  return order.map((index) => items[index]);
}

/** Which item comes where; undefined where nothing moves or a score is missing. */
function fallingOrder(scores: readonly (number | undefined)[]): number[] | undefined {
  if (scores.includes(undefined)) return undefined;
  const order = scores.map((_, index) => index);
  order.sort((a, b) => scores[b]! - scores[a]! || a - b); // none is undefined
  return order.every((from, to) => from === to) ? undefined : order;
}

/** The windows of an NLQ entry by falling score, where a list `scores` (or `score`) stands beside them. */
function windowsByScore(entry: unknown, at: string, changes: FindingList): unknown {
  if (!isObject(entry)) return entry;
  const windows = entry['predicted_times'];
  const name = ['scores', 'score'].find((key) => Array.isArray(entry[key]));
  if (!Array.isArray(windows) || name === undefined) return entry;
  const scores = entry[name] as Items;
  if (scores.length !== windows.length) return entry;
  const order = fallingOrder(scores.map((score) => scoreOf({ score })));
  if (order === undefined) return entry;
  changes.warning('fix.order', () => ({
    at: `${at}/predicted_times`,
    expected: `windows by falling \`${name}\``,
    found: 'another order',
  }));
  const items = windows as Items;
  return { ...entry, predicted_times: order.map((index) => items[index]), [name]: order.map((index) => scores[index]) };
}
