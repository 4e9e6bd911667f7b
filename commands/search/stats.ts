import { Args } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { column } from '../../src/cli/output.js';

export default class SearchStats extends BaseCommand {
  static override summary = 'What an index holds: model, windows, videos, rows, size.';
  static override examples = [
    '<%= config.bin %> search stats lib.egx',
    "<%= config.bin %> search stats lib.egx --ndjson | jq -r '.missing'",
  ];
  static override args = { file: Args.string({ required: true, ignoreStdin: true, description: 'the index' }) };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(SearchStats);
    const { indexInfo } = await import('../../src/pipeline/search.js');
    const columns = ['model', 'output', 'preset'].map((key) => column(key));
    const numbers = ['granularity', 'width', 'videos', 'missing', 'rows', 'seconds', 'bytes'];
    const writer = this.writer(flags, [...columns, ...numbers.map((key) => column(key, 'right'))], true);
    await writer.write(await indexInfo(args.file));
    await writer.end();
  }
}
