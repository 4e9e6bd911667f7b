/** Raw frames into a video file: the way back of `decode.ts`, through the same programs. */
import { spawn, type ChildProcess } from 'node:child_process';
import { basename } from 'node:path';
import type { Writable } from 'node:stream';
import { EgolensError } from '../errors.js';
import { consumeLines, fileUrl, watchChild, type RunLimits } from './ffmpeg.js';
import { collectMessages, exitText, type Exit, type MessageLog } from './messages.js';
import type { Tools } from './tools.js';

/** What the frames are and what becomes of them. */
export interface EncodeOptions {
  /** Pixels; even, as 4:2:0 colour needs. */
  readonly width: number;
  readonly height: number;
  /** Frames a second. */
  readonly fps: number;
  /** ffmpeg's name of the encoder. */
  readonly codec: EncoderName;
  readonly pixelFormat: 'yuv420p' | 'yuv420p10le';
  /** Filters before the encoder, as ffmpeg writes them. */
  readonly filters?: readonly string[];
  /** Time stamps as the filters leave them, instead of a constant rate. */
  readonly keepsTimes?: boolean;
}

export type EncoderName = 'libx264' | 'libx265';

/** A file that is being encoded. Disposing it before `finish` kills ffmpeg and waits for it; what it wrote is the caller's to remove. */
export interface Encoding extends AsyncDisposable {
  /** One frame: uint8 [height, width, 4], rgba. Resolves when ffmpeg has room for the next; the bytes may be used again then. */
  write(frame: Uint8Array | Uint8ClampedArray): Promise<void>;
  /** No more frames: resolves when the file is whole. */
  finish(): Promise<void>;
}

/**
 * Start encoding into `path` as mp4. One thread and no build names in the file, so that the same frames give the same bytes with the
 * same ffmpeg.
 *
 * @throws EgolensError tool.failed where ffmpeg cannot start or lacks the encoder; `write` and `finish` also limit.disk, run.interrupted, decode.stalled
 */
export async function startEncoding(
  tools: Tools,
  path: string,
  options: EncodeOptions,
  limits: RunLimits = {},
): Promise<Encoding> {
  const { width, height, fps, codec, pixelFormat, filters = [], keepsTimes = false } = options;
  const name = basename(path);
  // The script of one lifeline reads standard input itself and gives the program none.
  const channel = tools.lifeline === 'stdin' ? 4 : 0;
  const args = [
    ...['-hide_banner', '-nostats', '-loglevel', 'repeat+level+warning', '-y'],
    ...['-f', 'rawvideo', '-pix_fmt', 'rgba', '-video_size', `${width}x${height}`, '-framerate', String(fps)],
    ...['-i', `pipe:${channel}`],
    ...['-vf', [...filters, 'scale=out_color_matrix=bt709:out_range=tv', `format=${pixelFormat}`].join(',')],
    ...['-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709', '-color_range', 'tv'],
    ...(keepsTimes ? tools.passthrough : []),
    ...['-c:v', codec, ...codecOptions[codec], '-threads', '1'],
    ...['-fflags', '+bitexact', '-flags:v', '+bitexact', '-map_metadata', '-1', '-movflags', '+faststart'],
    ...['-f', 'mp4', fileUrl(path)],
  ];
  const child = spawn(tools.ffmpeg, args, {
    stdio: ['pipe', 'ignore', 'pipe', 'ignore', channel === 4 ? 'pipe' : 'ignore'],
    windowsHide: true,
  });
  const watch = watchChild(child, name, limits);
  if (child.pid === undefined) {
    await watch.gone;
    throw watch.failure() ?? new EgolensError('tool.failed', `\`${name}\`: ffmpeg could not be started`);
  }
  const messages = collectMessages();
  const told = consumeLines(child.stderr as NodeJS.ReadableStream, (line) => {
    messages.add(line);
  });
  const input = inputOf(child, channel);
  // A broken pipe is told by the exit of the process, which knows the reason.
  input.on('error', () => undefined);
  /** The end of a process that should not have ended yet, or not so. */
  const failed = async (): Promise<never> => {
    const exit = await watch.gone;
    await told;
    throw watch.failure() ?? encodeError(name, exit, messages.log(), codec);
  };
  let isOver = false;
  /** Ends the wait for a frame to be taken: by its last byte, or because nobody is there to take it. */
  let settle: (isTaken: boolean) => void = () => undefined;
  void watch.gone.then(() => {
    isOver = true;
    settle(false);
  });
  return {
    async write(frame) {
      if (isOver) await failed();
      watch.touch();
      const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
      watch.waiting(true);
      const isTaken = await new Promise<boolean>((done) => {
        settle = done;
        input.write(bytes, (error) => {
          done(error === null || error === undefined);
        });
      });
      watch.waiting(false);
      if (!isTaken) await failed();
    },
    async finish() {
      watch.waiting(true);
      input.end();
      const exit = await watch.gone;
      await told;
      if (watch.failure() !== undefined || exit.code !== 0) await failed();
    },
    async [Symbol.asyncDispose]() {
      watch.end(undefined);
      await watch.gone;
    },
  };
}

/** Quick, and without loss that an eye sees; the profile of decoders everywhere. */
const codecOptions: Readonly<Record<EncoderName, readonly string[]>> = {
  libx264: ['-preset', 'veryfast', '-crf', '20', '-g', '60'],
  libx265: [
    '-preset',
    'ultrafast',
    '-crf',
    '24',
    '-g',
    '60',
    '-tag:v',
    'hvc1',
    '-x265-params',
    'log-level=error:pools=none:frame-threads=1',
  ],
};

function inputOf(child: ChildProcess, channel: number): Writable {
  return child.stdio[channel] as Writable; // opened as a pipe
}

function encodeError(name: string, exit: Exit, log: MessageLog, codec: EncoderName): EgolensError {
  const message = `\`${name}\`: ${exitText('ffmpeg', exit, log)}`;
  if (log.tail.some((line) => /No space left/i.test(line))) {
    return new EgolensError('limit.disk', message, { retryable: true });
  }
  return new EgolensError('tool.failed', message, {
    try: `\`ffmpeg -h encoder=${codec}\` shows whether this build can write such files`,
  });
}

/** Which of these encoders this ffmpeg has, and the pixel formats that each takes. */
export async function knownEncoders(
  tools: Tools,
  signal?: AbortSignal,
): Promise<ReadonlyMap<EncoderName, ReadonlySet<string>>> {
  const known = new Map<EncoderName, ReadonlySet<string>>();
  for (const name of ['libx264', 'libx265'] as const) {
    const child = spawn(tools.ffmpeg, ['-hide_banner', '-h', `encoder=${name}`], {
      stdio: ['pipe', 'pipe', 'ignore'],
      windowsHide: true,
    });
    const watch = watchChild(child, 'ffmpeg', { signal, timeoutMs: 20_000 });
    if (child.pid === undefined) {
      await watch.gone;
      throw watch.failure() ?? new EgolensError('tool.failed', 'ffmpeg could not be started');
    }
    const lines: string[] = [];
    await consumeLines(child.stdout, (line) => lines.push(line));
    await watch.gone;
    const failure = watch.failure();
    if (failure !== undefined) throw failure;
    const formats = lines.find((line) => line.includes('Supported pixel formats:'));
    if (formats !== undefined)
      known.set(
        name,
        new Set(
          formats
            .replace(/.*formats:/, '')
            .trim()
            .split(/\s+/),
        ),
      );
  }
  return known;
}
