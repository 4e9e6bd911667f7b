import { EgolensError } from '../errors.js';
import type { ByteSource } from '../types.js';
import { latin1, nameList } from './bytes.js';
import { hasLegacyMagic, openLegacy } from './legacy.js';
import { unpickle } from './pickle.js';
import type { PickleValue } from './pickle-values.js';
import type { CheckpointTensor } from './strided.js';
import { isTensorRecord, torchTensor, type StorageBox } from './torch-tensors.js';
import { openZip, type ZipArchive } from './zip.js';

/** A PyTorch file, its pickle read, its storages not. */
export interface PthFile {
  readonly container: 'zip' | 'legacy' | 'torchscript';
  /** What the file holds. May contain itself. */
  readonly root: PickleValue;
  /** Names outside torch, numpy and plain containers that the pickle mentions; nothing of them was called. */
  readonly foreignNames: readonly string[];
  /**
   * The tensor that a value of `root` stands for, null when it is none.
   *
   * @throws EgolensError checkpoint.unsupported, checkpoint.pickle or input.truncated when it is one that cannot be read
   */
  tensor(value: PickleValue | undefined, name: string): CheckpointTensor | null;
}

/** Bytes of `data.pkl`; that of a checkpoint with 10,000 tensors has some 3 MB. */
const maxPickleBytes = 64 * 2 ** 20;

/** How a file begins. */
export function magicOf(head: Uint8Array): 'zip' | 'legacy' | null {
  if (head[0] === 0x50 && head[1] === 0x4b && head[2] === 0x03 && head[3] === 0x04) return 'zip';
  return head[0] === 0x80 && hasLegacyMagic(head.subarray(0, 64)) ? 'legacy' : null;
}

/**
 * Open a file of `torch.save` (either container) or of `torch.jit.save`.
 *
 * @throws EgolensError checkpoint.format when it is neither; the codes of the pickle reader when it is damaged
 */
export async function openPth(source: ByteSource): Promise<PthFile> {
  if (source.size === 0) throw new EgolensError('input.empty', `\`${source.name}\`: the file has no bytes`);
  const head = await source.read(0, Math.min(64, source.size));
  const magic = magicOf(head);
  if (magic === 'zip') return await openZipPth(source);
  if (magic === 'legacy') {
    const { root, storages, foreignNames } = await openLegacy(source);
    return pthFile('legacy', root, storages, foreignNames);
  }
  throw new EgolensError(
    'checkpoint.format',
    `\`${source.name}\`: expected a zip archive or the magic number of a legacy PyTorch file, found ${firstBytes(head)}`,
  );
}

/** `80 02 7d 71` and what they may be, for messages. */
export function firstBytes(head: Uint8Array): string {
  const bytes = [...head.subarray(0, 8)].map((value) => value.toString(16).padStart(2, '0')).join(' ');
  if (head[0] === 0x80) return `${bytes} (a plain pickle)`;
  if (/^\s*[<{[]/.test(latin1(head))) return `${bytes} (text: an error page or JSON?)`;
  return bytes;
}

function pthFile(
  container: PthFile['container'],
  root: PickleValue,
  storages: StorageBox,
  foreignNames: ReadonlySet<string>,
): PthFile {
  return {
    container,
    root,
    foreignNames: [...foreignNames],
    tensor: (value, name) => (isTensorRecord(value) ? torchTensor(storages, value, name) : null),
  };
}

async function openZipPth(source: ByteSource): Promise<PthFile> {
  const zip = await openZip(source, 'checkpoint.format');
  const folder = rootFolder(zip, source.name);
  const byteOrder = zip.entries.has(`${folder}byteorder`)
    ? latin1(await zip.bytes(`${folder}byteorder`, 64, 'ignore'))
    : 'little';
  if (byteOrder.trim() !== 'little') {
    throw new EgolensError(
      'checkpoint.unsupported',
      `\`${source.name}\`: byte order \`${byteOrder.trim()}\`, expected \`little\``,
      { try: 'save the checkpoint again on a little-endian machine' },
    );
  }
  const pickle = unpickle(await zip.bytes(`${folder}data.pkl`, maxPickleBytes, 'ignore'), {
    name: source.name,
    persistent: (id) => ({ kind: 'persistent', id }),
  });
  const isScript =
    zip.entries.has(`${folder}constants.pkl`) ||
    [...zip.entries.keys()].some((name) => name.startsWith(`${folder}code/`));
  const storages: StorageBox = {
    name: source.name,
    byteLength: (key) => zip.entries.get(`${folder}data/${key}`)?.size ?? null,
    open: (key) => zip.open(`${folder}data/${key}`),
  };
  return pthFile(isScript ? 'torchscript' : 'zip', pickle.value, storages, pickle.foreignNames);
}

/** `archive/`: the folder that holds `data.pkl`. Its name is `archive` or the stem of the file at the time of saving. */
function rootFolder(zip: ZipArchive, name: string): string {
  const pickles = [...zip.entries.keys()].filter((entry) => /^([^/]+\/)?data\.pkl$/.test(entry));
  if (pickles.length === 1) return pickles[0]!.slice(0, -'data.pkl'.length);
  throw new EgolensError(
    'checkpoint.format',
    `\`${name}\`: a zip archive with ${pickles.length} entries \`data.pkl\`, expected one; found ${nameList([...zip.entries.keys()], 8)}`,
    pickles.length === 0
      ? { try: 'a `.npz` file is no checkpoint; a folder that was zipped must be unpacked first' }
      : {},
  );
}
