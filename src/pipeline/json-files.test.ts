import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { readJsonFile, unpacked } from './json-files.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-json-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

test('reads a plain and a gzipped file alike, whatever their names', async () => {
  const json = JSON.stringify({ a: Array.from({ length: 300_000 }, (_, index) => index) }, null, 1);
  const plain = await readJsonFile(write('a.json.gz', json));
  const packed = await readJsonFile(write('b.json', gzipSync(json)));
  expect(packed.value).toEqual(plain.value);
  expect([packed.bytes, packed.line('/a/2')]).toEqual([json.length, 5]);
  await expect(readJsonFile(join(folder, 'none.json'))).rejects.toMatchObject({ code: 'input.not_found' });
  await expect(readJsonFile(write('empty.json', ''))).rejects.toMatchObject({ code: 'data.invalid' });
});

test('any range of the unpacked bytes can be read', async () => {
  const bytes = Buffer.alloc(2_500_000, 'abcdefg');
  const source = await unpacked(write('c.gz', gzipSync(bytes)));
  expect(source.size).toBe(bytes.length);
  for (const [from, length] of [
    [0, 10],
    [1_048_570, 20],
    [5, 2_400_000],
    [2_499_999, 1],
    [7, 0],
  ] as const) {
    expect(Buffer.compare(await source.read(from, length), bytes.subarray(from, from + length))).toBe(0);
  }
  await expect(source.read(2_499_999, 2)).rejects.toMatchObject({ code: 'input.truncated' });
});

test('a file that unpacks to more than the limit is refused before it fills the memory', async () => {
  const bomb = write('bomb.gz', gzipSync(Buffer.alloc(200_000_000)));
  const before = process.memoryUsage().rss;
  await expect(readJsonFile(bomb, { maxBytes: 20_000_000 })).rejects.toMatchObject({ code: 'limit.size' });
  expect(process.memoryUsage().rss - before).toBeLessThan(150e6);
});

test('a damaged or cut gzip file is told', async () => {
  const packed = gzipSync(JSON.stringify(Array.from({ length: 10_000 }, (_, index) => index)));
  await expect(readJsonFile(write('cut.gz', packed.subarray(0, packed.length - 50)))).rejects.toMatchObject({
    code: 'input.truncated',
  });
  const damaged = Uint8Array.from(packed);
  damaged.fill(0xff, 50, 90);
  await expect(readJsonFile(write('bad.gz', damaged))).rejects.toMatchObject({ code: 'input.format' });
});
