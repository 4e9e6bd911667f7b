import { EgolensError } from '../errors.js';
import type { FeatureClock, PixelRecipe, RowTime, SamplingRecipe, Seconds, Span } from '../types.js';
import { planPicture, type PassResult, type PicturePlan, type Warning } from './decode.js';
import type { RunLimits } from './ffmpeg.js';
import type { VideoSource } from './open.js';
import { pixelDType, type Pixels } from './resize.js';

/** What the readers of windows share: the layout of a window, the frames that are kept, and the buffers into which they are copied. */

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

/** Times in seconds after the first frame of a video, in any order; or d, 2d, 3d, … below its end. */
export type AnchorTimes = readonly Seconds[] | { readonly every: Seconds };

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
  /** Windows that end at these times, in place of those of the recipe's plan. */
  readonly at?: AnchorTimes | undefined;
  /** Called with the number of source frames decoded so far. */
  readonly onProgress?: ((decodedFrames: number) => void) | undefined;
}

/** Resized frames, each in a slot. A slot has memory from its first frame on, and then the same for every other. */
export interface FrameStore {
  put(slot: number, data: Uint8Array): void;
  /** Copy the frame in `slot`, crop `crop`, to element `at` of `out`. */
  copy(slot: number, crop: number, out: Pixels, at: number): void;
}

export function frameStore(plan: PicturePlan, layout: WindowLayout): FrameStore {
  const length = plan.cropWidth * plan.cropHeight * 3;
  const slots = new Map<number, Pixels>();
  const empty = (): Pixels => {
    const total = layout.crops * length;
    return layout.dtype === 'float32' ? new Float32Array(total) : new Uint8Array(total);
  };
  return {
    put(slot, data) {
      const frame = slots.get(slot) ?? empty();
      slots.set(slot, frame);
      plan.resizers.forEach((resizer, crop) => {
        resizer.apply(data, plan.region, frame.subarray(crop * length, (crop + 1) * length));
      });
    },
    copy(slot, crop, out, at) {
      out.set(slots.get(slot)!.subarray(crop * length, (crop + 1) * length), at); // put before it is copied
    },
  };
}

/** Fills buffers of the pool window by window. */
export class BatchWriter {
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

export function reportOf(
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
