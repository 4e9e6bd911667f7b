import { Flags } from '@oclif/core';
import { BaseCommand, formatFlag } from '../src/cli/base-command.js';
import { given, inputArgs } from '../src/cli/flags.js';
import { labelFormats } from '../src/cli/label-output.js';
import { runTask, taskFlags, type TaskUse } from '../src/cli/task-command.js';
import { columnsOf, spanCue } from '../src/cli/task-output.js';
import { numberFlag } from '../src/cli/train-flags.js';

export default class Moments extends BaseCommand {
  static override summary = 'Find when classes of activities happen: spans with labels and scores.';
  static override description = [
    'A head for Moment Queries (`train mq`, or `models import --arch actionformer`) looks at the features of a whole video and gives labelled spans by falling score. The features are computed with the encoder and the recipe that the head was trained on, and kept in the cache; --features takes those that `extract` wrote.',
    'Own videos: seconds of the video, `clip_uid` null. Clips of Ego4D (--ego4d DIR --split, or --clips FILE with --features): seconds of the clip, which `submit mq` and `eval mq` take; each clip is a feature file of its own, or is cut out of the features of its video.',
    'srt, vtt, edl and ffcut hold one video or clip; --top and --min-score keep them readable.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> moments lunch.mp4 --head runs/mq/final --top 20',
    '<%= config.bin %> moments lunch.mp4 --head runs/mq/final --min-score 0.4 --format srt > lunch.srt',
    '<%= config.bin %> moments --ego4d ego4d/v2 --task mq --split test --features feats/ --head runs/mq/final -o mq.ndjson',
    '<%= config.bin %> moments --features feats/ --clips moments_val.json --head runs/mq/final -o mq.ndjson',
  ];
  static override strict = false;
  static override args = inputArgs;
  static override baseFlags = { ...BaseCommand.baseFlags, format: formatFlag(labelFormats) };
  static override flags = {
    ...taskFlags('mq'),
    nms: Flags.option({
      options: ['soft', 'hard', 'none'] as const,
      summary: "What becomes of moments that overlap another of their class; default: the head's.",
      helpGroup: 'OVERLAP',
    })(),
    'nms-iou': numberFlag({ min: 0, max: 1, summary: 'hard: overlap from which one goes.', helpGroup: 'OVERLAP' }),
    'nms-sigma': numberFlag({
      min: 1e-6,
      max: 1e6,
      summary: 'soft: how slowly scores fall with the overlap.',
      helpGroup: 'OVERLAP',
    }),
  };

  async run(): Promise<void> {
    const { flags, argv } = await this.parse(Moments);
    const { actionFormerFeeds } = await import('../heads/actionformer-feeds.js');
    const { clipStretches, oneByOne } = await import('../src/pipeline/predict.js');
    const { momentRecord, momentSchema } = await import('../src/pipeline/moment-task.js');
    using progress = await this.progress(flags);
    const use: TaskUse = {
      task: 'mq',
      schema: momentSchema,
      options: given({ nms_method: flags.nms, iou_threshold: flags['nms-iou'], nms_sigma: flags['nms-sigma'] }),
      queries: () => [undefined],
      feeds: oneByOne((head, rows) => actionFormerFeeds(head, [rows])),
      record: momentRecord,
      columns: (format) =>
        format === 'table'
          ? columnsOf('input', 'clip_uid', 'start', 'end', 'label', 'score')
          : columnsOf('input', 'id', 'clip_uid', 'start', 'end', 'label', 'label_id', 'score', 'model'),
      clips: clipStretches,
      cue: (record) => spanCue(record, record['label'], (score) => score.toFixed(2)),
    };
    process.exitCode = await runTask(argv as string[], flags, use, this.shell(flags, progress));
  }
}
