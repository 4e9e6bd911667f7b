/** What `state-change --mode objects` does: its flags, and the run behind them. */
import { Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import type { OwnFrames, PlacedChange } from '../pipeline/own-frames.js';
import type { ObjectQuery } from '../pipeline/object-task.js';
import { parseTime } from '../time.js';
import type { Parsed, Shell } from './base-command.js';
import { runTask, type TaskFlags, type TaskUse } from './task-command.js';
import { columnsOf } from './task-output.js';
import { parseFrameSize } from './train-hands-command.js';
import { anchorsOf } from './video-flags.js';

const elsewhere = ['features', 'ego4d', 'start', 'end'];
const placed = (what: string, others: readonly string[]) =>
  Flags.string({
    helpValue: 'T',
    summary: `objects: the frame ${what}, in one video of one's own, in seconds or hh:mm:ss.mmm.`,
    dependsOn: [...others],
    exclusive: ['at', 'every', ...elsewhere],
  });

/** Flags of `state-change` that only objects have. */
export const objectFlags = {
  at: Flags.string({
    helpValue: 'TIME,…',
    summary: 'objects: frames of own videos, as seconds, hh:mm:ss.mmm or #FRAME at the sampling rate.',
    exclusive: ['every', ...elsewhere],
  }),
  every: Flags.string({
    helpValue: '1s',
    summary: 'objects: one frame each so many seconds of own videos; default 1s.',
    exclusive: elsewhere,
  }),
  pre: placed('before the change', ['pnr', 'post']),
  pnr: placed('of no return', []),
  post: placed('after the change', ['pre', 'pnr']),
  'frame-size': Flags.string({
    helpValue: 'WxH',
    summary: 'objects: pixels of the pictures, in place of what the annotations and the features say.',
  }),
};

/** `objectFlags` as oclif parsed them. */
export type ObjectFlags = TaskFlags & Parsed<typeof objectFlags>;

/** @throws EgolensError usage.conflict for flags of objects in another mode */
export function refuseObjectFlags(flags: ObjectFlags, mode: string): void {
  const found = (Object.keys(objectFlags) as (keyof typeof objectFlags)[]).find((name) => flags[name] !== undefined);
  if (found === undefined) return;
  throw new EgolensError('usage.conflict', `--${found} is for \`--mode objects\`; found \`--mode ${mode}\``);
}

/** Records of objects for videos, features or the frames of a split; gives the exit code. */
export async function objectsCommand(argv: readonly string[], flags: ObjectFlags, shell: Shell): Promise<number> {
  const { asksOfFrames, objectFeeds, ObjectQueries, objectRecord, objectSchema } =
    await import('../pipeline/object-task.js');
  const { unitSize } = await import('../pipeline/detector.js');
  const { FrameSizes } = await import('../pipeline/frame-sizes.js');
  const { mapsForm } = await import('../pipeline/object-maps.js');
  const { oneByOne } = await import('../pipeline/predict.js');
  const { openHead } = await import('../pipeline/recognize-head.js');
  const { headOf } = await import('../../heads/index.js');
  const sizes = new FrameSizes(parseFrameSize(flags['frame-size']));
  const opened = await openHead(flags.head, headOf, 'scod');
  const { frames } = mapsForm(opened.head);
  const own = await ownOf(argv, flags, frames);
  const queries = new ObjectQueries({ frames, sizes, own });
  const use: TaskUse<ObjectQuery> = {
    task: 'scod',
    opened,
    schema: objectSchema,
    options: unitSize,
    rowKind: 'tokens',
    ...(own.at && { at: own.at }),
    asks: (document) => asksOfFrames(document, frames),
    queries: (stretch) => queries.of(stretch),
    rowsFor: ({ rows }) => rows,
    feeds: oneByOne(objectFeeds),
    record: (prediction, _, query) => objectRecord(prediction, query),
    columns: () => columnsOf('input', 'id', 'frame', 'box', 'score'),
    clips: (document, set, options) => queries.clips(document, set, options),
  };
  return await runTask(argv, flags, use, shell);
}

/** @throws EgolensError usage.conflict, usage.flag */
async function ownOf(argv: readonly string[], flags: ObjectFlags, frames: number): Promise<OwnFrames> {
  const { ownFrames, placedFrames } = await import('../pipeline/own-frames.js');
  if (flags.pnr === undefined) {
    const isVideo = flags.features === undefined;
    const every = flags.every ?? (flags.at === undefined && isVideo ? '1s' : undefined);
    const at = anchorsOf({ at: flags.at, every });
    if (at === 'annotations')
      throw new EgolensError(
        'usage.flag',
        '--at annotations: expected times; `--ego4d` and `--clips` name annotations',
      );
    return ownFrames(at, frames);
  }
  if (argv.length !== 1) {
    throw new EgolensError('usage.conflict', `--pnr places a change in one video, found ${argv.length} paths`);
  }
  const pnr = parseTime(flags.pnr);
  if (flags.pre === undefined || flags.post === undefined) return ownFrames([pnr], frames);
  if (frames === 1) {
    throw new EgolensError(
      'usage.conflict',
      '--pre and --post are for heads of `train scod --frames all`; this one looks at one frame',
      {
        try: '`--pnr` alone',
      },
    );
  }
  const change: PlacedChange = { pre: parseTime(flags.pre), pnr, post: parseTime(flags.post) };
  if (change.pre <= change.pnr && change.pnr <= change.post) return placedFrames(change);
  throw new EgolensError(
    'usage.flag',
    `expected --pre, --pnr and --post in the order of time, found ${flags.pre}, ${flags.pnr} and ${flags.post}`,
  );
}
