import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, chmod, constants, copyFile, lstat, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { basename, delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import type { FfmpegCommand } from 'fluent-ffmpeg';
import { EgolensError, type ErrorCode } from '../errors.js';

/**
 * The one module that owns child processes. Whatever happens (end, failure, abort, a limit, SIGKILL to ourselves), no
 * ffmpeg outlives its use: every child is killed and waited for, and a small script ties it to the life of this process.
 */

// ---- finding the programs ----------------------------------------------------------------------------------------

/** How a child is tied to our life: Linux's parent-death signal, a watcher on its stdin pipe, or nothing. */
export type Lifeline = 'pdeathsig' | 'stdin' | 'none';

/** The two programs, found and tried. */
export interface Tools {
  /** What is started: our script, or the program itself where `lifeline` is `none`. */
  readonly ffmpeg: string;
  readonly ffprobe: string;
  /** The real programs, for reports. */
  readonly ffmpegPath: string;
  readonly ffprobePath: string;
  /** As ffmpeg calls itself: `5.1.9-0+deb12u1`, `N-47683-g0e8eb07980-static`. */
  readonly version: string;
  readonly ffprobeVersion: string;
  /** The option that keeps the stream's own frames: `-fps_mode` from 5.1 on, `-vsync` before (9.0 removed the latter). */
  readonly passthrough: readonly [option: string, value: string];
  readonly lifeline: Lifeline;
  /** What `doctor` should say: an old build, no lifeline. */
  readonly notes: readonly string[];
}

/** The environment variables that decide which programs are taken; process.env fits. */
export type ToolEnvironment = Readonly<Record<string, string | undefined>>;

const run = promisify(execFile);
const windows = process.platform === 'win32';
const toolVariables = ['EGOLENS_FFMPEG', 'EGOLENS_FFPROBE', 'FFMPEG_PATH', 'FFPROBE_PATH', 'PATH', 'EGOLENS_CACHE_DIR'];
// Versions are read once per set of paths: starting ffmpeg costs 50 ms, and a folder of videos asks for each file.
const found = new Map<string, Promise<Tools>>();

/**
 * ffmpeg and ffprobe: EGOLENS_FFMPEG/EGOLENS_FFPROBE, FFMPEG_PATH/FFPROBE_PATH, PATH (ffprobe beside ffmpeg too), then the
 * packages @ffmpeg-installer/ffmpeg and @ffprobe-installer/ffprobe where a user added them.
 *
 * @throws EgolensError tool.ffmpeg_missing, tool.failed when a program is there but does not run
 */
export function findTools(environment: ToolEnvironment = process.env): Promise<Tools> {
  const key = JSON.stringify(toolVariables.map((name) => environment[name] ?? null));
  let tools = found.get(key);
  if (tools === undefined) {
    tools = locateTools(environment);
    found.set(key, tools);
    tools.catch(() => found.delete(key));
  }
  return tools;
}

async function locateTools(environment: ToolEnvironment): Promise<Tools> {
  const folder = await writableFolder(environment);
  const ffmpegPath =
    (await fromVariables(environment, ['EGOLENS_FFMPEG', 'FFMPEG_PATH'])) ??
    (await onPath('ffmpeg', environment)) ??
    (await fromPackage('ffmpeg', folder));
  if (ffmpegPath === undefined) throw missing('ffmpeg');
  const ffprobePath =
    (await fromVariables(environment, ['EGOLENS_FFPROBE', 'FFPROBE_PATH'])) ??
    (await executable(join(dirname(ffmpegPath), programName('ffprobe')))) ??
    (await onPath('ffprobe', environment)) ??
    (await fromPackage('ffprobe', folder));
  if (ffprobePath === undefined) throw missing('ffprobe');
  const launcher = await lifelineFor(folder, environment);
  const [ffmpeg, ffprobe] = await Promise.all([launcher.wrap(ffmpegPath), launcher.wrap(ffprobePath)]);
  const [version, ffprobeVersion] = await Promise.all([readVersion(ffmpeg), readVersion(ffprobe)]);
  const modern = await knowsFpsMode(ffmpeg, version);
  const notes = [...launcher.notes];
  if (!modern) notes.push(`ffmpeg ${version} is older than 5.1, the oldest version supported; it is used all the same`);
  return {
    ffmpeg,
    ffprobe,
    ffmpegPath,
    ffprobePath,
    version,
    ffprobeVersion,
    passthrough: [modern ? '-fps_mode' : '-vsync', 'passthrough'],
    lifeline: launcher.lifeline,
    notes,
  };
}

function missing(name: string): EgolensError {
  const install =
    process.platform === 'darwin'
      ? 'brew install ffmpeg'
      : windows
        ? 'winget install Gyan.FFmpeg'
        : 'apt install ffmpeg';
  return new EgolensError(
    'tool.ffmpeg_missing',
    `\`${name}\` was not found in EGOLENS_${name.toUpperCase()}, ${name.toUpperCase()}_PATH or PATH`,
    { try: `\`${install}\`, or \`npm install @ffmpeg-installer/ffmpeg @ffprobe-installer/ffprobe\`` },
  );
}

function programName(name: string): string {
  return windows ? `${name}.exe` : name;
}

/** The absolute path when something executable lies there. */
async function executable(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile() ? resolve(path) : undefined;
  } catch {
    return undefined;
  }
}

async function onPath(name: string, environment: ToolEnvironment): Promise<string | undefined> {
  for (const folder of (environment['PATH'] ?? '').split(delimiter)) {
    // A relative entry would make the program depend on the folder we stand in.
    if (!isAbsolute(folder)) continue;
    const path = await executable(join(folder, programName(name)));
    if (path !== undefined) return path;
  }
  return undefined;
}

async function fromVariables(
  environment: ToolEnvironment,
  variables: readonly string[],
): Promise<string | undefined> {
  for (const variable of variables) {
    const value = environment[variable];
    if (value === undefined || value === '') continue;
    const path = /[\\/]/.test(value) ? await executable(value) : await onPath(value, environment);
    if (path !== undefined) return path;
    throw new EgolensError('tool.ffmpeg_missing', `${variable} is \`${value}\`, where no program is`, {
      try: `correct ${variable}, or unset it to search PATH`,
    });
  }
  return undefined;
}

/** The binary inside an installer package; copied into the cache folder when its executable bit is missing. */
async function fromPackage(name: 'ffmpeg' | 'ffprobe', folder: string | undefined): Promise<string | undefined> {
  let binary: string;
  try {
    // Resolved, never loaded: loading the package looks for its binary and throws.
    const entry = createRequire(import.meta.url).resolve(`@${name}-installer/${name}`);
    const manifest = `@${name}-installer/${process.platform}-${process.arch}/package.json`;
    binary = join(dirname(createRequire(entry).resolve(manifest)), programName(name));
  } catch {
    return undefined;
  }
  const ready = await executable(binary);
  if (ready !== undefined || folder === undefined) return ready;
  const info = await stat(binary).catch(() => undefined);
  if (info === undefined) return undefined;
  const target = join(folder, `${name}-${info.size}-${Math.floor(info.mtimeMs)}`);
  if ((await executable(target)) !== undefined) return target;
  const temporary = `${target}.${process.pid}.tmp`;
  await copyFile(binary, temporary);
  await chmod(temporary, 0o755);
  await rename(temporary, target);
  return target;
}

/** `EGOLENS_CACHE_DIR`, else the platform's cache folder + `egolens`. */
export function cacheFolder(environment: ToolEnvironment = process.env): string {
  const own = environment['EGOLENS_CACHE_DIR'];
  if (own !== undefined && own !== '') return resolve(own);
  const home = homedir();
  if (process.platform === 'darwin') return join(home, 'Library', 'Caches', 'egolens');
  if (windows) return join(environment['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'egolens');
  const xdg = environment['XDG_CACHE_HOME'];
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, '.cache'), 'egolens');
}

/** A folder for scripts and copied programs: in the cache, else a private one under the temporary folder. */
async function writableFolder(environment: ToolEnvironment): Promise<string | undefined> {
  const user = process.getuid?.() ?? 0;
  for (const folder of [join(cacheFolder(environment), 'run'), join(tmpdir(), `egolens-${user}`)]) {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      // In a shared temporary folder somebody else may own that name: what we start from there must be ours.
      const info = await lstat(folder);
      if (!info.isDirectory() || (!windows && info.uid !== user)) continue;
      await access(folder, constants.W_OK);
      return folder;
    } catch {
      // the next one
    }
  }
  return undefined;
}

// ---- no orphans --------------------------------------------------------------------------------------------------

interface Launcher {
  readonly lifeline: Lifeline;
  readonly notes: readonly string[];
  /** What to start in place of `program`. */
  wrap(program: string): Promise<string>;
}

/** `'it'\''s'`: one word for sh. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The script that ends in `exec` of the program, so that pid, exit code and kill() stay the program's.
 * `pdeathsig`: the kernel kills the program when the thread that started it ends (start from the main thread).
 * `stdin`: a background subshell keeps the pipe that is stdin and, on end-of-file, kills the script's own pid.
 */
export function lifelineScript(lifeline: 'pdeathsig' | 'stdin', program: string, setpriv = 'setpriv'): string {
  const head = '#!/bin/sh\n# egolens: this program must not outlive the process that started it\n';
  if (lifeline === 'pdeathsig') return `${head}exec ${quoted(setpriv)} --pdeathsig KILL -- ${quoted(program)} "$@"\n`;
  return `${head}exec 3<&0\n( while read -r line; do :; done; kill -KILL $$ ) <&3 >/dev/null 2>&1 &\nexec ${quoted(program)} "$@" 3<&- </dev/null\n`;
}

async function lifelineFor(folder: string | undefined, environment: ToolEnvironment): Promise<Launcher> {
  const none = (why: string): Launcher => ({
    lifeline: 'none',
    notes: [`no lifeline for ffmpeg (${why}): it may outlive egolens when egolens is killed hard`],
    wrap: (program) => Promise.resolve(program),
  });
  if (windows) return none('Windows');
  if (folder === undefined) return none('no folder to write to');
  const setpriv = process.platform === 'linux' ? await onPath('setpriv', environment) : undefined;
  // Asked by use: the small setpriv of busybox has no such option.
  const kernel =
    setpriv !== undefined && (await succeeds(setpriv, ['--pdeathsig', 'KILL', '--', '/bin/sh', '-c', 'exit 0']));
  for (const lifeline of kernel ? (['pdeathsig', 'stdin'] as const) : (['stdin'] as const)) {
    // A folder mounted without execution refuses every script; then the program itself is started.
    const probe = await writeScript(folder, lifelineScript(lifeline, '/bin/sh', setpriv));
    if (!(await succeeds(probe, ['-c', 'exit 0']))) continue;
    return {
      lifeline,
      notes: [],
      wrap: (program) => writeScript(folder, lifelineScript(lifeline, program, setpriv)),
    };
  }
  return none('scripts cannot be started from the cache folder');
}

async function succeeds(program: string, parameters: readonly string[]): Promise<boolean> {
  return await run(program, [...parameters], { timeout: 20_000 }).then(
    () => true,
    () => false,
  );
}

/** The script's path. Its name does not hold the program's, so that people who count ffmpeg processes count none of ours twice. */
async function writeScript(folder: string, text: string): Promise<string> {
  const path = join(folder, `tied-${createHash('sha256').update(text).digest('hex').slice(0, 12)}`);
  if ((await readFile(path, 'utf8').catch(() => '')) === text && (await executable(path)) !== undefined) return path;
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, text, { mode: 0o700 });
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  return path;
}

async function readVersion(program: string): Promise<string> {
  try {
    const { stdout } = await run(program, ['-version'], { timeout: 20_000, windowsHide: true });
    return /^ff\w+ version (\S+)/.exec(stdout)?.[1] ?? 'unknown';
  } catch (cause) {
    throw new EgolensError('tool.failed', `\`${program}\` does not start: ${lastLine(String(cause))}`, {
      cause,
      try: 'run `egolens doctor`',
    });
  }
}

/** `-fps_mode` exists from 5.1 on. Release builds say so; git builds (`N-47683-…` of 2018 among them) are asked. */
async function knowsFpsMode(program: string, version: string): Promise<boolean> {
  const release = /^n?(\d+)\.(\d+)/.exec(version);
  if (release) return Number(release[1]) > 5 || (Number(release[1]) === 5 && Number(release[2]) >= 1);
  const { stdout } = await run(program, ['-hide_banner', '-h', 'long'], { maxBuffer: 2 ** 24, timeout: 20_000 });
  return stdout.includes('-fps_mode');
}

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

/** What a child said on standard error, bounded; levels as ffmpeg states them (`-loglevel level+…`). */
export interface MessageLog {
  /** Lines of level error, fatal and panic. */
  readonly errorCount: number;
  /** The first of them, without the addresses of ffmpeg's objects. */
  readonly firstErrors: readonly string[];
  /** The last lines of level warning and above. */
  readonly tail: readonly string[];
}

const keptLines = 24;
const keptChars = 500;

/** `[mov @ 0x55] [error] text` -> its level and `[mov] text`; lines without a level are of level `error` for a program that prints errors only. */
export function parseLogLine(line: string): { readonly level: string; readonly text: string } {
  const match = /^((?:\[[^\]]* @ [^\]]*\] )*)\[(panic|fatal|error|warning|info|verbose|debug|trace)\] (.*)$/s.exec(line);
  if (!match) return { level: 'info', text: line };
  return { level: match[2]!, text: match[1]!.replace(/ @ [^\]]*/g, '') + match[3]! };
}

function collectMessages(): { add(line: string): string; log(): MessageLog } {
  let errorCount = 0;
  const firstErrors: string[] = [];
  const tail: string[] = [];
  return {
    add(line) {
      const { level, text } = parseLogLine(line);
      const short = text.slice(0, keptChars);
      const bad = level === 'error' || level === 'fatal' || level === 'panic';
      if (bad) {
        errorCount++;
        if (firstErrors.length < keptLines) firstErrors.push(short);
      }
      if (bad || level === 'warning') {
        tail.push(short);
        if (tail.length > keptLines) tail.shift();
      }
      return level === 'info' ? text : '';
    },
    log: () => ({ errorCount, firstErrors: [...firstErrors], tail: [...tail] }),
  };
}

interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Limits and the end of one child. */
interface Watch {
  /** Settles when the process is gone, never rejects. */
  readonly gone: Promise<Exit>;
  /** Why we ended it, or why it could not start. */
  failure(): EgolensError | undefined;
  /** Kill it; the first reason is kept. */
  end(reason: EgolensError | undefined): void;
  /** It showed life. */
  touch(): void;
  /** The stall limit runs only while somebody waits for the child. */
  waiting(active: boolean): void;
}

function watchChild(child: ChildProcess, name: string, limits: RunLimits): Watch {
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
    touch() {
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
  // stdin stays an open pipe: it is the lifeline of the script's second form.
  const child = spawn(tools.ffprobe, args, { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true });
  const watch = watchChild(child, name, limits);
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
  if (exit.code !== 0) throw classifiedError(name, 'ffprobe', exit, log);
  return { messages: log };
}

function consumeLines(stream: NodeJS.ReadableStream, onLine: (line: string) => void): Promise<void> {
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
  options: { readonly input: readonly string[]; readonly output: readonly string[] },
  onInfo: (text: string) => void,
  limits: RunLimits = {},
): Promise<FfmpegRun> {
  const name = basename(path);
  const { default: ffmpeg } = await import('fluent-ffmpeg');
  const messages = collectMessages();
  const pipe = bytePipe();
  const command = ffmpeg({ source: fileUrl(path), stdoutLines: keptLines });
  skipCapabilityChecks(command);
  command.setFfmpegPath(tools.ffmpeg);
  command.inputOptions([
    ...['-nostdin', '-hide_banner', '-nostats', '-loglevel', 'repeat+level+info'],
    ...inputGuard,
    ...options.input,
  ]);
  command.outputOptions([...options.output]);
  let watch: Watch | undefined;
  command.on('stderr', (line: string) => {
    watch?.touch();
    const text = messages.add(line);
    if (text !== '') onInfo(text);
  });
  // Resolves on `end` and on `error`, never on the stream's end: a stream ends normally even when ffmpeg failed.
  const settled = new Promise<void>((done) => {
    command.once('end', () => {
      done();
    });
    // A listener for good: a second `error` without one would end our process.
    command.on('error', () => {
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
  if (child === undefined) throw new EgolensError('tool.failed', `\`${name}\`: ffmpeg could not be started`);
  watch = watchChild(child, name, limits);
  const life = watch;
  pipe.onBytes(() => {
    life.touch();
  });
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
        error: exit.code === 0 ? undefined : classifiedError(name, 'ffmpeg', exit, log),
      };
    },
    async [Symbol.asyncDispose]() {
      pipe.discard();
      life.end(undefined);
      await whole;
    },
  };
}

/**
 * Private API of fluent-ffmpeg 2.1.3, in this one place: before each command the library runs `ffmpeg -formats` and
 * `-encoders` to check names that we never give it. Costs 30 to 500 ms, and refuses lavfi from 7.1 on.
 */
export function skipCapabilityChecks(command: FfmpegCommand): void {
  const inner = command as unknown as Record<
    '_checkCapabilities' | 'availableEncoders',
    (callback: (error: null, value?: object) => void) => void
  >;
  inner._checkCapabilities = (callback) => {
    callback(null);
  };
  inner.availableEncoders = (callback) => {
    callback(null, {});
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

// ---- what went wrong ---------------------------------------------------------------------------------------------

/** Wordings of ffmpeg 2018 to 9.0, the more telling first. Exit codes differ between versions and say nothing. */
const wordings: readonly (readonly [RegExp, ErrorCode])[] = [
  [/cannot allocate memory|std::bad_alloc/i, 'limit.memory'],
  // Text and noise with a video's suffix: the mov demuxer is tried on the suffix alone and misses its index.
  [/detected only with low score/i, 'input.not_a_video'],
  [/moov atom not found/i, 'decode.truncated'],
  [/decryption key|is encrypted|encrypted stream|Unable to decrypt|Incorrect.*decryption/i, 'decode.encrypted'],
  [
    /matches no streams|does not contain any stream|no streams? (?:was|were) found|Output file .* contains no stream/i,
    'decode.no_video_stream',
  ],
  [
    /no decoder found|decoder (?:\(codec [^)]*\) )?not found|unknown decoder|unsupported codec|Decoding requested, but/i,
    'decode.unsupported_codec',
  ],
  [/No such file or directory/i, 'input.not_found'],
  [/Permission denied/i, 'input.unreadable'],
  [/Picture size \S+ is invalid|image size is invalid|dimensions too large/i, 'decode.limit'],
  [/EBML header parsing failed|could not find codec parameters/i, 'input.not_a_video'],
  [/Invalid data found when processing input|Invalid argument.*Error opening input|End of file/i, 'input.not_a_video'],
];

/** The stable code for what ffmpeg said; `decode.failed` when nothing is known about it. */
export function classifyMessages(lines: readonly string[]): ErrorCode {
  return wordings.find(([pattern]) => lines.some((line) => pattern.test(line)))?.[1] ?? 'decode.failed';
}

const hints: Partial<Record<ErrorCode, string>> = {
  'decode.truncated': 'copy the file again; a recording that was cut off may be repaired by tools for its camera',
  'decode.unsupported_codec': 'use a newer ffmpeg: `egolens doctor` says which one is used',
  'decode.encrypted': 'the video needs a licence that ffmpeg does not have',
};

/** Does a message say that the file ends too early? (Matroska, mp4 with its index in front, others) */
export function saysTruncated(lines: readonly string[]): boolean {
  return lines.some((line) => /file ended prematurely|: partial file/i.test(line));
}

function classifiedError(name: string, program: string, exit: Exit, log: MessageLog): EgolensError {
  const code = exit.signal === null ? classifyMessages([...log.firstErrors, ...log.tail]) : 'decode.failed';
  const how = exit.signal === null ? `exit ${exit.code}` : exit.signal;
  const said = log.tail.at(-1) ?? log.firstErrors.at(-1);
  const hint = hints[code];
  return new EgolensError(code, `\`${name}\`: ${program} stopped (${how})${said === undefined ? '' : `: ${said}`}`, {
    ...(hint === undefined ? {} : { try: hint }),
    ...(exit.signal === null ? {} : { retryable: true }),
  });
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
