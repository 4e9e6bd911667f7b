import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalText, Float, float, floatText, jsonText, type JsonValue } from './json.js';

const finite = fc.double({ noNaN: true, noDefaultInfinity: true });

test('a float always has a decimal point or an exponent, and reads back as itself', () => {
  fc.assert(
    fc.property(fc.oneof(finite, fc.integer()), (value) => {
      const text = floatText(value);
      expect(text).toMatch(/[.e]/);
      expect(JSON.parse(text)).toBe(value);
    }),
  );
  expect(['0.0', '-0.0', '1.0', '1e+21', '5e-324', '0.1', '-3.0']).toEqual(
    [0, -0, 1, 1e21, 5e-324, 0.1, -3].map(floatText),
  );
});

test.each([[NaN], [Infinity], [-Infinity]])('%d is refused, as a float and as a number', (value) => {
  for (const write of [() => floatText(value), () => jsonText(value), () => jsonText([float(value)])]) {
    expect(write).toThrow(
      expect.objectContaining({ code: 'data.not_finite', message: `expected a finite number, found ${value}` }),
    );
  }
  expect(() => canonicalText(value)).toThrow(expect.objectContaining({ code: 'internal.bug' }));
});

const json = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    fc.string({ unit: 'binary' }),
    finite,
    finite.map(float),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(fc.string({ unit: 'binary' }), tie('value'), { maxKeys: 5 }),
  ),
})).value;

/** What JSON.parse has to give: floats as numbers; -0 as a plain number is written as 0. */
function plain(value: JsonValue | undefined): unknown {
  if (value instanceof Float) return value.value;
  if (typeof value === 'number') return value === 0 ? 0 : value;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member as JsonValue)]));
}

test('what is written reads back as the same value, on one line and indented', () => {
  fc.assert(
    fc.property(json, fc.constantFrom(0, 2), (value, indent) => {
      const text = jsonText(value, indent);
      expect(JSON.parse(text)).toEqual(plain(value));
      if (indent === 0) expect(text).not.toContain('\n');
    }),
  );
});

test('without floats and number rows the text is that of JSON.stringify', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean())), (value) => {
      expect(jsonText(value)).toBe(JSON.stringify(value));
      expect(jsonText(value, 2)).toBe(JSON.stringify(value, null, 2));
    }),
  );
});

test('members that are undefined are left out, keys keep their order, rows of numbers stay on one line', () => {
  expect(jsonText({ z: 1, missing: undefined, a: { none: undefined }, list: [] })).toBe('{"z":1,"a":{},"list":[]}');
  expect(jsonText({ shape: [1, 2, 3], times: [float(0), float(1.5)], names: ['a', 'b'] }, 2)).toBe(
    '{\n  "shape": [1, 2, 3],\n  "times": [0.0, 1.5],\n  "names": [\n    "a",\n    "b"\n  ]\n}',
  );
});

test('canonical text does not depend on the order of keys, and tells other values apart', () => {
  expect(canonicalText({ b: [1, { d: 2, c: null }], a: undefined, Z: 'x' })).toBe('{"Z":"x","b":[1,{"c":null,"d":2}]}');
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.integer()), fc.dictionary(fc.string(), fc.integer()), (one, other) => {
      const reversed = Object.fromEntries(Object.entries(one).reverse());
      expect(canonicalText(reversed)).toBe(canonicalText(one));
      const isSame = Object.keys({ ...one, ...other }).every((key) => one[key] === other[key]);
      expect(canonicalText(one) === canonicalText(other)).toBe(isSame);
      expect(JSON.parse(canonicalText(one))).toEqual({ ...one });
    }),
  );
});

test.each([[() => 1], [1n], [new Map()], [float(1)], [new Date(0)], [undefined], [Symbol('x')]])(
  'canonical text refuses what JSON does not have: %s',
  (value) => {
    expect(() => canonicalText({ value: [value] })).toThrow(expect.objectContaining({ code: 'internal.bug' }));
  },
);
