import { BaseCommand } from '../../src/cli/base-command.js';
import { loadChallenge } from '../../src/cli/challenge-flags.js';
import { withConfig } from '../../src/cli/train-flags.js';
import { trainHeadFlags } from '../../src/cli/train-head-command.js';
import { trainStateCommand, trainStateDescription } from '../../src/cli/train-state-command.js';

export default class TrainPnr extends BaseCommand {
  static override summary =
    'Train a head for the point of no return from cached features: when does an object change its state?';
  static override description = trainStateDescription('mean_error_sec');
  static override examples = [
    '<%= config.bin %> train pnr --features features --gt fho_oscc-pnr_train.json --val fho_oscc-pnr_val.json -o runs/pnr',
    '<%= config.bin %> train pnr --features features --gt fho_oscc-pnr_train.json --val fho_oscc-pnr_val.json --early-stop mean_error_sec --patience 8 --max-time 1h -o runs/pnr',
  ];
  static override flags = trainHeadFlags('Clips');

  async run(): Promise<void> {
    const { flags } = await this.parse(TrainPnr, await withConfig(this.argv, TrainPnr));
    const { stateMethod } = await import('../../heads/state-method.js');
    using progress = await this.progress(flags);
    await trainStateCommand('pnr', flags, this.shell(flags, progress), {
      method: stateMethod,
      challenges: { pnr: await loadChallenge('pnr'), oscc: await loadChallenge('oscc') },
    });
  }
}
