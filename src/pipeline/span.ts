/** The part of a video that is worked on: in seconds, or in frames until the video is known. */
import { EgolensError } from '../errors.js';
import type { Seconds, Span } from '../types.js';
import { decodeTimes } from '../video/decode.js';
import type { RunLimits } from '../video/ffmpeg.js';
import type { VideoSource } from '../video/probe.js';
import type { InputItem } from './inputs.js';

/** A frame, counted from 0 as decoded: the span begins with it, or ends before it. */
export interface FrameBound {
  readonly frame: number;
}

/** What `--start` and `--end` may say; the end may be Infinity. */
export type SpanRequest = readonly [start: Seconds | FrameBound, end: Seconds | FrameBound];

/** The span of an item: its own bounds before those of the run. Throws `usage.flag` where the start is not before the end. */
export function spanOf(item: InputItem, span: Span | undefined): Span | undefined;
export function spanOf(item: InputItem, span: SpanRequest | undefined): SpanRequest | undefined;
export function spanOf(item: InputItem, span: SpanRequest | undefined): SpanRequest | undefined {
  const [start, end] = [item.start ?? span?.[0], item.end ?? span?.[1]];
  if (start === undefined && end === undefined) return undefined;
  const asked = [start ?? 0, end ?? Infinity] as const;
  checkOrder(asked, item.input);
  return asked;
}

/** Refuses bounds of one kind in the wrong order; those of two kinds can only be compared in the video. Throws `usage.flag`. */
export function checkOrder([from, to]: SpanRequest, input?: string): void {
  const isFrames = typeof from === 'object' && typeof to === 'object';
  const isSeconds = typeof from === 'number' && typeof to === 'number';
  const isWrong = isFrames ? from.frame >= to.frame : isSeconds && from >= to;
  if (!isWrong) return;
  throw new EgolensError(
    'usage.flag',
    `expected a start before the end, found ${boundText(from)} and ${boundText(to)}`,
    input === undefined ? {} : { input },
  );
}

function boundText(bound: Seconds | FrameBound): string {
  return typeof bound === 'object' ? `#${bound.frame}` : String(bound);
}

/** A span as keys hold it: JSON has no infinity, so an end that is none is null. */
export function spanKey(span: SpanRequest | undefined): (number | string | null)[] | null {
  if (span === undefined) return null;
  return span.map((bound) => (typeof bound === 'object' ? boundText(bound) : Number.isFinite(bound) ? bound : null));
}

/**
 * The span in seconds. Frames are counted by decoding, since lists of packets and headers count others: a pass more over the video,
 * where a bound is a frame.
 *
 * @throws EgolensError input.too_short for a start behind the last frame, usage.flag for bounds in the wrong order; whatever decoding throws
 */
export async function resolveSpan(
  span: SpanRequest | undefined,
  source: VideoSource,
  limits: RunLimits,
): Promise<Span | undefined> {
  if (span === undefined) return undefined;
  const [from, to] = span;
  if (typeof from === 'number' && typeof to === 'number') return [from, to];
  const { times, end: whole } = await decodeTimes(source, limits);
  const timeOf = (bound: Seconds | FrameBound): Seconds =>
    typeof bound === 'number' ? bound : (times[bound.frame] ?? whole);
  if (typeof from === 'object' && from.frame >= times.length) {
    throw new EgolensError(
      'input.too_short',
      `\`${source.path}\`: expected more than ${from.frame} frames, ${times.length} were decoded`,
    );
  }
  const start = timeOf(from);
  // What ends behind the last frame ends with the video.
  const end = typeof to === 'object' && to.frame >= times.length ? Infinity : timeOf(to);
  if (start >= end) {
    throw new EgolensError(
      'usage.flag',
      `expected a start before the end, found ${boundText(from)} at ${start} s and ${boundText(to)} at ${end} s`,
    );
  }
  return [start, end];
}
