import { EgolensError } from '../errors.js';
import { parseRational, rationalNumber } from '../time.js';
import type { Preset, Rational, TailRule } from '../types.js';

/** Changes to a preset, as flags give them. */
export interface PresetChanges {
  readonly pixels?: 'exact' | 'fast' | undefined;
  /** Extent of a window: frames at the sampling rate, or `2s`. */
  readonly window?: string | undefined;
  /** Distance of windows: frames at the sampling rate, or `1.5s`. */
  readonly stride?: string | undefined;
  /** `source`, or a rate. */
  readonly fps?: string | undefined;
  readonly tail?: TailRule | undefined;
  /** `CxK` */
  readonly views?: string | undefined;
}

/**
 * The preset with the changes applied; one without changes is the same object.
 *
 * @throws EgolensError usage.flag for values that cannot work, such as seconds at rate `source`
 */
export function adjustPreset(preset: Preset, changes: PresetChanges): Preset {
  if (Object.values(changes).every((value) => value === undefined)) return preset;
  const { sampling, pixels } = preset;
  const rate =
    changes.fps === undefined ? sampling.rate : changes.fps === 'source' ? 'source' : positiveRate(changes.fps);
  const [clips, crops] = changes.views === undefined ? sampling.views : parseViews(changes.views);
  const hop = changes.stride === undefined ? sampling.hop : framesOf('--stride', changes.stride, rate);
  const extent = changes.window === undefined ? undefined : framesOf('--window', changes.window, rate);
  if (extent !== undefined && extent < sampling.frames) {
    throw new EgolensError(
      'usage.flag',
      `--window ${changes.window}: ${extent} frames; the model takes ${sampling.frames} frames of a window`,
    );
  }
  const isDense = sampling.plan === 'dense';
  const { extent: own, ...rest } = sampling;
  return {
    ...preset,
    sampling: {
      ...rest,
      // A window that is asked for replaces the recipe's.
      ...(own !== undefined && extent === undefined && { extent: own }),
      // Views of a sliding preset become uniform segments: a window each, in the middle of its part.
      plan: isDense && clips > 1 ? 'segments' : sampling.plan,
      rate,
      hop,
      step: extent === undefined ? sampling.step : Math.max(1, Math.round(extent / sampling.frames)),
      tail: changes.tail ?? sampling.tail,
      views: [clips, crops],
    },
    pixels: {
      ...pixels,
      path: changes.pixels ?? pixels.path,
      crop: crops === 3 ? 'three' : pixels.crop === 'three' ? 'center' : pixels.crop,
    },
  };
}

function positiveRate(text: string): Rational {
  const rate = parseRational(text);
  if (rate.num <= 0 || rationalNumber(rate) > 1000) {
    throw new EgolensError('usage.flag', `--fps ${text}: expected a rate above 0 and at most 1000`);
  }
  return rate;
}

/** `16` frames, or `1.5s` at a fixed rate. */
function framesOf(flag: string, text: string, rate: Rational | 'source'): number {
  const match = /^(\d+(?:\.\d+)?)(s?)$/.exec(text);
  if (!match)
    throw new EgolensError('usage.flag', `${flag} ${text}: expected frames such as 16, or seconds such as 1.5s`);
  if (match[2] === 's' && rate === 'source') {
    throw new EgolensError('usage.flag', `${flag} ${text}: seconds need a fixed sampling rate`, {
      try: 'add `--fps 30`',
    });
  }
  const frames = match[2] === 's' ? Math.round(Number(match[1]) * rationalNumber(rate as Rational)) : Number(match[1]);
  if (!Number.isInteger(frames) || frames < 1 || frames > 1e6) {
    throw new EgolensError('usage.flag', `${flag} ${text}: expected at least one whole frame`);
  }
  return frames;
}

function parseViews(text: string): readonly [clips: number, crops: number] {
  const match = /^(\d{1,4})x([13])$/.exec(text);
  const clips = Number(match?.[1]);
  if (!match || clips < 1)
    throw new EgolensError('usage.flag', `--views ${text}: expected clips x crops, with 1 or 3 crops, such as 5x3`);
  return [clips, Number(match[2])];
}
