import { EgolensError } from '../errors.js';
import type { ByteSource } from '../types.js';
import { shortText, sliceSource, uint64At } from './bytes.js';
import { elementTypes } from './element-types.js';
import { unpickle, type PickleOptions, type Unpickled } from './pickle.js';
import { describe, isSequence, isTuple, type PickleValue } from './pickle-values.js';
import { storageId, type StorageBox } from './torch-tensors.js';

/** First pickle of every legacy checkpoint. */
const magic = 0x1950a86a20f9469cfc6cn;
const protocolVersion = 1001;
/** Bytes of the pickles before the storages. */
const maxPickleBytes = 64 * 2 ** 20;
const firstWindow = 256 * 2 ** 10;

export interface LegacyFile {
  readonly root: PickleValue;
  readonly storages: StorageBox;
  readonly foreignNames: ReadonlySet<string>;
}

/** Do the first bytes hold the magic number of a legacy checkpoint? */
export function hasLegacyMagic(head: Uint8Array): boolean {
  try {
    return unpickle(head, { name: '' }).value === magic;
  } catch {
    return false;
  }
}

/**
 * The container of torch before 1.6: pickles of magic number, protocol, system info, object and list of storage keys; then for each
 * key, in that order, an int64 count of elements and the bytes.
 *
 * Source: pytorch torch/serialization.py, _legacy_load.
 */
export async function openLegacy(source: ByteSource): Promise<LegacyFile> {
  const fault = (message: string) => new EgolensError('checkpoint.pickle', `\`${source.name}\`: ${message}`);
  const { pickles, ids } = await readPickles(source);
  const [protocol, system, object, keys] = pickles;
  if (protocol?.value !== protocolVersion) {
    throw fault(`protocol ${describe(protocol?.value)}, expected the number ${protocolVersion}`);
  }
  if (system?.value instanceof Map && system.value.get('little_endian') === false) {
    throw new EgolensError('checkpoint.unsupported', `\`${source.name}\`: big-endian data, expected little-endian`);
  }
  if (object === undefined || keys === undefined || !isSequence(keys.value)) {
    throw fault(`expected a list of storage keys, found ${describe(keys?.value)}`);
  }
  const storages = await locate(source, keys.value, elementSizes(ids, source.name), keys.end);
  return {
    root: object.value,
    foreignNames: object.foreignNames,
    storages: {
      name: source.name,
      byteLength: (key) => storages.get(key)?.size ?? null,
      open: (key) => {
        const storage = storages.get(key);
        if (storage === undefined) throw fault(`no storage \`${shortText(key)}\``);
        return Promise.resolve(storage);
      },
    },
  };
}

/** The four pickles after the magic number. Their length is not announced, so the window grows until they fit. */
async function readPickles(
  source: ByteSource,
): Promise<{ pickles: readonly Unpickled[]; ids: readonly PickleValue[] }> {
  for (let window = firstWindow; ; window *= 4) {
    const length = Math.min(window, source.size, maxPickleBytes);
    const bytes = await source.read(0, length);
    const ids: PickleValue[] = [];
    const options: PickleOptions = {
      name: source.name,
      persistent: (id) => {
        ids.push(id);
        return { kind: 'persistent', id };
      },
    };
    try {
      const pickles: Unpickled[] = [];
      let at = unpickle(bytes, options).end;
      for (let i = 0; i < 4; i++) {
        const pickle = unpickle(bytes, options, at);
        pickles.push(pickle);
        at = pickle.end;
      }
      return { pickles, ids };
    } catch (error) {
      if (!(error instanceof EgolensError) || error.code !== 'input.truncated' || length === source.size) throw error;
      if (length === maxPickleBytes) {
        throw new EgolensError(
          'limit.size',
          `\`${source.name}\`: expected the pickles of a legacy checkpoint within ${maxPickleBytes} bytes`,
          { cause: error },
        );
      }
    }
  }
}

/** Bytes per element by storage key: the storage section gives counts only. */
function elementSizes(ids: readonly PickleValue[], name: string): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  for (const id of ids) {
    // Pickles of whole modules also refer to source code: ('module', class, file, text).
    if (!isTuple(id) || id[0] !== 'storage') continue;
    const { key, type } = storageId(id, `\`${name}\``);
    const size = type === null ? 1 : elementTypes[type].size;
    if ((sizes.get(key) ?? size) !== size) {
      throw new EgolensError('checkpoint.pickle', `\`${name}\`: storage \`${shortText(key)}\` has two element sizes`);
    }
    sizes.set(key, size);
  }
  return sizes;
}

/** Walk the storage section: one read of 8 bytes for each storage. */
async function locate(
  source: ByteSource,
  keys: readonly PickleValue[],
  sizes: ReadonlyMap<string, number>,
  start: number,
): Promise<ReadonlyMap<string, ByteSource>> {
  const storages = new Map<string, ByteSource>();
  let at = start;
  for (const key of keys) {
    const size = typeof key === 'string' ? sizes.get(key) : undefined;
    if (typeof key !== 'string' || size === undefined || storages.has(key)) {
      throw new EgolensError(
        'checkpoint.pickle',
        `\`${source.name}\`: the list of storages names ${describe(key)}, expected each storage of the object once`,
      );
    }
    const count = uint64At(await source.read(at, 8), 0);
    if (count === null || count > (source.size - at - 8) / size) {
      throw new EgolensError(
        'input.truncated',
        `\`${source.name}\`: storage \`${shortText(key)}\` announces ${count ?? 'more than 2^53'} elements of ${size} bytes at offset ${at + 8}, the file has ${source.size} bytes`,
      );
    }
    storages.set(key, sliceSource(source, source.name, at + 8, count * size));
    at += 8 + count * size;
  }
  return storages;
}
