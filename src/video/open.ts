import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { EgolensError } from '../errors.js';
import { rational, rationalText } from '../time.js';
import type { Rational, Seconds } from '../types.js';
import { decoderThreads, type DecodeInput, type Warning } from './decode.js';
import { runFfprobe, type RunLimits } from './ffmpeg.js';
import { findTools, type Tools } from './tools.js';

/** Opening a video: the header, read once, and the choice of a stream. What a header says is a claim. */

/** Which video stream: N counts those that are no cover picture, from 0; `best` is ffmpeg's own choice. */
export type StreamChoice = number | 'best';

export interface OpenOptions extends RunLimits {
  readonly stream?: StreamChoice | undefined;
  /** The programs to use; those of the environment where absent. */
  readonly tools?: Tools | undefined;
}

/** A stream as the header describes it. */
export interface StreamInfo {
  readonly index: number;
  readonly kind: string;
  readonly codec: string | null;
  readonly chosen: boolean;
  readonly isDefault: boolean;
  /** A cover or thumbnail: never taken for the video. */
  readonly isPicture: boolean;
  readonly width: number | null;
  readonly height: number | null;
}

/** What the header claims of the chosen stream; nothing here is trusted. */
export interface Claims {
  /** avg_frame_rate and r_frame_rate; null where unset. */
  readonly rate: Rational | null;
  readonly nominalRate: Rational | null;
  readonly duration: Seconds | null;
  readonly containerDuration: Seconds | null;
  readonly frames: number | null;
  /** On the container's clock. */
  readonly startTime: Seconds | null;
  readonly containerStartTime: Seconds | null;
}

/** An opened video: a header read once. Holds nothing open. */
export interface VideoSource extends DecodeInput {
  readonly bytes: number;
  /** ffmpeg's name of the container: `mov,mp4,m4a,3gp,3g2,mj2`. */
  readonly container: string;
  readonly streams: readonly StreamInfo[];
  /** Which of the video streams it is, as `--stream` counts. */
  readonly streamNumber: number;
  readonly codec: string;
  readonly profile: string | null;
  readonly pixelFormat: string | null;
  readonly codedWidth: number;
  readonly codedHeight: number;
  /** Degrees, as the display matrix states it; 0 where there is none. */
  readonly rotation: number;
  /** Width of a pixel over its height, before rotation; 1/1 where unset or absurd. */
  readonly pixelAspect: Rational;
  readonly colour: {
    readonly range: string | null;
    readonly matrix: string | null;
    readonly transfer: string | null;
    readonly primaries: string | null;
  };
  readonly isHdr: boolean;
  readonly isInterlaced: boolean;
  readonly claimed: Claims;
}

const longestSide = 16384;
const mostPixels = 2 ** 28;

/**
 * Read the header of a video file and choose a stream. One start of ffprobe.
 *
 * @throws EgolensError input.not_found, input.not_a_file, input.unreadable, input.empty, input.not_a_video, decode.truncated,
 *   decode.no_video_stream, decode.unsupported_codec, decode.limit, tool.ffmpeg_missing, run.interrupted, decode.stalled
 */
export async function openVideo(path: string, options: OpenOptions = {}): Promise<VideoSource> {
  const bytes = await sizeOfFile(path);
  const tools = options.tools ?? (await findTools());
  const text: string[] = [];
  // The first packets come along: one of them says whether the stream is encrypted, which the header does not.
  const wanted = ['-show_format', '-show_streams', '-show_packets', '-read_intervals', '%+#8', '-of', 'json'];
  await runFfprobe(tools, path, wanted, (line) => text.push(line), options);
  return describe(path, bytes, tools, JSON.parse(text.join('\n')) as RawProbe, options.stream ?? 0);
}

async function sizeOfFile(path: string): Promise<number> {
  const name = basename(path);
  let info;
  try {
    info = await stat(path);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const isMissing = code === 'ENOENT' || code === 'ENOTDIR';
    throw new EgolensError(
      isMissing ? 'input.not_found' : 'input.unreadable',
      `\`${name}\`: ${isMissing ? 'no such file' : `cannot be read (${code ?? 'unknown reason'})`}`,
      { cause },
    );
  }
  if (!info.isFile()) {
    const what = info.isDirectory() ? 'a folder' : 'a special file';
    throw new EgolensError('input.not_a_file', `\`${name}\`: expected a video file, found ${what}`);
  }
  if (info.size === 0)
    throw new EgolensError('input.empty', `\`${name}\`: expected a video, found a file without bytes`);
  return info.size;
}

/** ffprobe's JSON, as far as it is looked at; every member may be missing. */
interface RawProbe {
  readonly format?: Readonly<Record<string, unknown>>;
  readonly streams?: readonly RawStream[];
  readonly packets?: readonly RawPacket[];
  readonly packets_and_frames?: readonly RawPacket[];
}
type RawStream = Readonly<Record<string, unknown>> & {
  readonly disposition?: Readonly<Record<string, unknown>>;
  readonly tags?: Readonly<Record<string, unknown>>;
  readonly side_data_list?: readonly Readonly<Record<string, unknown>>[];
};
interface RawPacket {
  readonly stream_index?: unknown;
  readonly side_data_list?: readonly { readonly side_data_type?: unknown }[];
}

const text = (value: unknown): string | null =>
  typeof value === 'string' && value !== '' && value !== 'unknown' && value !== 'N/A' ? value : null;
/** A finite number; ffprobe writes most of them as text. */
export const number = (value: unknown): number | null => {
  const n = typeof value === 'string' && value !== '' ? Number(value) : value;
  return typeof n === 'number' && Number.isFinite(n) ? n : null;
};
/** `30000/1001`, `4:3`; null for `0/0` and the like. */
function fraction(value: unknown): Rational | null {
  const match = typeof value === 'string' ? /^(\d{1,10})[/:](\d{1,10})$/.exec(value) : null;
  if (!match) return null;
  const [num, den] = [Number(match[1]), Number(match[2])];
  return num > 0 && den > 0 ? rational(num, den) : null;
}

/** Containers that only name other files: a stranger's list must not decide what is read, and its bytes do not identify the video. */
const playlists = new Set([
  'hls',
  'applehttp',
  'dash',
  'concat',
  'imf',
  'sdp',
  'webm_dash_manifest',
  'avisynth',
  'vapoursynth',
]);

function describe(path: string, bytes: number, tools: Tools, raw: RawProbe, choice: StreamChoice): VideoSource {
  const name = basename(path);
  const container = text(raw.format?.['format_name']) ?? 'unknown';
  // A text file with the suffix .txt or .ans is "decoded" as a terminal's screen.
  if (container === 'tty') throw new EgolensError('input.not_a_video', `\`${name}\`: expected a video, found text`);
  const playlist = container.split(',').find((format) => playlists.has(format));
  if (playlist !== undefined) {
    throw new EgolensError(
      'input.not_a_video',
      `\`${name}\`: expected a video, found a list of other files (${playlist})`,
      {
        try: 'give the files themselves',
      },
    );
  }
  const streams = raw.streams ?? [];
  const { stream, streamNumber } = chooseStream(name, streams, choice);
  const streamIndex = number(stream['index']) ?? 0;
  const codec = text(stream['codec_name']);
  if (codec === null || codec === 'none') {
    const tag = text(stream['codec_tag_string']) ?? 'unknown';
    throw new EgolensError('decode.unsupported_codec', `\`${name}\`: this ffmpeg does not know the codec \`${tag}\``);
  }
  const [codedWidth, codedHeight] = [number(stream['width']) ?? 0, number(stream['height']) ?? 0];
  if (codedWidth < 1 || codedHeight < 1) {
    throw new EgolensError('decode.no_frames', `\`${name}\`: no picture size could be read from the ${codec} stream`);
  }
  const warnings: Warning[] = [];
  const rotation = rotationOf(stream);
  const claimedAspect = fraction(stream['sample_aspect_ratio']) ?? rational(1);
  const isSquareish = claimedAspect.num <= 10 * claimedAspect.den && claimedAspect.den <= 10 * claimedAspect.num;
  if (!isSquareish) {
    warnings.push({
      code: 'data.invalid',
      message: `pixel aspect ${rationalText(claimedAspect)} is absurd; square pixels are assumed`,
    });
  }
  const pixelAspect = isSquareish ? claimedAspect : rational(1);
  const { width, height } = uprightSize(codedWidth, codedHeight, rotation, pixelAspect);
  checkSize(name, Math.max(width, codedWidth), Math.max(height, codedHeight));
  const transfer = text(stream['color_transfer']);
  const isHdr = transfer === 'smpte2084' || transfer === 'arib-std-b67';
  if (isHdr) {
    const curve = transfer === 'smpte2084' ? 'PQ' : 'HLG';
    warnings.push({ code: 'decode.hdr', message: `${curve} video: pixels are used without tone mapping` });
  }
  const rate = fraction(stream['avg_frame_rate']);
  const field = text(stream['field_order']);
  const startTime = number(stream['start_time']);
  const containerStartTime = number(raw.format?.['start_time']);
  const packets = [...(raw.packets ?? []), ...(raw.packets_and_frames ?? [])];
  const isEncrypted = packets.some(
    (packet) =>
      packet.stream_index === streamIndex &&
      (packet.side_data_list ?? []).some((side) => side.side_data_type === 'Encryption info'),
  );
  return {
    path,
    tools,
    bytes,
    container,
    streams: streams.map((each): StreamInfo => streamInfo(each, each === stream)),
    streamIndex,
    streamNumber,
    codec,
    profile: text(stream['profile']),
    pixelFormat: text(stream['pix_fmt']),
    codedWidth,
    codedHeight,
    rotation,
    pixelAspect,
    width,
    height,
    timeBase: fraction(stream['time_base']) ?? rational(1, 1_000_000),
    colour: {
      range: text(stream['color_range']),
      matrix: text(stream['color_space']),
      transfer,
      primaries: text(stream['color_primaries']),
    },
    isHdr,
    isInterlaced: field !== null && field !== 'progressive',
    isEncrypted,
    threads: decoderThreads(codedWidth, codedHeight),
    claimed: {
      rate,
      nominalRate: fraction(stream['r_frame_rate']),
      duration: number(stream['duration']),
      containerDuration: number(raw.format?.['duration']),
      frames: number(stream['nb_frames']),
      startTime,
      containerStartTime,
    },
    claimedRate: rate === null ? 0 : rate.num / rate.den,
    headerOffset: startTime === null || containerStartTime === null ? 0 : startTime - containerStartTime,
    warnings,
  };
}

function isPicture(stream: RawStream): boolean {
  return stream.disposition?.['attached_pic'] === 1 || stream.disposition?.['timed_thumbnails'] === 1;
}

function streamInfo(stream: RawStream, chosen: boolean): StreamInfo {
  return {
    index: number(stream['index']) ?? 0,
    kind: text(stream['codec_type']) ?? 'unknown',
    codec: text(stream['codec_name']),
    chosen,
    isDefault: stream.disposition?.['default'] === 1,
    isPicture: isPicture(stream),
    width: number(stream['width']),
    height: number(stream['height']),
  };
}

function chooseStream(
  name: string,
  streams: readonly RawStream[],
  choice: StreamChoice,
): { readonly stream: RawStream; readonly streamNumber: number } {
  const videos = streams.filter((stream) => stream['codec_type'] === 'video' && !isPicture(stream));
  if (videos.length === 0) {
    const kinds = streams.map((stream) => text(stream['codec_type']) ?? 'unknown').join(', ') || 'nothing';
    throw new EgolensError('decode.no_video_stream', `\`${name}\`: expected a video stream, found ${kinds}`);
  }
  // ffmpeg takes the largest picture, and prefers a stream that is marked default (ffmpeg's documented stream selection).
  const weight = (stream: RawStream): number =>
    (number(stream['width']) ?? 0) * (number(stream['height']) ?? 0) +
    (stream.disposition?.['default'] === 1 ? 5_000_000 : 0);
  const streamNumber =
    choice === 'best' ? videos.reduce((best, s, i) => (weight(s) > weight(videos[best]!) ? i : best), 0) : choice;
  const stream = videos[streamNumber];
  if (stream === undefined) {
    throw new EgolensError(
      'decode.no_video_stream',
      `\`${name}\`: no video stream ${streamNumber}; expected a number below ${videos.length}`,
    );
  }
  return { stream, streamNumber };
}

/** Side data, or the tag of older ffprobes. Any number of degrees is possible in a damaged file. */
function rotationOf(stream: RawStream): number {
  const side = (stream.side_data_list ?? []).find((each) => each['rotation'] !== undefined);
  return number(side?.['rotation']) ?? number(stream.tags?.['rotate']) ?? 0;
}

/** As ffmpeg's autorotation: quarter turns within a degree swap the sides, any other angle keeps the canvas. Then the width follows the pixel aspect. */
function uprightSize(
  codedWidth: number,
  codedHeight: number,
  rotation: number,
  aspect: Rational,
): { readonly width: number; readonly height: number } {
  const turned = ((rotation % 360) + 360) % 360;
  const isSideways = Math.abs(turned - 90) < 1 || Math.abs(turned - 270) < 1;
  const [w, h] = isSideways ? [codedHeight, codedWidth] : [codedWidth, codedHeight];
  const stretch = isSideways ? aspect.den / aspect.num : aspect.num / aspect.den;
  return { width: Math.max(1, Math.round(w * stretch)), height: h };
}

function checkSize(name: string, width: number, height: number): void {
  if (width <= longestSide && height <= longestSide && width * height <= mostPixels) return;
  throw new EgolensError(
    'decode.limit',
    `\`${name}\`: ${width}x${height} pixels; expected at most ${longestSide} a side and ${mostPixels} in all`,
  );
}

/** Reads `--stream`: a number or `best`. */
export function parseStreamChoice(value: string): StreamChoice {
  if (value === 'best') return 'best';
  if (/^\d{1,4}$/.test(value)) return Number(value);
  throw new EgolensError('usage.flag', `expected a stream number or \`best\`, found \`${value}\``);
}
