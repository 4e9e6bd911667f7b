import { expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { parseTexts } from './extract-text.js';

const parse = (text: string | Uint8Array, name = 'q.txt') => parseTexts(Buffer.from(text), name);

function faultOf(text: string | Uint8Array, name?: string): string {
  try {
    parse(text, name);
  } catch (error) {
    if (error instanceof EgolensError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'no error';
}

test('lines are texts as they stand, with either line ending', () => {
  expect(parse('cut an onion\r\n "where" is it? \n')).toEqual([
    { id: null, text: 'cut an onion' },
    { id: null, text: ' "where" is it? ' },
  ]);
});

test('records give text or query, and an id that may be missing or a number', () => {
  const lines = [
    '{"id":"q1","text":"a","later":[1]}',
    '{"query":"b"}',
    '{"id":7,"query":"c"}',
    '{"id":null,"text":"d"}',
  ];
  const expected = [
    { id: 'q1', text: 'a' },
    { id: null, text: 'b' },
    { id: '7', text: 'c' },
    { id: null, text: 'd' },
  ];
  expect(parse(lines.join('\n'))).toEqual(expected);
  expect(parse(`${lines.join('\r\n')}\r\n`, 'q.jsonl')).toEqual(expected);
});

test.each([
  ['nothing', '', 'q.txt', 'input.empty `q.txt`: expected texts, found none'],
  ['a blank line', 'a\n\nb', 'q.txt', 'data.invalid `q.txt`: line 2: expected a text, found a blank line'],
  ['a text among records', '{"text":"a"}\nb', 'q.txt', /^data.invalid `q.txt`: line 2: expected a JSON object, found /],
  ['a list', '[1]', 'q.ndjson', 'data.invalid `q.ndjson`: line 1: expected a JSON object, found another value'],
  ['neither', '{"id":1}', 'q.txt', 'data.invalid `q.txt`: line 1: expected `text` or `query`, found neither'],
  ['both', '{"text":"a","query":"a"}', 'q.txt', 'data.invalid `q.txt`: line 1: expected `text` or `query`, found both'],
  [
    'an empty text',
    '{"text":" "}',
    'q.txt',
    'data.invalid `q.txt`: line 1: expected a text that is not empty, found " "',
  ],
  [
    'a text that is none',
    '{"text":["a"]}',
    'q.txt',
    'data.invalid `q.txt`: line 1: expected a text that is not empty, found ["a"]',
  ],
  ['an id that is none', '{"id":{},"text":"a"}', 'q.txt', /expected `id` as text or number, found another value/],
  ['other bytes', Uint8Array.of(0x61, 0xff), 'q.txt', 'data.invalid `q.txt`: expected text in UTF-8'],
  [
    'a million and one texts',
    'a\n'.repeat(1_000_001),
    'q.txt',
    'limit.size `q.txt`: 1000001 texts, expected at most 1000000',
  ],
])('%s is refused with its line', (_, text, name, message) => {
  if (typeof message === 'string') expect(faultOf(text, name)).toBe(message);
  else expect(faultOf(text, name)).toMatch(message);
});
