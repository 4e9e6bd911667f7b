/** What `hands` does: its flags, and the run behind them. */
import { Flags } from '@oclif/core';
import { handAsks } from '../ego4d/asked-frames.js';
import type { HandQuery } from '../pipeline/hand-task.js';
import type { Parsed, Shell } from './base-command.js';
import { given } from './flags.js';
import { runTask, type TaskFlags, type TaskUse } from './task-command.js';
import { columnsOf } from './task-output.js';
import { parseFrameSize } from './train-hands-command.js';
import { anchorsOf } from './video-flags.js';

/** Flags of `hands` beside those of every task. */
export const handsFlags = {
  at: Flags.string({
    helpValue: 'TIME,…',
    summary: 'Times of own videos: seconds, hh:mm:ss.mmm or #FRAME at the sampling rate.',
    exclusive: ['every', 'features', 'ego4d', 'start', 'end'],
  }),
  every: Flags.string({
    helpValue: '1s',
    summary: 'One time each so many seconds of own videos; default 1s.',
    exclusive: ['features', 'ego4d', 'start', 'end'],
  }),
  space: Flags.option({
    options: ['pixels', 'normalized'] as const,
    default: 'pixels' as const,
    summary: 'Places in pixels of the upright picture, or as shares of its width and height.',
  })(),
  'frame-size': Flags.string({
    helpValue: 'WxH',
    summary: 'Pixels of the pictures, in place of what ego4d.json and the features say.',
  }),
};

/** `handsFlags` as oclif parsed them. */
export type HandsFlags = TaskFlags & Parsed<typeof handsFlags>;

/** Records of hands for videos, features or the clips of a split; gives the exit code. */
export async function handsCommand(argv: readonly string[], flags: HandsFlags, shell: Shell): Promise<number> {
  const task = await import('../pipeline/hand-task.js');
  const { oneByOne } = await import('../pipeline/predict.js');
  const { openHead } = await import('../pipeline/recognize-head.js');
  const { headOf } = await import('../../heads/index.js');
  const size = parseFrameSize(flags['frame-size']);
  const at = anchorsOf({ at: flags.at, every: flags.at === undefined ? (flags.every ?? '1s') : undefined });
  const opened = await openHead(flags.head, headOf, 'fhp');
  const isShares = task.looksAtTokens(opened.head);
  const { space } = flags;
  const kind = isShares ? 'tokens' : 'vectors';
  const queries = new task.HandQueries({ kind, ...given({ size }), needsSize: isShares === (space === 'pixels') });
  const use: TaskUse<HandQuery> = {
    task: 'fhp',
    opened,
    schema: task.handSchema,
    options: { sizes: [...task.unitSize] },
    rowKind: kind,
    ...(at !== 'annotations' && given({ at })),
    asks: handAsks,
    queries: (stretch) => queries.of(stretch),
    rowsFor: ({ rows }) => rows,
    feeds: oneByOne(task.handFeeds),
    record: (prediction, _, query) => task.handRecord(prediction, query, { isShares, space }),
    columns: () => columnsOf('input', 'id', 'time', 'frame', 'points', 'visible'),
    clips: (document, set, options) => queries.clips(document, set, options),
  };
  return await runTask(argv, flags, use, shell);
}
