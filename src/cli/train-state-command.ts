/** What `train pnr` and `train oscc` share: they train one head and differ in the metric that chooses the best checkpoint. */
import type { StateTask } from '../pipeline/state-task.js';
import type { StateMethod } from '../pipeline/train-state.js';
import type { Challenge } from '../types.js';
import type { Shell } from './base-command.js';
import { officialScores, runFolderText, trainHeadCommand, type TrainHeadFlags } from './train-head-command.js';

export const trainStateDescription = (metric: string): string =>
  [
    'The head is `pnr-oscc`: convolutions over the rows of a clip of eight seconds, one logit a row for the point of no return, and one for the change of state. `train pnr` and `train oscc` train the same head on both; they differ in the metric of the best checkpoint.',
    'Clips come from fho_oscc-pnr_train.json and fho_oscc-pnr_val.json of Ego4D (Tabletop writes the same). Features are found in the folder by the uid of the clip of some minutes that the eight seconds lie in, else of the video; rows whose middle lies in the clip count.',
    `After each epoch the official evaluators score --val: mean_error_sec (seconds, lower is better) and accuracy. ${metric} chooses the best checkpoint, or what --early-stop names.`,
    runFolderText('state-change'),
  ].join('\n\n');

/** Trains, and tells it. */
export async function trainStateCommand(
  task: StateTask,
  flags: TrainHeadFlags,
  shell: Shell,
  { method, challenges }: { readonly method: StateMethod; readonly challenges: Readonly<Record<StateTask, Challenge>> },
): Promise<void> {
  const { prepareState } = await import('../pipeline/train-state.js');
  await trainHeadCommand(flags, shell, {
    rate: 1e-3,
    weightDecay: 0.05,
    prepare: (options) =>
      prepareState({
        ...options,
        task,
        method,
        score: (of, truth, records) =>
          officialScores(challenges[of], truth, records, { primary: challenges[of].primary.metric })['primary']!, // as asked for
      }),
  });
}
