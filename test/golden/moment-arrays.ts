import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tensor } from '../../src/tensor.js';
import type { Tensor } from '../../src/types.js';
import { readArray } from './model-cases.js';
import { maxAbs, type Comparison } from './results.js';

/** Bounds of design/heads.md 11. Layers: 1e-4 of the largest value, or of 1. */
export const bounds = {
  layers: 1e-4,
  scores: 1e-6,
  sigmoid: 1e-7,
  voted: 1e-5,
  losses: 1e-4,
  gradients: 1e-4,
  exact: 1e-12,
} as const;

/** An array of a case, as float32. */
export const floats = async (path: string, name: string): Promise<Tensor<'float32'>> => {
  const { shape, data } = await readArray(join(path, `${name}.npy`));
  return tensor('float32', shape, Float32Array.from(data as ArrayLike<number | bigint>, Number));
};

/** Relative to the largest value where that is above 1. */
export function near(what: string, found: ArrayLike<number>, expected: readonly number[], bound: number): Comparison {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  return { what, error: maxAbs(found, expected), tolerance: bound * largest };
}

/** Equal, but for the sign of zeros. */
export const exactly = (what: string, found: ArrayLike<number>, expected: ArrayLike<number>): Comparison => ({
  what,
  error: maxAbs(found, expected),
  tolerance: bounds.exact,
});

/** Values of a file of doubles, which `readArray` would round. */
export async function doubles(path: string, name: string): Promise<Float64Array<ArrayBuffer>> {
  const bytes = await readFile(join(path, `${name}.npy`));
  const first = 10 + bytes.readUInt16LE(8); // version 1 of the format
  const isDoubles = bytes.toString('latin1', 10, first).includes("'<f8'");
  if (!isDoubles) throw new Error(`${name}.npy holds no doubles`);
  return new Float64Array(Uint8Array.prototype.slice.call(bytes, first).buffer);
}
