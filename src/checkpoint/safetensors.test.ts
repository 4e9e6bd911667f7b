import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { memorySource } from './bytes.js';
import { readTensor } from './pt-features.js';
import { openSafetensors, writeSafetensors, type SafetensorsEntry } from './safetensors.js';
import { openCheckpoint } from './state-dict.js';

async function written(entries: readonly SafetensorsEntry[], metadata?: ReadonlyMap<string, string>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of writeSafetensors(entries, metadata)) pieces.push(piece);
  return Buffer.concat(pieces);
}

function entry(
  name: string,
  dtype: SafetensorsEntry['dtype'],
  shape: readonly number[],
  data: ArrayBufferView,
): SafetensorsEntry {
  return { name, dtype, shape, bytes: () => [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)] };
}

function file(header: string, data: Uint8Array = new Uint8Array(8), length = Buffer.byteLength(header)): Buffer {
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(length));
  return Buffer.concat([head, Buffer.from(header), data]);
}

async function codeOf(bytes: Uint8Array): Promise<string> {
  try {
    const { tensors } = await openSafetensors(memorySource('x.safetensors', bytes));
    for (const tensor of tensors.values()) await readTensor(tensor);
    return 'no error';
  } catch (error) {
    return error instanceof EgolensError ? error.code : String(error);
  }
}

test('any float32 tensors come back with their names, shapes and values', async () => {
  const shape = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
  const tensors = fc.uniqueArray(fc.tuple(fc.string(), shape), { selector: ([name]) => name, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(tensors, fc.dictionary(fc.string(), fc.string()), async (list, metadata) => {
      const named = list.filter(([name]) => name !== '__metadata__');
      const values = named.map(([, one], i) =>
        Float32Array.from({ length: one.reduce((a, b) => a * b, 1) }, (_, k) => i + k / 8),
      );
      const bytes = await written(
        named.map(([name, one], i) => entry(name, 'F32', one, values[i]!)),
        new Map(Object.entries(metadata)),
      );
      const back = await openSafetensors(memorySource('x', bytes));
      expect([...back.tensors.keys()].sort()).toEqual(named.map(([name]) => name).sort());
      expect(back.metadata).toEqual(new Map(Object.entries(metadata)));
      for (const [i, [name, one]] of named.entries()) {
        expect(await readTensor(back.tensors.get(name)!)).toEqual({ dtype: 'float32', shape: one, data: values[i] });
      }
    }),
    { numRuns: 60, seed: 3 },
  );
});

test('wide elements are written first, each at a multiple of its size', async () => {
  const bytes = await written([
    entry('half', 'F16', [1], Uint16Array.of(0x3c00)),
    entry('long', 'I64', [1], BigInt64Array.of(-7n)),
    entry('float', 'F32', [1], Float32Array.of(0.5)),
  ]);
  const { tensors } = await openSafetensors(memorySource('x', bytes));
  expect([...tensors.keys()]).toEqual(['long', 'float', 'half']);
  const values = await Promise.all([...tensors.values()].map(async (one) => (await readTensor(one)).data[0]));
  expect(values).toEqual([-7, 0.5, 1]);
  expect(bytes.readBigUInt64LE() % 8n).toBe(0n);
});

test('an entry with another count of bytes than its shape is refused', async () => {
  await expect(written([entry('w', 'F32', [3], Float32Array.of(1, 2))])).rejects.toMatchObject({ code: 'data.shape' });
});

test('a name written twice is refused', async () => {
  const one = entry('w', 'F32', [1], Float32Array.of(1));
  await expect(written([one, one])).rejects.toMatchObject({ code: 'data.invalid' });
});

test('openCheckpoint knows safetensors by content', async () => {
  const bytes = await written([entry('backbone.w', 'F32', [2], Float32Array.of(1, 2))]);
  const checkpoint = await openCheckpoint(memorySource('pytorch_model.bin', bytes));
  expect(checkpoint).toMatchObject({ container: 'safetensors', weightsKey: '', prefix: 'backbone.', leftInFile: [] });
  expect([...checkpoint.tensors.keys()]).toEqual(['w']);
});

const w = '"dtype":"F32","shape":[2],"data_offsets":[0,8]';

test('a header with blanks, any member order and escapes is read', async () => {
  const header = ' {"a\\u0062" : { "data_offsets": [0, 8] , "shape" :[ 2 ],\n"dtype":"F32"} }  '.trimStart();
  const { tensors } = await openSafetensors(memorySource('x', file(header)));
  expect([...tensors.keys()]).toEqual(['ab']);
});

test('a tensor named __proto__ is a tensor like any other', async () => {
  const { tensors } = await openSafetensors(memorySource('x', file(`{"__proto__":{${w}}}`)));
  expect([...tensors.keys()]).toEqual(['__proto__']);
});

test.each<[string, string, Uint8Array]>([
  ['a header of 2^60 bytes', 'limit.size', file('{}', new Uint8Array(0), 2 ** 60)],
  ['a header of 17 MiB', 'limit.size', file('{}', new Uint8Array(0), 17 * 2 ** 20)],
  ['a header longer than the file', 'input.truncated', file('{}', new Uint8Array(0), 3)],
  ['a header length that is cut off', 'input.truncated', new Uint8Array(5)],
  ['a header that is no object', 'checkpoint.format', file('[]')],
  ['a header that begins with a blank', 'checkpoint.format', file(` {"w":{${w}}}`)],
  [
    'a header that is no UTF-8',
    'checkpoint.format',
    Buffer.concat([file('{}', new Uint8Array(0), 3), Buffer.of(0xff)]),
  ],
  ['text after the header', 'checkpoint.format', file(`{"w":{${w}}}x`)],
  ['a name that occurs twice', 'checkpoint.format', file(`{"w":{${w}},"w":{${w}}}`)],
  ['a name that occurs twice in two spellings', 'checkpoint.format', file(`{"w":{${w}},"\\u0077":{${w}}}`)],
  ['a member that occurs twice', 'checkpoint.format', file(`{"w":{${w},"dtype":"F32"}}`)],
  ['an unknown member', 'checkpoint.format', file(`{"w":{${w},"strides":[1]}}`)],
  ['a missing member', 'checkpoint.format', file('{"w":{"dtype":"F32","shape":[2]}}')],
  [
    'an unknown element type',
    'checkpoint.unsupported',
    file('{"w":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'),
  ],
  [
    'a shape that disagrees with the offsets',
    'checkpoint.format',
    file('{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}'),
  ],
  [
    'a shape that overflows',
    'checkpoint.format',
    file('{"w":{"dtype":"F32","shape":[4503599627370496,4503599627370496],"data_offsets":[0,8]}}'),
  ],
  [
    'a shape of 2^54',
    'checkpoint.format',
    file('{"w":{"dtype":"F32","shape":[18014398509481984],"data_offsets":[0,8]}}'),
  ],
  ['a negative size', 'checkpoint.format', file('{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}')],
  ['a size with a fraction', 'checkpoint.format', file('{"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}')],
  ['a size with an exponent', 'checkpoint.format', file('{"w":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}')],
  ['65 sizes', 'checkpoint.format', file(`{"w":{"dtype":"F32","shape":[${'1,'.repeat(64)}2],"data_offsets":[0,8]}}`)],
  ['offsets that run backwards', 'checkpoint.format', file('{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}')],
  ['three offsets', 'checkpoint.format', file('{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}')],
  [
    'a gap before the first tensor',
    'checkpoint.format',
    file('{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'),
  ],
  [
    'overlapping tensors',
    'checkpoint.format',
    file(`{"w":{${w}},"v":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, new Uint8Array(12)),
  ],
  ['two tensors over the same bytes', 'checkpoint.format', file(`{"w":{${w}},"v":{${w}}}`)],
  ['bytes after the last tensor', 'checkpoint.format', file(`{"w":{${w}}}`, new Uint8Array(9))],
  ['data that are cut off', 'input.truncated', file(`{"w":{${w}}}`, new Uint8Array(7))],
  ['metadata that are no texts', 'checkpoint.format', file('{"__metadata__":{"a":1}}', new Uint8Array(0))],
  ['lists in lists', 'checkpoint.format', file('['.repeat(100_000))],
  ['a name without an end', 'checkpoint.format', file(`{"${'a'.repeat(100_000)}`)],
  ['a control character in a name', 'checkpoint.format', file(`{"a\nb":{${w}}}`)],
  ['a million blanks and nothing', 'checkpoint.format', file(`{${' '.repeat(1_000_000)}`)],
])('%s is refused', async (_, code, bytes) => {
  expect(await codeOf(bytes)).toBe(code);
});

test('a message says what was expected, what was found and where', async () => {
  await expect(openSafetensors(memorySource('x.safetensors', file('{"w":[1]}')))).rejects.toThrow(
    '`x.safetensors`: header, character 5: expected `{`, found "[1]}"',
  );
});

test('every cut of a file ends in an error', async () => {
  const bytes = await written([entry('w', 'F32', [3], Float32Array.of(1, 2, 3))]);
  for (let length = 0; length < bytes.length; length++) {
    expect(await codeOf(bytes.subarray(0, length))).toBe('input.truncated');
  }
});
