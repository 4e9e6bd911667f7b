import { BaseCommand } from '../../src/cli/base-command.js';
import { column } from '../../src/cli/output.js';

export default class LabelsList extends BaseCommand {
  static override summary = 'The class lists that come with the program, and where their order comes from.';
  static override description =
    'The position of a name is its class index. Two checkpoints with the same names may have them in another order: that is another list.';
  static override examples = [
    '<%= config.bin %> labels list',
    "<%= config.bin %> labels list --ndjson | jq -r 'select(.classes==400).name'",
  ];

  async run(): Promise<void> {
    const { flags } = await this.parse(LabelsList);
    const { listLabels } = await import('../../src/pipeline/catalogues.js');
    const writer = this.writer(flags, [column('name'), column('version'), column('classes', 'right'), column('order')]);
    for (const record of await listLabels()) await writer.write(record);
    await writer.end();
  }
}
