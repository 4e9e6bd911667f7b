/** Token maps that detectors of objects look at: which times of which windows, and how they are laid side by side. */
import { EgolensError } from '../errors.js';
import type { Head } from '../models/head.js';
import { sizeOf, stacked, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

/** What a detector is shown of a frame. */
export interface MapsForm {
  /** Maps of one item. */
  readonly maps: number;
  /** Windows of one item, one map of each at least: that of the frame itself gives all further maps. */
  readonly frames: number;
  /** Places of a map. */
  readonly grid: readonly [h: number, w: number];
  readonly width: number;
}

/** The form of a detector. @throws EgolensError model.config for a head of another kind */
export function mapsForm({ config, family }: Pick<Head, 'config' | 'family'>): MapsForm {
  const { maps, frames, grid, dim } = config;
  const isForm = [maps, frames, dim].every((value) => typeof value === 'number');
  if (!isForm || !Array.isArray(grid) || grid.length !== 2) {
    throw new EgolensError(
      'model.config',
      `${family}: expected \`maps\`, \`frames\`, \`grid\` and \`dim\` in its configuration`,
    );
  }
  return { maps, frames, grid, width: dim } as unknown as MapsForm; // looked at in the line above
}

/**
 * Times of a window that are shown, the last one first: they lie as far apart as the window allows.
 *
 * @param times of the window
 */
export function shownTimes(times: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.round((times - 1) * (1 - (count === 1 ? 0 : i / (count - 1)))));
}

/**
 * The maps of items.
 *
 * @param items of [frames, tokens, width] each: the window that ends at the frame itself first
 * @returns [items, maps, h, w, width]: times of the first window, the last one first, then the last time of each further window
 * @throws EgolensError data.shape for tokens of another grid
 */
export function mapsOf(items: readonly Tensor<'float32'>[], form: MapsForm): Tensor<'float32'> {
  const {
    maps,
    grid: [h, w],
    width,
  } = form;
  const size = maps * h * w * width;
  const values = new Float32Array(items.length * size);
  items.forEach((item, i) => {
    putMaps(values.subarray(i * size, (i + 1) * size), item, form);
  });
  return tensor('float32', [items.length, maps, h, w, width], values);
}

function putMaps(
  values: Float32Array,
  { shape, data }: Tensor<'float32'>,
  { maps, frames, grid: [h, w], width }: MapsForm,
): void {
  const [count = 0, tokens = 0, found = 0] = shape;
  const size = h * w * width;
  const times = tokens / (h * w);
  const own = maps - frames + 1;
  if (count !== frames || found !== width || !Number.isInteger(times) || times < own) {
    throw new EgolensError(
      'data.shape',
      `windows of [${shape.join(', ')}]; expected [${frames}, n x ${h} x ${w}, ${width}] with n of ${own} at least`,
      { try: 'features of the encoder that the head was trained on, `extract --pool tokens`' },
    );
  }
  const put = (map: number, window: number, time: number): void => {
    const from = (window * times + time) * size;
    values.set(data.subarray(from, from + size), map * size);
  };
  shownTimes(times, own).forEach((time, map) => {
    put(map, 0, time);
  });
  for (let window = 1; window < frames; window++) put(own + window - 1, window, times - 1);
}

/** These rows of a tensor, in this order. */
export function pickRows({ data, shape }: Tensor<'float32'>, rows: readonly number[]): Tensor<'float32'> {
  const rest = shape.slice(1);
  const length = sizeOf(rest);
  return stacked(rows.map((row) => tensor('float32', rest, data.subarray(row * length, (row + 1) * length))));
}

/** Maps [..., rows, columns, width] as a mirror shows them: columns from right to left. What the tokens themselves tell of left and right stays. */
export function mirroredColumns({ data, shape }: Tensor<'float32'>, columns: number): Tensor<'float32'> {
  const width = shape.at(-1) ?? 1;
  const values = new Float32Array(data.length);
  for (let place = 0; place * width < data.length; place++) {
    const column = place % columns;
    const from = (place - column + (columns - 1 - column)) * width;
    values.set(data.subarray(from, from + width), place * width);
  }
  return tensor('float32', shape, values);
}
