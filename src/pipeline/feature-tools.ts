import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { npyHeader } from '../checkpoint/npy-header.js';
import { writeNpz } from '../checkpoint/npz.js';
import { writePt } from '../checkpoint/pt-features.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { asEgolensError, EgolensError } from '../errors.js';
import { beginFile, pathExists, sha256, sha256File, writeFileAtomic } from '../files.js';
import { clockJson, metaText, type FeatureMeta } from '../features/meta.js';
import {
  arrayName,
  clockText,
  compareFeatures,
  officialClocks,
  openFeatures,
  readFeatures,
  sameClock,
  timesText,
  type FeatureFile,
  type Features,
  type OfficialClock,
  type ReadOptions,
} from '../features/store.js';
import { float, type Float, type JsonValue } from '../json.js';
import { bytesOf } from '../tensor.js';
import type { FeatureClock, RowTime, Tensor } from '../types.js';
import { errorRecord, type ErrorRecord } from './records.js';

/** How to read files that come without a meta file. */
export interface FeatureReading {
  /** `ego4d-grid`, `ego4d-mq`, `ego4d-nlq`; `none`: rows without times. */
  readonly clock?: OfficialClock | 'none';
  /** Seconds of the video, for `ego4d-mq`. */
  readonly duration?: number;
  /** Which array of a file with several. */
  readonly array?: string;
}

/** What `--clock` takes. */
export const clockNames = [...officialClocks, 'none'] as const;

function readOptions({ clock, duration, array }: FeatureReading): ReadOptions {
  return {
    ...(clock !== undefined && clock !== 'none' && { clock }),
    ...(duration !== undefined && { duration }),
    ...(array !== undefined && { name: array }),
  };
}

function clockRow(clock: FeatureClock | undefined): JsonValue {
  return clock === undefined ? null : { ...clockJson(clock) };
}

type Row = Readonly<Record<string, JsonValue | undefined>>;

// ---- info --------------------------------------------------------------------------------------------------------

/** What one file gave. */
export type FeatureInfo = { readonly record: Row } | { readonly error: ErrorRecord };

/**
 * `egolens.feature-info/1` of each file, in order: shape, times, meta file, and whether the digests of the meta file are those of the
 * files. A digest that differs is reported, not thrown.
 */
export async function* featureInfos(
  paths: readonly string[],
  reading: FeatureReading,
  signal: AbortSignal,
): AsyncGenerator<FeatureInfo> {
  for (const path of paths) {
    signal.throwIfAborted();
    try {
      yield { record: await infoOf(path, reading) };
    } catch (error) {
      yield { error: errorRecord(asEgolensError(error), path) };
    }
  }
}

async function infoOf(path: string, reading: FeatureReading): Promise<Row> {
  await using file = await openFeatures(path, readOptions(reading));
  const { shape, storedType, clock, times, meta } = file;
  return {
    schema: 'egolens.feature-info/1',
    input: path,
    shape,
    dtype: storedType,
    rows: shape[0]!, // openFeatures refuses an array without rows as its first axis
    clock: clockRow(clock),
    first: rowSpanOf(times?.[0]),
    last: rowSpanOf(times?.at(-1)),
    digests: meta === undefined ? 'none' : (await digestsHold(path, meta)) ? 'ok' : 'differ',
    meta: meta === undefined ? null : metaRow(meta),
  };
}

function metaRow(meta: FeatureMeta): JsonValue {
  // Checked JSON, whose interfaces lack the index signature that would let the compiler see it.
  return { ...meta, startOffset: float(meta.startOffset) } as unknown as JsonValue;
}

function rowSpanOf(row: RowTime | undefined): { readonly start: Float; readonly end: Float } | null {
  return row === undefined ? null : { start: float(row.start), end: float(row.end) };
}

async function digestsHold(path: string, meta: FeatureMeta): Promise<boolean> {
  const table = timesPath(path);
  if (!(await pathExists(table))) return false;
  return (await sha256File(path)) === meta.array.sha256 && (await sha256File(table)) === meta.times.sha256;
}

function timesPath(path: string): string {
  return `${path.slice(0, path.length - extname(path).length)}.times.csv`;
}

// ---- compare -----------------------------------------------------------------------------------------------------

export interface CompareOptions extends FeatureReading {
  /** A smallest cosine below it is `data.invalid`. */
  readonly minCosine?: number;
  /** One record a row instead of one in all. */
  readonly perRow: boolean;
}

/** Records of a comparison, and what keeps the files from being the same features. */
export interface FeatureComparison {
  readonly records: readonly Row[];
  /** One line for people. */
  readonly note: string;
  readonly error?: EgolensError;
}

/**
 * How far two feature files are apart. Rows that only one file has, values that are not finite and a missed bound are errors beside the
 * numbers.
 *
 * @throws EgolensError data.clock, data.shape when the rows of the two do not mean the same windows or have another shape; both sides are named
 */
export async function compareFeatureFiles(a: string, b: string, options: CompareOptions): Promise<FeatureComparison> {
  await using first = await openFeatures(a, readOptions(options));
  await using second = await openFeatures(b, readOptions(options));
  refuseOtherClock(first, second);
  const { rows, minCosine, maxAbs } = await compareFeatures(first, second);
  const [rowsA, rowsB] = [first.shape[0]!, second.shape[0]!]; // openFeatures refuses arrays without rows
  const notFinite = Math.min(rowsA, rowsB) - rows.length;
  const mean = rows.reduce((sum, { cosine }) => sum + cosine, 0) / rows.length;
  const orNull = (value: number): Float | null => (rows.length === 0 ? null : float(value));
  const summary = {
    schema: 'egolens.comparison/1',
    a,
    b,
    rows: rows.length,
    notFinite,
    extra: Math.abs(rowsA - rowsB),
    meanCosine: orNull(mean),
    minCosine: orNull(minCosine),
    maxAbs: orNull(maxAbs),
  };
  const worst = rows.find(({ cosine }) => cosine === minCosine)?.index;
  const error =
    rowsA !== rowsB
      ? new EgolensError(
          'data.shape',
          `\`${a}\` has ${rowsA} rows, \`${b}\` ${rowsB}; the first ${Math.min(rowsA, rowsB)} were compared`,
        )
      : notFinite > 0
        ? new EgolensError('data.not_finite', `\`${a}\`, \`${b}\`: NaN or infinity in ${notFinite} of ${rowsA} rows`)
        : options.minCosine !== undefined && !(minCosine >= options.minCosine)
          ? new EgolensError(
              'data.invalid',
              `\`${a}\`, \`${b}\`: cosine ${minCosine} in row ${worst ?? 0}, expected at least ${options.minCosine}`,
            )
          : undefined;
  return {
    records: options.perRow
      ? rows.map(({ index, cosine, maxAbs: most }) => ({
          schema: 'egolens.row-difference/1',
          a,
          b,
          index,
          cosine: float(cosine),
          maxAbs: float(most),
        }))
      : [summary],
    note: `${rows.length} rows, cosine ${mean} on average, at least ${minCosine}, values differ by at most ${maxAbs}`,
    ...(error !== undefined && { error }),
  };
}

function refuseOtherClock(a: FeatureFile, b: FeatureFile): void {
  if (a.clock === undefined || b.clock === undefined || sameClock(a.clock, b.clock)) return;
  throw new EgolensError(
    'data.clock',
    `rows of \`${a.path}\` lie at ${clockText(a.clock)}, those of \`${b.path}\` at ${clockText(b.clock)}`,
    { try: 'extract both with one preset' },
  );
}

// ---- convert -----------------------------------------------------------------------------------------------------

/** Endings of feature files that are written. */
export const featureTypes = ['npy', 'npz', 'pt', 'safetensors'] as const;
export type OutputType = (typeof featureTypes)[number];

export interface ConvertOptions extends FeatureReading {
  /** Type of the files of a folder. */
  readonly type?: OutputType;
  readonly force: boolean;
  readonly signal: AbortSignal;
}

/** What became of one file. */
export type Converted = { readonly record: Row } | { readonly error: ErrorRecord };

interface Job {
  readonly from: string;
  readonly to: string;
}

/**
 * Feature files in another container, as float32, with time table and, where the input has one, meta file. A folder is converted file by
 * file, and a bad one does not stop the others.
 *
 * @throws EgolensError usage.flag, usage.conflict, input.not_found before anything is written; for a single file whatever it fails by
 */
export async function* convertFeatures(
  input: string,
  output: string,
  options: ConvertOptions,
): AsyncGenerator<Converted> {
  for (const job of await planConversion(input, output, options)) {
    options.signal.throwIfAborted();
    try {
      yield { record: await convertOne(job, options) };
    } catch (error) {
      if (job.from === input) throw asEgolensError(error, input);
      yield { error: errorRecord(asEgolensError(error), job.from) };
    }
  }
}

async function planConversion(input: string, output: string, { type }: ConvertOptions): Promise<Job[]> {
  const info = await stat(input).catch((cause: unknown) => {
    throw new EgolensError('input.not_found', `\`${input}\`: no such file or folder`, { cause, input });
  });
  if (!info.isDirectory()) {
    typeOf(output);
    return [{ from: input, to: output }];
  }
  if (type === undefined) {
    throw new EgolensError('usage.flag', `\`${input}\` is a folder: expected --out-type ${featureTypes.join('|')}`);
  }
  const names = (await readdir(input)).sort().filter((name) => /\.(npy|npz|pt|pth|safetensors)$/i.test(name));
  const jobs = names.map((name) => ({
    from: join(input, name),
    to: join(output, `${basename(name, extname(name))}.${type}`),
  }));
  const twice = jobs.find(({ to }, i) => jobs.findIndex((other) => other.to === to) !== i);
  if (twice !== undefined) {
    throw new EgolensError('usage.conflict', `several files of \`${input}\` would become \`${twice.to}\``);
  }
  return jobs;
}

function typeOf(path: string): OutputType {
  const ending = extname(path).slice(1).toLowerCase();
  const type = featureTypes.find((each) => each === ending);
  if (type !== undefined) return type;
  throw new EgolensError(
    'usage.flag',
    `\`${path}\`: expected a name that ends with ${featureTypes.map((each) => `.${each}`).join(', ')}`,
  );
}

async function convertOne({ from, to }: Job, options: ConvertOptions): Promise<Row> {
  if (resolve(from) === resolve(to)) {
    throw new EgolensError('usage.conflict', `\`${from}\`: input and output are one file`);
  }
  if (!options.force && (await pathExists(to))) {
    throw new EgolensError('output.exists', `\`${to}\`: exists already`, { try: '`--force` replaces it' });
  }
  const features = await readFeatures(from, readOptions(options));
  if (features.times === undefined && features.meta === undefined && options.clock !== 'none') {
    throw new EgolensError('data.clock', `\`${from}\`: neither meta file nor time table tells when its rows are`, {
      try: `\`--clock ${officialClocks.join('|')}\`, or \`--clock none\` for rows without times`,
    });
  }
  const table = features.times === undefined ? undefined : timesText(features.times);
  await refuseOtherTable(timesPath(to), table, options.force);
  await mkdir(dirname(to), { recursive: true });
  // What stood beside an older file must not vouch for the new one.
  await rm(`${to}.meta.json`, { force: true });
  await writeArray(to, features.array);
  if (table !== undefined) await writeFileAtomic(timesPath(to), table);
  else await rm(timesPath(to), { force: true });
  const hasMeta = await writeMeta(to, features, table);
  return {
    schema: 'egolens.converted/1',
    input: from,
    output: to,
    shape: features.array.shape,
    rows: features.array.shape[0]!, // readFeatures refuses an array without rows as its first axis
    clock: clockRow(features.clock),
    times: table !== undefined,
    meta: hasMeta,
  };
}

/** Arrays of one name share a time table, so one that is there has to say the same. */
async function refuseOtherTable(path: string, table: string | undefined, force: boolean): Promise<void> {
  if (force || !(await pathExists(path)) || (await readFile(path, 'utf8')) === table) return;
  throw new EgolensError('output.exists', `\`${path}\`: exists already and tells other times`, {
    try: '`--force` replaces it',
  });
}

async function writeArray(path: string, array: Tensor<'float32'>): Promise<void> {
  await using file = await beginFile(path);
  for await (const piece of piecesOf(typeOf(path), array)) await file.handle.appendFile(piece);
  await file.commit();
}

function piecesOf(type: OutputType, array: Tensor<'float32'>): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  const { shape } = array;
  switch (type) {
    case 'npy':
      return [npyHeader('float32', shape), bytesOf(array)];
    case 'npz':
      return writeNpz(new Map([[arrayName, array]]));
    case 'pt':
      return writePt(array);
    case 'safetensors':
      return writeSafetensors([{ name: arrayName, dtype: 'F32', shape, bytes: () => [bytesOf(array)] }]);
  }
}

/** The meta file of the input with the digests of the new files; what it says about the making of the values stays true. */
async function writeMeta(to: string, { array, meta }: Features, table: string | undefined): Promise<boolean> {
  if (meta === undefined || table === undefined) return false;
  const { size } = await stat(to);
  const text = metaText({
    ...meta,
    array: { shape: array.shape, bytes: size, sha256: await sha256File(to) },
    times: { bytes: Buffer.byteLength(table), sha256: sha256(table) },
  });
  await writeFileAtomic(`${to}.meta.json`, text);
  return true;
}
