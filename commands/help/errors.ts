import { BaseCommand } from '../../src/cli/base-command.js';
import { column } from '../../src/cli/output.js';

export default class HelpErrors extends BaseCommand {
  static override summary = 'All error codes, what they mean, and the exit code of a command that ends with them.';
  static override description =
    'Codes are stable. Work over many inputs ends with 3 when some failed and 4 when none could be done, whatever their codes.';
  static override examples = [
    '<%= config.bin %> help errors',
    "<%= config.bin %> help errors --ndjson | jq -r 'select(.exit==6).code'",
  ];

  async run(): Promise<void> {
    const { flags } = await this.parse(HelpErrors);
    const { listErrorCodes } = await import('../../src/pipeline/catalogues.js');
    const writer = this.writer(flags, [column('code'), column('exit', 'right'), column('meaning')]);
    for (const record of listErrorCodes()) await writer.write(record);
    await writer.end();
  }
}
