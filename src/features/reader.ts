/** Feature arrays of ours and of others: `.npy`, `.npz`, `.pt`, `.safetensors`, with their times where something tells them. */
import { extname } from 'node:path';
import { openNpz } from '../checkpoint/npz.js';
import { readNpyHeader } from '../checkpoint/npy-header.js';
import { readNpyRows } from '../checkpoint/npy.js';
import { openPt } from '../checkpoint/pt-features.js';
import { openSafetensors } from '../checkpoint/safetensors.js';
import { EgolensError } from '../errors.js';
import { openFileSource, pathExists } from '../files.js';
import { halfToFloat, shapeText, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, ByteSource, FeatureClock, RowTime, Seconds, StoredTensor, Tensor } from '../types.js';
import { clockOf, readMeta, type FeatureMeta } from './meta.js';
import { readTimes, timesOf } from './times.js';
import { arrayName } from './writer.js';

/** How the rows of an official feature set, which come without a clock, lie in time (ego4d.md 1.5). */
export type OfficialClock = 'ego4d-grid' | 'ego4d-mq' | 'ego4d-nlq';

export const officialClocks: readonly OfficialClock[] = ['ego4d-grid', 'ego4d-mq', 'ego4d-nlq'];

export interface ReadOptions {
  /** For files without a meta file; one that has a meta file keeps its own. */
  readonly clock?: OfficialClock | Omit<FeatureClock, 'rows'>;
  /** Length of the video as the annotation files state it; `ego4d-mq` needs it. */
  readonly duration?: Seconds;
  /** Which array of a file with several; default `features`, else the only one. */
  readonly name?: string;
}

/** A feature file, its header read, its rows not. Dispose it to close the file. */
export interface FeatureFile extends AsyncDisposable {
  readonly path: string;
  /** `[rows, width]` or `[rows, tokens, width]` */
  readonly shape: readonly number[];
  /** Element type in the file. */
  readonly storedType: string;
  /** Undefined where nothing tells it. */
  readonly clock: FeatureClock | undefined;
  /** As the time table says, else as the clock implies; undefined where neither is known. */
  readonly times: readonly RowTime[] | undefined;
  readonly meta: FeatureMeta | undefined;
  /** Whole rows in order, as float32, in blocks of at most `rows` of them. */
  blocks(rows?: number): AsyncIterable<Tensor<'float32'>>;
}

/** A feature array in memory with what is known of its times. */
export interface Features extends Pick<FeatureFile, 'path' | 'storedType' | 'clock' | 'times' | 'meta'> {
  readonly array: Tensor<'float32'>;
}

/** Rows of a block where the caller does not say are as many as fit in this. */
const blockElements = 2 ** 20;
/** Elements of an array that is read whole: 2 GiB of float32. */
const maxElements = 2 ** 29;

/**
 * Open a feature file for reading in blocks.
 *
 * @throws EgolensError input.format for another ending or content, data.shape when it is no array of rows, data.invalid when meta
 *   file or time table contradict it
 */
export async function openFeatures(path: string, options: ReadOptions = {}): Promise<FeatureFile> {
  const source = await openFileSource(path);
  try {
    const array = await openArray(source, path, options.name);
    const rows = array.shape[0];
    if ((array.shape.length !== 2 && array.shape.length !== 3) || rows === undefined) {
      throw new EgolensError(
        'data.shape',
        `\`${path}\`: expected [rows, width] or [rows, tokens, width], found ${shapeText(array.shape)}`,
      );
    }
    const meta = (await pathExists(`${path}.meta.json`)) ? await readMeta(`${path}.meta.json`) : undefined;
    if (meta !== undefined && shapeText(meta.array.shape) !== shapeText(array.shape)) {
      throw new EgolensError(
        'data.invalid',
        `\`${path}\`: its meta file says ${shapeText(meta.array.shape)}, found ${shapeText(array.shape)}`,
      );
    }
    const clock =
      meta === undefined ? clockFor(path, rows, options) : meta.clock === null ? undefined : clockOf(meta.clock);
    const times = await timesFor(path, rows, clock);
    const { shape, storedType } = array;
    const rowElements = Math.max(1, sizeOf(shape.slice(1)));
    return {
      path,
      shape,
      storedType,
      clock,
      times,
      meta,
      async *blocks(count = Math.max(1, Math.floor(blockElements / rowElements))) {
        for await (const block of array.blocks(count)) yield block;
      },
      [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
    };
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

/** A whole feature array with its times. Throws `limit.size` above 2^29 elements, and as `openFeatures`. */
export async function readFeatures(path: string, options: ReadOptions = {}): Promise<Features> {
  await using file = await openFeatures(path, options);
  const { shape, storedType, clock, times, meta } = file;
  const size = sizeOf(shape);
  if (size > maxElements) {
    throw new EgolensError('limit.size', `\`${path}\`: ${size} elements, expected at most ${maxElements}`);
  }
  const data = new Float32Array(size);
  let at = 0;
  for await (const block of file.blocks()) {
    data.set(block.data, at);
    at += block.data.length;
  }
  return { path, storedType, clock, times, meta, array: tensor('float32', shape, data) };
}

/**
 * The clock of `rows` rows of an official Ego4D set: windows of 32 frames, 16 apart, at 30 frames a second, the last one aligned.
 *
 * - `ego4d-grid`: row i begins at 16 i / 30 s.
 * - `ego4d-nlq`: the same grid; its loader takes rows int(t * 1.875), which the head does, not the clock.
 * - `ego4d-mq`: rows / duration rows a second, so the hop is a decimal number of frames.
 *
 * @throws EgolensError usage.flag for `ego4d-mq` without a duration
 */
export function officialClock(name: OfficialClock, rows: number, duration?: Seconds): FeatureClock {
  const clock = { rate: { num: 30, den: 1 }, hop: 16, frames: 32, step: 1, tail: 'align', rows } as const;
  if (name !== 'ego4d-mq') return clock;
  if (duration === undefined || !(duration > 0) || !Number.isFinite(duration)) {
    throw new EgolensError(
      'usage.flag',
      `clock ego4d-mq: expected the video's duration in seconds, found ${duration ?? 'none'}`,
      {
        try: 'give the annotation folder (`--ego4d DIR`), or `--clock ego4d-grid`',
      },
    );
  }
  return { ...clock, hop: (30 * duration) / Math.max(1, rows) };
}

function clockFor(path: string, rows: number, { clock, duration }: ReadOptions): FeatureClock | undefined {
  if (clock === undefined) return undefined;
  if (typeof clock !== 'string') return { ...clock, rows };
  try {
    return officialClock(clock, rows, duration);
  } catch (error) {
    if (!(error instanceof EgolensError)) throw error;
    throw new EgolensError(error.code, `\`${path}\`: ${error.message}`, error.details);
  }
}

async function timesFor(path: string, rows: number, clock: FeatureClock | undefined): Promise<RowTime[] | undefined> {
  const table = `${path.slice(0, path.length - extname(path).length)}.times.csv`;
  if (await pathExists(table)) {
    const times = await readTimes(table);
    if (times.length === rows) return times;
    throw new EgolensError('data.invalid', `\`${table}\`: ${times.length} rows, expected ${rows} as in \`${path}\``);
  }
  return clock === undefined || clock.rate === 'source' ? undefined : timesOf(clock);
}

interface RowArray {
  readonly shape: readonly number[];
  readonly storedType: string;
  blocks(rows: number): AsyncIterable<Tensor<'float32'>> | Iterable<Tensor<'float32'>>;
}

async function openArray(source: ByteSource, path: string, name: string | undefined): Promise<RowArray> {
  const ending = extname(path).toLowerCase();
  switch (ending) {
    case '.npy':
      return await openNpyArray(source);
    case '.npz': {
      const file = await openNpz(source);
      const { tensor: value, storedType } = await file.read(chosen(file.names, name, path));
      return { shape: value.shape, storedType, blocks: (rows) => slices(value, rows) };
    }
    case '.pt':
    case '.pth': {
      const tensors = await openPt(source);
      return storedArray(tensors.get(chosen([...tensors.keys()], name, path))!); // chosen among the keys
    }
    case '.safetensors': {
      const { tensors } = await openSafetensors(source);
      return storedArray(tensors.get(chosen([...tensors.keys()], name, path))!); // chosen among the keys
    }
    default:
      throw new EgolensError(
        'input.format',
        `\`${path}\`: expected a name that ends with .npy, .npz, .pt or .safetensors, found \`${ending}\``,
      );
  }
}

function chosen(names: readonly string[], wanted: string | undefined, path: string): string {
  const name = wanted ?? (names.length === 1 ? names[0]! : arrayName);
  if (names.includes(name)) return name;
  const found = names.slice(0, 8).map((entry) => `\`${entry}\``);
  throw new EgolensError(
    'data.invalid',
    `\`${path}\`: expected an array \`${name}\`, found ${found.length === 0 ? 'none' : found.join(', ')}`,
  );
}

async function openNpyArray(source: ByteSource): Promise<RowArray> {
  const header = await readNpyHeader(source);
  const { shape, storedType, order } = header;
  const total = shape[0] ?? 1;
  return {
    shape,
    storedType,
    async *blocks(rows) {
      // Rows of a column-major array do not lie in one piece: it is read once, whole.
      const step = order === 'F' ? total : rows;
      for (let first = 0; first < total; first += step) {
        const { tensor: value } = await readNpyRows(source, header, first, Math.min(step, total - first));
        yield* slices(value, rows);
      }
    },
  };
}

/** Blocks of rows of an array in memory. */
function* slices(value: AnyTensor, rows: number): Generator<Tensor<'float32'>, void, undefined> {
  const data = float32Of(value);
  const [total = 0, ...rest] = value.shape;
  const width = sizeOf(rest);
  for (let first = 0; first < total; first += rows) {
    const count = Math.min(rows, total - first);
    yield tensor('float32', [count, ...rest], data.subarray(first * width, (first + count) * width));
  }
}

/** Rows of a stored tensor, whose pieces end where they like. */
function storedArray(stored: StoredTensor): RowArray {
  const [total = 0, ...rest] = stored.shape;
  const width = sizeOf(rest);
  return {
    shape: stored.shape,
    storedType: stored.storedType,
    async *blocks(rows) {
      let block = new Float32Array(Math.min(rows, total) * width);
      let filled = 0;
      let left = total;
      for await (const piece of stored.chunks(Math.max(1, rows * width))) {
        for (let at = 0; at < piece.length;) {
          const count = Math.min(piece.length - at, block.length - filled);
          block.set(piece.subarray(at, at + count), filled);
          at += count;
          filled += count;
          if (filled < block.length) continue;
          const full = Math.min(rows, left);
          yield tensor('float32', [full, ...rest], block);
          left -= full;
          block = new Float32Array(Math.min(rows, left) * width);
          filled = 0;
        }
      }
    },
  };
}

function float32Of(value: AnyTensor): Float32Array<ArrayBuffer> {
  if (value.dtype === 'float32') return value.data;
  if (value.dtype === 'float16') return Float32Array.from(value.data, halfToFloat);
  if (value.dtype === 'int64') return Float32Array.from(value.data, Number);
  return Float32Array.from(value.data);
}
