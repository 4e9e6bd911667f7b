/** The challenges, in the order in which help lists them. */
import type { Challenge, ScoredTask } from '../src/types.js';
import { mq } from './ego4d/mq.js';
import { nlq } from './ego4d/nlq.js';
import { tal } from './tal.js';
import { vq2d } from './ego4d/vq2d.js';
import { fhp } from './ego4d/fhp.js';
import { sta } from './ego4d/sta.js';
import { lta } from './ego4d/lta.js';
import { scod } from './ego4d/scod.js';
import { pnr } from './ego4d/pnr.js';
import { oscc } from './ego4d/oscc.js';
import { recognition } from './recognition.js';
import { retrieval } from './retrieval.js';

/** Everything that `eval`, `validate` and `submit` take as a task. */
export const challenges: readonly Challenge[] = [
  mq,
  nlq,
  vq2d,
  fhp,
  sta,
  lta,
  scod,
  pnr,
  oscc,
  recognition,
  tal,
  retrieval,
];

/** The challenge of a task. */
export function challengeOf(task: ScoredTask): Challenge | undefined {
  return challenges.find((challenge) => challenge.task === task);
}
