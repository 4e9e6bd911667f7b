import type { ModelSpec } from '../../src/models/spec.js';

/** Sizes that decide the work of a vision transformer. */
export interface TransformerSize {
  readonly tokens: number;
  /** Values of one patch cube. */
  readonly cube: number;
  readonly width: number;
  readonly depth: number;
  readonly hidden: number;
}

/**
 * Floating point operations of one window, a multiply-add counted as two; norms, softmax and the like (under 1 %) are left out.
 *
 * @returns 361e9 for ViT-B/16 over 16 frames of 224 pixels
 */
export function transformerFlops({ tokens: n, cube, width, depth, hidden }: TransformerSize): number {
  const projections = 2 * n * width * (3 * width + width);
  const attention = 2 * (2 * n * n * width);
  const mlp = 2 * (2 * n * width * hidden);
  return 2 * n * cube * width + depth * (projections + attention + mlp);
}

/** Operations of one window of a model; undefined for a family whose work is not counted here. */
export function flopsOf(spec: ModelSpec): number | undefined {
  const { family, config, frames, size } = spec;
  if (family !== 'videomae-classifier') return undefined;
  const number = (key: string): number => config[key] as number; // complete: the family filled it in
  const patch = number('patch_size');
  const tubelet = number('tubelet_size');
  const width = number('embed_dim');
  return transformerFlops({
    tokens: (frames / tubelet) * (size / patch) ** 2,
    cube: 3 * tubelet * patch ** 2,
    width,
    depth: number('depth'),
    hidden: Math.trunc(width * number('mlp_ratio')),
  });
}
