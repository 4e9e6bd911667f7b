import { createWriteStream } from 'node:fs';
import { lstat, mkdtemp, open, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, extname, join, relative, resolve, sep } from 'node:path';
import { addAbortSignal, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { minimatch } from 'minimatch';
import { EgolensError, asEgolensError } from '../errors.js';
import { hostId } from '../features/locks.js';
import type { TimeBase } from '../features/store.js';
import { seededRandom } from '../random.js';
import { isQuestion } from '../text/questions.js';
import type { Progress, Seconds } from '../types.js';
import type { AnchorTimes } from '../video/windows.js';
import type { Ego4dSelection } from './ego4d-inputs.js';

/** One video to work on, or the reason why an argument is none. */
export interface InputItem {
  /** As the user gave it, or as found below a folder that the user gave. */
  readonly input: string;
  /** Absolute path. */
  readonly path: string;
  /** Folder below the argument in which it was found; empty for a file argument. */
  readonly relpath: string;
  /** Stem of the output's name, where a list gives one as `id`. */
  readonly name?: string;
  readonly start?: Seconds;
  readonly end?: Seconds;
  /** Windows that end at these times of it, in place of those of the recipe's plan. */
  readonly at?: AnchorTimes;
  /** What is asked of it, where a list says so as `query`. */
  readonly queries?: readonly string[];
  /** Whose seconds its are, where they are not those of a file of one's own. */
  readonly of?: TimeBase;
  readonly error?: EgolensError;
}

/** How arguments become a list of videos. */
export interface InputOptions {
  /** Separator of a list on standard input: NUL instead of newline. */
  readonly nul?: boolean;
  readonly hidden?: boolean;
  /** Follow links to folders. */
  readonly follow?: boolean;
  /** Endings that count as videos in folders, without the dot. */
  readonly extensions?: readonly string[];
  /** Patterns over the path below the argument. */
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly maxDepth?: number;
  /** Videos of Ego4D in place of arguments. */
  readonly ego4d?: Ego4dSelection;
  /** Videos outside of these lengths, as their headers claim, are left out; what cannot be told stays. */
  readonly durations?: DurationRange;
  readonly limit?: number;
  readonly shuffle?: number;
  readonly stdin?: NodeJS.ReadableStream;
  /** Ends the waiting for standard input. */
  readonly signal?: AbortSignal;
  /** Hears how many were left out. */
  readonly progress?: Progress;
}

/** Lengths of videos that are wanted, both ends included. */
export interface DurationRange {
  readonly min?: Seconds;
  readonly max?: Seconds;
}

/** Endings that folders are searched for. */
export const videoExtensions: readonly string[] =
  '3g2 3gp asf avi divx f4v flv gif h264 h265 hevc ivf m1v m2ts m2v m4v mjpeg mkv mov mp4 mpeg mpg mts mxf nut ogm ogv rm rmvb ts vob webm wmv y4m'.split(
    ' ',
  );

/** The whole list of inputs, and the folder of spooled ones, which goes when it is disposed. */
export interface InputList extends AsyncDisposable {
  readonly items: readonly InputItem[];
}

/**
 * Lists inputs: files, folders (recursive, in byte order of their paths), patterns, `@FILE` lists, `-` for a list on standard input,
 * `video:-` for one video's bytes there. An argument that does not exist becomes an item with an error, so that the others go on.
 *
 * @throws EgolensError usage.flag when nothing was given, input.not_found for a list file that is not there, what `ego4dInputs` throws;
 *   the reason of the signal
 */
export async function listInputs(args: readonly string[], options: InputOptions = {}): Promise<InputList> {
  if (args.length > 0 && options.ego4d !== undefined) {
    throw new EgolensError('usage.conflict', `--ego4d names the videos; expected no PATH, found \`${args[0]!}\``);
  }
  if (args.length === 0 && options.ego4d === undefined) {
    throw new EgolensError('usage.flag', 'no input; expected files, folders, @LIST or - for a list on standard input');
  }
  const spool: { folder?: string } = {};
  let items: InputItem[] = [];
  const dispose = async (): Promise<void> => {
    if (spool.folder !== undefined) await rm(spool.folder, { recursive: true, force: true });
  };
  try {
    for (const argument of args) items.push(...(await expand(argument, options, spool)));
    if (options.ego4d !== undefined) {
      const { ego4dInputs } = await import('./ego4d-inputs.js');
      items.push(...(await ego4dInputs(options.ego4d)));
    }
    if (options.durations !== undefined) items = await withinDurations(items, options.durations, options);
  } catch (error) {
    await dispose();
    // A stream that was aborted says only that.
    options.signal?.throwIfAborted();
    throw error;
  }
  let chosen = items;
  if (options.shuffle !== undefined) chosen = seededRandom(options.shuffle, 'inputs').shuffle([...items]);
  if (options.limit !== undefined) chosen = chosen.slice(0, options.limit);
  return { items: chosen, [Symbol.asyncDispose]: dispose };
}

/** The items whose header claims a length within the range. A few headers are read at once: each waits for a process. */
async function withinDurations(
  items: readonly InputItem[],
  { min = 0, max = Infinity }: DurationRange,
  { signal, progress }: InputOptions,
): Promise<InputItem[]> {
  const { openVideo } = await import('../video/probe.js');
  const kept: InputItem[] = [];
  const atOnce = 4;
  for (let first = 0; first < items.length; first += atOnce) {
    signal?.throwIfAborted();
    const some = items.slice(first, first + atOnce);
    const lengths = await Promise.all(
      some.map(async ({ path, error }) => {
        // What cannot be read is reported by the work itself.
        const video = error === undefined ? await openVideo(path, { signal }).catch(() => undefined) : undefined;
        return video?.claimed.duration ?? undefined;
      }),
    );
    kept.push(...some.filter((_, i) => lengths[i] === undefined || (lengths[i] >= min && lengths[i] <= max)));
  }
  signal?.throwIfAborted();
  const left = items.length - kept.length;
  if (left > 0) progress?.note(`${left} of ${items.length} videos left out: shorter or longer than was asked for`);
  return kept;
}

/** A process's part of a list: every `of`-th item from `index` on; or with `auto` all, in an order of its own, and locks decide. */
export type Shard = { readonly index: number; readonly of: number } | 'auto';

/** The part of a list that belongs to a shard. */
export function shardOf<T>(items: readonly T[], shard: Shard | undefined): readonly T[] {
  if (shard === undefined) return items;
  // Processes that walk in one order meet at every lock; what they write does not depend on the order.
  if (shard === 'auto') return seededRandom(process.pid, hostId()).shuffle([...items]);
  return items.filter((_, i) => i % shard.of === shard.index);
}

/** `2/8` -> the third of eight parts: indexes count from 0. */
export function parseShard(text: string): Exclude<Shard, 'auto'> {
  const match = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  const [index, of] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || of === 0 || index >= of) {
    throw new EgolensError(
      'usage.flag',
      `expected a shard I/N with 0 <= I < N, found \`${text}\``,
      text === 'auto' ? { try: '`auto` is for `extract`, whose outputs are under locks' } : {},
    );
  }
  return { index, of };
}

async function expand(argument: string, options: InputOptions, spool: { folder?: string }): Promise<InputItem[]> {
  if (argument === '-') return await fromList(await readAll(stdinOf(options)), options);
  if (argument === 'video:-') return [await spooled(stdinOf(options), spool, options.signal)];
  if (argument.startsWith('@')) return await fromList(await readListFile(argument.slice(1)), options);
  const info = await stat(argument).catch(() => undefined);
  if (info?.isDirectory()) return await walk(argument, options);
  if (info?.isFile()) return [{ input: argument, path: resolve(argument), relpath: '' }];
  if (info) return [failed(argument, 'input.not_a_file', 'expected a file or folder, found a special file')];
  if (/[*?[{]/.test(argument)) {
    const found = await glob(argument, options);
    if (found.length > 0) return found;
  }
  return [failed(argument, 'input.not_found', 'no such file or folder')];
}

function failed(
  input: string,
  code: 'input.not_found' | 'input.not_a_file' | 'input.unreadable',
  why: string,
): InputItem {
  const error = new EgolensError(code, `\`${input}\`: ${why}`, { input });
  return { input, path: resolve(input), relpath: '', error };
}

function stdinOf({ stdin = process.stdin, signal }: InputOptions): NodeJS.ReadableStream {
  return signal !== undefined && stdin instanceof Readable ? addAbortSignal(signal, stdin) : stdin;
}

async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).toString('utf8');
}

async function readListFile(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw asEgolensError(cause, `@${path}`);
  });
}

/** Paths separated by NUL; or one a line, between them records `{"input":…,"start":…,"end":…,"id":…,"query":…}`. */
async function fromList(text: string, options: InputOptions): Promise<InputItem[]> {
  const separator = options.nul === true ? '\0' : /\r?\n/;
  const items: InputItem[] = [];
  for (const [i, entry] of text
    .replace(/^\uFEFF/, '')
    .split(separator)
    .entries()) {
    if (entry === '') continue;
    if (options.nul === true || !/^\s*\{.*\}\s*$/.test(entry)) {
      items.push(...(await expandListed(entry, options)));
      continue;
    }
    const { input, ...rest } = parseRecord(entry, i + 1);
    for (const item of await expandListed(input, options)) items.push({ ...item, ...rest });
  }
  return withQueries(items);
}

/** Records that ask of one stretch of a video are one item with all their questions: it is worked on once. */
function withQueries(items: readonly InputItem[]): InputItem[] {
  const joined = new Map<string | number, InputItem>();
  items.forEach((item, i) => {
    const { path, start, end, name, queries } = item;
    const key = queries === undefined ? i : JSON.stringify([path, start, end, name]);
    const before = joined.get(key);
    joined.set(key, { ...item, ...(queries && { queries: [...(before?.queries ?? []), ...queries] }) });
  });
  return [...joined.values()];
}

/** What stands in a list is a path, never a pattern or another list. */
async function expandListed(entry: string, options: InputOptions): Promise<InputItem[]> {
  const info = await stat(entry).catch(() => undefined);
  if (info?.isDirectory()) return await walk(entry, options);
  if (info?.isFile()) return [{ input: entry, path: resolve(entry), relpath: '' }];
  return [failed(entry, 'input.not_found', 'no such file or folder')];
}

function parseRecord(line: string, number: number): Pick<InputItem, 'input' | 'name' | 'start' | 'end' | 'queries'> {
  const fault = (expected: string): EgolensError =>
    new EgolensError('usage.flag', `line ${number} of the list: ${expected}`);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw fault(`no JSON: ${(cause as Error).message}`);
  }
  const { input, start, end, id, query } = value as Readonly<Record<string, unknown>>; // the line is in braces
  if (typeof input !== 'string' || input === '') throw fault('expected a member `input` with a path');
  const time = (name: 'start' | 'end', found: unknown): Partial<Record<'start' | 'end', number>> => {
    if (found === undefined || found === null) return {};
    if (typeof found !== 'number' || !Number.isFinite(found) || found < 0) {
      throw fault(`\`${name}\`: expected seconds, found ${JSON.stringify(found)}`);
    }
    return { [name]: found };
  };
  if (id !== undefined && id !== null && (typeof id !== 'string' || id === '')) {
    throw fault(`\`id\`: expected text, found ${JSON.stringify(id)}`);
  }
  if (query !== undefined && query !== null && (typeof query !== 'string' || !isQuestion(query))) {
    throw fault(`\`query\`: expected a question, found ${JSON.stringify(query)}`);
  }
  return {
    input,
    ...(typeof id === 'string' && { name: id }),
    ...time('start', start),
    ...time('end', end),
    ...(typeof query === 'string' && { queries: [query] }),
  };
}

/** Videos below a folder, in byte order of their paths. A folder in it that cannot be read becomes an item with an error. */
async function walk(folder: string, options: InputOptions): Promise<InputItem[]> {
  const extensions = new Set((options.extensions ?? videoExtensions).map((ext) => ext.toLowerCase()));
  const found: { readonly below: string; readonly item: InputItem }[] = [];
  const visited = new Set<string>();
  const belowOf = (path: string): string => relative(folder, path).split(sep).join('/');
  const visit = async (path: string, depth: number): Promise<void> => {
    if (options.follow === true) {
      // A link may lead back up.
      const { dev, ino } = await stat(path, { bigint: true });
      if (visited.has(`${dev}:${ino}`)) return;
      visited.add(`${dev}:${ino}`);
    }
    const entries = await readdir(path, { withFileTypes: true }).catch((error: unknown) => asEgolensError(error));
    if (entries instanceof EgolensError) {
      found.push({ below: belowOf(path), item: failed(path, 'input.unreadable', 'the folder cannot be read') });
      return;
    }
    for (const entry of entries) {
      if (entry.name.startsWith('.') && options.hidden !== true) continue;
      const full = join(path, entry.name);
      const kind = entry.isSymbolicLink()
        ? await linkKind(full, options.follow === true)
        : entry.isDirectory()
          ? 'folder'
          : entry.isFile()
            ? 'file'
            : 'other';
      if (kind === 'folder' && depth < (options.maxDepth ?? Infinity)) await visit(full, depth + 1);
      if (kind !== 'file' || !extensions.has(extname(entry.name).slice(1).toLowerCase())) continue;
      const below = belowOf(full);
      if (!isWanted(below, options)) continue;
      if (extname(entry.name).toLowerCase() === '.ts' && !(await isTransportStream(full))) continue;
      const relpath = dirname(below) === '.' ? '' : dirname(below);
      found.push({ below, item: { input: full, path: resolve(full), relpath } });
    }
  };
  await visit(folder, 1);
  return found.sort((a, b) => Buffer.compare(Buffer.from(a.below), Buffer.from(b.below))).map(({ item }) => item);
}

/** A link to a file counts as that file, one to a folder only with --follow. */
async function linkKind(path: string, follow: boolean): Promise<'folder' | 'file' | 'other'> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile()) return 'file';
  return info?.isDirectory() && follow ? 'folder' : 'other';
}

function isWanted(below: string, { include, exclude }: InputOptions): boolean {
  const matches = (pattern: string): boolean => minimatch(below, pattern, { matchBase: true, dot: true });
  return (include === undefined || include.length === 0 || include.some(matches)) && !(exclude ?? []).some(matches);
}

/** MPEG transport streams begin with 0x47; TypeScript sources, which share the ending, do not. */
async function isTransportStream(path: string): Promise<boolean> {
  const handle = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await handle.read(new Uint8Array(193), 0, 193, 0);
    return bytesRead > 0 && (buffer[0] === 0x47 || buffer[4] === 0x47);
  } finally {
    await handle.close();
  }
}

/** Files that match a pattern, in byte order; its part without wildcards says where to look. */
async function glob(pattern: string, options: InputOptions): Promise<InputItem[]> {
  const parts = pattern.split('/');
  const wild = parts.findIndex((part) => /[*?[{]/.test(part));
  const base = parts.slice(0, wild).join('/') || (pattern.startsWith('/') ? '/' : '.');
  if (!(await lstat(base).catch(() => undefined))?.isDirectory()) return [];
  const rest = parts.slice(wild).join('/');
  const depth = rest.includes('**') ? {} : { maxDepth: parts.length - wild };
  const dot = options.hidden === true;
  const found = await walk(base, { ...options, ...depth });
  return found
    .filter(({ path }) => minimatch(relative(base, path).split(sep).join('/'), rest, { dot }))
    .map((item) => ({ ...item, relpath: '' }));
}

/** A video from standard input: decoders seek, so it is written down first. */
async function spooled(
  stream: NodeJS.ReadableStream,
  spool: { folder?: string },
  signal: AbortSignal | undefined,
): Promise<InputItem> {
  spool.folder ??= await mkdtemp(join(tmpdir(), 'egolens-'));
  const path = join(spool.folder, 'stdin.video');
  await pipeline(stream, createWriteStream(path), signal === undefined ? {} : { signal });
  return { input: 'video:-', path, relpath: '' };
}
