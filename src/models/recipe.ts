/** Presets and arrays of a model: what the families share. */
import { EgolensError } from '../errors.js';
import type { AnyTensor, Normalisation, Preset } from '../types.js';
import type { ConfigContext } from './spec.js';

export const imagenet: Normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** Those of CLIP, and of models that kept them. */
export const clipStatistics: Normalisation = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};
/** Those of SlowFast's code base, which UniFormerV2 was trained in. */
export const slowfastStatistics: Normalisation = { mean: [0.45, 0.45, 0.45], std: [0.225, 0.225, 0.225] };

/** What a model takes and the recipe of its family. */
export interface RecipeBase {
  /** The published recipe. */
  readonly base: Preset;
  /** Output that is the model's feature. */
  readonly feature: string;
}

/**
 * The preset of a model: the user's, which has to fit; the published one where frames, size and statistics are its; else the published
 * recipe at the model's own numbers, under a name that says so.
 *
 * @throws EgolensError model.config where the user's preset does not fit
 */
export function presetFor(
  { frames, size, mean, std }: Normalisation & { readonly frames: number; readonly size: number },
  context: ConfigContext,
  { base, feature }: RecipeBase,
): Preset {
  const own = context.preset;
  if (own) {
    if (own.mean.join() !== mean.join() || own.std.join() !== std.join()) {
      throw new EgolensError(
        'model.config',
        `preset ${own.name}: mean ${own.mean.join(', ')} and std ${own.std.join(', ')}; the configuration has ${mean.join(', ')} and ${std.join(', ')}`,
      );
    }
    if (own.sampling.frames !== frames || own.pixels.size !== size) {
      throw new EgolensError(
        'model.config',
        `preset ${own.name}: ${own.sampling.frames} frames at ${own.pixels.size} pixels; the model takes ${frames} frames at ${size} pixels`,
        { try: '`egolens presets list` shows frames and sizes' },
      );
    }
    return own;
  }
  const isPublished =
    frames === base.sampling.frames &&
    size === base.pixels.size &&
    feature === base.feature &&
    mean.join() === base.mean.join() &&
    std.join() === base.std.join();
  if (isPublished) return base;
  const { shortSide } = base.pixels;
  return {
    ...base,
    name: `${base.name}-${frames}f-${size}px`,
    sampling: {
      ...base.sampling,
      frames,
      hop: base.sampling.hop === base.sampling.frames ? frames : base.sampling.hop,
    },
    pixels: {
      ...base.pixels,
      size,
      ...(shortSide !== undefined && { shortSide: Math.trunc((shortSide * size) / base.pixels.size) }),
    },
    mean,
    std,
    feature,
    source: `recipe of preset ${base.name} at the model's own frames, size and statistics`,
  };
}

/** The `feeds` of a model that takes the frames alone. */
export function onlyFrames(arrays: Readonly<Record<string, AnyTensor>>): Readonly<Record<string, AnyTensor>> {
  for (const name of Object.keys(arrays)) {
    throw new EgolensError('data.invalid', `\`${name}\`: this model takes no such array; expected the frames alone`);
  }
  return {};
}
