import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';
import type { FeatureMeta, MetaFacts } from '../features/meta.js';
import {
  clockOf,
  clockText,
  openFeatureWriter,
  readFeatures,
  type Features,
  type FeatureTarget,
  type FeatureType,
} from '../features/store.js';
import { pathExists, sha256 } from '../files.js';
import { canonicalText, float, type JsonValue } from '../json.js';
import { shapeText, tensor } from '../tensor.js';
import type { RowTime, Tensor } from '../types.js';
import { errorRecord, type ErrorRecord } from './records.js';

export interface StackOptions {
  /**
   * `error`: row i of all files must cover the same time, or the files are refused. `time`: each row of the first file takes of the others
   * the row whose middle is nearest to its own (the earlier of two).
   */
  readonly align: 'error' | 'time';
  /** Each row of each file is divided by its L2 norm before they are joined. */
  readonly unit: boolean;
  readonly type: FeatureType;
  readonly force: boolean;
  readonly signal: AbortSignal;
}

/** What became of one set of files. */
export type Stacked =
  { readonly record: Readonly<Record<string, JsonValue | undefined>> } | { readonly error: ErrorRecord };

interface Job {
  readonly from: readonly string[];
  readonly to: string;
}

/** Seconds by which the ends of rows that mean the same window may differ: the tolerance of a sampling grid. */
const sameTime = 1e-3;

/**
 * Feature files side by side: rows [n, a] and [n, b] become [n, a + b], on the times of the first.
 *
 * @param inputs files; or folders, matched by the names of their files; or one folder with `<stem>.masked` and `<stem>.multimodal` files
 * @returns one outcome a stack; with files a failure is thrown instead
 * @throws EgolensError usage.*, input.not_found before anything is written
 */
export async function* stackFeatures(
  inputs: readonly string[],
  output: string,
  options: StackOptions,
): AsyncGenerator<Stacked> {
  const { jobs, isBatch } = await planStacks(inputs, output, options.type);
  for (const job of jobs) {
    options.signal.throwIfAborted();
    try {
      yield { record: await stackOne(job, options) };
    } catch (error) {
      if (!isBatch) throw error;
      yield { error: errorRecord(asEgolensError(error), job.from[0]) };
    }
  }
}

async function planStacks(
  inputs: readonly string[],
  output: string,
  type: FeatureType,
): Promise<{ jobs: readonly Job[]; isBatch: boolean }> {
  const kinds = await Promise.all(inputs.map(async (path) => ((await statOf(path)).isDirectory() ? 'folder' : 'file')));
  if (new Set(kinds).size > 1) {
    throw new EgolensError('usage.conflict', `expected files or folders, found both: ${inputs.join(', ')}`);
  }
  if (kinds[0] === 'file') {
    if (inputs.length < 2) throw new EgolensError('usage.flag', 'expected at least two feature files, found one');
    if (extname(output) !== `.${type}`) {
      throw new EgolensError('usage.flag', `--output ${output}: expected a name that ends with .${type}`, {
        try: '`--out-type npy|npz|safetensors` says which container is written',
      });
    }
    return { jobs: [{ from: inputs, to: output }], isBatch: false };
  }
  const jobs =
    inputs.length === 1 ? await streamJobs(inputs[0]!, output, type) : await folderJobs(inputs, output, type);
  if (jobs.length === 0) {
    const wanted = inputs.length === 1 ? '`<stem>.masked` and `<stem>.multimodal` files' : 'files of the same names';
    throw new EgolensError('input.empty', `${inputs.join(', ')}: expected ${wanted}, found none`);
  }
  return { jobs, isBatch: true };
}

async function statOf(path: string): ReturnType<typeof stat> {
  return await stat(path).catch((cause: unknown) => {
    throw new EgolensError('input.not_found', `\`${path}\`: no such file or folder`, { cause, input: path });
  });
}

async function featureFiles(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => /\.(npy|npz|pt|safetensors)$/i.test(name)).sort();
}

async function streamJobs(folder: string, output: string, type: FeatureType): Promise<Job[]> {
  const names = new Set(await featureFiles(folder));
  return [...names].flatMap((name): Job[] => {
    const match = /^(.+)\.masked(\.\w+)$/.exec(name);
    const other = match && `${match[1]}.multimodal${match[2]}`;
    if (!match || other === null || !names.has(other)) return [];
    return [{ from: [join(folder, name), join(folder, other)], to: join(output, `${match[1]}.${type}`) }];
  });
}

async function folderJobs(folders: readonly string[], output: string, type: FeatureType): Promise<Job[]> {
  const [first, ...others] = await Promise.all(folders.map(featureFiles));
  const shared = first!.filter((name) => others.every((names) => names.includes(name)));
  return shared.map((name) => ({
    from: folders.map((folder) => join(folder, name)),
    to: join(output, `${basename(name, extname(name))}.${type}`),
  }));
}

async function stackOne({ from, to }: Job, options: StackOptions): Promise<Readonly<Record<string, JsonValue>>> {
  const { type, force, align } = options;
  const stem = to.slice(0, to.length - extname(to).length);
  const target: FeatureTarget = { type, array: to, times: `${stem}.times.csv`, meta: `${to}.meta.json` };
  for (const path of [target.array, target.times, target.meta]) {
    if (!force && (await pathExists(path)))
      throw new EgolensError('output.exists', `\`${path}\`: exists already`, { try: '`--force` replaces it' });
    if (from.includes(path)) throw new EgolensError('usage.conflict', `\`${path}\`: input and output are one file`);
  }
  const parts = await Promise.all(from.map((path) => readPart(path)));
  const [first] = parts as [Part, ...Part[]]; // `planStacks`: two at least
  for (const other of parts) refuseOtherVideo(first, other);
  const picks = parts.map((part) => (align === 'time' ? nearestRows(first, part) : equalRows(first, part)));
  const widths = parts.map(({ array }) => array.shape[1]!);
  const rows = first.times.length;
  const width = widths.reduce((sum, w) => sum + w, 0);
  await using writer = await openFeatureWriter(target, [width]);
  let column = 0;
  const data = new Float32Array(rows * width);
  for (const [p, { array }] of parts.entries()) {
    copyColumns(array, picks[p]!.rows, { data, width, column, unit: options.unit });
    column += widths[p]!;
  }
  await writer.append(tensor('float32', [rows, width], data));
  const meta = await writer.finish(factsOf(parts, options), first.times);
  return {
    schema: 'egolens.stacked/1',
    inputs: from,
    output: to,
    shape: meta.array.shape,
    rows,
    clock: meta.clock === null ? null : { ...meta.clock },
    widths,
    align,
    shift: float(Math.max(...picks.map(({ shift }) => shift))),
  };
}

/** A file that can be stacked: rows with times, and what is known of their making. */
interface Part {
  readonly path: string;
  readonly array: Tensor<'float32'>;
  readonly times: readonly RowTime[];
  readonly clock: Features['clock'];
  readonly meta: FeatureMeta;
}

async function readPart(path: string): Promise<Part> {
  const { array, times, meta, clock } = await readFeatures(path);
  if (array.shape.length !== 2) {
    throw new EgolensError('data.shape', `\`${path}\`: expected [rows, width], found ${shapeText(array.shape)}`, {
      input: path,
      try: 'extract with `--pool mean`',
    });
  }
  if (array.shape[0] === 0)
    throw new EgolensError('data.shape', `\`${path}\`: expected at least one row`, { input: path });
  if (times === undefined || meta === undefined) {
    throw new EgolensError('data.clock', `\`${path}\`: neither meta file nor time table tells when its rows are`, {
      input: path,
      try: 'files that `extract` wrote have both',
    });
  }
  return { path, array, times, clock, meta };
}

/** Rows of two videos mean nothing side by side, whatever their times. */
function refuseOtherVideo(first: Part, other: Part): void {
  const [a, b] = [first.meta.input, other.meta.input];
  // Identities of another kind (`ends:`, `content:`) cannot be compared.
  const isOther = a.identity !== b.identity && a.identity.split(':')[0] === b.identity.split(':')[0];
  if (!isOther && first.meta.stream === other.meta.stream) return;
  throw new EgolensError(
    'data.invalid',
    `\`${first.path}\` is of \`${a.name}\`, stream ${first.meta.stream}; \`${other.path}\` of ${isOther ? 'another video, ' : ''}\`${b.name}\`, stream ${other.meta.stream}`,
    { input: other.path },
  );
}

interface Picks {
  /** Of each row of the first file, the row of this one. */
  readonly rows: readonly number[];
  /** Largest distance of the middles, in seconds. */
  readonly shift: number;
}

const middle = ({ start, end }: RowTime): number => (start + end) / 2;

function equalRows(first: Part, other: Part): Picks {
  const differs = first.times.findIndex((row, i) => {
    const its = other.times[i];
    return its === undefined || Math.abs(its.start - row.start) > sameTime || Math.abs(its.end - row.end) > sameTime;
  });
  if (differs < 0 && first.times.length === other.times.length) {
    const rows = first.times.map((_, i) => i);
    const shift = rows.reduce(
      (most, i) => Math.max(most, Math.abs(middle(first.times[i]!) - middle(other.times[i]!))),
      0,
    );
    return { rows, shift };
  }
  const at = differs < 0 ? first.times.length : differs;
  const text = ({ times, clock }: Part): string => {
    const row = times[at];
    const where = row === undefined ? 'has no such row' : `covers ${row.start} to ${row.end} s`;
    return clock === undefined ? where : `${where} (${clockText(clock)})`;
  };
  throw new EgolensError(
    'data.clock',
    `row ${at}: \`${first.path}\` ${text(first)}, \`${other.path}\` ${text(other)}`,
    {
      input: other.path,
      try: 'extract both on one clock (`--stream-set both`), or `--align time` for the nearest rows',
    },
  );
}

function nearestRows(first: Part, other: Part): Picks {
  const begin = other.times[0]!.start; // `readPart`: one row at least
  const end = other.times.reduce((latest, row) => Math.max(latest, row.end), begin);
  let shift = 0;
  let at = 0;
  const rows = first.times.map((row) => {
    if (middle(row) < begin - sameTime || middle(row) > end + sameTime) {
      throw new EgolensError(
        'data.clock',
        `row ${row.index} of \`${first.path}\` lies at ${middle(row)} s; \`${other.path}\` covers ${begin} to ${end} s`,
        { input: other.path, try: 'files of one video and one range' },
      );
    }
    const distance = (i: number): number => Math.abs(middle(other.times[i]!) - middle(row));
    while (at > 0 && distance(at - 1) <= distance(at)) at--;
    while (at + 1 < other.times.length && distance(at + 1) < distance(at)) at++;
    shift = Math.max(shift, distance(at));
    return at;
  });
  return { rows, shift };
}

interface Columns {
  readonly data: Float32Array;
  readonly width: number;
  readonly column: number;
  readonly unit: boolean;
}

function copyColumns({ data, shape }: Tensor<'float32'>, rows: readonly number[], to: Columns): void {
  const width = shape[1]!;
  rows.forEach((row, i) => {
    const values = data.subarray(row * width, (row + 1) * width);
    const norm = to.unit ? Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)) : 1;
    to.data.set(norm === 0 || norm === 1 ? values : values.map((value) => value / norm), i * to.width + to.column);
  });
}

/** The first file's facts; of all files where they say how the values were made. */
function factsOf(parts: readonly Part[], { align, unit }: StackOptions): MetaFacts {
  const metas = parts.map(({ meta }) => meta);
  const joined = (of: (meta: FeatureMeta) => string): string => [...new Set(metas.map(of))].join('+');
  const first = metas[0]!;
  const { clock } = first;
  return {
    ...first,
    clock: clock === null ? null : clockOf(clock),
    preset: first.preset,
    warnings: metas.flatMap(({ warnings }) => warnings),
    model: {
      name: joined(({ model }) => model.name),
      digest: sha256(metas.map(({ model }) => model.digest).join('\n')),
    },
    output: joined(({ output }) => output),
    provider: joined(({ provider }) => provider),
    key: sha256(canonicalText({ stack: metas.map(({ key }) => key), align, unit })),
  };
}
