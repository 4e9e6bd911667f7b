import { Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import type { Challenge, ScoredTask } from '../types.js';

/** Everything that is scored, in the order of the challenges (`benchmarks/index.ts`, which is loaded when a command runs). */
export const scoredTasks = [
  'mq',
  'nlq',
  'vq2d',
  'fhp',
  'sta',
  'lta',
  'scod',
  'pnr',
  'oscc',
  'recognition',
  'tal',
  'retrieval',
] as const satisfies readonly ScoredTask[];

/** Tasks with a server that takes submissions. */
export const submittedTasks = ['mq', 'nlq', 'vq2d', 'fhp', 'sta', 'lta', 'scod', 'pnr', 'oscc'] as const;

/** Files of hands hold sums over views, or plain pixels. */
export const fhpScaleFlag = Flags.option({
  options: ['sum', 'mean'] as const,
  summary: 'fhp: values are sums over 30 views (the default, as the server wants them), or plain pixels.',
});

/** The challenge of a task. */
export async function loadChallenge(task: ScoredTask): Promise<Challenge> {
  const { challengeOf } = await import('../../benchmarks/index.js');
  const challenge = challengeOf(task);
  if (challenge === undefined) throw new EgolensError('internal.bug', `no challenge for \`${task}\``);
  return challenge;
}
