import { Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { objectFlags, objectsCommand, refuseObjectFlags } from '../src/cli/state-objects.js';
import { inputArgs } from '../src/cli/flags.js';
import { runTask, taskFlags, type TaskUse } from '../src/cli/task-command.js';
import { columnsOf } from '../src/cli/task-output.js';
import type { StateWindow } from '../src/pipeline/state-windows.js';

export default class StateChange extends BaseCommand {
  static override summary =
    'Tell when (localize) and whether (classify) an object changes its state, and where it is (objects).';
  static override description = [
    'A head of `train pnr` or `train oscc` looks at eight seconds at a time: one head answers both questions. localize gives the point of no return, in seconds and as a frame counted from the start of the clip; classify whether there is a change, and how likely. The features are computed with the encoder and the recipe that the head was trained on, and kept in the cache; --features takes those that `extract` wrote.',
    'Own videos: windows of eight seconds, the last one ending with the video. Clips of Ego4D (--ego4d DIR --split, or --clips FILE with --features): the clips of fho_oscc-pnr_*.json under their `unique_id`, which `submit pnr`, `submit oscc` and `eval` take; times are those of the video.',
    'objects: a head of `train scod` gives boxes with scores of the object that changes, at most 100 a frame, in pixels of the upright picture. Own videos: --at, --every, or the frames of one change as --pnr with --pre and --post; a head of three frames takes those half a second before and after where they are not given. Clips of Ego4D: the frames of no return of fho_scod_*.json under the numbers of their images, which `submit scod` and `eval scod` take.',
    'localize gives a time for every clip, one without a change too: look at classify for those.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> state-change lunch.mp4 --mode classify --head runs/oscc/final',
    '<%= config.bin %> state-change lunch.mp4 --mode localize --head runs/pnr/final --format csv',
    '<%= config.bin %> state-change lunch.mp4 --mode objects --head runs/scod/final --at 12.5,14',
    '<%= config.bin %> state-change --mode localize --ego4d ego4d/v2 --split test --features feats/ --head runs/pnr/final -o pnr.ndjson',
  ];
  static override strict = false;
  static override args = inputArgs;
  static override flags = {
    mode: Flags.option({
      options: ['objects', 'localize', 'classify'] as const,
      required: true,
      summary: 'localize: the point of no return. classify: whether an object changes. objects: which one, as boxes.',
    })(),
    ...objectFlags,
    ...taskFlags('pnr', 'oscc', 'scod'),
  };

  async run(): Promise<void> {
    const { flags, argv } = await this.parse(StateChange);
    if (flags.mode === 'objects') {
      using progress = await this.progress(flags);
      process.exitCode = await objectsCommand(argv as string[], flags, this.shell(flags, progress));
      return;
    }
    refuseObjectFlags(flags, flags.mode);
    const { stateFeeds, stateRecord, stateSchemas, StateQueries } = await import('../src/pipeline/state-task.js');
    const { oneByOne } = await import('../src/pipeline/predict.js');
    const { rowsOf, rowsOfHead } = await import('../src/pipeline/placed-clips.js');
    const { gridClock } = await import('../src/pipeline/clip-sequences.js');
    using progress = await this.progress(flags);
    const task = flags.mode === 'localize' ? 'pnr' : 'oscc';
    const queries = new StateQueries();
    const use: TaskUse<StateWindow> = {
      task,
      headTask: 'pnr',
      schema: stateSchemas[task],
      options: {},
      queries: (stretch) => queries.of(stretch),
      feeds: oneByOne((head, rows, window) =>
        stateFeeds([rowsOf(rows, window.rows)], rowsOfHead(head.config, head.family)),
      ),
      record: (prediction, { file: { form } }, window) =>
        stateRecord(task, prediction, window, gridClock(form.clock, form.path)),
      columns: () => columnsOf('input', 'id', 'start', 'end', ...answers[task], 'score'),
      clips: (document, set, options) => queries.clips(document, set, options),
    };
    process.exitCode = await runTask(argv as string[], flags, use, this.shell(flags, progress));
  }
}

const answers = { pnr: ['time', 'frame'], oscc: ['state_change'] } as const;
