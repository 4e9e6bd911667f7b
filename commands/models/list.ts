import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { given } from '../../src/cli/flags.js';
import { column, type Column } from '../../src/cli/output.js';
import { floatText, type Float } from '../../src/json.js';

/** Members of egolens.catalogue-entry/1 that a line of the table reads. */
interface Entry {
  readonly source: { readonly bytes: number | null; readonly megabytes: number | null };
  readonly licence: { readonly weights: string };
  readonly commercial: boolean | null;
  readonly reported: readonly { readonly metric: string; readonly value: Float; readonly dataset: string }[];
}

const entryColumn = (header: string, cell: (entry: Entry) => string, align?: 'right'): Column => ({
  header,
  cell: (record) => cell(record as unknown as Entry), // as the schema has it
  ...(align !== undefined && { align }),
});

const availableColumns: readonly Column[] = [
  ...['name', 'arch', 'kind'].map((key) => column(key)),
  entryColumn(
    'MB',
    ({ source: { bytes, megabytes } }) => (bytes === null ? String(megabytes ?? '') : (bytes / 1e6).toFixed(1)),
    'right',
  ),
  entryColumn('licence_weights', ({ licence }) => licence.weights),
  entryColumn('commercial', ({ commercial }) => (commercial === null ? 'not settled' : commercial ? 'yes' : 'no')),
  column('labels'),
  entryColumn('reported', ({ reported: [first] }) =>
    first === undefined ? '' : `${first.dataset} ${first.metric} ${floatText(first.value.value)}`,
  ),
  column('parity'),
  column('installed'),
];

export default class ModelsList extends BaseCommand {
  static override summary = 'Models that are there: installed ones, then those that come with the program.';
  static override description =
    'Licences of code and weights are listed apart. Models are kept in EGOLENS_MODELS_DIR, else in the cache. With --available, the public checkpoints that `models pull` fetches, with their licences and the figures of their authors; with --architectures, what `models import --arch` takes.';
  static override examples = [
    '<%= config.bin %> models list',
    '<%= config.bin %> models list --available --task recognition',
    '<%= config.bin %> models list --architectures',
    '<%= config.bin %> models list --ndjson | jq -r \'select(.trained=="official").model\'',
  ];
  static override flags = {
    installed: Flags.boolean({ summary: 'What is there; the default.', exclusive: ['available', 'architectures'] }),
    available: Flags.boolean({
      summary: 'Public checkpoints that `models pull` knows.',
      exclusive: ['architectures'],
    }),
    architectures: Flags.boolean({ summary: 'Families and known sizes that `models import --arch` takes.' }),
    task: Flags.option({
      options: ['recognition', 'retrieval', 'mq'] as const,
      dependsOn: ['available'],
      summary: 'Only checkpoints that serve this task without training.',
    })(),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(ModelsList);
    const { listArchitectures, listModels } = await import('../../src/pipeline/models.js');
    if (flags.available) {
      const { listAvailable } = await import('../../src/pipeline/public-models.js');
      const entries = this.writer(flags, availableColumns);
      for (const entry of await listAvailable(given({ task: flags.task }))) await entries.write(entry);
      await entries.end();
      return;
    }
    if (flags.architectures) {
      const names = this.writer(flags, [column('name'), column('family'), column('summary')]);
      const { headFamilies } = await import('../../heads/index.js');
      for (const record of listArchitectures(headFamilies)) await names.write(record);
      await names.end();
      return;
    }
    using progress = await this.progress(flags);
    const writer = this.writer(flags, [
      ...['model', 'kind', 'family', 'parity', 'trained'].map((key) => column(key)),
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
