import { EgolensError } from '../errors.js';
import { displayTolerance, secondsAt } from '../time.js';
import type { Rational, SamplingRecipe, Seconds } from '../types.js';
import { decodeSamples, type PassPlan, type PassResult, type PicturePlan, type Sample } from './decode.js';
import type { VideoSource } from './open.js';
import {
  BatchWriter,
  frameStore,
  reportOf,
  type AnchorTimes,
  type FrameStore,
  type ReadOptions,
  type WindowBatch,
  type WindowLayout,
  type WindowsReport,
} from './window-batches.js';

/** Windows that end at given times: where single frames of a video are asked about, and what led to them is what a head sees. */

/** Behind the end of a video a time still counts as its end so far: annotated lengths are rounded. */
const endSlack: Seconds = 0.5;

/** A time beyond this is no second of a video; it keeps numbers of samples whole. */
const latest: Seconds = 1e8;

/** Are they equally distant? An array has a member of that name too. */
export function isEvery(at: AnchorTimes): at is { readonly every: Seconds } {
  return !Array.isArray(at);
}

/** The sample at which the window of a time ends: floor(t * rate), where a millionth of a sample less still counts as on time. */
export function anchorSample(time: Seconds, rate: Rational): number {
  return Math.floor((time * rate.num) / rate.den + 1e-6);
}

/** The samples of the window that ends at `last`, in order; before the start of the video its first frame is repeated. */
export function anchorWindow(
  last: number,
  { frames, step }: Pick<SamplingRecipe, 'frames' | 'step'>,
): readonly number[] {
  return Array.from({ length: frames }, (_, i) => Math.max(0, last - (frames - 1 - i) * step));
}

/** The rate of a recipe whose windows can end at given times. @throws EgolensError usage.flag at the source's own rate */
export function anchorRate({ rate }: Pick<SamplingRecipe, 'rate'>): Rational {
  if (rate !== 'source') return rate;
  throw new EgolensError('usage.flag', "windows at given times: expected a fixed rate, found the source's own", {
    try: '`--fps 30`, or a preset with a rate, such as ego4d-mq',
  });
}

/** @throws EgolensError usage.flag for no times, what is no time, and distances below a sample */
export function checkAnchors(at: AnchorTimes, rate: Rational): void {
  if (isEvery(at)) {
    const least = rate.den / rate.num;
    if (!(at.every >= least && at.every <= latest)) {
      throw new EgolensError(
        'usage.flag',
        `windows every ${at.every} s: expected a sample at least, which is ${least} s, and at most ${latest} s`,
      );
    }
    return;
  }
  const wrong = at.find((time) => !(time >= 0 && time <= latest));
  if (at.length === 0 || wrong !== undefined) {
    throw new EgolensError(
      'usage.flag',
      `windows at given times: expected times from 0 to ${latest} s, found ${wrong ?? 'none'}`,
    );
  }
}

/** The last samples of the windows at these times, ascending, each once. Without an end where windows come at equal distances. */
export function* anchorSamples(at: AnchorTimes, rate: Rational): Generator<number, void> {
  if (isEvery(at)) for (let i = 1; ; i++) yield anchorSample(i * at.every, rate);
  yield* new Set(at.map((time) => anchorSample(time, rate)).sort((a, b) => a - b));
}

type WindowShape = Pick<SamplingRecipe, 'frames' | 'step'>;

/** Which samples have to be kept, and in which slots, while they pass by: those of windows that have begun and not ended yet. */
export class AnchorFrames {
  readonly #lasts: Iterator<number, void>;
  readonly #shape: WindowShape;
  /** Of windows that have begun, ascending. */
  readonly #open: number[] = [];
  /** Sample -> windows that have begun and show it. */
  readonly #uses = new Map<number, number>();
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  #next: number | undefined;
  #slotCount = 0;

  /** @param lasts last samples of the windows, ascending; equal ones are one window */
  constructor(lasts: Iterable<number, void>, shape: WindowShape) {
    this.#lasts = lasts[Symbol.iterator]();
    this.#shape = shape;
    this.#next = this.#pull();
  }

  /** Slots that were in use at once, at most as many as the samples that a window spans. */
  get slotCount(): number {
    return this.#slotCount;
  }

  /** Is no window to come any more? */
  get isOver(): boolean {
    return this.#open.length === 0 && this.#next === undefined;
  }

  /** Where to put sample `number`, asked of each sample in turn from 0; undefined: no window shows it. */
  slotFor(number: number): number | undefined {
    const { frames, step } = this.#shape;
    while (this.#next !== undefined && this.#next - (frames - 1) * step <= number) {
      for (const sample of this.#samplesOf(this.#next)) this.#uses.set(sample, (this.#uses.get(sample) ?? 0) + 1);
      this.#open.push(this.#next);
      this.#next = this.#pull();
    }
    if (!this.#uses.has(number)) return undefined;
    const slot = this.#free.pop() ?? this.#slotCount++;
    this.#slots.set(number, slot);
    return slot;
  }

  /** The slots of the window that ends at sample `number`, in order; undefined where none does. */
  windowAt(number: number): readonly number[] | undefined {
    if (this.#open[0] !== number) return undefined;
    return anchorWindow(number, this.#shape).map((sample) => this.#slots.get(sample)!); // put when it came by
  }

  /** The window that `windowAt` gave is written: frames that no other one shows are given up. */
  close(number: number): void {
    this.#open.shift();
    for (const sample of this.#samplesOf(number)) {
      const left = this.#uses.get(sample)! - 1; // counted when the window began
      if (left > 0) this.#uses.set(sample, left);
      else {
        this.#uses.delete(sample);
        this.#free.push(this.#slots.get(sample)!); // put when it came by
        this.#slots.delete(sample);
      }
    }
  }

  #samplesOf(last: number): ReadonlySet<number> {
    return new Set(anchorWindow(last, this.#shape));
  }

  #pull(): number | undefined {
    for (;;) {
      const next = this.#lasts.next();
      if (next.done === true) return undefined;
      if (next.value !== this.#open.at(-1)) return next.value;
    }
  }
}

/** A window that was handed out: its first and last sample, and the source frames that these are. */
interface Written {
  readonly samples: readonly [first: number, last: number];
  readonly frames: readonly [first: number, last: number];
}

interface AnchorPass {
  readonly options: ReadOptions;
  readonly rate: Rational;
  readonly picture: PicturePlan;
  readonly store: FrameStore;
  readonly writer: BatchWriter;
  /** Grows with the windows that are handed out. */
  readonly written: Written[];
}

/** One pass over the video for windows that end at `lasts`; nothing is decoded behind sample `end`. */
async function* readPass(
  source: VideoSource,
  { options, rate, picture, store, writer, written }: AnchorPass,
  lasts: Iterable<number, void>,
  end?: number,
): AsyncGenerator<WindowBatch, { readonly result: PassResult; readonly isOver: boolean }> {
  const { sampling } = options;
  const kept = new AnchorFrames(lasts, sampling);
  // Half a sample on, so that no rounding takes the last one away.
  const to = end === undefined ? undefined : secondsAt(end + 0.5, rate) + displayTolerance;
  const plan: PassPlan = { rate, picture: picture.picture, ...(to !== undefined && { span: [0, to] }) };
  const extent = (sampling.frames - 1) * sampling.step + 1;
  /** Source frames of the latest samples. */
  const shown: number[] = [];
  const samples = decodeSamples(source, plan, options);
  try {
    let next: IteratorResult<Sample, PassResult>;
    while ((next = await samples.next()).done !== true) {
      const { number, frame, data } = next.value;
      shown[number % extent] = frame;
      const slot = kept.slotFor(number);
      if (slot !== undefined) store.put(slot, data);
      const slots = kept.windowAt(number);
      if (slots === undefined) continue;
      const first = Math.max(0, number - extent + 1);
      written.push({ samples: [first, number], frames: [shown[first % extent]!, frame] });
      yield* writer.write(slots);
      kept.close(number);
    }
    return { result: next.value, isOver: kept.isOver };
  } finally {
    await samples.return(undefined as never);
  }
}

/**
 * The windows that end at given times, each once, in the order of time. Nothing is decoded behind the last time that is named. A time up
 * to half a second behind the end of the video counts as its last sample, as does the first of equally distant ones in a video that is
 * shorter; since only decoding tells where that is, it costs a second pass.
 *
 * @throws EgolensError usage.flag (`anchorRate`, `checkAnchors`), usage.conflict for a span, input.too_short for a time behind the end; whatever decoding
 *   throws
 */
export async function* readAnchored(
  source: VideoSource,
  options: ReadOptions,
  at: AnchorTimes,
  picture: PicturePlan,
  layout: WindowLayout,
): AsyncGenerator<WindowBatch, WindowsReport> {
  const rate = anchorRate(options.sampling);
  checkAnchors(at, rate);
  if (options.span !== undefined) {
    throw new EgolensError('usage.conflict', 'windows at given times lie anywhere in a video; expected no span of it');
  }
  const store = frameStore(picture, layout);
  const writer = new BatchWriter(options, layout, store);
  const written: Written[] = [];
  const pass: AnchorPass = { options, rate, picture, store, writer, written };
  const lasts = isEvery(at) ? undefined : [...anchorSamples(at, rate)];
  try {
    const first = yield* readPass(source, pass, lasts ?? anchorSamples(at, rate), lasts?.at(-1));
    let { result, isOver } = first;
    for (let attempt = 1; !isOver; attempt++) {
      if (lasts !== undefined) refuseBehind(source, at, result);
      else if (written.length > 0) break;
      const last = result.sampleCount - 1;
      if (last < 0) throw new EgolensError('input.too_short', `\`${source.path}\`: no frames; expected at least 1`);
      // The sample that counts as the end may have been asked for by itself.
      if (written.at(-1)?.samples[1] === last) break;
      if (attempt === 3) {
        throw new EgolensError('decode.failed', `\`${source.path}\`: another number of frames is decoded each time`);
      }
      ({ result, isOver } = yield* readPass(source, pass, [last], last));
    }
    yield* writer.flush();
    const views = written.map(({ samples }) => samples);
    const frames = new Map(written.flatMap(({ samples, frames: shown }) => samples.map((n, i) => [n, shown[i]!])));
    const ends = views.map(([, last]) => last + 1);
    const report = reportOf(options, layout, first.result, views, ends, (sample) => frames.get(sample)!, null);
    // How far ffmpeg had come when it was stopped is chance.
    const isStopped = lasts !== undefined && first.isOver;
    return isStopped ? { ...report, decodedFrames: report.rows.at(-1)!.lastFrame + 1 } : report; // a row at least
  } finally {
    writer.release();
  }
}

/** @throws EgolensError input.too_short where a time lies behind the end of the video */
function refuseBehind({ path }: VideoSource, at: AnchorTimes, { end }: PassResult): void {
  const time = isEvery(at) ? 0 : at.reduce((most, one) => Math.max(most, one), 0);
  if (time <= end + endSlack) return;
  throw new EgolensError(
    'input.too_short',
    `\`${path}\`: ends at ${Number(end.toFixed(3))} s; asked for a window that ends at ${time} s`,
  );
}
