/** Pixels to patch tokens: what every encoder begins with. */
import type { GraphBuilder } from '../graph/builder.js';
import { add, cast, floats, mul, multiply, reshape, scalar, sub, sum, transpose } from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import type { Normalisation } from '../types.js';
import type { Grid } from './positions.js';
import type { GraphVariant } from './spec.js';

/** Sizes of the input and of its token grid. */
export interface Geometry extends Normalisation {
  readonly frames: number;
  readonly size: number;
  readonly patch: number;
  readonly tubelet: number;
}

/** Tokens along time, rows, columns. */
export function gridOf({ frames, size, patch, tubelet }: Geometry): Grid {
  return [frames / tubelet, size / patch, size / patch];
}

export function tokenCount(geometry: Geometry): number {
  const [t, h, w] = gridOf(geometry);
  return t * h * w;
}

/** Pixels as cubes of one token each: [b, n, tubelet * patch * patch, 3], time in the cube slowest, colour fastest. */
export interface Cubes {
  readonly values: Value;
  /** Already (pixel / 255 - mean) / std; otherwise 0 to 255. */
  readonly normalised: boolean;
}

/**
 * The pixel input of a model, cut into cubes. Its name is `frames` (bytes) or `input` (normalised), unless `name` gives another: that
 * of a second stream.
 */
export function cubesOf(g: GraphBuilder, geometry: Geometry, { input, form }: GraphVariant, name?: string): Cubes {
  const { frames, size, patch, tubelet } = geometry;
  const [t, h, w] = gridOf(geometry);
  const shape = [t * h * w, tubelet * patch * patch, 3] as const;
  if (input === 'normalised') {
    const x = g.input(name ?? 'input', 'float32', ['batch', 3, frames, size, size]);
    const cut = reshape(g, x, [0, 3, t, tubelet, h, patch, w, patch]);
    return { values: reshape(g, transpose(g, cut, [0, 2, 4, 6, 3, 5, 7, 1]), [0, ...shape]), normalised: true };
  }
  const bytes = g.input(name ?? 'frames', 'uint8', ['batch', frames, size, size, 3]);
  // Moving bytes is cheaper than moving floats, but WebGPU has no Transpose of bytes (performance.md 7.3).
  const x = form === 'separate' ? cast(g, bytes, 'float32') : bytes;
  const cut = reshape(g, x, [0, t, tubelet, h, patch, w, patch, 3]);
  const moved = transpose(g, cut, [0, 1, 3, 5, 2, 4, 6, 7]); // [b, t, h, w, tubelet, patch, patch, 3]
  return { values: cast(g, reshape(g, moved, [0, ...shape]), 'float32'), normalised: false };
}

/** The pixel input of a model as pictures, the frames of a tubelet as channels (frame slowest): [b t, 3 tubelet, size, size], normalised. */
export function picturesOf(g: GraphBuilder, geometry: Geometry, { input, form }: GraphVariant): Value {
  const { frames, size, tubelet, mean: average, std } = geometry;
  const shape = [-1, 3 * tubelet, size, size];
  if (input === 'normalised') {
    const x = g.input('input', 'float32', ['batch', 3, frames, size, size]);
    const cut = reshape(g, x, [0, 3, frames / tubelet, tubelet, size, size]);
    return reshape(g, transpose(g, cut, [0, 2, 3, 1, 4, 5]), shape);
  }
  const bytes = g.input('frames', 'uint8', ['batch', frames, size, size, 3]);
  const x = form === 'separate' ? cast(g, bytes, 'float32') : bytes; // as in `cubesOf`
  const moved = transpose(g, reshape(g, x, [-1, tubelet, size, size, 3]), [0, 1, 4, 2, 3]);
  const pixels = cast(g, reshape(g, moved, shape), 'float32');
  const perChannel = (values: readonly number[]): Value => {
    const repeated = Array.from({ length: tubelet }, () => values).flat();
    return reshape(g, floats(g, repeated), [3 * tubelet, 1, 1]);
  };
  const scaled = mul(g, pixels, perChannel(std.map((s) => 1 / (255 * s))));
  return add(g, scaled, perChannel(average.map((m, c) => -m / std[c]!))); // as many means as deviations
}

/**
 * Patch embedding of cubes: [b, n, width]. A convolution whose kernel is its stride is one matrix product; where the pixels are bytes
 * the normalisation goes into the matrix.
 *
 * @param kernel [width, 3, tubelet, patch, patch], or [width, 3, patch, patch] where a cube is one frame deep
 * @param bias [width], where the checkpoint has one
 */
export function embedCubes(g: GraphBuilder, cubes: Cubes, geometry: Geometry, kernel: Value, bias?: Value): Value {
  const { patch, tubelet, mean: average, std } = geometry;
  const cubeSize = 3 * tubelet * patch * patch;
  const width = kernel.shape[0] as number;
  const perm = kernel.shape.length === 5 ? [0, 2, 3, 4, 1] : [0, 2, 3, 1];
  const ordered = reshape(g, transpose(g, kernel, perm), [width, cubeSize / 3, 3]);
  const x = reshape(g, cubes.values, [0, 0, cubeSize]);
  if (cubes.normalised) return multiply(g, x, reshape(g, ordered, [width, cubeSize]), bias);
  const scale = floats(
    g,
    std.map((s) => 1 / (255 * s)),
  );
  const shift = floats(
    g,
    average.map((m, c) => m / std[c]!),
  );
  const matrix = reshape(g, mul(g, ordered, scale), [width, cubeSize]);
  const shifts = sum(g, mul(g, ordered, shift), [1, 2]);
  return multiply(g, x, matrix, sub(g, bias ?? scalar(g, 0), shifts));
}
