/** What the commands that train the head of a task share (`train mq` and its like): flags, run, official scores. A command adds what is its task's own. */
import { Flags } from '@oclif/core';
import { Float } from '../json.js';
import type { HeadTraining, HeadTrainingOptions, TrainedHead } from '../pipeline/train-head.js';
import type { Challenge, JsonDocument } from '../types.js';
import type { CommonFlags, Parsed, Shell } from './base-command.js';
import { gradCheckFlag, gradientColumns } from './fine-tune-flags.js';
import { deviceFlags, given } from './flags.js';
import { endOf, parseResume, stepColumns, trainFlags } from './train-flags.js';
import { printChecks, stepSink, tellEnd } from './train-output.js';

const { config, epochs, lr, batch, accumulate, warmup, average, seed, resume, patience, deterministic } = trainFlags;

/** Flags of every command that trains a head. `what`: what the annotation files hold, for people: `Clips`. */
export function trainHeadFlags(what: string) {
  return {
    features: Flags.string({ required: true, helpValue: 'DIR', summary: 'Folder that `extract` wrote.' }),
    gt: Flags.string({ required: true, helpValue: 'FILE', summary: `${what} to learn from.` }),
    val: Flags.string({
      required: true,
      helpValue: 'FILE',
      summary: `${what} to validate with: they choose the best checkpoint.`,
    }),
    output: Flags.string({ char: 'o', required: true, helpValue: 'RUN', summary: 'Folder of the run.' }),
    'skip-missing': Flags.boolean({ summary: 'Leave out what has no features, and say how much.' }),
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
}

/** The last paragraph of the help of every such command. */
export const runFolderText = (command: string): string =>
  `The run folder holds config.json, log.ndjson, checkpoints, learning-curve.svg and the result in final/, which \`${command} --head\` takes. The same command goes on with an interrupted run. On standard output one record an epoch, with -v one a step.`;

/** `trainHeadFlags` as oclif parsed them, and how loud to be. */
export type TrainHeadFlags = Parsed<ReturnType<typeof trainHeadFlags>> & Pick<CommonFlags, 'verbose'>;

/** Trains the head of a task, and tells it. */
export async function trainHeadCommand<Task extends HeadTraining>(
  flags: TrainHeadFlags,
  { writer, signal, progress }: Pick<Shell, 'writer' | 'signal' | 'progress'>,
  task: {
    /** Where the user says nothing. */
    readonly rate: number;
    readonly weightDecay: number;
    /** Reads the files of the run. */
    prepare(options: HeadTrainingOptions): Promise<Task>;
    /** In place of `trainHead`. */
    readonly train?: ((options: HeadTrainingOptions, prepared: Task) => Promise<TrainedHead>) | undefined;
  },
): Promise<void> {
  const { checkHead, trainHead } = await import('../pipeline/train-head.js');
  const { checkedName } = await import('../pipeline/model-folders.js');
  const steps = stepSink(writer(stepColumns), { isVerbose: flags.verbose, progress });
  const options: HeadTrainingOptions = {
    ...given({
      epochs: flags.epochs,
      batch: flags.batch,
      warmup: flags.warmup,
      average: flags.average,
      threads: flags.threads ?? (flags.deterministic ? 1 : undefined),
      name: flags.name === undefined ? undefined : checkedName(flags.name),
    }),
    ...endOf(flags),
    gt: flags.gt,
    val: flags.val,
    features: flags.features,
    folder: flags.output,
    rate: flags.lr ?? task.rate,
    accumulate: flags.accumulate ?? 1,
    weightDecay: flags['weight-decay'] ?? task.weightDecay,
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
  const prepared = await task.prepare(options);
  if (flags['grad-check']) {
    await printChecks(writer(gradientColumns), await checkHead(options, prepared));
    return;
  }
  const { head, scores, ...outcome } = await (task.train ?? trainHead)(options, prepared);
  await steps.end();
  tellEnd(outcome, flags.output, { progress, written: head && [head], scores });
}

/**
 * Official numbers of predictions in memory: the evaluator's metrics under the names of the run. What is undefined counts as 0.
 *
 * @param predictions what a prediction file holds, or records
 */
export function officialScores(
  challenge: Challenge,
  truth: JsonDocument,
  predictions: object,
  metrics: Readonly<Record<string, string>>,
): Record<string, number> {
  const value = plainRecord(predictions);
  const document: JsonDocument = { name: 'predictions', bytes: 0, value, findings: [], line: () => undefined };
  const options = { ties: 'numpy', detail: false } as const;
  const { rows } = challenge.prepare([truth], [document], options).evaluate(options);
  const byName = new Map(rows.map((row) => [row.metric, row.value]));
  return Object.fromEntries(
    Object.entries(metrics).map(([name, metric]) => {
      const found = byName.get(metric) ?? NaN;
      return [name, Number.isFinite(found) ? found : 0];
    }),
  );
}

/** Records as a file would give them back: floats are numbers, nested ones too. */
function plainRecord(value: unknown): unknown {
  if (value instanceof Float) return value.value;
  if (Array.isArray(value)) return value.map(plainRecord);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plainRecord(member)]));
}
