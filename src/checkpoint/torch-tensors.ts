import { EgolensError } from '../errors.js';
import type { ByteSource } from '../types.js';
import { checkedSize, shortText } from './bytes.js';
import { elementTypes, type StoredType } from './element-types.js';
import {
  describe,
  dottedName,
  isPersistent,
  isRecord,
  isSequence,
  isTuple,
  type PickleRecord,
  type PickleValue,
} from './pickle-values.js';
import { checkView, isContiguous, viewChunks, type CheckpointTensor, type View } from './strided.js';

/** Where the bytes of storages are; reading none of them. */
export interface StorageBox {
  /** What messages call the file. */
  readonly name: string;
  /** Bytes of a storage; null when the file has none of that key. */
  byteLength(key: string): number | null;
  /** The bytes of a storage as a source of their own. */
  open(key: string): Promise<ByteSource>;
}

/** A persistent id of torch: `('storage', class, key, location, elements[, view])`. The location (`cuda:0`) is ignored. */
export interface StorageId {
  readonly key: string;
  /** null for an untyped storage, whose elements are bytes. */
  readonly type: StoredType | null;
  /** Elements of the whole storage. */
  readonly elements: number;
  /** The part that a legacy view storage stands for, in elements. */
  readonly part: { readonly offset: number; readonly elements: number };
}

const storageTypes: ReadonlyMap<string, StoredType | null> = new Map<string, StoredType | null>([
  ['FloatStorage', 'float32'],
  ['HalfStorage', 'float16'],
  ['BFloat16Storage', 'bfloat16'],
  ['DoubleStorage', 'float64'],
  ['LongStorage', 'int64'],
  ['IntStorage', 'int32'],
  ['ShortStorage', 'int16'],
  ['CharStorage', 'int8'],
  ['ByteStorage', 'uint8'],
  ['BoolStorage', 'bool'],
  ['UntypedStorage', null],
]);

/** `torch.float32` and the like, as `_rebuild_tensor_v3` names them. */
const dtypes: ReadonlyMap<string, StoredType> = new Map(
  (Object.keys(elementTypes) as StoredType[]).map((type) => [type, type]), // keys of a total mapped type
);

/** Wrappers in wrappers (a parameter of a subclass of a tensor) that are looked through. */
const maxWrappers = 8;

/** The torch constructors of tensors are known by their names: `torch._utils._rebuild_tensor_v2` and its relatives. */
export function isTensorRecord(value: PickleValue | undefined): value is PickleRecord {
  return (
    isRecord(value) &&
    value.args !== null &&
    value.name.startsWith('_rebuild_') &&
    (value.module === 'torch._utils' || value.module === 'torch._tensor')
  );
}

/** Reads a persistent id; throws `checkpoint.unsupported` for a storage class that is not read, `checkpoint.pickle` for another form. */
export function storageId(id: PickleValue, where: string): StorageId {
  const fault = (message: string) => new EgolensError('checkpoint.pickle', `${where}: ${message}`);
  if (!isTuple(id) || id[0] !== 'storage' || id.length < 5) {
    throw fault(`expected a persistent id ('storage', class, key, location, elements), found ${describe(id)}`);
  }
  const [, storageClass, key, , elements, view] = id;
  if (!isRecord(storageClass)) throw fault(`expected a storage class, found ${describe(storageClass)}`);
  const type = /^torch(\.cuda|\.storage)?$/.test(storageClass.module) ? storageTypes.get(storageClass.name) : undefined;
  if (type === undefined) {
    throw new EgolensError(
      'checkpoint.unsupported',
      `${where}: storage class \`${shortText(dottedName(storageClass))}\`, expected one of ${[...storageTypes.keys()].join(', ')} of torch`,
    );
  }
  if (typeof key !== 'string') throw fault(`expected a storage key, found ${describe(key)}`);
  if (!isCount(elements)) throw fault(`expected a count of elements, found ${describe(elements)}`);
  if (view === undefined || view === null) return { key, type, elements, part: { offset: 0, elements } };
  // A storage of the time before tensors had offsets: (key of the view, offset, elements).
  const [, offset, size] = isSequence(view) ? view : [];
  if (!isCount(offset) || !isCount(size) || size > elements - offset) {
    throw fault(`a part of storage \`${shortText(key)}\` that leaves its ${elements} elements`);
  }
  return { key, type, elements, part: { offset, elements: size } };
}

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

interface TensorForm {
  readonly storage: StorageId;
  readonly type: StoredType;
  readonly view: View;
}

/** What a tensor record says, without looking at storages. */
function tensorForm(value: PickleRecord, where: string, depth = 0): TensorForm {
  const args = value.args ?? [];
  const inner = args[0];
  const unsupported = (what: string) =>
    new EgolensError('checkpoint.unsupported', `${where}: ${what}`, {
      try: 'save the weights as plain dense tensors, for instance with `{k: v.detach().cpu() for k, v in model.state_dict().items()}`',
    });
  switch (value.name) {
    case '_rebuild_tensor':
    case '_rebuild_tensor_v2':
    case '_rebuild_tensor_v3':
      return plainForm(value, where);
    // Both hold a tensor and something about it.
    case '_rebuild_parameter':
    case '_rebuild_parameter_with_state':
      if (!isTensorRecord(inner)) throw unsupported(`a parameter made of ${describe(inner)}`);
      if (depth >= maxWrappers) throw unsupported(`a parameter in ${depth} wrappers`);
      return tensorForm(inner, where, depth + 1);
    // (function, type, arguments, state): a tensor with attributes, or of a subclass.
    case '_rebuild_from_type_v2':
      if (isRecord(inner) && inner.args === null && isTuple(args[2]) && depth < maxWrappers) {
        const made = { ...inner, args: args[2] };
        if (isTensorRecord(made)) return tensorForm(made, where, depth + 1);
      }
      throw unsupported(`a tensor of another type, made by ${describe(inner)}`);
    default:
      throw unsupported(`a tensor made by \`${shortText(dottedName(value))}\`, expected a dense one`);
  }
}

/** `(storage, offset, shape, strides, …)`, in version 3 with the dtype at place 6. */
function plainForm(value: PickleRecord, where: string): TensorForm {
  const fault = (message: string) => new EgolensError('checkpoint.pickle', `${where}: ${message}`);
  const [reference, offset, shape, strides, , , dtype] = value.args ?? [];
  if (!isPersistent(reference)) throw fault(`expected a storage, found ${describe(reference)}`);
  const storage = storageId(reference.id, where);
  if (!isNumbers(shape) || !isNumbers(strides) || typeof offset !== 'number') {
    throw fault(
      `expected an offset, a shape and strides, found ${describe(offset)}, ${describe(shape)}, ${describe(strides)}`,
    );
  }
  let type = storage.type;
  if (value.name === '_rebuild_tensor_v3') {
    type = (isRecord(dtype) && dtype.module === 'torch' ? dtypes.get(dtype.name) : undefined) ?? null;
  }
  if (type === null) {
    throw new EgolensError(
      'checkpoint.unsupported',
      `${where}: element type ${describe(dtype)}, expected one of ${[...dtypes.keys()].join(', ')}`,
    );
  }
  return { storage, type, view: { shape, strides, offset } };
}

function isNumbers(value: PickleValue | undefined): value is readonly number[] {
  return isSequence(value) && value.every((item) => typeof item === 'number');
}

/**
 * The tensor that a record stands for, checked against its storage, not read.
 *
 * @throws EgolensError checkpoint.unsupported for sparse, quantised and other tensors that are no dense array, checkpoint.pickle when
 *   sizes, strides or storage disagree, input.truncated when the storage is not in the file
 */
export function torchTensor(box: StorageBox, value: PickleRecord, name: string): CheckpointTensor {
  const where = `\`${box.name}\`, tensor \`${shortText(name)}\``;
  const { storage, type, view } = tensorForm(value, where);
  const { size } = elementTypes[type];
  const storageElementSize = storage.type === null ? 1 : elementTypes[storage.type].size;
  const stored = box.byteLength(storage.key) ?? (storage.elements === 0 ? 0 : null);
  if (stored === null) {
    throw new EgolensError('input.truncated', `${where}: storage \`${shortText(storage.key)}\` is not in the file`);
  }
  if (stored !== storage.elements * storageElementSize) {
    throw new EgolensError(
      'checkpoint.pickle',
      `${where}: storage \`${shortText(storage.key)}\` has ${stored} bytes, expected ${storage.elements * storageElementSize}`,
    );
  }
  if (storage.type !== null && storageElementSize !== size) {
    throw new EgolensError('checkpoint.pickle', `${where}: elements of ${size} bytes in a storage of ${storage.type}`);
  }
  checkView(view, Math.floor((storage.part.elements * storageElementSize) / size), where);
  const placed: View = { ...view, offset: storage.part.offset + view.offset };
  return {
    name,
    storedType: type,
    shape: view.shape,
    bytes: (checkedSize(view.shape) ?? 0) * size,
    storageKey: storage.key,
    contiguous: isContiguous(view),
    async *chunks(maxElements) {
      if (view.shape.includes(0)) return;
      yield* viewChunks(await box.open(storage.key), type, placed, maxElements);
    },
  };
}
