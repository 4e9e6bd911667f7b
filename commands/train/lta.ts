import { Flags } from '@oclif/core';
import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { given } from '../../src/cli/flags.js';
import { withConfig } from '../../src/cli/train-flags.js';
import { officialScores, runFolderText, trainHeadCommand, trainHeadFlags } from '../../src/cli/train-head-command.js';

export default class TrainLta extends BaseCommand {
  static override summary = 'Train a head for long-term anticipation from cached features: which actions come next?';
  static override description = [
    'The head is `lta`: attention over the rows of what was seen, a minute of them at most, then one query for each of the next 20 actions. Actions come from fho_lta_train.json and fho_lta_val.json of Ego4D (Tabletop writes the same); features are found in the folder by the uid of the clip, else of the video. It is asked at the end of each action; rows that end by then count. Training takes shorter futures as well, --val only those of 20 actions.',
    'The classes are those of fho_lta_taxonomy.json beside --gt, else of --labels, else as many as the labels in --gt need. The pairs of verb and noun in --gt go into the head: it foretells no others. So does how soon a verb comes again there: it weighs the verbs of a sequence.',
    'After each epoch the official evaluator scores five sequences an ask on --val: action_ed20 (edit distance, lower is better; it chooses the best checkpoint), verb_ed20, noun_ed20.',
    runFolderText('anticipate --mode actions'),
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> train lta --features features --gt fho_lta_train.json --val fho_lta_val.json -o runs/lta',
    '<%= config.bin %> train lta --features features --gt fho_lta_train.json --val fho_lta_val.json --early-stop verb_ed20 --patience 8 --max-time 1h -o runs/lta',
  ];
  static override flags = {
    ...trainHeadFlags('Actions'),
    labels: Flags.string({ helpValue: 'FILE', summary: 'Taxonomy: an object with the lists verbs and nouns.' }),
    'input-actions': Flags.integer({
      min: 1,
      default: 2,
      summary: 'Actions that are seen before the first question of a clip.',
    }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainLta, await withConfig(this.argv, TrainLta));
    const { ltaMethod } = await import('../../heads/lta-method.js');
    const { prepareLta, sequenceMetrics } = await import('../../src/pipeline/train-lta.js');
    const challenge = await loadChallenge('lta');
    using progress = await this.progress(flags);
    await trainHeadCommand(flags, this.shell(flags, progress), {
      rate: 1e-3,
      weightDecay: 0.05,
      prepare: (options) =>
        prepareLta({
          ...options,
          ...given({ labels: flags.labels }),
          method: ltaMethod,
          inputActions: flags['input-actions'],
          score: (truth, records) => officialScores(challenge, truth, records, sequenceMetrics),
        }),
    });
  }
}
