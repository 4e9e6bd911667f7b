import { rationalText } from '../time.js';
import type { Rational, Seconds } from '../types.js';
import { decodeTimes, endOf, middleInterval, type Warning } from './decode.js';
import { runFfprobe, type RunLimits } from './ffmpeg.js';
import { number, openVideo, type OpenOptions, type StreamInfo, type VideoSource } from './open.js';

export { openVideo, parseStreamChoice, type OpenOptions, type StreamChoice, type VideoSource } from './open.js';

/** What a header says and what a measurement gives, side by side: rates, durations and counts of headers are hints only. */

/** Times of the stream's packets that are shown, sorted, seconds after the first; `startOffset` as files.md 1 has it. */
export interface PacketTimes {
  readonly times: readonly Seconds[];
  readonly startOffset: Seconds;
  readonly keyframes: number;
}

/** List the packets of the chosen stream: reads the whole file and decodes nothing. Their count can differ from that of decoded frames. */
export async function listPackets(source: VideoSource, limits: RunLimits = {}): Promise<PacketTimes> {
  const stamps: number[] = [];
  let keyframes = 0;
  let next = 0;
  const options = [
    '-select_streams',
    String(source.streamIndex),
    '-show_entries',
    'packet=pts,dts,duration,flags',
    '-of',
    'csv=p=0',
  ];
  await runFfprobe(
    source.tools,
    source.path,
    options,
    (line) => {
      const [pts, dts, length, flags] = line.split(',') as [string, string?, string?, string?];
      // D: decoded, but cut away by an edit list.
      if (flags === undefined || flags.includes('D')) return;
      if (flags.includes('K')) keyframes++;
      // Program streams stamp only some packets; the others follow the one before them.
      const stamp = number(pts) ?? (stamps.length > 0 ? next : (number(dts) ?? 0));
      next = stamp + (number(length) ?? 0);
      stamps.push(stamp);
    },
    limits,
  );
  stamps.sort((a, b) => a - b);
  const first = stamps[0] ?? 0;
  const { num, den } = source.timeBase;
  return {
    times: stamps.map((stamp) => ((stamp - first) * num) / den),
    startOffset: (first * num) / den - (source.claimed.containerStartTime ?? 0),
    keyframes,
  };
}

/** What was measured of the chosen stream. */
export interface Measures {
  /** `packets`: listed, not decoded. `decode`: counted as they came out of the decoder. */
  readonly by: 'packets' | 'decode';
  readonly frames: number;
  /** Frames a second: (frames - 1) / time from the first to the last. Null for a single frame. */
  readonly rate: number | null;
  /** From the first frame to the end of the last. */
  readonly duration: Seconds;
  readonly isVariableRate: boolean;
  /** Time stamp of the first frame minus the container's start time. */
  readonly startOffset: Seconds;
}

/** Record `egolens.probe/1`. */
export interface ProbeRecord {
  readonly schema: 'egolens.probe/1';
  readonly input: string;
  readonly bytes: number;
  readonly container: string;
  readonly streams: readonly StreamInfo[];
  readonly stream: number;
  readonly codec: string;
  readonly profile: string | null;
  readonly pixelFormat: string | null;
  /** Upright, with square pixels. */
  readonly width: number;
  readonly height: number;
  readonly codedWidth: number;
  readonly codedHeight: number;
  readonly rotation: number;
  /** `4/3` */
  readonly pixelAspect: string;
  readonly colour: VideoSource['colour'];
  readonly hdr: boolean;
  readonly interlaced: boolean;
  readonly encrypted: boolean;
  readonly claimed: {
    readonly rate: string | null;
    readonly nominalRate: string | null;
    readonly duration: Seconds | null;
    readonly containerDuration: Seconds | null;
    readonly frames: number | null;
    readonly startTime: Seconds | null;
    readonly containerStartTime: Seconds | null;
  };
  /** Null in mode `fast` for a file too large to list. */
  readonly measured: Measures | null;
  /** Decoded frames and error messages of the decoder, modes `exact` and `check` only. */
  readonly frames?: number;
  readonly errors?: number;
  /** The first error messages, mode `check` only. */
  readonly messages?: readonly string[];
  readonly warnings: readonly Warning[];
}

export interface ProbeOptions extends OpenOptions {
  /** `fast` (default): header, and packets where the file has at most 256 MiB. `exact`: time stamps of decoded frames. `check`: also errors of decoding. */
  readonly mode?: 'fast' | 'exact' | 'check' | undefined;
  readonly onProgress?: ((decodedFrames: number) => void) | undefined;
}

const cheapBytes = 256 * 2 ** 20;

/** Claims and measurements of one file; throws as `openVideo` does, and for a video of which nothing decodes. */
export async function probeVideo(path: string, options: ProbeOptions = {}): Promise<ProbeRecord> {
  const source = await openVideo(path, options);
  const mode = options.mode ?? 'fast';
  if (mode === 'fast') {
    if (source.bytes > cheapBytes) return recordOf(source, null, source.warnings);
    const { times, startOffset } = await listPackets(source, options);
    return recordOf(source, measuresOf('packets', times, startOffset, source.claimedRate), source.warnings);
  }
  const pass = await decodeTimes(source, options);
  const measures = measuresOf('decode', pass.times, pass.startOffset, source.claimedRate);
  return {
    ...recordOf(source, measures, pass.warnings),
    frames: pass.times.length,
    errors: pass.decodeErrors,
    ...(mode === 'check' ? { messages: pass.messages.firstErrors } : {}),
  };
}

function recordOf(source: VideoSource, measured: Measures | null, warnings: readonly Warning[]): ProbeRecord {
  const { claimed } = source;
  const orNull = (value: Rational | null): string | null => (value === null ? null : rationalText(value));
  return {
    schema: 'egolens.probe/1',
    input: source.path,
    bytes: source.bytes,
    container: source.container,
    streams: source.streams,
    stream: source.streamNumber,
    codec: source.codec,
    profile: source.profile,
    pixelFormat: source.pixelFormat,
    width: source.width,
    height: source.height,
    codedWidth: source.codedWidth,
    codedHeight: source.codedHeight,
    rotation: source.rotation,
    pixelAspect: rationalText(source.pixelAspect),
    colour: source.colour,
    hdr: source.isHdr,
    interlaced: source.isInterlaced,
    encrypted: source.isEncrypted,
    claimed: { ...claimed, rate: orNull(claimed.rate), nominalRate: orNull(claimed.nominalRate) },
    measured,
    warnings,
  };
}

/** Rate, duration and steadiness of frames at `times`. */
export function measuresOf(
  by: Measures['by'],
  times: readonly Seconds[],
  startOffset: Seconds,
  claimedRate: number,
): Measures {
  const last = times.at(-1) ?? 0;
  return {
    by,
    frames: times.length,
    rate: last > 0 ? (times.length - 1) / last : null,
    duration: endOf(times, claimedRate),
    isVariableRate: isVariable(times),
    startOffset,
  };
}

/** Some interval differs from the middle one by a tenth and by more than the rounding of millisecond stamps. */
function isVariable(times: readonly Seconds[]): boolean {
  const middle = middleInterval(times);
  const tolerance = Math.max(0.0021, middle / 10);
  return times.some((time, i) => i > 0 && Math.abs(time - times[i - 1]! - middle) > tolerance);
}

// ---- single frames -----------------------------------------------------------------------------------------------

/** Record `egolens.frame/1`: one decoded frame. */
export interface FrameRecord {
  readonly schema: 'egolens.frame/1';
  readonly input: string;
  /** Counted from 0 as decoded. */
  readonly frame: number;
  /** In units of the stream's time base. */
  readonly pts: number | null;
  /** Seconds after the first frame. */
  readonly time: Seconds;
  readonly key: boolean;
  /** `I`, `P`, `B`, … */
  readonly type: string;
}

/** Every frame of the chosen stream, in the order of decoding. The whole list is made before it returns: a few dozen bytes a frame. */
export async function probeFrames(path: string, options: OpenOptions = {}): Promise<readonly FrameRecord[]> {
  const source = await openVideo(path, options);
  const frames: FrameRecord[] = [];
  let first: number | undefined;
  let next = 0;
  const wanted = [
    ...['-threads', String(source.threads), '-select_streams', String(source.streamIndex)],
    ...['-show_entries', 'frame=key_frame,pict_type,best_effort_timestamp,pkt_duration,duration', '-of', 'compact=p=0'],
  ];
  await runFfprobe(
    source.tools,
    source.path,
    wanted,
    (line) => {
      const fields = new Map(line.split('|').map((field) => field.split('=') as [string, string]));
      if (!fields.has('pict_type')) return;
      const pts = number(fields.get('best_effort_timestamp'));
      const stamp = pts ?? next;
      first ??= stamp;
      next = stamp + (number(fields.get('duration')) ?? number(fields.get('pkt_duration')) ?? 0);
      const time = ((stamp - first) * source.timeBase.num) / source.timeBase.den;
      frames.push({
        schema: 'egolens.frame/1',
        input: path,
        frame: frames.length,
        pts,
        time,
        key: fields.get('key_frame') === '1',
        type: fields.get('pict_type') ?? '?',
      });
    },
    options,
  );
  return frames;
}
