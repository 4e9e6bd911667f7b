import { EgolensError } from '../errors.js';
import type { SamplingRecipe } from '../types.js';

/**
 * Which frames the official test loaders take. Pure: a frame count in, frame numbers out. Every list of
 * golden/encoder/sampling.json is reproduced; the repositories and commits stand there.
 */

/** Parameters of a sampler, as a preset states them. */
export interface SamplerShape {
  /** Frames in a window. */
  readonly frames: number;
  /** Frames between those of a window, where the sampler strides. */
  readonly step: number;
  /** Frames between window starts, where the sampler slides. */
  readonly hop: number;
  /** Temporal views. */
  readonly clips: number;
}

/** Frame numbers of each view, for a video of `count` >= 1 frames; numbers may repeat, and are below `count`. No view at all: the video is too short for the sampler. */
export type Sampler = (count: number, shape: SamplerShape) => readonly (readonly number[])[];

const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

/** Python's round(): halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** numpy.linspace(start, stop, count): start + i * ((stop - start) / (count - 1)), the last exactly `stop`. */
function linspace(start: number, stop: number, count: number): number[] {
  const delta = count > 1 ? (stop - start) / (count - 1) : 0;
  return range(count).map((i) => (i > 0 && i === count - 1 ? stop : start + i * delta));
}

/** Each frame `step` from 0, padded with the last one taken; views start evenly along what is left. Source: MCG-NJU/VideoMAE kinetics.py, test mode. */
const videomaeDense: Sampler = (count, { frames, step, clips }) => {
  const strided = range(Math.ceil(count / step)).map((i) => i * step);
  while (strided.length < frames) strided.push(strided.at(-1)!);
  const stride = clips > 1 ? Math.max((strided.length - frames) / (clips - 1), 0) : 0;
  return range(clips).map((k) => {
    const start = Math.trunc(k * stride);
    return strided.slice(start, start + frames);
  });
};

/** Two combs of equal ticks, merged; view k takes every second entry from k. Source: MCG-NJU/VideoMAE ssv2.py, test mode. */
const videomaeSegments: Sampler = (count, { frames, clips }) => {
  const tick = count / frames;
  const merged = [
    ...range(frames).map((x) => Math.trunc(tick * x)),
    ...range(frames).map((x) => Math.trunc(tick / 2 + tick * x)),
  ].sort((a, b) => a - b);
  return range(clips).map((k) => range(frames).map((i) => merged[Math.min(k + i * 2, merged.length - 1)]!));
};

/** Source: OpenGVLab/UniFormerV2 kinetics_sparse.py, test mode. */
const uniformerv2Sparse: Sampler = (count, { frames, clips }) => {
  const segment = (count - 1) / frames;
  return range(clips).map((k) => {
    const shift = Math.trunc((segment / (clips + 1)) * (k + 1));
    return range(frames).map((i) => Math.min(roundHalfEven(segment * i) + shift, count - 1));
  });
};

/** Middle of each of `frames` integer intervals; padded with the last one where the video is shorter. Source: OpenGVLab/InternVideo, ViCLIP evaluation. */
const viclipMiddle: Sampler = (count, { frames }) => {
  const wanted = Math.min(frames, count);
  const borders = linspace(0, count, wanted + 1).map(Math.trunc);
  const taken = range(wanted).map((i) => Math.trunc((borders[i]! + borders[i + 1]! - 1) / 2));
  while (taken.length < frames) taken.push(taken.at(-1)!);
  return [taken];
};

/** Source: OpenGVLab/InternVideo, InternVideo1 multimodal demo. */
const internvideoLinspace: Sampler = (count, { frames }) => [linspace(0, count - 1, frames).map(Math.trunc)];

/** Each (count div frames)-th, the first `frames`; the demo rejects shorter videos. Source: OpenGVLab/InternVideo, ViCLIP demo. */
const viclipDemo: Sampler = (count, { frames }) => {
  const step = Math.floor(count / frames);
  return step === 0 ? [] : [range(frames).map((i) => i * step)];
};

/** Whole windows of consecutive frames at range(0, count - frames + 1, hop). Source: OpenGVLab/VideoMAEv2 extract_tad_feature.py. */
const videomaeV2Windows: Sampler = (count, { frames, hop }) =>
  range(Math.max(0, Math.ceil((count - frames + 1) / hop))).map((i) => range(frames).map((j) => i * hop + j));

/** View k of V takes the point (2k + 1) / 2V of each of `frames` equal segments: its middle where there is one view. Ours. */
const segments: Sampler = (count, { frames, clips }) =>
  range(clips).map((k) =>
    range(frames).map((i) => Math.min(count - 1, Math.floor(((i + (2 * k + 1) / (2 * clips)) * count) / frames))),
  );

/** By the names of golden/encoder/sampling.json; `segments` is ours. The numbers in a name are the sampler's official defaults: a recipe states its own. */
export const samplers: Readonly<Record<string, Sampler>> = {
  segments,
  videomae_dense_16x4_5clips: videomaeDense,
  videomae_segments_16_2clips: videomaeSegments,
  uniformerv2_sparse: uniformerv2Sparse,
  viclip_middle: viclipMiddle,
  internvideo_mm_linspace: internvideoLinspace,
  viclip_demo: viclipDemo,
  videomae_v2_windows: videomaeV2Windows,
};

/**
 * The views of a recipe over `count` frames.
 *
 * @throws EgolensError usage.flag for a name that is no sampler, input.too_short where the sampler takes nothing
 */
export function sampleViews(recipe: SamplingRecipe, count: number): readonly (readonly number[])[] {
  const sampler = Object.hasOwn(samplers, recipe.plan) ? samplers[recipe.plan] : undefined;
  if (sampler === undefined) {
    throw new EgolensError(
      'usage.flag',
      `expected a sampling plan among dense, ${Object.keys(samplers).join(', ')}; found \`${recipe.plan}\``,
    );
  }
  const { frames, step, hop, views } = recipe;
  const taken = count < 1 ? [] : sampler(count, { frames, step, hop, clips: views[0] });
  if (taken.length === 0) {
    throw new EgolensError('input.too_short', `${recipe.plan} needs at least ${frames} frames, found ${count}`);
  }
  return taken;
}
