import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { column } from '../../src/cli/output.js';

export default class ModelsList extends BaseCommand {
  static override summary = 'Models that are there: installed ones, then those that come with the program.';
  static override description =
    'Licences of code and weights are listed apart. Models are kept in EGOLENS_MODELS_DIR, else in the cache. With --available, the architectures and known sizes that `models import --arch` takes.';
  static override examples = [
    '<%= config.bin %> models list',
    '<%= config.bin %> models list --available',
    '<%= config.bin %> models list --ndjson | jq -r \'select(.trained=="official").model\'',
  ];
  static override flags = {
    available: Flags.boolean({ summary: 'What can be imported instead of what is there.' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(ModelsList);
    const { listArchitectures, listModels } = await import('../../src/pipeline/models.js');
    if (flags.available) {
      const names = this.writer(flags, [column('name'), column('family'), column('summary')]);
      for (const record of listArchitectures()) await names.write(record);
      await names.end();
      return;
    }
    using progress = await this.progress(flags);
    const writer = this.writer(flags, [
      ...['model', 'family', 'trained'].map((key) => column(key)),
      { header: 'licence_code', cell: ({ licence }) => (licence as { readonly code: string }).code }, // as the schema has it
      { header: 'licence_weights', cell: ({ licence }) => (licence as { readonly weights: string }).weights },
      ...['preset', 'precision'].map((key) => column(key)),
      column('bytes', 'right'),
      column('place'),
    ]);
    for (const model of await listModels()) {
      if ('error' in model) progress.warn(model.error.code, model.error.message);
      else await writer.write(model);
    }
    await writer.end();
  }
}
