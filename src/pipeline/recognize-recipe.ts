/** Which frames `recognize` looks at, from the preset of the model: views of a video, or windows that slide over it. Pure. */
import { EgolensError } from '../errors.js';
import type { ModelFolder } from '../models/folder.js';
import type { Preset, SamplingRecipe } from '../types.js';
import { isDense } from '../video/windows.js';
import { fitted } from './extract.js';

export interface RecipeOptions {
  /** Replaces the model's own preset; it has to fit the model. */
  readonly preset?: Preset;
  /** Last changes to the preset: `--stride`, `--views`, … */
  readonly adjust?: (preset: Preset) => Preset;
  readonly per: 'video' | 'window';
  /** Pictures of a window, for a model of single pictures. */
  readonly frames?: number;
}

/** Pictures that a model of single pictures takes of a video or window, where nobody says. */
const picturesPerWindow = 8;
const mostPictures = 1024;
/** Frames a second in windows, where the preset states no distance of its own: 8 of them are 2 seconds. */
const windowRate = { num: 4, den: 1 };

/**
 * The preset as it runs. `per: 'video'`: the preset's own plan, each window a view; a model of single pictures takes the middles of
 * equal parts. `per: 'window'`: sliding windows; a preset with views becomes one with the same frames, step and hop, centre crop. Where
 * it spreads its frames over the whole video and so states no distance, they come at 4 a second.
 *
 * @throws EgolensError model.config where the preset does not fit the model, usage.conflict, usage.flag
 */
export function recognitionPreset(model: ModelFolder, { preset, adjust, per, frames }: RecipeOptions): Preset {
  const { spec, id } = model;
  const base = fitted(preset ?? model.preset, model);
  if (frames !== undefined && spec.isImage !== true && frames !== spec.frames) {
    throw new EgolensError('usage.flag', `--frames ${frames}: ${id} takes ${spec.frames} frames of a window`, {
      try: '`--window` and `--fps` say how far apart they are',
    });
  }
  if (frames !== undefined && frames > mostPictures)
    throw new EgolensError('usage.flag', `--frames ${frames}: expected at most ${mostPictures}`);
  // A model's own preset says how often it looks for features; a window is a few seconds, not eight of them.
  const rate = preset?.sampling.rate ?? windowRate;
  const many = spec.isImage ? withPictures(base, { frames: frames ?? picturesPerWindow, per, rate }) : base;
  const planned = per === 'window' && !isDense(many.sampling) ? sliding(many) : many;
  const adjusted = adjust?.(planned) ?? planned;
  // A model of single pictures takes as many as the recipe says, one by one.
  fitted(
    { ...adjusted, sampling: { ...adjusted.sampling, frames: spec.isImage ? 1 : adjusted.sampling.frames } },
    model,
  );
  if (per === 'window' && (!isDense(adjusted.sampling) || adjusted.sampling.views[0] !== 1)) {
    throw new EgolensError(
      'usage.conflict',
      `--per window slides over the video; found ${adjusted.sampling.views.join('x')} views`,
      { try: '`--views 1x3` takes three crops of each window; more clips belong to `--per video`' },
    );
  }
  return adjusted;
}

interface Pictures {
  readonly frames: number;
  readonly per: 'video' | 'window';
  /** Of windows. */
  readonly rate: SamplingRecipe['rate'];
}

function withPictures(preset: Preset, { frames, per, rate }: Pictures): Preset {
  // Rebuilt, because an extent that the preset states is that of a single picture.
  const { tail, views, fusion } = preset.sampling;
  const spread = { frames, step: 1, hop: frames, tail, views, fusion };
  const sampling: Preset['sampling'] =
    per === 'video' ? { ...spread, plan: 'segments', rate: 'source' } : { ...spread, plan: 'dense', rate };
  return { ...preset, sampling };
}

function sliding(preset: Preset): Preset {
  const { sampling, pixels } = preset;
  return {
    ...preset,
    sampling: { ...sampling, plan: 'dense', rate: spreadRate(sampling), views: [1, 1] },
    pixels: { ...pixels, crop: pixels.crop === 'three' ? 'center' : pixels.crop },
  };
}

/** Neighbouring frames of a window of 8 or 16 would show a moment only: the samplers that state no distance spread them over seconds. */
function spreadRate({ rate, step }: SamplingRecipe): SamplingRecipe['rate'] {
  return rate === 'source' && step === 1 ? windowRate : rate;
}
