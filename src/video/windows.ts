import { EgolensError } from '../errors.js';
import { windowExtent } from '../time.js';
import type { SamplingRecipe, Span } from '../types.js';
import { readAnchored } from './anchored-windows.js';
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
import type { VideoSource } from './open.js';
import { listPackets } from './probe.js';
import { sampleViews } from './sampling.js';
import {
  BatchWriter,
  frameStore,
  reportOf,
  windowLayout,
  type ReadOptions,
  type WindowBatch,
  type WindowLayout,
  type WindowsReport,
} from './window-batches.js';

/** Frames into windows: which samples make which row, and the ring from which each frame is copied into every window that holds it. */

export {
  windowLayout,
  type AnchorTimes,
  type BufferPool,
  type ReadOptions,
  type WindowBatch,
  type WindowLayout,
  type WindowsReport,
} from './window-batches.js';

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

// ---- reading -----------------------------------------------------------------------------------------------------

/**
 * Decode a video and hand out its windows, batch by batch; the generator's return value is the report. One ffmpeg process;
 * a second one when a plan that needed the count first was made for another count than was decoded, or when a window was asked for
 * at an end that only decoding tells.
 *
 * Memory: one decoded frame, the ring (at most the extent of a window in resized frames; all frames of the views for a plan with a
 * count), and the caller's buffers.
 *
 * @throws EgolensError input.too_short, usage.flag (unknown plan, times on no grid), usage.conflict (times and a span), and whatever
 *   decoding throws
 */
export async function* readWindows(
  source: VideoSource,
  options: ReadOptions,
): AsyncGenerator<WindowBatch, WindowsReport> {
  const picture = planPicture(options.pixels, source.width, source.height);
  const layout = windowLayout(source, options.sampling, options.pixels);
  if (options.at !== undefined) return yield* readAnchored(source, options, options.at, picture, layout);
  return yield* isDense(options.sampling)
    ? readDense(source, options, picture, layout)
    : readViews(source, options, picture, layout);
}

async function* readDense(
  source: VideoSource,
  options: ReadOptions,
  picture: PicturePlan,
  layout: WindowLayout,
): AsyncGenerator<WindowBatch, WindowsReport> {
  const { sampling } = options;
  const extent = windowExtent(sampling);
  const store = frameStore(picture, layout);
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
    const store = frameStore(picture, layout);
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
