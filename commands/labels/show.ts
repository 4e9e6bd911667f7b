import { Args } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { column } from '../../src/cli/output.js';

export default class LabelsShow extends BaseCommand {
  static override summary = 'The classes of one list, in index order.';
  static override examples = [
    '<%= config.bin %> labels show k400',
    '<%= config.bin %> labels show k400 --ndjson | jq -r \'select(.label|test("cook")).index\'',
  ];
  static override args = {
    list: Args.string({ required: true, ignoreStdin: true, description: 'name of a list, or a label file' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(LabelsShow);
    const { showLabels } = await import('../../src/pipeline/catalogues.js');
    const writer = this.writer(flags, [column('index', 'right'), column('label')]);
    for (const record of await showLabels(args.list)) await writer.write(record);
    await writer.end();
  }
}
