import { EgolensError } from '../errors.js';
import type { ByteSource } from '../types.js';

/** A source over bytes in memory. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    read(offset, length) {
      const fault = rangeFault(name, bytes.length, offset, length);
      // Not `slice`: that of a Buffer shares memory.
      return fault === null
        ? Promise.resolve(new Uint8Array(bytes.subarray(offset, offset + length)))
        : Promise.reject(fault);
    },
  };
}

/** A part of a source as a source of its own. Throws `input.truncated` when the part leaves the whole. */
export function sliceSource(whole: ByteSource, name: string, start: number, size: number): ByteSource {
  const outside = rangeFault(name, whole.size, start, size);
  if (outside !== null) throw outside;
  return {
    name,
    size,
    read(offset, length) {
      const fault = rangeFault(name, size, offset, length);
      return fault === null ? whole.read(start + offset, length) : Promise.reject(fault);
    },
  };
}

function rangeFault(name: string, size: number, offset: number, length: number): EgolensError | null {
  const fits =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    length <= size - offset;
  return fits
    ? null
    : new EgolensError('input.truncated', `\`${name}\`: needed ${length} bytes at offset ${offset}, found ${size}`);
}

/** Unsigned 64-bit little-endian, or null when it exceeds 2^53: no size or offset of an honest file does. */
export function uint64At(bytes: Uint8Array, offset: number): number | null {
  const value = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(offset, true);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}

const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 text; null where the bytes are no UTF-8. A byte order mark is kept: two keys that differ by it must stay two keys. */
export function utf8(bytes: Uint8Array): string | null {
  try {
    return strictDecoder.decode(bytes);
  } catch {
    return null;
  }
}

/** One character per byte. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** Number of elements of a shape read from a file, or null when it exceeds 2^53. Zero wins over overflow only where it stands first: `[0, 2^60]`. */
export function checkedSize(shape: readonly number[]): number | null {
  let size = 1;
  for (const n of shape) {
    size *= n;
    if (!Number.isSafeInteger(size)) return null;
  }
  return size;
}

/** At most `limit` names in backquotes, then how many more there are. */
export function nameList(names: readonly string[], limit = 20): string {
  const shown = names.slice(0, limit).map((name) => `\`${shortText(name)}\``);
  return names.length > limit ? `${shown.join(', ')} and ${names.length - limit} more` : shown.join(', ');
}

/** A stranger's text for a message: control characters replaced, at most 120 characters. */
export function shortText(text: string): string {
  const clean = text.slice(0, 121).replace(/\p{C}/gu, '?');
  return clean.length > 120 ? `${clean.slice(0, 119)}…` : clean;
}
