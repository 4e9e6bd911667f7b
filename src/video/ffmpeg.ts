import { spawn, type ChildProcess } from 'node:child_process';
import { basename, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import type { FfmpegCommand } from 'fluent-ffmpeg';
import { EgolensError } from '../errors.js';
import { collectMessages, exitError, keptLines, type Exit, type MessageLog } from './messages.js';
import type { Tools } from './tools.js';
import { announceRun } from './trace.js';

/**
 * The one module that runs ffmpeg and ffprobe, through fluent-ffmpeg and beside it. Whatever happens (end, failure, abort, a
 * limit), no child outlives its use: it is killed and waited for; against SIGKILL to ourselves there is the lifeline of tools.ts.
 * Start runs from the main thread: the kernel's parent-death signal fires when the *thread* that started a child ends.
 */

// ---- one child ---------------------------------------------------------------------------------------------------

/** What ends a child early. */
export interface RunLimits {
  readonly signal?: AbortSignal | undefined;
  /** No byte for so long while we wait for one ends the child with `decode.stalled`. */
  readonly stallTimeoutMs?: number | undefined;
  /** The whole run may last so long, else `limit.time`. */
  readonly timeoutMs?: number | undefined;
}

export const defaultStallTimeoutMs = 60_000;

/** Limits and the end of one child. */
export interface Watch {
  /** Settles when the process is gone, never rejects. */
  readonly gone: Promise<Exit>;
  /** Why we ended it, or why it could not start. */
  failure(): EgolensError | undefined;
  /** Kill it; the first reason is kept. */
  end(reason: EgolensError | undefined): void;
  /** It showed life. */
  readonly touch: () => void;
  /** The stall limit runs only while somebody waits for the child. */
  waiting(active: boolean): void;
}

/** Watches a child that was just started. */
export function watchChild(child: ChildProcess, name: string, limits: RunLimits): Watch {
  const stallMs = limits.stallTimeoutMs ?? defaultStallTimeoutMs;
  let failure: EgolensError | undefined;
  let isGone = false;
  let isWaiting = false;
  let lastSign = Date.now();
  const end = (reason: EgolensError | undefined): void => {
    if (isGone) return;
    failure ??= reason;
    // Nothing of ffmpeg's is worth a farewell: it writes into our pipe only.
    child.kill('SIGKILL');
  };
  const gone = new Promise<Exit>((settle) => {
    child.once('exit', (code, signal) => {
      settle({ code, signal });
    });
    child.once('error', (cause) => {
      if (child.pid !== undefined) return;
      failure ??= new EgolensError('tool.failed', `ffmpeg could not be started: ${cause.message}`, { cause });
      settle({ code: null, signal: null });
    });
  });
  const onAbort = (): void => {
    end(new EgolensError('run.interrupted', `\`${name}\`: interrupted`, { cause: limits.signal?.reason }));
  };
  limits.signal?.addEventListener('abort', onAbort, { once: true });
  const stallTimer = setInterval(
    () => {
      if (!isWaiting || Date.now() - lastSign < stallMs) return;
      end(
        new EgolensError('decode.stalled', `\`${name}\`: ffmpeg gave nothing for ${stallMs / 1000} s`, {
          retryable: true,
        }),
      );
    },
    Math.min(1000, Math.max(10, stallMs / 4)),
  );
  const totalTimer =
    limits.timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          end(new EgolensError('limit.time', `\`${name}\`: the limit of ${limits.timeoutMs! / 1000} s was reached`));
        }, limits.timeoutMs);
  void gone.then(() => {
    isGone = true;
    clearInterval(stallTimer);
    clearTimeout(totalTimer);
    limits.signal?.removeEventListener('abort', onAbort);
  });
  if (limits.signal?.aborted === true) onAbort();
  return {
    gone,
    end,
    failure: () => failure,
    touch: () => {
      lastSign = Date.now();
    },
    waiting(active) {
      if (active && !isWaiting) lastSign = Date.now();
      isWaiting = active;
    },
  };
}

/** A local file for ffmpeg: no colon is a protocol, no dash an option. */
export function fileUrl(path: string): string {
  return `file:${resolve(path)}`;
}

/** Options before `-i`: local files and pipes only, whatever a playlist inside the file says. */
const inputGuard = ['-protocol_whitelist', 'file,pipe'] as const;

/** What ffprobe printed, when it ended well. */
export interface ProbeOutput {
  readonly messages: MessageLog;
}

/**
 * ffprobe on one file, `onLine` called for each line of its output. Started directly: the library's ffprobe has no kill.
 *
 * @throws EgolensError with the classified code; run.interrupted, decode.stalled, limit.time
 */
export async function runFfprobe(
  tools: Tools,
  path: string,
  options: readonly string[],
  onLine: (line: string) => void,
  limits: RunLimits = {},
): Promise<ProbeOutput> {
  const name = basename(path);
  const args = ['-hide_banner', '-loglevel', 'repeat+level+warning', ...inputGuard, ...options, fileUrl(path)];
  announceRun('ffprobe', args);
  // stdin stays an open pipe: it is the lifeline of the script's second form.
  const child = spawn(tools.ffprobe, args, { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true });
  const watch = watchChild(child, name, limits);
  if (child.pid === undefined) {
    await watch.gone;
    throw watch.failure() ?? new EgolensError('tool.failed', `\`${name}\`: ffprobe could not be started`);
  }
  watch.waiting(true);
  const messages = collectMessages();
  const closed = [
    consumeLines(child.stdout, (line) => {
      watch.touch();
      onLine(line);
    }),
    consumeLines(child.stderr, (line) => {
      watch.touch();
      messages.add(line);
    }),
  ];
  const exit = await watch.gone;
  await Promise.all(closed);
  const failure = watch.failure();
  if (failure !== undefined) throw failure;
  const log = messages.log();
  if (exit.code !== 0) throw exitError(name, 'ffprobe', exit, log);
  return { messages: log };
}

/** Each line of a stream; resolves when it is closed. */
export function consumeLines(stream: NodeJS.ReadableStream, onLine: (line: string) => void): Promise<void> {
  return new Promise((done) => {
    const lines = createInterface({ input: stream, crlfDelay: Infinity });
    lines.on('line', onLine);
    lines.once('close', done);
  });
}

/** One run of ffmpeg whose standard output is read as bytes. Disposing it kills and waits. */
export interface FfmpegRun extends AsyncDisposable {
  /** Fill `target`; resolves to the bytes got, fewer than asked only at the end of the output. Rejects when the run was ended by a limit or an abort. */
  read(target: Uint8Array): Promise<number>;
  /** Wait for the process; how it ended is in `exit`, a reason of our own rejects. */
  finish(): Promise<FfmpegResult>;
  /** So far. */
  messages(): MessageLog;
  /** Settles when the process is gone and all its output is in; never rejects. */
  readonly over: Promise<void>;
}
export interface FfmpegResult {
  readonly messages: MessageLog;
  /** The error that the exit means; undefined for a good end. */
  readonly error: EgolensError | undefined;
  /** Killed by somebody else (an out-of-memory killer, a person). */
  readonly killed: boolean;
}

/**
 * Start ffmpeg on one file with raw bytes on its output pipe. Back-pressure: while nobody reads, at most about 128 KiB wait here.
 *
 * @param onInfo each line of level info, as it arrives, without prefix: what the `metadata` filter prints
 */
export async function startFfmpeg(
  tools: Tools,
  path: string,
  options: {
    readonly input: readonly string[];
    readonly output: readonly string[];
    /** Still pictures (PGM) as further inputs, 1 and up. */
    readonly maps?: readonly string[];
  },
  onInfo: (text: string) => void,
  limits: RunLimits = {},
): Promise<FfmpegRun> {
  const name = basename(path);
  const { default: ffmpeg } = await import('fluent-ffmpeg');
  const messages = collectMessages();
  const pipe = bytePipe();
  const command = ffmpeg({ source: fileUrl(path), stdoutLines: keptLines });
  adjustCommand(command);
  command.setFfmpegPath(tools.ffmpeg);
  command.inputOptions([
    ...['-nostdin', '-hide_banner', '-nostats', '-loglevel', 'repeat+level+info'],
    ...inputGuard,
    ...options.input,
  ]);
  for (const map of options.maps ?? []) command.input(fileUrl(map)).inputOptions([...inputGuard, '-f', 'pgm_pipe']);
  command.outputOptions([...options.output]);
  let touch: () => void = () => undefined;
  command.on('stderr', (line: string) => {
    touch();
    const text = messages.add(line);
    if (text !== '') onInfo(text);
  });
  // Resolves on `end` and on `error`, never on the stream's end: a stream ends normally even when ffmpeg failed.
  let startError: Error | undefined;
  const settled = new Promise<void>((done) => {
    command.once('end', () => {
      done();
    });
    // A listener for good: a second `error` without one would end our process.
    command.on('error', (error: Error) => {
      startError ??= error;
      done();
    });
  });
  const started = new Promise<ChildProcess | undefined>((done) => {
    command.once('start', () => {
      done((command as FfmpegCommand & { readonly ffmpegProc?: ChildProcess }).ffmpegProc);
    });
    void settled.then(() => {
      done(undefined);
    });
  });
  command.output(pipe.sink, { end: true }).run();
  const child = await started;
  if (child?.pid === undefined) {
    await settled;
    throw new EgolensError('tool.failed', `ffmpeg could not be started: ${startError?.message ?? 'no reason known'}`, {
      cause: startError,
    });
  }
  const life = watchChild(child, name, limits);
  touch = life.touch;
  pipe.onBytes(touch);
  const whole = Promise.all([life.gone, settled, pipe.ended]);
  void life.gone.then(() => {
    if (life.failure() !== undefined) pipe.discard();
  });
  return {
    messages: () => messages.log(),
    over: whole.then(() => undefined),
    async read(target) {
      life.waiting(true);
      try {
        const got = await pipe.read(target);
        if (got < target.length && life.failure() !== undefined) {
          await whole;
          throw life.failure()!;
        }
        return got;
      } finally {
        life.waiting(false);
      }
    },
    async finish() {
      life.waiting(true);
      const [exit] = await whole;
      const failure = life.failure();
      if (failure !== undefined) throw failure;
      const log = messages.log();
      const killed = exit.signal !== null;
      return {
        messages: log,
        killed,
        error: exit.code === 0 ? undefined : exitError(name, 'ffmpeg', exit, log),
      };
    },
    async [Symbol.asyncDispose]() {
      pipe.discard();
      life.end(undefined);
      await whole;
    },
  };
}

type Ring = { readonly get: () => string } | undefined;
type EndCallback = (error: Error | null, stdout?: Ring, stderr?: Ring) => void;
/** What is replaced on a command object. */
interface PrivateCommand {
  _checkCapabilities(callback: (error: null) => void): void;
  availableEncoders(callback: (error: null, encoders: object) => void): void;
  _spawnFfmpeg(args: string[], options: object, onProcess: unknown, onEnd: EndCallback): void;
}

/**
 * Private API of fluent-ffmpeg 2.1.3, in this one place.
 * Before each command the library runs `ffmpeg -formats` and `-encoders` to check names that we never give it: 30 to 500 ms, and
 * lavfi refused from 7.1 on. And where a process cannot be started it reads the output of the process that is not there, in an
 * event handler, which would end our own process.
 */
export function adjustCommand(command: FfmpegCommand): void {
  const inner = command as unknown as PrivateCommand;
  inner._checkCapabilities = (callback) => {
    callback(null);
  };
  inner.availableEncoders = (callback) => {
    callback(null, {});
  };
  const start = inner._spawnFfmpeg.bind(inner);
  const silence: Ring = { get: () => '' };
  inner._spawnFfmpeg = (args, options, onProcess, onEnd) => {
    announceRun('ffmpeg', args);
    const end: EndCallback = (error, stdout, stderr) => {
      onEnd(error, stdout ?? silence, stderr ?? silence);
    };
    try {
      start(args, options, onProcess, end);
    } catch (error) {
      end(error as Error);
    }
  };
}

/** A sink that hands its bytes to one reader, with back-pressure. */
function bytePipe(): {
  readonly sink: Writable;
  readonly ended: Promise<void>;
  read(target: Uint8Array): Promise<number>;
  discard(): void;
  onBytes(listener: () => void): void;
} {
  let chunk: Uint8Array | undefined;
  let offset = 0;
  let release: (() => void) | undefined;
  let wake: (() => void) | undefined;
  let finished = false;
  let discarding = false;
  let listener: () => void = () => undefined;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((done) => (end = done));
  const sink = new Writable({
    // No `close` event: the library takes it for a reader that went away and kills ffmpeg 20 ms later.
    autoDestroy: false,
    emitClose: false,
    write(data: Uint8Array, _encoding, callback) {
      listener();
      if (discarding) {
        callback();
        return;
      }
      chunk = data;
      offset = 0;
      release = callback;
      wake?.();
    },
    final(callback) {
      finished = true;
      callback();
      wake?.();
      end();
    },
  });
  return {
    sink,
    ended,
    onBytes(next) {
      listener = next;
    },
    async read(target) {
      let filled = 0;
      while (filled < target.length) {
        if (chunk === undefined) {
          if (finished || discarding) break;
          await new Promise<void>((done) => (wake = done));
          wake = undefined;
          continue;
        }
        const count = Math.min(chunk.length - offset, target.length - filled);
        target.set(offset === 0 && count === chunk.length ? chunk : chunk.subarray(offset, offset + count), filled);
        filled += count;
        offset += count;
        if (offset === chunk.length) {
          chunk = undefined;
          // The next chunk may arrive inside this call.
          const next = release;
          release = undefined;
          next?.();
        }
      }
      return filled;
    },
    discard() {
      discarding = true;
      chunk = undefined;
      const next = release;
      release = undefined;
      next?.();
      wake?.();
    },
  };
}
