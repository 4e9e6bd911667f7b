import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { given } from '../../src/cli/flags.js';
import { withConfig } from '../../src/cli/train-flags.js';
import { officialScores, runFolderText, trainHeadCommand, trainHeadFlags } from '../../src/cli/train-head-command.js';
import { parseFrameSize } from '../../src/cli/train-hands-command.js';

export default class TrainScod extends BaseCommand {
  static override summary =
    'Train a detector of the object that changes its state, or of the next object of interaction, from cached features.';
  static override description = [
    'The head is `scod`: convolutions over the token map of the window that ends at a frame; each place of a grid of twice as many rows and columns says whether it finds an object, how far its edges are, and how near its middle is.',
    'Frames come from fho_scod_train.json and fho_scod_val.json of Ego4D (Tabletop writes the same): the frames of no return with their boxes of `object_of_change`. The head is shown the frames before and after the change too; --frames pnr leaves them out. Files of short-term anticipation, fho_sta_train.json and fho_sta_val.json, train a detector of the objects that are touched next, of one class and one frame: `anticipate --detector` takes it.',
    'Features are tokens (`extract --pool tokens --at annotations --task scod`, or sta), found in the folder by the uid of the clip, else of the video: a window that ends at the frame, or up to a second before it, never one that sees more.',
    'After each epoch the official evaluator scores --val: ap50, ap and ap75 of COCO, higher is better. ap50 chooses the best checkpoint, or what --early-stop names.',
    runFolderText('state-change --mode objects'),
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train scod --features tokens --gt fho_scod_train.json --val fho_scod_val.json -o runs/scod',
    '<%= config.bin %> train scod --features tokens --gt fho_sta_train.json --val fho_sta_val.json -o runs/detector',
  ];
  static override flags = {
    ...trainHeadFlags('Frames with boxes'),
    frames: Flags.option({
      options: ['pnr', 'all'] as const,
      summary:
        'Frames that the head is shown: that of no return, or those before and after the change too; default all.',
    })(),
    'frame-size': Flags.string({
      helpValue: 'WxH',
      summary: 'Pixels of the frames, where neither the annotations nor the features say it.',
    }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainScod, await withConfig(this.argv, TrainScod));
    const { detectorMethod } = await import('../../heads/detector-method.js');
    const { FrameSizes } = await import('../../src/pipeline/frame-sizes.js');
    const { objectMetrics, prepareObjects } = await import('../../src/pipeline/train-objects.js');
    const challenge = await loadChallenge('scod');
    const frameSizes = new FrameSizes(parseFrameSize(flags['frame-size']));
    using progress = await this.progress(flags);
    await trainHeadCommand(flags, this.shell(flags, progress), {
      rate: 2e-3,
      weightDecay: 0.05,
      prepare: (options) =>
        prepareObjects({
          ...options,
          ...given({ frames: flags.frames }),
          method: detectorMethod,
          frameSizes,
          score: (truth, records) => officialScores(challenge, truth, records, objectMetrics),
        }),
    });
  }
}
