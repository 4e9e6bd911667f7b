import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { featureReading, readingFlags } from '../../src/cli/feature-flags.js';
import { given } from '../../src/cli/flags.js';
import { column } from '../../src/cli/output.js';
import { exitCodeOf, EgolensError } from '../../src/errors.js';

export default class ExtractCompare extends BaseCommand {
  static override summary = 'How far two feature files are apart: cosine and largest difference, row by row.';
  static override description =
    'Rows of different clocks or widths are refused. Other counts of rows, values that are not finite and a cosine below --min-cosine end with code 5, after the numbers.';
  static override examples = [
    '<%= config.bin %> extract compare mine/demo.npy theirs/demo.npy',
    '<%= config.bin %> extract compare mine/a.npy theirs/a.pt --clock ego4d-grid --min-cosine 0.999',
    '<%= config.bin %> extract compare a.npy b.npy --rows --format csv',
  ];
  static override args = {
    a: Args.string({ required: true, ignoreStdin: true, description: 'feature file' }),
    b: Args.string({ required: true, ignoreStdin: true, description: 'the other one' }),
  };
  static override flags = {
    'min-cosine': Flags.string({ helpValue: 'X', summary: 'Smallest cosine of a row that passes.' }),
    rows: Flags.boolean({ summary: 'One record a row.' }),
    ...readingFlags,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ExtractCompare);
    const { compareFeatureFiles } = await import('../../src/pipeline/feature-tools.js');
    using progress = await this.progress(flags);
    const { records, note, error } = await compareFeatureFiles(args.a, args.b, {
      ...featureReading(flags),
      ...given({ minCosine: cosineOf(flags['min-cosine']) }),
      perRow: flags.rows,
    });
    const numbers = flags.rows
      ? ['index', 'cosine', 'maxAbs']
      : ['rows', 'notFinite', 'extra', 'meanCosine', 'minCosine', 'maxAbs'];
    const writer = this.writer(
      flags,
      numbers.map((key) => column(key, 'right')),
      !flags.rows,
    );
    for (const record of records) await writer.write(record);
    await writer.end();
    if (flags.rows) progress.note(note);
    if (!error) return;
    this.logThrown(error);
    process.exitCode = exitCodeOf(error.code);
  }
}

function cosineOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== '' && value >= -1 && value <= 1) return value;
  throw new EgolensError('usage.flag', `--min-cosine: expected a number from -1 to 1, found \`${text}\``);
}
