import { asEgolensError, EgolensError } from '../errors.js';
import { float, type Float, type JsonValue } from '../json.js';
import type { Progress } from '../types.js';
import {
  parseStreamChoice,
  probeFrames,
  probeVideo,
  type FrameRecord,
  type OpenOptions,
  type ProbeRecord,
} from '../video/probe.js';
import { findTools } from '../video/tools.js';
import type { InputItem } from './inputs.js';
import { errorRecord, type ErrorRecord } from './records.js';

export interface ProbeVideosOptions {
  /** `fast`: header and packets. `exact`: what decodes. `check`: also the errors of decoding. `frames`: one record a frame. */
  readonly mode: 'fast' | 'exact' | 'check' | 'frames';
  /** As `--stream` has it: a number or `best`. */
  readonly stream: string;
  /** Videos at once. */
  readonly jobs: number;
  readonly timeoutMs?: number;
  readonly stallTimeoutMs?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

type Row = Readonly<Record<string, JsonValue | undefined>>;

/** What one input gave. */
export type ProbeResult = { readonly records: readonly Row[] } | { readonly error: ErrorRecord };

/**
 * Claims and measurements of many videos, in the order of the list whatever `jobs` is. With one job a result is there before the next
 * video is opened.
 *
 * @returns per input `egolens.probe/1` (or an `egolens.frame/1` for each frame), or why it could not be probed
 * @throws EgolensError usage.flag, tool.ffmpeg_missing; the reason of the signal
 */
export async function* probeVideos(
  items: readonly InputItem[],
  options: ProbeVideosOptions,
): AsyncGenerator<ProbeResult> {
  const { jobs, signal, progress, timeoutMs, stallTimeoutMs } = options;
  const stop = new AbortController();
  const limits: OpenOptions = {
    stream: parseStreamChoice(options.stream),
    tools: await findTools(),
    signal: AbortSignal.any([signal, stop.signal]),
    timeoutMs,
    stallTimeoutMs,
  };
  const bar = progress.start('probe', items.length);
  const running: Promise<ProbeResult>[] = [];
  try {
    for (let next = 0; next < items.length || running.length > 0;) {
      while (running.length < jobs && next < items.length) running.push(probeOne(items[next++]!, options.mode, limits));
      const result = await running.shift()!; // one was started above
      signal.throwIfAborted();
      bar.advance(1);
      yield result;
    }
  } finally {
    stop.abort();
    await Promise.all(running); // they never reject
    bar.stop();
  }
}

async function probeOne(item: InputItem, mode: ProbeVideosOptions['mode'], limits: OpenOptions): Promise<ProbeResult> {
  try {
    if (item.error !== undefined) throw item.error;
    if (mode !== 'frames') return { records: [probeRow(await probeVideo(item.path, { ...limits, mode }), item.input)] };
    const frames = await probeFrames(item.path, limits);
    if (frames.length === 0) {
      throw new EgolensError('decode.no_frames', `\`${item.input}\`: no frame could be decoded`);
    }
    return { records: frames.map((frame) => frameRow(frame, item.input)) };
  } catch (error) {
    return { error: errorRecord(asEgolensError(error), item.input) };
  }
}

/** The record as it goes out: the input as it was given, a decimal point in every float. */
function probeRow(record: ProbeRecord, input: string): Row {
  const { claimed, measured } = record;
  return {
    ...record,
    input,
    streams: record.streams.map((stream) => ({ ...stream })),
    rotation: float(record.rotation),
    colour: { ...record.colour },
    claimed: {
      rate: claimed.rate,
      nominalRate: claimed.nominalRate,
      duration: orNull(claimed.duration),
      containerDuration: orNull(claimed.containerDuration),
      frames: claimed.frames,
      startTime: orNull(claimed.startTime),
      containerStartTime: orNull(claimed.containerStartTime),
    },
    measured: measured && {
      by: measured.by,
      frames: measured.frames,
      rate: orNull(measured.rate),
      duration: float(measured.duration),
      isVariableRate: measured.isVariableRate,
      startOffset: float(measured.startOffset),
    },
    warnings: record.warnings.map((warning) => ({ ...warning })),
  };
}

function frameRow(frame: FrameRecord, input: string): Row {
  return { ...frame, input, time: float(frame.time) };
}

function orNull(value: number | null): Float | null {
  return value === null ? null : float(value);
}
