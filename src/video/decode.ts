import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { EgolensError } from '../errors.js';
import { displayTolerance, rationalText } from '../time.js';
import type { PixelRecipe, Rational, Seconds, Span } from '../types.js';
import { mapFiles } from './maps.js';
import { startFfmpeg, type FfmpegRun, type RunLimits } from './ffmpeg.js';
import { saysTruncated, type MessageLog } from './messages.js';
import {
  boundsOf,
  copier,
  makeResizer,
  pixelPlan,
  unionOf,
  type Lattice,
  type Rect,
  type Resizer,
  type Size,
} from './resize.js';
import type { Tools } from './tools.js';

/**
 * One ffmpeg process per pass over a video. Frames come as rgb24 on its output pipe; which source frame each of them is, and
 * when it is shown, comes on standard error from two markers in the filter chain: one before resampling (a line for each
 * source frame, with its time stamp) and one behind everything (a line for each frame of the pipe). ffmpeg writes both in the
 * order of events, so a pipe frame's line tells how many source frames had been decoded when it left. No count of any header is
 * trusted, and no behaviour of the `fps` filter at the end of a file, which differs between versions.
 */

/** What decoding needs to know of an opened video; `VideoSource` of probe.ts is one. */
export interface DecodeInput {
  readonly path: string;
  readonly tools: Tools;
  /** Absolute index of the stream in the file. */
  readonly streamIndex: number;
  readonly timeBase: Rational;
  /** Upright, with square pixels. */
  readonly width: number;
  readonly height: number;
  /** Frames a second as the header claims; used only for the length of a single frame. */
  readonly claimedRate: number;
  /** First time stamp of the stream minus that of the container, as the header tells them. */
  readonly headerOffset: Seconds;
  readonly threads: number;
  readonly isEncrypted: boolean;
  readonly warnings: readonly Warning[];
}

/** Something that was done all the same, with a code of errors.ts. */
export interface Warning {
  readonly code: string;
  readonly message: string;
}

/**
 * Decoder threads: a fixed function of the picture, never of `--jobs` or the machine, because a damaged stream decodes to other
 * pixels with another count (dependencies.md 4). One thread per 640x360 pixels up to four: small pictures gain nothing from
 * more, and 4 threads keep the memory of 8K frames bounded. Belongs into the cache key.
 */
export function decoderThreads(width: number, height: number): number {
  return Math.min(4, Math.max(1, Math.floor((width * height) / (640 * 360))));
}

// ---- pictures ----------------------------------------------------------------------------------------------------

/** What ffmpeg does to a frame before it enters the pipe, in this order. */
export interface Picture {
  /** Upright, with square pixels; `scale` acts only where a stream departs from it. */
  readonly width: number;
  readonly height: number;
  /** Part that is kept; all where absent. */
  readonly crop?: Rect | undefined;
  /** Size that the part is scaled to, by area, and what is kept of that. */
  readonly scaled?: (Size & { readonly crop: Rect }) | undefined;
  /** Pixels of the full frame that are handed out, instead of a part of it. */
  readonly lattice?: Lattice | undefined;
}

/** How a pipe frame becomes the crops of the model. */
export interface PicturePlan {
  readonly picture: Picture;
  /** What a pipe frame holds, in the coordinates that the resizers read in. */
  readonly region: Rect;
  /** One per crop; each writes [h, w, 3]. */
  readonly resizers: readonly Resizer[];
  readonly cropWidth: number;
  readonly cropHeight: number;
}

/** Size of a frame in the pipe. */
export function pipeSize({ width, height, crop, scaled, lattice }: Picture): Size {
  if (lattice !== undefined) return { width: lattice.columns.length, height: lattice.rows.length };
  return scaled?.crop ?? crop ?? { width, height };
}

/** Above this share of the pixels, picking single ones out of a frame gains nothing over handing out the whole part. */
const sparseBelow = 0.75;

/**
 * `fast`: ffmpeg cuts out the part that the crops show and scales it, by area. `exact`: full frames, resized here; ffmpeg hands out the
 * part, or the single pixels, that the resize reads.
 */
export function planPicture(recipe: PixelRecipe, width: number, height: number): PicturePlan {
  const plan = pixelPlan(recipe, width, height);
  const to = { width: plan.resizedWidth, height: plan.resizedHeight };
  const { width: cropWidth, height: cropHeight } = plan.crops[0]!;
  const crops = { cropWidth, cropHeight };
  if (recipe.path === 'fast') {
    const region = boundsOf(plan.crops);
    return { picture: fastPicture(region, to, { width, height }), region, resizers: plan.crops.map(copier), ...crops };
  }
  const from = { width, height };
  const resizers = plan.crops.map((crop) => makeResizer(recipe.resize, from, to, crop));
  const region = boundsOf(resizers.map((resizer) => resizer.reads));
  const lattice = unionOf(resizers.map((resizer) => resizer.lattice));
  const share =
    lattice === undefined ? 1 : (lattice.columns.length * lattice.rows.length) / (region.width * region.height);
  if (lattice === undefined || share > sparseBelow)
    return { picture: { width, height, crop: region }, region, resizers, ...crops };
  return {
    picture: { width, height, lattice },
    region: { x: 0, y: 0, width: lattice.columns.length, height: lattice.rows.length },
    resizers: plan.crops.map((crop) => makeResizer(recipe.resize, from, to, crop, lattice)),
    ...crops,
  };
}

/**
 * Scaling only what the crops show saves a tenth of the time. The part begins and ends on even pixels (4:2:0 chroma) that fall as
 * nearly as possible on whole pixels of the resized picture, so that it lies there as if all had been scaled.
 */
function fastPicture(region: Rect, resized: Size, source: Size): Picture {
  const x = fastAxis(region.x, region.width, resized.width, source.width);
  const y = fastAxis(region.y, region.height, resized.height, source.height);
  return {
    ...source,
    crop: { x: x.from, y: y.from, width: x.length, height: y.length },
    scaled: {
      width: x.scaled,
      height: y.scaled,
      crop: { x: x.offset, y: y.offset, width: region.width, height: region.height },
    },
  };
}

/** How far an edge may move outwards for a better fit, in source pixels, and what fits well enough, in resized ones. */
const fitWithin = 64;
const fitsBelow = 0.05;

function fastAxis(
  at: number,
  length: number,
  resized: number,
  source: number,
): { readonly from: number; readonly length: number; readonly scaled: number; readonly offset: number } {
  const factor = resized / source;
  const misfit = (edge: number): number => Math.abs(edge * factor - Math.round(edge * factor));
  /** The nearest even edge that fits, from `first` outwards; else the best one. */
  const best = (first: number, step: 2 | -2, end: number): number => {
    const edges = Array.from({ length: fitWithin / 2 }, (_, i) => first + i * step).filter(
      (edge) => edge * step < end * step,
    );
    edges.push(end);
    return edges.find((edge) => misfit(edge) <= fitsBelow) ?? end;
  };
  const from = best(2 * Math.floor(at / factor / 2), -2, 0);
  const to = best(2 * Math.ceil((at + length) / factor / 2), 2, source);
  const start = Math.round(from * factor);
  return { from, length: to - from, scaled: Math.round(to * factor) - start, offset: at - start };
}

// ---- the pass ----------------------------------------------------------------------------------------------------

/** One pass over a stream. */
export interface PassPlan {
  readonly rate: Rational | 'source';
  /** Seconds after the first frame; the whole video where absent. At a fixed rate the sampling grid starts at its start. */
  readonly span?: Span | undefined;
  /** Numbers of the samples to hand out, ascending, without repeats; all where absent. */
  readonly take?: readonly number[] | undefined;
  readonly picture: Picture;
}

/** A frame of the pass. */
export interface Sample {
  /** Counted from 0 over the samples of the plan (all of them, also those not taken). */
  readonly number: number;
  /** The source frame it shows, counted from 0 as decoded. */
  readonly frame: number;
  /** rgb24 [crop.height, crop.width, 3]; borrowed: valid until the next sample is asked for. */
  readonly data: Uint8Array;
}

/** What a pass has measured. */
export interface PassResult {
  /** Time of every decoded source frame, seconds after the first; never falling. */
  readonly times: readonly Seconds[];
  /** Where the video ends. */
  readonly end: Seconds;
  /** Samples of the plan, taken or not. */
  readonly sampleCount: number;
  /** First time stamp minus the container's start time. */
  readonly startOffset: Seconds;
  /** False where the span ended before the video. */
  readonly isWhole: boolean;
  readonly decodeErrors: number;
  readonly messages: MessageLog;
  readonly warnings: readonly Warning[];
}

/** The number of samples at `rate` in a video that ends at `end`, from `span` on: those k with start + k / rate < end, 1 ms allowed. */
export function sampleCountOf(end: Seconds, rate: Rational, span: Span | undefined): number {
  const [from, to] = span ?? [0, Infinity];
  return Math.max(0, Math.ceil(((Math.min(end, to) - from - displayTolerance) * rate.num) / rate.den));
}

/** End of a video whose frames start at `times`: the last frame lasts as long as the middle one of all intervals; what containers say of it differs between versions of ffmpeg. */
export function endOf(times: readonly Seconds[], claimedRate: number): Seconds {
  const last = times.at(-1);
  if (last === undefined) return 0;
  const interval = middleInterval(times);
  return last + (interval > 0 ? interval : 1 / (claimedRate >= 1 && claimedRate <= 1000 ? claimedRate : 30));
}

/** The median of the intervals between frames; 0 where there is none. */
export function middleInterval(times: readonly Seconds[]): Seconds {
  const intervals = Float64Array.from({ length: Math.max(0, times.length - 1) }, (_, i) => times[i + 1]! - times[i]!);
  return intervals.sort()[Math.floor(intervals.length / 2)] ?? 0;
}

/** Source frames of a span: [first, last + 1), frames on time within 1 ms. */
export function framesInSpan(times: readonly Seconds[], span: Span | undefined): readonly [first: number, end: number] {
  if (span === undefined) return [0, times.length];
  const count = (limit: Seconds): number => {
    let n = 0;
    while (n < times.length && times[n]! < onTime(limit)) n++;
    return n;
  };
  return [count(span[0]), count(span[1])];
}

/** Length of a half-open run of numbers. */
export function lengthOf([first, end]: readonly [first: number, end: number]): number {
  return end - first;
}

/** The earliest time stamp that counts as `limit`; off the round numbers by a nanosecond, so that no boundary hangs on a rounding. */
function onTime(limit: Seconds): Seconds {
  return limit - displayTolerance - 1e-9;
}

/** Time stamps as they arrive, and the arithmetic of the filters in `filterChain`, in whole numbers as ffmpeg does it. */
class Timeline {
  readonly times: Seconds[] = [];
  /** At a fixed rate: the first sample that a source frame can be. */
  private readonly slots: number[] = [];
  private firstPts = 0;
  private lastPts = 0;
  private firstMicros = 0n;

  constructor(
    private readonly timeBase: Rational,
    private readonly rate: Rational | 'source',
    private readonly spanStart: Seconds,
  ) {}

  add(stamp: number | undefined): void {
    const count = this.times.length;
    // A frame without a stamp, or with an earlier one, is on display when the one before it is.
    const pts = count === 0 ? (stamp ?? 0) : Math.max(stamp ?? this.lastPts, this.lastPts);
    if (count === 0) this.firstPts = pts;
    this.lastPts = pts;
    this.times.push(((pts - this.firstPts) * this.timeBase.num) / this.timeBase.den);
    if (this.rate === 'source') return;
    const micros = this.micros(pts);
    if (count === 0) this.firstMicros = micros;
    const late = micros - this.firstMicros - BigInt(lateMicros(this.spanStart));
    const scaled = (late < 0n ? 0n : late) * BigInt(this.rate.num);
    const unit = BigInt(this.rate.den) * 1_000_000n;
    this.slots.push(Number((scaled + unit - 1n) / unit));
  }

  /** `settb=1/1000000`: to the nearest, halves away from zero. */
  private micros(pts: number): bigint {
    const scaled = BigInt(pts) * BigInt(this.timeBase.num) * 1_000_000n;
    const den = BigInt(this.timeBase.den);
    return scaled < 0n ? -((-scaled * 2n + den) / (den * 2n)) : (scaled * 2n + den) / (den * 2n);
  }

  /**
   * First time stamp minus the container's start. ffmpeg counts from that start, but since 5.1, in transport and program
   * streams, from the start of the streams in use; then the header's offset is what is missing.
   */
  startOffset(headerOffset: Seconds): Seconds {
    const seen = (this.firstPts * this.timeBase.num) / this.timeBase.den;
    return seen >= headerOffset - displayTolerance ? seen : seen + headerOffset;
  }

  /** The frame that sample `number` shows, given one that an earlier sample showed; what the `fps` filter does. */
  advance(frame: number, number: number, known: number): number {
    while (frame + 1 < known && this.slots[frame + 1]! <= number) frame++;
    return frame;
  }
}

function lateMicros(spanStart: Seconds): number {
  return Math.round((spanStart + displayTolerance) * 1e6);
}

const longestTake = 600;

/** The filter chain of a plan, and the names of its two markers. */
function filterChain(
  input: DecodeInput,
  plan: PassPlan,
): { readonly filters: string; readonly sourceMark: string; readonly pipeMark: string } {
  // Random, so that no text inside a file can imitate a marker's line.
  const id = randomBytes(6).toString('hex');
  const modern = input.tools.passthrough[0] === '-fps_mode';
  // `metadata` costs nothing; in the builds of 2018 it cannot add to an empty set, and `showinfo` with its checksums stands in.
  const mark = (name: string): string => (modern ? `metadata@${name}=mode=print:key=egolens` : `showinfo@${name}`);
  const [sourceMark, pipeMark] = [`s${id}`, `p${id}`];
  const filters = [`settb=${rationalText(input.timeBase)}`];
  if (modern) filters.push('metadata=mode=add:key=egolens:value=1');
  filters.push(mark(sourceMark));
  // Nothing is decoded far behind the span; where exactly it ends is for `decodeSamples`.
  if (plan.span !== undefined && Number.isFinite(plan.span[1])) filters.push(`trim=duration=${plan.span[1] + 0.1}`);
  if (plan.rate !== 'source') {
    // The frame on display at k/rate: every stamp 1 ms early, then rounded up to the grid. Microseconds, because the
    // subtraction would cost a whole tick in a coarse time base (1/25 in AVI).
    // A few copies behind the last frame, so that `fps` shows it even where the file gives it no duration; `decodeSamples` counts.
    filters.push(
      'tpad=stop=8:stop_mode=clone',
      'settb=1/1000000',
      `setpts='max(0,PTS-STARTPTS-${lateMicros(plan.span?.[0] ?? 0)})'`,
      `fps=${rationalText(plan.rate)}:round=up:start_time=0`,
    );
  } else {
    if (plan.span !== undefined) {
      const first = (onTime(plan.span[0]) * input.timeBase.den) / input.timeBase.num;
      filters.push(`select='gte(pts-start_pts,${Math.ceil(first)})'`);
    }
    if (isSelected(plan)) filters.push(`select='${sumOf(plan.take!.map((n) => `eq(n,${n})`))}'`);
  }
  const { width, height, crop, scaled, lattice } = plan.picture;
  // bicubic is ffmpeg's default; it acts only where pixels are not square or a stream changes its size.
  filters.push(`scale=${width}:${height}:flags=bicubic`);
  if (scaled === undefined) filters.push('format=rgb24');
  if (crop !== undefined && (crop.width !== width || crop.height !== height)) {
    filters.push(`crop=${crop.width}:${crop.height}:${crop.x}:${crop.y}`);
  }
  if (scaled !== undefined) {
    filters.push(`scale=${scaled.width}:${scaled.height}:flags=area`, 'format=rgb24');
    const kept = scaled.crop;
    if (kept.width !== scaled.width || kept.height !== scaled.height) {
      filters.push(`crop=${kept.width}:${kept.height}:${kept.x}:${kept.y}`);
    }
  }
  // Times are known by now. From here they only grow, by more than the step of any frame rate: frames that round to one step are
  // errors to the raw output. From 0 on, because the maps are stills of time 0: what comes before them would pass unmapped.
  filters.push('settb=1000', 'setpts=N');
  if (lattice !== undefined) filters.push('null[frames];[frames][1:v][2:v]remap', 'format=rgb24');
  filters.push(mark(pipeMark));
  return { filters: filters.join(','), sourceMark, pipeMark };
}

/** In pairs of pairs: builds of ffmpeg refuse expressions that nest more than 100 deep, and a plain sum of n terms nests n deep. */
function sumOf(terms: readonly string[]): string {
  if (terms.length <= 2) return terms.join('+');
  const middle = Math.ceil(terms.length / 2);
  return `(${sumOf(terms.slice(0, middle))})+(${sumOf(terms.slice(middle))})`;
}

/** Does ffmpeg itself drop what is not taken? Only at the source's rate: there a frame's number cannot depend on how `fps` ends. */
function isSelected(plan: PassPlan): boolean {
  return plan.rate === 'source' && plan.take !== undefined && plan.take.length <= longestTake;
}

/**
 * Decode a video once and hand out the samples of the plan in order.
 *
 * @throws EgolensError decode.no_frames, decode.encrypted and the classified codes when nothing could be decoded; tool.failed,
 *   decode.failed when ffmpeg was killed; run.interrupted, decode.stalled, limit.time. A file that yields frames and then fails
 *   is no error: the result carries the warning.
 */
export async function* decodeSamples(
  input: DecodeInput,
  plan: PassPlan,
  options: RunLimits & { readonly onProgress?: ((decodedFrames: number) => void) | undefined } = {},
): AsyncGenerator<Sample, PassResult> {
  if (input.isEncrypted) {
    throw new EgolensError(
      'decode.encrypted',
      `\`${basename(input.path)}\`: the video stream is encrypted; expected a readable one`,
    );
  }
  const { filters, sourceMark, pipeMark } = filterChain(input, plan);
  const timeline = new Timeline(input.timeBase, plan.rate, plan.span?.[0] ?? 0);
  /** For each pipe frame: source frames decoded when it left. */
  const knownAt: number[] = [];
  let wake: (() => void) | undefined;
  const onInfo = (text: string): void => {
    const line = /^\[\w+@(\w+)\] (?:frame|n):\s*\d+\s+pts:\s*(-?\d+|NOPTS)/.exec(text);
    if (!line) return;
    if (line[1] === sourceMark) {
      timeline.add(line[2] === 'NOPTS' ? undefined : Number(line[2]));
      options.onProgress?.(timeline.times.length);
    } else if (line[1] === pipeMark) {
      knownAt.push(timeline.times.length);
      wake?.();
    }
  };
  const { lattice } = plan.picture;
  await using run = await startFfmpeg(
    input.tools,
    input.path,
    {
      // No new filter graph where a stream changes its size: it would forget where it is; `scale` adapts.
      input: ['-threads', String(input.threads), '-reinit_filter', '0'],
      maps: lattice === undefined ? [] : await mapFiles(lattice),
      output: [
        ...['-filter_complex', `[0:${input.streamIndex}]${filters}[out]`, '-map', '[out]', '-an', '-sn', '-dn'],
        ...input.tools.passthrough,
        ...['-pix_fmt', 'rgb24', '-c:v', 'rawvideo', '-f', 'rawvideo'],
      ],
    },
    onInfo,
    options,
  );
  let isOver = false;
  void run.over.then(() => {
    isOver = true;
    wake?.();
  });
  const markOf = async (pipeFrame: number): Promise<number | undefined> => {
    while (knownAt.length <= pipeFrame && !isOver) {
      await new Promise<void>((done) => (wake = done));
    }
    return knownAt[pipeFrame];
  };

  const { width, height } = pipeSize(plan.picture);
  const data = new Uint8Array(width * height * 3);
  const wanted = plan.take === undefined || isSelected(plan) ? undefined : new Set(plan.take);
  const spanEnd = plan.span?.[1] ?? Infinity;
  const fixedRate = plan.rate === 'source' ? undefined : plan.rate;
  let tailCount: number | undefined;
  /** Source frames before the span: known when its first frame is here. */
  let spanFirst: number | undefined;
  /** Samples of the whole video; asked for only when its end is known. */
  const countNow = (rate: Rational): number =>
    (tailCount ??= sampleCountOf(endOf(timeline.times, input.claimedRate), rate, plan.span));
  let frame = 0;
  let number = 0;
  let surplus = 0;
  let stopped = false;
  for (let pipeFrame = 0; !stopped; pipeFrame++) {
    if ((await run.read(data)) < data.length) break;
    const known = await markOf(pipeFrame);
    if (known === undefined) break;
    if (fixedRate === undefined) {
      // By order, not by what was known: filters with several inputs may hold frames back.
      const sample = isSelected(plan) ? plan.take![pipeFrame]! : pipeFrame;
      spanFirst ??= framesInSpan(timeline.times, plan.span)[0];
      frame = spanFirst + sample;
      if (timeline.times[frame]! >= onTime(spanEnd)) stopped = true;
      else yield { number: sample, frame, data };
      number = pipeFrame + 1;
      continue;
    }
    if (pipeFrame >= sampleCountOf(spanEnd, fixedRate, plan.span)) {
      stopped = true;
      continue;
    }
    frame = timeline.advance(frame, pipeFrame, known);
    // A sample leaves `fps` when the next source frame is known to come later, or when there is none: then this is the video's end,
    // and how often the last frame is repeated is our rule, not the filter's (in old builds a late start counts as length).
    const isTail = frame === known - 1;
    if (isTail && pipeFrame >= countNow(fixedRate)) {
      if (++surplus > 64) stopped = true;
      continue;
    }
    number = pipeFrame + 1;
    if (wanted?.has(pipeFrame) ?? true) yield { number: pipeFrame, frame, data };
  }
  const messages = await endOfRun(input, run, timeline.times.length, stopped);
  const end = endOf(timeline.times, input.claimedRate);
  const sampleCount =
    fixedRate === undefined
      ? lengthOf(framesInSpan(timeline.times, plan.span))
      : sampleCountOf(end, fixedRate, plan.span);
  if (fixedRate !== undefined && number < sampleCount) {
    if (number === 0) {
      throw new EgolensError('decode.no_frames', `\`${basename(input.path)}\`: ffmpeg resampled to no frame`);
    }
    // The pixels at hand are those of the last pipe frame, and so is the frame number that goes with them.
    for (; number < sampleCount; number++) if (wanted?.has(number) ?? true) yield { number, frame, data };
  }
  return {
    times: timeline.times,
    end,
    sampleCount,
    startOffset: timeline.startOffset(input.headerOffset),
    isWhole: (timeline.times.at(-1) ?? 0) < onTime(spanEnd),
    decodeErrors: messages.errorCount,
    messages,
    warnings: [...input.warnings, ...warningsOf(messages)],
  };
}

/** Messages of a run that yielded frames; throws what makes the file a failure. */
async function endOfRun(input: DecodeInput, run: FfmpegRun, frames: number, stopped: boolean): Promise<MessageLog> {
  if (stopped) return run.messages();
  const { messages, error, killed } = await run.finish();
  if (killed && error !== undefined) throw error;
  if (frames > 0 && error?.code !== 'limit.memory') return messages;
  const name = basename(input.path);
  if (error !== undefined && error.code !== 'decode.failed' && error.code !== 'input.not_a_video') throw error;
  const said = messages.firstErrors[0];
  throw new EgolensError(
    'decode.no_frames',
    `\`${name}\`: no frame could be decoded${said === undefined ? '' : `: ${said}`}`,
    error === undefined ? {} : { cause: error },
  );
}

function warningsOf(messages: MessageLog): readonly Warning[] {
  const warnings: Warning[] = [];
  if (saysTruncated([...messages.firstErrors, ...messages.tail])) {
    warnings.push({ code: 'decode.truncated', message: 'the file is cut off; what comes before was used' });
  }
  if (messages.errorCount > 0) {
    const first = messages.firstErrors[0]!;
    warnings.push({ code: 'decode.damaged', message: `${messages.errorCount} decoding errors, the first: ${first}` });
  }
  return warnings;
}

/** A pass for the times alone: a few pixels of each frame, so that ffmpeg has something to write and dies with us. */
export async function decodeTimes(
  input: DecodeInput,
  options: RunLimits & { readonly onProgress?: ((decodedFrames: number) => void) | undefined } = {},
): Promise<PassResult> {
  const picture: Picture = {
    width: input.width,
    height: input.height,
    scaled: { width: 2, height: 2, crop: { x: 0, y: 0, width: 2, height: 2 } },
  };
  const samples = decodeSamples(input, { rate: 'source', picture }, options);
  for (;;) {
    const next = await samples.next();
    if (next.done === true) return next.value;
  }
}

/** Text for a cache key: everything of decoding that changes pixels or times besides the recipe. */
export function decodeKey(input: Pick<DecodeInput, 'streamIndex' | 'threads'>): string {
  return `decode/1 stream=${input.streamIndex} threads=${input.threads}`;
}
