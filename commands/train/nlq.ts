import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { withConfig } from '../../src/cli/train-flags.js';
import { officialScores, runFolderText, trainHeadCommand, trainHeadFlags } from '../../src/cli/train-head-command.js';

/** Metrics of a run by what the evaluator calls them; the first one chooses the best checkpoint. */
const metricNames = {
  r1_at_0_3: 'R@1,IoU=0.3',
  r1_at_0_5: 'R@1,IoU=0.5',
  r5_at_0_3: 'R@5,IoU=0.3',
  r5_at_0_5: 'R@5,IoU=0.5',
  mean_r1: 'mean R@1',
} as const;

export default class TrainNlq extends BaseCommand {
  static override summary = 'Train a head for Natural Language Queries from cached features: when was it that …?';
  static override description = [
    'The head is `vslnet-small`, a VSLNet that learns the words of its training questions and trains on a CPU: no text model is needed. Clips, questions and answers come from nlq_train.json and nlq_val.json of Ego4D (Tabletop writes the same); features are found in the folder by the uid of the clip, or of its video, of which those rows count whose middle lies in the clip. Questions without text or with answers of no length are left out.',
    'After each epoch the weights are scored on --val by the official evaluator: r1_at_0_3 (which chooses the best checkpoint), r1_at_0_5, r5_at_0_3, r5_at_0_5, mean_r1.',
    runFolderText('nlq'),
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train nlq --features features --gt nlq_train.json --val nlq_val.json -o runs/nlq',
    '<%= config.bin %> train nlq --features features --gt nlq_train.json --val nlq_val.json --early-stop mean_r1 --patience 8 --max-time 1h -o runs/nlq',
  ];
  static override flags = trainHeadFlags('Questions and answers');

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainNlq, await withConfig(this.argv, TrainNlq));
    const { queryMethod } = await import('../../heads/nlq/training.js');
    const { prepareQueries } = await import('../../src/pipeline/train-queries.js');
    const challenge = await loadChallenge('nlq');
    using progress = await this.progress(flags);
    await trainHeadCommand(flags, this.shell(flags, progress), {
      rate: 1e-3,
      weightDecay: 0.01,
      prepare: (options) =>
        prepareQueries({
          ...options,
          method: queryMethod,
          metrics: Object.keys(metricNames),
          score: (truth, results) =>
            officialScores(
              challenge,
              truth,
              { version: '1.0', challenge: 'ego4d_nlq_challenge', results },
              metricNames,
            ),
        }),
    });
  }
}
