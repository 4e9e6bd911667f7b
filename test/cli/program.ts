import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, expect, onTestFinished } from 'vitest';
import { findings, isSchemaName, loadValidator } from '../../src/check.js';
import { packageRoot } from '../../src/files.js';
import { findTools } from '../../src/video/tools.js';

/** The real program in a process of its own, and what tests want to know of it. */

export const fixtures = join(packageRoot, 'fixtures');
export const videos = join(fixtures, 'videos');
/** Real clips beside the checkout; tests that need them are skipped where they are missing. */
export const sharedVideos = join(packageRoot, '..', 'shared', 'data', 'videos');
export const hasSharedVideos = existsSync(sharedVideos);
export const sharedGolden = join(packageRoot, '..', 'shared', 'golden');
/** For titles: why a test is skipped, or nothing. */
export const unlessShared = hasSharedVideos ? '' : ' (skipped: no ../shared/data/videos)';

const programFile = join(packageRoot, 'bin', 'run.js');
const cache = mkdtempSync(join(tmpdir(), 'egolens-cache-'));
afterAll(() => rm(cache, { recursive: true, force: true }));

export interface RunOptions {
  readonly cwd?: string;
  /** Added to the environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Standard input; closed where absent. */
  readonly input?: string | Uint8Array;
  /** Leave standard input open: the test writes to `child.stdin` itself. */
  readonly keepsInput?: boolean;
}

/** How a process ended: `status` is null when `signal` ended it. */
export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs. */
export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly pid: number;
  /** What it has written so far. */
  text(stream: 'stdout' | 'stderr'): string;
  /** Resolves when the stream holds the text; rejects when the program ends before that. */
  says(stream: 'stdout' | 'stderr', text: string): Promise<void>;
  /** Processes that it started, directly or not, and that are there now, itself apart. Linux only. */
  descendants(): readonly { readonly pid: number; readonly command: string }[];
  readonly ended: Promise<Ended>;
}

/** A folder for one test, removed with it. */
export async function workFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'egolens test '));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function environment(mark: string, options: RunOptions): NodeJS.ProcessEnv {
  const own = { EGOLENS_CACHE_DIR: cache, EGOLENS_TEST_MARK: mark, EGOLENS_DEVICE: undefined, DEBUG: undefined };
  const all = { ...process.env, ...own, ...options.env };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** Starts `node bin/run.js ARGS`. What is left of it goes when the test ends. */
export function start(args: readonly string[], options: RunOptions = {}): Running {
  const running = launch(args, options);
  onTestFinished(() => {
    running.child.kill('SIGKILL');
  });
  return running;
}

function launch(args: readonly string[], options: RunOptions): Running {
  const mark = randomUUID();
  const child = spawn(process.execPath, [programFile, ...args], {
    cwd: options.cwd ?? packageRoot,
    env: environment(mark, options),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => (said[stream] += text));
  }
  // A program that does not read its input closes it; that is its business.
  child.stdin.on('error', () => undefined);
  if (options.input !== undefined) child.stdin.write(options.input);
  if (options.keepsInput !== true) child.stdin.end();
  const ended = new Promise<Ended>((done) => {
    child.once('close', (status, signal) => done({ status, signal, ...said }));
  });
  return {
    child,
    pid: child.pid!, // spawn of node itself
    text: (stream) => said[stream],
    async says(stream, text) {
      let isOver = false;
      void ended.then(() => (isOver = true));
      await until(() => said[stream].includes(text) || isOver, `\`${text}\` on ${stream}`);
      expect(said[stream], `${stream} of a program that has ended`).toContain(text);
    },
    descendants: () => marked(mark).filter(({ pid }) => pid !== child.pid),
    ended,
  };
}

/** Runs `node bin/run.js ARGS` to its end; also in hooks. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return await launch(args, options).ended;
}

/** Runs a line of sh in which `egolens` is the program; for pipes and closed streams. */
export async function shell(line: string, options: RunOptions = {}): Promise<Ended> {
  const script = `egolens() { "${process.execPath}" "${programFile}" "$@"; }\n${line}`;
  const child = spawn('/bin/sh', ['-c', script], {
    cwd: options.cwd ?? packageRoot,
    env: environment(randomUUID(), options),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => (said[stream] += text));
  }
  return await new Promise((done) => {
    child.once('close', (status, signal) => done({ status, signal, ...said }));
  });
}

/** Processes whose environment carries the mark: also those whose parent is gone. */
function marked(mark: string): { pid: number; command: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (!readFileSync(`/proc/${name}/environ`, 'utf8').includes(mark)) return [];
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      // A process that has ended and waits for its parent has neither.
      return command === '' ? [] : [{ pid: Number(name), command }];
    } catch {
      return [];
    }
  });
}

/** Waits until a condition holds; fails after `limitMs`, which is for hangs, not a measurement. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  limitMs = 60_000,
): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms for ${what}`);
    await wait(5);
  }
}

/** One record of standard output. */
export type Row = Readonly<Record<string, unknown>>;

/** The lines of an ndjson text, each checked against the schema that it names. */
export async function records(text: string): Promise<Row[]> {
  const rows = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);
  for (const row of rows) {
    const name = String(row['schema']);
    if (!isSchemaName(name)) throw new Error(`no schema \`${name}\``);
    expect(findings(await loadValidator(name), row), JSON.stringify(row)).toEqual([]);
  }
  return rows;
}

/** Files below a folder: path with `/` -> SHA-256. The ledger, whose dates differ, is left out. */
export function filesBelow(folder: string): Record<string, string> {
  const files: Record<string, string> = {};
  const visit = (path: string): void => {
    for (const name of readdirSync(path).sort()) {
      const full = join(path, name);
      if (statSync(full).isDirectory()) visit(full);
      else if (name !== 'egolens-run.ndjson') {
        files[relative(folder, full)] = createHash('sha256').update(readFileSync(full)).digest('hex');
      }
    }
  };
  if (existsSync(folder)) visit(folder);
  return files;
}

/** Temporary files and locks below a folder. */
export function leftovers(folder: string): string[] {
  return Object.keys(filesBelow(folder)).filter((name) => /\.(tmp|lock|take|old)(\/|$)/.test(name));
}

/** Lines of the ledger of an output folder, checked against their schema. */
export async function ledgerLines(folder: string): Promise<Row[]> {
  return await records(readFileSync(join(folder, 'egolens-run.ndjson'), 'utf8'));
}

/** A folder with so many copies of one of our clips, and an output folder beside it that is not there yet. */
export async function folderOfVideos(count: number, video: string): Promise<{ input: string; output: string }> {
  const folder = await workFolder();
  const input = join(folder, 'in');
  await mkdir(input);
  for (let i = 0; i < count; i++) await cp(join(videos, video), join(input, `v${i}.mp4`));
  return { input, output: join(folder, 'out') };
}

function isDecoder({ command }: { readonly command: string }): boolean {
  return command.includes('rgb24');
}

/** An ffmpeg of the program decodes. */
export async function decodes(program: Running): Promise<void> {
  await until(() => program.descendants().some(isDecoder), 'an ffmpeg that decodes');
}

/** The ffmpeg that decoded has ended. */
export async function decoded(program: Running): Promise<void> {
  await decodes(program);
  await until(() => !program.descendants().some(isDecoder), 'the end of ffmpeg');
}

/** No process that the program started outlives it by more than 1.5 s. */
export async function nobodyLeft(program: Running): Promise<void> {
  await until(() => program.descendants().length === 0, 'the end of all children', 1500);
}

/** Runs to the end and watches the largest resident memory of the program itself, its children apart, in MiB. Linux only. */
export async function peakResident(running: Running): Promise<Ended & { readonly peak: number }> {
  let peak = 0;
  let ended: Ended | undefined;
  void running.ended.then((how) => (ended = how));
  await until(
    () => {
      try {
        const status = readFileSync(`/proc/${running.pid}/status`, 'utf8');
        peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024);
      } catch {
        // gone
      }
      return ended !== undefined;
    },
    'the end of the program',
    800_000,
  );
  return { ...(await running.ended), peak };
}

/** Environment with an ffmpeg that hangs instead of decoding where its arguments hold `text`. */
export async function hangingFfmpeg(folder: string, text: string): Promise<Record<string, string>> {
  const { ffmpegPath, ffprobePath } = await findTools();
  const program = join(folder, 'hanging');
  const script = `#!/bin/sh\ncase "$*" in *${text}*rawvideo*) exec sleep 600;; *) exec "${ffmpegPath}" "$@";; esac\n`;
  await writeFile(program, script, { mode: 0o755 });
  return { EGOLENS_FFMPEG: program, EGOLENS_FFPROBE: ffprobePath };
}
