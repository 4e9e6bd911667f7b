import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { packedInts, ProtoWriter, protoField, protoFields } from './protobuf.js';

const read = (bytes: Uint8Array) => [...protoFields(bytes, 'x')];
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

test('integers come back, negative ones as 64 bits in ten bytes', () => {
  fc.assert(
    fc.property(int64, fc.integer({ min: 1, max: 2 ** 20 }), (value, field) => {
      const bytes = new ProtoWriter().int(field, value).finish();
      expect(read(bytes)).toEqual([{ field, int: BigInt.asUintN(64, value) }]);
      expect(BigInt.asIntN(64, read(bytes)[0]!.int!)).toBe(value);
    }),
  );
  expect([...new ProtoWriter().int(1, -1).finish()]).toEqual([8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
  expect([...new ProtoWriter().int(1, 300).finish()]).toEqual([8, 0xac, 2]);
});

test('floats, texts, bytes and messages come back, in order, the same number twice included', () => {
  const bytes = new ProtoWriter()
    .float(2, 1.5)
    .string(3, 'Gelu ß')
    .bytes(3, Uint8Array.of(1, 2))
    .message(4, (inner) => inner.int(1, 7).message(2, () => undefined))
    .finish();
  const [float, text, raw, message] = read(bytes);
  expect(new DataView(float!.bytes!.slice().buffer).getFloat32(0, true)).toBe(1.5);
  expect(new TextDecoder().decode(text!.bytes)).toBe('Gelu ß');
  expect([raw!.field, [...raw!.bytes!]]).toEqual([3, [1, 2]]);
  expect(read(message!.bytes!)).toEqual([
    { field: 1, int: 7n },
    { field: 2, bytes: new Uint8Array() },
  ]);
});

test('a writer grows over any length', () => {
  const large = new Uint8Array(100_000).fill(7);
  const writer = new ProtoWriter();
  for (let i = 0; i < 50; i++) writer.int(1, i).bytes(2, large.subarray(0, i * 100));
  const fields = read(writer.bytes(3, large).finish());
  expect(fields).toHaveLength(101);
  expect(fields.at(-1)!.bytes).toEqual(large);
});

test('one field is found by its number, whatever stands before it', () => {
  const bytes = new ProtoWriter().string(9, 'unknown').int(2, 1).int(2, 5).finish();
  expect(protoField(bytes, 2, 'x')).toEqual({ field: 2, int: 1n });
  expect(protoField(bytes, 3, 'x')).toBeUndefined();
});

test('a packed field holds what single fields hold', () => {
  fc.assert(
    fc.property(fc.array(int64, { maxLength: 20 }), (values) => {
      const packed = values.flatMap((value) => [...new ProtoWriter().int(1, value).finish().subarray(1)]);
      expect([...packedInts(Uint8Array.from(packed), 'x')]).toEqual(values.map((value) => BigInt.asUintN(64, value)));
    }),
  );
  expect(() => [...packedInts(Uint8Array.of(1, 0x80), 'x')]).toThrow('x: the message ends inside a number at byte 2');
});

test.each([
  ['a number without its end', [8, 0x80], 'the message ends inside a number at byte 2'],
  ['a number of eleven bytes', [8, ...new Array<number>(11).fill(0x80)], 'a number of more than ten bytes at byte 1'],
  ['a field longer than the message', [10, 5, 1], 'a field of 5 bytes where 1 are left at byte 2'],
  ['a length of 2^63', [10, ...new Array<number>(8).fill(0x80), 0x80, 1], 'a field of 9223372036854776000 bytes'],
  ['half a float', [13, 0, 0], 'a field of 4 bytes where 2 are left at byte 1'],
  ['half a double', [9, 0, 0], 'a field of 8 bytes where 2 are left at byte 1'],
  ['a group', [11], 'wire type 3 at byte 1'],
  ['field number 0', [0, 1], 'field number 0 at byte 1'],
])('%s is no message', (_, bytes, message) => {
  expect(() => read(Uint8Array.from(bytes))).toThrow(
    expect.objectContaining({ code: 'input.format', message: expect.stringContaining(`x: ${message}`) as string }),
  );
});

test('random bytes give fields or input.format, and nothing that is not in them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        const lengths = read(bytes).map((field) => field.bytes?.length ?? 1);
        expect(lengths.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        expect(error).toBeInstanceOf(EgolensError);
        expect(error).toMatchObject({ code: 'input.format' });
      }
    }),
    { numRuns: 500 },
  );
});
