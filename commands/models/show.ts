import { Args } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { column, type OutputRecord } from '../../src/cli/output.js';

export default class ModelsShow extends BaseCommand {
  static override summary =
    'Everything known of a model: its entry in the catalogue, and what is installed under its name.';
  static override description =
    'Source, digest, licences of code and weights, labels, figures of its authors, and what of all this could not be verified. A table has a line for each member; --json and --ndjson give the records.';
  static override examples = [
    '<%= config.bin %> models show videomae-b-k400',
    '<%= config.bin %> models show videomae-nano --json',
  ];
  static override args = {
    name: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'entry of the catalogue, or a model that is there',
    }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ModelsShow);
    const { showModel } = await import('../../src/pipeline/public-models.js');
    const records: readonly OutputRecord[] = await showModel(args.name);
    if (this.formatOf(flags) === 'ndjson' || this.formatOf(flags) === 'json') {
      const writer = this.writer(flags, [], true);
      for (const record of records) await writer.write(record);
      await writer.end();
      return;
    }
    const lines = this.writer(flags, [column('member'), column('value')]);
    for (const record of records) {
      for (const [member, value] of Object.entries(record)) await lines.write({ member, value });
    }
    await lines.end();
  }
}
