/** `sta-roi` as training takes it: how its head is made for features, its inputs and its targets. */
import type { Head } from '../src/models/head.js';
import { mapFeeds, windowMap } from './interaction-feeds.js';
import { interactionTargets, type InteractionTargets, type InteractionTruth } from './interaction-targets.js';
import { staRoi, staRoiStep, type BoxedPicture } from './sta-roi.js';

/** Steps of the time to contact, where the annotations need no more. */
const leastSteps = 26;
const mostSteps = 60;

/** Given to `train sta` by its command: `InteractionMethod` of src/pipeline/train-interactions.ts. */
export const interactionMethod = {
  /** @param latest seconds to contact that training has to tell apart from later ones */
  head: (given: {
    readonly width: number;
    readonly grid: readonly [h: number, w: number];
    readonly nouns: number;
    readonly verbs: number;
    readonly latest: number;
  }): Head =>
    staRoi.spec({
      dim: given.width,
      grid: [...given.grid],
      nouns: given.nouns,
      verbs: given.verbs,
      contact_steps: Math.min(mostSteps, Math.max(leastSteps, Math.ceil(given.latest / staRoiStep) + 1)),
    }),
  map: windowMap,
  feeds: mapFeeds,
  targets: (
    { config }: Pick<Head, 'config'>,
    pictures: readonly (BoxedPicture & { readonly truths: readonly InteractionTruth[] })[],
    slots: number,
  ): InteractionTargets => {
    const {
      nouns,
      verbs,
      contact_steps: times,
    } = config as Readonly<Record<'nouns' | 'verbs' | 'contact_steps', number>>; // as spec wrote it
    return interactionTargets(pictures, { slots, nouns, verbs, times, step: staRoiStep });
  },
};
