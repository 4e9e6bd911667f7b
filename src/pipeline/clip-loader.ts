/** Training clips out of videos: segments become uint8 batches, decoded in child processes, a bounded number at a time. */
import { asEgolensError, EgolensError } from '../errors.js';
import type { Random } from '../random.js';
import { tensor } from '../tensor.js';
import { sampleRandom } from '../train/order.js';
import type { Preset, Tensor } from '../types.js';
import { openVideo, type VideoSource } from '../video/open.js';
import { planClip, readClip, type Augmentation, type ClipSegment } from './clip-plan.js';

export interface ClipLoaderOptions {
  readonly segments: readonly ClipSegment[];
  /** Frames, their distance and the pixels, as `extract` takes them. */
  readonly preset: Preset;
  readonly augmentation: Augmentation;
  readonly seed: number;
  /** Bounds how many videos are decoded at the same time; loaders may share it. The batches do not depend on it. */
  readonly turns: Turns;
  /** A clip that cannot be decoded gives its place to the next segment of the list instead of ending the run. */
  readonly skipBroken: boolean;
  /**
   * Ends the opening. Afterwards an interruption ends nothing here, so that a trainer can finish and save its step; but Ctrl-C in a terminal
   * reaches the decoders too, and what is being decoded then is decoded again.
   */
  readonly signal?: AbortSignal;
}

/** Gives clips of a list of segments. Dispose it: no decoder is left behind. */
export interface ClipLoader extends AsyncDisposable {
  /** Segments that can be asked for; without those of videos whose header could not be read. */
  readonly segments: readonly ClipSegment[];
  /** Why videos were left out so far, by path; grows with what decoding finds. Empty unless `skipBroken`. */
  readonly broken: ReadonlyMap<string, EgolensError>;
  /**
   * Clips of a training batch: place in time, crop and mirroring out of the seed, the epoch and the number of the sample.
   *
   * @returns `frames` uint8 [b, t, size, size, 3], and for each clip the number of the segment that it shows (another one than asked for
   *   only where that one was broken)
   */
  train(samples: readonly number[], epoch: number): Promise<ClipBatch>;
  /** The middle window of each of these segments, with the preset's own pixels. */
  middle(samples: readonly number[]): Promise<ClipBatch>;
}

export interface ClipBatch {
  readonly frames: Tensor<'uint8'>;
  readonly shown: readonly number[];
}

/**
 * Opens the videos of the segments (a header each) and gives what reads their clips.
 *
 * @throws EgolensError the first fault of a video, with its path; data.invalid where no segment is left
 */
export async function openClipLoader(options: ClipLoaderOptions): Promise<ClipLoader> {
  const { segments, skipBroken, signal, turns } = options;
  const stop = new AbortController();
  const broken = new Map<string, EgolensError>();
  const sources = new Map<string, VideoSource>();
  const paths = [...new Set(segments.map(({ path }) => path))];
  const opened = await Promise.allSettled(
    paths.map((path) => turns.take(async () => ({ path, source: await openVideo(path, { signal }) }))),
  );
  for (const [i, result] of opened.entries()) {
    if (result.status === 'fulfilled') sources.set(result.value.path, result.value.source);
    else broken.set(paths[i]!, asEgolensError(result.reason, paths[i])); // one result a path
  }
  signal?.throwIfAborted();
  const [first] = broken.values();
  if (first !== undefined && !skipBroken) throw first;
  const usable = segments.filter(({ path }) => sources.has(path));
  if (usable.length === 0) {
    throw new EgolensError(
      'data.invalid',
      `expected segments of videos that can be read, found none of ${segments.length}`,
    );
  }
  return new OpenLoader({ ...options, segments: usable }, { sources, broken, stop });
}

interface LoaderState {
  readonly sources: ReadonlyMap<string, VideoSource>;
  readonly broken: Map<string, EgolensError>;
  readonly stop: AbortController;
}

class OpenLoader implements ClipLoader {
  readonly #options: ClipLoaderOptions;
  readonly #state: LoaderState;
  readonly #running = new Set<Promise<unknown>>();

  constructor(options: ClipLoaderOptions, state: LoaderState) {
    this.#options = options;
    this.#state = state;
  }

  get segments(): readonly ClipSegment[] {
    return this.#options.segments;
  }

  get broken(): ReadonlyMap<string, EgolensError> {
    return this.#state.broken;
  }

  async train(samples: readonly number[], epoch: number): Promise<ClipBatch> {
    const { seed } = this.#options;
    return await this.#batch(samples, (sample) => sampleRandom(seed, epoch, sample));
  }

  async middle(samples: readonly number[]): Promise<ClipBatch> {
    return await this.#batch(samples, () => undefined);
  }

  async #batch(samples: readonly number[], randomOf: (sample: number) => Random | undefined): Promise<ClipBatch> {
    const { preset } = this.#options;
    const { frames } = preset.sampling;
    const { size } = preset.pixels;
    const clipBytes = frames * size * size * 3;
    const data = new Uint8Array(samples.length * clipBytes);
    const failure = new AbortController();
    const limits = { signal: AbortSignal.any([this.#state.stop.signal, failure.signal]) };
    const shown = [...samples];
    const all = samples.map(async (sample, i) => {
      try {
        shown[i] = await this.#clip(sample, randomOf, {
          out: data.subarray(i * clipBytes, (i + 1) * clipBytes),
          limits,
        });
      } catch (error) {
        failure.abort(error); // the first one is the reason; the others end
        throw error;
      }
    });
    const done = Promise.allSettled(all);
    this.#running.add(done);
    try {
      await done;
    } finally {
      this.#running.delete(done);
    }
    if (failure.signal.aborted) throw failure.signal.reason;
    return { frames: tensor('uint8', [samples.length, frames, size, size, 3], data), shown };
  }

  /** Writes the clip of a sample, or of the next one that can be decoded; gives its number. */
  async #clip(
    sample: number,
    randomOf: (sample: number) => Random | undefined,
    place: { readonly out: Uint8Array; readonly limits: { readonly signal: AbortSignal } },
  ): Promise<number> {
    const { segments, preset, augmentation, skipBroken, turns } = this.#options;
    const { sources, broken } = this.#state;
    for (let tried = 0; ; tried++) {
      const number = (sample + tried) % segments.length;
      const segment = segments[number]!; // a remainder of the length
      const source = sources.get(segment.path)!; // only segments of opened videos are left
      try {
        place.limits.signal.throwIfAborted();
        const plan = planClip(source, segment, { preset, augmentation, random: randomOf(number) });
        await turns.take(() => this.#uninterrupted(() => readClip(source, plan, place)));
        return number;
      } catch (cause) {
        if (place.limits.signal.aborted) throw cause;
        const error = asEgolensError(cause, segment.path);
        if (!skipBroken || tried === segments.length - 1 || !/^(input|decode)\./.test(error.code)) throw error;
        broken.set(segment.path, error);
      }
    }
  }

  /** Once more where the user's interruption came in between. */
  async #uninterrupted(read: () => Promise<void>): Promise<void> {
    const { signal } = this.#options;
    const isNew = signal?.aborted === false;
    const came = (): boolean => isNew && signal.aborted;
    try {
      await read();
    } catch (error) {
      if (!came()) throw error;
    }
    if (came()) await read();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state.stop.abort(new EgolensError('run.interrupted', 'the loader was closed'));
    await Promise.all(this.#running);
  }
}

/** At most so many at a time; the others wait in the order in which they came. */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((go) => this.#waiting.push(go));
    else this.#free--;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
