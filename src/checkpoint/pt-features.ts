/** Feature files `.pt`: one tensor per video, as Ego4D distributes them, or a dictionary of tensors. */
import { EgolensError } from '../errors.js';
import { bytesOf, shapeText, sizeOf, tensor } from '../tensor.js';
import type { ByteSource, StoredTensor, Tensor } from '../types.js';
import { checkedSize, nameList } from './bytes.js';
import { describe } from './pickle-values.js';
import { openPth } from './pth.js';
import { rowMajorStrides, type CheckpointTensor } from './strided.js';
import { writeZip } from './zip-write.js';

/** Elements of a tensor that is taken into memory whole: 2 GiB of float32. */
const maxElements = 2 ** 29;

/**
 * The tensors of a `.pt` file, not read yet: a tensor that stands alone has the name ''.
 *
 * @throws EgolensError checkpoint.unsupported when the file holds neither a tensor nor a dictionary with one
 */
export async function openPt(source: ByteSource): Promise<ReadonlyMap<string, CheckpointTensor>> {
  const file = await openPth(source);
  const alone = file.tensor(file.root, '');
  if (alone !== null) return new Map([['', alone]]);
  const tensors = new Map<string, CheckpointTensor>();
  const entries = file.root instanceof Map ? file.root : [];
  for (const [key, value] of entries) {
    const name = typeof key === 'string' || typeof key === 'number' ? String(key) : '';
    const found = name === '' ? null : file.tensor(value, name);
    if (found !== null) tensors.set(name, found);
  }
  if (tensors.size > 0) return tensors;
  throw new EgolensError(
    'checkpoint.unsupported',
    `\`${source.name}\`: expected a tensor or a dictionary of tensors, found ${describe(file.root)}`,
  );
}

/** The only tensor of a `.pt` file, or the one of that name. Throws `data.invalid` when there are several and none is named. */
export async function readPt(source: ByteSource, name?: string): Promise<Tensor<'float32'>> {
  const tensors = await openPt(source);
  const chosen = name === undefined ? (tensors.size === 1 ? [...tensors.values()][0] : undefined) : tensors.get(name);
  if (chosen !== undefined) return await readTensor(chosen);
  throw new EgolensError(
    'data.invalid',
    `\`${source.name}\`: expected ${name === undefined ? 'one tensor' : `a tensor \`${name}\``}, found ${nameList([...tensors.keys()])}`,
  );
}

/** A whole tensor in memory as float32. Throws `limit.size` above 2^29 elements. */
export async function readTensor(stored: StoredTensor): Promise<Tensor<'float32'>> {
  const size = stored.shape.includes(0) ? 0 : checkedSize(stored.shape);
  if (size === null || size > maxElements) {
    throw new EgolensError(
      'limit.size',
      `\`${stored.name}\`: shape ${shapeText(stored.shape)}, expected at most ${maxElements} elements`,
    );
  }
  const values = new Float32Array(size);
  let at = 0;
  for await (const piece of stored.chunks()) {
    values.set(piece, at);
    at += piece.length;
  }
  return tensor('float32', stored.shape, values);
}

/** The bytes of a file that `torch.load` gives back as this tensor, in pieces. Throws `limit.size` above 4 GB. */
export function writePt(value: Tensor<'float32'>): Iterable<Uint8Array> {
  return writeZip([
    { name: 'archive/data.pkl', pieces: [tensorPickle(value.shape)] },
    { name: 'archive/byteorder', pieces: [Buffer.from('little')] },
    { name: 'archive/data/0', pieces: [bytesOf(value)] },
    { name: 'archive/version', pieces: [Buffer.from('3\n')] },
  ]);
}

/** Protocol 2: `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`. */
function tensorPickle(shape: readonly number[]): Buffer {
  const storage = [
    '(',
    text('storage'),
    'ctorch\nFloatStorage\n',
    text('0'),
    text('cpu'),
    integer(sizeOf(shape)),
    'tQ',
  ];
  const parts = [
    '\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(',
    ...storage,
    integer(0),
    tuple(shape),
    tuple(rowMajorStrides(shape)),
    '\x89ccollections\nOrderedDict\n)RtR.',
  ];
  return Buffer.from(parts.join(''), 'latin1');
}

function tuple(values: readonly number[]): string {
  return `(${values.map(integer).join('')}t`;
}

function text(value: string): string {
  return `X${littleEndian(value.length, 4)}${value}`;
}

/** BININT where it fits, else LONG1 of 8 bytes. */
function integer(value: number): string {
  return value < 2 ** 31 ? `J${littleEndian(value, 4)}` : `\x8a\x08${littleEndian(value, 8)}`;
}

function littleEndian(value: number, bytes: 4 | 8): string {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer.toString('latin1', 0, bytes);
}
