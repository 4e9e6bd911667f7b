import { describe, expect, test } from 'vitest';
import { float } from '../json.js';
import { column, RecordWriter, tableText, type Column, type Format, type OutputRecord } from './output.js';

const columns: readonly Column[] = [column('name'), column('score', 'right'), column('shape'), column('note')];
const records: readonly OutputRecord[] = [
  { name: 'a, "b"', score: float(1), shape: [2, 3], note: null },
  { name: 'line\nbreak', score: float(0.123456789), shape: [], note: undefined },
];

async function written(format: Format, rows: readonly OutputRecord[], single = false): Promise<string[]> {
  const pieces: string[] = [];
  const writer = new RecordWriter({ write: (text) => pieces.push(text) }, format, columns, single);
  for (const row of rows) await writer.write(row);
  await writer.end();
  return pieces;
}

test('ndjson goes out record by record, a line each, floats with their point', async () => {
  expect(await written('ndjson', records)).toEqual([
    '{"name":"a, \\"b\\"","score":1.0,"shape":[2,3],"note":null}\n',
    '{"name":"line\\nbreak","score":0.123456789,"shape":[]}\n',
  ]);
});

test('json is one list, or the one record itself where a command has only one', async () => {
  const parse = async (...args: Parameters<typeof written>): Promise<unknown> =>
    JSON.parse((await written(...args)).join(''));
  expect(await parse('json', records)).toHaveLength(2);
  expect(await parse('json', [])).toEqual([]);
  expect(await parse('json', records.slice(0, 1))).toHaveLength(1);
  expect(await parse('json', records.slice(0, 1), true)).toMatchObject({ name: 'a, "b"', score: 1 });
});

test('csv and tsv have a header, quotes where they are needed, empty cells for null and nothing', async () => {
  expect((await written('csv', records)).join('')).toBe(
    'name,score,shape,note\n"a, ""b""",1.0,"[2,3]",\n"line\nbreak",0.123456789,[],\n',
  );
  expect((await written('tsv', records.slice(0, 1))).join('')).toBe(
    'name\tscore\tshape\tnote\n"a, ""b"""\t1.0\t[2,3]\t\n',
  );
});

test.each(['csv', 'tsv'] as const)('%s without records has its header all the same', async (format) => {
  expect(await written(format, [])).toHaveLength(1);
});

test('a value that JSON does not have is refused in every format', async () => {
  for (const format of ['ndjson', 'json', 'csv', 'tsv'] as const) {
    await expect(written(format, [{ score: float(NaN) }])).rejects.toMatchObject({ code: 'data.not_finite' });
  }
});

describe('a table', () => {
  test('aligns its columns, cuts numbers to six digits, and leaves no blanks at the ends of lines', () => {
    expect(tableText(columns, records)).toBe(
      ['name           score  shape  note', 'a, "b"           1.0  [2,3]', 'line?break  0.123457  []', ''].join('\n'),
    );
    expect(tableText(columns, [])).toBe('');
  });

  test('shows control characters of names as marks: a file name cannot steer the terminal', () => {
    const text = tableText([column('name')], [{ name: '\u001b[2Jgone\u0007\u009b31m' }]);
    expect(text).toBe('name\n?[2Jgone??31m\n');
  });

  test('counts characters, not UTF-16 units', () => {
    expect(tableText([column('name'), column('n')], [{ name: '🎥é', n: 1 }])).toBe('name  n\n🎥é    1\n');
  });

  test('takes more records than a call takes arguments', () => {
    const many = Array.from({ length: 200_000 }, (_, n) => ({ n }));
    expect(tableText([column('n')], many).length).toBeGreaterThan(1e6);
  });
});
