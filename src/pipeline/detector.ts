/** A detector of objects as part of another task: candidate boxes for heads that look at given boxes. */
import { join } from 'node:path';
import { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import type { CandidateBox } from '../models/forecasts.js';
import type { HeadFolder } from '../models/head-folder.js';
import type { Head, HeadFamily, HeadPrediction } from '../models/head.js';
import { openSession, type Session } from '../runtime/session.js';
import { sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { FrameSize } from './frame-sizes.js';
import { itemMaps, mapsForm, stacked } from './object-maps.js';
import { openHead } from './recognize-head.js';

/** An open detector. Dispose it. */
export interface Detector extends AsyncDisposable {
  readonly folder: HeadFolder;
  readonly head: Head;
  /**
   * Boxes of frames by falling score, at most 100 each.
   *
   * @param rows [n, tokens, width]: the windows that end at the frames
   * @param sizes of the frames, in pixels: the boxes are in them
   * @throws EgolensError data.shape for tokens that the detector was not made for
   */
  boxes(rows: Tensor<'float32'>, sizes: readonly FrameSize[]): Promise<CandidateBox[][]>;
}

export interface DetectorOptions {
  readonly device: string;
  readonly threads?: number;
  /** The families of heads by name. */
  readonly headOf: (family: string) => HeadFamily | undefined;
  /** Thresholds in place of those of its folder: `min_score`, `nms`, `max_detections`. */
  readonly options?: Readonly<Record<string, JsonValue>>;
  readonly signal?: AbortSignal;
}

/** Frames of one run. */
const framesAtOnce = 64;

/** Decoding with it gives boxes in shares of their frame. */
export const unitSize = { sizes: [1, 1] } as const;

/** A box in shares of its frame -> pixels. */
export function inPixels([x1, y1, x2, y2]: CandidateBox['box'], [width, height]: FrameSize): CandidateBox['box'] {
  return [x1 * width, y1 * height, x2 * width, y2 * height];
}

/**
 * Opens a head of `train scod` that looks at one frame.
 *
 * @param name of an installed head, or a folder
 * @throws EgolensError as `openHead`; model.config for a head that looks at the frames before and after a change too; as `openSession`
 */
export async function openDetector(
  name: string,
  { device, threads, headOf, options, signal }: DetectorOptions,
): Promise<Detector> {
  const { folder, head } = await openHead(name, headOf, 'scod');
  const form = mapsForm(head);
  if (form.frames !== 1) {
    throw new EgolensError(
      'model.config',
      `${folder.id}: looks at ${form.frames} frames, before and after a change too; expected a detector of one frame`,
      { try: '`train scod --frames pnr`, or `train scod --gt fho_sta_train.json`' },
    );
  }
  const session = await openSession({
    graph: join(folder.folder, 'graph.onnx'),
    device,
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  const thresholds = { ...folder.info.options, ...options, ...unitSize };
  return {
    folder,
    head,
    async boxes(rows, sizes) {
      const [count = 0, ...rest] = rows.shape;
      if (count !== sizes.length) {
        throw new EgolensError('internal.bug', `${count} windows with ${sizes.length} sizes of frames`);
      }
      const length = sizeOf(rest);
      const windowAt = (i: number): Tensor<'float32'> =>
        tensor('float32', [1, ...rest], rows.data.subarray(i * length, (i + 1) * length));
      const found: CandidateBox[][] = [];
      for (let first = 0; first < count; first += framesAtOnce) {
        const group = sizes.slice(first, first + framesAtOnce);
        const maps = stacked(group.map((_, i) => itemMaps(windowAt(first + i), form)));
        const predictions = await detect({ session, head, folder }, maps, thresholds);
        group.forEach((size, i) => {
          found.push((predictions[i] ?? []).flatMap((one) => candidateOf(one, head, size)));
        });
      }
      return found;
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

async function detect(
  { session, head, folder }: { readonly session: Session; readonly head: Head; readonly folder: HeadFolder },
  maps: Tensor<'float32'>,
  options: Readonly<Record<string, JsonValue>>,
): Promise<readonly (readonly HeadPrediction[])[]> {
  const labels = Object.fromEntries(
    Object.entries(folder.labels).flatMap(([kind, names]) => (names ? [[kind, names]] : [])),
  );
  return head.decode(await session.run({ maps }, Object.keys(head.outputs)), { labels, options, clock: null });
}

function candidateOf(prediction: HeadPrediction, { kinds }: Head, size: FrameSize): CandidateBox[] {
  if (prediction.task !== 'scod') return [];
  const { box, labelId, score } = prediction;
  return [{ box: inPixels(box, size), score, ...(kinds.length > 0 && { noun: labelId }) }];
}
