import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { forceFlag, given, parsePairs } from '../../src/cli/flags.js';
import { column } from '../../src/cli/output.js';
import type { ImportOptions } from '../../src/pipeline/import-model.js';

export default class ModelsImport extends BaseCommand {
  static override summary =
    'Make a model folder of an official checkpoint (.pth, .pt, .bin, .safetensors), without Python.';
  static override description =
    'Every tensor of the file and every parameter of the graph is accounted for, or the import fails and lists both sides; `--arch tfjs-graph` makes detectors of graph models of TensorFlow.js. Nothing in the file is executed. The folder holds graph, weights, configuration, preset, labels and a stored probe output that `models verify` computes again.';
  static override examples = [
    '<%= config.bin %> models import vit_b_k400_ft.pth --arch videomae-b --labels k400.json -o models/vit-b',
    '<%= config.bin %> models import checkpoint.pth --arch videomae-classifier --config config.json --name mine',
    '<%= config.bin %> models import verb_noun.pth --arch recognition-head --labels fho_lta_taxonomy.json -o heads/verb-noun',
    '<%= config.bin %> models import ViCLIP.pth --arch auto --tokenizer bpe_simple_vocab_16e6.txt.gz -o models/viclip',
    '<%= config.bin %> models import centernet.json --arch tfjs-graph -o models/coco',
    '<%= config.bin %> models import coordination.pth --arch cross-model-attention --with masked=masked.pth --with multimodal=multimodal.pyth --config config.json --name both',
  ];
  static override args = { file: Args.string({ required: true, ignoreStdin: true, description: 'the checkpoint' }) };
  static override flags = {
    arch: Flags.string({
      required: true,
      helpValue: 'NAME',
      summary:
        'Family, or a known size of one: `models list --architectures` shows them; auto: the one that knows the keys.',
    }),
    with: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'NAME=FILE',
      summary: 'Checkpoint of a part, for a model that is made of several.',
    }),
    tokenizer: Flags.string({
      helpValue: 'FILE',
      summary: "Vocabulary of the text tower: a tokenizer.json, or CLIP's merges file (.txt, .txt.gz).",
    }),
    config: Flags.string({
      helpValue: 'FILE.json',
      summary: 'The configuration, bare or under `config`; what it leaves out is read off the keys.',
    }),
    map: Flags.string({
      helpValue: 'FILE.json',
      summary: 'Renaming: name in the file -> official name, or null to leave a tensor out.',
    }),
    labels: Flags.string({
      helpValue: 'FILE|NAME',
      summary: 'Class names in index order (egolens.labels/1); `labels` of the program by name.',
    }),
    preset: Flags.string({
      helpValue: 'NAME|FILE',
      summary: 'Pixel and sampling recipe that the checkpoint was trained with.',
    }),
    name: Flags.string({ summary: "Name of the model; default: the file's." }),
    output: Flags.string({
      char: 'o',
      helpValue: 'DIR',
      summary: 'The model folder; default: in the models folder, as name@digest.',
    }),
    force: forceFlag,
    'license-code': Flags.string({
      default: 'unknown',
      summary: 'Licence of the code the weights came with, for the record.',
    }),
    'license-weights': Flags.string({ default: 'unknown', summary: 'Licence of the weights, for the record.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(ModelsImport);
    const { importModel, presetOf } = await import('../../src/pipeline/import-model.js');
    using progress = await this.progress(flags);
    const { headOf } = await import('../../heads/index.js');
    const options: ImportOptions = {
      arch: flags.arch,
      force: flags.force,
      licence: { code: flags['license-code'], weights: flags['license-weights'] },
      signal: this.signal,
      progress,
      ...given({
        config: flags.config,
        map: flags.map,
        with: flags.with === undefined ? undefined : parsePairs('--with', flags.with),
        tokenizer: flags.tokenizer,
        labels: flags.labels,
        preset: flags.preset === undefined ? undefined : await presetOf(flags.preset),
        name: flags.name,
        output: flags.output,
      }),
    };
    const { importDetector, tfjsFamily } = await import('../../src/pipeline/import-detector.js');
    const { importHead } = await import('../../src/pipeline/import-head.js');
    const head = headOf(flags.arch);
    const report =
      flags.arch === tfjsFamily
        ? await importDetector(args.file, options)
        : head === undefined
          ? await importModel(args.file, options)
          : await importHead(args.file, head, options);
    const { manifest, matched, left, folder } = report;
    progress.note(`${matched} tensors matched, ${left.length} left in the file, 0 missing`);
    for (const { key, why } of left) progress.note(`left: ${key} (${why})`);
    const columns = ['model', 'family', 'matched', 'left', 'missing', 'output'].map((key) => column(key));
    const writer = this.writer(flags, columns, true);
    await writer.write({
      schema: 'egolens.imported/1',
      model: `${manifest.name}@${manifest.digest.slice(0, 12)}`,
      family: manifest.family,
      matched,
      left: left.length,
      missing: 0,
      output: folder,
    });
    await writer.end();
  }
}
