import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { column } from '../../src/cli/output.js';

export default class SynthBaselines extends BaseCommand {
  static override summary = 'What each track’s metric gives without a look at the pictures, and for the truth itself.';
  static override description =
    'Reads the annotations that `synth` wrote, makes predictions from the averages of the train split (of the split itself where there is none) and from the truth, and passes both through the submission writers and evaluators. Recognition is that of each action by the labels of fho_lta_*: verbs and nouns by how often training shows them. The compositional clips of the test split are scored apart too.';
  static override examples = [
    '<%= config.bin %> synth baselines tabletop/',
    '<%= config.bin %> synth baselines tabletop/ --split test --all --format csv',
  ];
  static override args = { dir: Args.string({ required: true, ignoreStdin: true, description: 'folder of `synth`' }) };
  static override flags = {
    split: Flags.option({
      options: ['train', 'val', 'test'] as const,
      default: 'val' as const,
      summary: 'The split that is predicted.',
    })(),
    all: Flags.boolean({ summary: 'Every number of each track, not only the one that ranks.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(SynthBaselines);
    const { synthBaselines } = await import('../../src/pipeline/synth-baselines.js');
    const { challengeOf } = await import('../../benchmarks/index.js');
    using progress = await this.progress(flags);
    const { split, all } = flags;
    const rows = synthBaselines(args.dir, { split, all, challengeOf, progress, signal: this.signal });
    const writer = this.writer(flags, [
      column('task'),
      column('part'),
      column('metric'),
      column('blind', 'right'),
      column('ceiling', 'right'),
      column('priors'),
    ]);
    for await (const row of rows) await writer.write(row);
    await writer.end();
  }
}
