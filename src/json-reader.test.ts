import fc from 'fast-check';
import { expect, test } from 'vitest';
import { schemaFindings, withoutBigints } from './check.js';
import { EgolensError } from './errors.js';
import { isMore } from './findings.js';
import { parseJson, readJson } from './json-reader.js';
import { depthLimit } from './json-text.js';
import type { ByteSource } from './types.js';

function failure(json: string | Uint8Array): EgolensError {
  try {
    parseJson('a.json', json);
  } catch (error) {
    if (error instanceof EgolensError) return error;
    throw error;
  }
  throw new Error(`no error for ${String(json)}`);
}

function codes(json: string): [string, string, number | undefined][] {
  return parseJson('a.json', json).findings.map(({ code, at, line }) => [code, at, line]);
}

test('gives what JSON.parse gives, whatever the layout', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, '\t', '\r\n '), (value, indent) => {
      const json = JSON.stringify(value, null, indent);
      const document = parseJson('a.json', json);
      expect(document.value).toEqual(JSON.parse(json));
      expect(document.findings.filter(({ code }) => code !== 'json.integer' && code !== 'json.surrogate')).toEqual([]);
    }),
  );
});

test('gives the nearest double of every number', () => {
  const literal = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.tuple(fc.bigInt(), fc.nat({ max: 40 })).map(([digits, zeros]) => `${digits}.${'0'.repeat(zeros)}7`),
    fc
      .tuple(fc.integer(), fc.integer({ min: -330, max: 310 }))
      .map(([mantissa, exponent]) => `${mantissa}e${exponent}`),
  );
  fc.assert(
    fc.property(literal, (text) => {
      expect(parseJson('a.json', text).value).toBe(JSON.parse(text));
    }),
    { numRuns: 1000 },
  );
});

test('an integer is a bigint and a float a number when literals are kept', () => {
  const { value, findings } = parseJson('a.json', '[1, 1.0, 1e0, -0, -0.0, 123456789012345678901234567890]', {
    literals: true,
  });
  expect(value).toEqual([1n, 1, 1, 0n, -0, 123456789012345678901234567890n]);
  expect(findings).toEqual([]);
});

test('integers beyond 2^53 are rounded, and that is said', () => {
  expect(codes('[9007199254740991, 9007199254740993]')).toEqual([['json.integer', '/1', 1]]);
  expect(codes('[1e999]')).toEqual([['json.overflow', '/0', 1]]);
  expect(failure(`[${'1'.repeat(5000)}]`).message).toContain('line 1, column 2: expected an integer of at most 4300');
});

test('NaN and infinities pass as in Python, and each is told with its place', () => {
  const document = parseJson('a.json', '{"a/b": [0,\n NaN, -Infinity],\n "c": Infinity}');
  expect(document.value).toEqual({ 'a/b': [0, NaN, -Infinity], c: Infinity });
  expect(document.findings.map(({ at, line, found }) => [at, line, found])).toEqual([
    ['/a~1b/1', 2, '`NaN`'],
    ['/a~1b/2', 2, '`-Infinity`'],
    ['/c', 3, '`Infinity`'],
  ]);
  for (const text of ['[nan]', '[-NaN]', '[inf]', '[+Infinity]', '[Infinit]']) {
    expect(failure(text).code).toBe('data.invalid');
  }
});

test('the last of repeated keys wins, and both lines are told', () => {
  const document = parseJson('a.json', '{\n"a": 1,\n"b": {"a": [{"a": 0}]},\n"\\u0061": 2,\n"a":\n3}');
  expect(document.value).toEqual({ a: 3, b: { a: [{ a: 0 }] } });
  expect(document.findings.map(({ code, at, line, found }) => [code, at, line, found])).toEqual([
    ['json.duplicate_key', '/a', 4, '`a` a second time, before in line 2'],
    ['json.duplicate_key', '/a', 5, '`a` a second time, before in line 4'],
  ]);
  expect(document.line('/a')).toBe(6);
});

test('finds a repeated key in objects of any size, and nowhere else', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.string({ maxLength: 4 }), { minLength: 1, maxLength: 120 }),
      fc.nat(),
      fc.nat(),
      (keys, from, to) => {
        const members = keys.map((key, index) => `${JSON.stringify(key)}:${index}`);
        const surrogates = (json: string): string[] =>
          codes(json)
            .map(([code]) => code)
            .filter((code) => code !== 'json.surrogate');
        // The same object twice: shapes are known the second time.
        expect(surrogates(`[{${members.join()}},{${members.join()}}]`)).toEqual([]);
        const twice = [...members];
        twice.splice(Math.max(1 + (from % members.length), to % twice.length), 0, members[from % members.length]!);
        expect(surrogates(`[{${members.join()}},{${twice.join()}}]`)).toEqual(['json.duplicate_key']);
      },
    ),
    { numRuns: 300 },
  );
});

test('a million faults give the first hundred of each kind and the count of the rest', () => {
  const begin = performance.now();
  const { findings } = parseJson('a.json', `{${'"a":NaN,'.repeat(300_000)}"b":1}`);
  expect(findings.filter((finding) => !isMore(finding))).toHaveLength(200);
  expect(findings.filter(isMore).map(({ code, more }) => [code, more])).toEqual([
    ['json.nan', 299_900],
    ['json.duplicate_key', 299_899],
  ]);
  expect(performance.now() - begin).toBeLessThan(20_000);
});

test.each([
  ["{'a': 1}", 'json.dump'],
  ['{"a": True}', 'json.dump'],
  ['{"a": [nan]}', 'json.dump'],
  ['version https://git-lfs.github.com/spec/v1', 'Git LFS'],
  ['<!DOCTYPE html>', 'website'],
  [Uint8Array.of(0x80, 0x04, 0x95), 'pickle'],
])('what is no JSON is known by how it begins: %s', (text, hint) => {
  expect(failure(text).suggestions.join()).toContain(hint);
});

test('a byte order mark passes and is told', () => {
  const document = parseJson('a.json', '\ufeff\n{"a":\n1}');
  expect(document.value).toEqual({ a: 1 });
  expect(document.findings.map(({ code, line }) => [code, line])).toEqual([['json.bom', 1]]);
  expect(document.line('/a')).toBe(3);
});

test('lone surrogates pass and are told, pairs are letters', () => {
  expect(parseJson('a.json', '"\\ud83d\\ude00"')).toMatchObject({ value: '😀', findings: [] });
  expect(parseJson('a.json', '["\\ud83d"]').value).toEqual(['\ud83d']);
  expect(codes('["\\ud83d"]')).toEqual([['json.surrogate', '/0', 1]]);
});

test('keys of the prototype are ordinary keys', () => {
  const { value } = parseJson('a.json', '{"__proto__": {"polluted": 1}, "constructor": 2, "toString": 3}');
  expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor', 'toString']);
  expect(({} as { polluted?: number }).polluted).toBeUndefined();
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
});

test.each([
  ['[01]', 'line 1, column 3: expected no digit after a leading 0, found `1`'],
  ['{"a":1,}', 'line 1, column 8: expected a key in double quotes after `,`, found `}`'],
  ['[1,]', 'line 1, column 4: expected a value after `,`, found `]`'],
  ['[1\n 2]', 'line 2, column 2: expected `,` or `]`, found `2`'],
  ['{a:1}', 'line 1, column 2: expected a key in double quotes or `}`, found `a`'],
  ["['a']", "line 1, column 2: expected a value, found `'`"],
  ['{"a" 1}', 'line 1, column 6: expected `:`, found `1`'],
  ['[tru]', 'line 1, column 2: expected `true`, found `tru`'],
  ['["é\\x"]', 'line 1, column 5: expected one of `" \\ / b f n r t u` after `\\`, found `x`'],
  ['["\\u12g4"]', 'line 1, column 7: expected four hexadecimal digits after `\\u`, found `g4`'],
  ['["a\nb"]', 'line 1, column 4: expected no control character inside a text, found the byte 0x0a'],
  ['[1.]', 'line 1, column 4: expected a digit after the point, found `]`'],
  ['[.5]', 'line 1, column 2: expected a value, found `.5`'],
  ['[1e+]', 'line 1, column 5: expected a digit of the exponent, found `]`'],
  ['[undefined]', 'line 1, column 2: expected a value, found `undefined`'],
  ['{"a":1}\n{"a":2}', 'line 2, column 1: expected the end of the file after the first value, found `{`'],
  ['', 'line 1, column 1: the file ends where a value should begin, expected a value'],
  ['{"a": [1, {"b": 2}', 'line 1, column 19: the file ends inside the list that begins at line 1, column 7'],
  ['["abc', 'the file ends inside the text that begins at line 1, column 2, expected `"`'],
])('refuses %j with its place', (json, message) => {
  const error = failure(json);
  expect(error.code).toBe('data.invalid');
  expect(error.message).toContain(`\`a.json\`: `);
  expect(error.message).toContain(message);
});

test('agrees with JSON.parse on what is JSON, for damaged texts', () => {
  const text = '{"a": [1.5, -2e3, "x\\n\\u00e9", true, null], "é": {}, "b": false}';
  fc.assert(
    fc.property(
      fc.nat({ max: text.length - 1 }),
      fc.constantFrom(...Array.from('{}[]",:0-.eEtn\\ \n'), ''),
      (at, letter) => {
        const damaged = text.slice(0, at) + letter + text.slice(at + 1);
        let expected: unknown;
        try {
          expected = JSON.parse(damaged);
        } catch {
          expect(failure(damaged).code).toBe('data.invalid');
          return;
        }
        expect(parseJson('a.json', damaged).value).toEqual(expected);
      },
    ),
    { numRuns: 2000 },
  );
});

test('a text cut off at any byte is said to be cut off', () => {
  const whole = Buffer.from('{"ab": [1, {"c": "x\\u00e9é😀"}, -1.5e3, true, false, null, NaN, -Infinity], "d": []}');
  for (let length = 0; length < whole.length; length++) {
    const { message } = failure(whole.subarray(0, length));
    // Cut inside a letter, it is no UTF-8 either.
    expect(message).toMatch(/the file ends|expected UTF-8/);
  }
});

test('random bytes end in a value or an error of ours', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        parseJson('a.json', bytes);
      } catch (error) {
        expect((error as EgolensError).code).toBe('data.invalid');
      }
    }),
    { numRuns: 2000 },
  );
});

test('what is no UTF-8 is refused at its byte', () => {
  const bytes = Buffer.concat([
    Buffer.from(`{"a":"${'é'.repeat(1000)}",\n"b":"x`),
    Buffer.of(0xc3, 0x28),
    Buffer.from('"}'),
  ]);
  expect(failure(bytes).message).toContain('line 2, column 7: expected UTF-8, found the byte 0xc3');
});

test('nesting has a limit, far from that of the stack', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  expect(parseJson('a.json', nested(depthLimit)).findings).toEqual([]);
  expect(failure(nested(depthLimit + 1)).message).toContain(`expected at most ${depthLimit}`);
  expect(failure('{"a":'.repeat(1_000_000)).message).toContain(`expected at most ${depthLimit}`);
});

test('tells the line of every value', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const json = JSON.stringify(value, null, 2);
      const document = parseJson('a.json', json);
      // Lines of an indented text count up with every member and every opening bracket.
      let line = 1;
      const walk = (part: unknown, pointer: string): void => {
        expect([pointer, document.line(pointer)]).toEqual([pointer, line]);
        if (typeof part !== 'object' || part === null || Object.keys(part).length === 0) return;
        for (const [key, member] of Object.entries(part)) {
          line++;
          walk(member, `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`);
        }
        line++;
      };
      walk(value, '');
    }),
  );
});

test('no line is told of what is not there', () => {
  const document = parseJson('a.json', '{"a": [1,\n2]}');
  expect(['/a/1', '/a/2', '/a/-1', '/a/01', '/b', 'a', '/a/0/x'].map((at) => document.line(at))).toEqual([
    2,
    ...new Array<undefined>(6).fill(undefined),
  ]);
  expect(parseJson('a.json', '{"a": 1}\n').line('/a')).toBe(1);
  expect(parseJson('a.json', '{"a": 1}', { check: 'values' }).line('/a')).toBe(1);
  expect(parseJson('a.json', '{\n"a": 1}', { check: 'values' }).line('/a')).toBeUndefined();
});

test('tells the order of keys that look like integers, of small and of large objects', () => {
  for (const count of [3, 200]) {
    const keys = ['10', 'b', '2', '__proto__', ...Array.from({ length: count }, (_, index) => `k${index}`), '1'];
    const document = parseJson(
      'a.json',
      `[{${keys.map((key) => `${JSON.stringify(key)}: {"2": 0, "1": {}}`).join()}}]`,
    );
    const [object] = document.value as Readonly<Record<string, object>>[];
    expect(document.keys?.(object!)).toEqual(keys);
    expect(document.keys?.(object!['b']!)).toEqual(['2', '1']);
  }
});

test('reads a source in pieces', async () => {
  const json = Buffer.from(`[${'123456789,'.repeat(4_000_000)}0]`);
  let largest = 0;
  const source: ByteSource = {
    name: 'large.json',
    size: json.length,
    read(offset, length) {
      largest = Math.max(largest, length);
      return Promise.resolve(new Uint8Array(json.subarray(offset, offset + length)));
    },
  };
  const document = await readJson(source);
  expect(document.bytes).toBe(json.length);
  expect((document.value as number[]).length).toBe(4_000_001);
  expect(largest).toBeLessThan(20e6);
  await expect(readJson({ ...source, size: 2 ** 33 })).rejects.toMatchObject({ code: 'limit.size' });
});

test('schema findings carry lines, take bigints as numbers, and say that there are more', async () => {
  const json = (version: string): string =>
    `{\n"schema": "egolens.labels/1",\n"name": "k400",\n"version": ${version},\n"labels": ["a"]}`;
  const document = parseJson('a.json', json('0'), { literals: true });
  expect((await schemaFindings('egolens.labels/1', document)).map(({ at, line }) => [at, line])).toEqual([
    ['/order', 1],
    ['/version', 4],
  ]);
  const [first, more] = await schemaFindings('egolens.labels/1', document, { limit: 1 });
  expect([first?.at, more]).toEqual(['/order', expect.objectContaining({ more: 1 })]);
  const value = { a: [1n, { b: 2 }], c: { d: 'x' } };
  expect(withoutBigints(value)).toEqual({ a: [1, { b: 2 }], c: { d: 'x' } });
  expect((withoutBigints(value) as typeof value).c).toBe(value.c);
});
