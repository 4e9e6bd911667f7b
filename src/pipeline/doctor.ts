import { execFile } from 'node:child_process';
import { access, constants, readdir, stat, statfs } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { asEgolensError } from '../errors.js';
import { cacheFolder } from '../files.js';
import { describeProviders } from '../runtime/providers.js';
import { cpuQuota, defaultThreads } from '../runtime/threads.js';
import { findTools } from '../video/tools.js';

/** One line of `egolens doctor`. */
export interface CheckResult {
  /** What was looked at: `ffmpeg`, `provider cuda`. */
  readonly name: string;
  /** `fail`: the program cannot do its work; `warn`: something is missing or slow. */
  readonly status: 'ok' | 'warn' | 'fail';
  /** What was found. */
  readonly cause: string;
  /** The one step that repairs it. */
  readonly remedy?: string;
}
export type Check = () => Promise<readonly CheckResult[]>;

export interface DoctorOptions {
  /** Measure the GPU providers against the cpu: seconds on a software adapter. */
  readonly gpu?: boolean;
  /** Further checks, such as the default model's; their results come last. */
  readonly extra?: readonly Check[];
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

const gibibyte = 2 ** 30;

/** Looks at everything the program needs, in order of importance. Never rejects for a fault it finds; only with the signal's reason. */
export async function doctor(options: DoctorOptions = {}): Promise<CheckResult[]> {
  const { gpu = false, extra = [], environment = process.env, signal } = options;
  const checks: readonly (readonly [name: string, check: Check])[] = [
    ['Node', () => Promise.resolve([nodeCheck(process.versions.node)])],
    ['ffmpeg', () => ffmpegChecks(environment)],
    ['providers', () => providerChecks(gpu, signal)],
    ['CPU', () => Promise.resolve([cpuCheck(availableParallelism(), cpuQuota())])],
    ['memory', () => Promise.resolve([memoryCheck(process.availableMemory(), process.constrainedMemory())])],
    ['cache folder', () => cacheChecks(cacheFolder(environment))],
    [
      'temporary folder',
      async () => [await folderCheck('temporary folder', tmpdir(), '`TMPDIR` set to another folder')],
    ],
    ...extra.map((check, i) => [`check ${i + 1}`, check] as const),
  ];
  const results: CheckResult[] = [];
  for (const [name, check] of checks) {
    signal?.throwIfAborted();
    results.push(...(await check().catch((error: unknown) => [failed(name, error)])));
  }
  signal?.throwIfAborted();
  return results;
}

function failed(name: string, error: unknown): CheckResult {
  const { message, details } = asEgolensError(error);
  return { name, status: 'fail', cause: message, ...(details.try === undefined ? {} : { remedy: details.try }) };
}

/** Oldest Node that the program supports (package.json, `engines`). */
const oldestNode = [20, 19] as const;

/** The running Node against the oldest supported one. */
export function nodeCheck(version: string): CheckResult {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const wanted = oldestNode.join('.');
  return major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])
    ? { name: 'Node', status: 'ok', cause: version }
    : {
        name: 'Node',
        status: 'fail',
        cause: `${version}, expected ${wanted} or newer`,
        remedy: `Node ${wanted} or newer`,
      };
}

const run = promisify(execFile);
/** Codecs of the field's data sets -> decoders that read them without special hardware. */
const wantedDecoders: Readonly<Record<string, RegExp>> = {
  h264: /^h264$/,
  hevc: /^hevc$/,
  vp9: /^(vp9|libvpx-vp9)$/,
  av1: /^(libdav1d|libaom-av1|libgav1)$/, // the one called `av1` needs hardware
  mpeg4: /^mpeg4$/,
};

async function ffmpegChecks(environment: DoctorOptions['environment']): Promise<CheckResult[]> {
  const tools = await findTools(environment);
  const [banner, listing] = await Promise.all(
    [['-version'], ['-hide_banner', '-decoders']].map(async (args) => (await run(tools.ffmpegPath, args)).stdout),
  );
  const year = /Copyright \(c\) (?:\d+-)?(\d{4})/.exec(banner!)?.[1];
  const missing = missingDecoders(listing!);
  const remedy = 'a recent ffmpeg from your system (5.1 or newer), or `EGOLENS_FFMPEG` set to one';
  return [
    {
      name: 'ffmpeg',
      status: 'ok',
      cause: `${tools.version}${year === undefined ? '' : ` of ${year}`}, \`${tools.ffmpegPath}\``,
    },
    { name: 'ffprobe', status: 'ok', cause: `${tools.ffprobeVersion}, \`${tools.ffprobePath}\`` },
    ...tools.notes.map((cause): CheckResult => ({ name: 'ffmpeg', status: 'warn', cause, remedy })),
    missing.length === 0
      ? { name: 'decoders', status: 'ok', cause: Object.keys(wantedDecoders).join(', ') }
      : { name: 'decoders', status: 'warn', cause: `this ffmpeg cannot decode ${missing.join(', ')}`, remedy },
  ];
}

/** Codecs that the listing of `ffmpeg -decoders` has no decoder for. */
export function missingDecoders(listing: string): string[] {
  const names = [...listing.matchAll(/^ V[A-Z.]{5} (\S+)/gm)].map((match) => match[1]!);
  return Object.entries(wantedDecoders)
    .filter(([, decoder]) => !names.some((name) => decoder.test(name)))
    .map(([codec]) => codec);
}

async function providerChecks(timed: boolean, signal: AbortSignal | undefined): Promise<CheckResult[]> {
  return (await describeProviders({ timed, signal })).map(({ name, ok, why, remedy }) => ({
    name: `provider ${name}`,
    status: ok ? 'ok' : 'warn',
    cause: why,
    ...(remedy === undefined ? {} : { remedy }),
  }));
}

/** Cores against the container's quota. */
export function cpuCheck(cores: number, quota: number | undefined): CheckResult {
  const threads = defaultThreads(quota, cores);
  const cause = `${cores} ${cores === 1 ? 'core' : 'cores'}`;
  if (threads === null) return { name: 'CPU', status: 'ok', cause };
  return {
    name: 'CPU',
    status: 'ok',
    cause: `${cause}, of which this container may use ${quota!.toFixed(1)}; runs take ${threads}`, // a limit comes from a quota
  };
}

/** Free memory and the container's limit, in bytes; no limit is 0 or beyond any machine. */
export function memoryCheck(available: number, limit: number): CheckResult {
  const limited = limit > 0 && limit < 2 ** 50 ? `, container limit ${inGib(limit)}` : '';
  const cause = `${inGib(available)} free${limited}`;
  // A base model takes 0.8 GB at its opening, a large one 2.4 GB (performance.md 3).
  if (available >= 2.5 * gibibyte) return { name: 'memory', status: 'ok', cause };
  return {
    name: 'memory',
    status: 'warn',
    cause: `${cause}: too little for large models`,
    remedy: 'close other programs, or raise the limit',
  };
}

const inGib = (bytes: number): string => `${(bytes / gibibyte).toFixed(1)} GiB`;

async function cacheChecks(folder: string): Promise<CheckResult[]> {
  const place = await folderCheck('cache folder', folder, '`EGOLENS_CACHE_DIR` set to another folder');
  const { bytes, complete } = await sizeOfFolder(folder);
  const size = `holds ${complete ? '' : 'more than '}${inGib(bytes)}`;
  return [{ ...place, cause: `${place.cause}, ${size}` }];
}

/** Can files be written there, and how much? A folder that is still to be made is judged by its nearest parent; nothing is created. */
async function folderCheck(name: string, folder: string, remedy: string): Promise<CheckResult> {
  let existing = folder;
  while (
    dirname(existing) !== existing &&
    !(await stat(existing).then(
      () => true,
      () => false,
    ))
  )
    existing = dirname(existing);
  const writable = await access(existing, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!writable) return { name, status: 'fail', cause: `\`${folder}\` cannot be written`, remedy };
  const { bavail, bsize } = await statfs(existing);
  const free = bavail * bsize;
  const cause = `\`${folder}\`, ${inGib(free)} free`;
  return free >= gibibyte
    ? { name, status: 'ok', cause }
    : { name, status: 'warn', cause, remedy: `free disk space, or ${remedy}` };
}

/** Files looked at before a folder's size becomes a lower bound. */
const mostFiles = 20_000;

async function sizeOfFolder(folder: string): Promise<{ bytes: number; complete: boolean }> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  let bytes = 0;
  for (const { parentPath, name } of files.slice(0, mostFiles)) {
    bytes += await stat(join(parentPath, name)).then(
      ({ size }) => size,
      () => 0,
    );
  }
  return { bytes, complete: files.length <= mostFiles };
}
