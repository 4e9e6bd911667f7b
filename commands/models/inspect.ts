import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { column, type Column } from '../../src/cli/output.js';

type Port = { readonly name?: string; readonly dtype: string; readonly shape: readonly (number | string)[] };

/** `frames uint8 [batch,16,224,224,3]`: model.json has a member a port, an ONNX graph a list of them. */
const ports = (key: 'inputs' | 'outputs'): Column => ({
  header: key,
  cell: (record) =>
    Object.entries(record[key] as unknown as Record<string, Port>) // as the schemas of both records have it
      .map(([member, { name = member, dtype, shape }]) => `${name} ${dtype} [${shape.join(',')}]`)
      .join('; '),
});
const columns: Readonly<Record<'checkpoint' | 'onnx' | 'model', readonly Column[]>> = {
  checkpoint: [
    ...['name', 'storedType', 'shape'].map((key) => column(key)),
    column('bytes', 'right'),
    ...['storage', 'contiguous'].map((key) => column(key)),
  ],
  onnx: [column('name'), column('producer'), ports('inputs'), ports('outputs'), column('operations')],
  model: [
    ...['name', 'kind', 'family', 'trained', 'precision'].map((key) => column(key)),
    ports('inputs'),
    ports('outputs'),
    column('digest'),
  ],
};

export default class ModelsInspect extends BaseCommand {
  static override summary = 'What is in a checkpoint, an .onnx file or a model folder, without running it.';
  static override description =
    'A checkpoint of any container (.pth, .pt, .bin, TorchScript, .safetensors) gives one record per tensor; its wrapper keys and prefix are said on standard error. Nothing in the file is executed and no tensor is read.';
  static override examples = [
    '<%= config.bin %> models inspect vit_b_k400_ft.pth',
    "<%= config.bin %> models inspect model.safetensors --ndjson | jq -r '[.name,.shape]|tostring'",
    '<%= config.bin %> models inspect models/vit-b --graph',
  ];
  static override args = {
    file: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'checkpoint, .onnx file, model folder or installed model',
    }),
  };
  static override flags = {
    graph: Flags.boolean({
      summary: 'The graphs of a model folder as text, one line an operation.',
      exclusive: ['format', 'json', 'ndjson'],
    }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ModelsInspect);
    const { inspectModel, modelGraphs } = await import('../../src/pipeline/models.js');
    if (flags.graph) {
      process.stdout.write(await modelGraphs(args.file));
      return;
    }
    using progress = await this.progress(flags);
    const { kind, records, notes } = await inspectModel(args.file);
    for (const note of notes) progress.note(note);
    const writer = this.writer(flags, columns[kind], kind !== 'checkpoint');
    for (const record of records) await writer.write(record);
    await writer.end();
  }
}
