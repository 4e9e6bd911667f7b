import { charge, objectUnits, tuple, type Machine } from './pickle-machine.js';
import {
  dottedName,
  isRecord,
  isSequence,
  isTuple,
  record,
  type PickleRecord,
  type PickleValue,
} from './pickle-values.js';

type Constructor = (m: Machine, args: readonly PickleValue[]) => PickleValue | undefined;

/**
 * The short allow list: containers of plain data that torch and Python write by name. Each row is code of ours that builds data
 * from data; undefined where the arguments have another form, and then the call becomes an inert record as any other.
 */
const constructors: ReadonlyMap<string, Constructor> = new Map<string, Constructor>([
  ['collections.OrderedDict', dictOf],
  // The first argument makes missing values, which data has no use for.
  ['collections.defaultdict', (m, args) => dictOf(m, args.slice(1))],
  ['collections.Counter', dictOf],
  ['builtins.dict', dictOf],
  ['__builtin__.dict', dictOf],
  ['builtins.set', setOf],
  ['__builtin__.set', setOf],
  ['builtins.frozenset', setOf],
  ['__builtin__.frozenset', setOf],
  ['torch.Size', (_, args) => (args.length === 1 && isTuple(args[0]) ? args[0] : undefined)],
  // How protocol 2 of Python 3 writes bytes.
  ['_codecs.encode', bytesOfLatin1],
]);

const reconstructors: ReadonlySet<string> = new Set(['copyreg._reconstructor', 'copy_reg._reconstructor']);

/** Names that mean plain data or torch's own types: everything else is reported as foreign. */
const familiar =
  /^(torch(\.cuda|\.storage)?\.\w*Storage|torch\.(Size|device|Tensor|u?int\d+|b?float\d+\w*|complex\d+|bool|strided)|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|argparse\.Namespace|numpy(\._?core)?(\.multiarray)?\.(scalar|dtype|ndarray|_reconstruct)|__torch__\..*)$/;

/** Names that are reported; a pickle may hold millions. */
const maxForeignNames = 1000;

/** The bare name, as data. */
export function globalOf(m: Machine, module: string, name: string): PickleRecord {
  charge(m, objectUnits.record);
  const value = record(module, name, null);
  const full = dottedName(value);
  const isKnown = constructors.has(full) || reconstructors.has(full) || familiar.test(full);
  if (!isKnown && m.foreignNames.size < maxForeignNames) m.foreignNames.add(full);
  return value;
}

/** What a call says, as data: a container for the few names of the allow list, an inert record for all others. Nothing is called. */
export function callOf(m: Machine, callee: PickleRecord, args: readonly PickleValue[]): PickleValue {
  charge(m, objectUnits.map);
  if (callee.args === null) {
    const made = constructors.get(dottedName(callee))?.(m, args);
    if (made !== undefined) return made;
    // Objects of protocols 0 and 1: (class, base class, state of the base).
    if (reconstructors.has(dottedName(callee)) && isRecord(args[0])) return record(args[0].module, args[0].name, []);
  }
  return record(callee.module, callee.name, args);
}

function dictOf(m: Machine, args: readonly PickleValue[]): Map<PickleValue, PickleValue> | undefined {
  if (args.length === 0) return new Map();
  const pairs = args[0];
  if (args.length > 1) return undefined;
  if (pairs instanceof Map) {
    charge(m, pairs.size);
    return new Map(pairs);
  }
  if (!isSequence(pairs)) return undefined;
  charge(m, pairs.length);
  const dict = new Map<PickleValue, PickleValue>();
  for (const pair of pairs) {
    if (!isSequence(pair) || pair.length !== 2) return undefined;
    dict.set(pair[0]!, pair[1]!);
  }
  return dict;
}

function setOf(m: Machine, args: readonly PickleValue[]): Set<PickleValue> | undefined {
  const items = args[0] ?? tuple(m, []);
  if (args.length > 1 || !isSequence(items)) return undefined;
  charge(m, items.length);
  return new Set(items);
}

function bytesOfLatin1(m: Machine, args: readonly PickleValue[]): Uint8Array | undefined {
  const [text, encoding] = args;
  if (args.length !== 2 || typeof text !== 'string' || encoding !== 'latin1') return undefined;
  charge(m, text.length);
  return new Uint8Array(Buffer.from(text, 'latin1'));
}
