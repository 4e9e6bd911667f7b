/** `hands` as training takes it: how its head is made for tokens, its targets, and what it knows before the first step. */
import type { Head } from '../src/models/head.js';
import type { Tensor } from '../src/types.js';
import { handPrior, handTargets, type AnnotatedHands, type HandTargets } from './hand-points.js';
import { hands, priorParameter } from './hands.js';

/** Given to `train fhp` by its command: `HandMethod` of src/pipeline/train-hands.ts. */
export const handMethod = {
  head: ({ width, grid }: { readonly width: number; readonly grid: readonly [number, number, number] }): Head =>
    hands.spec({ dim: width, grid: [...grid] }),
  targets: (clips: readonly AnnotatedHands[]): HandTargets => handTargets(clips),
  /** Mean places of a split as the parameter that holds them: shares of the frame, [5, 4]. */
  prior: (clips: readonly AnnotatedHands[]): readonly [parameter: string, places: Tensor<'float32'>] => [
    priorParameter,
    handPrior(handTargets(clips)),
  ],
};
