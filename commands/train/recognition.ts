import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { deviceFlags, given } from '../../src/cli/flags.js';
import {
  fineTuneFlags,
  gradCheckFlag,
  gradientColumns,
  tuningLists,
  tuningOptions,
} from '../../src/cli/fine-tune-flags.js';
import { endOf, parseResume, stepColumns, trainFlags, withConfig } from '../../src/cli/train-flags.js';
import { printChecks, stepSink, tellEnd } from '../../src/cli/train-output.js';
import type { RecognitionTraining } from '../../src/pipeline/train-recognition.js';

/** Families of heads by what `--head` calls them. */
const headNames = { linear: 'linear-probe', attentive: 'attentive-probe', ridge: 'linear-probe' } as const;
/** Learning rates that suit standardised features and a pooling that is trained from nothing. */
const rates = { linear: 2e-3, attentive: 5e-4, ridge: 0 } as const;

export default class TrainRecognition extends BaseCommand {
  static override summary =
    'Train a recognition head from cached features: verbs and nouns of actions, or labels of your own.';
  static override description = [
    'Segments with labels come from fho_lta_train.json and fho_lta_val.json of Ego4D (Tabletop writes the same), or from lists of your own: CSV with a header line, NDJSON or JSON with `id` or `input`, `start`, `end`, and `label`, or `verb` and `noun`. Features are found in the folder by the uid of video or clip, for own lists by the name of the file.',
    'The classes are those of fho_lta_taxonomy.json beside --gt, else of --labels, else the names in --gt. Labels outside the list are refused.',
    'linear: mean of the rows, standardised, one linear layer a kind. attentive: attention over the rows. ridge: least squares in closed form, at once and exact.',
    '--fine-tune --model M --videos PATH…: the whole encoder M learns with a head of verbs and nouns on its feature, from clips that are decoded on the way. final/encoder/ is what `--model` takes, final/head/ what `--head` takes over its features.',
    'The run folder holds config.json, log.ndjson, checkpoints, learning-curve.svg and the result in final/, which `recognize --head` takes. The same command goes on with an interrupted run. On standard output one record an epoch, with -v one a step.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train recognition --features features --gt fho_lta_train.json --val fho_lta_val.json -o runs/verbs',
    '<%= config.bin %> train recognition --features features --gt train.csv --val val.csv --head attentive -o runs/mine',
    '<%= config.bin %> train recognition --features features --gt train.csv --val val.csv --early-stop top1 --patience 5 --max-time 1h -o runs/mine',
    '<%= config.bin %> train recognition --fine-tune --model videomae-b --videos videos/ --gt fho_lta_train.json --val fho_lta_val.json -o runs/tuned',
  ];
  static override flags = {
    features: Flags.string({
      helpValue: 'DIR',
      summary: 'Folder that `extract` wrote.',
      exactlyOne: ['features', 'fine-tune'],
    }),
    gt: Flags.string({ required: true, helpValue: 'FILE', summary: 'Segments to learn from.' }),
    val: Flags.string({
      required: true,
      helpValue: 'FILE',
      summary: 'Segments to validate with: they choose the best checkpoint.',
    }),
    output: Flags.string({ char: 'o', required: true, helpValue: 'RUN', summary: 'Folder of the run.' }),
    head: Flags.option({
      options: ['linear', 'attentive', 'ridge'] as const,
      default: 'linear',
      summary: 'What is trained.',
    })(),
    labels: Flags.string({
      helpValue: 'NAME|FILE',
      summary: 'Classes in their order: a list of `labels list`, a file, or a taxonomy of verbs and nouns.',
    }),
    rows: Flags.integer({
      min: 1,
      max: 4096,
      default: 64,
      summary: 'attentive: most rows of a segment, evenly spaced ones of more.',
    }),
    'skip-missing': Flags.boolean({ summary: 'Leave out segments without features, and say how many.' }),
    'force-features': Flags.boolean({ summary: 'Mix features of several models.' }),
    name: Flags.string({ summary: "Name of the head; default: the folder's." }),
    ...trainFlags,
    'grad-check': gradCheckFlag,
    ...fineTuneFlags,
    clock: Flags.option({
      options: ['ego4d-grid', 'ego4d-nlq'] as const,
      summary: 'When the rows of features without a meta file are; a meta file says it itself.',
    })(),
    array: Flags.string({ helpValue: 'NAME', summary: 'Which array of a file with several; default: features.' }),
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainRecognition, await withConfig(this.argv));
    const { headOf } = await import('../../heads/index.js');
    const { checkRecognition, trainRecognition } = await import('../../src/pipeline/train-recognition.js');
    const { checkedName } = await import('../../src/pipeline/model-folders.js');
    const { head, output, deterministic } = flags;
    const threads = flags.threads ?? (deterministic ? 1 : undefined);
    using progress = await this.progress(flags);
    const steps = stepSink(this.writer(flags, stepColumns), { isVerbose: flags.verbose, progress });
    const shared = { signal: this.signal, progress };
    if (flags['fine-tune']) {
      const { checkFineTuning, fineTuneRecognition } = await import('../../src/pipeline/fine-tune.js');
      const { tuningSplits } = await import('../../src/pipeline/fine-tune-lists.js');
      const splits = await tuningSplits({ ...tuningLists(flags), ...shared });
      const own = { ...tuningOptions(flags), ...splits, ...shared, ...given({ threads }), onStep: steps.onStep };
      const options = { ...own, head: headOf('recognition-head')! }; // one of ours
      if (flags['grad-check']) {
        await printChecks(this.writer(flags, gradientColumns), await checkFineTuning(options));
        return;
      }
      const { final, ...outcome } = await fineTuneRecognition(options);
      await steps.end();
      tellEnd(outcome, output, { progress, written: final && [final.encoder, final.head] });
      return;
    }
    const options: RecognitionTraining = {
      ...given({
        labels: flags.labels,
        epochs: flags.epochs,
        batch: flags.batch,
        warmup: flags.warmup,
        average: flags.average,
        threads,
        name: flags.name === undefined ? undefined : checkedName(flags.name),
      }),
      ...endOf(flags),
      features: flags.features!, // without --fine-tune there is one
      gt: flags.gt,
      val: flags.val,
      folder: output,
      family: headOf(headNames[head])!, // one of ours
      method: head === 'ridge' ? 'ridge' : 'gradient',
      rows: flags.rows,
      rate: flags.lr ?? rates[head],
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
      ...shared,
      onStep: steps.onStep,
    };
    if (flags['grad-check']) {
      await printChecks(this.writer(flags, gradientColumns), await checkRecognition(options));
      return;
    }
    const { head: written, scores, ...outcome } = await trainRecognition(options);
    await steps.end();
    tellEnd(outcome, output, { progress, written: written && [written], scores });
  }
}
