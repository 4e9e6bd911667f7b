/** The challenges, in the order in which help lists them. */
import type { Challenge, ScoredTask } from '../src/types.js';
import { mq } from './ego4d/mq.js';
import { nlq } from './ego4d/nlq.js';
import { tal } from './tal.js';
import { fhp } from './ego4d/fhp.js';
import { lta } from './ego4d/lta.js';
import { pnr } from './ego4d/pnr.js';
import { oscc } from './ego4d/oscc.js';
import { recognition } from './recognition.js';
import { retrieval } from './retrieval.js';

export const challenges: readonly Challenge[] = [mq, nlq, tal, fhp, lta, pnr, oscc, recognition, retrieval];

/** The challenge of a task. */
export function challengeOf(task: ScoredTask): Challenge | undefined {
  return challenges.find((challenge) => challenge.task === task);
}
