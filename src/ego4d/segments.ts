/**
 * Labelled segments of videos: actions of Ego4D's `fho_lta_*.json`, or one's own list. The same reading for training, for recognition of
 * given segments and for its score, so that an id means one segment everywhere.
 */
import { EgolensError } from '../errors.js';
import type { JsonDocument, Seconds } from '../types.js';

/** Kinds of labels that a segment may have, in the order of outputs. */
export const labelKinds = ['verb', 'noun', 'label'] as const;
export type LabelKind = (typeof labelKinds)[number];

/** A label by its name, or by its place in the class list where the file says no name. */
export interface SegmentLabel {
  readonly name?: string;
  readonly number?: number;
}

/** Where a segment lies: in which video, under which of its names. */
export interface SegmentPlace {
  /** Uid or stem of the file. */
  readonly name: string;
  readonly kind: 'video' | 'clip' | 'file';
  /** Seconds of that video or clip; absent: all of it. */
  readonly start?: Seconds;
  readonly end?: Seconds;
}

export interface Segment {
  /** `<clip_uid>_<action_idx>`, the list's own `id`, or the video's name, with `#n` where it has several. */
  readonly id: string;
  /** The same segment in the clip and in the whole video, where there are both. */
  readonly places: readonly SegmentPlace[];
  readonly labels: Readonly<Partial<Record<LabelKind, SegmentLabel>>>;
}

export interface SegmentList {
  /** Path, for messages. */
  readonly name: string;
  /** The kinds that every segment has, in the order of outputs. */
  readonly kinds: readonly LabelKind[];
  readonly segments: readonly Segment[];
}

type Entry = Readonly<Record<string, unknown>>;

/** Is this a list of actions as `fho_lta_*.json` holds it? */
export function isActionList(value: unknown): value is { readonly clips: readonly unknown[] } {
  if (!isEntry(value) || !Array.isArray(value['clips'])) return false;
  const clips = value['clips'] as readonly unknown[];
  return clips.length === 0 || clips.some((clip) => isEntry(clip) && 'action_idx' in clip);
}

/**
 * The segments of a document.
 *
 * Actions: `verb`, `noun` and their numbers, by clip and video. An own list: `[{id or input, start, end, label}]`, or `verb` and `noun` in
 * place of `label`; without times a segment is the whole video, which is called by the file name of `input` without folder and ending, else
 * by `id`.
 *
 * @throws EgolensError data.invalid with place and rule: a list of another form, missing or mixed labels, times that are none, two segments
 *   of one id
 */
export function segmentsOf(
  document: JsonDocument,
  { labels }: { readonly labels: 'needed' | 'optional' },
): SegmentList {
  const { name, value } = document;
  const segments = isActionList(value) ? actionSegments(document, value.clips) : ownSegments(document);
  const kinds = labelKinds.filter((kind) => segments.some((segment) => segment.labels[kind] !== undefined));
  if (labels === 'needed' && segments.length > 0 && kinds.length === 0) {
    throw fault(document, '', 'labels: `label`, or `verb` and `noun`', 'none');
  }
  if (kinds.includes('label') && kinds.length > 1) {
    throw fault(document, '', 'either `label`, or `verb` and `noun`', kinds.map((kind) => `\`${kind}\``).join(' and '));
  }
  const ids = new Set<string>();
  segments.forEach(({ id, labels: own }, i) => {
    if (ids.has(id)) throw fault(document, place(document, i), 'an id of its own', `\`${id}\` a second time`);
    ids.add(id);
    const missing = kinds.find((kind) => own[kind] === undefined);
    if (missing !== undefined) throw fault(document, place(document, i), `a \`${missing}\` as the others have`, 'none');
  });
  return { name, kinds, segments };
}

/** JSON pointer of the n-th segment. */
function place({ value }: JsonDocument, index: number): string {
  return isActionList(value) ? `/clips/${index}` : `/${index}`;
}

function actionSegments(document: JsonDocument, clips: readonly unknown[]): Segment[] {
  return clips.map((clip, i) => {
    const at = `/clips/${i}`;
    if (!isEntry(clip)) throw fault(document, at, 'an action', shown(clip));
    const clipUid = textIn(document, clip, 'clip_uid', at);
    const videoUid = textIn(document, clip, 'video_uid', at);
    const index = numberIn(document, clip, 'action_idx', at);
    const [start, end] = spanIn(document, clip, ['action_clip_start_sec', 'action_clip_end_sec'], at);
    const parent = numberIn(document, clip, 'clip_parent_start_sec', at);
    return {
      id: `${clipUid}_${index}`,
      places: [
        { name: clipUid, kind: 'clip', start, end },
        { name: videoUid, kind: 'video', start: parent + start, end: parent + end },
      ],
      labels: {
        ...labelIn(document, clip, { kind: 'verb', name: 'verb', number: 'verb_label' }, at),
        ...labelIn(document, clip, { kind: 'noun', name: 'noun', number: 'noun_label' }, at),
      },
    };
  });
}

function ownSegments(document: JsonDocument): Segment[] {
  const { value } = document;
  if (!Array.isArray(value)) {
    throw fault(document, '', 'a list of {id or input, start, end, label}, or `fho_lta_*.json` of Ego4D', shown(value));
  }
  const entries = (value as readonly unknown[]).map((entry, i) => {
    if (!isEntry(entry)) throw fault(document, `/${i}`, 'an object {id or input, label}', shown(entry));
    return entry;
  });
  const counts = new Map<string, number>();
  return entries.map((entry, i) => {
    const at = `/${i}`;
    const input = filled(entry['input']) ? stemOf(textIn(document, entry, 'input', at)) : undefined;
    const own = filled(entry['id']) ? idIn(document, entry, at) : undefined;
    const name = input ?? own;
    if (name === undefined) throw fault(document, at, '`id` or `input`', 'neither');
    const hasTimes = filled(entry['start']) || filled(entry['end']);
    const number = counts.get(name) ?? 0;
    counts.set(name, number + 1);
    const times = hasTimes ? spanIn(document, entry, ['start', 'end'], at) : undefined;
    const isNumbered = own === undefined && hasTimes;
    return {
      id: isNumbered ? `${name}#${number}` : (own ?? name),
      places: [{ name, kind: 'file', ...(times && { start: times[0], end: times[1] }) }],
      labels: Object.assign({}, ...labelKinds.map((kind) => ownLabel(document, entry, kind, at))) as Segment['labels'], // one member each
    };
  });
}

/** A label of an own list: its name, or a whole number. */
function ownLabel(document: JsonDocument, entry: Entry, kind: LabelKind, at: string): Segment['labels'] {
  const value = entry[kind];
  if (!filled(value)) return {};
  if (typeof value === 'string') return { [kind]: { name: value } };
  if (isClass(value)) return { [kind]: { number: value } };
  throw fault(document, `${at}/${kind}`, 'a name, or the number of a class', shown(value));
}

function labelIn(
  document: JsonDocument,
  entry: Entry,
  { kind, name, number }: { readonly kind: LabelKind; readonly name: string; readonly number: string },
  at: string,
): Segment['labels'] {
  const [text, id] = [entry[name], entry[number]];
  if (!filled(text) && !filled(id)) return {};
  if (filled(id) && !isClass(id)) throw fault(document, `${at}/${number}`, 'a whole number of 0 or more', shown(id));
  if (filled(text) && typeof text !== 'string') throw fault(document, `${at}/${name}`, 'text', shown(text));
  return {
    [kind]: { ...(typeof text === 'string' && { name: text }), ...(typeof id === 'number' && { number: id }) },
  };
}

/** CSV has no null: an empty cell is none. */
function filled(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}

function isClass(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** `videos/P01.mp4` -> `P01`, as `extract` calls its files. */
function stemOf(path: string): string {
  const name = path.split(/[/\\]/).at(-1)!; // a split has a last part
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(0, dot) : name;
}

function idIn(document: JsonDocument, entry: Entry, at: string): string {
  const { id } = entry;
  if (typeof id === 'number') return String(id);
  return textIn(document, entry, 'id', at);
}

function spanIn(
  document: JsonDocument,
  entry: Entry,
  [from, to]: readonly [string, string],
  at: string,
): readonly [Seconds, Seconds] {
  const [start, end] = [numberIn(document, entry, from, at), numberIn(document, entry, to, at)];
  if (start < 0 || start >= end) {
    throw fault(document, at, `0 <= ${from} < ${to}`, `${start} and ${end}`);
  }
  return [start, end];
}

/** A finite number; text that spells one too, since CSV knows no other (spreadsheets and pandas write small ones as `1e-05`). */
function numberIn(document: JsonDocument, entry: Entry, field: string, at: string): number {
  const value = entry[field];
  const number =
    typeof value === 'string' && /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(value.trim()) ? Number(value) : value;
  if (typeof number === 'number' && Number.isFinite(number)) return number;
  throw fault(document, `${at}/${field}`, 'a finite number', shown(value));
}

function textIn(document: JsonDocument, entry: Entry, field: string, at: string): string {
  const value = entry[field];
  if (typeof value === 'string' && value.trim() !== '') return value;
  throw fault(document, `${at}/${field}`, 'text', shown(value));
}

function isEntry(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined; // undefined gives undefined
  return text === undefined ? 'none' : `\`${text.slice(0, 60)}\``;
}

function fault(document: JsonDocument, at: string, expected: string, found: string): EgolensError {
  const { name } = document;
  const number = document.line(at) ?? document.line(at.slice(0, Math.max(0, at.lastIndexOf('/'))));
  const where = number === undefined ? at : `line ${number}`;
  return new EgolensError(
    'data.invalid',
    `\`${name}\`${where === '' ? '' : `, ${where}`}: expected ${expected}, found ${found}`,
    {
      input: name,
      try: 'docs/training.md has the forms of lists',
    },
  );
}
