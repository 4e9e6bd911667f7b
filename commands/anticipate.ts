import { Flags } from '@oclif/core';
import { anticipateActions, anticipateActionsFlags } from '../src/cli/anticipate-actions.js';
import { anticipateObjects, anticipateObjectsFlags } from '../src/cli/anticipate-objects.js';
import { BaseCommand } from '../src/cli/base-command.js';
import { inputArgs } from '../src/cli/flags.js';
import { taskFlags } from '../src/cli/task-command.js';

export default class Anticipate extends BaseCommand {
  static override summary =
    'Tell what comes next: the object that is touched next (objects), or the next 20 actions (actions).';
  static override description = [
    'objects: a head of `train sta` looks at the window that ends at a frame and at candidate boxes, and says which object is touched next, how (verb), and when (time_to_contact, seconds). Boxes come from --boxes, from --detector (a head of `train scod`, or a detector over pixels of `models import --arch tfjs-graph`), else from the detector that the head was trained with; boxes of an own video are records with `id` (folder and stem of the video) and `frame`. A frame gets --top records, 5 unless said: the Top-5 metric forgives false ones. Frames without boxes get none.',
    'objects: own videos are asked about --at TIME|#FRAME (several with commas) or --every 1s. Frames of Ego4D (--ego4d DIR --split, or --clips FILE with --features): those of fho_sta_*.json under their uid, which `submit sta` and `eval sta` take.',
    'actions: a head of `train lta` looks at the last minute of what was seen and gives sequences of the next 20 verbs and nouns: the likeliest one first, then samples (--seed, --temperature), five in all. The features are computed with the encoder and the recipe that the head was trained on, and kept in the cache; --features takes those that `extract` wrote. No window that ends later than the time of the question is looked at.',
    'Own videos are asked about at their end, or --at TIME. Clips of Ego4D (--ego4d DIR --split, or --clips FILE with --features): at the end of each action of fho_lta_*.json with 20 actions after it, under the id <clip_uid>_<action_idx>, which `submit lta` and `eval lta` take; an ask gives the same sequences whatever else is asked.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> anticipate lunch.mp4 --head runs/sta/final --detector runs/detector/final --every 1s',
    '<%= config.bin %> anticipate --ego4d ego4d/v2 --split test --features tokens/ --head runs/sta/final --boxes detections.json -o sta.ndjson',
    '<%= config.bin %> anticipate lunch.mp4 --mode actions --head runs/lta/final',
    '<%= config.bin %> anticipate lunch.mp4 --mode actions --head runs/lta/final --at 1:30 --temperature 0.5 --format json',
    '<%= config.bin %> anticipate --mode actions --ego4d ego4d/v2 --split test --features feats/ --head runs/lta/final -o lta.ndjson',
  ];
  static override strict = false;
  static override args = inputArgs;
  static override flags = {
    mode: Flags.option({
      options: ['objects', 'actions'] as const,
      default: 'objects' as const,
      summary: 'objects: what is touched next. actions: the next 20 verbs and nouns.',
    })(),
    at: Flags.string({
      helpValue: 'TIME',
      summary:
        'When own videos are asked about: seconds or hh:mm:ss, #FRAME for objects; default of actions: their end.',
    }),
    ...anticipateObjectsFlags,
    ...anticipateActionsFlags,
    ...taskFlags('sta', 'lta'),
  };

  async run(): Promise<void> {
    const { flags, argv } = await this.parse(Anticipate);
    using progress = await this.progress(flags);
    const anticipate = flags.mode === 'objects' ? anticipateObjects : anticipateActions;
    process.exitCode = await anticipate(argv as string[], flags, this.shell(flags, progress));
  }
}
