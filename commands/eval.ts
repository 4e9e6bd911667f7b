import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { fhpScaleFlag, loadChallenge, scoredTasks } from '../src/cli/challenge-flags.js';
import { printDocument } from '../src/cli/document.js';
import { given } from '../src/cli/flags.js';
import { exitCodeOf } from '../src/errors.js';
import type { ScoredTask } from '../src/types.js';

const files = { multiple: true, multipleNonGreedy: true, helpValue: 'FILE' } as const;
/** Samples of `--compare` where `--bootstrap` is not given. */
const usualSamples = 1000;

export default class Eval extends BaseCommand {
  static override summary = 'Score predictions with the official metrics of a challenge.';
  static override description =
    'Official numbers first, to the last digit, then the corrected ones beside them. Files are recognised by what is in them; predictions are the file of the challenge or NDJSON records of this program. What the official evaluator dies on ends with code 5 and names the place, and so does a bound that is missed. --format json prints one document, with the keys of the official code under `official`.';
  static override examples = [
    '<%= config.bin %> eval mq --gt fixtures/ego4d/moments_val.json --pred fixtures/ego4d/moments.ndjson',
    "<%= config.bin %> eval nlq --gt nlq_val.json --pred nlq.json --min 'R@1,IoU=0.3=0.12'",
    '<%= config.bin %> eval mq --gt moments_val.json --pred new.json --compare old.json --bootstrap 1000 --seed 0',
  ];
  static override args = {
    task: Args.string({ required: true, ignoreStdin: true, options: [...scoredTasks], description: 'what is scored' }),
  };
  static override flags = {
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
    plot: Flags.string({ helpValue: 'DIR', summary: 'Curves and bars by class as SVG files.' }),
    'fhp-scale': fhpScaleFlag(),
    'input-actions': Flags.integer({ min: 1, summary: 'lta: actions seen before the first that is asked.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Eval);
    const challenge = await loadChallenge(args.task as ScoredTask); // one of the options
    const { score } = await import('../src/pipeline/score.js');
    const { parseBound } = await import('../src/pipeline/score-rows.js');
    const { scoreColumns, writeScoreFile } = await import('../src/cli/score-output.js');
    using progress = await this.progress(flags);
    const samples = flags.bootstrap ?? (flags.compare === undefined ? undefined : usualSamples);
    const { document, rows, perItem, plots, error } = await score(challenge, flags.gt, flags.pred, {
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
      signal: this.signal,
      progress,
    });
    if (flags['per-item'] !== undefined) await writeScoreFile(flags['per-item'], perItem);
    for (const path of plots) progress.note(`wrote ${path}`);
    if (flags.json || flags.format === 'json') printDocument(flags, document);
    else {
      const writer = this.writer(flags, scoreColumns(rows));
      for (const row of rows) await writer.write(row);
      await writer.end();
    }
    if (error === undefined) return;
    this.logThrown(error);
    process.exitCode = exitCodeOf(error.code);
  }
}
