import type { HeadTask } from '../../models/head.js';

/** The embedded heads: what a task command takes where no head is named. All are trained on Tabletop over the default encoder. */
export const defaultHeads: Readonly<Record<HeadTask, string>> = {
  mq: 'tabletop-moments',
  nlq: 'tabletop-queries',
  fhp: 'tabletop-hands',
  sta: 'tabletop-interactions',
  lta: 'tabletop-futures',
  scod: 'tabletop-changes',
  pnr: 'tabletop-states',
  oscc: 'tabletop-states',
  recognition: 'tabletop-actions',
};

/** The detector that finds boxes for the head of `sta`. */
export const defaultDetector = 'tabletop-objects';
