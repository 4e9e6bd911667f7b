import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { trainFlags, withConfig } from '../../src/cli/train-flags.js';
import { officialScores, runFolderText, trainHeadCommand, trainHeadFlags } from '../../src/cli/train-head-command.js';

/** Metrics of a run by what the evaluator calls them; the first one ranks. */
const metricNames = {
  average_map: 'Average mAP',
  map_at_0_5: 'mAP,tIoU=0.5',
  recall_1x_at_0_5: 'Recall@1x,tIoU=0.5',
} as const;

export default class TrainMq extends BaseCommand {
  static override summary = 'Train a head for Moment Queries from cached features: when do activities happen?';
  static override description = [
    'The head is `actionformer-small`, an ActionFormer of four levels that trains on a CPU. Clips and labels come from moments_train.json and moments_val.json of Ego4D (Tabletop writes the same); features are found in the folder by the uid of the clip, or of its video, which the clips are then cut out of. Only primary labels of at least a quarter second count.',
    'The classes are those of moment_classes_idx.json beside --gt, else of --labels, else the labels in --gt.',
    'After each epoch the moving average of the weights is scored on --val by the official evaluator: average_map (which chooses the best checkpoint), map_at_0_5, recall_1x_at_0_5.',
    runFolderText('moments'),
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train mq --features features --gt moments_train.json --val moments_val.json -o runs/mq',
    '<%= config.bin %> train mq --features features --gt moments_train.json --val moments_val.json --early-stop average_map --patience 8 --max-time 1h -o runs/mq',
  ];
  static override flags = {
    ...trainHeadFlags('Moments'),
    labels: Flags.string({
      helpValue: 'NAME|FILE',
      summary: 'Classes in their order: a list of `labels list`, a file of one, or moment_classes_idx.json.',
    }),
    'label-smoothing': trainFlags['label-smoothing'],
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainMq, await withConfig(this.argv, TrainMq));
    const { actionFormerMethod } = await import('../../heads/actionformer-feeds.js');
    const { prepareMoments } = await import('../../src/pipeline/train-moments.js');
    const challenge = await loadChallenge('mq');
    using progress = await this.progress(flags);
    const { labels } = flags;
    await trainHeadCommand(flags, this.shell(flags, progress), {
      rate: 1e-3,
      weightDecay: 0.05,
      prepare: (options) =>
        prepareMoments({
          ...options,
          ...(labels !== undefined && { labels }),
          smoothing: flags['label-smoothing'] ?? 0,
          method: actionFormerMethod,
          metrics: Object.keys(metricNames),
          score: (truth, records) => officialScores(challenge, truth, records, metricNames),
        }),
    });
  }
}
