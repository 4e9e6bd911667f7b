import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  access,
  chmod,
  constants,
  copyFile,
  lstat,
  mkdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { EgolensError } from '../errors.js';
import { cacheFolder } from '../files.js';

/** ffmpeg and ffprobe: where they are, which they are, and the script that ties each start of them to our life. */

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

async function fromVariables(environment: ToolEnvironment, variables: readonly string[]): Promise<string | undefined> {
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
  const temporary = `${target}.${randomUUID()}.tmp`;
  await copyFile(binary, temporary);
  await chmod(temporary, 0o755);
  await rename(temporary, target);
  return target;
}

/** A folder for scripts and copied programs: in the cache, else a private one under the temporary folder. */
export async function writableFolder(environment: ToolEnvironment): Promise<string | undefined> {
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
  const temporary = `${path}.${randomUUID()}.tmp`;
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

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
