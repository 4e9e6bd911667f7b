/**
 * The search index in one file, `lib.egx` (files.md 8): magic, version, length of the header, header as JSON, vectors.
 *
 * | offset | bytes | holds |
 * |---|---|---|
 * | 0 | 8 | `EGOLENSX` |
 * | 8 | 4 | version, uint32 little-endian |
 * | 12 | 8 | length of the header, uint64 little-endian |
 * | 20 | length | header, `egolens.index/1` in UTF-8 |
 * | next multiple of 4096 | rows * width * 2 | vectors of unit length, float16 little-endian, row-major |
 *
 * Blocks are 4096 rows; since a row has an even number of bytes every block begins at a multiple of 4 KiB, and the last one ends with
 * the last row. Items stand in byte order of their paths, their rows one after the other: the same videos give the same bytes,
 * however many updates it took.
 */
import { assertValid } from '../check.js';
import { EgolensError } from '../errors.js';
import { float, jsonText, type JsonValue } from '../json.js';
import { parseRational, rational, rationalText, windowExtent } from '../time.js';
import type { ByteSource, FeatureClock, Rational, Seconds, Span, TailRule } from '../types.js';

/** Rows of a block: what is scored at once, and what lies at a multiple of 4 KiB. */
export const blockRows = 4096;
/** Version of the format. */
export const indexVersion = 1;

const magic = 'EGOLENSX';
const prefixBytes = 20;
const alignment = 4096;
/** A header above this is refused unread: some 600,000 videos. */
const longestHeader = 256 * 2 ** 20;

/** One video of an index. */
export interface IndexItem {
  /** The video as seen from the folder of the index, with `/`. */
  readonly path: string;
  readonly bytes: number;
  /** `ends:` or `content:` and a SHA-256. */
  readonly identity: string;
  /** Digest of all that decides the vectors: another key, other vectors. */
  readonly key: string;
  readonly rows: number;
  /** Where row 0 starts, in seconds of the video. */
  readonly origin: Seconds;
  /** The grid of the rows, at a fixed rate, counted from `origin`. */
  readonly clock: FeatureClock;
  /** The last row, which may be shifted back from the grid or be shorter. */
  readonly last: Span;
}

/** What holds for all vectors of an index: another value, and they cannot be compared. */
export interface IndexSettings {
  readonly model: { readonly id: string; readonly digest: string };
  /** Output of the model that the vectors are. */
  readonly output: string;
  readonly precision: 'fp32' | 'fp16' | 'int8';
  /** `name@version` of the pixel recipe. */
  readonly preset: string;
  /** Seconds of a window. */
  readonly granularity: Rational;
  /** Video stream: a number, or `best`. */
  readonly stream: string;
  /** Values of a vector. */
  readonly width: number;
}

/** An index without its vectors. */
export interface IndexHeader extends IndexSettings {
  /** In byte order of the paths; row 0 of the first item is row 0 of the index. */
  readonly items: readonly IndexItem[];
}

/** Rows of all items. */
export function rowsOf(items: readonly { readonly rows: number }[]): number {
  return items.reduce((sum, { rows }) => sum + rows, 0);
}

/** The order of items in an index. */
export function byPath(a: { readonly path: string }, b: { readonly path: string }): number {
  return Buffer.compare(Buffer.from(a.path), Buffer.from(b.path));
}

/** Span of row `row` of an item, in seconds of its video. */
export function spanOfRow({ rows, origin, clock, last }: IndexItem, row: number): Span {
  if (row === rows - 1) return last;
  const { num, den } = clock.rate as Rational; // parseHeader takes clocks of a fixed rate alone
  const first = row * clock.hop;
  return [origin + (first * den) / num, origin + ((first + windowExtent(clock)) * den) / num];
}

/** First byte of the vectors behind a header of so many bytes. */
function vectorsStart(headerBytes: number): number {
  return Math.ceil((prefixBytes + headerBytes) / alignment) * alignment;
}

/** Everything before the first vector, padding included. */
export function headerBytes(header: IndexHeader): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(jsonText(headerJson(header)));
  const bytes = new Uint8Array(vectorsStart(text.length));
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(magic));
  view.setUint32(8, indexVersion, true);
  view.setBigUint64(12, BigInt(text.length), true);
  bytes.set(text, prefixBytes);
  return bytes;
}

function headerJson(header: IndexHeader): JsonValue {
  const { model, output, precision, preset, granularity, stream, width } = header;
  let row = 0;
  const items = header.items.map(({ path, bytes, identity, key, rows, origin, clock, last }) => {
    const { rate, hop, frames, step, extent, tail } = clock;
    const item = {
      path,
      bytes,
      identity,
      key,
      row,
      rows,
      origin: float(origin),
      clock: {
        rate: rate === 'source' ? rate : rationalText(rate),
        hop,
        frames,
        step,
        ...(extent !== undefined && { extent }),
        tail,
        rows,
      },
      last: last.map(float),
    };
    row += rows;
    return item;
  });
  return {
    schema: 'egolens.index/1',
    model: { id: model.id, digest: model.digest },
    output,
    precision,
    preset,
    granularity: rationalText(granularity),
    stream,
    width,
    dtype: 'f16',
    rows: row,
    items,
  };
}

/** The header as the schema has it. */
interface HeaderFile extends Omit<IndexHeader, 'granularity' | 'items'> {
  readonly granularity: string;
  readonly rows: number;
  readonly items: readonly (Omit<IndexItem, 'clock'> & {
    readonly row: number;
    readonly clock: (Omit<FeatureClock, 'rate' | 'tail'> & { readonly rate: string; readonly tail: TailRule }) | null;
  })[];
}

/** A header that was checked against its file, and where the vectors lie. */
export interface ReadHeader {
  readonly header: IndexHeader;
  readonly rows: number;
  /** Offset of row 0. */
  readonly start: number;
}

/**
 * Reads the header of an index and holds it against the size of the file: nothing that it states is believed before.
 *
 * @throws EgolensError input.format for another file, input.truncated for a part of one, limit.size, data.invalid
 */
export async function readHeader(source: ByteSource): Promise<ReadHeader> {
  const { name, size } = source;
  const prefix = new DataView((await source.read(0, Math.min(prefixBytes, size))).buffer);
  const found = new TextDecoder('latin1').decode(prefix.buffer.slice(0, magic.length));
  if (found !== magic) {
    throw new EgolensError('input.format', `\`${name}\`: no search index: expected \`${magic}\` at its beginning`, {
      try: '`egolens search index PATH -o lib.egx` makes one',
    });
  }
  if (size < prefixBytes) throw truncated(source, prefixBytes);
  const version = prefix.getUint32(8, true);
  if (version !== indexVersion) {
    throw new EgolensError(
      'input.format',
      `\`${name}\`: a search index of version ${version}, expected ${indexVersion}`,
      { try: 'a newer program, or `egolens search index … --force` to make it again' },
    );
  }
  const stated = prefix.getBigUint64(12, true);
  if (stated > BigInt(longestHeader)) {
    throw new EgolensError('limit.size', `\`${name}\`: a header of ${stated} bytes, at most ${longestHeader} are read`);
  }
  const length = Number(stated);
  if (prefixBytes + length > size) throw truncated(source, prefixBytes + length);
  const text = new TextDecoder().decode(await source.read(prefixBytes, length));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw fault(name, `expected a header in JSON, found ${(cause as Error).message}`, cause);
  }
  await assertValid('egolens.index/1', value, name);
  const file = value as HeaderFile; // the schema says so
  const items = itemsOf(file, name);
  const start = vectorsStart(length);
  const end = start + file.rows * file.width * 2;
  if (size < end) throw truncated(source, end);
  if (size > end) throw fault(name, `expected ${end} bytes for ${file.rows} rows of ${file.width}, found ${size}`);
  const { model, output, precision, preset, stream, width } = file;
  const granularity = parseRational(file.granularity);
  return { header: { model, output, precision, preset, granularity, stream, width, items }, rows: file.rows, start };
}

/** What the schema cannot say: items in order, rows without gaps, times that run forward. */
function itemsOf(file: HeaderFile, name: string): readonly IndexItem[] {
  let row = 0;
  let before: { readonly path: string } | undefined;
  const items = file.items.map((item, i): IndexItem => {
    const at = `\`items[${i}]\``;
    const { path, identity, key, rows, origin, clock, last } = item;
    if (before !== undefined && byPath(before, item) >= 0)
      throw fault(name, `${at}: expected a path after the one before`);
    before = item;
    if (item.row !== row) throw fault(name, `${at}: expected first row ${row}, found ${item.row}`);
    row += rows;
    if (clock === null || clock.rate === 'source' || clock.rows !== rows) {
      throw fault(name, `${at}: expected a clock of a fixed rate with ${rows} rows`);
    }
    const { rate, ...grid } = clock;
    const [num, den] = rate.split('/').map(Number); // two whole numbers above 0: the schema says so
    if (!Number.isSafeInteger(num) || !Number.isSafeInteger(den)) throw fault(name, `${at}: a rate of ${rate}`);
    const read: IndexItem = {
      path,
      bytes: item.bytes,
      identity,
      key,
      rows,
      origin,
      clock: { ...grid, rate: rational(num!, den) },
      last: [last[0], last[1]],
    };
    const startBefore = rows === 1 ? origin : spanOfRow(read, rows - 2)[0];
    if (!(last[0] < last[1]) || !(startBefore <= last[0]) || !Number.isFinite(last[1])) {
      throw fault(name, `${at}: expected a last row after the one before, found ${last[0]} to ${last[1]} s`);
    }
    return read;
  });
  if (row !== file.rows) throw fault(name, `expected ${row} rows, those of its items, found ${file.rows}`);
  return items;
}

function fault(name: string, message: string, cause?: unknown): EgolensError {
  return new EgolensError('data.invalid', `\`${name}\`: ${message}`, {
    try: 'the index is damaged: `egolens search index … --force` makes it again',
    ...(cause !== undefined && { cause }),
  });
}

function truncated({ name, size }: ByteSource, needed: number): EgolensError {
  return new EgolensError('input.truncated', `\`${name}\`: expected ${needed} bytes, found ${size}`, {
    try: 'the index is damaged: `egolens search index … --force` makes it again',
  });
}
