import { Flags } from '@oclif/core';
import { BaseCommand, type Shell } from '../../src/cli/base-command.js';
import {
  fineTuneFlags,
  gradientColumns,
  tuningLists,
  tuningOptions,
  type FineTuneValues,
} from '../../src/cli/fine-tune-flags.js';
import { given } from '../../src/cli/flags.js';
import { stepColumns, trainFlags, withConfig } from '../../src/cli/train-flags.js';
import {
  runFolderText,
  trainHeadCommand,
  trainHeadFlags,
  type TrainHeadFlags,
} from '../../src/cli/train-head-command.js';
import { printChecks, stepSink, tellEnd } from '../../src/cli/train-output.js';

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
    runFolderText('recognize'),
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train recognition --features features --gt fho_lta_train.json --val fho_lta_val.json -o runs/verbs',
    '<%= config.bin %> train recognition --features features --gt train.csv --val val.csv --head attentive -o runs/mine',
    '<%= config.bin %> train recognition --features features --gt train.csv --val val.csv --early-stop top1 --patience 5 --max-time 1h -o runs/mine',
    '<%= config.bin %> train recognition --fine-tune --model videomae-b --videos videos/ --gt fho_lta_train.json --val fho_lta_val.json -o runs/tuned',
  ];
  static override flags = {
    ...trainHeadFlags('Segments'),
    features: Flags.string({
      helpValue: 'DIR',
      summary: 'Folder that `extract` wrote.',
      exactlyOne: ['features', 'fine-tune'],
    }),
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
    'label-smoothing': trainFlags['label-smoothing'],
    ...fineTuneFlags,
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainRecognition, await withConfig(this.argv, TrainRecognition));
    using progress = await this.progress(flags);
    const { features, head, labels, rows } = flags;
    if (features === undefined) {
      await fineTune(flags, this.shell(flags, progress));
      return;
    }
    const { headOf } = await import('../../heads/index.js');
    const { prepareRecognition, solveRecognition } = await import('../../src/pipeline/train-recognition.js');
    await trainHeadCommand({ ...flags, features }, this.shell(flags, progress), {
      rate: rates[head],
      weightDecay: 0.05,
      prepare: (options) =>
        prepareRecognition({
          ...options,
          ...given({ labels }),
          family: headOf(headNames[head])!, // one of ours
          rows,
          smoothing: flags['label-smoothing'] ?? 0,
        }),
      train: head === 'ridge' ? solveRecognition : undefined,
    });
  }
}

async function fineTune(
  flags: FineTuneValues & Pick<TrainHeadFlags, 'threads' | 'deterministic' | 'grad-check' | 'verbose'>,
  { writer, signal, progress }: Shell,
): Promise<void> {
  const { headOf } = await import('../../heads/index.js');
  const { checkFineTuning, fineTuneRecognition } = await import('../../src/pipeline/fine-tune.js');
  const { tuningSplits } = await import('../../src/pipeline/fine-tune-lists.js');
  const steps = stepSink(writer(stepColumns), { isVerbose: flags.verbose, progress });
  const options = {
    ...tuningOptions(flags),
    ...(await tuningSplits({ ...tuningLists(flags), signal, progress })),
    ...given({ threads: flags.threads ?? (flags.deterministic ? 1 : undefined) }),
    head: headOf('recognition-head')!, // one of ours
    signal,
    progress,
    onStep: steps.onStep,
  };
  if (flags['grad-check']) {
    await printChecks(writer(gradientColumns), await checkFineTuning(options));
    return;
  }
  const { final, ...outcome } = await fineTuneRecognition(options);
  await steps.end();
  tellEnd(outcome, flags.output, { progress, written: final && [final.encoder, final.head] });
}
