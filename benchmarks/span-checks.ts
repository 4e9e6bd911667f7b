/** Steps of the checks of challenges about spans: lists of labelled, scored segments. */
import type { FindingList } from '../src/findings.js';
import { below, expectList, expectNumber, expectObject, expectText, type Place } from './ego4d/box-checks.js';
import { checkFalling, checkSegment, tiedScores, warnTied } from './ego4d/checks.js';
import type { JsonObject } from './reading.js';

/** What the annotations say about predictions of one clip or video. */
export interface SpanReference {
  /** Seconds; undefined where the file does not tell. */
  readonly duration: number | undefined;
}

/** What a list of predictions is held to. */
export interface SpanListRules {
  /** Labels that the truth holds; undefined where none is known. */
  readonly labels?: ReadonlySet<string>;
  /** The evaluator reads the list in file order, label by label. */
  readonly isOrdered: boolean;
  /** Items past this many are cut. */
  readonly limit?: number;
}

/** Two finite numbers, start < end; `segment.outside` (a warning) where they leave [0, duration] by more than a tenth of a second. */
export function expectSegment(list: FindingList, value: unknown, at: Place, duration?: number): boolean {
  if (!expectList(list, value, at, 2) || value.length !== 2) return false;
  const isFinite = value.map((time, i) => expectNumber(list, time, below(at, i))).every(Boolean);
  if (!isFinite) return false;
  const [start, end] = [Number(value[0]), Number(value[1])];
  if (!checkSegment(list, start, end, at)) return false;
  // Times are written with one decimal by the baselines: rounding at the border is no fault.
  if (start < -0.1 || (duration !== undefined && end > duration + 0.1)) {
    list.warning('segment.outside', () => ({
      at: at(),
      expected: duration === undefined ? 'a start of at least 0' : `times from 0 to ${duration}`,
      found: `\`[${start}, ${end}]\``,
      hint: 'times are seconds from the start of the clip, not of its video',
    }));
  }
  return true;
}

/** A list of {label, score, segment}; returns its scores by label, for ties. */
export function checkSpanList(
  list: FindingList,
  value: unknown,
  at: Place,
  reference: SpanReference | undefined,
  rules: SpanListRules,
): ReadonlyMap<string, readonly number[]> {
  const scores = new Map<string, number[]>();
  const places = new Map<string, number[]>();
  if (!expectList(list, value, at)) return scores;
  const seen = new Set<string>();
  value.forEach((item, i) => {
    const place = below(at, i);
    if (!expectObject(list, item, place, ['label', 'score', 'segment'], [])) return;
    const { label, score, segment } = item;
    const isNumber = score !== undefined && expectNumber(list, score, below(place, 'score'));
    if (segment !== undefined) expectSegment(list, segment, below(place, 'segment'), reference?.duration);
    if (label === undefined || !expectText(list, label, below(place, 'label'))) return;
    if (rules.labels?.has(label) === false) {
      list.warning('label.unknown', () => ({
        at: below(place, 'label')(),
        expected: 'a label of the truth',
        found: `\`${label}\``,
        hint: 'predictions of other labels are dropped: names must agree to the letter',
      }));
    }
    const key = JSON.stringify([label, Number(score), segment]);
    if (seen.has(key)) {
      list.warning('item.repeated', () => ({
        at: place(),
        expected: 'each prediction once',
        found: 'an equal one again',
      }));
    }
    seen.add(key);
    if (!isNumber) return;
    const listed = scores.get(label);
    if (listed === undefined) {
      scores.set(label, [Number(score)]);
      places.set(label, [i]);
    } else {
      listed.push(Number(score));
      places.get(label)!.push(i);
    }
  });
  if (rules.isOrdered) {
    for (const [label, listed] of scores) {
      const isSorted = checkFalling(list, listed, (index) => below(at, places.get(label)![index]!, 'score')());
      if (!isSorted) break;
    }
  }
  if (rules.limit !== undefined && value.length > rules.limit) {
    list.warning('list.too_long', () => ({
      at: at(),
      expected: `at most ${rules.limit ?? 0} items`,
      found: String(value.length),
      hint: 'the baseline writes no more; a server may cut the rest',
    }));
  }
  return scores;
}

/** One warning where scores of the same label are tied: their order is that of an unstable sort. */
export function warnTiedLabels(list: FindingList, scores: ReadonlyMap<string, readonly number[]>, at: string): void {
  let [tied, all] = [0, 0];
  for (const listed of scores.values()) {
    tied += tiedScores(listed);
    all += listed.length;
  }
  warnTied(list, tied, all, at);
}

/** Adds the scores of one list to those of others. */
export function addScores(into: Map<string, number[]>, scores: ReadonlyMap<string, readonly number[]>): void {
  for (const [label, listed] of scores) {
    const known = into.get(label);
    if (known === undefined) into.set(label, [...listed]);
    else for (const score of listed) known.push(score);
  }
}

/** Two finite times in order; returns what lies between them. */
export function checkTimes(
  list: FindingList,
  object: JsonObject,
  at: Place,
  from: string,
  to: string,
): number | undefined {
  const [start, end] = [object[from], object[to]];
  if (start === undefined || end === undefined) return undefined;
  const isStart = expectNumber(list, start, below(at, from));
  const isEnd = expectNumber(list, end, below(at, to));
  if (!isStart || !isEnd) return undefined;
  const isRight = checkSegment(list, Number(start), Number(end), below(at, to), start === end ? 'warning' : 'error');
  return isRight ? Number(end) - Number(start) : undefined;
}

/** Visits the objects of a list, with their place; tells what is no list, no object, or lacks a member. */
export function eachObject(
  list: FindingList,
  value: unknown,
  at: Place,
  needed: readonly string[],
  visit: (object: JsonObject, at: Place) => void,
): void {
  if (value === undefined || !expectList(list, value, at)) return;
  value.forEach((item, i) => {
    const place = below(at, i);
    if (expectObject(list, item, place, needed)) visit(item, place);
  });
}
