/** Faults of Future Hand Prediction files. */
import { findingList, type FindingList } from '../../src/findings.js';
import { handNumbers } from '../../src/metrics/tracks.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import { checkForm, checkNoEnvelope, checkNotEmpty, readReference } from './by-id.js';
import { checkFinite, checkIds, pointer, shown } from './checks.js';
import {
  isAnnotated,
  keyFrames,
  largestMagnitude,
  looksLikeOneView,
  readInstances,
  widestFrame,
} from './fhp-instances.js';

/** A sum over 30 views beyond this is no place in a picture. */
const largestSum = 30 * 2 * widestFrame;
const vectorHint = 'five key frames of left x, left y, right x, right y';

/** Every fault of a file of this task; a predictions file has the form of a submission. */
export function checkFhp(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  list.add(document.findings);
  if (kind === 'annotations') checkAnnotations(list, document.value);
  else checkAnswers(list, document.value, kind, against);
  return list.all();
}

function checkAnswers(
  list: FindingList,
  value: unknown,
  kind: Exclude<DocumentKind, 'annotations'>,
  against: JsonDocument | undefined,
): void {
  if (!checkForm(list, value, 'object', 'an object of 20 numbers by key') || !isObject(value)) return;
  if (isAnnotated(value)) {
    list.error('file.form', () => ({ at: '/clips', expected: 'predictions by key', found: 'an annotation file' }));
    return;
  }
  if (!checkNoEnvelope(list, value)) return;
  const keys = Object.keys(value);
  checkNotEmpty(list, keys.length, 'key');
  const sound = keys.filter((key) => checkVector(list, key, value[key]));
  checkScale(
    list,
    sound.map((key) => ({ key, values: value[key] as readonly number[] })), // checkVector has seen them
  );
  const asked = against === undefined ? undefined : askedKeys(list, against);
  if (asked === undefined) {
    for (const key of keys) {
      if (/^[^_]+_-?\d+$/.test(key)) continue;
      list.error('key.form', () => ({
        at: pointer(key),
        expected: '`<clip_id>_<pre_45 frame - 1>`',
        found: `\`${key}\``,
      }));
    }
    return;
  }
  checkIds(list, asked, keys, (i) => pointer(keys[i]!), {
    what: 'key',
    within: '',
    missing: kind === 'submission' ? 'error' : 'warning',
    hint: 'a key is <clip_id>_<pre_45 frame - 1>; only keys of the file are scored, so coverage hides in the number',
  });
}

/** Are the values a list of finite numbers? */
function checkVector(list: FindingList, key: string, values: unknown): boolean {
  if (!Array.isArray(values)) {
    list.error('field.type', () => ({
      at: pointer(key),
      expected: `a list of ${handNumbers} numbers`,
      found: shown(values),
      hint: vectorHint,
    }));
    return false;
  }
  if (values.length !== handNumbers) {
    list.error('list.length', () => ({
      at: pointer(key),
      expected: `${handNumbers} numbers`,
      found: shown(values),
      hint: values.length > handNumbers ? 'numbers after the 20th are not read' : vectorHint,
    }));
  }
  let isSound = true;
  for (let i = 0; i < values.length; i++) {
    const value: unknown = values[i];
    const at = (): string => pointer(key, i);
    if (typeof value !== 'number' && typeof value !== 'bigint') {
      list.error('field.type', () => ({ at: at(), expected: 'a number', found: shown(value) }));
      isSound = false;
    } else if (!checkFinite(list, value, at)) {
      isSound = false;
    } else if (Math.abs(Number(value)) > largestSum) {
      list.error('number.range', () => ({
        at: at(),
        expected: `a sum over 30 views of pixels, at most ${largestSum}`,
        found: shown(value),
      }));
    }
  }
  return isSound;
}

/** Values of one view where sums over 30 are read: of the whole file, or of single items among others. */
function checkScale(
  list: FindingList,
  items: readonly { readonly key: string; readonly values: readonly number[] }[],
): void {
  const small = items.filter(({ values }) => looksLikeOneView(values));
  if (small.length === 0) return;
  const detail = (largest: number) => ({
    expected: 'sums over 30 views, which the evaluator divides by 30',
    found: `nothing above \`${largest}\``,
    hint: 'these look like pixels of one view: `submit fhp --fhp-scale sum` multiplies them',
  });
  if (small.length === items.length) {
    const largest = small.reduce((most, { values }) => Math.max(most, largestMagnitude(values)), 0);
    list.warning('values.scale', () => ({ at: '', ...detail(largest) }));
    return;
  }
  for (const { key, values } of small) {
    list.warning('values.scale', () => ({ at: pointer(key), ...detail(largestMagnitude(values)) }));
  }
}

/** Keys of the reference: the annotations, or a file of labels by key. */
function askedKeys(list: FindingList, against: JsonDocument): ReadonlySet<string> | undefined {
  const { value } = against;
  return readReference(list, against, () => {
    if (isAnnotated(value)) return new Set(readInstances(against).map(({ key }) => key));
    return isObject(value) && !('clips' in value) ? new Set(Object.keys(value)) : undefined;
  });
}

function checkAnnotations(list: FindingList, value: unknown): void {
  if (!isAnnotated(value)) {
    list.error('file.form', () => ({ at: '/clips', expected: 'a list of clips with `frames`', found: shown(value) }));
    return;
  }
  const keys: string[] = [];
  const places: string[] = [];
  for (const [c, clip] of (value['clips'] as readonly unknown[]).entries()) {
    if (!isObject(clip) || !Array.isArray(clip['frames'])) {
      list.error('field.type', () => ({
        at: pointer('clips', c),
        expected: 'a clip with a list `frames`',
        found: shown(clip),
      }));
      continue;
    }
    for (const [f, item] of (clip['frames'] as readonly unknown[]).entries()) {
      const at = pointer('clips', c, 'frames', f);
      if (!isObject(item)) {
        list.error('field.type', () => ({ at, expected: 'an object', found: shown(item) }));
        continue;
      }
      checkKeyFrames(list, item, at);
      const first = isObject(item['pre_45']) ? item['pre_45']['frame'] : undefined;
      if (typeof first === 'number' && (typeof clip['clip_id'] === 'number' || typeof clip['clip_id'] === 'string')) {
        keys.push(`${clip['clip_id']}_${first - 1}`);
        places.push(at);
      } else {
        list.warning('field.missing', () => ({
          at: `${at}/pre_45`,
          expected: 'a key frame `pre_45`',
          found: 'none',
          hint: 'the item has no key and is never asked for',
        }));
      }
    }
  }
  checkIds(list, new Set(keys), keys, (i) => places[i]!, { what: 'key', within: '/clips', repeated: 'warning' });
}

function checkKeyFrames(list: FindingList, item: JsonObject, at: string): void {
  let before = -Infinity;
  for (const name of keyFrames) {
    const keyFrame = item[name];
    if (!isObject(keyFrame)) continue;
    const { frame, boxes } = keyFrame;
    if (typeof frame === 'number') {
      if (frame < before) {
        list.warning('order.time', () => ({
          at: `${at}/${name}/frame`,
          expected: `at least \`${before}\``,
          found: shown(frame),
        }));
      }
      before = frame;
    }
    if (boxes === undefined) continue;
    if (!Array.isArray(boxes)) {
      list.error('field.type', () => ({ at: `${at}/${name}/boxes`, expected: 'a list', found: shown(boxes) }));
      continue;
    }
    for (const [b, box] of (boxes as readonly unknown[]).entries()) checkHands(list, box, `${at}/${name}/boxes/${b}`);
  }
}

function checkHands(list: FindingList, box: unknown, at: string): void {
  if (!isObject(box)) {
    list.error('field.type', () => ({
      at,
      expected: '{left_hand: [x, y]} or {right_hand: [x, y]}',
      found: shown(box),
    }));
    return;
  }
  for (const [field, centre] of Object.entries(box)) {
    const isHand = field === 'left_hand' || field === 'right_hand';
    const isPoint = Array.isArray(centre) && centre.length === 2 && centre.every((part) => typeof part === 'number');
    if (isHand && isPoint) continue;
    list.error('field.type', () => ({
      at: `${at}${pointer(field)}`,
      expected: '`left_hand` or `right_hand` with its centre [x, y]',
      found: shown(centre),
    }));
  }
}
