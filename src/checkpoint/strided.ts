import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { ByteSource, StoredTensor } from '../types.js';
import { checkedSize } from './bytes.js';
import { elementTypes, floatsOf, type StoredType } from './element-types.js';

/** A tensor as a window on a storage: element [i, j, …] lies at offset + i*strides[0] + j*strides[1] + …, counted in elements. */
export interface View {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

/** A stored tensor with what `models inspect` lists. */
export interface CheckpointTensor extends StoredTensor {
  readonly storedType: StoredType;
  /** Bytes of its values as stored. */
  readonly bytes: number;
  /** Name of the storage in the file; tensors that share one are views of it. */
  readonly storageKey: string;
  /** Do its values lie in row-major order, one after the other? */
  readonly contiguous: boolean;
}

/** Elements of a piece where the caller does not say: 4 MiB of float32. */
export const defaultPiece = 2 ** 20;

/** Dimensions beyond this are no tensor of a checkpoint. */
const maxRank = 64;
/** Elements of an expanded (stride 0) tensor: its length is bound by no byte of the file. */
const maxExpanded = 2 ** 28;
/** Bytes of a strided view that are held at once. */
const maxHeld = 2 ** 31;

/** Elements from the first to the last that the view touches; 0 for an empty view. */
export function touchedLength(view: View): number {
  if (view.shape.includes(0)) return 0;
  return 1 + view.shape.reduce((sum, n, d) => sum + (n - 1) * view.strides[d]!, 0);
}

/**
 * Check a view against its storage, before anything is read or allocated.
 *
 * @param elements of the storage
 * @throws EgolensError checkpoint.pickle when the view leaves the storage or its numbers are no sizes, limit.size when it repeats too much
 */
export function checkView(view: View, elements: number, where: string): void {
  const { shape, strides, offset } = view;
  const fault = (message: string) => new EgolensError('checkpoint.pickle', `${where}: ${message}`);
  if (shape.length > maxRank) throw fault(`${shape.length} dimensions, expected at most ${maxRank}`);
  if (shape.length !== strides.length)
    throw fault(`${shape.length} sizes and ${strides.length} strides, expected as many`);
  const isCount = (n: number) => Number.isSafeInteger(n) && n >= 0;
  if (!shape.every(isCount) || !strides.every(isCount) || !isCount(offset)) {
    throw fault(
      `shape ${shapeText(shape)}, strides ${shapeText(strides)}, offset ${offset}; expected whole numbers from 0 on`,
    );
  }
  if (shape.includes(0)) return;
  const size = checkedSize(shape);
  const length = touchedLength(view);
  if (size === null || !Number.isSafeInteger(length) || length > elements - offset) {
    throw fault(
      `shape ${shapeText(shape)}, strides ${shapeText(strides)}, offset ${offset} needs ${offset + length} elements, the storage has ${elements}`,
    );
  }
  if (size > length && size > maxExpanded) {
    throw new EgolensError(
      'limit.size',
      `${where}: ${size} elements out of ${length} stored ones, expected at most ${maxExpanded} where values repeat`,
    );
  }
}

/** Row-major without gaps? Strides of dimensions of length 1 say nothing. */
export function isContiguous(view: View): boolean {
  let expected = 1;
  for (let d = view.shape.length - 1; d >= 0; d--) {
    const n = view.shape[d]!;
    if (n === 0) return true;
    if (n !== 1 && view.strides[d] !== expected) return false;
    expected *= n;
  }
  return true;
}

/** Strides of a row-major array. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let d = shape.length - 2; d >= 0; d--) strides[d] = strides[d + 1]! * shape[d + 1]!;
  return strides;
}

/**
 * Values of a checked view in row-major order as float32.
 *
 * Contiguous views stream. Others hold either the touched part of the storage or, where that is larger, the finished values:
 * memory is at most the smaller of the two and one piece.
 */
export async function* viewChunks(
  storage: ByteSource,
  type: StoredType,
  view: View,
  maxElements = defaultPiece,
): AsyncGenerator<Float32Array<ArrayBuffer>, void, undefined> {
  if (!Number.isSafeInteger(maxElements) || maxElements < 1) {
    throw new EgolensError('internal.bug', `pieces of ${maxElements} elements, expected at least 1`);
  }
  const size = checkedSize(view.shape) ?? 0;
  if (size === 0) return;
  if (isContiguous(view)) yield* stream(storage, type, view.offset, size, maxElements);
  else if (touchedLength(view) * elementTypes[type].size > 4 * size && runsForwards(view)) {
    yield* scatter(storage, type, view, maxElements);
  } else yield* gather(storage, type, view, maxElements);
}

/** Dimensions in falling order of stride. */
function fileOrder(view: View): number[] {
  return view.shape.map((_, d) => d).sort((a, b) => view.strides[b]! - view.strides[a]!);
}

/** Does the walk in file order never step back? Not where a view overlaps itself, and such a one could read a file over and over. */
function runsForwards(view: View): boolean {
  let inner = 0;
  for (const d of fileOrder(view).reverse()) {
    if (view.shape[d] === 1) continue;
    if (view.strides[d]! < inner) return false;
    inner += (view.shape[d]! - 1) * view.strides[d]!;
  }
  return true;
}

async function* stream(
  storage: ByteSource,
  type: StoredType,
  offset: number,
  size: number,
  maxElements: number,
): AsyncGenerator<Float32Array<ArrayBuffer>, void, undefined> {
  const bytes = elementTypes[type].size;
  for (let at = 0; at < size; at += maxElements) {
    const count = Math.min(maxElements, size - at);
    yield floatsOf(type, await storage.read((offset + at) * bytes, count * bytes));
  }
}

/** Walks the elements of a view in the order of `shape`, last dimension fastest. */
function walker(shape: readonly number[], strides: readonly number[]): { at: number; next(): void } {
  const index = shape.map(() => 0);
  return {
    at: 0,
    next() {
      for (let d = shape.length - 1; d >= 0; d--) {
        this.at += strides[d]!;
        if (++index[d]! < shape[d]!) return;
        this.at -= strides[d]! * shape[d]!;
        index[d] = 0;
      }
    },
  };
}

/** Read the touched part once, then pick from it. Raw elements are picked, so that each is converted once. */
async function* gather(
  storage: ByteSource,
  type: StoredType,
  view: View,
  maxElements: number,
): AsyncGenerator<Float32Array<ArrayBuffer>, void, undefined> {
  const { size: bytes } = elementTypes[type];
  const held = await storage.read(view.offset * bytes, heldBytes(storage, touchedLength(view) * bytes));
  // Whole elements are moved at once; those of 8 bytes as two halves, so that no bit pattern passes through a float.
  const unit = Math.min(bytes, 4);
  const halves = bytes / unit;
  const from = unitsOf(held.byteOffset % unit === 0 ? held : new Uint8Array(held), unit);
  const size = checkedSize(view.shape) ?? 0;
  const walk = walker(view.shape, view.strides);
  for (let done = 0; done < size; done += maxElements) {
    const count = Math.min(maxElements, size - done);
    const piece = new Uint8Array(count * bytes);
    const to = unitsOf(piece, unit);
    for (let i = 0; i < count; i++) {
      to[i * halves] = from[walk.at * halves]!;
      if (halves === 2) to[i * 2 + 1] = from[walk.at * 2 + 1]!;
      walk.next();
    }
    yield floatsOf(type, piece);
  }
}

function unitsOf(bytes: Uint8Array<ArrayBuffer>, unit: number): Uint8Array | Uint16Array | Uint32Array {
  if (unit === 1) return bytes;
  return new (unit === 2 ? Uint16Array : Uint32Array)(bytes.buffer, bytes.byteOffset, bytes.length / unit);
}

/** A sparse view: go through the touched part in file order and put each element where it belongs. */
async function* scatter(
  storage: ByteSource,
  type: StoredType,
  view: View,
  maxElements: number,
): AsyncGenerator<Float32Array<ArrayBuffer>, void, undefined> {
  const { size: bytes } = elementTypes[type];
  const order = fileOrder(view);
  const shape = order.map((d) => view.shape[d]!);
  const rowMajor = rowMajorStrides(view.shape);
  const source = walker(
    shape,
    order.map((d) => view.strides[d]!),
  );
  const target = walker(
    shape,
    order.map((d) => rowMajor[d]!),
  );
  const size = checkedSize(view.shape) ?? 0;
  const values = new Float32Array(heldBytes(storage, 4 * size) / 4);
  const length = touchedLength(view);
  let first = 0;
  let window: Float32Array<ArrayBuffer> = new Float32Array(0);
  for (let i = 0; i < size; i++) {
    if (source.at >= first + window.length) {
      first = source.at;
      const count = Math.min(defaultPiece, length - first);
      window = floatsOf(type, await storage.read((view.offset + first) * bytes, count * bytes));
    }
    values[target.at] = window[source.at - first]!;
    source.next();
    target.next();
  }
  for (let done = 0; done < size; done += maxElements) yield values.slice(done, done + maxElements);
}

function heldBytes(storage: ByteSource, bytes: number): number {
  if (bytes <= maxHeld) return bytes;
  throw new EgolensError(
    'limit.size',
    `\`${storage.name}\`: a tensor that is not row-major holds ${bytes} bytes at once, expected at most ${maxHeld}`,
  );
}
