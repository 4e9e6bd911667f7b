import { createInterface } from 'node:readline/promises';
import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { column } from '../../src/cli/output.js';
import { EgolensError } from '../../src/errors.js';

export default class ModelsRm extends BaseCommand {
  static override summary = 'Remove an installed model.';
  static override description =
    'Only folders in the models folder are removed, never what comes with the program or lies elsewhere. The checkpoint it was made of stays in the cache. A terminal is asked first, unless -y.';
  static override examples = [
    '<%= config.bin %> models rm videomae-b-k400 -y',
    '<%= config.bin %> models rm videomae-b-k400@0123456789ab',
  ];
  static override args = {
    name: Args.string({ required: true, ignoreStdin: true, description: 'name or name@digits of an installed model' }),
  };
  static override flags = { yes: Flags.boolean({ char: 'y', summary: 'Do not ask.' }) };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ModelsRm);
    const { planRemoval } = await import('../../src/pipeline/public-models.js');
    const removal = await planRemoval(args.name);
    if (!flags.yes && !(await this.#confirmed(`Remove ${removal.path} (${removal.bytes} bytes)?`))) return;
    const writer = this.writer(flags, [column('model'), column('bytes', 'right'), column('path')], true);
    await writer.write(await removal.remove());
    await writer.end();
  }

  async #confirmed(question: string): Promise<boolean> {
    if (!process.stdin.isTTY) {
      throw new EgolensError('usage.flag', 'nobody can be asked here: standard input is no terminal', {
        try: '`-y` removes without a question',
      });
    }
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      const answer = await terminal.question(`${question} [y/N] `, { signal: this.signal });
      return /^y(es)?$/i.test(answer.trim());
    } finally {
      terminal.close();
    }
  }
}
