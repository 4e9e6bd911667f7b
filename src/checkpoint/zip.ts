import { crc32, inflateRawSync } from 'node:zlib';
import { fromRandomAccessReaderPromise, RandomAccessReader, type Entry, type ZipFile } from 'yauzl';
import { EgolensError, type ErrorCode } from '../errors.js';
import type { ByteSource } from '../types.js';
import { memorySource, nameList, shortText, sliceSource } from './bytes.js';

export interface ZipEntry {
  readonly name: string;
  /** Bytes after inflation. */
  readonly size: number;
  /** Neither deflated nor encrypted: its bytes can be read where they lie. */
  readonly stored: boolean;
}

/** A zip archive whose directory was read and found without overlaps, doubles and entries outside the file. */
export interface ZipArchive {
  /** By name, in the order of the directory; folders left out. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** A stored entry in place. Throws the archive's code when it is deflated or not there. */
  open(name: string): Promise<ByteSource>;
  /**
   * A whole entry in memory, inflated. Throws `limit.size` before reading more than `maxBytes`.
   * `ignore` the checksum for PyTorch files: torch.save may be told not to compute it, and torch.load does not look.
   */
  bytes(name: string, maxBytes: number, checksum: 'check' | 'ignore'): Promise<Uint8Array<ArrayBuffer>>;
}

/** Ten times the largest training checkpoint that was met. */
const maxEntries = 100_000;
/** Bytes of a name in the archive. */
const maxNameBytes = 1024;

/**
 * Read the directory of a zip archive.
 *
 * @param code of the error that says what the file is not: `checkpoint.format` for checkpoints, `input.format` for arrays
 */
export async function openZip(source: ByteSource, code: ErrorCode): Promise<ZipArchive> {
  const fault = (message: string) => new EgolensError(code, `\`${source.name}\`: ${message}`);
  let zip: ZipFile;
  const found: Entry[] = [];
  try {
    zip = await fromRandomAccessReaderPromise(new SourceReader(source), source.size, { autoClose: false });
    if (zip.entryCount > maxEntries) {
      throw new EgolensError(
        'limit.size',
        `\`${source.name}\`: ${zip.entryCount} zip entries, expected at most ${maxEntries}`,
      );
    }
    for await (const entry of zip.eachEntry()) found.push(slim(entry, source.name));
  } catch (cause) {
    throw zipError(source, cause, code);
  }
  const entries = new Map<string, Entry>();
  for (const entry of found) {
    if (entry.fileName.endsWith('/')) continue;
    if (entries.has(entry.fileName)) throw fault(`zip entry \`${shortText(entry.fileName)}\` occurs twice`);
    entries.set(entry.fileName, entry);
  }
  const ends = entryEnds(found, source, code);

  /** Where the data of an entry begin. The header beside the data must agree with the directory: a reader of either sees the same file. */
  async function dataOf(entry: Entry): Promise<ByteSource> {
    const label = `zip entry \`${shortText(entry.fileName)}\``;
    let start: number;
    try {
      const header = await zip.readLocalFileHeaderPromise(entry);
      if (!header.fileName.equals(entry.fileNameRaw) || header.compressionMethod !== entry.compressionMethod) {
        throw fault(`${label} has another name or method beside its data than in the directory`);
      }
      start = header.fileDataStart;
    } catch (cause) {
      throw zipError(source, cause, code);
    }
    if (start + entry.compressedSize > ends.get(entry)!) throw fault(`${label} overlaps the next one`);
    return sliceSource(source, source.name, start, entry.compressedSize);
  }

  function entryOf(name: string): Entry {
    const entry = entries.get(name);
    if (entry === undefined)
      throw fault(`no zip entry \`${shortText(name)}\`; found ${nameList([...entries.keys()], 8)}`);
    if (entry.isEncrypted()) throw fault(`zip entry \`${shortText(name)}\` is encrypted`);
    return entry;
  }

  return {
    entries: new Map(
      [...entries].map(([name, entry]) => [
        name,
        { name, size: entry.uncompressedSize, stored: entry.compressionMethod === 0 && !entry.isEncrypted() },
      ]),
    ),
    async open(name) {
      const entry = entryOf(name);
      if (entry.compressionMethod !== 0)
        throw fault(`zip entry \`${shortText(name)}\` is compressed, expected it stored`);
      return await dataOf(entry);
    },
    async bytes(name, maxBytes, checksum) {
      const entry = entryOf(name);
      for (const size of [entry.compressedSize, entry.uncompressedSize]) {
        if (size <= maxBytes) continue;
        throw new EgolensError(
          'limit.size',
          `\`${source.name}\`: zip entry \`${shortText(name)}\` has ${size} bytes, expected at most ${maxBytes}`,
        );
      }
      const data = await dataOf(entry);
      const raw = await data.read(0, data.size);
      const bytes = entry.compressionMethod === 0 ? raw : inflate(raw, entry, fault);
      const isWhole =
        bytes.length === entry.uncompressedSize && (checksum === 'ignore' || crc32(bytes) === entry.crc32);
      if (!isWhole) {
        throw fault(`zip entry \`${shortText(name)}\` does not have the length and checksum that its directory states`);
      }
      return bytes;
    },
  };
}

/** A whole entry as a source: in place when stored, inflated in memory when not. */
export async function entrySource(zip: ZipArchive, name: string, maxBytes: number): Promise<ByteSource> {
  return zip.entries.get(name)?.stored === true
    ? await zip.open(name)
    : memorySource(name, await zip.bytes(name, maxBytes, 'check'));
}

/** Never more than the announced length is produced: a bomb stops there. */
function inflate(raw: Uint8Array, entry: Entry, fault: (message: string) => EgolensError): Uint8Array<ArrayBuffer> {
  const label = `zip entry \`${shortText(entry.fileName)}\``;
  if (entry.compressionMethod !== 8)
    throw fault(`${label} has compression method ${entry.compressionMethod}, expected 0 or 8`);
  try {
    return new Uint8Array(inflateRawSync(raw, { maxOutputLength: Math.max(1, entry.uncompressedSize) }));
  } catch (cause) {
    throw fault(`${label} cannot be inflated to its ${entry.uncompressedSize} bytes (${messageOf(cause)})`);
  }
}

/** Comments and extra fields were read and are let go: together they may be as large as the file. */
function slim(entry: Entry, name: string): Entry {
  if (entry.fileNameLength > maxNameBytes) {
    throw new EgolensError(
      'limit.size',
      `\`${name}\`: a zip entry with a name of ${entry.fileNameLength} bytes, expected at most ${maxNameBytes}`,
    );
  }
  entry.fileNameRaw = Buffer.from(entry.fileNameRaw);
  entry.extraFieldRaw = entry.fileCommentRaw = Buffer.alloc(0);
  entry.extraFields = [];
  entry.fileComment = entry.comment = '';
  return entry;
}

/** For each entry the offset that its data must not pass: the header of the next one, or the end of the file. */
function entryEnds(entries: readonly Entry[], source: ByteSource, code: ErrorCode): ReadonlyMap<Entry, number> {
  const ends = new Map<Entry, number>();
  const sorted = [...entries].sort((a, b) => a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader);
  for (const [i, entry] of sorted.entries()) {
    const end = sorted[i + 1]?.relativeOffsetOfLocalHeader ?? source.size;
    // The header has 30 bytes, the name and an extra field whose length is only known beside the data.
    const needed = entry.relativeOffsetOfLocalHeader + 30 + entry.fileNameLength + entry.compressedSize;
    if (!(needed <= end)) {
      const next = sorted[i + 1] === undefined ? 'the file ends' : 'the next entry begins';
      throw new EgolensError(
        i + 1 === sorted.length ? 'input.truncated' : code,
        `\`${source.name}\`: zip entry \`${shortText(entry.fileName)}\` reaches to byte ${needed}, ${next} at ${end}`,
      );
    }
    ends.set(entry, end);
  }
  return ends;
}

function zipError(source: ByteSource, cause: unknown, code: ErrorCode): EgolensError {
  if (cause instanceof EgolensError) return cause;
  const message = messageOf(cause);
  // A zip archive is read from its end, so the end is what a broken download lacks.
  if (message.startsWith('End of central directory record signature not found')) {
    return new EgolensError(
      'input.truncated',
      `\`${source.name}\`: a zip archive without its directory, which stands at the end; found ${source.size} bytes`,
      { cause, try: 'compare the size of the file with that of its source and fetch it again' },
    );
  }
  return new EgolensError(code, `\`${source.name}\`: a damaged zip archive (${shortText(message)})`, { cause });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** yauzl's door to a source. It asks for some 50 bytes at a time, so a window is read ahead. */
class SourceReader extends RandomAccessReader {
  readonly #source: ByteSource;
  #start = 0;
  #window = new Uint8Array(0);

  constructor(source: ByteSource) {
    super();
    this.#source = source;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (err: Error | null) => void,
  ): void {
    this.#bytes(position, length).then(
      (bytes) => {
        buffer.set(bytes, offset);
        callback(null);
      },
      (error: unknown) => {
        callback(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }

  async #bytes(position: number, length: number): Promise<Uint8Array> {
    const at = position - this.#start;
    if (at < 0 || at + length > this.#window.length) {
      const ahead = Math.min(Math.max(length, 64 * 2 ** 10), Math.max(0, this.#source.size - position));
      this.#window = await this.#source.read(position, Math.max(length, ahead));
      this.#start = position;
    }
    return this.#window.subarray(position - this.#start, position - this.#start + length);
  }
}
