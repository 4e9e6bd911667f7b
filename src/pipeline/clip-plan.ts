/** One training clip: which frames and which part of the picture, and how it is decoded. */
import { EgolensError } from '../errors.js';
import { seededRandom, type Random } from '../random.js';
import { windowExtent } from '../time.js';
import type { PixelRecipe, Preset, Seconds, Span } from '../types.js';
import { decodeSamples, planPicture, type PassPlan, type PicturePlan } from '../video/decode.js';
import type { VideoSource } from '../video/open.js';
import { copier, makeResizer, pixelDType, type Rect, type Size } from '../video/resize.js';
import { isDense } from '../video/windows.js';

/** A labelled stretch of a video. */
export interface ClipSegment {
  /** Of the video file. */
  readonly path: string;
  /** Seconds after the first frame, start < end. */
  readonly start: Seconds;
  /** Absent: to the end. */
  readonly end?: Seconds;
}

/** What chance does to a training clip. */
export interface Augmentation {
  /** Smallest share of the picture's area that a random crop shows, in (0, 1]; 1: always the preset's own crop. */
  readonly crop: number;
  /** Mirror every other clip. Not for verbs that have a direction. */
  readonly flip: boolean;
}

/** What is decoded for one clip, and how. */
export interface ClipPlan {
  readonly pass: PassPlan;
  readonly picture: PicturePlan;
  /** Numbers of the samples of the clip, not falling. */
  readonly wanted: readonly number[];
  readonly isMirrored: boolean;
  readonly isFloat: boolean;
}

/** What to decode of a segment. `random` absent: its middle, the preset's own crop. */
export function planClip(
  source: VideoSource,
  segment: ClipSegment,
  {
    preset,
    augmentation,
    random,
  }: { readonly preset: Preset; readonly augmentation: Augmentation; readonly random: Random | undefined },
): ClipPlan {
  const { span, wanted } = placeInTime(source, segment, preset, random);
  // Drawn whether wanted or not, so that one setting does not change the others.
  const [isRight, cropSeed] = [(random?.uniform() ?? 0) < 0.5, random?.integer(2 ** 32) ?? 0];
  const rect =
    random === undefined || augmentation.crop === 1
      ? undefined
      : randomCrop(source, augmentation.crop, seededRandom(cropSeed, 'crop'));
  const picture = rect === undefined ? ownPicture(source, preset.pixels) : croppedPicture(source, preset.pixels, rect);
  return {
    pass: { rate: preset.sampling.rate, span, take: [...new Set(wanted)], picture: picture.picture },
    picture,
    wanted,
    isMirrored: random !== undefined && augmentation.flip && isRight,
    isFloat: pixelDType(preset.pixels) === 'float32',
  };
}

/**
 * Which samples of which span. A preset whose windows slide: one window of it, at a random place of the segment, or around the middle of a
 * segment that is shorter. Another one: a frame out of each of as many equal parts of the segment, at random or its middle.
 */
function placeInTime(
  source: VideoSource,
  segment: ClipSegment,
  { sampling }: Preset,
  random: Random | undefined,
): { readonly span: Span; readonly wanted: readonly number[] } {
  const { frames, step, rate } = sampling;
  const { start } = segment;
  const end = Math.max(start, segment.end ?? source.claimed.duration ?? start);
  const perSecond = rate === 'source' ? usualRate(source) : rate.num / rate.den;
  const share = random?.uniform() ?? 0.5;
  if (isDense(sampling)) {
    const length = windowExtent(sampling) / perSecond;
    const free = end - start - length;
    // Not behind the end that the header claims, where only the last frame would be repeated; unless all of the segment lies there.
    const total = source.claimed.duration ?? Infinity;
    const last = start < total ? total - length : Infinity;
    const from = Math.max(0, Math.min(last, start + free * (free > 0 ? share : 0.5)));
    return { span: [from, from + length + 1 / perSecond], wanted: range(frames).map((i) => i * step) };
  }
  const count = Math.max(1, Math.round((end - start) * perSecond));
  const wanted = range(frames).map((i) => {
    const inPart = i === 0 ? share : (random?.uniform() ?? 0.5);
    return Math.min(count - 1, Math.floor(((i + inPart) * count) / frames));
  });
  return { span: [start, end], wanted };
}

/** Frames a second of a video, where only about how many are needed. */
function usualRate({ claimedRate }: VideoSource): number {
  return claimedRate >= 1 && claimedRate <= 1000 ? claimedRate : 30;
}

const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

/** The pixels that `extract` takes; the middle one of three crops. */
function ownPicture({ width, height }: Size, pixels: PixelRecipe): PicturePlan {
  const plan = planPicture(pixels, width, height);
  return { ...plan, resizers: [plan.resizers[Math.floor(plan.resizers.length / 2)]!] }; // a recipe crops one or three
}

/** Aspect ratios of random crops, and how often one is drawn before the largest square is taken. */
const aspects = [3 / 4, 4 / 3] as const;
const cropTries = 10;

/**
 * A part of the picture of at least `share` of its area, of an aspect ratio from 3:4 to 4:3, on even pixels.
 * Source: Szegedy et al., "Going deeper with convolutions", 2015, as MCG-NJU/VideoMAE video_transforms.py takes it.
 */
function randomCrop({ width, height }: Size, share: number, random: Random): Rect {
  const even = (value: number, most: number): number =>
    Math.max(2, Math.min(most - (most % 2), 2 * Math.round(value / 2)));
  const offset = (free: number): number => 2 * random.integer(Math.floor(free / 2) + 1);
  for (let i = 0; i < cropTries; i++) {
    const area = width * height * (share + (1 - share) * random.uniform());
    const aspect = Math.exp(Math.log(aspects[0]) + (Math.log(aspects[1]) - Math.log(aspects[0])) * random.uniform());
    const [w, h] = [Math.sqrt(area * aspect), Math.sqrt(area / aspect)];
    if (w > width || h > height) continue;
    const size = { width: even(w, width), height: even(h, height) };
    return { x: offset(width - size.width), y: offset(height - size.height), ...size };
  }
  const side = even(Math.min(width, height), Math.min(width, height));
  return { x: offset(width - side), y: offset(height - side), width: side, height: side };
}

/** A part of the picture, stretched to the model's square by the recipe's own resize. */
function croppedPicture({ width, height }: Size, { path, resize, size }: PixelRecipe, crop: Rect): PicturePlan {
  const square = { x: 0, y: 0, width: size, height: size };
  const sizes = { cropWidth: size, cropHeight: size };
  if (path === 'fast') {
    const picture = { width, height, crop, scaled: { width: size, height: size, crop: square } };
    return { picture, region: square, resizers: [copier(square)], ...sizes };
  }
  const region = { x: 0, y: 0, width: crop.width, height: crop.height };
  return { picture: { width, height, crop }, region, resizers: [makeResizer(resize, crop, square, square)], ...sizes };
}

/**
 * Decodes a clip into `out`, uint8 [t, size, size, 3]; behind the end of the video the last frame is repeated.
 *
 * @throws EgolensError input.too_short where nothing is to see there; what decoding throws
 */
export async function readClip(
  source: VideoSource,
  { pass, picture, wanted, isMirrored, isFloat }: ClipPlan,
  { out, limits }: { readonly out: Uint8Array; readonly limits: { readonly signal: AbortSignal } },
): Promise<void> {
  const { cropWidth, cropHeight } = picture;
  const length = cropWidth * cropHeight * 3;
  const resizer = picture.resizers[0]!; // one was planned
  const floats = isFloat ? new Float32Array(length) : undefined;
  let filled = 0;
  for await (const { number, data } of decodeSamples(source, pass, limits)) {
    while (filled < wanted.length && wanted[filled]! <= number) {
      const frame = out.subarray(filled * length, (filled + 1) * length);
      if (floats === undefined) resizer.apply(data, picture.region, frame);
      else {
        resizer.apply(data, picture.region, floats);
        for (let i = 0; i < length; i++) frame[i] = Math.round(floats[i]!);
      }
      if (isMirrored) mirror(frame, cropWidth, cropHeight);
      filled++;
    }
    if (filled === wanted.length) break;
  }
  if (filled === 0) {
    const [from, to] = pass.span!; // planClip names one
    throw new EgolensError(
      'input.too_short',
      `\`${source.path}\`: no frame from ${from.toFixed(3)} s to ${to.toFixed(3)} s`,
      {
        try: 'compare the times of the annotations with the length of the video: `egolens probe --exact`',
      },
    );
  }
  for (; filled < wanted.length; filled++) out.copyWithin(filled * length, (filled - 1) * length, filled * length);
}

/** In place: left becomes right. */
function mirror(frame: Uint8Array, width: number, height: number): void {
  for (let y = 0; y < height; y++) {
    for (let left = y * width * 3, right = left + (width - 1) * 3; left < right; left += 3, right -= 3) {
      for (let c = 0; c < 3; c++) {
        const kept = frame[left + c]!; // within the row
        frame[left + c] = frame[right + c]!;
        frame[right + c] = kept;
      }
    }
  }
}
