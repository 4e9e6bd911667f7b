/** A detector of objects as part of another task: candidate boxes for heads that look at given boxes. */
import { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import type { CandidateBox } from '../models/forecasts.js';
import type { HeadFolder } from '../models/head-folder.js';
import type { Head, HeadFamily, HeadPrediction } from '../models/head.js';
import type { Session } from '../runtime/session.js';
import type { Tensor } from '../types.js';
import type { FrameSize } from './frame-sizes.js';
import { mapsForm, mapsOf } from './object-maps.js';
import { openHead } from './recognize-head.js';
import { openStoredSession } from './stored-session.js';

/** An open detector. Dispose it. */
export interface Detector extends AsyncDisposable {
  readonly folder: HeadFolder;
  readonly head: Head;
  /**
   * Boxes of frames by falling score, at most 100 each.
   *
   * @param windows [tokens, width] each: those that end at the frames
   * @param sizes of the frames, in pixels: the boxes are in them
   * @throws EgolensError data.shape for tokens that the detector was not made for
   */
  boxes(windows: readonly Tensor<'float32'>[], sizes: readonly FrameSize[]): Promise<CandidateBox[][]>;
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
  const session = await openStoredSession(folder, {
    graph: 'graph.onnx',
    device,
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  const thresholds = { ...folder.info.options, ...options, ...unitSize };
  return {
    folder,
    head,
    async boxes(windows, sizes) {
      if (windows.length !== sizes.length) {
        throw new EgolensError('internal.bug', `${windows.length} windows with ${sizes.length} sizes of frames`);
      }
      // A detector looks at one window of a frame.
      const items = windows.map((window) => ({ ...window, shape: [1, ...window.shape] }));
      const found: CandidateBox[][] = [];
      for (let first = 0; first < items.length; first += framesAtOnce) {
        const group = sizes.slice(first, first + framesAtOnce);
        const maps = mapsOf(items.slice(first, first + framesAtOnce), form);
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
  // The maps were laid out for this run alone.
  const outputs = await session.run({ maps }, Object.keys(head.outputs), { transfer: true });
  return head.decode(outputs, { labels, options, clock: null });
}

function candidateOf(prediction: HeadPrediction, { kinds }: Head, size: FrameSize): CandidateBox[] {
  if (prediction.task !== 'scod') return [];
  const { box, labelId, score } = prediction;
  return [{ box: inPixels(box, size), score, ...(kinds.length > 0 && { noun: labelId }) }];
}
