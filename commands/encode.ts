import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { deviceFlags, given, parsePairs } from '../src/cli/flags.js';
import { column } from '../src/cli/output.js';

export default class Encode extends BaseCommand {
  static override summary = 'Arrays in, features out: run a model over frames that are already decoded.';
  static override description =
    'FRAMES.npy holds uint8 [T,H,W,3] or [B,T,H,W,3] at the size of the model, or float32 [B,3,T,H,W], already normalised; for an image model [B,H,W,3] or [B,3,H,W]. One .npy is written per output, always with the batch axis; several arrays get a folder each. With --tokens a two-tower model also gives its text outputs and what both towers give together: similarity, logits, probabilities.';
  static override examples = [
    '<%= config.bin %> encode frames.npy --model models/vit-b -o features',
    '<%= config.bin %> encode a.npy b.npy --model models/vit-b --outputs pooled -o features',
    '<%= config.bin %> encode frames.npy --mask mask.npy --model models/pretrained -o out',
    '<%= config.bin %> encode frames.npy --tokens tokens.npy --model models/viclip -o out',
    '<%= config.bin %> encode frames_masked.npy --input multimodal=frames_multimodal.npy --model models/coordinated -o out',
  ];
  static override strict = false;
  static override args = {
    frames: Args.string({ required: true, ignoreStdin: true, description: 'arrays of frames, .npy' }),
  };
  static override flags = {
    model: Flags.string({
      required: true,
      helpValue: 'NAME|DIR',
      summary: 'Model folder, or the name of an installed model.',
    }),
    output: Flags.string({ char: 'o', required: true, helpValue: 'DIR', summary: 'Folder for the arrays.' }),
    mask: Flags.string({
      helpValue: 'FILE.npy',
      summary: 'bool [B,N], true = hidden from the encoder (pre-training models).',
    }),
    'decode-mask': Flags.string({
      helpValue: 'FILE.npy',
      summary: 'bool [B,N], false = reconstructed by the decoder.',
    }),
    tokens: Flags.string({
      helpValue: 'FILE.npy',
      summary: 'int32 or int64 [rows,length]: token ids of texts (two-tower models).',
    }),
    input: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'NAME=FILE.npy',
      summary: 'A further array by its name in the model, such as the frames of a second stream.',
    }),
    outputs: Flags.string({ helpValue: 'a,b', summary: 'Outputs to write; default: all.' }),
    batch: Flags.integer({ min: 1, summary: 'Windows in one run; default 8.' }),
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Encode);
    const { encodeArrays } = await import('../src/pipeline/encode.js');
    using progress = await this.progress(flags);
    const writer = this.writer(flags, [column('input'), column('model'), column('provider'), column('outputs')]);
    const reports = encodeArrays(argv as string[], {
      model: flags.model,
      output: flags.output,
      arrays: {
        ...given({ mask: flags.mask, decode_mask: flags['decode-mask'] }),
        ...parsePairs('--input', flags.input ?? []),
      },
      device: flags.device,
      signal: this.signal,
      progress,
      ...given({
        tokens: flags.tokens,
        outputs: flags.outputs?.split(','),
        batch: flags.batch,
        threads: flags.threads,
      }),
    });
    for await (const { input, folder, model, provider, outputs } of reports) {
      await writer.write({ schema: 'egolens.encoded/1', input, output: folder, model, provider, outputs });
    }
    await writer.end();
  }
}
