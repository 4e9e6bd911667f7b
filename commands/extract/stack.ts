import { Args, Flags } from '@oclif/core';
import { BaseCommand, batchExitCode } from '../../src/cli/base-command.js';
import { forceFlag } from '../../src/cli/flags.js';
import { column } from '../../src/cli/output.js';

export default class ExtractStack extends BaseCommand {
  static override summary = 'Features of several encoders side by side: [n, a] and [n, b] become [n, a + b].';
  static override description =
    'Files of one video, folders that are matched by file names, or one folder that `extract --stream-set both` filled. Times are those of the first.';
  static override examples = [
    '<%= config.bin %> extract stack features/demo.masked.npy features/demo.multimodal.npy -o demo.npy',
    '<%= config.bin %> extract stack features/ -o stacked/ --unit',
    '<%= config.bin %> extract stack videomae/ slowfast/ -o stacked/ --align time',
  ];
  static override strict = false;
  static override args = {
    in: Args.string({ required: true, ignoreStdin: true, description: 'feature files, or folders of them' }),
  };
  static override flags = {
    output: Flags.string({ char: 'o', required: true, helpValue: 'FILE|DIR', summary: 'The file, or the folder.' }),
    align: Flags.option({
      options: ['error', 'time'] as const,
      default: 'error',
      summary: 'Rows of other times: refuse them, or take the nearest in time.',
    })(),
    unit: Flags.boolean({ summary: 'Divide each row of each file by its length first.' }),
    'out-type': Flags.option({
      options: ['npy', 'npz', 'safetensors'] as const,
      default: 'npy',
      summary: 'Container of the output.',
    })(),
    force: forceFlag,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ExtractStack);
    const { stackFeatures } = await import('../../src/pipeline/stack-features.js');
    const writer = this.writer(
      flags,
      ['inputs', 'output', 'shape', 'shift'].map((key) => column(key)),
    );
    let [done, failed] = [0, 0];
    const results = stackFeatures(argv as string[], flags.output, {
      align: flags.align,
      unit: flags.unit,
      type: flags['out-type'],
      force: flags.force,
      signal: this.signal,
    });
    for await (const result of results) {
      if ('error' in result) {
        failed++;
        this.logError(result.error);
      } else {
        done++;
        await writer.write(result.record);
      }
    }
    await writer.end();
    process.exitCode = batchExitCode(done, failed);
  }
}
