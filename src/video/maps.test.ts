import { mkdtempSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { mapFiles } from './maps.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-maps-'));
vi.stubEnv('EGOLENS_CACHE_DIR', folder);
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

test('decodes that begin at the same time get whole maps, one pair for all, and nothing is left beside it', async () => {
  const columns = Array.from({ length: 200 }, (_, i) => 2 * i);
  const rows = Array.from({ length: 100 }, (_, i) => 3 * i);
  const sizes = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const paths = await mapFiles({ columns, rows });
      return await Promise.all(paths.map(async (path) => [path, (await stat(path)).size] as const));
    }),
  );
  const expected = 'P5\n200 100\n65535\n'.length + 200 * 100 * 2;
  expect(new Set(sizes.flat().map(([, size]) => size))).toEqual(new Set([expected]));
  const [path] = sizes[0]![0]!;
  expect(await readdir(join(path, '..'))).toHaveLength(2);
});
