import { EgolensError } from '../errors.js';
import { windowExtent } from '../time.js';
import type { FeatureClock, PixelRecipe, RowTime, SamplingRecipe, Seconds, Span } from '../types.js';
import {
  decodeSamples,
  endOf,
  framesInSpan,
  lengthOf,
  planPicture,
  sampleCountOf,
  type PassPlan,
  type PassResult,
  type PicturePlan,
  type Sample,
  type Warning,
} from './decode.js';
import type { RunLimits } from './ffmpeg.js';
import type { VideoSource } from './open.js';
import { listPackets } from './probe.js';
import { pixelDType, type Pixels } from './resize.js';
import { sampleViews } from './sampling.js';

/** Frames into windows: which samples make which row, and the ring from which each frame is copied into every window that holds it. */

// ---- plans -------------------------------------------------------------------------------------------------------

/** Does the plan slide over the video (windows as frames arrive), or does it need the count first? */
export function isDense(sampling: SamplingRecipe): boolean {
  return sampling.plan === 'dense' || sampling.plan === 'videomae_v2_windows';
}

/** Official detection features take whole windows only (encoder.md 10.2). */
function tailOf(sampling: SamplingRecipe): SamplingRecipe['tail'] {
  return sampling.plan === 'dense' ? sampling.tail : 'drop';
}

/**
 * First samples of the dense windows over `count` samples (files.md 2). `align` is Ego4D's rule: floor((n-w)/hop)+1 rows and
 * one more, shifted back to end at the last frame, when (n-w) is no multiple of the hop; one row when n < w.
 */
export function denseStarts(count: number, sampling: SamplingRecipe): readonly number[] {
  const extent = windowExtent(sampling);
  const tail = tailOf(sampling);
  if (count < 1) return [];
  if (count < extent) return tail === 'drop' ? [] : [0];
  const whole = Math.floor((count - extent) / sampling.hop) + 1;
  const starts = Array.from({ length: whole }, (_, i) => i * sampling.hop);
  if ((count - extent) % sampling.hop === 0) return starts;
  if (tail === 'align') starts.push(count - extent);
  // A hop longer than the window may lie behind the end: no frame is left to show there.
  if (tail === 'pad' && whole * sampling.hop < count) starts.push(whole * sampling.hop);
  return starts;
}

/** Samples of a dense window; behind the end the last one is repeated. */
export function windowSamples(start: number, count: number, sampling: SamplingRecipe): readonly number[] {
  return Array.from({ length: sampling.frames }, (_, i) => Math.min(start + i * sampling.step, count - 1));
}

/** What one window is: elements [t, h, w, 3] of `uint8`, or of `float32` from 0 to 255 (the caller normalises either). */
export interface WindowLayout {
  readonly shape: readonly [t: number, h: number, w: number, c: 3];
  readonly dtype: 'uint8' | 'float32';
  readonly bytes: number;
  /** Consecutive rows per clip: 3 where the recipe crops three. */
  readonly crops: number;
}

/** The layout of every window of `source` under these recipes: what buffers must hold `batch` times. */
export function windowLayout(
  source: Pick<VideoSource, 'width' | 'height'>,
  sampling: SamplingRecipe,
  pixels: PixelRecipe,
): WindowLayout {
  const { cropWidth, cropHeight, resizers } = planPicture(pixels, source.width, source.height);
  const dtype = pixelDType(pixels);
  const elements = sampling.frames * cropHeight * cropWidth * 3;
  return {
    shape: [sampling.frames, cropHeight, cropWidth, 3],
    dtype,
    bytes: elements * (dtype === 'float32' ? 4 : 1),
    crops: resizers.length,
  };
}

// ---- buffers -----------------------------------------------------------------------------------------------------

/** Where full windows are written. An empty pool stops the decoder: that is the whole back-pressure. */
export interface BufferPool {
  /** A buffer of at least batch * layout.bytes bytes; waits for one. */
  take(): Promise<ArrayBuffer>;
  /** Give one back: the same, or the one that a worker sent in its place. */
  give(buffer: ArrayBuffer): void;
}

// ---- reading -----------------------------------------------------------------------------------------------------

/** Up to `batch` windows, one after the other, in row order. */
export interface WindowBatch {
  readonly buffer: ArrayBuffer;
  readonly count: number;
}

/** What was read, known at the end. */
export interface WindowsReport {
  /** One per window; with three crops three rows of the same times. */
  readonly rows: readonly RowTime[];
  readonly decodedFrames: number;
  readonly decodeErrors: number;
  readonly warnings: readonly Warning[];
  readonly startOffset: Seconds;
  /** Null where the rows lie on no grid. Its `rows` counts clips, not crops. */
  readonly clock: FeatureClock | null;
  /** Where row 0 starts on the video's clock: the start of the span, else 0. Times of `rows` include it, the clock does not. */
  readonly origin: Seconds;
  /** Measured length of the video, or of what was decoded of it, in seconds. */
  readonly duration: Seconds;
  readonly layout: WindowLayout;
}

export interface ReadOptions extends RunLimits {
  readonly sampling: SamplingRecipe;
  readonly pixels: PixelRecipe;
  /** Windows per buffer. */
  readonly batch: number;
  readonly buffers: BufferPool;
  /** Part of the video, seconds after its first frame; at a fixed rate the grid starts at its start. */
  readonly span?: Span | undefined;
  /** Called with the number of source frames decoded so far. */
  readonly onProgress?: ((decodedFrames: number) => void) | undefined;
}

/**
 * Decode a video and hand out its windows, batch by batch; the generator's return value is the report. One ffmpeg process;
 * a second one when a plan that needed the count first was made for another count than was decoded.
 *
 * Memory: one decoded frame, the ring (the extent of a window in resized frames; all frames of the views for a plan with a
 * count), and the caller's buffers.
 *
 * @throws EgolensError input.too_short, usage.flag (unknown plan), and whatever decoding throws
 */
export async function* readWindows(
  source: VideoSource,
  options: ReadOptions,
): AsyncGenerator<WindowBatch, WindowsReport> {
  const picture = planPicture(options.pixels, source.width, source.height);
  const layout = windowLayout(source, options.sampling, options.pixels);
  return yield* isDense(options.sampling)
    ? readDense(source, options, picture, layout)
    : readViews(source, options, picture, layout);
}

/** Resized frames in one block of memory. */
interface FrameStore {
  put(slot: number, data: Uint8Array): void;
  /** Copy the frame in `slot`, crop `crop`, to element `at` of `out`. */
  copy(slot: number, crop: number, out: Pixels, at: number): void;
}

function frameStore(slots: number, plan: PicturePlan, layout: WindowLayout): FrameStore {
  const length = plan.cropWidth * plan.cropHeight * 3;
  const total = slots * layout.crops * length;
  const memory = layout.dtype === 'float32' ? new Float32Array(total) : new Uint8Array(total);
  const frame = (slot: number, crop: number): Pixels => {
    const at = (slot * layout.crops + crop) * length;
    return memory.subarray(at, at + length);
  };
  return {
    put(slot, data) {
      plan.resizers.forEach((resizer, crop) => {
        resizer.apply(data, plan.region, frame(slot, crop));
      });
    },
    copy(slot, crop, out, at) {
      out.set(frame(slot, crop), at);
    },
  };
}

/** Fills buffers of the pool window by window. */
class BatchWriter {
  private buffer: ArrayBuffer | undefined;
  private count = 0;

  constructor(
    private readonly options: ReadOptions,
    private readonly layout: WindowLayout,
    private readonly store: FrameStore,
  ) {}

  /** One window per crop, its frames in `slots` of the store; yields each buffer that is full. */
  async *write(slots: readonly number[]): AsyncGenerator<WindowBatch, void> {
    const { layout, options } = this;
    const frameLength = layout.shape[1] * layout.shape[2] * 3;
    const elements = frameLength * layout.shape[0];
    for (let crop = 0; crop < layout.crops; crop++) {
      this.buffer ??= await this.take();
      const out =
        layout.dtype === 'float32'
          ? new Float32Array(this.buffer, this.count * layout.bytes, elements)
          : new Uint8Array(this.buffer, this.count * layout.bytes, elements);
      slots.forEach((slot, t) => {
        this.store.copy(slot, crop, out, t * frameLength);
      });
      this.count++;
      if (this.count === options.batch) yield* this.flush();
    }
  }

  *flush(): Generator<WindowBatch, void> {
    if (this.buffer === undefined) return;
    const batch = { buffer: this.buffer, count: this.count };
    this.buffer = undefined;
    this.count = 0;
    yield batch;
  }

  /** A buffer that was begun and will not be handed out goes back. */
  release(): void {
    if (this.buffer !== undefined) this.options.buffers.give(this.buffer);
    this.buffer = undefined;
  }

  private async take(): Promise<ArrayBuffer> {
    const { signal, buffers } = this.options;
    if (signal === undefined) return await buffers.take();
    // An aborted consumer gives nothing back any more.
    const taken = buffers.take();
    let onAbort: () => void = () => undefined;
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => {
        reject(new EgolensError('run.interrupted', 'interrupted', { cause: signal.reason }));
      };
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([taken, aborted]);
    } catch (error) {
      // What comes after all belongs to the pool.
      void taken.then(
        (buffer) => {
          buffers.give(buffer);
        },
        () => undefined,
      );
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}

async function* readDense(
  source: VideoSource,
  options: ReadOptions,
  picture: PicturePlan,
  layout: WindowLayout,
): AsyncGenerator<WindowBatch, WindowsReport> {
  const { sampling } = options;
  const extent = windowExtent(sampling);
  const store = frameStore(extent, picture, layout);
  const writer = new BatchWriter(options, layout, store);
  /** Source frame of each sample. */
  const frames: number[] = [];
  const slotsOf = (start: number): number[] => windowSamples(start, frames.length, sampling).map((n) => n % extent);
  const plan: PassPlan = { rate: sampling.rate, span: options.span, picture: picture.picture };
  const samples = decodeSamples(source, plan, options);
  let written = 0;
  try {
    let next: IteratorResult<Sample, PassResult>;
    while ((next = await samples.next()).done !== true) {
      store.put(frames.length % extent, next.value.data);
      frames.push(next.value.frame);
      const start = frames.length - extent;
      if (start >= 0 && start % sampling.hop === 0) {
        written++;
        yield* writer.write(slotsOf(start));
      }
    }
    const pass = next.value;
    const starts = denseStarts(frames.length, sampling);
    if (starts.length === 0) throw tooShort(source, frames.length, extent, options.span);
    for (const start of starts.slice(written)) yield* writer.write(slotsOf(start));
    yield* writer.flush();
    const views = starts.map((start) => windowSamples(start, frames.length, sampling));
    // At a fixed rate a row covers its extent of the grid, as far as there is video.
    const ends = starts.map((start) => Math.min(start + extent, frames.length));
    return reportOf(options, layout, pass, views, ends, (n) => frames[n]!, {
      rate: sampling.rate,
      hop: sampling.hop,
      frames: sampling.frames,
      step: sampling.step,
      ...(sampling.extent !== undefined && { extent: sampling.extent }),
      tail: tailOf(sampling),
      rows: starts.length,
    });
  } finally {
    writer.release();
    await samples.return(undefined as never);
  }
}

/** Plans over a count: the frames of all views are kept until the count they were made for is proven by decoding. */
async function* readViews(
  source: VideoSource,
  options: ReadOptions,
  picture: PicturePlan,
  layout: WindowLayout,
): AsyncGenerator<WindowBatch, WindowsReport> {
  const { sampling, span } = options;
  const listed = await listPackets(source, options);
  let count =
    sampling.rate === 'source'
      ? lengthOf(framesInSpan(listed.times, span))
      : sampleCountOf(endOf(listed.times, source.claimedRate), sampling.rate, span);
  const warnings: Warning[] = [];
  for (let attempt = 0; attempt < 3; attempt++) {
    // A count of 0 is only a claim too: one frame is asked for, and the decoder tells.
    const views = sampleViews(sampling, Math.max(count, attempt === 0 ? 1 : count));
    const take = [...new Set(views.flat())].sort((a, b) => a - b);
    const slotOf = new Map(take.map((sample, slot) => [sample, slot]));
    const store = frameStore(take.length, picture, layout);
    const frames = new Map<number, number>();
    const plan: PassPlan = { rate: sampling.rate, span, take, picture: picture.picture };
    const samples = decodeSamples(source, plan, options);
    let next: IteratorResult<Sample, PassResult>;
    while ((next = await samples.next()).done !== true) {
      store.put(slotOf.get(next.value.number)!, next.value.data);
      frames.set(next.value.number, next.value.frame);
    }
    const pass = next.value;
    if (pass.sampleCount === 0) throw tooShort(source, 0, sampling.frames, span);
    if (pass.sampleCount !== count || frames.size !== take.length) {
      warnings.push({
        code: 'decode.count',
        message: `planned for ${count} frames, ${pass.sampleCount} were decoded; planned and decoded again`,
      });
      count = pass.sampleCount;
      continue;
    }
    const writer = new BatchWriter(options, layout, store);
    try {
      for (const view of views) yield* writer.write(view.map((sample) => slotOf.get(sample)!));
      yield* writer.flush();
    } finally {
      writer.release();
    }
    const ends = views.map((view) => Math.max(...view) + 1);
    const report = reportOf(options, layout, pass, views, ends, (n) => frames.get(n)!, null);
    return { ...report, warnings: [...report.warnings, ...warnings] };
  }
  throw new EgolensError('decode.failed', `\`${source.path}\`: another number of frames is decoded each time`);
}

function tooShort(source: VideoSource, count: number, needed: number, span: Span | undefined): EgolensError {
  const where = span === undefined ? '' : ` from ${span[0]} s ${Number.isFinite(span[1]) ? `to ${span[1]} s` : 'on'}`;
  return new EgolensError(
    'input.too_short',
    `\`${source.path}\`: ${count} frames${where}; expected at least ${count === 0 ? 1 : needed}`,
    count === 0 ? {} : { try: '`--tail pad` or `--tail align` fills a window up with the last frame' },
  );
}

function reportOf(
  options: ReadOptions,
  layout: WindowLayout,
  pass: PassResult,
  views: readonly (readonly number[])[],
  /** For each view: the sample after the last that it covers. */
  ends: readonly number[],
  frameOf: (sample: number) => number,
  clock: FeatureClock | null,
): WindowsReport {
  const { sampling, span } = options;
  const origin = span?.[0] ?? 0;
  const timeOfFrame = (frame: number): Seconds => pass.times[frame] ?? pass.end;
  const rows = views.flatMap((view, clip) => {
    const [first, last] = [Math.min(...view), Math.max(...view)];
    const [firstFrame, lastFrame] = [frameOf(first), frameOf(last)];
    const { rate } = sampling;
    const [start, end] =
      rate === 'source'
        ? [timeOfFrame(firstFrame), timeOfFrame(lastFrame + 1)]
        : [origin + (first * rate.den) / rate.num, origin + (ends[clip]! * rate.den) / rate.num];
    return Array.from({ length: layout.crops }, (_, crop): RowTime => {
      return { index: clip * layout.crops + crop, firstFrame, lastFrame, start, end };
    });
  });
  return {
    rows,
    decodedFrames: pass.times.length,
    decodeErrors: pass.decodeErrors,
    warnings: pass.warnings,
    startOffset: pass.startOffset,
    clock,
    origin,
    duration: pass.end,
    layout,
  };
}
