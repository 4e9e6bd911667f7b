/** What `train fhp` does: its help, and the run behind it. */
import { EgolensError } from '../errors.js';
import type { FrameSize } from '../pipeline/frame-sizes.js';
import { handMetrics, type HandMethod } from '../pipeline/train-hands.js';
import type { Challenge } from '../types.js';
import type { Shell } from './base-command.js';
import { given, parsePictureSize } from './flags.js';
import { officialScores, runFolderText, trainHeadCommand, type TrainHeadFlags } from './train-head-command.js';

export const trainHandsDescription = [
  'The head is `hands`: it looks at the tokens of one window, the one that ends at the frame before pre_45, and says where both hands will be at five key frames: pre_45, pre_30, pre_15, pre_frame and the contact. Beside that it says whether each hand will be in view.',
  'Frames and places come from fho_hands_train.json and fho_hands_val.json of Ego4D (Tabletop writes the same); --features holds tokens: `extract --ego4d DIR --task fhp --at annotations --pool tokens`. Places are pixels of the frame, whose size is that of the video in ego4d.json, beside the annotations or above them, else that of the video that the features are of; --frame-size says another.',
  'After each epoch the official evaluator scores --val: mean displacement in pixels, lower is better. mean_displacement, the mean of both hands, chooses the best checkpoint, or what --early-stop names. The first line tells what the mean places of the training split get.',
  runFolderText('hands'),
].join('\n\n');

/** Twice the clips for the price of one: on Tabletop it lowers the displacement by some 3 %. */
const usualMirror = 0.5;

/** Flags of `train fhp` beside those of every head. */
export interface TrainHandsFlags extends TrainHeadFlags {
  readonly 'frame-size'?: string | undefined;
  readonly mirror?: number | undefined;
}

/** Trains, and tells it. */
export async function trainHandsCommand(
  flags: TrainHandsFlags,
  shell: Shell,
  { method, challenge }: { readonly method: HandMethod; readonly challenge: Challenge },
): Promise<void> {
  const { prepareHands } = await import('../pipeline/train-hands.js');
  const frameSize = parseFrameSize(flags['frame-size']);
  const [mean, ...official] = handMetrics;
  await trainHeadCommand(flags, shell, {
    rate: 1e-3,
    weightDecay: 0.05,
    prepare: (options) =>
      prepareHands({
        ...options,
        ...given({ frameSize }),
        method,
        mirror: flags.mirror ?? usualMirror,
        score: (truth, records) => {
          const names = Object.fromEntries(official.map((name) => [name, name]));
          const found = officialScores(challenge, truth, records, names) as Record<(typeof official)[number], number>; // as asked for
          return { [mean]: (found.left_mean_disp + found.right_mean_disp) / 2, ...found };
        },
      }),
  });
}

/** `--frame-size`. @throws EgolensError usage.flag */
export function parseFrameSize(text: string | undefined): FrameSize | undefined {
  if (text === undefined) return undefined;
  const { width, height } = parsePictureSize(text);
  if (width > 0 && height > 0) return [width, height];
  throw new EgolensError('usage.flag', `--frame-size ${text}: expected sides of at least a pixel`);
}
