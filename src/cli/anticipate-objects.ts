/** `anticipate --mode objects`: which objects will be touched, how, and when. */
import { Flags } from '@oclif/core';
import { interactionAsks } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import type { HeadFolder } from '../models/head-folder.js';
import type { FrameSize } from '../pipeline/frame-sizes.js';
import type { BoxSource, InteractionQuery } from '../pipeline/interaction-task.js';
import type { Stretch } from '../pipeline/predict.js';
import type { JsonDocument, Progress } from '../types.js';
import type { Parsed, Shell } from './base-command.js';
import { given, parseDuration } from './flags.js';
import { runTask, type TaskFlags, type TaskUse } from './task-command.js';
import { columnsOf } from './task-output.js';
import { parseFrameSize } from './train-hands-command.js';
import { numberFlag } from './train-flags.js';
import { anchorsOf } from './video-flags.js';

/** Flags that say where candidate boxes come from; of `train sta` too. */
export const boxFlags = {
  boxes: Flags.string({
    helpValue: 'FILE',
    multiple: true,
    multipleNonGreedy: true,
    exclusive: ['detector'],
    summary: 'Candidate boxes: records with id and box, {"<uid>": [{"box", "score"}]}, or fho_sta_*.json.',
  }),
  detector: Flags.string({
    helpValue: 'NAME|DIR',
    summary:
      'What finds the candidate boxes: a head of `train scod --gt fho_sta_train.json`; `anticipate` also takes a detector over pixels (`models import --arch tfjs-graph`).',
  }),
  'frame-size': Flags.string({
    helpValue: 'WxH',
    summary: 'Pixels of the frames, where neither the annotations nor the features say it.',
  }),
};

/** Flags of this mode alone. */
export const anticipateObjectsFlags = {
  ...boxFlags,
  every: Flags.string({
    helpValue: '1s',
    exclusive: ['at'],
    summary: 'objects: own videos are asked about every so often; default: as the windows of the head lie.',
  }),
  'max-ttc': numberFlag({ min: 0, max: 3600, summary: 'objects: no interactions later than so many seconds.' }),
};

/** `anticipateObjectsFlags` and what else the mode reads, as oclif parsed them. */
export type AnticipateObjectsFlags = TaskFlags &
  Parsed<typeof anticipateObjectsFlags> & { readonly at?: string | undefined };

/** A frame, and the file that it is asked about. */
interface Query {
  readonly asked: InteractionQuery;
  readonly stretch: Stretch;
}

/** Records of coming interactions; gives the exit code. */
export async function anticipateObjects(
  argv: readonly string[],
  flags: AnticipateObjectsFlags,
  shell: Shell,
): Promise<number> {
  const { headOf } = await import('../../heads/index.js');
  const { interactionFeeds, takesBoxes } = await import('../../heads/interaction-feeds.js');
  const { openHead } = await import('../pipeline/recognize-head.js');
  const { FrameSizes } = await import('../pipeline/frame-sizes.js');
  const task = await import('../pipeline/interaction-task.js');
  const { boxName } = await import('../pipeline/candidate-boxes.js');
  const { folder, head } = await openHead(flags.head, headOf, 'sta');
  if (!takesBoxes(head.family)) {
    throw new EgolensError(
      'model.config',
      `${folder.id}: ${head.family} is a part of a model, which gives maps and no interactions; expected a head of family sta-roi or sta-roi-head`,
      { try: '`train sta`, or the RoI head of InternVideo-Ego4D: `models import --arch sta-roi-head`' },
    );
  }
  const at = ownTimes(flags);
  const sizes = new FrameSizes(parseFrameSize(flags['frame-size']));
  const categories = { noun: task.headCategories(folder, 'noun'), verb: task.headCategories(folder, 'verb') };
  const source = await openSource(flags, folder, shell);
  const queries = task.interactionQueries();
  const top = flags.top ?? task.usualTop;
  const use: TaskUse<Query> = {
    task: 'sta',
    opened: { folder, head },
    schema: task.interactionSchema,
    rowKind: 'tokens',
    options: { max_detections: top, ...given({ max_time: flags['max-ttc'] }) },
    ...(at !== undefined && { at }),
    asks: interactionAsks,
    async queries(stretch) {
      const asked = queries.of(stretch);
      if ('pictures' in source && asked.length > 0) {
        const frames = asked.map((one) => task.pictureOf(one, stretch).frame);
        await source.pictures.look(stretch.input, frames);
      }
      return asked.map((one) => ({ asked: one, stretch }));
    },
    rowsFor: ({ asked: { rows } }) => rows,
    async feeds(opened, asks) {
      const frames = asks.map(({ query: { asked, stretch } }) => {
        const { form, meta } = stretch.file;
        task.checkSource(source, form, flags['force-features']);
        const size: FrameSize = sizes.of(asked.ask, { path: stretch.path, meta });
        const id = asked.ask?.id ?? boxName(stretch.id, task.frameOf(asked, stretch.file));
        return { id, size, ...('pictures' in source && { picture: task.pictureOf(asked, stretch) }) };
      });
      // An ask sees the one window that ends at its frame.
      const windows = asks.map(({ rows }) => ({ ...rows, shape: rows.shape.slice(1) }));
      const boxes = await task.candidates(source, frames, windows, categories.noun);
      return interactionFeeds(
        opened,
        windows,
        frames.map(({ size }, i) => ({ size, boxes: boxes[i] ?? [] })),
      );
    },
    record: (prediction, { file }, { asked }) =>
      task.interactionRecord(prediction, { id: asked.ask?.id ?? null, frame: task.frameOf(asked, file) }),
    columns: () => columnsOf('input', 'id', 'frame', 'box', 'verb', 'noun', 'time_to_contact', 'score'),
    async clips(document, set, options) {
      for (const kind of ['noun', 'verb'] as const) {
        const own = categories[kind];
        if (own !== undefined) task.checkCategories(document, kind, own, folder.id);
      }
      await sizes.readBeside(document.name);
      if ('file' in source) tellBoxes(source, document, shell.progress);
      return await queries.clips(document, set, options);
    },
  };
  try {
    const code = await runTask(argv, { ...flags, top }, use, shell);
    if ('file' in source) source.file.notes().forEach((note) => shell.progress.note(note));
    return code;
  } finally {
    if ('detector' in source) await source.detector[Symbol.asyncDispose]();
    if ('pictures' in source) await source.pictures[Symbol.asyncDispose]();
  }
}

/** @throws EgolensError data.unknown_id where the boxes are of other frames */
function tellBoxes(source: Extract<BoxSource, { file: unknown }>, document: JsonDocument, progress: Progress): void {
  const ids = interactionAsks(document).map(({ id }) => id);
  const notes = source.file.compare(ids, document.name);
  notes.forEach((note) => progress.note(note));
  if (notes.some((note) => note.includes('no boxes for'))) {
    progress.note('frames without boxes get no record; the official evaluator leaves frames without predictions out');
  }
}

/**
 * Boxes of a file, else of the detector that was asked for, else of that which the head was trained with.
 *
 * @throws EgolensError usage.flag where there is none of them
 */
async function openSource(
  flags: AnticipateObjectsFlags,
  { id, info }: HeadFolder,
  { signal }: Shell,
): Promise<BoxSource> {
  if (flags.boxes !== undefined) {
    const { readCandidateBoxes } = await import('../pipeline/candidate-boxes.js');
    return { file: await readCandidateBoxes(flags.boxes) };
  }
  const trained = info.options['detector'];
  const detector = flags.detector ?? (typeof trained === 'string' ? trained : undefined);
  if (detector === undefined) {
    throw new EgolensError('usage.flag', `${id}: looks at given boxes; found neither --boxes nor --detector`, {
      try: '`--boxes FILE` with the boxes of a detector of yours, or `--detector DIR` of `train scod --gt fho_sta_train.json`',
    });
  }
  const { isPictureDetector } = await import('../pipeline/picture-detector.js');
  if (await isPictureDetector(detector)) return await openPictures(detector, flags, signal);
  const { headOf } = await import('../../heads/index.js');
  const { openDetector } = await import('../pipeline/detector.js');
  return {
    detector: await openDetector(detector, {
      device: flags.device,
      ...given({ threads: flags.threads }),
      headOf,
      signal,
    }),
  };
}

/** @throws EgolensError usage.conflict where there are features in place of videos */
async function openPictures(name: string, flags: AnticipateObjectsFlags, signal: AbortSignal): Promise<BoxSource> {
  if (flags.features !== undefined) {
    throw new EgolensError(
      'usage.conflict',
      `--detector \`${name}\`: looks at pixels; with --features no video is decoded`,
      { try: '`--boxes FILE` with boxes of these frames, or leave --features out: videos, or `--ego4d DIR --split S`' },
    );
  }
  const { openPictureDetector, PictureBoxes } = await import('../pipeline/picture-detector.js');
  const { parseStreamChoice } = await import('../video/open.js');
  const detector = await openPictureDetector(name, {
    ...{ device: flags.device, stream: parseStreamChoice(flags.stream), signal },
    stallTimeoutMs: parseDuration(flags['stall-timeout']),
    ...given({ threads: flags.threads }),
  });
  return { pictures: new PictureBoxes(detector) };
}

/**
 * When own videos are asked about.
 *
 * @throws EgolensError usage.conflict beside annotation files and features; usage.flag for what is no time
 */
function ownTimes(flags: AnticipateObjectsFlags): TaskUse<Query>['at'] {
  const asked = anchorsOf(flags);
  if (asked === undefined) return undefined;
  const name = flags.every === undefined ? '--at' : '--every';
  if ((flags.ego4d ?? flags.split ?? flags.task ?? flags.clips) !== undefined || asked === 'annotations') {
    throw new EgolensError('usage.conflict', `${name} is for own videos: annotation files say when they ask`);
  }
  if (flags.features !== undefined) {
    throw new EgolensError('usage.conflict', `${name}: features have their windows already`, {
      try: `\`extract ${name}\` makes windows that end there`,
    });
  }
  return asked;
}
