/** `pnr-oscc` as training takes it: how its head is made for features, and its targets. */
import type { Head } from '../src/models/head.js';
import { pnrOscc } from './pnr-oscc.js';
import { stateTargets, type StateTargets, type StateTruth } from './state-targets.js';

/** Channels: half of the family's default is a quarter of the parameters, and no worse on some thousand clips. */
const hidden = 64;

/** Given to `train pnr` and `train oscc` by their commands: `StateMethod` of src/pipeline/train-state.ts. */
export const stateMethod = {
  head: ({ width, rows }: { readonly width: number; readonly rows: number }): Head =>
    pnrOscc.spec({ dim: width, rows, hidden }),
  targets: (clips: readonly StateTruth[], { rows }: { readonly rows: number }): StateTargets =>
    stateTargets(clips, { rows }),
};
