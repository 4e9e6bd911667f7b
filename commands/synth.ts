import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { forceFlag, given, parsePictureSize } from '../src/cli/flags.js';
import { column } from '../src/cli/output.js';
import { variantNames } from '../src/world/variants.js';

export default class Synth extends BaseCommand {
  static override summary = 'Render Tabletop: first-person clips with exact truth, annotated in Ego4D’s formats.';
  static override description =
    'Writes OUT/videos/<video_uid>.mp4 and OUT/annotations/ (every track; the test split also unannotated). The same seed gives the same frames. Runs for train, val and test may share OUT. Odd clips of the test split show wearers, tables and pairs of noun and colour that training never shows. Tabletop is no substitute for Ego4D.';
  static override examples = [
    '<%= config.bin %> synth tabletop/ --clips 20 --seconds 30 --seed 1',
    '<%= config.bin %> synth tabletop/ --clips 8 --seconds 30 --seed 1 --split val --sheet val.png',
    '<%= config.bin %> synth truth/ --clips 200 --seconds 120 --seed 1 --annotations-only',
    '<%= config.bin %> synth odd/ --clips 1 --seconds 5 --seed 2 --variants vfr,rotated,10bit,hevc,cut',
  ];
  static override args = { out: Args.string({ required: true, ignoreStdin: true, description: 'output folder' }) };
  static override flags = {
    clips: Flags.integer({ required: true, min: 1, summary: 'Clips of the split.' }),
    seconds: Flags.string({ required: true, helpValue: 'S', summary: 'Length of each clip.' }),
    seed: Flags.integer({ required: true, min: 0, summary: 'Decides everything that a clip shows.' }),
    size: Flags.string({ default: '320x240', helpValue: 'WxH', summary: 'Pixels; both sides even.' }),
    fps: Flags.integer({ default: 30, summary: 'Frames a second, a multiple of 5.' }),
    split: Flags.option({
      options: ['train', 'val', 'test'] as const,
      default: 'train' as const,
      summary: 'Splits never share a clip, whatever the seed.',
    })(),
    difficulty: Flags.integer({
      default: 2,
      min: 1,
      max: 3,
      summary: 'Number and size of objects, shake, idle stretches, noise.',
    }),
    variants: Flags.option({
      options: variantNames,
      multiple: true,
      delimiter: ',',
      default: [],
      summary: 'Further copies of each clip that decoders stumble over, <video_uid>.<variant>.mp4.',
    })(),
    'annotations-only': Flags.boolean({
      exclusive: ['variants'],
      summary: 'Draw no videos: annotations alone, in seconds and without ffmpeg; a later run adds the videos.',
    }),
    sheet: Flags.string({ helpValue: 'FILE.png', summary: 'Contact sheet: a row a verb, six moments.' }),
    jobs: Flags.integer({ char: 'j', min: 1, max: 64, default: 1, summary: 'Clips at once.' }),
    force: forceFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Synth);
    const { synth } = await import('../src/pipeline/synth.js');
    using progress = await this.progress(flags);
    const { clips, seed, fps, split, variants, jobs, force, sheet } = flags;
    const records = synth(args.out, {
      ...{ clips, seed, fps, split, variants, jobs, force },
      ...parsePictureSize(flags.size),
      seconds: Number(flags.seconds),
      difficulty: flags.difficulty as 1 | 2 | 3, // bounded above
      ...given({ sheet }),
      annotationsOnly: flags['annotations-only'],
      signal: this.signal,
      progress,
    });
    const writer = this.writer(flags, [
      column('uid'),
      column('frames', 'right'),
      column('actions', 'right'),
      column('state'),
      column('path'),
    ]);
    for await (const record of records) await writer.write(record);
    await writer.end();
  }
}
