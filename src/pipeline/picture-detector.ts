/** A detector over the pixels of frames: candidate boxes for heads that look at given boxes. */
import { EgolensError } from '../errors.js';
import { findModel } from '../hub/cache.js';
import { centernetBoxes, type DetectedBox } from '../models/centernet.js';
import { isDetector, openDetectorFolder, type DetectorFolder } from '../models/detector-folder.js';
import { openStoredModel } from '../models/folder.js';
import type { CandidateBox } from '../models/forecasts.js';
import { tensor } from '../tensor.js';
import type { PixelRecipe } from '../types.js';
import { decodeSamples, planPicture } from '../video/decode.js';
import type { RunLimits } from '../video/ffmpeg.js';
import { openVideo, type StreamChoice } from '../video/open.js';
import { inPixels } from './detector.js';
import type { FrameSize } from './frame-sizes.js';
import { openStoredSession } from './stored-session.js';

/** An open detector. Dispose it. */
export interface PictureDetector extends AsyncDisposable {
  readonly folder: DetectorFolder;
  /**
   * Boxes of frames in one pass over the video, which ends with the last of them.
   *
   * @param frames as decoded, from 0; in any order
   * @returns frame -> boxes in shares of it, by falling score
   * @throws EgolensError decode.failed where a frame is not there; as `openVideo` and decoding
   */
  look(path: string, frames: Iterable<number>): Promise<ReadonlyMap<number, readonly DetectedBox[]>>;
}

export interface PictureDetectorOptions extends RunLimits {
  readonly device: string;
  readonly threads?: number;
  readonly stream?: StreamChoice;
}

/** Does this name mean a detector over pixels? False also where there is no such model. */
export async function isPictureDetector(name: string): Promise<boolean> {
  const stored = await findModel(name)
    .then(openStoredModel)
    .catch(() => undefined);
  return stored !== undefined && isDetector(stored);
}

/**
 * Opens a detector of `models import --arch tfjs-graph`.
 *
 * @param name of an installed one, or a folder
 * @throws EgolensError as `openDetectorFolder` and `openSession`
 */
export async function openPictureDetector(
  name: string,
  { device, threads, stream, ...limits }: PictureDetectorOptions,
): Promise<PictureDetector> {
  const folder = await openDetectorFolder(await findModel(name));
  const { config } = folder;
  const session = await openStoredSession(folder, {
    graph: 'graph.onnx',
    device,
    ...(threads !== undefined && { threads }),
    ...(limits.signal && { signal: limits.signal }),
  });
  const { size } = config;
  const recipe: PixelRecipe = { path: 'fast', resize: 'opencv-bilinear', to: 'stretch', size, crop: 'none' };
  return {
    folder,
    async look(path, frames) {
      const take = [...new Set(frames)].sort((a, b) => a - b);
      const found = new Map<number, readonly DetectedBox[]>();
      const last = take.at(-1);
      if (last === undefined) return found;
      const source = await openVideo(path, { ...limits, ...(stream !== undefined && { stream }) });
      const { picture, region, resizers } = planPicture(recipe, source.width, source.height);
      for await (const { number, data } of decodeSamples(source, { rate: 'source', take, picture }, limits)) {
        const pixels = new Uint8Array(3 * size * size);
        for (const resizer of resizers) resizer.apply(data, region, pixels);
        const feeds = { frames: tensor('uint8', [1, size, size, 3], pixels) };
        const { classes, edges } = await session.run(feeds, ['classes', 'edges'], { transfer: true });
        found.set(number, centernetBoxes({ classes: classes!, edges: edges! }, config)); // what was asked for
        if (number === last) break;
      }
      const missing = take.find((frame) => !found.has(frame));
      if (missing === undefined) return found;
      throw new EgolensError(
        'decode.failed',
        `\`${path}\`: expected frame ${missing} to be decoded, found it missing`,
        {
          input: path,
          try: 'the video that the features are of',
        },
      );
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

/** What a detector saw in the frames that are asked about. */
export class PictureBoxes implements AsyncDisposable {
  readonly #detector: PictureDetector;
  #path = '';
  #seen: ReadonlyMap<number, readonly DetectedBox[]> = new Map();

  constructor(detector: PictureDetector) {
    this.#detector = detector;
  }

  /** Looks at frames of a video: those asked for next. What was seen before is forgotten. @throws EgolensError as `PictureDetector.look` */
  async look(path: string, frames: Iterable<number>): Promise<void> {
    this.#seen = await this.#detector.look(path, frames);
    this.#path = path;
  }

  /**
   * Boxes of a frame that was looked at, in its pixels and by falling score.
   *
   * @param nouns class names of the head that looks at them: boxes of other classes have no noun
   */
  of({ path, frame }: PictureFrame, size: FrameSize, nouns: readonly string[] | undefined): CandidateBox[] {
    const boxes = path === this.#path ? this.#seen.get(frame) : undefined;
    if (boxes === undefined) throw new EgolensError('internal.bug', `\`${path}\`: frame ${frame} was not looked at`);
    const own = this.#detector.folder.nouns;
    return boxes.map(({ box, score, classId }): CandidateBox => {
      const noun = nounOf(own?.[classId], nouns);
      return { box: inPixels(box, size), score, ...(noun !== undefined && { noun }) };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#detector[Symbol.asyncDispose]();
  }
}

/** A frame of a video. */
export interface PictureFrame {
  readonly path: string;
  /** As decoded, from 0. */
  readonly frame: number;
}

/** The class of a head by a detector's name for it: `dining table` is `dining_table_(...)` too. The first one of several. */
export function nounOf(name: string | undefined, nouns: readonly string[] | undefined): number | undefined {
  if (name === undefined) return undefined;
  const plain = (one: string): string =>
    one
      .split(/_\(/)[0]!
      .trim()
      .toLowerCase()
      .replaceAll(/[\s_]+/g, ' '); // a part at least
  const found = nouns?.findIndex((noun) => plain(noun) === plain(name)) ?? -1;
  return found < 0 ? undefined : found;
}
