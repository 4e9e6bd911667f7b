/** The splits of a run of `train scod`: which frames are asked about, their boxes, and the token maps that a detector sees of them. */
import type { ChangeAsk, Corners } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { unstacked } from '../tensor.js';
import type { JsonDocument, Tensor } from '../types.js';
import type { FeatureIndex } from './feature-index.js';
import { readRowsAt } from './feature-rows.js';
import type { FrameSize, FrameSizes } from './frame-sizes.js';
import { frameFiles } from './frame-windows.js';
import { formOfClips } from './missing-clips.js';
import { mapsOf, pickRows, type MapsForm } from './object-maps.js';
import { asksOfFrames, rowsOfFrames } from './object-task.js';
import type { FeatureForm } from './segment-features.js';
import type { HeadTrainingOptions } from './train-head.js';

/** A frame to learn from, or to be scored by. */
export interface ObjectItem {
  readonly ask: ChangeAsk;
  readonly size: FrameSize;
  /** As the file has them. */
  readonly boxes: readonly Corners[];
  readonly path: string;
  /** Rows of that file, as many as the head looks at windows. */
  readonly rows: readonly [number, ...number[]];
}

/** The frames of an annotation file, and the form of their features. */
export interface ObjectSplit {
  readonly items: readonly ObjectItem[];
  readonly form: FeatureForm;
  readonly tokens: number;
  readonly digest: string;
}

/** What decides the splits of a run. */
export interface ObjectSplitOptions extends Pick<
  HeadTrainingOptions,
  'features' | 'skipMissing' | 'forceFeatures' | 'reading' | 'signal' | 'progress'
> {
  readonly frameSizes: FrameSizes;
}

/** Most bytes of token maps that stay in memory; the others are read again when they are needed. */
const keptBytes = 2 * 2 ** 30;
/** Frames of one file that are read at a time. */
const atOnce = 64;

/**
 * An annotation file with the windows of its frames.
 *
 * @param path of the document; its frame sizes may stand beside it
 * @throws EgolensError data.invalid for frames without annotations; data.shape for windows of other tokens than those of `like`; as `frameFiles`,
 *   `formOfClips` and `FrameSizes`
 */
export async function readObjects(
  document: JsonDocument,
  path: string,
  {
    index,
    frames,
    options,
    like,
  }: {
    readonly index: FeatureIndex;
    readonly frames: number;
    readonly options: ObjectSplitOptions;
    readonly like?: ObjectSplit;
  },
): Promise<ObjectSplit> {
  const { forceFeatures, reading, signal, progress, frameSizes } = options;
  const asks = asksOfFrames(document, frames);
  for (const { id, boxes } of asks) {
    if (boxes !== null) continue;
    throw new EgolensError('data.invalid', `\`${path}\`: frame \`${id}\`: expected boxes, found none`, {
      input: path,
      try: 'the train and val splits: the test split has no annotations',
    });
  }
  const found = await frameFiles(asks, document, index, {
    ...(like && { like: like.form }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const { missing, files, tokens, digest } = found;
  const placed = files.reduce((sum, { places }) => sum + places.length, 0);
  const form = formOfClips(path, { form: found.form, found: placed, missing, what: 'frame' }, options);
  if (like !== undefined && tokens !== like.tokens) {
    throw new EgolensError(
      'data.shape',
      `\`${path}\`: rows of ${tokens} tokens; those to learn from have ${like.tokens}`,
      {
        input: path,
        try: 'features of one model',
      },
    );
  }
  await frameSizes.readBeside(path);
  const items = files.flatMap(({ path: features, file, places }) =>
    places.map(({ ask, rows }): ObjectItem => {
      const size = frameSizes.of(ask, { path: features, meta: file.meta });
      return { ask, size, boxes: ask.boxes ?? [], path: features, rows: rowsOfFrames(rows, frames) };
    }),
  );
  return { items, form, tokens, digest };
}

/** What a detector is shown of an item. */
export type MapsOf = (item: ObjectItem) => Promise<Tensor<'float32'>>;

/** The maps of each item: read file by file as long as there is room for them, the others when they are asked for. */
export async function mapsOfItems(
  items: readonly ObjectItem[],
  form: MapsForm,
  { reading, signal, progress }: ObjectSplitOptions,
): Promise<MapsOf> {
  const kept = new Map<ObjectItem, Tensor<'float32'>>();
  const [h, w] = form.grid;
  const room = Math.floor(keptBytes / (4 * form.maps * h * w * form.width));
  const bar = progress.start('token maps', items.length);
  try {
    for (let first = 0; first < Math.min(room, items.length);) {
      signal.throwIfAborted();
      const { path } = items[first]!; // below the length
      const group: ObjectItem[] = [];
      for (let i = first; items[i]?.path === path && group.length < Math.min(atOnce, room - first); i++)
        group.push(items[i]!); // as above
      const maps = await mapsOfFile(path, group, { form, reading });
      group.forEach((item, i) => kept.set(item, maps[i]!)); // one of each
      first += group.length;
      bar.advance(group.length);
    }
  } finally {
    bar.stop();
  }
  return async (item) => kept.get(item) ?? (await mapsOfFile(item.path, [item], { form, reading }))[0]!; // one
}

/** Maps of items of one file. @throws EgolensError as `readRowsAt` and `mapsOf` */
async function mapsOfFile(
  path: string,
  items: readonly ObjectItem[],
  { form, reading }: { readonly form: MapsForm; readonly reading: ReadOptions | undefined },
): Promise<Tensor<'float32'>[]> {
  const wanted = [...new Set(items.flatMap(({ rows }) => rows))].sort((a, b) => a - b);
  const rows = await readRowsAt(path, wanted, reading);
  const windows = items.map(({ rows: own }) =>
    pickRows(
      rows,
      own.map((row) => wanted.indexOf(row)),
    ),
  );
  // Copies: what is kept of a group may be a part of it.
  return unstacked(mapsOf(windows, form)).map((maps) => ({ ...maps, data: maps.data.slice() }));
}
