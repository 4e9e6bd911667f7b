import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { seededRandom } from '../random.js';
import type { FeatureClock } from '../types.js';
import { openIndex, openSpool, stageIndex, type IndexPart } from './index-file.js';
import { blockRows, headerBytes, type IndexHeader, type IndexItem } from './index-format.js';
import { exactScore, unitHalves } from './vectors.js';

const sha = 'a'.repeat(64);
const width = 6;
const settings: Omit<IndexHeader, 'items'> = {
  model: { id: 'm@aaaaaaaaaaaa', digest: sha },
  output: 'video_embed',
  precision: 'fp32',
  preset: 'p-every-2s@1',
  granularity: { num: 2, den: 1 },
  stream: '0',
  width,
};
const clock = (rows: number): FeatureClock => ({
  rate: { num: 8, den: 1 },
  hop: 16,
  frames: 16,
  step: 1,
  tail: 'align',
  rows,
});
/** Rows of 2 s each, the last one shifted back by a quarter of a second. */
const item = (path: string, rows: number, origin = 0): IndexItem => ({
  path,
  bytes: 9,
  identity: `ends:${sha}`,
  key: sha,
  rows,
  origin,
  clock: clock(rows),
  last: rows === 1 ? [origin, origin + 1.5] : [origin + 2 * rows - 2.25, origin + 2 * rows - 0.25],
});
const random = seededRandom(0, 'index');
const rowsOf = (count: number): Uint8Array<ArrayBuffer> =>
  unitHalves(
    Float32Array.from({ length: count * width }, () => random.normal()),
    width,
  );

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-index-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** An index of the items, their rows random. */
async function written(name: string, items: readonly IndexItem[]): Promise<{ path: string; vectors: Uint8Array }> {
  const path = join(folder, name);
  const vectors = rowsOf(items.reduce((sum, { rows }) => sum + rows, 0));
  await using spool = await openSpool(path, width);
  await spool.append(vectors);
  let firstRow = 0;
  const parts = items.map((one): IndexPart => {
    const part = { item: one, source: spool, firstRow };
    firstRow += one.rows;
    return part;
  });
  await using file = await stageIndex(path, settings, parts);
  await file.commit();
  return { path, vectors };
}

describe('an index', () => {
  const items = [item('a/long.mp4', blockRows + 3), item('b.mp4', 1, 12.5), item('c.mp4', 4)];
  const rows = blockRows + 8;

  test('holds the header that was written and every row, blocks at multiples of 4 KiB', async () => {
    const { path, vectors } = await written('whole.egx', items);
    await using index = await openIndex(path);
    expect(index.header).toEqual({ ...settings, items });
    expect(index.rows).toBe(rows);
    const all = new Uint8Array(rows * width * 2);
    await index.readRows(0, all);
    expect(Buffer.compare(all, vectors)).toBe(0);
    const file = await readFile(path);
    expect(file.subarray(0, 8).toString()).toBe('EGOLENSX');
    const start = file.length - vectors.length;
    expect(start % 4096).toBe(0);
    expect(start).toBe(headerBytes(index.header).length);
    expect(await readdir(folder)).not.toContainEqual(expect.stringContaining('.tmp'));
  });

  test('tells whose a row is and when, the shifted last one included', async () => {
    const { path } = await written('times.egx', items);
    await using index = await openIndex(path);
    expect(index.locate(blockRows + 3)).toMatchObject({ item: items[1], row: 0 });
    expect(index.spanOf(0)).toEqual([0, 2]);
    expect(index.spanOf(1)).toEqual([2, 4]);
    expect(index.spanOf(blockRows + 3)).toEqual([12.5, 14]);
    expect(index.spanOf(rows - 1)).toEqual([5.75, 7.75]);
    expect(() => index.spanOf(rows)).toThrow(EgolensError);
    expect(() => index.locate(-1)).toThrow(EgolensError);
  });

  test('rows around one are those of its video with a smaller gap', async () => {
    const { path } = await written('around.egx', items);
    await using index = await openIndex(path);
    const first = blockRows + 4; // of c.mp4: 0-2, 2-4, 4-6, 5.75-7.75
    expect(index.around(first + 1, 0)).toEqual([first + 1, first + 2]);
    expect(index.around(first + 1, 2)).toEqual([first, first + 4]);
    expect(index.around(first, 2)).toEqual([first, first + 2]);
    expect(index.around(first, 2.1)).toEqual([first, first + 3]);
    expect(index.around(first + 3, 0)).toEqual([first + 2, first + 4]); // the last two overlap
    expect(index.around(first - 1, 1000)).toEqual([first - 1, first]);
  });

  test('rows outside and parts of rows are refused', async () => {
    const { path } = await written('outside.egx', items);
    await using index = await openIndex(path);
    for (const [row, bytes] of [
      [rows, width * 2],
      [rows - 1, width * 4],
      [-1, width * 2],
      [0, 3],
    ] as const) {
      await expect(index.readRows(row, new Uint8Array(bytes))).rejects.toMatchObject({ code: 'data.invalid' });
    }
  });

  test('parts of an old index and new rows make the file that one run makes', async () => {
    const { path, vectors } = await written('old.egx', items);
    const target = join(folder, 'joined.egx');
    await using index = await openIndex(path);
    await using spool = await openSpool(target, width);
    const added = rowsOf(2);
    const firstRow = await spool.append(added);
    const parts = [
      { item: items[0]!, source: index, firstRow: 0 },
      { item: item('b.mp4', 2), source: spool, firstRow },
      { item: items[2]!, source: index, firstRow: blockRows + 4 },
    ];
    await using file = await stageIndex(target, settings, parts);
    await file.commit();
    const cut = (blockRows + 3) * width * 2;
    const expected = Buffer.concat([vectors.subarray(0, cut), added, vectors.subarray(cut + width * 2)]);
    const bytes = await readFile(target);
    expect(Buffer.compare(bytes.subarray(bytes.length - expected.length), expected)).toBe(0);
  });
});

describe('a file that is no index, or a part of one', () => {
  const damage = async (change: (bytes: Buffer) => Buffer): Promise<unknown> => {
    const { path } = await written('good.egx', [item('a.mp4', 2), item('b.mp4', 3)]);
    const bad = join(folder, 'bad.egx');
    await writeFile(bad, change(await readFile(path)));
    const opened = openIndex(bad);
    return await opened.then(
      (index) => index[Symbol.asyncDispose](),
      (error: unknown) => error,
    );
  };
  /** The header replaced, its length made right. */
  const withHeader = (edit: (header: Record<string, unknown> & { items: Record<string, unknown>[] }) => void) =>
    damage((bytes) => {
      const length = Number(bytes.readBigUInt64LE(12));
      const header = JSON.parse(bytes.subarray(20, 20 + length).toString()) as Parameters<typeof edit>[0];
      edit(header);
      const text = Buffer.from(JSON.stringify(header));
      const start = Math.ceil((20 + text.length) / 4096) * 4096;
      const out = Buffer.alloc(start + 5 * width * 2);
      bytes.copy(out, 0, 0, 20);
      out.writeBigUInt64LE(BigInt(text.length), 12);
      text.copy(out, 20);
      return out;
    });

  test('an unchanged header in this form is read', async () => {
    expect(await withHeader(() => undefined)).toBeUndefined();
  });

  test.each<[string, (bytes: Buffer) => Buffer, string]>([
    ['empty', () => Buffer.alloc(0), 'input.format'],
    ['another file', () => Buffer.from('RIFF and so on, a film'), 'input.format'],
    ['the magic alone', (bytes) => bytes.subarray(0, 8), 'input.truncated'],
    ['cut in the header', (bytes) => bytes.subarray(0, 200), 'input.truncated'],
    ['cut in the vectors', (bytes) => bytes.subarray(0, bytes.length - 1), 'input.truncated'],
    ['bytes too many', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]), 'data.invalid'],
    ['a later version', (bytes) => (bytes.writeUInt32LE(2, 8), bytes), 'input.format'],
    ['a header of 2^63 bytes', (bytes) => (bytes.writeBigUInt64LE(2n ** 63n, 12), bytes), 'limit.size'],
    ['a header of 200 MiB', (bytes) => (bytes.writeBigUInt64LE(200n * 2n ** 20n, 12), bytes), 'input.truncated'],
    ['no JSON', (bytes) => (bytes.write('}', 20), bytes), 'data.invalid'],
  ])('%s is refused', async (_, change, code) => {
    expect(await damage(change)).toMatchObject({ code });
  });

  test.each<[string, Parameters<typeof withHeader>[0]]>([
    ['rows that its items do not have', (header) => (header['rows'] = 4)],
    ['more rows than 2^31', (header) => (header['rows'] = 2 ** 40)],
    ['an item of a million rows', (header) => (header.items[0]!['rows'] = 1e6)],
    ['no rows in an item', (header) => (header.items[0]!['rows'] = 0)],
    ['a gap between items', (header) => (header.items[1]!['row'] = 3)],
    ['items out of order', (header) => header.items.reverse()],
    ['a width of 0', (header) => (header['width'] = 0)],
    ['a width of another size', (header) => (header['width'] = 7)],
    ['a clock without a rate', (header) => (header.items[0]!['clock'] = { ...clock(2), rate: 'source' })],
    ['no clock', (header) => (header.items[0]!['clock'] = null)],
    ['a last row that ends before it starts', (header) => (header.items[0]!['last'] = [3, 2])],
    ['a last row before the others', (header) => (header.items[1]!['last'] = [0, 1])],
    ['a digest that is none', (header) => (header['model'] = { id: 'm@aaaaaaaaaaaa', digest: 'x' })],
    ['a granularity of 0', (header) => (header['granularity'] = '0/1')],
  ])('a header with %s is refused', async (_, edit) => {
    const error = await withHeader(edit);
    expect(error).toBeInstanceOf(EgolensError);
    expect(['data.invalid', 'input.truncated']).toContain((error as EgolensError).code);
  });

  test('random bytes behind the magic end in an EgolensError', async () => {
    const path = join(folder, 'random.egx');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        await writeFile(path, Buffer.concat([Buffer.from('EGOLENSX\x01\0\0\0', 'latin1'), bytes]));
        await expect(openIndex(path)).rejects.toBeInstanceOf(EgolensError);
      }),
      { numRuns: 60 },
    );
  });
});

test('vectors have unit length within float16, and zeros stay zeros', () => {
  const query = Float32Array.of(1, 0, 0, 0, 0, 0);
  const data = Float32Array.of(3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1e30, -1e30, 0, 0, 0, 0);
  const rows = new DataView(unitHalves(data, width).buffer);
  expect(exactScore(query, rows, 0)).toBeCloseTo(0.6, 3);
  expect(exactScore(query, rows, 1)).toBe(0);
  expect(exactScore(query, rows, 2)).toBeCloseTo(Math.SQRT1_2, 3);
});
