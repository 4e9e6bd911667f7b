import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { gradCheckFlag, gradientColumns } from '../../src/cli/fine-tune-flags.js';
import { deviceFlags, given } from '../../src/cli/flags.js';
import { endOf, parseResume, stepColumns, trainFlags, withConfig } from '../../src/cli/train-flags.js';
import { printChecks, stepSink, tellEnd } from '../../src/cli/train-output.js';
import { EgolensError } from '../../src/errors.js';
import type { QueryTraining, ScoredAnswer } from '../../src/pipeline/train-queries.js';
import type { Challenge, JsonDocument } from '../../src/types.js';

/** Metrics of a run by what the evaluator calls them; the first one chooses the best checkpoint. */
const metricNames = {
  r1_at_0_3: 'R@1,IoU=0.3',
  r1_at_0_5: 'R@1,IoU=0.5',
  r5_at_0_3: 'R@5,IoU=0.3',
  r5_at_0_5: 'R@5,IoU=0.5',
  mean_r1: 'mean R@1',
} as const;

export default class TrainNlq extends BaseCommand {
  static override summary = 'Train a head for Natural Language Queries from cached features: when was it that …?';
  static override description = [
    'The head is `vslnet-small`, a VSLNet that learns the words of its training questions and trains on a CPU: no text model is needed. Clips, questions and answers come from nlq_train.json and nlq_val.json of Ego4D (Tabletop writes the same); features are found in the folder by the uid of the clip, or of its video, of which those rows count whose middle lies in the clip. Questions without text or with answers of no length are left out.',
    'After each epoch the weights are scored on --val by the official evaluator: r1_at_0_3 (which chooses the best checkpoint), r1_at_0_5, r5_at_0_3, r5_at_0_5, mean_r1.',
    'The run folder holds config.json, log.ndjson, checkpoints, learning-curve.svg and the result in final/, which `nlq --head` takes. The same command goes on with an interrupted run. On standard output one record an epoch, with -v one a step.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train nlq --features features --gt nlq_train.json --val nlq_val.json -o runs/nlq',
    '<%= config.bin %> train nlq --features features --gt nlq_train.json --val nlq_val.json --early-stop mean_r1 --patience 8 --max-time 1h -o runs/nlq',
  ];
  static override flags = {
    features: Flags.string({ required: true, helpValue: 'DIR', summary: 'Folder that `extract` wrote.' }),
    gt: Flags.string({ required: true, helpValue: 'FILE', summary: 'Questions and answers to learn from.' }),
    val: Flags.string({
      required: true,
      helpValue: 'FILE',
      summary: 'Questions to validate with: they choose the best checkpoint.',
    }),
    output: Flags.string({ char: 'o', required: true, helpValue: 'RUN', summary: 'Folder of the run.' }),
    'skip-missing': Flags.boolean({ summary: 'Leave out clips without features, and say how many.' }),
    'force-features': Flags.boolean({ summary: 'Mix features of several models.' }),
    name: Flags.string({ summary: "Name of the head; default: the folder's." }),
    ...trainFlags,
    'label-smoothing': Flags.string({ hidden: true, parse: refuseSmoothing }),
    'grad-check': gradCheckFlag,
    clock: Flags.option({
      options: ['ego4d-grid', 'ego4d-nlq'] as const,
      summary: 'When the rows of features without a meta file are; a meta file says it itself.',
    })(),
    array: Flags.string({ helpValue: 'NAME', summary: 'Which array of a file with several; default: features.' }),
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainNlq, await withConfig(this.argv));
    const { queryMethod } = await import('../../heads/nlq/training.js');
    const { checkQueryGradients, trainQueries } = await import('../../src/pipeline/train-queries.js');
    const { checkedName } = await import('../../src/pipeline/model-folders.js');
    const challenge = await loadChallenge('nlq');
    const { output, deterministic } = flags;
    using progress = await this.progress(flags);
    const steps = stepSink(this.writer(flags, stepColumns), { isVerbose: flags.verbose, progress });
    const options: QueryTraining = {
      ...given({
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
      method: queryMethod,
      score: (truth, answers) => scoresOf(challenge, truth, answers),
      metrics: Object.keys(metricNames),
      rate: flags.lr ?? 1e-3,
      accumulate: flags.accumulate ?? 1,
      weightDecay: flags['weight-decay'] ?? 0.01,
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
      await printChecks(this.writer(flags, gradientColumns), await checkQueryGradients(options));
      return;
    }
    const { head, scores, ...outcome } = await trainQueries(options);
    await steps.end();
    tellEnd(outcome, output, { progress, written: head && [head], scores });
  }
}

function refuseSmoothing(): Promise<never> {
  throw new EgolensError('usage.flag', '--label-smoothing: answers have no classes');
}

/** The official numbers of answers in memory; what is undefined counts as 0. */
function scoresOf(
  challenge: Challenge,
  truth: JsonDocument,
  results: readonly ScoredAnswer[],
): Readonly<Record<string, number>> {
  const value = { version: '1.0', challenge: 'ego4d_nlq_challenge', results };
  const document: JsonDocument = { name: 'predictions', bytes: 0, value, findings: [], line: () => undefined };
  const options = { ties: 'numpy', detail: false } as const;
  const { rows } = challenge.prepare([truth], [document], options).evaluate(options);
  const byName = new Map(rows.map((row) => [row.metric, row.value]));
  return Object.fromEntries(
    Object.entries(metricNames).map(([name, metric]) => {
      const found = byName.get(metric) ?? NaN;
      return [name, Number.isFinite(found) ? found : 0];
    }),
  );
}
