import { Args, Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import { ego4dSplits, ego4dTasks, type Ego4dSplit, type Ego4dTask } from '../ego4d/annotated-videos.js';
import type { Ego4dSelection } from '../pipeline/ego4d-inputs.js';
import type { InputOptions } from '../pipeline/inputs.js';
import { parseTime } from '../time.js';

/** Flags that several commands share; a flag has one meaning in all of them. */
export const deviceFlags = {
  device: Flags.string({
    default: 'auto',
    env: 'EGOLENS_DEVICE',
    helpValue: 'auto|cpu|cuda[:N]|webgpu[:N]',
    summary: 'Where to compute. auto may choose and says so; a named device never falls back.',
    helpGroup: 'DEVICE',
  }),
  threads: Flags.integer({
    min: 1,
    max: 1024,
    env: 'EGOLENS_THREADS',
    summary: "Threads of one run on the CPU; default: the runtime's choice.",
    helpGroup: 'DEVICE',
  }),
};

export const forceFlag = Flags.boolean({ summary: 'Replace what exists.' });

/** Members that are undefined left out: what `exactOptionalPropertyTypes` asks for when flags become options. */
export function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>; // entries that are undefined were just removed
  };
}

/** The list itself; it goes with `strict = false`. */
export const inputArgs = {
  path: Args.string({
    ignoreStdin: true,
    description: 'videos, folders, "patterns", @LIST, - for a list on standard input, video:- for one video there',
  }),
};

/** Which videos: the flags of every command that takes a list of inputs. */
export const inputFlags = {
  nul: Flags.boolean({
    // oclif's type knows letters only; its parser takes any character.
    char: '0' as 'z',
    summary: 'A list on standard input is separated by NUL, as `find -print0` writes it.',
    helpGroup: 'INPUT',
  }),
  hidden: Flags.boolean({ summary: 'Search hidden files and folders too.', helpGroup: 'INPUT' }),
  follow: Flags.boolean({ summary: 'Follow links to folders.', helpGroup: 'INPUT' }),
  ext: Flags.string({ helpValue: 'mp4,mkv', summary: 'Endings that count as videos in folders.', helpGroup: 'INPUT' }),
  include: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    helpValue: 'PATTERN',
    summary: 'Only files that match.',
    helpGroup: 'INPUT',
  }),
  exclude: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    helpValue: 'PATTERN',
    summary: 'No files that match.',
    helpGroup: 'INPUT',
  }),
  'max-depth': Flags.integer({ min: 1, summary: 'Levels of folders to search.', helpGroup: 'INPUT' }),
  'min-duration': Flags.string({
    helpValue: 'TIME',
    summary: 'No shorter videos, by what the header claims: seconds or hh:mm:ss.',
    helpGroup: 'INPUT',
  }),
  'max-duration': Flags.string({ helpValue: 'TIME', summary: 'No longer videos.', helpGroup: 'INPUT' }),
  limit: Flags.integer({ min: 1, summary: 'At most so many inputs.', helpGroup: 'INPUT' }),
  shuffle: Flags.integer({ min: 0, helpValue: 'SEED', summary: 'Shuffle the list, seeded.', helpGroup: 'INPUT' }),
};

/** Videos of Ego4D in place of paths: flags of commands whose results may be about them. */
export const ego4dFlags = {
  ego4d: Flags.string({
    helpValue: 'DIR',
    summary: 'Videos of Ego4D, or of what `synth` wrote, in place of paths; with --task also $EGOLENS_EGO4D_DIR.',
    helpGroup: 'EGO4D',
  }),
  task: Flags.option({
    options: ego4dTasks,
    summary: 'The task whose annotation files name the videos; default: all of ego4d.json.',
    helpGroup: 'EGO4D',
  })(),
  split: Flags.option({
    options: ego4dSplits,
    summary: 'One split of the task; default: all that are there.',
    helpGroup: 'EGO4D',
    dependsOn: ['task'],
  })(),
  'video-uids': Flags.string({
    multiple: true,
    delimiter: ',',
    helpValue: 'UID',
    summary: 'Only these videos.',
    helpGroup: 'EGO4D',
  }),
  'clip-uids': Flags.string({
    multiple: true,
    delimiter: ',',
    helpValue: 'UID',
    summary: 'These clips: their files, else their ranges of the videos.',
    helpGroup: 'EGO4D',
  }),
  'uid-file': Flags.string({
    helpValue: 'FILE',
    summary: 'Uids of videos or clips, one a line.',
    helpGroup: 'EGO4D',
  }),
};

interface Ego4dFlags {
  readonly ego4d?: string | undefined;
  readonly task?: Ego4dTask | undefined;
  readonly split?: Ego4dSplit | undefined;
  readonly 'video-uids'?: readonly string[] | undefined;
  readonly 'clip-uids'?: readonly string[] | undefined;
  readonly 'uid-file'?: string | undefined;
}

/** The selection that `ego4dFlags` make; undefined where they ask for nothing. @throws EgolensError usage.flag without a folder */
export function ego4dSelection(flags: Ego4dFlags): Ego4dSelection | undefined {
  const { task, split } = flags;
  const [videoUids, clipUids, uidFile] = [flags['video-uids'], flags['clip-uids'], flags['uid-file']];
  const asked = task ?? videoUids ?? clipUids ?? uidFile;
  const folder = flags.ego4d ?? (asked === undefined ? undefined : process.env['EGOLENS_EGO4D_DIR']);
  if (folder !== undefined && folder !== '') return { folder, ...given({ task, split, videoUids, clipUids, uidFile }) };
  if (flags.ego4d === undefined && asked === undefined) return undefined;
  throw new EgolensError('usage.flag', 'no folder of Ego4D; expected --ego4d DIR, or EGOLENS_EGO4D_DIR');
}

/** `--min-duration` and `--max-duration`; undefined without them. */
function durationsOf(flags: {
  readonly 'min-duration'?: string | undefined;
  readonly 'max-duration'?: string | undefined;
}): InputOptions['durations'] {
  const [min, max] = [flags['min-duration'], flags['max-duration']].map((text) =>
    text === undefined ? undefined : parseTime(text),
  );
  if (min === undefined && max === undefined) return undefined;
  if (min !== undefined && max !== undefined && min > max)
    throw new EgolensError('usage.flag', `expected --min-duration up to --max-duration, found ${min} and ${max}`);
  return given({ min, max });
}

/** What `listInputs` takes, from the flags above. */
export function inputOptions(
  flags: Ego4dFlags & {
    readonly nul: boolean;
    readonly hidden: boolean;
    readonly follow: boolean;
    readonly ext?: string | undefined;
    readonly include?: string[] | undefined;
    readonly exclude?: string[] | undefined;
    readonly 'max-depth'?: number | undefined;
    readonly 'min-duration'?: string | undefined;
    readonly 'max-duration'?: string | undefined;
    readonly limit?: number | undefined;
    readonly shuffle?: number | undefined;
  },
): InputOptions {
  const { nul, hidden, follow, ext, include, exclude, limit, shuffle } = flags;
  const extensions = ext?.split(',').map((one) => one.replace(/^\./, ''));
  return {
    nul,
    hidden,
    follow,
    ...given({ extensions, include, exclude, maxDepth: flags['max-depth'], limit, shuffle }),
    ...given({ durations: durationsOf(flags), ego4d: ego4dSelection(flags) }),
  };
}

/** Values of a repeated `--flag NAME=VALUE`, each name once. @throws EgolensError usage.flag */
export function parsePairs(flag: string, values: readonly string[]): Record<string, string> {
  const pairs = new Map<string, string>();
  for (const value of values) {
    const [, name, rest] = /^(\w+)=(.+)$/s.exec(value) ?? [];
    if (name === undefined || rest === undefined) {
      throw new EgolensError('usage.flag', `${flag} \`${value}\`: expected NAME=FILE`);
    }
    if (pairs.has(name)) throw new EgolensError('usage.flag', `${flag} ${name}=…: given twice`);
    pairs.set(name, rest);
  }
  return Object.fromEntries(pairs);
}

/** Timers of Node count milliseconds in 31 bits; what is longer would end at once. */
const longestMs = 2 ** 31 - 1;

/** `10m`, `90s`, `500ms`, `2h`, or seconds -> milliseconds, above 0 and at most 596 hours. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? 's'] ?? NaN;
  const milliseconds = Number(match?.[1]) * unit;
  if (!(milliseconds > 0 && milliseconds <= longestMs))
    throw new EgolensError(
      'usage.flag',
      `expected a duration such as 90s or 10m, above 0 and up to 596h, found \`${text}\``,
    );
  return milliseconds;
}

/** `6G`, `500M`, `64K`, or bytes -> bytes; K, M and G are powers of 1024. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?$/i.exec(text);
  const unit = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }[match?.[2]?.toUpperCase() ?? ''] ?? NaN;
  const bytes = Math.floor(Number(match?.[1]) * unit);
  if (!Number.isSafeInteger(bytes)) {
    throw new EgolensError('usage.flag', `expected a size such as 500M or 6G, found \`${text}\``);
  }
  return bytes;
}

/** `320x240` -> pixels. @throws EgolensError usage.flag */
export function parsePictureSize(text: string): { readonly width: number; readonly height: number } {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(text) ?? [];
  if (width === undefined || height === undefined) {
    throw new EgolensError('usage.flag', `expected a size such as 320x240, found \`${text}\``);
  }
  return { width: Number(width), height: Number(height) };
}
