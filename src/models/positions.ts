import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

/**
 * The fixed positional table of VideoMAE: row n, column j holds the sine (even j) or cosine (odd j) of
 * n / 10000^(2 floor(j/2) / width); float64 inside, float32 out.
 *
 * @returns [count, width]
 * @source MCG-NJU/VideoMAE modeling_finetune.py, get_sinusoid_encoding_table
 */
export function sinusoidTable(count: number, width: number): Tensor<'float32'> {
  const data = new Float32Array(count * width);
  const divisors = Array.from({ length: width }, (_, j) => Math.pow(10000, (2 * Math.floor(j / 2)) / width));
  for (let n = 0; n < count; n++) {
    for (let j = 0; j < width; j++) {
      const angle = n / divisors[j]!;
      data[n * width + j] = j % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
    }
  }
  return tensor('float32', [count, width], data);
}

/** Sizes of a token grid: time steps, rows, columns. */
export type Grid = readonly [t: number, h: number, w: number];

/**
 * A table over one token grid, resampled to another: bicubic in space (a = -0.75), then linear in time, both half-pixel and
 * without antialiasing.
 *
 * @param table [t*h*w, width] over `from`
 * @returns [t*h*w, width] over `to`
 * @source OpenGVLab/InternVideo, VideoMAE fine-tuning script, interpolation of pos_embed (torch interpolate, align_corners false)
 */
export function resampleTable(table: Tensor<'float32'>, from: Grid, to: Grid): Tensor<'float32'> {
  const width = table.shape[1]!;
  let values: Float64Array = Float64Array.from(table.data);
  // axis order [t, h, w, width]; one axis at a time
  values = resampleAxis(values, from[0] * from[1], from[2], to[2], width, cubicTaps);
  values = resampleAxis(values, from[0], from[1], to[1], to[2] * width, cubicTaps);
  values = resampleAxis(values, 1, from[0], to[0], to[1] * to[2] * width, linearTaps);
  return tensor('float32', [to[0] * to[1] * to[2], width], Float32Array.from(values));
}

/** Source positions and weights of one output position. */
type Taps = (position: number, length: number) => readonly (readonly [index: number, weight: number])[];

/** Resamples the middle axis of [outer, from, inner] to [outer, to, inner]. */
function resampleAxis(
  values: Float64Array,
  outer: number,
  from: number,
  to: number,
  inner: number,
  taps: Taps,
): Float64Array {
  if (from === to) return values;
  const out = new Float64Array(outer * to * inner);
  for (let k = 0; k < to; k++) {
    for (const [index, weight] of taps(((k + 0.5) * from) / to - 0.5, from)) {
      for (let o = 0; o < outer; o++) {
        const source = (o * from + index) * inner;
        const target = (o * to + k) * inner;
        for (let i = 0; i < inner; i++) out[target + i]! += weight * values[source + i]!;
      }
    }
  }
  return out;
}

const clamp = (index: number, length: number): number => Math.min(Math.max(index, 0), length - 1);

const linearTaps: Taps = (position, length) => {
  const from = Math.max(position, 0);
  const first = Math.floor(from);
  const rest = from - first;
  return [
    [clamp(first, length), 1 - rest],
    [clamp(first + 1, length), rest],
  ];
};

const cubicTaps: Taps = (position, length) => {
  const first = Math.floor(position);
  const rest = position - first;
  const a = -0.75;
  const near = (x: number): number => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x: number): number => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return [
    [clamp(first - 1, length), far(1 + rest)],
    [clamp(first, length), near(rest)],
    [clamp(first + 1, length), near(1 - rest)],
    [clamp(first + 2, length), far(2 - rest)],
  ];
};
