/** Lengths of padded sequences and of the levels of ActionFormer's pyramid. */
import { productOf } from '../src/graph/dims.js';
import type { Dim } from '../src/types.js';
import type { ActionFormerConfig } from './actionformer-config.js';

/** Grid units between points of a level. */
export const strideOf = (level: number): number => 2 ** level;

/** A sequence is padded to a multiple of this: then every level can be cut into the blocks of its window. */
export function lengthUnit({ windows }: Pick<ActionFormerConfig, 'windows'>): number {
  return windows.reduce((unit, window, level) => {
    const own = strideOf(level) * (window > 1 ? 2 * Math.floor(window / 2) : 1);
    return (unit / greatestDivisor(unit, own)) * own;
  }, 1);
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/** Length of a sequence of so many features with its padding: the training length, or the next multiple of `lengthUnit` above it. */
export function paddedLength(config: Pick<ActionFormerConfig, 'windows' | 'maxLength'>, rows: number): number {
  if (rows <= config.maxLength) return config.maxLength;
  const unit = lengthUnit(config);
  return Math.ceil(rows / unit) * unit;
}

/** Symbolic sizes of the graph: features of a padded sequence, and points over all levels. */
export function openSizes(config: Pick<ActionFormerConfig, 'windows'>): { readonly rows: Dim; readonly points: Dim } {
  const unit = lengthUnit(config);
  const levels = config.windows.map((_, level) => unit / strideOf(level));
  return {
    rows: productOf(['blocks', unit]),
    points: productOf(['blocks', levels.reduce((total, own) => total + own, 0)]),
  };
}

/** Points over all levels of a padded sequence. */
export function pointsOf({ windows }: Pick<ActionFormerConfig, 'windows'>, rows: number): number {
  return windows.reduce((total, _, level) => total + rows / strideOf(level), 0);
}
