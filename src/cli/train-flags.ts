/** Flags that the commands which train share, and their settings in a file. */
import { Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import { readSmallFile } from '../files.js';
import { float } from '../json.js';
import type { StepRecord } from '../train/trainer.js';
import { given, parseDuration } from './flags.js';
import { column, type Column, type OutputRecord } from './output.js';

/** A number within bounds. */
export function numberFlag(bounds: {
  readonly min: number;
  readonly max: number;
  readonly summary: string;
  readonly helpGroup?: string;
  readonly dependsOn?: string[];
}) {
  const { min, max, ...shown } = bounds;
  return Flags.custom<number>({
    helpValue: 'X',
    ...shown,
    parse(text) {
      const value = text.trim() === '' ? NaN : Number(text);
      if (value >= min && value <= max) return Promise.resolve(value);
      throw new EgolensError('usage.flag', `expected a number from ${min} to ${max}, found \`${text}\``);
    },
  })();
}

/** Length and pace of a run, its seed, and how it ends. */
export const trainFlags = {
  config: Flags.string({
    helpValue: 'FILE.json',
    summary: 'Flags in a file: an object of names without dashes; those of the command line count before it.',
  }),
  epochs: Flags.integer({ min: 1, max: 1_000_000, summary: 'Passes over the training split.' }),
  lr: numberFlag({ min: 0, max: 1000, summary: 'Learning rate at the end of the warm-up.' }),
  batch: Flags.integer({ min: 1, max: 1_000_000, summary: 'Segments of one step.' }),
  accumulate: Flags.integer({ min: 1, max: 100_000, summary: 'Steps whose gradients make one update; default 1.' }),
  'weight-decay': numberFlag({ min: 0, max: 1000, summary: 'Decoupled decay of matrices.' }),
  warmup: numberFlag({ min: 0, max: 1_000_000, summary: 'Epochs over which the rate rises; parts of one too.' }),
  'label-smoothing': numberFlag({ min: 0, max: 0.99, summary: 'Share of each target that goes to all classes.' }),
  average: numberFlag({
    min: 0,
    max: 0.999999,
    summary: 'Keep and use a moving average of the weights, of this decay.',
  }),
  seed: Flags.integer({ min: 0, max: 2 ** 32 - 1, summary: 'Seed of weights and order; default 0.' }),
  resume: Flags.string({
    helpValue: 'auto|no|STEP',
    summary: 'Go on with the run in the folder, from its newest or a named checkpoint; no: refuse one. Default auto.',
  }),
  'early-stop': Flags.string({
    helpValue: 'METRIC',
    summary: 'Metric of the best checkpoint; the run ends when it has not risen for --patience epochs.',
  }),
  patience: Flags.integer({ min: 1, summary: 'Epochs without a better score that end the run; default 10.' }),
  'max-time': Flags.string({ helpValue: '2h', summary: 'Save and end after this time.' }),
  deterministic: Flags.boolean({
    summary: 'One thread, or the number given, as part of the run: the same numbers on every start.',
  }),
};

/** `--resume` as the trainer takes it. @throws EgolensError usage.flag */
export function parseResume(text = 'auto'): 'auto' | 'no' | number {
  if (text === 'auto' || text === 'no') return text;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new EgolensError('usage.flag', `--resume \`${text}\`: expected auto, no, or the step of a checkpoint`);
}

/** When a run ends before its last epoch. */
export function endOf(flags: {
  readonly 'early-stop'?: string | undefined;
  readonly patience?: number | undefined;
  readonly 'max-time'?: string | undefined;
}): { metric?: string; patience?: number; maxSeconds?: number } {
  const { patience } = flags;
  const time = flags['max-time'];
  return given({
    metric: flags['early-stop'],
    patience: patience ?? (flags['early-stop'] === undefined ? undefined : 10),
    maxSeconds: time === undefined ? undefined : parseDuration(time) / 1000,
  });
}

/**
 * The arguments of a command with what the file of its `--config` says before them.
 *
 * @throws EgolensError input.*, data.invalid for a file that holds no object of flags of the command
 */
export async function withConfig(
  argv: readonly string[],
  command: { readonly flags: object; readonly baseFlags: object },
): Promise<string[]> {
  const path = configOf(argv);
  if (path === undefined) return [...argv];
  const text = new TextDecoder().decode(await readSmallFile(path, 2 ** 20));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${path}\`: no JSON: ${(cause as Error).message}`, { cause, input: path });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new EgolensError('data.invalid', `\`${path}\`: expected an object of flags`, { input: path });
  }
  const known = new Set(Object.keys({ ...command.baseFlags, ...command.flags }));
  const said = new Set(argv.flatMap((word) => /^--([a-z-]+)/.exec(word)?.[1] ?? shortNames[word.slice(0, 2)] ?? []));
  const words = Object.entries(value).flatMap(([name, member]: [string, unknown]) => {
    if (!/^[a-z][a-z-]*$/.test(name)) {
      throw new EgolensError(
        'data.invalid',
        `\`${path}\`: expected names of flags without dashes before them, as \`weight-decay\`, found ${JSON.stringify(name)}`,
        { input: path },
      );
    }
    if (!known.has(name)) {
      throw new EgolensError('data.invalid', `\`${path}\`: \`${name}\`: expected a flag of this command`, {
        input: path,
        try: '`--help` lists them',
      });
    }
    if (said.has(name) || member === false || member === null) return [];
    if (member === true) return [`--${name}`];
    if (typeof member === 'number' || typeof member === 'string') return [`--${name}=${member}`];
    throw new EgolensError('data.invalid', `\`${path}\`: \`${name}\`: expected a number, a text, true or false`, {
      input: path,
    });
  });
  return [...words, ...argv];
}

/** Flags of the training commands that have a letter. */
const shortNames: Readonly<Record<string, string>> = { '-o': 'output', '-f': 'format', '-q': 'quiet', '-v': 'verbose' };

function configOf(argv: readonly string[]): string | undefined {
  const at = argv.findIndex((word) => word === '--config' || word.startsWith('--config='));
  if (at < 0) return undefined;
  const [, joined] = /^--config=(.*)$/s.exec(argv[at]!) ?? []; // found just now
  return joined ?? argv[at + 1];
}

/** Columns of a table of steps. */
export const stepColumns: readonly Column[] = [
  ...['step', 'epoch', 'loss', 'lr', 'grad_norm'].map((key) => column(key, 'right')),
  {
    header: 'metrics',
    cell: ({ metrics }) =>
      Object.entries((metrics ?? {}) as Readonly<Record<string, { readonly value: number } | string>>) // as below
        .map(([name, value]) => `${name} ${typeof value === 'string' ? value : value.value.toFixed(4)}`)
        .join(', '),
  },
];

/** A step as a record for standard output: floats keep their point. */
export function stepOutput({ loss, parts, lr, grad_norm, metrics, ...record }: StepRecord): OutputRecord {
  const floats = (values: Readonly<Record<string, number | string>>) =>
    Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, typeof value === 'number' ? float(value) : value]),
    );
  return {
    ...record,
    loss: float(loss),
    ...(parts && { parts: floats(parts) }),
    lr: float(lr),
    grad_norm: float(grad_norm),
    ...(metrics && { metrics: floats(metrics) }),
  };
}

/** `loss 1.2345, verb_top1 0.4512`, for people. */
export function metricText(metrics: Readonly<Record<string, number | string>>): string {
  return Object.entries(metrics)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? value.toFixed(4) : value}`)
    .join(', ');
}
