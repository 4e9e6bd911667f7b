import { BaseCommand } from '../src/cli/base-command.js';
import { handsCommand, handsFlags } from '../src/cli/hands-command.js';
import { inputArgs } from '../src/cli/flags.js';
import { taskFlags } from '../src/cli/task-command.js';

export default class Hands extends BaseCommand {
  static override summary = 'Tell where both hands will be, at five times up to the next contact.';
  static override description = [
    'A head of `train fhp` looks at the window that ends at a time and gives the places of the left and right hand at five key frames: half a second apart for the next one and a half seconds (pre_45, pre_30, pre_15, pre_frame), then at the contact. `visible` tells how likely each is in view. The features are computed with the encoder and the recipe that the head was trained on, and kept in the cache; --features takes those that `extract` wrote. A head of `models import --arch fhp-head` takes the pooled rows of the two seconds before.',
    'Own videos: --at names times, --every their distance, one second where neither is given; features are asked about at the end of each window. Clips of Ego4D (--ego4d DIR --split, or --clips FILE with --features): the items of fho_hands_*.json under the id <clip_id>_<pre_45 frame - 1>, which `submit fhp` and `eval fhp` take.',
    'Places are pixels of the upright picture: its size is that of the video in ego4d.json, beside the annotations or above them, else that of the video itself. `submit` and `eval` take pixels alone.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> hands lunch.mp4 --head runs/fhp/final --at 12.5',
    '<%= config.bin %> hands lunch.mp4 --head runs/fhp/final --every 0.5s --space normalized --format csv',
    '<%= config.bin %> hands --ego4d ego4d/v2 --split test --features tokens/ --head runs/fhp/final -o hands.ndjson',
  ];
  static override strict = false;
  static override args = inputArgs;
  static override flags = { ...handsFlags, ...taskFlags('fhp') };

  async run(): Promise<void> {
    const { flags, argv } = await this.parse(Hands);
    using progress = await this.progress(flags);
    process.exitCode = await handsCommand(argv as string[], flags, this.shell(flags, progress));
  }
}
