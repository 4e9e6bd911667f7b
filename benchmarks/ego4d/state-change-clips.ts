/**
 * What PNR localisation and object state change classification (OSCC) share: the annotation file, lists of answers and logits by
 * `unique_id`, and their faults.
 */
import { findingList, type FindingList } from '../../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { fault, isObject, listAt, numberAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { areRecords } from '../records.js';
import { castFiles, checkForm, checkNotEmpty, needed, readReference, warnOtherFields, type Role } from './by-id.js';
import { checkFinite, checkIds, percentText, pointer, shown } from './checks.js';

/** One clip of about eight seconds, as it stands in the file. */
export interface ChangeClip {
  readonly id: string;
  /** Its video, or the clip where the file names none. */
  readonly videoUid: string;
  readonly clip: JsonObject;
  /** JSON pointer of the clip. */
  readonly at: string;
  /** False only where the file says `false`: null and absent count as a change. */
  readonly isChange: boolean;
  /** `parent_end_frame - parent_start_frame`; undefined where one of them is no number. */
  readonly frames: number | undefined;
}

/** Is this an annotation file of state changes? Old files are a bare list. */
export function isChangeFile(value: unknown): boolean {
  const clips = isObject(value) ? value['clips'] : value;
  if (!Array.isArray(clips)) return false;
  const isChangeClip = (clip: unknown): boolean =>
    isObject(clip) && 'unique_id' in clip && 'parent_start_frame' in clip;
  return clips.length === 0 ? isObject(value) : (clips as readonly unknown[]).some(isChangeClip);
}

const annotationRole: Role = { what: 'the annotations (`fho_oscc-pnr_val.json`)', is: isChangeFile };

/** The clips of the one file of truth. */
export function readTruth(documents: readonly JsonDocument[]): {
  readonly document: JsonDocument;
  readonly clips: ChangeClip[];
} {
  const document = needed(castFiles(documents, { annotations: annotationRole }).annotations, annotationRole);
  return { document, clips: readClips(document) };
}

/** @quirk a clip whose `state_change` is null or absent counts as a change: the official loader tests for `False` alone */
function readClips(document: JsonDocument): ChangeClip[] {
  const { value } = document;
  const isBare = Array.isArray(value);
  const list = isBare
    ? (value as readonly unknown[])
    : listAt(
        document,
        objectAt(document, value, () => '', 'give annotations')['clips'],
        () => '/clips',
        'give annotations',
      );
  return list.map((item, i) => {
    const at = isBare ? pointer(i) : pointer('clips', i);
    const clip = objectAt(document, item, () => at, 'a clip has `unique_id` and its times');
    const id = textAt(document, clip['unique_id'], () => `${at}/unique_id`, 'answers are matched by it');
    const { video_uid: video, parent_start_frame: start, parent_end_frame: end } = clip;
    return {
      id,
      videoUid: typeof video === 'string' ? video : id,
      clip,
      at,
      isChange: clip['state_change'] !== false,
      frames: typeof start === 'number' && typeof end === 'number' ? end - start : undefined,
    };
  });
}

/** Which files hold the answers of one of the two tasks. */
export interface AnswerForm {
  /** `pnr_frame`, `state_change` */
  readonly field: string;
  readonly schema: string;
  /** Numbers of one clip in a file of logits. */
  readonly logits: number;
}

/** The files of predictions: logits by id, a list of answers, or our records. */
export function castAnswers(
  documents: readonly JsonDocument[],
  { field, schema, logits }: AnswerForm,
): { readonly logits?: JsonDocument; readonly answers?: JsonDocument } {
  const roles = {
    logits: {
      what: `logits by \`unique_id\`, ${logits} numbers each`,
      is: (value) => isObject(value) && !('clips' in value) && !('challenge' in value),
    },
    answers: {
      what: `a list of {unique_id, ${field}}`,
      is: (value) =>
        Array.isArray(value) && !isChangeFile(value) && (areRecords(value, schema) || hasSome(value, field)),
    },
  } satisfies Record<string, Role>;
  const cast = castFiles(documents, roles);
  needed(cast.logits ?? cast.answers, roles.answers);
  return cast;
}

function hasSome(list: readonly unknown[], field: string): boolean {
  return list.some((item) => isObject(item) && ('unique_id' in item || field in item));
}

/** The logits of a clip. */
export function logitsOf(document: JsonDocument, clip: ChangeClip, count: number): number[] {
  const byId = objectAt(document, document.value, () => '', 'write {unique_id: [logits]}');
  const at = pointer(clip.id);
  if (!Object.hasOwn(byId, clip.id)) throw missingAnswer(document, clip);
  const list = listAt(document, byId[clip.id], () => at, `write ${count} numbers`);
  if (list.length !== count) throw fault(document, at, `${count} numbers`, list, 'one for each class of the model');
  return list.map((value, i) => numberAt(document, value, () => `${at}/${i}`, 'write a plain number'));
}

/** Answers by id; of two for one id the later one counts. */
export function answersById(
  document: JsonDocument,
  field: string,
): ReadonlyMap<string, { readonly value: unknown; readonly at: string }> {
  const answers = new Map<string, { readonly value: unknown; readonly at: string }>();
  const list = listAt(document, document.value, () => '', `write [{unique_id, ${field}}]`);
  list.forEach((item, i) => {
    const answer = objectAt(document, item, () => pointer(i), `an answer is {unique_id, ${field}}`);
    const id = textAt(document, answer['unique_id'], () => pointer(i, 'unique_id'), 'clips are told by it');
    answers.set(id, { value: answer[field], at: pointer(i, field) });
  });
  return answers;
}

/** `data.invalid` for a clip without an answer: every number is over all of them. */
export function missingAnswer(document: JsonDocument, clip: ChangeClip): Error {
  return fault(
    document,
    '',
    `an answer for clip \`${clip.id}\``,
    undefined,
    'answer every clip: `submit --fill-missing`',
  );
}

/** Answers that are read and not scored, for people. */
export function surplusNotes(ids: Iterable<string>, clips: readonly ChangeClip[], name: string): string[] {
  const known = new Set(clips.map(({ id }) => id));
  let surplus = 0;
  for (const id of ids) if (!known.has(id)) surplus++;
  return surplus === 0
    ? []
    : [`${surplus} answers of \`${name}\` are for clips that are not in the truth and are ignored`];
}

/** Video of each clip, numbered; the units of the bootstrap. */
export function unitsOf(clips: readonly ChangeClip[]): { readonly units: string[]; readonly unitOf: Int32Array } {
  const numbers = new Map<string, number>();
  const unitOf = Int32Array.from(clips, ({ videoUid }) => {
    if (!numbers.has(videoUid)) numbers.set(videoUid, numbers.size);
    return numbers.get(videoUid)!;
  });
  return { units: [...numbers.keys()], unitOf };
}

// ---- faults ------------------------------------------------------------------------------------------------------

/** What a check says of one answer: nothing, or its fault by `list`. */
export type AnswerCheck = (list: FindingList, value: unknown, at: () => string, clip: ChangeClip | undefined) => void;

/**
 * Every fault of a file of answers, logits or annotations.
 *
 * @param mayMiss whether a clip without an answer is a warning only
 */
export function checkChanges(
  kind: DocumentKind,
  document: JsonDocument,
  against: JsonDocument | undefined,
  form: AnswerForm,
  checkAnswer: AnswerCheck,
  mayMiss: (clip: ChangeClip) => boolean,
): Finding[] {
  const list = findingList(document);
  list.add(document.findings);
  const { value } = document;
  if (kind === 'annotations') {
    checkClips(list, document);
    return list.all();
  }
  const isLogits = kind === 'predictions' && isObject(value);
  if (!isLogits && !checkForm(list, value, 'list', `a list of {unique_id, ${form.field}}`)) return list.all();
  if (isChangeFile(value)) {
    list.error('file.form', () => ({ at: '', expected: 'predictions', found: 'an annotation file' }));
    return list.all();
  }
  const clips =
    against === undefined
      ? undefined
      : readReference(list, against, () => (isChangeFile(against.value) ? readClips(against) : undefined));
  const clipById = new Map(clips?.map((clip) => [clip.id, clip]));
  const [ids, places] = isLogits
    ? checkLogits(list, value, form)
    : checkAnswers(list, value as readonly unknown[], form, checkAnswer, clipById); // a list, by the form
  checkNotEmpty(list, ids.length, 'answer');
  const isRequired = (clip: ChangeClip): boolean => kind === 'submission' && !mayMiss(clip);
  const asked = (clips ?? []).filter(isRequired).map(({ id }) => id);
  if (clips === undefined) {
    checkIds(list, new Set(ids), ids, (i) => places[i]!, { what: '`unique_id`', within: '' });
    return list.all();
  }
  const given = new Set(ids);
  const others = clips.filter((clip) => !isRequired(clip)).map(({ id }) => id);
  checkIds(list, new Set([...asked, ...others.filter((id) => given.has(id))]), ids, (i) => places[i]!, {
    what: '`unique_id`',
    within: '',
  });
  const absent = others.filter((id) => !given.has(id));
  for (const id of absent) {
    list.warning('ids.missing', () => ({ at: '', expected: `\`unique_id\` \`${id}\``, found: 'none' }));
  }
  if (absent.length > 0) {
    const answered = clips.filter(({ id }) => given.has(id)).length;
    list.warning('ids.coverage', () => ({
      at: '',
      expected: `all ${clips.length} of the reference file`,
      found: `${answered} (${percentText((100 * answered) / clips.length)})`,
    }));
  }
  return list.all();
}

function checkAnswers(
  list: FindingList,
  answers: readonly unknown[],
  { field }: AnswerForm,
  checkAnswer: AnswerCheck,
  clipById: ReadonlyMap<string, ChangeClip>,
): [ids: string[], places: string[]] {
  const ids: string[] = [];
  const places: string[] = [];
  answers.forEach((answer, i) => {
    if (!isObject(answer)) {
      list.error('field.type', () => ({
        at: pointer(i),
        expected: `an object of \`unique_id\` and \`${field}\``,
        found: shown(answer),
      }));
      return;
    }
    warnOtherFields(list, answer, ['unique_id', field], () => pointer(i));
    const { unique_id: id } = answer;
    if (typeof id === 'string') {
      ids.push(id);
      places.push(pointer(i, 'unique_id'));
    } else {
      list.error(id === undefined ? 'field.missing' : 'field.type', () => ({
        at: pointer(i, 'unique_id'),
        expected: 'text',
        found: shown(id),
      }));
    }
    const at = (): string => pointer(i, field);
    const value = answer[field];
    if (value === undefined) {
      list.error('field.missing', () => ({ at: at(), expected: `a member \`${field}\``, found: 'none' }));
    } else {
      checkAnswer(list, value, at, typeof id === 'string' ? clipById.get(id) : undefined);
    }
  });
  return [ids, places];
}

function checkLogits(list: FindingList, byId: JsonObject, { logits }: AnswerForm): [ids: string[], places: string[]] {
  const ids = Object.keys(byId);
  for (const id of ids) {
    const values = byId[id];
    if (!Array.isArray(values) || values.length !== logits) {
      list.error(Array.isArray(values) ? 'list.length' : 'field.type', () => ({
        at: pointer(id),
        expected: `a list of ${logits} numbers`,
        found: shown(values),
      }));
      continue;
    }
    values.forEach((value: unknown, i) => {
      if (typeof value === 'number' || typeof value === 'bigint') checkFinite(list, value, () => pointer(id, i));
      else list.error('field.type', () => ({ at: pointer(id, i), expected: 'a number', found: shown(value) }));
    });
  }
  return [ids, ids.map((id) => pointer(id))];
}

function checkClips(list: FindingList, document: JsonDocument): void {
  if (!isChangeFile(document.value)) {
    list.error('file.form', () => ({
      at: isObject(document.value) ? '/clips' : '',
      expected: 'a list of clips with `unique_id` and `parent_start_frame`',
      found: shown(document.value),
    }));
    return;
  }
  const isBare = Array.isArray(document.value);
  const clips = (isBare ? document.value : (document.value as JsonObject)['clips']) as readonly unknown[]; // isChangeFile
  const ids: string[] = [];
  const places: string[] = [];
  clips.forEach((clip, i) => {
    const at = isBare ? pointer(i) : pointer('clips', i);
    if (!isObject(clip) || typeof clip['unique_id'] !== 'string') {
      list.error('field.type', () => ({ at, expected: 'a clip with the text `unique_id`', found: shown(clip) }));
      return;
    }
    ids.push(clip['unique_id']);
    places.push(`${at}/unique_id`);
    checkClip(list, clip, at);
  });
  checkIds(list, new Set(ids), ids, (i) => places[i]!, { what: '`unique_id`', within: isBare ? '' : '/clips' });
}

function checkClip(list: FindingList, clip: JsonObject, at: string): void {
  for (const [from, to] of [
    ['parent_start_sec', 'parent_end_sec'],
    ['parent_start_frame', 'parent_end_frame'],
  ] as const) {
    const start = clip[from];
    const end = clip[to];
    const wrong = [from, to].find((field) => typeof clip[field] !== 'number');
    if (wrong !== undefined) {
      list.error('field.type', () => ({ at: `${at}/${wrong}`, expected: 'a number', found: shown(clip[wrong]) }));
    } else if (!((start as number) < (end as number))) {
      list.error('segment.reversed', () => ({
        at: `${at}/${to}`,
        expected: `more than \`${from}\``,
        found: shown(end),
      }));
    }
  }
  if (!('state_change' in clip) && !('parent_pnr_frame' in clip)) return; // the test file
  const change = clip['state_change'];
  if (typeof change !== 'boolean') {
    list.warning('field.type', () => ({
      at: `${at}/state_change`,
      expected: 'true or false',
      found: shown(change),
      hint: 'the official loader takes it for a change',
    }));
  }
  if (change === false) return;
  const frame = clip['parent_pnr_frame'] ?? clip['pnr_frame'];
  const [start, end] = [clip['parent_start_frame'], clip['parent_end_frame']];
  if (typeof frame !== 'number') {
    list.error('field.type', () => ({ at: `${at}/parent_pnr_frame`, expected: 'a frame', found: shown(frame) }));
  } else if (typeof start === 'number' && typeof end === 'number' && !(frame >= start && frame <= end)) {
    list.warning('number.range', () => ({
      at: `${at}/parent_pnr_frame`,
      expected: `a frame of the clip, ${start} to ${end}`,
      found: shown(frame),
    }));
  }
}
