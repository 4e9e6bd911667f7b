import { Args } from '@oclif/core';
import { BaseCommand, batchExitCode } from '../../src/cli/base-command.js';
import { featureReading, readingFlags } from '../../src/cli/feature-flags.js';
import { column, type Column, type OutputRecord } from '../../src/cli/output.js';

const inside = (header: string, part: string, key: string): Column => ({
  header,
  cell: (record) => (record[part] as OutputRecord | null)?.[key], // an object or null in egolens.feature-info/1
});

export default class ExtractInfo extends BaseCommand {
  static override summary = 'What a feature file holds: shape, clock, times, how it was made, and whether it is whole.';
  static override description =
    'Reads .npy, .npz, .pt and .safetensors. Digests are those of the meta file; one that differs is reported and no failure.';
  static override examples = [
    '<%= config.bin %> extract info features/demo.npy',
    '<%= config.bin %> extract info features/*.npy --ndjson | jq -r \'select(.digests!="ok").input\'',
    '<%= config.bin %> extract info slowfast/a.pt --clock ego4d-grid',
  ];
  static override strict = false;
  static override args = { file: Args.string({ required: true, ignoreStdin: true, description: 'feature files' }) };
  static override flags = readingFlags;

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ExtractInfo);
    const { featureInfos } = await import('../../src/pipeline/feature-tools.js');
    const writer = this.writer(flags, [
      ...['input', 'shape', 'dtype'].map((key) => column(key)),
      ...['rate', 'hop', 'frames', 'step'].map((key) => inside(key, 'clock', key)),
      inside('start', 'first', 'start'),
      inside('end', 'last', 'end'),
      inside('preset', 'meta', 'preset'),
      inside('output', 'meta', 'output'),
      column('digests'),
    ]);
    let [done, failed] = [0, 0];
    for await (const result of featureInfos(argv as string[], featureReading(flags), this.signal)) {
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
