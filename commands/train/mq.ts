import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { gradCheckFlag, gradientColumns } from '../../src/cli/fine-tune-flags.js';
import { deviceFlags, given } from '../../src/cli/flags.js';
import { endOf, parseResume, stepColumns, trainFlags, withConfig } from '../../src/cli/train-flags.js';
import { printChecks, stepSink, tellEnd } from '../../src/cli/train-output.js';
import { Float } from '../../src/json.js';
import type { MomentTraining } from '../../src/pipeline/train-moments.js';
import type { PredictionRecord } from '../../src/pipeline/predict.js';
import type { Challenge, JsonDocument } from '../../src/types.js';

/** Metrics of a run by what the evaluator calls them; the first one ranks. */
const metricNames = {
  average_map: 'Average mAP',
  map_at_0_5: 'mAP,tIoU=0.5',
  recall_1x_at_0_5: 'Recall@1x,tIoU=0.5',
} as const;

export default class TrainMq extends BaseCommand {
  static override summary = 'Train a head for Moment Queries from cached features: when do activities happen?';
  static override description = [
    'The head is `actionformer-small`, an ActionFormer of four levels that trains on a CPU. Clips and labels come from moments_train.json and moments_val.json of Ego4D (Tabletop writes the same); features are found in the folder by the uid of the clip, or of its video, which the clips are then cut out of. Only primary labels of at least a quarter second count.',
    'The classes are those of moment_classes_idx.json beside --gt, else of --labels, else the labels in --gt.',
    'After each epoch the moving average of the weights is scored on --val by the official evaluator: average_map (which chooses the best checkpoint), map_at_0_5, recall_1x_at_0_5.',
    'The run folder holds config.json, log.ndjson, checkpoints, learning-curve.svg and the result in final/, which `moments --head` takes. The same command goes on with an interrupted run. On standard output one record an epoch, with -v one a step.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train mq --features features --gt moments_train.json --val moments_val.json -o runs/mq',
    '<%= config.bin %> train mq --features features --gt moments_train.json --val moments_val.json --early-stop average_map --patience 8 --max-time 1h -o runs/mq',
  ];
  static override flags = {
    features: Flags.string({ required: true, helpValue: 'DIR', summary: 'Folder that `extract` wrote.' }),
    gt: Flags.string({ required: true, helpValue: 'FILE', summary: 'Moments to learn from.' }),
    val: Flags.string({
      required: true,
      helpValue: 'FILE',
      summary: 'Moments to validate with: they choose the best checkpoint.',
    }),
    output: Flags.string({ char: 'o', required: true, helpValue: 'RUN', summary: 'Folder of the run.' }),
    labels: Flags.string({
      helpValue: 'NAME|FILE',
      summary: 'Classes in their order: a list of `labels list`, a file of one, or moment_classes_idx.json.',
    }),
    'skip-missing': Flags.boolean({ summary: 'Leave out clips without features, and say how many.' }),
    'force-features': Flags.boolean({ summary: 'Mix features of several models.' }),
    name: Flags.string({ summary: "Name of the head; default: the folder's." }),
    ...trainFlags,
    'grad-check': gradCheckFlag,
    clock: Flags.option({
      options: ['ego4d-grid', 'ego4d-nlq'] as const,
      summary: 'When the rows of features without a meta file are; a meta file says it itself.',
    })(),
    array: Flags.string({ helpValue: 'NAME', summary: 'Which array of a file with several; default: features.' }),
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainMq, await withConfig(this.argv));
    const { actionFormerMethod } = await import('../../heads/actionformer-feeds.js');
    const { checkMoments, trainMoments } = await import('../../src/pipeline/train-moments.js');
    const { checkedName } = await import('../../src/pipeline/model-folders.js');
    const challenge = await loadChallenge('mq');
    const { output, deterministic } = flags;
    using progress = await this.progress(flags);
    const steps = stepSink(this.writer(flags, stepColumns), { isVerbose: flags.verbose, progress });
    const options: MomentTraining = {
      ...given({
        labels: flags.labels,
        epochs: flags.epochs,
        batch: flags.batch,
        warmup: flags.warmup,
        average: flags.average,
        threads: flags.threads ?? (deterministic ? 1 : undefined),
        name: flags.name === undefined ? undefined : checkedName(flags.name),
      }),
      ...endOf(flags),
      gt: flags.gt,
      val: flags.val,
      features: flags.features,
      folder: output,
      method: actionFormerMethod,
      score: (truth, records) => scoresOf(challenge, truth, records),
      metrics: Object.keys(metricNames),
      rate: flags.lr ?? 1e-3,
      accumulate: flags.accumulate ?? 1,
      weightDecay: flags['weight-decay'] ?? 0.05,
      smoothing: flags['label-smoothing'] ?? 0,
      seed: flags.seed ?? 0,
      resume: parseResume(flags.resume),
      skipMissing: flags['skip-missing'],
      forceFeatures: flags['force-features'],
      reading: given({ clock: flags.clock, name: flags.array }),
      device: flags.device,
      isDeterministic: deterministic,
      signal: this.signal,
      progress,
      onStep: steps.onStep,
    };
    if (flags['grad-check']) {
      await printChecks(this.writer(flags, gradientColumns), await checkMoments(options));
      return;
    }
    const { head, scores, ...outcome } = await trainMoments(options);
    await steps.end();
    tellEnd(outcome, output, { progress, written: head && [head], scores });
  }
}

/** The official numbers of records in memory; what is undefined counts as 0. */
function scoresOf(
  challenge: Challenge,
  truth: JsonDocument,
  records: readonly PredictionRecord[],
): Readonly<Record<string, number>> {
  const value = records.map((record) =>
    Object.fromEntries(Object.entries(record).map(([key, one]) => [key, one instanceof Float ? one.value : one])),
  );
  const document: JsonDocument = { name: 'predictions', bytes: 0, value, findings: [], line: () => undefined };
  const { rows } = challenge
    .prepare([truth], [document], { ties: 'numpy', detail: false })
    .evaluate({ ties: 'numpy', detail: false });
  const byName = new Map(rows.map((row) => [row.metric, row.value]));
  return Object.fromEntries(Object.entries(metricNames).map(([name, metric]) => [name, finite(byName.get(metric))]));
}

function finite(value: number | undefined): number {
  return value !== undefined && Number.isFinite(value) ? value : 0;
}
