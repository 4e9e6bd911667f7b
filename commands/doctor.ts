import { Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { column } from '../src/cli/output.js';
import { exitCodes } from '../src/errors.js';

export default class Doctor extends BaseCommand {
  static override summary =
    'Look at everything the program needs; what is missing comes with the step that repairs it.';
  static override description =
    'Each line is ok, warn (something is slow or not there) or fail (something needed is missing: exit code 7). Nothing is changed or downloaded.';
  static override examples = [
    '<%= config.bin %> doctor',
    '<%= config.bin %> doctor --gpu --models',
    '<%= config.bin %> doctor --ndjson | jq -r \'select(.status!="ok").remedy\'',
  ];
  static override flags = {
    gpu: Flags.boolean({ summary: 'Measure the GPU providers against the cpu; takes seconds.' }),
    models: Flags.boolean({ summary: 'Check the digests of the models that are installed or come with the program.' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Doctor);
    const { doctor } = await import('../src/pipeline/doctor.js');
    const { modelChecks } = await import('../src/pipeline/models.js');
    const results = await doctor({
      gpu: flags.gpu,
      extra: flags.models ? [() => modelChecks(this.signal)] : [],
      signal: this.signal,
    });
    const writer = this.writer(
      flags,
      ['status', 'name', 'cause', 'remedy'].map((key) => column(key)),
    );
    for (const { name, status, cause, remedy } of results) {
      await writer.write({ schema: 'egolens.check/1', name, status, cause, remedy: remedy ?? null });
    }
    await writer.end();
    if (results.some(({ status }) => status === 'fail')) process.exitCode = exitCodes.unavailable;
  }
}
