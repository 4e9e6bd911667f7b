import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { deviceFlags, given } from '../../src/cli/flags.js';
import { column, type OutputRecord } from '../../src/cli/output.js';
import { exitCodeOf } from '../../src/errors.js';
import { floatText, type Float } from '../../src/json.js';

type Distance = { readonly [name in 'maxAbs' | 'relative']: Float | null };

/** `pooled 1.2e-7 (3.4e-7)`: for each output the largest difference, and in brackets over the largest stored value. */
function distances({ outputs }: OutputRecord): string {
  const text = (error: Float | null): string =>
    error === null ? 'not finite' : floatText(Number(error.value.toPrecision(3)));
  return Object.entries(outputs as Readonly<Record<string, Distance>>) // as the schema has it
    .map(([name, { maxAbs, relative }]) => `${name} ${text(maxAbs)} (${text(relative)})`)
    .join(', ');
}

export default class ModelsVerify extends BaseCommand {
  static override summary = 'Is a model whole, and does it compute here what it computed at import?';
  static override description =
    'Every file is hashed, then the stored probe is computed again on the device. Errors are relative to the largest stored value; at most 1e-4 on the cpu at fp32, else 1e-2.';
  static override examples = [
    '<%= config.bin %> models verify vit-b',
    '<%= config.bin %> models verify models/vit-b --device cuda',
    '<%= config.bin %> models verify --all --device cpu',
  ];
  static override strict = false;
  static override args = {
    model: Args.string({ ignoreStdin: true, description: 'installed models or model folders' }),
  };
  static override flags = {
    all: Flags.boolean({ summary: 'All models that are installed or come with the program.' }),
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ModelsVerify);
    const { verifyModels } = await import('../../src/pipeline/models.js');
    using progress = await this.progress(flags);
    const writer = this.writer(flags, [
      ...['model', 'device', 'files', 'ok', 'limit'].map((key) => column(key)),
      { header: 'max abs (relative)', cell: distances },
    ]);
    const results = verifyModels(argv as string[], {
      all: flags.all,
      device: flags.device,
      ...given({ threads: flags.threads }),
      signal: this.signal,
      progress,
    });
    for await (const { record, error } of results) {
      if (record) await writer.write(record);
      if (!error) continue;
      this.logThrown(error);
      process.exitCode ??= exitCodeOf(error.code);
    }
    await writer.end();
  }
}
