/** `lta` as training and use take it: how its head is made for features, its inputs and its targets. */
import type { Head } from '../src/models/head.js';
import { actionTargets, latestRows, lta, type Action } from './lta.js';

/** Channels: few, as futures are few; a sixth of the parameters of the family's default. */
const hidden = 64;

/** Given to `train lta` and `anticipate` by their commands: `ActionMethod` of src/pipeline/train-lta.ts. */
export const ltaMethod = {
  head: ({
    width,
    ...sizes
  }: {
    readonly width: number;
    readonly rows: number;
    readonly verbs: number;
    readonly nouns: number;
    readonly z: number;
  }): Head => lta.spec({ dim: width, ...sizes, hidden }),
  feeds: latestRows,
  targets: (
    futures: readonly (readonly Action[])[],
    { z, ...classes }: { readonly z: number; readonly verbs: number; readonly nouns: number },
  ): ReturnType<typeof actionTargets> => actionTargets(futures, { steps: z, ...classes }),
};
