/** What a file of episodic memory is, by its content. */
import type { JsonDocument } from '../../src/types.js';
import { isObject } from '../reading.js';
import { formOf } from './forms.js';

/** The files that Moment Queries and Natural Language Queries tell apart. */
export type FileKind =
  | 'moments'
  | 'nlq'
  /** Clips without annotations: MQ's test file. */
  | 'clips'
  /** `ego4d.json`: videos with a duration. */
  | 'info'
  /** MQ's working file, `clip_annotations.json`. */
  | 'working'
  | 'unknown';

const kinds: Readonly<Record<string, FileKind>> = {
  'ego4d.mq.annotations/1': 'moments',
  'ego4d.mq.test/1': 'clips',
  'ego4d.mq.clips/1': 'working',
  'ego4d.nlq.annotations/1': 'nlq',
  'ego4d.nlq.test/1': 'nlq',
  'ego4d.metadata/1': 'info',
};

/** What a value is by what stands in it. */
export function kindOf(value: unknown): FileKind {
  return kinds[formOf(value)?.schema ?? ''] ?? 'unknown';
}

/** What a document seems to be, for messages. */
export function describeFile({ value }: JsonDocument): string {
  const form = formOf(value);
  if (form !== undefined) return form.what;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (!isObject(value)) return value === null ? 'null' : typeof value;
  if (typeof value['challenge'] === 'string') return `a submission to \`${value['challenge']}\``;
  const keys = Object.keys(value);
  if (keys.length === 0) return 'an empty object';
  const some = keys.slice(0, 4).map((key) => `\`${key.length > 40 ? `${key.slice(0, 39)}…` : key}\``);
  return `an object with ${some.join(', ')}${keys.length > 4 ? ', …' : ''}`;
}
