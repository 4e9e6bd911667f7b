/** Vectors of windows for search: which windows a granularity means for a model, and which of its outputs is compared. */
import { EgolensError } from '../errors.js';
import type { IndexSettings } from '../search/index-format.js';
import { parseRational, rational, rationalNumber } from '../time.js';
import type { ModelFolder } from '../models/folder.js';
import type { Choice } from '../runtime/provider-types.js';
import type { Session } from '../runtime/session.js';
import type { Preset, Rational, Span, Tensor } from '../types.js';
import type { RunLimits } from '../video/ffmpeg.js';
import { openVideo, type StreamChoice, type VideoSource } from '../video/probe.js';
import { encodeVideo, type EncodedVideo } from './encode-video.js';
import { fitted, inputOf } from './extract.js';
import { openModelSession } from './probe.js';

/** Windows and vectors of one model at one granularity. */
export interface WindowPlan {
  readonly model: ModelFolder;
  /** Seconds of a window, and from one to the next. */
  readonly granularity: Rational;
  readonly stream: StreamChoice;
  readonly preset: Preset;
  /** Output of the model. */
  readonly output: string;
  /** Values of a vector. */
  readonly width: number;
}

/** `2s`, `1.5` -> seconds above 0, at most an hour. Throws `usage.flag`. */
export function parseGranularity(text: string): Rational {
  const seconds = /^(\d{1,4}(?:\.\d{1,3})?)s?$/.exec(text)?.[1];
  const value = seconds === undefined ? undefined : parseRational(seconds);
  if (value === undefined || value.num === 0 || rationalNumber(value) > 3600) {
    throw new EgolensError('usage.flag', `--granularity ${text}: expected seconds such as 2s, above 0 and up to 3600s`);
  }
  return value;
}

/**
 * The windows of a granularity: as many frames as the model takes, evenly over so many seconds, one window after the other; the last one
 * is shifted back to end with the video. The vector is the one that a two-tower model compares with texts, else the preset's feature.
 *
 * @throws EgolensError model.config for a model without one vector a window
 */
export function planVectors(
  model: ModelFolder,
  { granularity, stream }: { readonly granularity: Rational; readonly stream: StreamChoice },
): WindowPlan {
  const { spec, preset: own } = model;
  const rate = rational(spec.frames * granularity.den, granularity.num);
  if (rationalNumber(rate) > 1000) {
    throw new EgolensError(
      'usage.flag',
      `--granularity ${rationalNumber(granularity)}s: ${spec.frames} frames in it are more than 1000 a second`,
    );
  }
  const preset = fitted(
    {
      ...own,
      name: `${own.name}-every-${rationalNumber(granularity)}s`,
      sampling: {
        plan: 'dense',
        frames: spec.frames,
        step: 1,
        hop: spec.frames,
        rate,
        tail: 'align',
        views: [1, 1],
        fusion: own.sampling.fusion,
      },
      pixels: { ...own.pixels, crop: own.pixels.crop === 'three' ? 'center' : own.pixels.crop },
    },
    model,
  );
  const output = spec.text?.against ?? own.feature;
  const [batch, width, ...more] = spec.outputs[output]?.shape ?? [];
  const isFed = Object.keys(spec.arrays).length === 0 || spec.companions !== undefined;
  if (batch !== 'batch' || typeof width !== 'number' || more.length > 0 || !isFed) {
    throw new EgolensError('model.config', `${model.id}: output \`${output}\` gives no single vector of a window`, {
      try: 'take a two-tower model, or one with a pooled output',
    });
  }
  return { model, granularity, stream, preset, output, width };
}

/** What an index says of its vectors, for this plan. */
export function settingsOf({ model, granularity, stream, preset, output, width }: WindowPlan): IndexSettings {
  const { digest, precision } = model.manifest;
  return {
    model: { id: model.id, digest },
    output,
    precision,
    preset: `${preset.name}@${preset.version}`,
    granularity,
    stream: String(stream),
    width,
  };
}

/** Where and how a plan is computed. */
export interface EncoderOptions {
  readonly choice: Choice;
  readonly threads?: number;
  /** Windows in one run; where absent 1 on the cpu, 8 elsewhere. */
  readonly batch?: number;
  readonly signal: AbortSignal;
}

/** One part of one video. */
export interface VectorJob {
  readonly path: string;
  readonly span?: Span;
  readonly limits: RunLimits;
  /** Called in row order with [n, width], as the model gives them. */
  readonly write: (rows: Tensor<'float32'>) => Promise<void>;
  /** Called with what is known of the video before any frame is decoded. */
  readonly onOpen?: (source: VideoSource) => void;
  readonly onFrames?: (count: number) => void;
}

/** A model at work on windows; its session is opened for the first video. Dispose it. */
export interface WindowEncoder extends AsyncDisposable {
  encode(job: VectorJob): Promise<EncodedVideo>;
}

/** The encoder of a plan. `encode` throws input.*, decode.*, device.*. */
export function openWindowEncoder(plan: WindowPlan, options: EncoderOptions): WindowEncoder {
  const { model, preset, output, stream } = plan;
  const { spec } = model;
  let opened: Promise<Session> | undefined;
  return {
    async encode({ path, span, limits, write, onOpen, onFrames }) {
      const source = await openVideo(path, { stream, ...limits });
      onOpen?.(source);
      const session = await (opened ??= openModelSession(
        model,
        { ...options, device: options.choice },
        inputOf(preset),
      ));
      return await encodeVideo(source, {
        session,
        preset,
        output,
        level: 'clip',
        batch: options.batch ?? (session.provider === 'cpu' ? 1 : 8),
        write,
        limits,
        ...(spec.companions && { companions: spec.companions.bind(spec) }),
        ...(span !== undefined && { span }),
        ...(onFrames !== undefined && { onFrames }),
      });
    },
    async [Symbol.asyncDispose]() {
      const session = await opened?.catch(() => undefined);
      await session?.[Symbol.asyncDispose]();
    },
  };
}
