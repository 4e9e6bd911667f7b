import { EgolensError } from '../errors.js';
import type { ByteSource } from '../types.js';
import { nameList, shortText } from './bytes.js';
import { flattenModule, isModule } from './module-tree.js';
import { describe, dottedName, isRecord, type PickleValue } from './pickle-values.js';
import { firstBytes, magicOf, openPth, type PthFile } from './pth.js';
import { looksLikeSafetensors, openSafetensors } from './safetensors.js';
import type { CheckpointTensor } from './strided.js';

export interface CheckpointOptions {
  /** Key of the weights; where absent the usual ones are tried in order. '' is the file itself. */
  readonly weightsKey?: string;
  /** Keys that are tried before the usual ones, as where a family keeps averaged weights beside the raw ones. */
  readonly preferredKeys?: readonly string[];
  /** Prefixes of this family beside the general ones, such as `encoder.`. */
  readonly prefixes?: readonly string[];
  /** Only keys with this prefix are weights, and it is stripped: `clip.` of InternVideo. The others are listed in `outside`. */
  readonly keepOnly?: string;
}

/** The weights of a checkpoint, read as far as their names, types and shapes. */
export interface Checkpoint {
  readonly container: PthFile['container'] | 'safetensors';
  /** Key under which the weights stood; '' when they are the file itself. */
  readonly weightsKey: string;
  /** What was stripped from every name. */
  readonly prefix: string;
  /** By stripped name, in file order. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** Top-level keys beside the weights, such as `optimizer`. */
  readonly leftInFile: readonly string[];
  readonly topLevelKeys: readonly string[];
  /** Full names that `keepOnly` left out. */
  readonly outside: readonly string[];
  /** Entries among the weights that are no readable tensor, and why. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  /** Names outside torch, numpy and plain containers that the file mentions, such as `os.system`; never called. */
  readonly foreignNames: readonly string[];
}

/** One line of `models inspect FILE`. */
export interface TensorListing {
  readonly name: string;
  readonly storedType: string;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly storageKey: string;
  readonly contiguous: boolean;
}

/** Order of the search (encoder.md 1.2); then the file itself. */
const weightsKeys = ['model_state', 'state_dict', 'model', 'module'] as const;
/** Wrappers of torch.compile, data parallel training and detection frameworks. */
const generalPrefixes = ['_orig_mod.', 'module.', 'backbone.'] as const;

/**
 * Open a checkpoint of any known container, recognised by its content, and find the weights in it. No tensor is read.
 *
 * @throws EgolensError checkpoint.format for another file, checkpoint.unsupported when no weights are found in it, and the codes of
 *   the container's reader when it is damaged
 */
export async function openCheckpoint(source: ByteSource, options: CheckpointOptions = {}): Promise<Checkpoint> {
  if (source.size === 0) throw new EgolensError('input.empty', `\`${source.name}\`: the file has no bytes`);
  const head = await source.read(0, Math.min(64, source.size));
  if (magicOf(head) !== null) return fromPth(await openPth(source), source.name, options);
  if (looksLikeSafetensors(head, source.size)) {
    const { tensors } = await openSafetensors(source);
    const found = { weightsKey: '', topLevelKeys: [...tensors.keys()], leftInFile: [], skipped: [], foreignNames: [] };
    return { container: 'safetensors', ...found, ...strip(tensors, source.name, options) };
  }
  throw new EgolensError(
    'checkpoint.format',
    `\`${source.name}\`: the file begins with ${firstBytes(head)}; expected a PyTorch file (zip, legacy or TorchScript) or safetensors`,
  );
}

/** What `models inspect FILE` prints, in file order. */
export function* listTensors(checkpoint: Checkpoint): Generator<TensorListing> {
  for (const [name, tensor] of checkpoint.tensors) {
    const { storedType, shape, bytes, storageKey, contiguous } = tensor;
    yield { name, storedType, shape, bytes, storageKey, contiguous };
  }
}

function fromPth(file: PthFile, fileName: string, options: CheckpointOptions): Checkpoint {
  const top = dictionaryOf(file.root, fileName);
  const topLevelKeys = top === null ? [] : [...top.keys()];
  const usual = [...(options.preferredKeys ?? []), ...weightsKeys];
  for (const weightsKey of options.weightsKey === undefined ? [...usual, ''] : [options.weightsKey]) {
    const entries = weightsKey === '' ? top : dictionaryOf(top?.get(weightsKey), fileName);
    if (entries === null) continue;
    const { tensors, skipped } = tensorsOf(file, entries);
    if (tensors.size === 0) continue;
    return {
      container: file.container,
      weightsKey,
      topLevelKeys,
      leftInFile: weightsKey === '' ? [] : topLevelKeys.filter((key) => key !== weightsKey),
      skipped,
      foreignNames: file.foreignNames,
      ...strip(tensors, fileName, options),
    };
  }
  const tried = options.weightsKey === undefined ? usual : [options.weightsKey];
  const found = top === null ? `the file holds ${describe(file.root)}` : `top-level keys are ${nameList(topLevelKeys)}`;
  const foreign =
    file.foreignNames.length === 0 ? '' : `; it names ${nameList(file.foreignNames, 4)}, which is never called`;
  throw new EgolensError(
    'checkpoint.unsupported',
    `\`${fileName}\`: no dictionary of tensors under ${nameList(tried)}, nor at the top level; ${found}${foreign}`,
    { try: 'name the key that holds the weights, or save `model.state_dict()` alone' },
  );
}

/** A dict by its text keys, or the flat members of a module that was pickled whole; null for anything else. */
function dictionaryOf(value: PickleValue | undefined, fileName: string): ReadonlyMap<string, PickleValue> | null {
  if (isModule(value)) return flattenModule(value, fileName);
  if (!(value instanceof Map)) return null;
  const entries = new Map<string, PickleValue>();
  for (const [key, member] of value) {
    // Optimizer states are keyed by numbers; they are listed and hold no weights.
    if (typeof key === 'string' || typeof key === 'number') entries.set(String(key), member);
  }
  return entries;
}

function tensorsOf(
  file: PthFile,
  entries: ReadonlyMap<string, PickleValue>,
): { tensors: Map<string, CheckpointTensor>; skipped: { name: string; reason: string }[] } {
  const tensors = new Map<string, CheckpointTensor>();
  const skipped: { name: string; reason: string }[] = [];
  for (const [name, value] of entries) {
    try {
      const tensor = file.tensor(value, name);
      if (tensor !== null) tensors.set(name, tensor);
      else skipped.push({ name, reason: isRecord(value) ? `\`${shortText(dottedName(value))}\`` : describe(value) });
    } catch (error) {
      // A kind of tensor that is not read matters only if the model wants it; a tensor that lies about its bytes always does.
      if (!(error instanceof EgolensError) || error.code !== 'checkpoint.unsupported') throw error;
      skipped.push({ name, reason: error.message });
    }
  }
  return { tensors, skipped };
}

/** Strip the longest run of known prefixes that all kept names share. */
function strip(
  tensors: ReadonlyMap<string, CheckpointTensor>,
  fileName: string,
  options: CheckpointOptions,
): Pick<Checkpoint, 'prefix' | 'tensors' | 'outside'> {
  const keep = options.keepOnly ?? '';
  const isKept = (name: string) => name.startsWith(keep) && name.length > keep.length;
  const kept = [...tensors.keys()].filter((name) => isKept(name));
  const outside = [...tensors.keys()].filter((name) => !isKept(name));
  if (kept.length === 0) {
    throw new EgolensError(
      'checkpoint.unsupported',
      `\`${fileName}\`: no tensor named \`${keep}…\`; found ${nameList([...tensors.keys()])}`,
    );
  }
  const known = [...generalPrefixes, ...(options.prefixes ?? [])].sort((a, b) => b.length - a.length);
  let prefix = keep;
  for (;;) {
    const next = known.find((one) =>
      kept.every((name) => name.startsWith(one, prefix.length) && name.length > prefix.length + one.length),
    );
    if (next === undefined) break;
    prefix += next;
  }
  const stripped = new Map<string, CheckpointTensor>();
  for (const name of kept) {
    const short = name.slice(prefix.length);
    stripped.set(short, { ...tensors.get(name)!, name: short });
  }
  return { prefix, tensors: stripped, outside };
}
