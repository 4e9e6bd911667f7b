/**
 * Prompts of zero-shot recognition: class names set into templates. The published lists of templates are data of their repositories;
 * those here are our own, and any other list is read from a file.
 */
import { EgolensError } from '../errors.js';
import { parseJson } from '../json-reader.js';
import { cleanText } from './clean.js';

/** Where the class name goes in a template. */
export const placeholder = '{}';

/** Lists of templates by name: `actions` for class lists of activities, `narrations` for verbs in the style of Ego4D's narrations. */
export const templateLists = {
  actions: [
    'a video of {}',
    'a person doing {}',
    'somebody who is {}',
    'a clip in which a person is {}',
    '{}, something that people do',
    'this is what {} looks like',
    'a short recording of a person busy with {}',
    'the activity shown here is {}',
  ],
  narrations: [
    '#C C does {}',
    '#C C {}',
    '#C C starts to {}',
    '#C C uses both hands to {}',
    'the person who wears the camera does {}',
    'a first-person video of hands that {}',
  ],
} as const satisfies Readonly<Record<string, readonly string[]>>;
export type TemplateListName = keyof typeof templateLists;

/** A class name as it stands in a prompt: underscores become blanks, runs of white space one blank. What stands in parentheses stays. */
export function promptName(label: string): string {
  return label.replaceAll('_', ' ').replace(/\s+/g, ' ').trim();
}

/** The prompt of one class: every `{}` of the template is the class name. */
export function fillTemplate(template: string, label: string): string {
  return template.replaceAll(placeholder, () => promptName(label));
}

const maxEntries = 100_000;
const maxEntryLength = 1000;
/** Class and template files are read whole: what the caller lets `readSmallFile` take. */
export const maxListBytes = 16 * 2 ** 20;

/**
 * Class names as they were given, in order.
 *
 * @param where what messages call the list, `--class`
 * @throws EgolensError data.invalid for an empty list, an empty name, or two that make the same prompt; limit.size
 */
export function checkClasses(labels: readonly string[], where: string): readonly string[] {
  checkEntries(
    labels.map((text, i) => ({ text, place: `number ${i + 1}` })),
    { where, what: 'class name', keyOf: classKey },
  );
  return labels;
}

/**
 * Templates as they were given, in order.
 *
 * @throws EgolensError data.invalid for an empty list, a template without `{}`, or the same one twice; limit.size
 */
export function checkTemplates(templates: readonly string[], where: string): readonly string[] {
  checkTemplateEntries(
    templates.map((text, i) => ({ text, place: `number ${i + 1}` })),
    where,
  );
  return templates;
}

/**
 * Class names of a file: one a line, a JSON list of texts, or a label list (`egolens.labels/1`). There are no comment lines, and a blank
 * line is a fault: positions are class indexes.
 *
 * @throws EgolensError data.invalid with the line
 */
export function parseClassFile(bytes: Uint8Array, name: string): readonly string[] {
  const entries = readEntries(bytes, name, 'class name');
  checkEntries(entries, { where: name, what: 'class name', keyOf: classKey });
  return entries.map(({ text }) => text);
}

/**
 * Templates of a file: one a line, or a JSON list of texts.
 *
 * @throws EgolensError data.invalid with the line
 */
export function parseTemplateFile(bytes: Uint8Array, name: string): readonly string[] {
  const entries = readEntries(bytes, name, 'template');
  checkTemplateEntries(entries, name);
  return entries.map(({ text }) => text);
}

interface Entry {
  readonly text: string;
  /** For messages: `line 3`. */
  readonly place: string;
}

/** Two names are the same class where their prompts have the same tokens. */
function classKey(label: string): string {
  return cleanText(promptName(label));
}

function checkTemplateEntries(entries: readonly Entry[], where: string): void {
  checkEntries(entries, { where, what: 'template', keyOf: cleanText });
  const wrong = entries.find(({ text }) => !text.includes(placeholder));
  if (wrong === undefined) return;
  throw new EgolensError(
    'data.invalid',
    `\`${where}\`: ${wrong.place}: expected a template with \`{}\` where the class name goes, found \`${cut(wrong.text)}\``,
    { try: 'such as `a video of {}`' },
  );
}

interface EntryRules {
  readonly where: string;
  readonly what: 'class name' | 'template';
  /** Entries of one key count as the same. */
  readonly keyOf: (text: string) => string;
}

function checkEntries(entries: readonly Entry[], { where, what, keyOf }: EntryRules): void {
  const fault = (message: string): EgolensError => new EgolensError('data.invalid', `\`${where}\`: ${message}`);
  if (entries.length === 0) throw fault(`expected at least one ${what}, found none`);
  if (entries.length > maxEntries)
    throw new EgolensError('limit.size', `\`${where}\`: ${entries.length} entries, expected at most ${maxEntries}`);
  const places = new Map<string, string>();
  for (const { text, place } of entries) {
    if (text.length > maxEntryLength)
      throw fault(`${place}: expected at most ${maxEntryLength} characters, found ${text.length}`);
    const key = keyOf(text);
    if (key === '') throw fault(`${place}: expected a ${what}, found \`${text}\``);
    const earlier = places.get(key);
    if (earlier !== undefined) throw fault(`${place}: \`${cut(text)}\` stands in ${earlier} already`);
    places.set(key, place);
  }
}

function readEntries(bytes: Uint8Array, name: string, what: EntryRules['what']): Entry[] {
  if (bytes.length > maxListBytes)
    throw new EgolensError('limit.size', `\`${name}\`: ${bytes.length} bytes, expected at most ${maxListBytes}`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${name}\`: expected text in UTF-8`, { cause });
  }
  // A template may begin with `{}`.
  if (/^\s*(?:\[|\{\s*")/.test(text)) return jsonEntries(bytes, name, what);
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines.map((line, i) => ({ text: line, place: `line ${i + 1}` }));
}

function jsonEntries(bytes: Uint8Array, name: string, what: EntryRules['what']): Entry[] {
  const document = parseJson(name, bytes);
  const { value } = document;
  const fault = (expected: string, pointer: string): EgolensError =>
    new EgolensError('data.invalid', `\`${name}\`: line ${document.line(pointer) ?? 1}: expected ${expected}`, {
      try: 'one a line, or a JSON list of texts',
    });
  const isLabels =
    typeof value === 'object' && value !== null && (value as { schema?: unknown }).schema === 'egolens.labels/1';
  const [list, pointer] = isLabels ? [(value as { labels?: unknown }).labels, '/labels'] : [value, ''];
  if (!Array.isArray(list) || (isLabels && what === 'template')) throw fault(`a list of ${what}s`, pointer);
  return (list as readonly unknown[]).map((text, i) => {
    const at = `${pointer}/${i}`;
    if (typeof text !== 'string') throw fault(`a ${what} as text`, at);
    return { text, place: `line ${document.line(at) ?? 1} (number ${i + 1})` };
  });
}

function cut(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
