import { EgolensError } from '../errors.js';
import { bytesOf } from '../tensor.js';
import type { AnyTensor, ByteSource } from '../types.js';
import { npyHeader } from './npy-header.js';
import { readNpy, type NpyArray } from './npy.js';
import { entrySource, openZip } from './zip.js';
import { writeZip } from './zip-write.js';

/** Arrays of a `.npz` file, none read yet. */
export interface NpzFile {
  /** Without `.npy`, in the order of the directory. */
  readonly names: readonly string[];
  /** One array. Stored ones are read in place; deflated ones are inflated in memory first. */
  readonly read: (name: string) => Promise<NpyArray>;
}

/** Bytes of one inflated array where the caller does not say. */
const defaultMaxBytes = 2 ** 30;

/**
 * Open a `.npz` file, stored or deflated.
 *
 * @param maxBytes of one array; more is refused with `limit.size` before it is taken
 * @throws EgolensError input.format when it is no zip archive of `.npy` files
 */
export async function openNpz(source: ByteSource, maxBytes = defaultMaxBytes): Promise<NpzFile> {
  if (source.size === 0) throw new EgolensError('input.empty', `\`${source.name}\`: the file has no bytes`);
  const zip = await openZip(source, 'input.format');
  const names = [...zip.entries.keys()].filter((name) => name.endsWith('.npy')).map((name) => name.slice(0, -4));
  return {
    names,
    async read(name) {
      const entry = await entrySource(zip, `${name}.npy`, maxBytes);
      const named = { name: `${source.name}:${name}`, size: entry.size, read: entry.read.bind(entry) };
      return await readNpy(named, maxBytes);
    },
  };
}

/**
 * The bytes of a `.npz` file with stored entries, in pieces, as `numpy.load` reads them.
 *
 * @throws EgolensError limit.size when it would exceed 4 GB
 */
export function writeNpz(arrays: ReadonlyMap<string, AnyTensor>): Iterable<Uint8Array> {
  return writeZip(
    [...arrays].map(([name, value]) => ({
      name: `${name}.npy`,
      pieces: [npyHeader(value.dtype, value.shape), bytesOf(value)],
    })),
  );
}
