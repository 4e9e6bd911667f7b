import { Args } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { printDocument } from '../../src/cli/document.js';

export default class PresetsShow extends BaseCommand {
  static override summary = 'One preset as JSON, to read or to change and pass to --preset.';
  static override examples = [
    '<%= config.bin %> presets show ego4d-mq',
    '<%= config.bin %> presets show ego4d-mq@1 > mine.json',
  ];
  static override args = {
    preset: Args.string({ required: true, ignoreStdin: true, description: 'NAME, NAME@VERSION or a preset file' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(PresetsShow);
    const { showPreset } = await import('../../src/pipeline/catalogues.js');
    printDocument(flags, await showPreset(args.preset));
  }
}
