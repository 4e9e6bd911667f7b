/** Inputs of the heads that look at given boxes, out of the tokens of a window: `sta-roi` and the official RoI head. */
import { EgolensError } from '../src/errors.js';
import type { Head } from '../src/models/head.js';
import { tensor } from '../src/tensor.js';
import type { AnyTensor, Tensor } from '../src/types.js';
import { boxRows } from './box-feeds.js';
import { roiFactors } from './roi-align.js';
import { boxFeeds, type BoxedPicture } from './sta-roi.js';
import { boxCodes } from './sta-roi-head.js';

/** Pixels of the encoder's input that a map place of the official head spans: its boxes are scaled by 1/16. */
const officialPatch = 16;

/** Does the family run on tokens and given boxes? */
export function takesBoxes(family: string): boolean {
  return family === 'sta-roi' || family === 'sta-roi-head';
}

/**
 * Times of windows of so many tokens.
 *
 * @throws EgolensError data.shape for tokens that the head was not made for, of other number or width
 */
export function timesOf(head: Pick<Head, 'config' | 'family'>, tokens: number, width: number): number {
  const { grid, dim } = head.config as unknown as Sizes; // as spec wrote it
  const [h, w] = grid;
  const times = tokens / (h * w);
  if (Number.isInteger(times) && times > 0 && width === dim) return times;
  throw new EgolensError(
    'data.shape',
    `windows of ${tokens} tokens of ${width} numbers; ${head.family} expects a multiple of ${h} x ${w} tokens of ${dim}`,
    { try: 'features of the encoder that the head was trained on, `extract --pool tokens`' },
  );
}

/**
 * The part of a window that `sta-roi` needs.
 *
 * @param window [tokens, width], times in front
 * @returns [h w + 1, width]: the tokens of the last time step, then the mean of all
 * @throws EgolensError data.shape
 */
export function windowMap(head: Pick<Head, 'config' | 'family'>, window: Tensor<'float32'>): Tensor<'float32'> {
  const [tokens = 0, width = 0] = window.shape;
  const times = timesOf(head, tokens, width);
  const count = tokens / times;
  const data = new Float32Array((count + 1) * width);
  data.set(window.data.subarray((tokens - count) * width));
  data.set(meanToken(window), count * width);
  return tensor('float32', [count + 1, width], data);
}

/** The mean of tokens [n, width]. */
function meanToken({ shape: [tokens = 0, width = 0], data }: Tensor<'float32'>): Float32Array<ArrayBuffer> {
  const mean = new Float32Array(width);
  for (let channel = 0; channel < width; channel++) {
    let sum = 0;
    for (let at = channel; at < tokens * width; at += width) sum += data[at]!;
    mean[channel] = sum / tokens;
  }
  return mean;
}

/** Inputs of `sta-roi` for windows (`windowMap`) and their boxes. */
export function mapFeeds(
  { config }: Pick<Head, 'config'>,
  maps: readonly Tensor<'float32'>[],
  pictures: readonly BoxedPicture[],
  slots: number,
): Record<string, Tensor<'float32'>> {
  const { grid, dim, nouns, roi_resolution: output } = config as unknown as Sizes; // as spec wrote it
  const [h, w] = grid;
  const map = new Float32Array(maps.length * h * w * dim);
  const pooled = new Float32Array(maps.length * dim);
  maps.forEach(({ data }, i) => {
    map.set(data.subarray(0, h * w * dim), i * h * w * dim);
    pooled.set(data.subarray(h * w * dim), i * dim);
  });
  return {
    map: tensor('float32', [maps.length, h, w, dim], map),
    pooled: tensor('float32', [maps.length, dim], pooled),
    ...boxFeeds(pictures, { slots, grid, output, nouns }),
  };
}

/**
 * Inputs of either head for windows and their boxes, a set for each with room for as many boxes.
 *
 * @param windows [tokens, width] each
 * @param pictures one for each window
 * @throws EgolensError data.shape; model.config for a head that does not look at given boxes
 */
export function interactionFeeds(
  head: Head,
  windows: readonly Tensor<'float32'>[],
  pictures: readonly BoxedPicture[],
): Record<string, AnyTensor>[] {
  const slots = pictures.reduce((most, { boxes }) => Math.max(most, boxes.length), 1);
  return windows.map((window, i) => windowFeeds(head, window, { picture: pictures[i]!, slots })); // one for each
}

function windowFeeds(
  head: Head,
  window: Tensor<'float32'>,
  { picture, slots }: { readonly picture: BoxedPicture; readonly slots: number },
): Record<string, AnyTensor> {
  if (head.family !== 'sta-roi' && head.family !== 'sta-roi-head') {
    throw new EgolensError(
      'model.config',
      `${head.family}: a part of a model, which gives maps and no interactions; expected a head of family sta-roi or sta-roi-head`,
      { try: '`train sta`, or the RoI head of InternVideo-Ego4D: `models import --arch sta-roi-head`' },
    );
  }
  const [tokens = 0, width = 0] = window.shape;
  const times = timesOf(head, tokens, width);
  const { grid, nouns, roi_resolution: output, sampling_ratio: sampling } = head.config as unknown as Sizes; // as spec wrote it
  const [h, w] = grid;
  if (head.family === 'sta-roi') {
    return {
      map: tensor('float32', [1, h, w, width], window.data.subarray((times - 1) * h * w * width)),
      pooled: tensor('float32', [1, width], meanToken(window)),
      ...boxFeeds([picture], { slots, grid, output, nouns }),
    };
  }
  const [across, down] = [(w * officialPatch) / picture.size[0], (h * officialPatch) / picture.size[1]];
  const boxes = picture.boxes.map(
    ({ box: [x1, y1, x2, y2] }) => [x1 * across, y1 * down, x2 * across, y2 * down] as const,
  );
  const scale = [1 / officialPatch, 1 / officialPatch] as const;
  return {
    features: tensor('float32', [1, times, h, w, width], window.data),
    ...roiFactors([boxes], slots, { grid, scale, output, sampling }),
    codes: boxCodes([boxes], { slots, width }),
    boxes: boxRows([picture.boxes], slots),
  };
}

/** What `spec` writes into the configurations of both families. */
interface Sizes {
  readonly grid: readonly [h: number, w: number];
  readonly dim: number;
  readonly nouns: number;
  readonly roi_resolution: number;
  readonly sampling_ratio: number;
}
