import { EgolensError, assertNever } from '../errors.js';
import type { Normalisation, PixelRecipe, ResizeRule } from '../types.js';
import { roundHalfEven } from './sampling.js';

/**
 * The official resizes, bit for bit where they work on bytes (golden/encoder/preprocess), on rgb24 frames. Tables are
 * made once per size; only what a crop shows is computed.
 */

export interface Size {
  readonly width: number;
  readonly height: number;
}
/** Pixels, from the upper left corner. */
export interface Rect extends Size {
  readonly x: number;
  readonly y: number;
}

// ---- sizes and offsets -------------------------------------------------------------------------------------------

/** Where the model's pixels come from: the size of the resized picture, and the crops taken from it, all of one size. */
export interface PixelPlan {
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  readonly crops: readonly Rect[];
}

/**
 * Sizes and crop offsets as the official loaders compute them (encoder.md 10.1).
 *
 * @throws EgolensError data.invalid where the crop is larger than the resized picture
 */
export function pixelPlan(recipe: PixelRecipe, width: number, height: number): PixelPlan {
  const { size } = recipe;
  const [resizedWidth, resizedHeight] = resizedSize(recipe, width, height);
  if (recipe.crop === 'none') {
    return { resizedWidth, resizedHeight, crops: [{ x: 0, y: 0, width: resizedWidth, height: resizedHeight }] };
  }
  const [spareX, spareY] = [resizedWidth - size, resizedHeight - size];
  if (spareX < 0 || spareY < 0) {
    throw new EgolensError(
      'data.invalid',
      `a crop of ${size} pixels does not fit into ${resizedWidth}x${resizedHeight}; expected shortSide >= size`,
    );
  }
  const middle = recipe.offsets === 'uniformerv2' ? (spare: number) => Math.ceil(spare / 2) : middleRounded;
  const centre: Rect = { x: middle(spareX), y: middle(spareY), width: size, height: size };
  if (recipe.crop === 'center') return { resizedWidth, resizedHeight, crops: [centre] };
  // Along the long side: UniFormerV2 moves x on a square picture, VideoMAE y. Nothing moves there when size = short side.
  const alongY = recipe.offsets === 'uniformerv2' ? resizedHeight > resizedWidth : resizedHeight >= resizedWidth;
  const spare = alongY ? spareY : spareX;
  const offsets =
    recipe.offsets === 'uniformerv2'
      ? [0, Math.ceil(spare / 2), spare]
      : [0, 1, 2].map((k) => Math.trunc(k * (spare / 2)));
  const crops = offsets.map((offset): Rect => (alongY ? { ...centre, y: offset } : { ...centre, x: offset }));
  return { resizedWidth, resizedHeight, crops };
}

/** round((long - size) / 2), halves to even, as Python rounds. */
function middleRounded(spare: number): number {
  return roundHalfEven(spare / 2);
}

function resizedSize(recipe: PixelRecipe, width: number, height: number): readonly [width: number, height: number] {
  if (recipe.to === 'stretch') return [recipe.size, recipe.size];
  const short = recipe.shortSide ?? recipe.size;
  if (Math.min(width, height) === short) return [width, height];
  // UniFormerV2 divides first; the two orders of rounding can differ by a pixel.
  const other = (long: number, side: number): number =>
    Math.max(
      short,
      recipe.offsets === 'uniformerv2' ? Math.floor((long / side) * short) : Math.floor((short * long) / side),
    );
  return width < height ? [short, other(height, width)] : [other(width, height), short];
}

/** What one pixel value is: `float32` (0..255, unrounded) for the exact `torch-bilinear`, else `uint8`. */
export function pixelDType(recipe: PixelRecipe): 'uint8' | 'float32' {
  return recipe.path === 'exact' && recipe.resize === 'torch-bilinear' ? 'float32' : 'uint8';
}

/** Pixels of one frame: [h, w] of every crop. */
export function cropSize(plan: PixelPlan): Size {
  const { width, height } = plan.crops[0]!;
  return { width, height };
}

/** The smallest rectangle that holds all of them. */
export function boundsOf(rects: readonly Rect[]): Rect {
  const x = Math.min(...rects.map((r) => r.x));
  const y = Math.min(...rects.map((r) => r.y));
  return {
    x,
    y,
    width: Math.max(...rects.map((r) => r.x + r.width)) - x,
    height: Math.max(...rects.map((r) => r.y + r.height)) - y,
  };
}

// ---- resizers ----------------------------------------------------------------------------------------------------

/** Pixels of a frame: bytes, or floats from 0 to 255. */
export type Pixels = Uint8Array | Float32Array;

/** Columns and rows of a frame, ascending. A resize without antialiasing reads only the pixels where they cross. */
export interface Lattice {
  readonly columns: readonly number[];
  readonly rows: readonly number[];
}

/** What all of these lattices hold together; undefined when one of them is everything. */
export function unionOf(lattices: readonly (Lattice | undefined)[]): Lattice | undefined {
  const union = (lists: readonly (readonly number[])[]): number[] => [...new Set(lists.flat())].sort((a, b) => a - b);
  const all = lattices.filter((lattice) => lattice !== undefined);
  if (all.length < lattices.length) return undefined;
  return { columns: union(all.map(({ columns }) => columns)), rows: union(all.map(({ rows }) => rows)) };
}

/** Resizes one frame and keeps one crop of it. */
export interface Resizer {
  /** The part of the full frame that it reads. */
  readonly reads: Rect;
  /** Within it the columns and rows that are read; undefined for all (antialiasing, copying). */
  readonly lattice: Lattice | undefined;
  /**
   * @param frame rgb24 [region.height, region.width, 3]: the `region` of the full frame, which holds `reads`
   * @param out   [crop.height, crop.width, 3]; Float32Array for `torch-bilinear`, where bytes would be wrong
   */
  apply(frame: Uint8Array, region: Rect, out: Pixels): void;
}

/** The taps of one axis: for each output position `count` weights over source positions `first + 0 … count-1`. */
interface Axis {
  readonly first: Int32Array;
  readonly second: Int32Array;
}

/**
 * A resizer of frames of `from` to `to` pixels, of which `crop` is kept. Where the sizes agree, pixels are copied. With `gathered`
 * its frames hold only the pixels of that lattice: [rows, columns, 3].
 */
export function makeResizer(rule: ResizeRule, from: Size, to: Size, crop: Rect, gathered?: Lattice): Resizer {
  if (from.width === to.width && from.height === to.height) return copier(crop);
  switch (rule) {
    case 'opencv-bilinear':
      return opencvBilinear(from, to, crop, gathered);
    case 'pil-bilinear':
      return pillow(from, to, crop, 1, triangle);
    case 'pil-bicubic':
      return pillow(from, to, crop, 2, keysCubic);
    case 'torch-bilinear':
      return torchBilinear(from, to, crop, gathered);
    case 'torch-bicubic':
      return torchBicubic(from, to, crop, gathered);
    default:
      return assertNever(rule);
  }
}

/** Copies a crop. */
export function copier(crop: Rect): Resizer {
  return {
    reads: crop,
    lattice: undefined,
    apply(frame, region, out) {
      const row = crop.width * 3;
      for (let y = 0; y < crop.height; y++) {
        const at = ((crop.y - region.y + y) * region.width + (crop.x - region.x)) * 3;
        out.set(frame.subarray(at, at + row), y * row);
      }
    },
  };
}

function readsOf(columns: Axis, rows: Axis): Rect {
  const [x, y] = [columns.first.reduce((a, b) => Math.min(a, b)), rows.first.reduce((a, b) => Math.min(a, b))];
  const right = columns.second.reduce((a, b) => Math.max(a, b));
  const bottom = rows.second.reduce((a, b) => Math.max(a, b));
  return { x, y, width: right - x + 1, height: bottom - y + 1 };
}

/** The positions that an axis reads, and its tables over those that `gathered` holds. */
function gather<A extends Axis & { readonly positions?: Int32Array }>(
  axis: A,
  gathered: readonly number[] | undefined,
): { readonly axis: A; readonly read: readonly number[] } {
  const tables = axis.positions === undefined ? [axis.first, axis.second] : [axis.positions];
  const read = [...new Set(tables.flatMap((table) => [...table]))].sort((a, b) => a - b);
  if (gathered === undefined) return { axis, read };
  const place = new Map(gathered.map((position, i) => [position, i]));
  const placed = (table: Int32Array): Int32Array => table.map((position) => place.get(position)!); // `read` is part of `gathered`
  const positions = axis.positions && { positions: placed(axis.positions) };
  return { axis: { ...axis, first: placed(axis.first), second: placed(axis.second), ...positions }, read };
}

/**
 * OpenCV's INTER_LINEAR on bytes: 11-bit weights, no antialiasing. Position in float32 = (k + 0.5) n/m - 0.5; weights
 * round-half-even(2048 w); horizontally the weight is dropped outside, vertically only row numbers are clamped.
 * Source: opencv/opencv modules/imgproc/src/resize.cpp; equal for 100 random sizes (performance.md 5).
 */
function opencvBilinear(from: Size, to: Size, crop: Rect, gathered: Lattice | undefined): Resizer {
  const { axis: columns, read: readColumns } = gather(
    opencvAxis(from.width, to.width, crop.x, crop.width, true),
    gathered?.columns,
  );
  const { axis: rows, read: readRows } = gather(
    opencvAxis(from.height, to.height, crop.y, crop.height, false),
    gathered?.rows,
  );
  return {
    reads: readsOf(columns, rows),
    lattice: { columns: readColumns, rows: readRows },
    apply(frame, region, out) {
      const stride = region.width * 3;
      for (let y = 0; y < crop.height; y++) {
        const upper = (rows.first[y]! - region.y) * stride - region.x * 3;
        const lower = (rows.second[y]! - region.y) * stride - region.x * 3;
        const weights = [rows.firstWeight[y]!, rows.secondWeight[y]!] as const;
        opencvLine(frame, [upper, lower], weights, columns, out, y * crop.width * 3);
      }
    },
  };
}

/**
 * One output row from two source rows: horizontally to 15 bits, then vertically; nothing is stored between. The colours are written out: a
 * loop over them takes twice as long.
 */
function opencvLine(
  frame: Uint8Array,
  [upper, lower]: readonly [number, number],
  [above, below]: readonly [number, number],
  { first, second, firstWeight, secondWeight }: OpencvAxis,
  out: Pixels,
  at: number,
): void {
  const length = first.length;
  for (let k = 0, o = at; k < length; k++, o += 3) {
    const left = first[k]! * 3;
    const right = second[k]! * 3;
    const wa = firstWeight[k]!;
    const wb = secondWeight[k]!;
    const a = upper + left;
    const b = upper + right;
    const c = lower + left;
    const d = lower + right;
    out[o] = opencvPixel(frame[a]!, frame[b]!, frame[c]!, frame[d]!, wa, wb, above, below);
    out[o + 1] = opencvPixel(frame[a + 1]!, frame[b + 1]!, frame[c + 1]!, frame[d + 1]!, wa, wb, above, below);
    out[o + 2] = opencvPixel(frame[a + 2]!, frame[b + 2]!, frame[c + 2]!, frame[d + 2]!, wa, wb, above, below);
  }
}

/** Values of the four neighbours a b / c d, 11-bit weights of the columns and of the rows. */
function opencvPixel(
  a: number,
  b: number,
  c: number,
  d: number,
  left: number,
  right: number,
  above: number,
  below: number,
): number {
  const top = (Math.imul(a, left) + Math.imul(b, right)) >> 4;
  const bottom = (Math.imul(c, left) + Math.imul(d, right)) >> 4;
  return ((Math.imul(above, top) >> 16) + (Math.imul(below, bottom) >> 16) + 2) >> 2;
}

interface OpencvAxis extends Axis {
  readonly firstWeight: Int32Array;
  readonly secondWeight: Int32Array;
}

function opencvAxis(n: number, m: number, offset: number, length: number, dropsOutside: boolean): OpencvAxis {
  const axis = {
    first: new Int32Array(length),
    second: new Int32Array(length),
    firstWeight: new Int32Array(length),
    secondWeight: new Int32Array(length),
  };
  for (let k = 0; k < length; k++) {
    const position = Math.fround((offset + k + 0.5) * (n / m) - 0.5);
    let i = Math.floor(position);
    let rest = Math.fround(position - i);
    if (dropsOutside && (i < 0 || i >= n - 1)) {
      i = i < 0 ? 0 : n - 1;
      rest = 0;
    }
    axis.first[k] = Math.min(Math.max(i, 0), n - 1);
    axis.second[k] = Math.min(Math.max(i + 1, 0), n - 1);
    axis.firstWeight[k] = roundHalfEven(Math.fround(1 - rest) * 2048);
    axis.secondWeight[k] = roundHalfEven(rest * 2048);
  }
  return axis;
}

const triangle = (x: number): number => (Math.abs(x) < 1 ? 1 - Math.abs(x) : 0);
/** Keys' cubic with a = -0.5, as Pillow has it. */
const keysCubic = (position: number): number => cubic(Math.abs(position), -0.5);

function cubic(x: number, a: number): number {
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

interface TapAxis extends Axis {
  readonly taps: number;
  /** [length, taps], 22-bit fixed point; unused taps are 0. */
  readonly weights: Int32Array;
}

/**
 * Pillow's Image.resize on bytes: the filter widened by the scale (antialiasing), weights normalised in double and rounded
 * to 22 bits, the horizontal pass first, rounded and clamped bytes between the passes. An axis that keeps its size is skipped.
 * Source: python-pillow/Pillow src/libImaging/Resample.c; equal for 30 sizes (performance.md 5).
 */
function pillow(from: Size, to: Size, crop: Rect, support: number, filter: (x: number) => number): Resizer {
  const columns = pillowAxis(from.width, to.width, crop.x, crop.width, support, filter);
  const rows = pillowAxis(from.height, to.height, crop.y, crop.height, support, filter);
  const reads = readsOf(columns, rows);
  const width = crop.width * 3;
  const between = new Uint8ClampedArray(reads.height * width);
  return {
    reads,
    lattice: undefined,
    apply(frame, region, out) {
      const stride = region.width * 3;
      for (let y = 0; y < reads.height; y++) {
        const base = (reads.y + y - region.y) * stride - region.x * 3;
        for (let k = 0, o = y * width; k < crop.width; k++, o += 3) {
          let [r, g, b] = [half22, half22, half22];
          let at = base + columns.first[k]! * 3;
          const end = (k + 1) * columns.taps;
          for (let t = k * columns.taps; t < end; t++, at += 3) {
            const weight = columns.weights[t]!;
            if (weight === 0) continue;
            r += frame[at]! * weight;
            g += frame[at + 1]! * weight;
            b += frame[at + 2]! * weight;
          }
          between[o] = r >> 22;
          between[o + 1] = g >> 22;
          between[o + 2] = b >> 22;
        }
      }
      for (let y = 0; y < crop.height; y++) {
        const top = (rows.first[y]! - reads.y) * width;
        const count = rows.second[y]! - rows.first[y]! + 1;
        for (let o = 0; o < width; o++) {
          let sum = half22;
          for (let t = 0, at = top + o; t < count; t++, at += width) {
            sum += between[at]! * rows.weights[y * rows.taps + t]!;
          }
          const value = sum >> 22;
          out[y * width + o] = value < 0 ? 0 : value > 255 ? 255 : value;
        }
      }
    },
  };
}

const half22 = 2 ** 21;

function pillowAxis(
  n: number,
  m: number,
  offset: number,
  length: number,
  filterSupport: number,
  filter: (x: number) => number,
): TapAxis {
  const scale = n / m;
  const widened = Math.max(scale, 1);
  const support = filterSupport * widened;
  const taps = n === m ? 1 : Math.ceil(support) * 2 + 1;
  const first = new Int32Array(length);
  const second = new Int32Array(length);
  const weights = new Int32Array(length * taps);
  for (let k = 0; k < length; k++) {
    if (n === m) {
      first[k] = second[k] = offset + k;
      weights[k] = 2 ** 22;
      continue;
    }
    const centre = (offset + k + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5));
    const high = Math.min(n, Math.trunc(centre + support + 0.5));
    const values: number[] = [];
    let sum = 0;
    for (let i = low; i < high; i++) {
      const value = filter((i - centre + 0.5) * (1 / widened));
      values.push(value);
      sum += value;
    }
    first[k] = low;
    second[k] = high - 1;
    values.forEach((value, t) => {
      const scaled = (sum === 0 ? value : value / sum) * 2 ** 22;
      weights[k * taps + t] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    });
  }
  return { first, second, taps, weights };
}

/** torch.nn.functional.interpolate, bilinear, half-pixel positions (align_corners=False), no antialiasing: unrounded. */
function torchBilinear(from: Size, to: Size, crop: Rect, gathered: Lattice | undefined): Resizer {
  const { axis: columns, read: readColumns } = gather(
    torchAxis(from.width, to.width, crop.x, crop.width),
    gathered?.columns,
  );
  const { axis: rows, read: readRows } = gather(torchAxis(from.height, to.height, crop.y, crop.height), gathered?.rows);
  return {
    reads: readsOf(columns, rows),
    lattice: { columns: readColumns, rows: readRows },
    apply(frame, region, out) {
      const stride = region.width * 3;
      let o = 0;
      for (let y = 0; y < crop.height; y++) {
        const fy = rows.rest[y]!;
        const top = (rows.first[y]! - region.y) * stride - region.x * 3;
        const bottom = (rows.second[y]! - region.y) * stride - region.x * 3;
        for (let k = 0; k < crop.width; k++) {
          const fx = columns.rest[k]!;
          const left = columns.first[k]! * 3;
          const right = columns.second[k]! * 3;
          for (let c = 0; c < 3; c++, o++) {
            const above = frame[top + left + c]! * (1 - fx) + frame[top + right + c]! * fx;
            const below = frame[bottom + left + c]! * (1 - fx) + frame[bottom + right + c]! * fx;
            out[o] = above * (1 - fy) + below * fy;
          }
        }
      }
    },
  };
}

function torchAxis(n: number, m: number, offset: number, length: number): Axis & { readonly rest: Float64Array } {
  const first = new Int32Array(length);
  const second = new Int32Array(length);
  const rest = new Float64Array(length);
  for (let k = 0; k < length; k++) {
    const position = Math.max(0, (offset + k + 0.5) * (n / m) - 0.5);
    const i = Math.min(Math.floor(position), n - 1);
    first[k] = i;
    second[k] = Math.min(i + 1, n - 1);
    rest[k] = position - i;
  }
  return { first, second, rest };
}

/** torchvision's tensor resize of bytes, bicubic with a = -0.75, no antialiasing: clamped, then rounded half to even. */
function torchBicubic(from: Size, to: Size, crop: Rect, gathered: Lattice | undefined): Resizer {
  const { axis: columns, read: readColumns } = gather(
    torchCubicAxis(from.width, to.width, crop.x, crop.width),
    gathered?.columns,
  );
  const { axis: rows, read: readRows } = gather(
    torchCubicAxis(from.height, to.height, crop.y, crop.height),
    gathered?.rows,
  );
  const between = new Float64Array(4);
  return {
    reads: readsOf(columns, rows),
    lattice: { columns: readColumns, rows: readRows },
    apply(frame, region, out) {
      const stride = region.width * 3;
      let o = 0;
      for (let y = 0; y < crop.height; y++) {
        for (let k = 0; k < crop.width; k++) {
          for (let c = 0; c < 3; c++, o++) {
            for (let j = 0; j < 4; j++) {
              const base = (rows.positions[y * 4 + j]! - region.y) * stride - region.x * 3 + c;
              let sum = 0;
              for (let t = k * 4; t < k * 4 + 4; t++)
                sum += frame[base + columns.positions[t]! * 3]! * columns.weights[t]!;
              between[j] = sum;
            }
            let value = 0;
            for (let j = 0; j < 4; j++) value += between[j]! * rows.weights[y * 4 + j]!;
            out[o] = roundHalfEven(Math.min(255, Math.max(0, value)));
          }
        }
      }
    },
  };
}

function torchCubicAxis(
  n: number,
  m: number,
  offset: number,
  length: number,
): Axis & { readonly positions: Int32Array; readonly weights: Float64Array } {
  const positions = new Int32Array(length * 4);
  const weights = new Float64Array(length * 4);
  const first = new Int32Array(length);
  const second = new Int32Array(length);
  for (let k = 0; k < length; k++) {
    const position = (offset + k + 0.5) * (n / m) - 0.5;
    const i = Math.floor(position);
    for (let t = 0; t < 4; t++) {
      positions[k * 4 + t] = Math.min(Math.max(i - 1 + t, 0), n - 1);
      weights[k * 4 + t] = cubic(Math.abs(position - (i - 1 + t)), -0.75);
    }
    first[k] = positions[k * 4]!;
    second[k] = positions[k * 4 + 3]!;
  }
  return { first, second, positions, weights };
}

// ---- model input -------------------------------------------------------------------------------------------------

/**
 * (pixel / 255 - mean) / std, channels first.
 *
 * @param window [t, h, w, 3], 0 to 255
 * @returns float32 [3, t, h, w]
 */
export function normalise(window: Pixels, { mean, std }: Normalisation): Float32Array<ArrayBuffer> {
  const plane = window.length / 3;
  const out = new Float32Array(window.length);
  for (let c = 0; c < 3; c++) {
    const scale = 1 / (255 * std[c]!);
    const shift = mean[c]! / std[c]!;
    for (let i = 0, at = c; i < plane; i++, at += 3) out[c * plane + i] = window[at]! * scale - shift;
  }
  return out;
}
