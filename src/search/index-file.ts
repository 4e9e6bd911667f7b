/** Search indexes on disk: opening one, reading its vectors by row, writing a new one out of parts. */
import { EgolensError } from '../errors.js';
import { beginFile, openFileSource, writeAt, type FileSource, type PendingFile } from '../files.js';
import type { Span } from '../types.js';
import {
  blockRows,
  headerBytes,
  readHeader,
  rowsOf,
  spanOfRow,
  type IndexHeader,
  type IndexItem,
} from './index-format.js';

/** Vectors by row number: an index, or the file in which new ones are collected. Rows that are not there are refused. */
export interface VectorSource {
  /** Fills `target` with whole rows from row `first` on. */
  readRows(first: number, target: Uint8Array): Promise<void>;
}

/** An open index. Dispose it to close the file; what replaces the file meanwhile is not seen. */
export interface IndexFile extends VectorSource, AsyncDisposable {
  readonly path: string;
  readonly header: IndexHeader;
  readonly rows: number;
  /** Size of the file. */
  readonly bytes: number;
  /** Number of row 0 of each item. */
  readonly firstRows: readonly number[];
  /** The item of a row, and which of the item's rows it is. */
  locate(row: number): { readonly item: IndexItem; readonly row: number; readonly firstRow: number };
  /** When a row is, in seconds of its video. */
  spanOf(row: number): Span;
  /** Rows of the same item that lie closer than `gap` seconds to `row`, itself included, as a range [first, end) of rows. */
  around(row: number, gap: number): readonly [first: number, end: number];
}

/** Times are fractions that were rounded: a gap this much too small still counts as kept. */
const timeTolerance = 1e-6;

/**
 * Opens an index: its header is read and held against the file, vectors are read when they are asked for.
 *
 * @throws EgolensError input.* for what is no index or a part of one, limit.size, data.invalid for a damaged one
 */
export async function openIndex(path: string): Promise<IndexFile> {
  const source = await openFileSource(path);
  try {
    return await indexOf(source, path);
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

async function indexOf(source: FileSource, path: string): Promise<IndexFile> {
  const { header, rows, start } = await readHeader(source);
  const rowBytes = header.width * 2;
  const firstRows: number[] = [];
  let next = 0;
  for (const item of header.items) {
    firstRows.push(next);
    next += item.rows;
  }
  const locate = (row: number): ReturnType<IndexFile['locate']> => {
    if (!Number.isInteger(row) || row < 0 || row >= rows) throw noSuchRow(path, row, rows);
    let [low, high] = [0, firstRows.length - 1]; // the last item that begins at or before the row
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (firstRows[middle]! <= row) low = middle;
      else high = middle - 1;
    }
    const firstRow = firstRows[low]!;
    return { item: header.items[low]!, row: row - firstRow, firstRow };
  };
  return {
    path,
    header,
    rows,
    bytes: source.size,
    firstRows,
    locate,
    spanOf(row) {
      const found = locate(row);
      return spanOfRow(found.item, found.row);
    },
    around(row, gap) {
      const found = locate(row);
      const { item } = found;
      const [start, end] = spanOfRow(item, found.row);
      let [first, last] = [found.row, found.row];
      // Rows of an item are in order of their times.
      while (first > 0 && start - spanOfRow(item, first - 1)[1] < gap - timeTolerance) first--;
      while (last < item.rows - 1 && spanOfRow(item, last + 1)[0] - end < gap - timeTolerance) last++;
      return [found.firstRow + first, found.firstRow + last + 1];
    },
    async readRows(first, target) {
      const count = target.length / rowBytes;
      if (!Number.isInteger(count) || !Number.isInteger(first) || first < 0 || first + count > rows) {
        throw noSuchRow(path, first + Math.ceil(count) - 1, rows);
      }
      await source.readInto(start + first * rowBytes, target);
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

function noSuchRow(path: string, row: number, rows: number): EgolensError {
  return new EgolensError('data.invalid', `\`${path}\`: row ${row}: expected one of its ${rows} rows`);
}

/** Rows that were collected, in a file of their own without a header. */
export interface RowSpool extends VectorSource, AsyncDisposable {
  readonly rows: number;
  /** Whole rows, little-endian float16; gives the number of the first. */
  append(rows: Uint8Array): Promise<number>;
  /** Forgets all rows. */
  clear(): Promise<void>;
}

/** Opens an empty spool beside `target`; it never appears under a name of its own and goes when it is disposed. */
export async function openSpool(target: string, width: number): Promise<RowSpool> {
  const file = await beginFile(`${target}.rows`);
  const rowBytes = width * 2;
  let rows = 0;
  return {
    get rows() {
      return rows;
    },
    async append(bytes) {
      const first = rows;
      await writeAt(file.handle, bytes, first * rowBytes);
      rows += bytes.length / rowBytes;
      return first;
    },
    async readRows(first, bytes) {
      for (let done = 0; done < bytes.length;) {
        const { bytesRead } = await file.handle.read(bytes, done, bytes.length - done, first * rowBytes + done);
        if (bytesRead === 0) throw noSuchRow(target, first, rows);
        done += bytesRead;
      }
    },
    async clear() {
      rows = 0;
      await file.handle.truncate(0);
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}

/** An item of an index to be written, and where its vectors are now. */
export interface IndexPart {
  readonly item: IndexItem;
  readonly source: VectorSource;
  /** Number of its row 0 in `source`. */
  readonly firstRow: number;
}

/**
 * Writes an index under a temporary name: parts in the order of the header's items, vectors copied as they are, a block at a time.
 * `commit` of what it gives puts it in place; close what reads the old file before that, since Windows replaces no open file.
 *
 * @throws EgolensError output.unwritable, limit.disk; the signal's reason
 */
export async function stageIndex(
  target: string,
  header: Omit<IndexHeader, 'items'>,
  parts: readonly IndexPart[],
  signal?: AbortSignal,
): Promise<PendingFile> {
  const file = await beginFile(target);
  try {
    const rowBytes = header.width * 2;
    let position = await writeAt(file.handle, headerBytes({ ...header, items: parts.map(({ item }) => item) }), 0);
    const block = new Uint8Array(blockRows * rowBytes);
    for (const { source, first, rows } of runsOf(parts)) {
      for (let done = 0; done < rows; done += blockRows) {
        signal?.throwIfAborted();
        const piece = block.subarray(0, Math.min(blockRows, rows - done) * rowBytes);
        await source.readRows(first + done, piece);
        position = await writeAt(file.handle, piece, position);
      }
    }
    return file;
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

/** Neighbouring parts as one range of rows, so that a library of short videos is not copied row by row. */
function runsOf(parts: readonly IndexPart[]): { source: VectorSource; first: number; rows: number }[] {
  const runs: { source: VectorSource; first: number; rows: number }[] = [];
  for (const { source, firstRow, item } of parts) {
    const run = runs.at(-1);
    if (run?.source === source && run.first + run.rows === firstRow) run.rows += item.rows;
    else runs.push({ source, first: firstRow, rows: item.rows });
  }
  return runs;
}

/** Do these parts, in this order, make the very file that `index` is? */
export function isSameIndex(index: IndexFile, parts: readonly IndexPart[]): boolean {
  return (
    index.rows === rowsOf(parts.map(({ item }) => item)) &&
    index.header.items.length === parts.length &&
    parts.every(
      ({ source, item, firstRow }, i) =>
        source === index && firstRow === index.firstRows[i] && item === index.header.items[i],
    )
  );
}
