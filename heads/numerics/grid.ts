/**
 * Places on a grid of features against seconds: feature i covers frames [i * stride, i * stride + window). Float32, rounded after each
 * operation, as the official loaders and heads do it.
 *
 * Source: happyharrycn/actionformer_release libs/datasets/ego4d.py, libs/modeling/meta_archs.py (postprocessing).
 */
import { rationalNumber, windowExtent } from '../../src/time.js';
import type { FeatureClock, Seconds } from '../../src/types.js';

const { fround } = Math;

/** A grid in frames of a fixed rate. */
export interface FeatureGrid {
  /** Frames from one feature to the next; may be a decimal for imported feature sets. */
  readonly stride: number;
  /** Frames that a feature covers. */
  readonly window: number;
  /** Frames a second. */
  readonly fps: number;
}

/** The grid of a clock; undefined at rate `source`, where rows lie on no grid. */
export function gridOf(
  clock: Pick<FeatureClock, 'rate' | 'hop' | 'frames' | 'step' | 'extent'>,
): FeatureGrid | undefined {
  if (clock.rate === 'source') return undefined;
  return { stride: clock.hop, window: windowExtent(clock), fps: rationalNumber(clock.rate) };
}

/** The grid of every n-th feature. */
export function thinned({ stride, window, fps }: FeatureGrid, every: number): FeatureGrid {
  return { stride: stride * every, window, fps };
}

/**
 * Seconds from the start of the sequence -> place on the grid; 0 is the centre of the first window.
 *
 * @param offset `none`: 0 is the start of the first window, as GroundNLQ trains
 */
export function secondsToGrid(
  seconds: Seconds,
  { stride, window, fps }: FeatureGrid,
  offset: 'centred' | 'none' = 'centred',
): number {
  const place = fround(fround(fround(seconds) * fround(fps)) / fround(stride));
  return offset === 'none' ? place : fround(place - fround((0.5 * window) / stride));
}

/** Place on the grid -> seconds from the start of the sequence, not clipped. */
export function gridToSeconds(place: number, { stride, window, fps }: FeatureGrid): Seconds {
  return fround(fround(fround(place * fround(stride)) + fround(0.5 * window)) / fround(fps));
}

/** Within [0, duration]; the end itself as float32. */
export function clipSeconds(seconds: Seconds, duration: Seconds): Seconds {
  if (seconds <= 0) return 0;
  const last = fround(duration);
  return seconds >= last ? last : seconds;
}
