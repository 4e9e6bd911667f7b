import { Args, Flags } from '@oclif/core';
import { BaseCommand, batchExitCode } from '../../src/cli/base-command.js';
import { featureReading, readingFlags } from '../../src/cli/feature-flags.js';
import { forceFlag, given } from '../../src/cli/flags.js';
import { column } from '../../src/cli/output.js';

export default class ExtractConvert extends BaseCommand {
  static override summary = 'Feature files in another container: .npy, .npz, .pt, .safetensors, as float32.';
  static override description =
    'Time table and meta file go along. A folder is converted file by file. Files without a meta file, such as the official sets of Ego4D, need --clock.';
  static override examples = [
    '<%= config.bin %> extract convert features/demo.npy demo.pt',
    '<%= config.bin %> extract convert slowfast8x8_r101_k400/ features/ --out-type npy --clock ego4d-grid',
  ];
  static override args = {
    in: Args.string({ required: true, ignoreStdin: true, description: 'feature file, or a folder of them' }),
    out: Args.string({ required: true, ignoreStdin: true, description: 'the file, or the folder' }),
  };
  static override flags = {
    'out-type': Flags.option({
      options: ['npy', 'npz', 'pt', 'safetensors'] as const,
      summary: 'Container of the files of a folder.',
    })(),
    force: forceFlag,
    ...readingFlags,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ExtractConvert);
    const { convertFeatures } = await import('../../src/pipeline/feature-tools.js');
    const columns = ['input', 'output', 'shape', 'times', 'meta'].map((key) => column(key));
    const writer = this.writer(flags, columns);
    const results = convertFeatures(args.in, args.out, {
      ...featureReading(flags),
      ...given({ type: flags['out-type'] }),
      force: flags.force,
      signal: this.signal,
    });
    let [done, failed] = [0, 0];
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
