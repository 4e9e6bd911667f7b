import { Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import type { InputOptions } from '../pipeline/inputs.js';
import { given } from './flags.js';

/** `90`, `500ms`, `60s`, `10m`, `1.5h` -> milliseconds; a bare number counts seconds. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)?$/.exec(text);
  const value = Number(match?.[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[(match?.[2] ?? 's') as 'ms'];
  // A timer of Node holds 31 bits.
  if (match === null || value < 1 || value >= 2 ** 31) {
    throw new EgolensError('usage.flag', `expected a duration such as \`60s\` or \`10m\`, found \`${text}\``);
  }
  return value;
}

const duration = Flags.custom<number>({ parse: (text) => Promise.resolve(parseDuration(text)) });

/** Which files are inputs (cli.md 1, Inputs). */
export const inputFlags = {
  null: Flags.boolean({
    aliases: ['0'],
    summary: 'The list on standard input is separated by NUL (-0).',
    helpGroup: 'INPUT',
  }),
  ext: Flags.string({
    helpValue: 'mp4,mkv',
    summary: 'Endings that count as videos in folders; default: the usual ones.',
    helpGroup: 'INPUT',
  }),
  include: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    helpValue: 'PATTERN',
    summary: 'Only files of folders that match.',
    helpGroup: 'INPUT',
  }),
  exclude: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    helpValue: 'PATTERN',
    summary: 'No files of folders that match.',
    helpGroup: 'INPUT',
  }),
  hidden: Flags.boolean({ summary: 'Hidden files and folders too.', helpGroup: 'INPUT' }),
  follow: Flags.boolean({ summary: 'Follow links to folders.', helpGroup: 'INPUT' }),
  'max-depth': Flags.integer({ min: 1, summary: 'Levels of folders to look into.', helpGroup: 'INPUT' }),
  limit: Flags.integer({ min: 0, summary: 'At most so many inputs.', helpGroup: 'INPUT' }),
  shuffle: Flags.integer({
    helpValue: 'SEED',
    summary: 'Order of the inputs by chance, from a seed.',
    helpGroup: 'INPUT',
  }),
};

/** Work over many inputs where some may be bad (cli.md 1, Robustness). */
export const batchFlags = {
  jobs: Flags.integer({ char: 'j', min: 1, max: 256, default: 1, summary: 'Inputs at once.', helpGroup: 'BATCH' }),
  errors: Flags.string({
    helpValue: 'FILE',
    summary: 'Also write the error records there, as NDJSON.',
    helpGroup: 'BATCH',
  }),
  timeout: duration({ helpValue: '10m', summary: 'Longest time for one input; default: none.', helpGroup: 'BATCH' }),
  'stall-timeout': duration({
    helpValue: '60s',
    summary: 'Longest time without any sign of the decoder; default 60s.',
    helpGroup: 'BATCH',
  }),
};

/** The input flags of a command as options of `listInputs`. */
export function inputOptions(flags: {
  readonly null: boolean;
  readonly ext: string | undefined;
  readonly include: string[] | undefined;
  readonly exclude: string[] | undefined;
  readonly hidden: boolean;
  readonly follow: boolean;
  readonly 'max-depth': number | undefined;
  readonly limit: number | undefined;
  readonly shuffle: number | undefined;
}): InputOptions {
  return {
    nul: flags.null,
    hidden: flags.hidden,
    follow: flags.follow,
    ...given({
      extensions: flags.ext?.split(',').map((ext) => ext.replace(/^\./, '')),
      include: flags.include,
      exclude: flags.exclude,
      maxDepth: flags['max-depth'],
      limit: flags.limit,
      shuffle: flags.shuffle,
    }),
  };
}
