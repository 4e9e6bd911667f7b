import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { printDocument } from '../src/cli/document.js';
import { column } from '../src/cli/output.js';

export default class Schema extends BaseCommand {
  static override summary = 'The JSON Schema of a record or file, by the name in its `schema` field.';
  static override examples = [
    '<%= config.bin %> schema egolens.probe/1',
    '<%= config.bin %> schema --list',
    '<%= config.bin %> schema features',
  ];
  static override args = {
    name: Args.string({ ignoreStdin: true, description: 'egolens.probe/1, or probe for its newest version' }),
  };
  static override flags = { list: Flags.boolean({ summary: 'All schemas there are.' }) };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Schema);
    const { listSchemas, showSchema } = await import('../src/pipeline/catalogues.js');
    if (!flags.list && args.name !== undefined) {
      printDocument(flags, await showSchema(args.name));
      return;
    }
    const writer = this.writer(flags, [column('name'), column('title')]);
    for (const record of await listSchemas()) await writer.write(record);
    await writer.end();
  }
}
