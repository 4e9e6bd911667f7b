import { BufferPool } from '../runtime/buffers.js';
import type { RunOptions, Session } from '../runtime/session.js';
import { tensor } from '../tensor.js';
import type { AnyTensor, FeatureClock, Preset, RowTime, Seconds, Span, Tensor } from '../types.js';
import type { RunLimits } from '../video/ffmpeg.js';
import type { VideoSource } from '../video/probe.js';
import { normalise } from '../video/resize.js';
import {
  readWindows,
  windowLayout,
  type AnchorTimes,
  type WindowBatch,
  type WindowLayout,
  type WindowsReport,
} from '../video/windows.js';

export interface EncodeVideoOptions {
  /** Over the graph that takes what the preset's pixels are: bytes, or normalised floats. */
  readonly session: Session;
  readonly preset: Preset;
  /** The one output that is fetched. */
  readonly output: string;
  /** Further inputs of the graph, made of the windows: uint8 [n, t, h, w, 3] -> name -> array. */
  readonly companions?: (frames: Tensor<'uint8'>) => Readonly<Record<string, AnyTensor>>;
  /** For a model of single pictures: each frame of a window is an item of its own, with a row of its own. */
  readonly framesApart?: true;
  /** `video`: the mean of all rows, one row. */
  readonly level: 'clip' | 'video';
  /** Windows in one run. */
  readonly batch: number;
  /** Called in row order with [n, ...row], with `framesApart` [n * frames, ...row]; the next rows wait for it. */
  readonly write: (rows: Tensor<'float32'>) => Promise<void>;
  readonly span?: Span;
  /** Windows that end at these times, in place of those of the preset's plan. */
  readonly at?: AnchorTimes;
  readonly limits: RunLimits;
  /** Called with frames decoded since the last call. */
  readonly onFrames?: (count: number) => void;
}

/** What became of one video. */
export interface EncodedVideo {
  readonly rows: readonly RowTime[];
  readonly clock: FeatureClock | null;
  readonly decodedFrames: number;
  readonly decodeErrors: number;
  readonly warnings: WindowsReport['warnings'];
  readonly startOffset: Seconds;
  readonly seconds: { readonly decode: number; readonly encode: number; readonly write: number };
}

/** Window buffers between reader and worker: one is filled, one runs, one is on its way. */
const buffersPerVideo = 3;

/**
 * Decodes a video and runs the encoder over its windows; reading, running and writing overlap. The reader stops when all buffers are
 * full, and with it ffmpeg, through the pipe: memory does not grow with the length of the video.
 */
export async function encodeVideo(source: VideoSource, options: EncodeVideoOptions): Promise<EncodedVideo> {
  const { session, preset, output, batch, level } = options;
  const layout = windowLayout(source, preset.sampling, preset.pixels);
  const failure = new AbortController();
  const signal =
    options.limits.signal === undefined ? failure.signal : AbortSignal.any([options.limits.signal, failure.signal]);
  using buffers = new BufferPool(buffersPerVideo, batch * layout.bytes, signal);
  const seconds = { decode: 0, encode: 0, write: 0 };
  const mean = level === 'video' ? new RowMean() : undefined;

  let reported = 0;
  const windows = readWindows(source, {
    ...options.limits,
    signal,
    sampling: preset.sampling,
    pixels: preset.pixels,
    batch,
    buffers,
    span: options.span,
    at: options.at,
    onProgress: (frames) => {
      options.onFrames?.(frames - reported);
      reported = frames;
    },
  });
  // Rows are written in the order in which their runs were started.
  let written: Promise<void> = Promise.resolve();
  let lastRan = 0;
  const submit = (windowBatch: WindowBatch): void => {
    const begun = performance.now();
    const { feeds, runOptions } = feedsOf(windowBatch, { ...options, layout, buffers });
    const outputs = session.run(feeds, [output], runOptions);
    written = written.then(async () => {
      const rows = (await outputs)[output]!;
      const ran = performance.now();
      if (mean) mean.add(rows);
      else await options.write(rows);
      // Runs wait for each other: what a run waited is the time of the one before it.
      seconds.encode += (ran - Math.max(begun, lastRan)) / 1000;
      lastRan = ran;
      seconds.write += (performance.now() - ran) / 1000;
    });
    // The reader hears of it at once; whoever awaits `written` gets the reason.
    written.catch((error: unknown) => failure.abort(error));
  };
  let report: WindowsReport;
  try {
    for (;;) {
      const begun = performance.now();
      const next = await windows.next();
      seconds.decode += (performance.now() - begun) / 1000;
      if (next.done === true) {
        report = next.value;
        break;
      }
      submit(next.value);
    }
    await written;
  } catch (error) {
    failure.abort(error);
    await written.catch(() => undefined);
    // A failed run ends the reading, whose own error is then only an echo.
    throw failure.signal.reason;
  } finally {
    await windows.return(undefined as never); // the value of a generator that is closed is not used
  }
  if (mean) await options.write(mean.row());
  const { decodedFrames, decodeErrors, warnings, startOffset } = report;
  const rows = mean ? [wholeRow(report.rows)] : report.rows;
  const clock = mean || layout.crops > 1 ? null : report.clock;
  return { rows, clock, decodedFrames, decodeErrors, warnings, startOffset, seconds };
}

interface FeedOptions extends Pick<EncodeVideoOptions, 'preset' | 'companions' | 'framesApart'> {
  readonly layout: WindowLayout;
  readonly buffers: BufferPool;
}

/** The windows of a buffer as the graph's input. Bytes travel and come back; floats are normalised into an array of their own. */
function feedsOf(
  { buffer, count }: WindowBatch,
  { layout, preset, buffers, companions, framesApart }: FeedOptions,
): { feeds: Record<string, AnyTensor>; runOptions: RunOptions } {
  const [frameCount, h, w] = layout.shape;
  const [items, t] = framesApart === true ? [count * frameCount, 1] : [count, frameCount];
  const elements = t * h * w * 3;
  if (layout.dtype === 'uint8') {
    const shape = [items, t, h, w, 3];
    const data = new Uint8Array(buffer, 0, items * elements);
    if (companions === undefined)
      return { feeds: { frames: tensor('uint8', shape, data) }, runOptions: { pool: buffers } };
    // The pool takes back its own buffers alone, and a companion may look at the frames themselves.
    const frames = tensor('uint8', shape, data.slice());
    buffers.give(buffer);
    return { feeds: { frames, ...companions(frames) }, runOptions: { transfer: true } };
  }
  const normalised = new Float32Array(items * elements);
  for (let i = 0; i < items; i++) {
    normalised.set(normalise(new Float32Array(buffer, i * elements * 4, elements), preset), i * elements);
  }
  buffers.give(buffer);
  return { feeds: { input: tensor('float32', [items, 3, t, h, w], normalised) }, runOptions: { transfer: true } };
}

/** Mean of rows, in double. */
class RowMean {
  #sum: Float64Array | undefined;
  #shape: readonly number[] = [];
  #count = 0;

  add({ shape, data }: Tensor<'float32'>): void {
    const [n, ...row] = shape;
    const length = data.length / n!;
    this.#shape = row;
    this.#sum ??= new Float64Array(length);
    for (let i = 0; i < data.length; i++) this.#sum[i % length]! += data[i]!;
    this.#count += n!;
  }

  row(): Tensor<'float32'> {
    return tensor(
      'float32',
      [1, ...this.#shape],
      Float32Array.from(this.#sum!, (sum) => sum / this.#count),
    );
  }
}

function wholeRow(rows: readonly RowTime[]): RowTime {
  return {
    index: 0,
    firstFrame: Math.min(...rows.map((row) => row.firstFrame)),
    lastFrame: Math.max(...rows.map((row) => row.lastFrame)),
    start: Math.min(...rows.map((row) => row.start)),
    end: Math.max(...rows.map((row) => row.end)),
  };
}
