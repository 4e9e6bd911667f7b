import { expect, test } from 'vitest';
import { parseCsv } from './csv.js';

test('rows are objects by the names of the header', () => {
  const table = parseCsv('a.csv', '\uFEFFid, label\r\na,"cut, ""fine"""\n\nb,"two\nlines"\nc,');
  expect(table.value).toEqual([
    { id: 'a', label: 'cut, "fine"' },
    { id: 'b', label: 'two\nlines' },
    { id: 'c', label: '' },
  ]);
  expect(['/0', '/1/label', '/2', ''].map((at) => table.line(at))).toEqual([2, 4, 6, undefined]);
});

test.each([
  ['nothing', '', /expected a header line/],
  ['an open quote', 'id\n"a\nb', /line 2: a quote that nothing closes/],
  ['a short row', 'id,label\na', /line 2: 1 cells, expected the 2 of the header/],
  ['a column twice', 'id,id\na,b', /found `id` twice/],
  ['a column without a name', 'id,\na,b', /found one without a name/],
])('%s is refused', (_, text, message) => {
  expect(() => parseCsv('a.csv', text)).toThrow(message);
});
