import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { withConfig } from '../../src/cli/train-flags.js';
import { trainHeadFlags } from '../../src/cli/train-head-command.js';
import { trainStateCommand, trainStateDescription } from '../../src/cli/train-state-command.js';

export default class TrainOscc extends BaseCommand {
  static override summary = 'Train a head for changes of state from cached features: does an object change its state?';
  static override description = trainStateDescription('accuracy');
  static override examples = [
    '<%= config.bin %> train oscc --features features --gt fho_oscc-pnr_train.json --val fho_oscc-pnr_val.json -o runs/oscc',
    '<%= config.bin %> train oscc --features features --gt fho_oscc-pnr_train.json --val fho_oscc-pnr_val.json --early-stop accuracy --patience 8 --max-time 1h -o runs/oscc',
  ];
  static override flags = trainHeadFlags('Clips');

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainOscc, await withConfig(this.argv, TrainOscc));
    const { stateMethod } = await import('../../heads/state-method.js');
    using progress = await this.progress(flags);
    await trainStateCommand('oscc', flags, this.shell(flags, progress), {
      method: stateMethod,
      challenges: { pnr: await loadChallenge('pnr'), oscc: await loadChallenge('oscc') },
    });
  }
}
