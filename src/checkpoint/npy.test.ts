import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { bytesOf, floatToHalf, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor } from '../types.js';
import { memorySource } from './bytes.js';
import { npyHeader, readNpyHeader } from './npy-header.js';
import { readNpy, readNpyRows, writeNpy } from './npy.js';
import { openNpz, writeNpz } from './npz.js';

function fixture(name: string) {
  return memorySource(name, readFileSync(new URL(`../../fixtures/checkpoints/${name}`, import.meta.url)));
}

/** A file with any header text, padded by one newline. */
function file(header: string, data: Uint8Array = new Uint8Array(64), version = 1): Buffer {
  const head = Buffer.alloc(version === 1 ? 10 : 12);
  head.write('\x93NUMPY', 'latin1');
  head[6] = version;
  if (version === 1) head.writeUInt16LE(header.length + 1, 8);
  else head.writeUInt32LE(header.length + 1, 8);
  return Buffer.concat([head, Buffer.from(`${header}\n`), data]);
}

function dictionary(descr: string, shape: string, order = 'False'): string {
  return `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }`;
}

async function codeOf(bytes: Uint8Array): Promise<string> {
  try {
    await readNpy(memorySource('x.npy', bytes));
    return 'no error';
  } catch (error) {
    return error instanceof EgolensError ? error.code : String(error);
  }
}

const anyTensor: fc.Arbitrary<AnyTensor> = fc
  .tuple(fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }), fc.integer({ min: 0, max: 5 }))
  .map(([shape, kind]) => {
    const n = sizeOf(shape);
    const values = Array.from({ length: n }, (_, i) => i - 2);
    switch (kind) {
      case 0:
        return tensor(
          'float32',
          shape,
          Float32Array.from(values, (v) => v / 3),
        );
      case 1:
        return tensor('float16', shape, Uint16Array.from(values, floatToHalf));
      case 2:
        return tensor('uint8', shape, Uint8Array.from(values));
      case 3:
        return tensor('int32', shape, Int32Array.from(values));
      case 4:
        return tensor(
          'int64',
          shape,
          BigInt64Array.from(values, (v) => BigInt(v) * 2n ** 40n),
        );
      default:
        return tensor(
          'bool',
          shape,
          Uint8Array.from(values, (v) => v & 1),
        );
    }
  });

test('any tensor comes back from .npy', async () => {
  await fc.assert(
    fc.asyncProperty(anyTensor, async (value) => {
      const back = await readNpy(memorySource('x', writeNpy(value)));
      expect(back).toEqual({ storedType: value.dtype, tensor: value });
    }),
    { numRuns: 100, seed: 4 },
  );
});

test('any tensors come back from .npz', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyTensor, { maxLength: 4 }), async (values) => {
      const arrays = new Map(values.map((value, i) => [`array ${i} ä`, value]));
      const back = await openNpz(memorySource('x', Buffer.concat([...writeNpz(arrays)])));
      expect(back.names).toEqual([...arrays.keys()]);
      for (const [name, value] of arrays) expect((await back.read(name)).tensor).toEqual(value);
    }),
    { numRuns: 30, seed: 5 },
  );
});

describe('the header that is written', () => {
  test('is version 1.0 with 128 bytes, as numpy lays it out', () => {
    const header = Buffer.from(npyHeader('float32', [281, 768])).toString('latin1');
    expect(header.slice(0, 10)).toBe('\x93NUMPY\x01\x00\x76\x00');
    expect(header.slice(10).trimEnd()).toBe("{'descr': '<f4', 'fortran_order': False, 'shape': (281, 768), }");
    expect([header.length, header.at(-1)]).toEqual([128, '\n']);
  });

  test('keeps its length for every count of rows', () => {
    for (const rest of [[], [768], [8, 196, 768], Array<number>(12).fill(1_000_000)]) {
      const lengths = [0, 9, 281, 10 ** 9, Number.MAX_SAFE_INTEGER].map(
        (rows) => npyHeader('float32', [rows, ...rest]).length,
      );
      expect(new Set(lengths).size).toBe(1);
      expect(lengths[0]! % 64).toBe(0);
    }
  });

  test('put over a first one gives the bytes of the finished array', () => {
    const value = tensor('float32', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6));
    const grown = Buffer.concat([npyHeader('float32', [0, 2]), bytesOf(value)]);
    grown.set(npyHeader('float32', [3, 2]));
    expect(grown.equals(writeNpy(value))).toBe(true);
  });
});

describe('files of numpy', () => {
  test('big-endian float64 in Fortran order', async () => {
    const { storedType, tensor: value } = await readNpy(fixture('fortran-big-endian.npy'));
    expect([storedType, value.dtype, value.shape]).toEqual(['float64', 'float32', [2, 3]]);
    expect([...value.data]).toEqual([-0.5, -0.25, 0, 0.25, 0.5, 0.75]);
  });

  test('version 2 with int16', async () => {
    const { storedType, tensor: value } = await readNpy(fixture('version2.npy'));
    expect([storedType, value.dtype, [...value.data]]).toEqual(['int16', 'int32', [-2, -1, 0, 1, 2, 3]]);
  });

  test('version 3 with uint64', async () => {
    const { storedType, tensor: value } = await readNpy(fixture('version3.npy'));
    expect([storedType, value.dtype, [...value.data]]).toEqual(['uint64', 'int64', [0n, 1n, 2n, 3n, 4n, 5n]]);
  });

  test('an archive of stored entries', async () => {
    const { names, read } = await openNpz(fixture('stored.npz'));
    expect(names).toEqual(['half', 'flags']);
    expect((await read('half')).tensor.dtype).toBe('float16');
    expect([...(await read('flags')).tensor.data]).toEqual([0, 0, 0, 1, 1, 1]);
  });

  test('an archive of deflated entries', async () => {
    const { read } = await openNpz(fixture('deflated.npz'));
    expect((await read('zeros')).tensor).toMatchObject({ dtype: 'float32', shape: [100, 10] });
    expect([...(await read('ids')).tensor.data]).toEqual([-2n, -1n, 0n, 1n, 2n, 3n]);
  });

  test('objects are refused: they are pickles', async () => {
    await expect(readNpy(fixture('objects.npy'))).rejects.toMatchObject({
      code: 'data.dtype',
      message: expect.stringContaining('Python objects are pickles, which are never run') as string,
    });
  });
});

test('rows in both array orders are the rows of the whole', async () => {
  const values = Float32Array.from({ length: 24 }, (_, i) => i);
  const c = file(dictionary('<f4', '(4, 3, 2)'), new Uint8Array(values.buffer));
  // Column-major: element [i, j, k] lies at i + 4 (j + 3 k).
  const columns = Float32Array.from(
    { length: 24 },
    (_, at) => (at % 4) * 6 + (Math.floor(at / 4) % 3) * 2 + Math.floor(at / 12),
  );
  const f = file(dictionary('<f4', '(4, 3, 2)', 'True'), new Uint8Array(columns.buffer));
  for (const bytes of [c, f]) {
    const source = memorySource('x', bytes);
    const header = await readNpyHeader(source);
    expect([...(await readNpy(source)).tensor.data]).toEqual([...values]);
    const { tensor: rows } = await readNpyRows(source, header, 1, 2);
    expect([rows.shape, [...rows.data]]).toEqual([[2, 3, 2], [...values.subarray(6, 18)]]);
    await expect(readNpyRows(source, header, 3, 2)).rejects.toMatchObject({ code: 'data.shape' });
  }
});

test('rows read their own bytes only', async () => {
  const source = memorySource('x', writeNpy(tensor('float32', [100, 2], new Float32Array(200))));
  const header = await readNpyHeader(source);
  const reads: unknown[] = [];
  const watched = {
    ...source,
    read: (offset: number, length: number) => (reads.push([offset, length]), source.read(offset, length)),
  };
  await readNpyRows(watched, header, 10, 5);
  expect(reads).toEqual([[128 + 80, 40]]);
});

test('the array ends where its shape says, whatever follows', async () => {
  const bytes = file(dictionary('<f4', '(2,)'), new Uint8Array(400));
  expect((await readNpy(memorySource('x', bytes))).tensor.data.length).toBe(2);
});

test.each([
  ['<f2', 'float16', [0x3c00]],
  ['>f2', 'float16', [0x003c]],
  ['<u2', 'int32', [0x3c00]],
  ['>u2', 'int32', [0x003c]],
  ['|u1', 'uint8', [0x00]],
  ['|i1', 'int32', [0x00]],
  ['|b1', 'bool', [0]],
])('element type %s is read as %s', async (descr, dtype, values) => {
  const { tensor: value } = await readNpy(
    memorySource('x', file(dictionary(descr, '(1,)'), new Uint8Array([0x00, 0x3c]))),
  );
  expect([value.dtype, [...value.data]]).toEqual([dtype, values]);
});

test.each([
  ['()', []],
  ['(3,)', [3]],
  ['(3L, 4L)', [3, 4]],
  ['(0, 5)', [0, 5]],
  ['( 2 , 3 , )', [2, 3]],
])('the shape %s is read', async (text, shape) => {
  const header = await readNpyHeader(memorySource('x', file(dictionary('<f4', text))));
  expect(header.shape).toEqual(shape);
});

test.each<[string, string, Uint8Array]>([
  ['no bytes', 'input.empty', new Uint8Array(0)],
  ['another file', 'input.format', Buffer.from('PK\x03\x04 something else')],
  ['eleven bytes', 'input.truncated', file(dictionary('<f4', '(1,)')).subarray(0, 11)],
  ['half a header', 'input.truncated', file(dictionary('<f4', '(1,)')).subarray(0, 40)],
  ['half an array', 'input.truncated', file(dictionary('<f4', '(100,)'))],
  ['an array of 2^60', 'input.truncated', file(dictionary('<f4', '(1099511627776, 1048576)'))],
  ['a shape that overflows', 'input.truncated', file(dictionary('<f4', '(4503599627370496, 4503599627370496)'))],
  ['a size above 2^53', 'input.format', file(dictionary('<f4', '(9999999999999999,)'))],
  ['version 4', 'input.format', file(dictionary('<f4', '(1,)'), new Uint8Array(64), 4)],
  ['a header of 2^32 - 1 bytes', 'limit.size', Buffer.from('\x93NUMPY\x02\x00\xff\xff\xff\xff', 'latin1')],
  ['a structure', 'data.dtype', file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }")],
  ['texts', 'data.dtype', file(dictionary('<U8', '(1,)'))],
  ['dates', 'data.dtype', file(dictionary('<M8[s]', '(1,)'))],
  ['complex numbers', 'data.dtype', file(dictionary('<c8', '(1,)'))],
  ['wide elements without byte order', 'data.dtype', file(dictionary('|f4', '(1,)'))],
  ['a call', 'input.format', file("{'descr': __import__('os').system('ls'), 'fortran_order': False, 'shape': (1,), }")],
  ['a number for a tuple', 'input.format', file(dictionary('<f4', '(3)'))],
  ['a sum', 'input.format', file(dictionary('<f4', '(1+2,)'))],
  ['a negative size', 'input.format', file(dictionary('<f4', '(-1,)'))],
  ['a list for a tuple', 'input.format', file(dictionary('<f4', '[3]'))],
  ['65 sizes', 'input.format', file(dictionary('<f4', `(${'1, '.repeat(65)})`))],
  ['a key twice', 'input.format', file("{'shape': (1,), 'shape': (2,), 'descr': '<f4', 'fortran_order': False}")],
  ['a missing key', 'input.format', file("{'shape': (1,), 'descr': '<f4'}")],
  ['an unknown key', 'input.format', file("{'shape': (1,), 'descr': '<f4', 'fortran_order': False, 'extra': 1}")],
  ['an order that is a number', 'input.format', file(dictionary('<f4', '(1,)', '0'))],
  ['text after the dictionary', 'input.format', file(`${dictionary('<f4', '(1,)')} x`)],
  ['a header without an end', 'input.format', file("{'descr': '<f4'")],
  ['a uint64 of 2^63', 'data.invalid', file(dictionary('<u8', '(1,)'), new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0x80]))],
])('%s is refused', async (_, code, bytes) => {
  expect(await codeOf(bytes)).toBe(code);
});

test('an array above the caller limit is refused before it is read', async () => {
  const source = memorySource('x', writeNpy(tensor('float32', [100], new Float32Array(100))));
  await expect(readNpy(source, 399)).rejects.toMatchObject({ code: 'limit.size' });
});

describe('damaged archives', () => {
  test.each<[string, string, (bytes: Buffer) => Buffer]>([
    ['an archive without its end', 'input.truncated', (b) => b.subarray(0, -30)],
    ['a changed byte in deflated data', 'input.format', (b) => ((b[70] = b[70]! ^ 0xff), b)],
    ['no archive', 'input.truncated', () => Buffer.from('\x93NUMPY')],
    ['no bytes', 'input.empty', () => Buffer.alloc(0)],
  ])('%s', async (_, code, change) => {
    const bytes = change(readFileSync(new URL('../../fixtures/checkpoints/deflated.npz', import.meta.url)));
    const read = async () => {
      const { names, read: one } = await openNpz(memorySource('x.npz', bytes));
      for (const name of names) await one(name);
    };
    await expect(read()).rejects.toMatchObject({ code });
  });

  test('a deflated array above the limit is not inflated', async () => {
    const { read } = await openNpz(fixture('deflated.npz'), 1000);
    await expect(read('zeros')).rejects.toMatchObject({ code: 'limit.size' });
  });

  test('an array that is not there is named', async () => {
    const { read } = await openNpz(fixture('stored.npz'));
    await expect(read('nothing')).rejects.toMatchObject({ code: 'input.format' });
  });
});
