import { Flags, type Interfaces } from '@oclif/core';
import { parseBound } from '../pipeline/score-rows.js';
import type { ScoreOptions } from '../pipeline/score.js';
import { fhpScaleFlag } from './challenge-flags.js';
import { given } from './flags.js';

const files = { multiple: true, multipleNonGreedy: true, helpValue: 'FILE' } as const;
/** Samples of `--compare` where `--bootstrap` is not given. */
const usualSamples = 1000;

/** The flags of `eval`. */
export const scoreFlags = {
  gt: Flags.string({
    ...files,
    required: true,
    summary: 'Truth; more than one where the official code reads several.',
  }),
  pred: Flags.string({ ...files, required: true, summary: 'Predictions.' }),
  split: Flags.string({ summary: 'Split to score, where the truth holds several.' }),
  official: Flags.boolean({ summary: 'Rows of the official numbers only.', exclusive: ['corrected'] }),
  corrected: Flags.boolean({ summary: 'Rows of the corrected numbers only; bounds are held against them.' }),
  ties: Flags.option({
    options: ['numpy', 'first', 'last'] as const,
    default: 'numpy',
    summary: 'Which of equal scores comes first: as the official sort has it, or the earlier or later listed.',
  })(),
  'per-class': Flags.boolean({ summary: 'Rows by class too.' }),
  'per-item': Flags.string({
    helpValue: 'FILE',
    summary: 'Rows by item into a file: ndjson, or csv, tsv by its ending.',
  }),
  bootstrap: Flags.integer({
    min: 1,
    max: 1_000_000,
    helpValue: 'N',
    summary: '95 % intervals from N resamples of videos or clips.',
  }),
  seed: Flags.integer({ min: 0, max: 2 ** 32 - 1, default: 0, summary: 'Seed of the resamples.' }),
  compare: Flags.string({
    ...files,
    summary: 'Other predictions: difference, its interval and p by paired resamples.',
  }),
  min: Flags.string({ ...files, helpValue: 'METRIC=VALUE', summary: 'Exit with 5 when the number is below.' }),
  max: Flags.string({ ...files, helpValue: 'METRIC=VALUE', summary: 'Exit with 5 when the number is above.' }),
  plot: Flags.string({ helpValue: 'DIR', summary: 'Curves and bars by class as SVG and PNG files.' }),
  'fhp-scale': fhpScaleFlag(),
  'input-actions': Flags.integer({ min: 1, summary: 'lta: actions seen before the first that is asked.' }),
};

/** What `score` takes, from the flags. */
export function scoreOptions(
  flags: Interfaces.InferredFlags<typeof scoreFlags>,
): Omit<ScoreOptions, 'progress' | 'signal'> {
  const samples = flags.bootstrap ?? (flags.compare === undefined ? undefined : usualSamples);
  return {
    ...given({ split: flags.split, plot: flags.plot, compare: flags.compare }),
    ...given({ fhpScale: flags['fhp-scale'], inputActions: flags['input-actions'] }),
    ...given({ variant: flags.official ? 'official' : flags.corrected ? 'corrected' : undefined } as const),
    ...given({ bootstrap: samples === undefined ? undefined : { samples, seed: flags.seed } }),
    ties: flags.ties,
    perClass: flags['per-class'],
    perItem: flags['per-item'] !== undefined,
    bounds: [
      ...(flags.min ?? []).map((text) => parseBound('min', text)),
      ...(flags.max ?? []).map((text) => parseBound('max', text)),
    ],
  };
}
