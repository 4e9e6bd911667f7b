/** What `train pnr` and `train oscc` share: they train one head and differ in the metric that chooses the best checkpoint. */
import { Flags } from '@oclif/core';
import { Float } from '../json.js';
import type { TaskRecord } from '../pipeline/predict.js';
import type { StateTask } from '../pipeline/state-task.js';
import type { StateMethod, StateTraining } from '../pipeline/train-state.js';
import type { Challenge, JsonDocument, Progress } from '../types.js';
import { gradCheckFlag, gradientColumns } from './fine-tune-flags.js';
import { deviceFlags, given } from './flags.js';
import type { Column, RecordWriter } from './output.js';
import { endOf, parseResume, stepColumns, trainFlags } from './train-flags.js';
import { printChecks, stepSink, tellEnd } from './train-output.js';

const { config, epochs, lr, batch, accumulate, warmup, average, seed, resume, patience, deterministic } = trainFlags;

export const trainStateFlags = {
  features: Flags.string({ required: true, helpValue: 'DIR', summary: 'Folder that `extract` wrote.' }),
  gt: Flags.string({ required: true, helpValue: 'FILE', summary: 'Clips to learn from.' }),
  val: Flags.string({
    required: true,
    helpValue: 'FILE',
    summary: 'Clips to validate with: they choose the best checkpoint.',
  }),
  output: Flags.string({ char: 'o', required: true, helpValue: 'RUN', summary: 'Folder of the run.' }),
  'skip-missing': Flags.boolean({ summary: 'Leave out clips without features, and say how many.' }),
  'force-features': Flags.boolean({ summary: 'Mix features of several models.' }),
  name: Flags.string({ summary: "Name of the head; default: the folder's." }),
  ...{ config, epochs, lr, batch, accumulate },
  'weight-decay': trainFlags['weight-decay'],
  ...{ warmup, average, seed, resume },
  'early-stop': trainFlags['early-stop'],
  patience,
  'max-time': trainFlags['max-time'],
  deterministic,
  'grad-check': gradCheckFlag,
  clock: Flags.option({
    options: ['ego4d-grid', 'ego4d-nlq'] as const,
    summary: 'When the rows of features without a meta file are; a meta file says it itself.',
  })(),
  array: Flags.string({ helpValue: 'NAME', summary: 'Which array of a file with several; default: features.' }),
  ...deviceFlags,
};

export const trainStateDescription = (metric: string): string =>
  [
    'The head is `pnr-oscc`: convolutions over the rows of a clip of eight seconds, one logit a row for the point of no return, and one for the change of state. `train pnr` and `train oscc` train the same head on both; they differ in the metric of the best checkpoint.',
    'Clips come from fho_oscc-pnr_train.json and fho_oscc-pnr_val.json of Ego4D (Tabletop writes the same). Features are found in the folder by the uid of the video, else of the clip of some minutes that the eight seconds lie in; rows whose middle lies in the clip count.',
    `After each epoch the official evaluators score --val: mean_error_sec (seconds, lower is better) and accuracy. ${metric} chooses the best checkpoint, or what --early-stop names.`,
    'The run folder holds config.json, log.ndjson, checkpoints, learning-curve.svg and the result in final/, which `state-change --head` takes. The same command goes on with an interrupted run. On standard output one record an epoch, with -v one a step.',
  ].join('\n\n');

/** `trainStateFlags` as oclif parsed them. */
export interface TrainStateFlags {
  readonly features: string;
  readonly gt: string;
  readonly val: string;
  readonly output: string;
  readonly 'skip-missing': boolean;
  readonly 'force-features': boolean;
  readonly name?: string | undefined;
  readonly epochs?: number | undefined;
  readonly lr?: number | undefined;
  readonly batch?: number | undefined;
  readonly accumulate?: number | undefined;
  readonly 'weight-decay'?: number | undefined;
  readonly warmup?: number | undefined;
  readonly average?: number | undefined;
  readonly seed?: number | undefined;
  readonly resume?: string | undefined;
  readonly 'early-stop'?: string | undefined;
  readonly patience?: number | undefined;
  readonly 'max-time'?: string | undefined;
  readonly deterministic: boolean;
  readonly 'grad-check': boolean;
  readonly clock?: 'ego4d-grid' | 'ego4d-nlq' | undefined;
  readonly array?: string | undefined;
  readonly device: string;
  readonly threads?: number | undefined;
  readonly verbose: boolean;
}

/** Trains, and tells it. */
export async function trainStateCommand(
  task: StateTask,
  flags: TrainStateFlags,
  {
    method,
    challenges,
    writer,
    signal,
    progress,
  }: {
    readonly method: StateMethod;
    readonly challenges: Readonly<Record<StateTask, Challenge>>;
    readonly writer: (columns: readonly Column[]) => RecordWriter;
    readonly signal: AbortSignal;
    readonly progress: Progress;
  },
): Promise<void> {
  const { checkState, trainState } = await import('../pipeline/train-state.js');
  const { checkedName } = await import('../pipeline/model-folders.js');
  const steps = stepSink(writer(stepColumns), { isVerbose: flags.verbose, progress });
  const options: StateTraining = {
    ...given({
      epochs: flags.epochs,
      batch: flags.batch,
      warmup: flags.warmup,
      average: flags.average,
      threads: flags.threads ?? (flags.deterministic ? 1 : undefined),
      name: flags.name === undefined ? undefined : checkedName(flags.name),
    }),
    ...endOf(flags),
    task,
    gt: flags.gt,
    val: flags.val,
    features: flags.features,
    folder: flags.output,
    method,
    score: (of, truth, records) => scoreOf(challenges[of], truth, records),
    rate: flags.lr ?? 1e-3,
    accumulate: flags.accumulate ?? 1,
    weightDecay: flags['weight-decay'] ?? 0.05,
    seed: flags.seed ?? 0,
    resume: parseResume(flags.resume),
    skipMissing: flags['skip-missing'],
    forceFeatures: flags['force-features'],
    reading: given({ clock: flags.clock, name: flags.array }),
    device: flags.device,
    isDeterministic: flags.deterministic,
    signal,
    progress,
    onStep: steps.onStep,
  };
  if (flags['grad-check']) {
    await printChecks(writer(gradientColumns), await checkState(options));
    return;
  }
  const { head, scores, ...outcome } = await trainState(options);
  await steps.end();
  tellEnd(outcome, flags.output, { progress, written: head && [head], scores });
}

/** The official number of records in memory. */
function scoreOf(challenge: Challenge, truth: JsonDocument, records: readonly TaskRecord[]): number {
  const value = records.map((record) =>
    Object.fromEntries(Object.entries(record).map(([key, one]) => [key, one instanceof Float ? one.value : one])),
  );
  const document: JsonDocument = { name: 'predictions', bytes: 0, value, findings: [], line: () => undefined };
  const options = { ties: 'numpy', detail: false } as const;
  const { rows } = challenge.prepare([truth], [document], options).evaluate(options);
  return rows.find(({ metric }) => metric === challenge.primary.metric)?.value ?? 0;
}
