import fc from 'fast-check';
import { expect, test } from 'vitest';
import { float, jsonText, type JsonValue } from './json.js';
import { jsonPieces } from './json-pieces.js';
import { parseJson } from './json-reader.js';

test('writes what jsonText writes', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.double({ noNaN: true, noDefaultInfinity: true }), (json: unknown, number) => {
      const mixed: unknown = { json, float: float(number), left: undefined, list: [float(1), json] };
      expect([...jsonPieces(mixed)].join('')).toBe(jsonText(mixed as JsonValue));
    }),
  );
});

test('a document read with literals comes back as it was', () => {
  const json = '{"a":[1,1.0,-0.0,12345678901234567890,0.1],"b":{},"c":[[],{"d":null}],"e":"é\\n"}';
  const { value } = parseJson('a.json', json, { literals: true });
  expect([...jsonPieces(value, { literals: true })].join('')).toBe(json);
});

test('pieces stay small whatever the size of the value', () => {
  let count = 0;
  let longest = 0;
  for (const piece of jsonPieces(Array.from({ length: 200_000 }, (_, index) => ({ index, name: 'abc' })))) {
    count++;
    longest = Math.max(longest, piece.length);
  }
  expect(count).toBeGreaterThan(50);
  expect(longest).toBeLessThan(70_000);
});

test('refuses what JSON does not have', () => {
  expect(() => [...jsonPieces([NaN])]).toThrow('finite');
  expect(() => [...jsonPieces([Infinity], { literals: true })]).toThrow('finite');
  expect(() => [...jsonPieces({ a: () => 1 })]).toThrow('JSON value');
});
