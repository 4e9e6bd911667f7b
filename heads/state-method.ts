/** `pnr-oscc` as training takes it: how its head is made for features, and its targets. */
import type { Head } from '../src/models/head.js';
import { pnrOscc } from './pnr-oscc.js';
import { stateTargets, type StateTargets, type StateTruth } from './state-targets.js';

/** Given to `train pnr` and `train oscc` by their commands: `StateMethod` of src/pipeline/train-state.ts. */
export const stateMethod = {
  head: ({ width, rows }: { readonly width: number; readonly rows: number }): Head =>
    pnrOscc.spec({ dim: width, rows }),
  targets: (clips: readonly StateTruth[], { rows }: { readonly rows: number }): StateTargets =>
    stateTargets(clips, { rows }),
};
