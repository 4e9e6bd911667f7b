/** Flags of `train recognition --fine-tune`, and what they mean to the pipeline. */
import { Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import type { FineTuneOptions } from '../pipeline/fine-tune.js';
import type { TuningLists } from '../pipeline/fine-tune-lists.js';
import { given } from './flags.js';
import { column, type Column, type OutputRecord } from './output.js';
import { float } from '../json.js';
import type { GradientCheck } from '../train/grad-check.js';
import { endOf, numberFlag, parseResume } from './train-flags.js';

const helpGroup = 'FINE-TUNE';

/** A number within bounds, among the flags of fine-tuning. */
function tuneNumber(summary: string, [min, max]: readonly [min: number, max: number]) {
  return numberFlag({ min, max, summary, helpGroup, dependsOn: ['fine-tune'] });
}

export const fineTuneFlags = {
  'fine-tune': Flags.boolean({
    summary: 'Tune the whole encoder from the clips of --videos instead of a head over features.',
    helpGroup,
    dependsOn: ['model', 'videos'],
    exclusive: ['features', 'head', 'rows', 'force-features', 'clock', 'array', 'name'],
  }),
  model: Flags.string({
    helpValue: 'NAME|DIR',
    summary: 'Encoder to begin with.',
    helpGroup,
    dependsOn: ['fine-tune'],
  }),
  videos: Flags.string({
    multiple: true,
    helpValue: 'PATH...',
    summary: 'Files, folders or @LISTS of the videos, called by the uids or names of the segments.',
    helpGroup,
    dependsOn: ['fine-tune'],
  }),
  loaders: Flags.integer({
    min: 1,
    max: 64,
    summary: 'Videos decoded at a time; default 2. The result does not depend on it.',
    helpGroup,
    dependsOn: ['fine-tune'],
  }),
  crop: tuneNumber(
    'Least share of the picture that a random crop shows; default 0.5; 1: the crop of the preset.',
    [0.01, 1],
  ),
  flip: Flags.boolean({
    summary: 'Mirror half of the clips. Not for labels with a direction.',
    helpGroup,
    dependsOn: ['fine-tune'],
  }),
  'layer-decay': tuneNumber('Rate of a block relative to the one above it; default 0.75.', [0.01, 1]),
  'drop-path': tuneNumber('Share of residual branches of the last block that a clip skips; default 0.1.', [0, 0.9]),
  dropout: tuneNumber('Share of the feature that the head does not see; default 0.', [0, 0.9]),
  clip: tuneNumber('Largest norm of the gradients; default 0, they are not clipped.', [0, 1e6]),
  'checkpoint-blocks': Flags.boolean({
    summary: 'Compute blocks twice instead of keeping what is in them: less memory.',
    helpGroup,
    dependsOn: ['fine-tune'],
  }),
  freeze: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    helpValue: 'PATTERN',
    summary: "Parameters that stay as they are: 'encoder.blocks.[0-5].*'.",
    helpGroup,
    dependsOn: ['fine-tune'],
  }),
  'skip-broken': Flags.boolean({
    summary: 'Go on without videos that cannot be decoded, and say how many.',
    helpGroup,
    dependsOn: ['fine-tune'],
  }),
};

/** Flags of the command, as far as they matter here. */
export interface FineTuneValues {
  readonly model?: string | undefined;
  readonly videos?: readonly string[] | undefined;
  readonly gt: string;
  readonly val: string;
  readonly labels?: string | undefined;
  readonly output: string;
  readonly loaders?: number | undefined;
  readonly crop?: number | undefined;
  readonly flip: boolean;
  readonly 'layer-decay'?: number | undefined;
  readonly 'drop-path'?: number | undefined;
  readonly dropout?: number | undefined;
  readonly clip?: number | undefined;
  readonly 'checkpoint-blocks': boolean;
  readonly freeze?: readonly string[] | undefined;
  readonly 'skip-broken': boolean;
  readonly 'skip-missing': boolean;
  readonly epochs?: number | undefined;
  readonly lr?: number | undefined;
  readonly batch?: number | undefined;
  readonly accumulate?: number | undefined;
  readonly 'weight-decay'?: number | undefined;
  readonly warmup?: number | undefined;
  readonly 'label-smoothing'?: number | undefined;
  readonly average?: number | undefined;
  readonly seed?: number | undefined;
  readonly resume?: string | undefined;
  readonly 'early-stop'?: string | undefined;
  readonly patience?: number | undefined;
  readonly 'max-time'?: string | undefined;
  readonly device: string;
}

/** The lists and videos of a run. */
export function tuningLists(flags: FineTuneValues): Omit<TuningLists, 'signal' | 'progress'> {
  return {
    gt: flags.gt,
    val: flags.val,
    videos: flags.videos ?? [],
    skipMissing: flags['skip-missing'],
    ...given({ labels: flags.labels }),
  };
}

/** Everything else that the flags decide, with the defaults of the recipe. */
export function tuningOptions(
  flags: FineTuneValues,
): Omit<FineTuneOptions, 'head' | 'labels' | 'train' | 'val' | 'threads' | 'signal' | 'progress' | 'onStep'> {
  if (flags.model === undefined)
    throw new EgolensError('usage.flag', '--fine-tune: expected a model to begin with (`--model`)');
  const epochs = flags.epochs ?? 30;
  return {
    model: flags.model,
    folder: flags.output,
    settings: {
      batch: flags.batch ?? 8,
      layerDecay: flags['layer-decay'] ?? 0.75,
      weightDecay: flags['weight-decay'] ?? 0.05,
      dropout: flags.dropout ?? 0,
      dropPath: flags['drop-path'] ?? 0.1,
      clip: flags.clip ?? 0,
      average: flags.average ?? 0,
      checkpointBlocks: flags['checkpoint-blocks'],
      freeze: flags.freeze ?? [],
    },
    augmentation: { crop: flags.crop ?? 0.5, flip: flags.flip },
    epochs,
    rate: flags.lr ?? 5e-4,
    warmup: flags.warmup ?? epochs / 10,
    smoothing: flags['label-smoothing'] ?? 0.1,
    seed: flags.seed ?? 0,
    accumulate: flags.accumulate ?? 1,
    loaders: flags.loaders ?? 2,
    skipBroken: flags['skip-broken'],
    resume: parseResume(flags.resume),
    ...endOf(flags),
    device: flags.device,
  };
}

/** `--grad-check` of the commands that train. */
export const gradCheckFlag = Flags.boolean({
  summary: 'Compare the gradient of the first batch with finite differences, print the table, and train nothing.',
});

export const gradientColumns: readonly Column[] = [
  column('part'),
  ...['parameters', 'slope', 'difference', 'error'].map((key) => column(key, 'right')),
  column('agrees'),
];

/** A check as a record for standard output. */
export function gradientOutput({ part, parameters, slope, difference, error, agrees }: GradientCheck): OutputRecord {
  return {
    schema: 'egolens.gradient-check/1',
    ...{ part, parameters, agrees },
    slope: float(slope),
    difference: float(difference),
    error: float(error),
  };
}
