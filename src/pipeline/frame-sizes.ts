/** Sizes of the pictures that annotations are in: places and boxes of heads are shares of them until somebody asks for pixels. */
import { dirname, join, resolve } from 'node:path';
import type { FrameAsk } from '../ego4d/asked-frames.js';
import { readDataSet, type VideoEntry } from '../ego4d/manifest.js';
import { EgolensError } from '../errors.js';
import type { FeatureMeta } from '../features/store.js';
import { pathExists } from '../files.js';
import { readJsonFile } from './json-files.js';

/** Pixels of the whole picture, upright. */
export type FrameSize = readonly [width: number, height: number];

/** What the frames of a run are large. */
export class FrameSizes {
  readonly #given: FrameSize | undefined;
  readonly #byVideo = new Map<string, FrameSize>();
  readonly #read = new Set<string>();

  /** @param given by the user, for all frames: it counts before everything else */
  constructor(given?: FrameSize) {
    this.#given = given;
  }

  /**
   * Learns the sizes of `ego4d.json` beside an annotation file, else in one of the two folders above it, as Ego4D lies on disk. Nothing where there is
   * none.
   *
   * @throws EgolensError data.invalid for a file of another form
   */
  async readBeside(annotations: string): Promise<void> {
    if (this.#given !== undefined) return;
    const folder = dirname(resolve(annotations));
    if (this.#read.has(folder)) return;
    this.#read.add(folder);
    for (const one of [folder, dirname(folder), dirname(dirname(folder))]) {
      const path = join(one, 'ego4d.json');
      if (!(await pathExists(path))) continue;
      const { videos } = await readDataSet(await readJsonFile(path, { check: 'values' }));
      for (const [uid, entry] of videos) {
        const size = displaySize(entry);
        if (size !== undefined) this.#byVideo.set(uid, size);
      }
      return;
    }
  }

  /**
   * The size of the frames of an ask: that of its annotation, else of its video in `ego4d.json`, else of the video that the features are of.
   *
   * @param ask null for a video of one's own
   * @throws EgolensError data.invalid where nothing tells it
   */
  of(
    ask: Pick<FrameAsk, 'size' | 'videoUid'> | null,
    { path, meta }: { readonly path: string; readonly meta: Pick<FeatureMeta, 'picture'> | undefined },
  ): FrameSize {
    if (this.#given !== undefined) return this.#given;
    const known = ask === null ? undefined : (ask.size ?? this.#byVideo.get(ask.videoUid));
    if (known !== undefined) return known;
    if (meta?.picture !== undefined) return [meta.picture.width, meta.picture.height];
    const video = ask === null ? '' : ` of video \`${ask.videoUid}\``;
    throw new EgolensError('data.invalid', `\`${path}\`: nothing tells the width and height of the frames${video}`, {
      input: path,
      try: '`--frame-size WxH`, or `ego4d.json` beside the annotations, or extract the features again: their meta files say it',
    });
  }
}

/** Display size of a canonical video; undefined where the data set does not say. */
function displaySize({ official }: VideoEntry): FrameSize | undefined {
  const metadata = official['video_metadata'];
  if (typeof metadata !== 'object' || metadata === null) return undefined;
  const { display_resolution_width: width, display_resolution_height: height } = metadata as Readonly<
    Record<string, unknown>
  >;
  const isSide = (side: unknown): side is number => typeof side === 'number' && Number.isFinite(side) && side > 0;
  return isSide(width) && isSide(height) ? [width, height] : undefined;
}
