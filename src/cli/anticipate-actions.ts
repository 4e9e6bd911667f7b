/** `anticipate --mode actions`: which actions come next. */
import { Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import type { ActionWindow } from '../pipeline/action-windows.js';
import { parseTime } from '../time.js';
import type { Parsed, Shell } from './base-command.js';
import { given } from './flags.js';
import type { Column, OutputRecord } from './output.js';
import { runTask, type TaskFlags, type TaskUse } from './task-command.js';
import { columnsOf } from './task-output.js';
import { numberFlag } from './train-flags.js';

/** Flags of this mode alone. */
export const anticipateActionsFlags = {
  sequences: Flags.integer({
    min: 1,
    max: 5,
    summary: 'actions: sequences of each ask; default 5, as the challenge wants.',
  }),
  seed: Flags.integer({ min: 0, max: 2 ** 32 - 1, summary: 'actions: of the samples; default 0.' }),
  temperature: numberFlag({
    min: 1e-3,
    max: 1000,
    summary: 'actions: of the samples; lower ones stay closer to the likeliest actions; default 1.',
  }),
  'input-actions': Flags.integer({
    min: 1,
    summary: 'actions: those that are seen before the first question of a clip; default 2.',
  }),
};

/** `anticipateActionsFlags` and what else the mode reads, as oclif parsed them. */
export type AnticipateActionsFlags = TaskFlags &
  Parsed<typeof anticipateActionsFlags> & { readonly at?: string | undefined };

/** Records of the next actions; gives the exit code. */
export async function anticipateActions(
  argv: readonly string[],
  flags: AnticipateActionsFlags,
  shell: Shell,
): Promise<number> {
  const { actionFeeds } = await import('../../heads/lta-method.js');
  const { oneByOne } = await import('../pipeline/predict.js');
  const { ActionQueries, actionRecord, samplesOf, sequenceSchema } = await import('../pipeline/action-task.js');
  const { futureActions, usualInputActions } = await import('../ego4d/action-clips.js');
  checkFlags(flags);
  const queries = new ActionQueries(flags.at === undefined ? undefined : parseTime(flags.at));
  const selection = { inputActions: flags['input-actions'] ?? usualInputActions, least: futureActions };
  const use: TaskUse<ActionWindow> = {
    task: 'lta',
    schema: sequenceSchema,
    options: given({ sequences: flags.sequences, seed: flags.seed, temperature: flags.temperature }),
    optionsFor: (window) => ({ items: [samplesOf(window)] }),
    queries: (stretch) => queries.of(stretch),
    rowsFor: ({ rows: [first, end] }) => Array.from({ length: end - first }, (_, i) => first + i),
    feeds: oneByOne(actionFeeds),
    record: (prediction, _, window) => actionRecord(prediction, window),
    columns: (format) => [
      ...columnsOf('input', 'id', 'time'),
      ...(format === 'table' ? [next] : columnsOf('verb', 'noun')),
    ],
    clips: (document, set, options) => queries.clips(document, set, { ...options, selection }),
  };
  return await runTask(argv, flags, use, shell);
}

/** @throws EgolensError usage.conflict */
function checkFlags(flags: AnticipateActionsFlags): void {
  if (flags['min-score'] !== undefined) {
    throw new EgolensError('usage.conflict', '--min-score: sequences of actions have no score');
  }
  const asked = flags.clips ?? flags.ego4d ?? flags.split ?? flags.task;
  if (flags.at !== undefined && asked !== undefined) {
    throw new EgolensError('usage.conflict', '--at is for own videos: annotation files say when they ask');
  }
}

/** Actions that a table shows. */
const shownActions = 4;

/** The first actions of the likeliest sequence. */
const next: Column = {
  header: 'next',
  cell: (record) => {
    const [verbs, nouns] = [firstOf(record, 'verb'), firstOf(record, 'noun')];
    const actions = verbs.slice(0, shownActions).map((verb, i) => `${verb} ${nouns[i] ?? ''}`);
    return `${actions.join(', ')}${verbs.length > shownActions ? ', …' : ''}`;
  },
};

function firstOf(record: OutputRecord, kind: 'verb' | 'noun'): string[] {
  const sequences = record[`${kind}_names`] ?? record[kind];
  const first: unknown = Array.isArray(sequences) ? (sequences as readonly unknown[])[0] : undefined;
  return Array.isArray(first) ? first.map(String) : [];
}
