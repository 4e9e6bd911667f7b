import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { forceFlag, given } from '../../src/cli/flags.js';
import { column } from '../../src/cli/output.js';

export default class ModelsPull extends BaseCommand {
  static override summary = 'Fetch a public checkpoint and import it: `models list --available` shows which.';
  static override description =
    'The file goes into the cache (for Hugging Face repositories in the layout of its Python client: HF_HUB_CACHE, HF_HOME), is continued where a connection was cut, and is checked by SHA-256: against the catalogue, else against what the hub states, else it is taken on trust once and must stay the same. HF_ENDPOINT, HF_TOKEN and proxy variables are honoured. Nothing is fetched with --offline. Licences are those that the authors state; not all of them allow commercial use.';
  static override examples = [
    '<%= config.bin %> models pull videomae-b-k400',
    '<%= config.bin %> models pull clip-b16 --allow-license commercial',
    '<%= config.bin %> models pull viclip-l14-flt --from /mnt/mirror --offline',
  ];
  static override args = {
    name: Args.string({ required: true, ignoreStdin: true, description: 'entry of the catalogue, or NAME@REVISION' }),
  };
  static override flags = {
    from: Flags.string({
      helpValue: 'DIR|URL',
      summary: 'Folder that holds the file, or address below which it is, instead of what the catalogue says.',
    }),
    'allow-license': Flags.option({
      options: ['any', 'commercial'] as const,
      default: 'any',
      summary: 'commercial: refuse weights whose licence does not clearly allow commercial use.',
    })(),
    offline: Flags.boolean({
      env: 'EGOLENS_OFFLINE',
      summary: 'No request: the file must be in the cache or in --from.',
    }),
    name: Flags.string({ summary: "Name of the installed model; default: the entry's." }),
    output: Flags.string({
      char: 'o',
      helpValue: 'DIR',
      summary: 'The model folder; default: in the models folder, as name@digest.',
    }),
    force: forceFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ModelsPull);
    const { pullModel } = await import('../../src/pipeline/pull.js');
    using progress = await this.progress(flags);
    const record = await pullModel(args.name, {
      licences: flags['allow-license'],
      offline: flags.offline,
      force: flags.force,
      signal: this.signal,
      progress,
      ...given({ from: flags.from, name: flags.name, output: flags.output }),
    });
    const columns = ['model', 'family', 'checked', 'labels', 'output'].map((key) => column(key));
    const writer = this.writer(flags, columns, true);
    await writer.write(record);
    await writer.end();
  }
}
