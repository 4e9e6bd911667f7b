/** Names of the output files, given over the whole list of inputs before anything runs (files.md 5, cli.md 1.5). */
import { basename, extname, join } from 'node:path';
import { EgolensError } from '../errors.js';
import { sha256 } from '../files.js';

export type FeatureType = 'npy' | 'npz' | 'safetensors';
export type FeatureStream = 'masked' | 'multimodal';

/** A video as the list of inputs found it. */
export interface NamedInput {
  readonly path: string;
  /** The folder below the argument in which the video was found; empty for a file argument. */
  readonly relpath: string;
  /** Stem of the output's name; that of the path where absent. */
  readonly name?: string;
}

/** The files of one feature array; `T` are the endings there may be. */
export interface FeatureTarget<T extends string = FeatureType> {
  readonly type: T;
  readonly array: string;
  readonly times: string;
  /** Written last: a feature file without it counts as missing. */
  readonly meta: string;
}

/** The outputs of one input. */
export interface ItemNames<T extends string = FeatureType> {
  readonly input: NamedInput;
  /** Unique in the list: the name below the output folder, with `/`, without its ending. */
  readonly id: string;
  readonly lock: string;
  /** One target, or one a stream in the order asked for. */
  readonly targets: readonly (FeatureTarget<T> & { readonly stream?: FeatureStream })[];
}

export interface NameOptions<T extends string = FeatureType> {
  /** The output folder. */
  readonly out: string;
  readonly type: T;
  /** `{relpath}`, `{stem}` and `{ext}` are filled in; it ends with `.{ext}`. */
  readonly template?: string;
  readonly streamSet?: FeatureStream | 'both';
  /** Names that differ only in case or Unicode form are one name; default: as the platform's file systems normally do. */
  readonly foldsCase?: boolean;
}

export const defaultTemplate = '{relpath}/{stem}.{ext}';

/**
 * Output names of every input, in list order; the same for the same inputs in any order.
 *
 * @throws EgolensError usage.conflict when two inputs still want one name; usage.flag for a template that cannot work
 */
export function planNames<T extends string = FeatureType>(
  inputs: readonly NamedInput[],
  options: NameOptions<T>,
): readonly ItemNames<T>[] {
  const template = checkedTemplate(options.template ?? defaultTemplate);
  const folds = options.foldsCase ?? (process.platform === 'darwin' || process.platform === 'win32');
  const keyOf = (name: string): string => (folds ? name.normalize('NFC').toLowerCase() : name);
  const keepsExtension = new Set<number>();
  for (;;) {
    const items = inputs.map((input, i) => nameItem(input, template, options, keepsExtension.has(i)));
    const owners = new Map<string, number[]>();
    items.forEach((item, i) => {
      for (const name of [`id ${item.id}`, ...item.targets.map(({ array }) => array)]) {
        const group = owners.get(keyOf(name));
        if (group === undefined) owners.set(keyOf(name), [i]);
        else group.push(i);
      }
    });
    const collisions = [...owners.values()].filter((group) => group.length > 1);
    if (collisions.length === 0) return items;
    const before = keepsExtension.size;
    for (const i of collisions.flat()) keepsExtension.add(i);
    // Another round even when one input of a group was named already: the others move out of its way.
    if (keepsExtension.size === before) throw conflict(items, collisions[0]!);
  }
}

function conflict(items: readonly ItemNames<string>[], group: readonly number[]): EgolensError {
  const paths = [...new Set(group)].slice(0, 3).map((i) => `\`${items[i]!.input.path}\``);
  return new EgolensError(
    'usage.conflict',
    `${paths.join(' and ')}: all would be written to \`${items[group[0]!]!.targets[0]!.array}\``,
    {
      try: 'give the folder above them, a `--name-template` that tells them apart, or a list with an `id` in each record',
    },
  );
}

function nameItem<T extends string>(
  input: NamedInput,
  template: string,
  options: NameOptions<T>,
  keepsExtension: boolean,
): ItemNames<T> {
  const file = basename(input.path);
  const stem = input.name ?? (keepsExtension ? file : basename(file, extname(file)));
  const streams: readonly (FeatureStream | undefined)[] =
    options.streamSet === 'both' ? ['masked', 'multimodal'] : [undefined];
  const bare = (suffix: string): string => fill(template, input.relpath, stem + suffix);
  const targets = streams.map((stream) => {
    const path = join(options.out, bare(stream === undefined ? '' : `.${stream}`));
    const array = `${path}.${options.type}`;
    const target = { type: options.type, array, times: `${path}.times.csv`, meta: `${array}.meta.json` };
    return stream === undefined ? target : { ...target, stream };
  });
  return { input, id: bare(''), lock: `${targets[0]!.array}.lock`, targets };
}

const placeholder = /\{(\w*)\}/g;

/** The template without its `.{ext}`. */
function checkedTemplate(template: string): string {
  const fault = (expected: string): EgolensError =>
    new EgolensError('usage.flag', `name template \`${template}\`: expected ${expected}`);
  if (!template.endsWith('.{ext}')) throw fault('`.{ext}` at the end');
  const rest = template.slice(0, -'.{ext}'.length);
  for (const [text, name] of rest.matchAll(placeholder)) {
    if (name !== 'relpath' && name !== 'stem')
      throw fault(`\`{relpath}\`, \`{stem}\` and \`{ext}\`, found \`${text}\``);
  }
  if (rest.startsWith('/') || rest.split('/').includes('..')) throw fault('a name below the output folder');
  return rest;
}

function fill(template: string, relpath: string, stem: string): string {
  const folders = relpath.split(process.platform === 'win32' ? /[\\/]/ : '/').filter(isNamed);
  const values: Readonly<Record<string, string>> = {
    relpath: folders.map(safePart).join('/'),
    stem: safePart(stem),
  };
  const parts = template
    .replaceAll(placeholder, (_, name: string) => values[name]!) // checkedTemplate knows only these two
    .split('/')
    .filter(isNamed);
  return parts.map(safePart).join('/');
}

function isNamed(part: string): boolean {
  return part !== '' && part !== '.';
}

/** Room for `.`, `.safetensors`, `.meta.json`, `.<pid>.tmp` within the 255 bytes that file systems allow a name. */
const longestPart = 200;

/** One part of a path that stays one part: no separator, no NUL, not `.` or `..`, not only blanks, short enough; anything else is kept as it is. */
function safePart(part: string): string {
  const text = part.replaceAll(process.platform === 'win32' ? /[<>:"/\\|?*\p{Cc}]/gu : /[/\0]/g, '_');
  if (/^(\.{0,2}|\s+)$/.test(text)) return '_'.repeat(Math.max(1, text.length));
  if (Buffer.byteLength(text) <= longestPart) return text;
  // Decoding drops the character that the cut runs through.
  const kept = new TextDecoder().decode(Buffer.from(text).subarray(0, longestPart - 9)).replace(/\uFFFD+$/, '');
  return `${kept}~${sha256(text).slice(0, 8)}`;
}
