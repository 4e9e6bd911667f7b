import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { GraphBuilder } from './builder.js';
import {
  add,
  cast,
  clip,
  concat,
  expand,
  floor,
  greaterOrEqual,
  lookUp,
  matMul,
  max,
  mean,
  mul,
  pad,
  reshape,
  scalar,
  slice,
  sliceBy,
  sub,
  transpose,
} from './layers.js';
import type { Value } from './ops.js';

/** Pooling, resizing and sampling, put together from operations that have derivatives. All sizes are known. */

/** Windows along one axis. */
export interface Pooling {
  readonly kernel: number;
  readonly stride: number;
  /** Before and after; less than the kernel. Default 0. */
  readonly padding?: number;
}

/** Largest value of each window along `axis`; values are above -1e9. Of equal ones the earliest takes the gradient, as in PyTorch. */
export function maxPool(g: GraphBuilder, x: Value, axis: number, { kernel, stride, padding = 0 }: Pooling): Value {
  const around = x.shape.map((_, i) => (i === axis ? padding : 0));
  const padded = pad(g, x, around, around, -1e9);
  const count = Math.floor(((padded.shape[axis] as number) - kernel) / stride) + 1;
  const tap = (at: number): Value =>
    sliceBy(g, padded, { axes: [axis], starts: [at], ends: [at + (count - 1) * stride + 1], steps: [stride] });
  // Max gives a tie to its second operand.
  let best = tap(0);
  for (let at = 1; at < kernel; at++) best = max(g, tap(at), best);
  return best;
}

/** Mean of every `kernel` values along `axis`, of which the last ones may be left over. */
export function averagePool(g: GraphBuilder, x: Value, axis: number, kernel: number): Value {
  const shape = x.shape as readonly number[];
  const count = Math.floor(shape[axis]! / kernel);
  const whole = count * kernel === shape[axis] ? x : slice(g, x, axis, 0, count * kernel);
  const cut = reshape(g, whole, [...shape.slice(0, axis), count, kernel, ...shape.slice(axis + 1)]);
  return mean(g, cut, [axis + 1]);
}

/** Every value along `axis` so many times, one after the other. */
export function upsampleNearest(g: GraphBuilder, x: Value, axis: number, factor: number): Value {
  const shape = x.shape as readonly number[];
  const [before, n, after] = [shape.slice(0, axis), shape[axis]!, shape.slice(axis + 1)];
  const apart = reshape(g, x, [...before, n, 1, ...after]);
  return reshape(g, expand(g, apart, [...before, n, factor, ...after]), [...before, n * factor, ...after]);
}

/**
 * Where the pixels of a resized axis lie. `areas`: pixels are areas (align_corners false in PyTorch, half_pixel_centers in TensorFlow);
 * `corners`: first and last ones lie on each other; `starts`: pixel i at i from / size, as TensorFlow 1 has it.
 */
export type ResizePlaces = 'areas' | 'corners' | 'starts';

function resizePlace(row: number, from: number, size: number, places: ResizePlaces): number {
  if (places === 'areas') return Math.max(0, ((row + 0.5) * from) / size - 0.5);
  return places === 'starts' ? (row * from) / size : size === 1 ? 0 : (row * (from - 1)) / (size - 1);
}

/** Linear interpolation along `axis` to `size` values; the border is repeated. */
export function resizeLinear(
  g: GraphBuilder,
  x: Value,
  axis: number,
  size: number,
  places: ResizePlaces = 'areas',
): Value {
  const shape = x.shape as readonly number[];
  const [before, from, after] = [shape.slice(0, axis), shape[axis]!, shape.slice(axis + 1)];
  const weights = new Float32Array(size * from);
  for (let row = 0; row < size; row++) {
    const place = resizePlace(row, from, size, places);
    const low = Math.min(Math.floor(place), from - 1);
    const part = place - low;
    weights[row * from + low]! += 1 - part;
    weights[row * from + Math.min(low + 1, from - 1)]! += part;
  }
  const matrix = g.constant(tensor('float32', [size, from], weights));
  if (after.length === 0) return matMul(g, x, transpose(g, matrix, [1, 0]));
  const rows = reshape(g, x, [...before, from, -1]);
  return reshape(g, matMul(g, matrix, rows), [...before, size, ...after]);
}

/** The values around each place of axis -2 of x [..., n, d], `width` (odd) of them and zeros beyond the ends: [..., n, width, d]. */
export function neighbourhoods(g: GraphBuilder, x: Value, width: number): Value {
  const shape = x.shape as readonly number[];
  const axis = shape.length - 2;
  const n = shape[axis]!;
  const around = shape.map((_, i) => (i === axis ? (width - 1) / 2 : 0));
  const padded = pad(g, x, around, around);
  const apart = [...shape.slice(0, axis + 1), 1, shape[axis + 1]!];
  const shifted = Array.from({ length: width }, (_, at) => reshape(g, slice(g, padded, axis, at, at + n), apart));
  return concat(g, shifted, axis + 1);
}

/** x [b, c, h, w] as rows [b h w, c]. */
function pixelRows(g: GraphBuilder, x: Value): Value {
  return reshape(g, transpose(g, x, [0, 2, 3, 1]), [-1, x.shape[1] as number]);
}

/**
 * Bilinear samples of x [b, c, h, w] at `grid` [b, m, n, 2] of (x, y) in [-1, 1], -1 and 1 being the outer edges of the border pixels;
 * 0 outside: [b, c, m, n]. Derivatives flow to both.
 */
export function gridSample(g: GraphBuilder, x: Value, grid: Value): Value {
  const [b, , h, w] = x.shape as readonly [number, number, number, number];
  const [, m, n] = grid.shape as readonly [number, number, number, number];
  const along = (which: 0 | 1, size: number): { readonly low: Value; readonly part: Value } => {
    const unit = reshape(g, slice(g, grid, 3, which, which + 1), [b, m, n]);
    const place = sub(g, mul(g, add(g, unit, scalar(g, 1)), scalar(g, size / 2)), scalar(g, 0.5));
    const low = floor(g, place);
    return { low, part: sub(g, place, low) };
  };
  const [column, row] = [along(0, w), along(1, h)];
  const rows = pixelRows(g, x);
  const sample = g.constant(
    tensor(
      'int64',
      [b, 1, 1],
      BigInt64Array.from({ length: b }, (_, i) => BigInt(i * h * w)),
    ),
  );
  const isInside = (place: Value, size: number): Value =>
    mul(
      g,
      cast(g, greaterOrEqual(g, place, scalar(g, 0)), 'float32'),
      cast(g, greaterOrEqual(g, scalar(g, size - 1), place), 'float32'),
    );
  let result: Value | undefined;
  for (const down of [0, 1]) {
    for (const right of [0, 1]) {
      const [y, xs] = [add(g, row.low, scalar(g, down)), add(g, column.low, scalar(g, right))];
      const weightOf = ({ part }: { readonly part: Value }, far: number): Value =>
        far === 1 ? part : sub(g, scalar(g, 1), part);
      const weight = mul(g, weightOf(row, down), weightOf(column, right));
      const counted = mul(g, weight, mul(g, isInside(y, h), isInside(xs, w)));
      const place = add(g, mul(g, clip(g, y, 0, h - 1), scalar(g, w)), clip(g, xs, 0, w - 1));
      const taken = lookUp(g, rows, add(g, cast(g, place, 'int64'), sample)); // [b, m, n, c]
      const part = mul(g, taken, reshape(g, counted, [b, m, n, 1]));
      result = result === undefined ? part : add(g, result, part);
    }
  }
  return transpose(g, result!, [0, 3, 1, 2]);
}

/** A box on the picture `sample` of a batch, in pixels of it. */
export interface Region {
  readonly sample: number;
  readonly box: readonly [x1: number, y1: number, x2: number, y2: number];
}

export interface RegionOptions {
  /** Of the feature map: [h, w]. */
  readonly size: readonly [number, number];
  /** Bins: [rows, columns]. */
  readonly output: readonly [number, number];
  /** Feature pixels a picture pixel. */
  readonly scale: number;
  /** Samples along each side of a bin. */
  readonly sampling: number;
}

/** Pixels of a feature map for every bin, and how much each counts: [regions, rows, columns, pixels]. */
export interface RegionSamples {
  readonly indices: Tensor<'int64'>;
  readonly weights: Tensor<'float32'>;
}

/**
 * Where RoIAlign (aligned, as torchvision has it) looks: boxes are data, so this is the host's work, and what is left for the graph is
 * a weighted sum of rows, `regionFeatures`.
 *
 * Source: He et al., "Mask R-CNN", 2017; border rules of torchvision roi_align_common.h.
 */
export function regionSamples(
  regions: readonly Region[],
  { size: [h, w], output: [rows, columns], scale, sampling }: RegionOptions,
): RegionSamples {
  const each = 4 * sampling * sampling;
  const shape = [regions.length, rows, columns, each];
  const indices = new BigInt64Array(regions.length * rows * columns * each);
  const weights = new Float32Array(indices.length);
  let at = 0;
  for (const { sample, box } of regions) {
    const [left, top, right, bottom] = box.map((edge) => edge * scale - 0.5) as [number, number, number, number];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        for (let i = 0; i < sampling ** 2; i++) {
          const y = top + ((bottom - top) / rows) * (row + (Math.floor(i / sampling) + 0.5) / sampling);
          const x = left + ((right - left) / columns) * (column + ((i % sampling) + 0.5) / sampling);
          for (const [py, wy] of ends(y, h)) {
            for (const [px, wx] of ends(x, w)) {
              indices[at] = BigInt((sample * h + py) * w + px);
              weights[at++] = (wy * wx) / sampling ** 2;
            }
          }
        }
      }
    }
  }
  return { indices: tensor('int64', shape, indices), weights: tensor('float32', shape, weights) };
}

/** The two pixels beside a place on an axis of n, with their shares; none count more than one pixel outside. */
export function ends(place: number, n: number): readonly (readonly [pixel: number, share: number])[] {
  if (!(place >= -1 && place <= n)) {
    return [
      [0, 0],
      [0, 0],
    ];
  }
  const inside = Math.min(Math.max(place, 0), n - 1);
  const low = Math.floor(inside);
  return [
    [low, 1 - (inside - low)],
    [Math.min(low + 1, n - 1), inside - low],
  ];
}

/** Features of regions of x [b, c, h, w] by the inputs that `regionSamples` makes: [regions, c, rows, columns]. */
export function regionFeatures(g: GraphBuilder, x: Value, indices: Value, weights: Value): Value {
  const [count, rows, columns, each] = weights.shape as readonly [number, number, number, number];
  const taken = lookUp(g, pixelRows(g, x), indices); // [regions, rows, columns, pixels, c]
  const mixed = matMul(g, reshape(g, weights, [count, rows, columns, 1, each]), taken);
  return transpose(g, reshape(g, mixed, [count, rows, columns, -1]), [0, 3, 1, 2]);
}
