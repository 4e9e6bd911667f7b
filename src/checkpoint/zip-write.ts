import { crc32 } from 'node:zlib';
import { EgolensError } from '../errors.js';

/** A file to be put into an archive. */
export interface ZipInput {
  readonly name: string;
  /** Contents, in pieces that lie one after the other. */
  readonly pieces: readonly Uint8Array[];
}

/** What fits into a zip archive without the 64-bit extension, which not every reader knows. */
const maxBytes = 2 ** 32 - 1;
const maxEntries = 2 ** 16 - 1;
/** torch.save starts each storage at such a multiple, so that it can be mapped. */
const alignment = 64;

/**
 * The bytes of a zip archive of stored entries, in pieces, the contents uncopied. Data start at multiples of 64 bytes; dates are fixed,
 * so the same contents give the same bytes.
 *
 * @throws EgolensError limit.size before the first byte when the archive would exceed 4 GB
 */
export function* writeZip(inputs: readonly ZipInput[]): Generator<Uint8Array, void, undefined> {
  const planned = inputs.reduce(
    (sum, { name, pieces }) => sum + lengthOf(pieces) + 2 * Buffer.byteLength(name) + 30 + 46 + alignment + 4,
    22,
  );
  if (planned > maxBytes || inputs.length > maxEntries) {
    throw new EgolensError(
      'limit.size',
      `an archive of ${inputs.length} entries and some ${planned} bytes, expected at most ${maxEntries} and ${maxBytes}`,
    );
  }
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const { name, pieces } of inputs) {
    const fields = commonFields(name, pieces);
    const local = localHeader(name, fields, offset);
    directory.push(centralHeader(name, fields, offset));
    yield local;
    yield* pieces;
    offset += local.length + lengthOf(pieces);
  }
  yield* directory;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(inputs.length, 8);
  end.writeUInt16LE(inputs.length, 10);
  end.writeUInt32LE(lengthOf(directory), 12);
  end.writeUInt32LE(offset, 16);
  yield end;
}

function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

/** The 22 bytes that local and central header share: version to name length. */
function commonFields(name: string, pieces: readonly Uint8Array[]): Buffer {
  const fields = Buffer.alloc(24);
  fields.writeUInt16LE(20, 0); // version 2.0
  fields.writeUInt16LE(0x0800, 2); // names are UTF-8
  fields.writeUInt16LE(0x0021, 8); // 1 January 1980, the first day of the format
  let checksum = 0;
  for (const piece of pieces) checksum = crc32(piece, checksum);
  fields.writeUInt32LE(checksum, 10);
  fields.writeUInt32LE(lengthOf(pieces), 14);
  fields.writeUInt32LE(lengthOf(pieces), 18);
  fields.writeUInt16LE(Buffer.byteLength(name), 22);
  return fields;
}

/** With an extra field that fills up to the alignment, named as torch names its own (`FB`). */
function localHeader(name: string, fields: Buffer, offset: number): Buffer {
  const bare = 30 + Buffer.byteLength(name) + 4;
  const padding = (alignment - ((offset + bare) % alignment)) % alignment;
  const header = Buffer.alloc(bare + padding);
  header.writeUInt32LE(0x04034b50, 0);
  fields.copy(header, 4);
  header.writeUInt16LE(4 + padding, 28);
  header.write(name, 30);
  header.write('FB', bare - 4, 'latin1');
  header.writeUInt16LE(padding, bare - 2);
  return header;
}

function centralHeader(name: string, fields: Buffer, offset: number): Buffer {
  const header = Buffer.alloc(46 + Buffer.byteLength(name));
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(20, 4);
  fields.copy(header, 6);
  header.writeUInt32LE(offset, 42);
  header.write(name, 46);
  return header;
}
