/** What the commands that train tell: records of steps, how a run ended, checks of gradients. */
import type { GradientCheck } from '../train/grad-check.js';
import type { StepRecord, TrainingOutcome } from '../train/trainer.js';
import type { Progress } from '../types.js';
import { gradientOutput } from './fine-tune-flags.js';
import type { RecordWriter } from './output.js';
import { metricText, stepOutput } from './train-flags.js';

/** What becomes of the records of a run; `end` when it is over. */
export function stepSink(
  writer: RecordWriter,
  { isVerbose, progress }: { readonly isVerbose: boolean; readonly progress: Progress },
): { onStep: (record: StepRecord) => void; end: () => Promise<void> } {
  const begun = performance.now();
  // Records are written in the order of the steps; the last one is waited for at the end.
  let written = Promise.resolve();
  return {
    onStep: (record) => {
      if (record.metrics !== undefined) {
        const seconds = ((performance.now() - begun) / 1000).toFixed(0);
        progress.note(
          `epoch ${record.epoch}: ${metricText({ 'training loss': record.loss, ...record.metrics })} (${seconds} s)`,
        );
      }
      if (record.metrics !== undefined || isVerbose) written = written.then(() => writer.write(stepOutput(record)));
    },
    end: async () => {
      await written;
      await writer.end();
    },
  };
}

/** How a run ended, for people. */
export function tellEnd(
  { ended, step, best }: Pick<TrainingOutcome, 'ended' | 'step' | 'best'>,
  folder: string,
  result: {
    readonly progress: Progress;
    /** What was written; null where the run was interrupted. */
    readonly written: readonly { readonly folder: string; readonly id: string }[] | null;
    readonly scores?: Readonly<Record<string, number>>;
  },
): void {
  const { progress, written, scores } = result;
  if (written === null) {
    progress.note(`interrupted and saved at step ${step} in ${folder}: the same command goes on from there`);
    return;
  }
  const why = { done: '', time: 'the time is over', patience: 'no better score', interrupted: '' }[ended];
  const place = best === null ? '' : `best at step ${best.step} (${best.value.toFixed(4)})`;
  const parts = [why, place, metricText(scores ?? {})].filter((part) => part !== '');
  if (parts.length > 0) progress.note(parts.join('; '));
  for (const one of written) progress.note(`wrote ${one.folder} (${one.id})`);
}

/** The table of `--grad-check`; a wrong gradient is an error. */
export async function printChecks(writer: RecordWriter, checks: readonly GradientCheck[]): Promise<void> {
  const { refuseWrongGradients } = await import('../train/grad-check.js');
  for (const check of checks) await writer.write(gradientOutput(check));
  await writer.end();
  refuseWrongGradients(checks);
}
