import { Args } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { loadChallenge, scoredTasks } from '../src/cli/challenge-flags.js';
import { printDocument } from '../src/cli/document.js';
import { scoreFlags, scoreOptions } from '../src/cli/score-flags.js';
import { exitCodeOf } from '../src/errors.js';
import type { ScoredTask } from '../src/types.js';

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
  static override flags = scoreFlags;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Eval);
    const challenge = await loadChallenge(args.task as ScoredTask); // one of the options
    const { score } = await import('../src/pipeline/score.js');
    const { scoreColumns, writeScoreFile } = await import('../src/cli/score-output.js');
    using progress = await this.progress(flags);
    const { document, rows, perItem, plots, error } = await score(challenge, flags.gt, flags.pred, {
      ...scoreOptions(flags),
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
