import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { numberFlag, withConfig } from '../../src/cli/train-flags.js';
import { trainHandsCommand, trainHandsDescription } from '../../src/cli/train-hands-command.js';
import { trainHeadFlags } from '../../src/cli/train-head-command.js';

export default class TrainFhp extends BaseCommand {
  static override summary = 'Train a head for future hands from cached tokens: where will both hands be?';
  static override description = trainHandsDescription;
  static override examples = [
    '<%= config.bin %> train fhp --features tokens --gt fho_hands_train.json --val fho_hands_val.json -o runs/fhp',
    '<%= config.bin %> train fhp --features tokens --gt fho_hands_train.json --val fho_hands_val.json --early-stop left_mean_disp --patience 8 --max-time 1h -o runs/fhp',
  ];
  static override flags = {
    ...trainHeadFlags('Frames and hands'),
    'frame-size': Flags.string({
      helpValue: 'WxH',
      summary: 'Pixels of the annotated frames, in place of what ego4d.json and the features say.',
    }),
    mirror: numberFlag({
      min: 0,
      max: 1,
      summary: 'Share of samples that are seen in a mirror: columns of tokens reversed, hands swapped; default 0.5.',
    }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainFhp, await withConfig(this.argv, TrainFhp));
    const { handMethod } = await import('../../heads/hand-method.js');
    using progress = await this.progress(flags);
    await trainHandsCommand(flags, this.shell(flags, progress), {
      method: handMethod,
      challenge: await loadChallenge('fhp'),
    });
  }
}
