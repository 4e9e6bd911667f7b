import { BaseCommand } from '../../src/cli/base-command.js';
import { column, type Column, type OutputRecord } from '../../src/cli/output.js';

const inside = (part: 'sampling' | 'pixels', key: string): Column => ({
  header: key,
  cell: (record) => (record[part] as OutputRecord)[key], // an object in egolens.preset/1
});

export default class PresetsList extends BaseCommand {
  static override summary = 'The pixel and sampling recipes that come with the program.';
  static override examples = [
    '<%= config.bin %> presets list',
    "<%= config.bin %> presets list --ndjson | jq -r '[.name,.sampling.frames,.pixels.size]|@tsv'",
  ];

  async run(): Promise<void> {
    const { flags } = await this.parse(PresetsList);
    const { listPresets } = await import('../../src/pipeline/catalogues.js');
    const writer = this.writer(flags, [
      column('name'),
      column('version', 'right'),
      ...['plan', 'frames', 'step', 'hop', 'rate', 'tail', 'views'].map((key) => inside('sampling', key)),
      ...['size', 'to', 'crop', 'resize', 'path'].map((key) => inside('pixels', key)),
      column('feature'),
    ]);
    for (const preset of listPresets()) await writer.write(preset);
    await writer.end();
  }
}
