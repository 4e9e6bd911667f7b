import { EgolensError } from '../../src/errors.js';
import { boxFlags } from '../../src/cli/anticipate-objects.js';
import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { given } from '../../src/cli/flags.js';
import { withConfig } from '../../src/cli/train-flags.js';
import { officialScores, runFolderText, trainHeadCommand, trainHeadFlags } from '../../src/cli/train-head-command.js';
import { parseFrameSize } from '../../src/cli/train-hands-command.js';

export default class TrainSta extends BaseCommand {
  static override summary =
    'Train a head for coming interactions from cached features: which object is touched next, how, and when?';
  static override description = [
    'The head is `sta-roi`: it looks at given boxes, at the tokens under each and at the whole picture, and says of each whether it is touched next, its noun, the verb and the time to contact.',
    'Frames come from fho_sta_train.json and fho_sta_val.json of Ego4D (Tabletop writes the same). Candidate boxes of both splits: --boxes (several files if need be) or --detector, a head of `train scod --gt fho_sta_train.json`; in training the annotated boxes are added, and all edges move a little. A box stands for the annotated one that it overlaps by half at least.',
    'Features are tokens (`extract --pool tokens --at annotations --task sta`), found in the folder by the uid of the clip, else of the video: a window that ends at the frame, or up to a second before it, never one that sees more.',
    'After each epoch the official evaluator scores --val: Top-5 mAP of noun, verb and time (overall), of noun, noun_verb and noun_ttc. overall chooses the best checkpoint, or what --early-stop names.',
    runFolderText('anticipate'),
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train sta --features tokens --gt fho_sta_train.json --val fho_sta_val.json --detector runs/detector/final -o runs/sta',
    '<%= config.bin %> train sta --features tokens --gt fho_sta_train.json --val fho_sta_val.json --boxes detections.json -o runs/sta',
  ];
  static override flags = { ...trainHeadFlags('Frames with the next interaction'), ...boxFlags };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainSta, await withConfig(this.argv, TrainSta));
    const { headOf } = await import('../../heads/index.js');
    const { interactionMethod } = await import('../../heads/interaction-method.js');
    const { interactionMetrics, prepareInteractions } = await import('../../src/pipeline/train-interactions.js');
    const { detector } = flags;
    const boxes = detector === undefined ? flags.boxes : { detector, headOf };
    if (boxes === undefined) {
      throw new EgolensError('usage.flag', 'the head looks at given boxes; found neither --boxes nor --detector', {
        try: '`train scod --gt fho_sta_train.json` makes a detector',
      });
    }
    const challenge = await loadChallenge('sta');
    const frameSize = parseFrameSize(flags['frame-size']);
    using progress = await this.progress(flags);
    await trainHeadCommand(flags, this.shell(flags, progress), {
      rate: 2e-3,
      weightDecay: 0.05,
      prepare: (options) =>
        prepareInteractions({
          ...options,
          ...given({ frameSize }),
          method: interactionMethod,
          boxes,
          score: (truth, records) => officialScores(challenge, truth, records, interactionMetrics),
        }),
    });
  }
}
