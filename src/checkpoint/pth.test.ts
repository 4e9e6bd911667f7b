import { existsSync, readFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { memorySource } from './bytes.js';
import { isRecord } from './pickle-values.js';
import { openPth } from './pth.js';
import { readTensor } from './pt-features.js';
import { openCheckpoint } from './state-dict.js';
import { writeZip, type ZipInput } from './zip-write.js';

const fixtures = new URL('../../fixtures/checkpoints/', import.meta.url);
const views = ['protocol2', 'protocol3', 'protocol4', 'protocol5', 'legacy'].map((form) => `views-${form}.pth`);

function fixture(name: string): Buffer {
  return readFileSync(new URL(name, fixtures));
}

describe.each(views)('%s', (name) => {
  test.each([
    ['whole', Array.from({ length: 24 }, (_, i) => i), [2, 3, 4]],
    ['sliced', [13, 14, 17, 18], [2, 2]],
    ['column', [3, 7, 11, 15, 19, 23], [6, 1]],
    ['expanded', [5, 6, 7, 5, 6, 7].map((_, i) => 5 + (i % 3)), [2, 3]],
    ['scalar', [23], []],
    ['empty', [], [0, 4]],
    ['parameter', [20, 21, 22, 23], [4]],
    ['type_Float', [1.5, -2, 0.25], [3]],
    ['type_Half', [1.5, -2, 0.25], [3]],
    ['type_BFloat16', [1.5, -2, 0.25], [3]],
    ['type_Double', [1.5, -2, Math.fround(0.1)], [3]],
    ['type_Long', [-(2 ** 40), 7, 0], [3]],
    ['type_Int', [-5, 7, 0], [3]],
    ['type_Short', [-5, 7, 0], [3]],
    ['type_Char', [-5, 7, 0], [3]],
    ['type_Byte', [250, 7, 0], [3]],
    ['type_Bool', [1, 0, 1], [3]],
  ])('tensor %s has the values that were saved', async (tensor, expected, shape) => {
    const { tensors } = await openCheckpoint(memorySource(name, fixture(name)));
    const { data, shape: found } = await readTensor(tensors.get(tensor)!);
    expect(found).toEqual(shape);
    expect([...data]).toEqual(expected);
  });

  test('a transposed view is gathered in row-major order', async () => {
    const { tensors } = await openCheckpoint(memorySource(name, fixture(name)));
    const { data } = await readTensor(tensors.get('transposed')!);
    expect([...data.slice(0, 8)]).toEqual([0, 4, 8, 12, 16, 20, 1, 5]);
  });

  test('what stands beside the weights is plain data', async () => {
    const { root } = await openPth(memorySource(name, fixture(name)));
    const top = root as Map<string, unknown>; // the fixture is a dictionary
    const args = top.get('args') as Parameters<typeof isRecord>[0];
    expect(isRecord(args) && args.state).toEqual(
      new Map<string, unknown>([
        ['lr', 0.001],
        ['name', 'vit'],
        ['flags', [true, null, new Uint8Array([0, 255])]],
        ['where', ['a', 1]],
      ]),
    );
    expect(top.get('optimizer')).toEqual(
      new Map<unknown, unknown>([
        [0, 'state'],
        ['big', -(2 ** 40)],
        ['huge', 2n ** 80n],
      ]),
    );
  });
});

test('only the storage of the wanted tensor is read', async () => {
  const file = fixture('views-protocol2.pth');
  const source = memorySource('views', file);
  let bytesRead = 0;
  const { tensors } = await openCheckpoint(source);
  const counted = await openCheckpoint({
    ...source,
    read(offset, length) {
      bytesRead += length;
      return source.read(offset, length);
    },
  });
  expect(tensors.size).toBe(18);
  bytesRead = 0;
  await readTensor(counted.tensors.get('sliced')!);
  // The header beside the data comes out of the window that is already in memory.
  expect(bytesRead).toBe(4 * 6);
});

describe('hostile pickles', () => {
  test.each(['hostile-os-system.pth', 'hostile-nested.pth'])('%s runs nothing and holds no weights', async (name) => {
    await expect(openCheckpoint(memorySource(name, fixture(name)))).rejects.toMatchObject({
      code: 'checkpoint.unsupported',
    });
    expect(existsSync('executed.txt')).toBe(false);
  });

  test('a call of os.system is data that names itself', async () => {
    const file = await openPth(memorySource('x', fixture('hostile-os-system.pth')));
    expect(file.root).toMatchObject({ name: 'system', args: ['echo executed > executed.txt'] });
    expect(file.foreignNames).toEqual(['posix.system']);
  });
});

// ---- files made by hand --------------------------------------------------------------------------------------------

/** One tensor as pickle opcodes: the fields that a lie can change. */
interface TensorSpec {
  readonly storage?: string;
  readonly key?: string;
  readonly elements?: number;
  readonly offset?: number;
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
  readonly make?: string;
  readonly tail?: string;
}

function int(value: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(value));
  return `\x8a\x08${bytes.toString('latin1')}`;
}

function tensorOps(spec: TensorSpec = {}): string {
  const tuple = (values: readonly number[]) => `(${values.map(int).join('')}t`;
  const {
    storage = 'torch\nFloatStorage',
    key = '0',
    elements = 6,
    offset = 0,
    shape = [2, 3],
    strides = [3, 1],
  } = spec;
  const id = `(\x8c\x07storagec${storage}\n\x8c${String.fromCharCode(key.length)}${key}\x8c\x03cpu${int(elements)}tQ`;
  const make = spec.make ?? 'torch._utils\n_rebuild_tensor_v2';
  return `c${make}\n(${id}${int(offset)}${tuple(shape)}${tuple(strides)}\x89ccollections\nOrderedDict\n)R${spec.tail ?? ''}tR`;
}

function dictOps(members: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(members).map(([key, value]) => `\x8c${String.fromCharCode(key.length)}${key}${value}`);
  return `}(${pairs.join('')}u`;
}

const six = new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5).buffer);

function file(opcodes: string, extra: readonly ZipInput[] = [{ name: 'archive/data/0', pieces: [six] }]): Buffer {
  const inputs = [{ name: 'archive/data.pkl', pieces: [Buffer.from(`\x80\x02${opcodes}.`, 'latin1')] }, ...extra];
  return Buffer.concat([...writeZip(inputs)]);
}

/** Opens and reads everything; the code of the error, or the values. */
async function outcome(bytes: Uint8Array): Promise<string | number[]> {
  try {
    const { tensors } = await openCheckpoint(memorySource('made.pth', bytes));
    const values: number[] = [];
    for (const tensor of tensors.values()) values.push(...(await readTensor(tensor)).data);
    return values;
  } catch (error) {
    return error instanceof EgolensError ? error.code : String(error);
  }
}

test('a file made by hand reads as it should', async () => {
  expect(await outcome(file(dictOps({ w: tensorOps() })))).toEqual([0, 1, 2, 3, 4, 5]);
});

test.each<[string, TensorSpec, string]>([
  ['a storage with more elements than bytes', { elements: 7 }, 'checkpoint.pickle'],
  ['a storage with fewer elements than bytes', { elements: 5, shape: [5], strides: [1] }, 'checkpoint.pickle'],
  ['a storage of 2^60 elements', { elements: 2 ** 60 }, 'checkpoint.pickle'],
  ['a storage with a negative count', { elements: -6 }, 'checkpoint.pickle'],
  ['a shape beyond the storage', { shape: [7], strides: [1] }, 'checkpoint.pickle'],
  ['an offset beyond the storage', { offset: 1 }, 'checkpoint.pickle'],
  ['a negative offset', { offset: -1 }, 'checkpoint.pickle'],
  ['a negative stride', { offset: 5, shape: [6], strides: [-1] }, 'checkpoint.pickle'],
  ['a negative size', { shape: [-2, -3] }, 'checkpoint.pickle'],
  ['sizes whose product overflows', { shape: [2 ** 40, 2 ** 40] }, 'checkpoint.pickle'],
  ['a value repeated 2^40 times', { shape: [2 ** 40], strides: [0] }, 'limit.size'],
  ['a missing stride', { strides: [3] }, 'checkpoint.pickle'],
  ['a storage that is not in the file', { key: '1' }, 'input.truncated'],
  ['a storage key that climbs out', { key: '../data.pkl' }, 'input.truncated'],
  ['a storage class that is not read', { storage: 'torch\nQInt8Storage' }, 'checkpoint.unsupported'],
  ['a storage class of another module', { storage: 'os\nFloatStorage' }, 'checkpoint.unsupported'],
  ['a sparse tensor', { make: 'torch._utils\n_rebuild_sparse_tensor' }, 'checkpoint.unsupported'],
])('%s is refused', async (_, spec, code) => {
  expect(await outcome(file(dictOps({ w: tensorOps(spec) })))).toBe(code);
});

test('a name that torch does not own makes no tensor', async () => {
  expect(await outcome(file(dictOps({ w: tensorOps({ make: 'evil\n_rebuild_tensor_v2' }) })))).toBe(
    'checkpoint.unsupported',
  );
});

test('storages of torch.cuda and of any location are read', async () => {
  expect(await outcome(file(dictOps({ w: tensorOps({ storage: 'torch.cuda\nFloatStorage' }) })))).toEqual([
    0, 1, 2, 3, 4, 5,
  ]);
});

test('an untyped storage counts bytes, and version 3 names the element type', async () => {
  const spec = { storage: 'torch.storage\nUntypedStorage', elements: 24, make: 'torch._utils\n_rebuild_tensor_v3' };
  expect(await outcome(file(dictOps({ w: tensorOps({ ...spec, tail: 'ctorch\nfloat32\n' }) })))).toEqual([
    0, 1, 2, 3, 4, 5,
  ]);
  expect(await outcome(file(dictOps({ w: tensorOps({ ...spec, tail: 'ctorch\nfloat8_e4m3fn\n' }) })))).toBe(
    'checkpoint.unsupported',
  );
  expect(
    await outcome(file(dictOps({ w: tensorOps({ ...spec, shape: [7], strides: [1], tail: 'ctorch\nfloat32\n' }) }))),
  ).toBe('checkpoint.pickle');
});

test('parameters and tensors with attributes are looked through', async () => {
  const parameter = `ctorch._utils\n_rebuild_parameter\n(${tensorOps()}\x88}tR`;
  const plain = tensorOps();
  // (function, type, arguments, state)
  const args = plain.slice(plain.indexOf('\n(') + 1, -1);
  const attributed = `ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n${args}}tR`;
  expect(await outcome(file(dictOps({ w: parameter })))).toEqual([0, 1, 2, 3, 4, 5]);
  expect(await outcome(file(dictOps({ w: attributed })))).toEqual([0, 1, 2, 3, 4, 5]);
});

test('wrappers in wrappers without end are refused', async () => {
  const wrapped = 'ctorch._utils\n_rebuild_parameter\n'.repeat(500) + tensorOps() + '\x85R'.repeat(500);
  expect(await outcome(file(dictOps({ w: wrapped })))).toBe('checkpoint.unsupported');
});

test('a module that was pickled whole gives its parameters and buffers', async () => {
  const leaf = `cmodels\nLinear\n)\x81${dictOps({
    training: '\x88',
    _parameters: dictOps({ weight: tensorOps(), bias: 'N' }),
    _buffers: dictOps({ mean: tensorOps({ shape: [1], strides: [1], offset: 4 }) }),
    _modules: '}',
  })}b`;
  const root = `cmodels\nVit\n)\x81${dictOps({ _parameters: '}', _buffers: '}', _modules: dictOps({ fc: leaf }) })}b`;
  const { tensors } = await openCheckpoint(memorySource('whole.pth', file(root)));
  expect([...tensors.keys()]).toEqual(['fc.weight', 'fc.mean']);
});

test('a module that contains itself is refused', async () => {
  expect(await outcome(file(`cm\nM\n)\x81q\x00${dictOps({ self: 'h\x00', w: tensorOps() })}b`))).toBe('limit.size');
});

test('modules shared at every level are refused before they multiply', async () => {
  let opcodes = `cm\nM\n)\x81}b`;
  for (let level = 0; level < 40; level++) {
    opcodes += `q${String.fromCharCode(level)}0cm\nM\n)\x81${dictOps({ a: `h${String.fromCharCode(level)}`, b: `h${String.fromCharCode(level)}` })}b`;
  }
  expect(await outcome(file(opcodes))).toBe('limit.size');
});

describe('the zip container', () => {
  const pickle = {
    name: 'archive/data.pkl',
    pieces: [Buffer.from(`\x80\x02${dictOps({ w: tensorOps() })}.`, 'latin1')],
  };
  const storage = { name: 'archive/data/0', pieces: [six] };
  const zip = (...inputs: ZipInput[]) => Buffer.concat([...writeZip(inputs)]);

  test('big-endian data are refused', async () => {
    expect(await outcome(zip(pickle, storage, { name: 'archive/byteorder', pieces: [Buffer.from('big')] }))).toBe(
      'checkpoint.unsupported',
    );
  });

  test('two roots are refused', async () => {
    expect(await outcome(zip(pickle, storage, { ...pickle, name: 'other/data.pkl' }))).toBe('checkpoint.format');
  });

  test('an archive without data.pkl says what it holds', async () => {
    const archive = zip({ name: 'features.npy', pieces: [six] });
    await expect(openPth(memorySource('f.npz', archive))).rejects.toThrow('expected one; found `features.npy`');
  });

  test('a name that occurs twice is refused', async () => {
    expect(await outcome(zip(pickle, storage, storage))).toBe('checkpoint.format');
  });

  test('a path that climbs out is refused', async () => {
    expect(await outcome(zip(pickle, storage, { name: '../x', pieces: [] }))).toBe('checkpoint.format');
  });

  /** Changes little-endian fields of the directory entry of `archive/data/0`. A write returns the offset after it, where the next field lies. */
  function edited(change: (bytes: Buffer, entry: number, end: number) => void): Buffer {
    const bytes = zip(pickle, storage);
    const end = bytes.length - 22;
    change(
      bytes,
      bytes.indexOf(Buffer.from('PK\x01\x02', 'latin1'), bytes.indexOf(Buffer.from('PK\x01\x02', 'latin1')) + 1),
      end,
    );
    return bytes;
  }

  test.each<[string, string, (bytes: Buffer, entry: number, end: number) => void]>([
    ['an entry that begins outside the file', 'input.truncated', (b, entry) => b.writeUInt32LE(0x7fffffff, entry + 42)],
    [
      'an entry longer than the file',
      'input.truncated',
      (b, entry) => b.writeUInt32LE(2 ** 31, b.writeUInt32LE(2 ** 31, entry + 20)),
    ],
    ['an entry over another', 'checkpoint.format', (b, entry) => b.writeUInt32LE(10, entry + 42)],
    ['two entries with the same data', 'checkpoint.format', (b, entry) => b.writeUInt32LE(0, entry + 42)],
    ['a stored entry with two lengths', 'checkpoint.format', (b, entry) => b.writeUInt32LE(2 ** 30, entry + 24)],
    ['an encrypted storage', 'checkpoint.format', (b, entry) => b.writeUInt16LE(0x0801, entry + 8)],
    ['a directory outside the file', 'input.truncated', (b, _, end) => b.writeUInt32LE(0x7fffffff, end + 16)],
    ['a directory that begins amid the data', 'checkpoint.format', (b, _, end) => b.writeUInt32LE(5, end + 16)],
    [
      'more entries than the directory has',
      'input.truncated',
      (b, _, end) => b.writeUInt16LE(500, b.writeUInt16LE(500, end + 8)),
    ],
    ['a comment longer than the file', 'checkpoint.format', (b, _, end) => b.writeUInt16LE(99, end + 20)],
    ['a second disk', 'checkpoint.format', (b, _, end) => b.writeUInt16LE(1, end + 4)],
    ['another name beside the data', 'checkpoint.format', (b) => b.write('X', b.indexOf('archive/data/0'))],
  ])('%s is refused', async (_, code, change) => {
    expect(await outcome(edited(change))).toBe(code);
  });

  test.each<[string, bigint, bigint]>([
    ['2^60 entries', 2n ** 60n, 0n],
    ['a directory at 2^63', 2n, 2n ** 63n],
    ['a directory at its own end record', 1n, 0n],
  ])('a 64-bit end record with %s is refused', async (_, count, offset) => {
    const bytes = zip(pickle, storage);
    const record = Buffer.alloc(56);
    record.writeUInt32LE(0x06064b50, 0);
    record.writeBigUInt64LE(44n, 4);
    record.writeBigUInt64LE(count, 24);
    record.writeBigUInt64LE(count, 32);
    record.writeBigUInt64LE(offset, 48);
    const locator = Buffer.alloc(20);
    locator.writeUInt32LE(0x07064b50, 0);
    locator.writeBigUInt64LE(BigInt(bytes.length - 22), 8);
    locator.writeUInt32LE(1, 16);
    const end = bytes.subarray(bytes.length - 22);
    const found = await outcome(Buffer.concat([bytes.subarray(0, bytes.length - 22), record, locator, end]));
    expect(found).toMatch(/^(limit\.size|input\.truncated|checkpoint\.format)$/);
  });

  test('64-bit sizes of 2^60 in an entry are refused', async () => {
    const bytes = zip(pickle);
    const start = bytes.indexOf(Buffer.from('PK\x01\x02', 'latin1'));
    const extra = Buffer.alloc(20);
    extra.writeUInt16LE(1, 0);
    extra.writeUInt16LE(16, 2);
    extra.writeBigUInt64LE(2n ** 60n, 4);
    extra.writeBigUInt64LE(2n ** 60n, 12);
    const entry = Buffer.from(bytes.subarray(start, bytes.length - 22));
    entry.writeUInt32LE(0xffffffff, 20);
    entry.writeUInt32LE(0xffffffff, 24);
    entry.writeUInt16LE(20, 30);
    expect(
      await outcome(Buffer.concat([bytes.subarray(0, start), entry, extra, bytes.subarray(bytes.length - 22)])),
    ).toBe('input.truncated');
  });

  /** An archive whose pickle is deflated, with any announced length. */
  function deflated(contents: Buffer, announced: number): Buffer {
    const packed = deflateRawSync(contents);
    const bytes = zip({ name: 'archive/data.pkl', pieces: [packed] }, storage);
    const directory = bytes.indexOf(Buffer.from('PK\x01\x02', 'latin1'));
    bytes.writeUInt16LE(8, 8);
    bytes.writeUInt16LE(8, directory + 10);
    bytes.writeUInt32LE(announced, directory + 24);
    return bytes;
  }

  test('a deflated pickle is inflated', async () => {
    const contents = pickle.pieces[0]!;
    expect(await outcome(deflated(contents, contents.length))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('a bomb is stopped at its announced length, and a giant announcement before that', async () => {
    expect(await outcome(deflated(Buffer.alloc(50_000_000), 1000))).toBe('checkpoint.format');
    expect(await outcome(deflated(Buffer.alloc(1000), 2 ** 31))).toBe('limit.size');
  });

  test('a deflated storage is refused: its tensors could not be read in pieces', async () => {
    const bytes = edited((b, entry) => b.writeUInt16LE(8, entry + 10));
    bytes.writeUInt16LE(8, bytes.indexOf('archive/data/0') - 30 + 8);
    expect(await outcome(bytes)).toBe('checkpoint.format');
  });
});

describe('the legacy container', () => {
  const magic = '\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.';
  const protocol = '\x80\x02M\xe9\x03.';
  const system = `\x80\x02${dictOps({ little_endian: '\x88' })}.`;
  const body = `\x80\x02${dictOps({ w: tensorOps() })}.`;
  const keys = '\x80\x02](\x8c\x010e.';
  const count = Buffer.from('\x06\0\0\0\0\0\0\0', 'latin1');
  const legacy = (...parts: (string | Uint8Array)[]) =>
    Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));

  test('a file made by hand reads as it should', async () => {
    expect(await outcome(legacy(magic, protocol, system, body, keys, count, six))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('a storage that is a part of another one begins where it says', async () => {
    const part = tensorOps({ elements: 6, shape: [2], strides: [1] }).replace('tQ', `(\x8c\x01v${int(3)}${int(2)}ttQ`);
    expect(
      await outcome(legacy(magic, protocol, system, `\x80\x02${dictOps({ w: part })}.`, keys, count, six)),
    ).toEqual([3, 4]);
    const outside = tensorOps({ elements: 6, shape: [2], strides: [1] }).replace(
      'tQ',
      `(\x8c\x01v${int(5)}${int(2)}ttQ`,
    );
    expect(
      await outcome(legacy(magic, protocol, system, `\x80\x02${dictOps({ w: outside })}.`, keys, count, six)),
    ).toBe('checkpoint.pickle');
  });

  test('pickles longer than the first window are read', async () => {
    const long = `\x80\x02${dictOps({ w: tensorOps(), note: `X\x40\x42\x0f\x00${'a'.repeat(1_000_000)}` })}.`;
    expect(await outcome(legacy(magic, protocol, system, long, keys, count, six))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test.each<[string, string, Buffer]>([
    ['another protocol', 'checkpoint.pickle', legacy(magic, '\x80\x02K\x07.', system, body, keys, count, six)],
    [
      'big-endian data',
      'checkpoint.unsupported',
      legacy(magic, protocol, `\x80\x02${dictOps({ little_endian: '\x89' })}.`, body, keys, count, six),
    ],
    ['no list of keys', 'checkpoint.pickle', legacy(magic, protocol, system, body, 'N.', count, six)],
    [
      'a key twice',
      'checkpoint.pickle',
      legacy(magic, protocol, system, body, '\x80\x02](\x8c\x010\x8c\x010e.', count, six, count, six),
    ],
    [
      'a key that nothing refers to',
      'checkpoint.pickle',
      legacy(magic, protocol, system, body, '\x80\x02](\x8c\x017e.', count, six),
    ],
    ['a storage that is not listed', 'input.truncated', legacy(magic, protocol, system, body, ']', '.', count, six)],
    ['a count of 2^60', 'input.truncated', legacy(magic, protocol, system, body, keys, '\0\0\0\0\0\0\0\x10', six)],
    [
      'a negative count',
      'input.truncated',
      legacy(magic, protocol, system, body, keys, '\xff\xff\xff\xff\xff\xff\xff\xff', six),
    ],
    [
      'a count that the pickle does not know',
      'checkpoint.pickle',
      legacy(magic, protocol, system, body, keys, '\x05\0\0\0\0\0\0\0', six),
    ],
    ['half a storage', 'input.truncated', legacy(magic, protocol, system, body, keys, count, six.subarray(0, 12))],
  ])('%s is refused', async (_, code, bytes) => {
    expect(await outcome(bytes)).toBe(code);
  });
});

test.each<[string, string, string]>([
  ['no bytes', '', 'input.empty'],
  ['one byte', 'P', 'checkpoint.format'],
  ['an error page', '<!DOCTYPE html><html>not found</html>', 'checkpoint.format'],
  ['a plain pickle', '\x80\x02}q\x00.', 'checkpoint.format'],
  ['a zip archive that was cut', 'PK\x03\x04 and then some bytes', 'input.truncated'],
])('%s is no checkpoint', async (_, text, code) => {
  expect(await outcome(Buffer.from(text, 'latin1'))).toBe(code);
});

test('a message about an unknown file shows its first bytes and the containers that are known', async () => {
  await expect(openCheckpoint(memorySource('page.pth', Buffer.from('<html>')))).rejects.toThrow(
    '`page.pth`: the file begins with 3c 68 74 6d 6c 3e (text: an error page or JSON?); expected a PyTorch file (zip, legacy or TorchScript) or safetensors',
  );
});
