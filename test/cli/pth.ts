import { writeZip, type ZipInput } from '../../src/checkpoint/zip-write.js';
import type { Weights } from './models.js';

/** PyTorch files made by hand, in the containers that published checkpoints come in (design: encoder.md 1.1). */

/** What stands around the weights: the keys on the way to them, and what every name begins with. */
export interface Wrapping {
  readonly key?: string;
  readonly prefix?: string;
}

type State = ReadonlyMap<string, Weights>;

const text = (value: string): string => {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return `X${length.toString('latin1')}${bytes.toString('latin1')}`;
};

const long = (value: bigint): string => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(value & 0xffff_ffff_ffff_ffffn);
  bytes.writeBigUInt64LE(value >> 64n, 8);
  return `\x8a\x10${bytes.toString('latin1')}`;
};

const int = (value: number): string => long(BigInt(value));
const tuple = (...items: readonly string[]): string => `(${items.join('')}t`;
const dict = (members: Iterable<readonly [string, string]>): string =>
  `}(${[...members].map(([key, value]) => text(key) + value).join('')}u`;
const pickle = (value: string): Buffer => Buffer.from(`\x80\x02${value}.`, 'latin1');

/** A tensor over the storage of that number. */
function tensorOps({ shape, data }: Weights, storage: number): string {
  const strides = shape.map((_, d) => shape.slice(d + 1).reduce((product, n) => product * n, 1));
  const id = tuple(text('storage'), 'ctorch\nFloatStorage\n', text(String(storage)), text('cuda:0'), int(data.length));
  const args = [`${id}Q`, int(0), tuple(...shape.map(int)), tuple(...strides.map(int)), '\x89'];
  return `ctorch._utils\n_rebuild_tensor_v2\n${tuple(...args, 'ccollections\nOrderedDict\n)R')}R`;
}

const storageBytes = ({ data }: Weights): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** The dictionary of a trainer around a state: under `key`, beside its other entries. */
function wrapped(state: State, { key = '', prefix = '' }: Wrapping): string {
  const weights = dict([...state].map(([name, value], i) => [prefix + name, tensorOps(value, i)]));
  return key === ''
    ? weights
    : dict([
        ['epoch', int(3)],
        [key, weights],
        ['optimizer', '}'],
      ]);
}

function archive(object: string, state: State, more: readonly ZipInput[] = []): Buffer {
  const storages = [...state.values()].map((value, i) => ({
    name: `archive/data/${i}`,
    pieces: [storageBytes(value)],
  }));
  return Buffer.concat([...writeZip([{ name: 'archive/data.pkl', pieces: [pickle(object)] }, ...storages, ...more])]);
}

/** As `torch.save` writes it from 1.6 on. */
export function zipPth(state: State, wrapping: Wrapping = {}): Buffer {
  return archive(wrapped(state, wrapping), state);
}

/** As `torch.save` wrote it before: five pickles, then each storage with its count of elements. */
export function legacyPth(state: State, wrapping: Wrapping = {}): Buffer {
  const keys = [...state.keys()].map((_, i) => text(String(i)));
  const storages = [...state.values()].flatMap((value) => {
    const count = Buffer.alloc(8);
    count.writeBigInt64LE(BigInt(value.data.length));
    return [count, storageBytes(value)];
  });
  return Buffer.concat([
    pickle(long(0x1950a86a20f9469cfc6cn)),
    pickle(int(1001)),
    pickle(dict([['little_endian', '\x88']])),
    pickle(wrapped(state, wrapping)),
    pickle(`](${keys.join('')}e`),
    ...storages,
  ]);
}

type Tree = Map<string, Tree | string>;

/** A TorchScript archive: modules within modules, whose attributes are the tensors. */
export function scriptPth(state: State): Buffer {
  const root: Tree = new Map();
  for (const [i, [name, value]] of [...state].entries()) {
    const path = name.split('.');
    let node = root;
    for (const part of path.slice(0, -1)) {
      const next = node.get(part) ?? new Map<string, never>();
      if (typeof next === 'string') throw new Error(`${name}: below a tensor`);
      node.set(part, next);
      node = next;
    }
    node.set(path.at(-1)!, tensorOps(value, i)); // a path has at least one name
  }
  const module = (tree: Tree): string =>
    `c__torch__\nModule\n)\x81${dict([...tree].map(([name, value]) => [name, typeof value === 'string' ? value : module(value)]))}b`;
  const more = [
    { name: 'archive/constants.pkl', pieces: [pickle(')')] },
    { name: 'archive/code/__torch__.py', pieces: [Buffer.from('class Module(Module):\n  pass\n')] },
  ];
  return archive(module(root), state, more);
}
