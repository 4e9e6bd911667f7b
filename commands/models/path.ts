import { Args } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';

export default class ModelsPath extends BaseCommand {
  static override summary = 'The folder of a model that is there, as one line.';
  static override examples = [
    '<%= config.bin %> models path videomae-nano',
    'ls "$(<%= config.bin %> models path videomae-nano)"',
  ];
  static override args = {
    name: Args.string({ required: true, ignoreStdin: true, description: 'name, name@digits or folder of a model' }),
  };

  async run(): Promise<void> {
    const { args } = await this.parse(ModelsPath);
    const { modelPath } = await import('../../src/pipeline/public-models.js');
    process.stdout.write(`${await modelPath(args.name)}\n`);
  }
}
