import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  beginFile,
  cacheFolder,
  makeFolder,
  openFileSource,
  packageRoot,
  pathExists,
  readSmallFile,
  sha256,
  sha256File,
  temporaryName,
  writeAt,
  writeFileAtomic,
} from './files.js';

let root: string;
let count = 0;
beforeAll(async () => (root = await mkdtemp(join(tmpdir(), 'egolens-files-'))));
afterAll(() => rm(root, { recursive: true, force: true }));

/** A folder of this test's own. */
async function folder(): Promise<string> {
  const path = join(root, String(count++));
  await mkdir(path);
  return path;
}

test('a source gives exactly the bytes asked for, in memory of the caller', async () => {
  const path = join(await folder(), 'a.bin');
  await writeFile(
    path,
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );
  await using source = await openFileSource(path);
  expect(source).toMatchObject({ name: path, size: 100 });
  const bytes = await source.read(10, 3);
  expect([...bytes]).toEqual([10, 11, 12]);
  bytes.fill(0);
  expect([...(await source.read(10, 3))]).toEqual([10, 11, 12]);
  expect(await source.read(100, 0)).toHaveLength(0);
});

test.each([
  [90, 11],
  [101, 0],
  [-1, 2],
  [0, -1],
  [0.5, 1],
  [0, NaN],
  [Number.MAX_SAFE_INTEGER, 2],
])('a read of offset %d and length %d leaves a file of 100 bytes: input.truncated', async (offset, length) => {
  const path = join(await folder(), 'a.bin');
  await writeFile(path, new Uint8Array(100));
  await using source = await openFileSource(path);
  await expect(source.read(offset, length)).rejects.toMatchObject({
    code: 'input.truncated',
    message: `\`${path}\`: needed ${length} bytes at offset ${offset}, the file has 100`,
  });
});

test('a file that became shorter while it is open is truncated, not zeros', async () => {
  const path = join(await folder(), 'a.bin');
  await writeFile(path, new Uint8Array(100).fill(1));
  await using source = await openFileSource(path);
  await truncate(path, 40);
  await expect(source.read(30, 20)).rejects.toMatchObject({ code: 'input.truncated' });
});

test('what is no regular file is named', async () => {
  const here = await folder();
  await writeFile(join(here, 'a.bin'), 'x');
  await expect(openFileSource(join(here, 'none'))).rejects.toMatchObject({ code: 'input.not_found' });
  await expect(openFileSource(join(here, 'a.bin', 'b'))).rejects.toMatchObject({ code: 'input.not_found' });
  await expect(openFileSource(here)).rejects.toMatchObject({
    code: 'input.not_a_file',
    message: `\`${here}\`: expected a file, found a folder`,
  });
  await symlink('loop', join(here, 'loop'));
  await expect(openFileSource(join(here, 'loop'))).rejects.toMatchObject({
    code: 'input.unreadable',
    message: `\`${join(here, 'loop')}\`: cannot be read (ELOOP)`,
  });
});

test.skipIf(process.platform === 'win32')(
  'a pipe without a writer is refused at once instead of waited for',
  async () => {
    const path = join(await folder(), 'pipe');
    execFileSync('mkfifo', [path]);
    await expect(openFileSource(path)).rejects.toMatchObject({
      code: 'input.not_a_file',
      message: `\`${path}\`: expected a file, found a special file`,
    });
  },
);

test('a small file is read whole, a larger one refused by its size', async () => {
  const path = join(await folder(), 'a.bin');
  await writeFile(path, 'twelve bytes');
  expect(new TextDecoder().decode(await readSmallFile(path, 12))).toBe('twelve bytes');
  await expect(readSmallFile(path, 11)).rejects.toMatchObject({
    code: 'limit.size',
    message: `\`${path}\`: 12 bytes, expected at most 11`,
  });
});

test('a file appears under its name when it is committed, whole, and its temporary name goes', async () => {
  const here = await folder();
  const target = join(here, 'out.npy');
  {
    await using file = await beginFile(target);
    expect(await readdir(here)).toEqual([basename(temporaryName(target))]);
    await writeAt(file.handle, Uint8Array.of(3, 4), 2);
    expect(await writeAt(file.handle, Uint8Array.of(1, 2), 0)).toBe(2);
    await file.commit();
  }
  expect(await readdir(here)).toEqual(['out.npy']);
  expect([...(await readFile(target))]).toEqual([1, 2, 3, 4]);
});

test('a write that fails leaves nothing, and the old file as it was', async () => {
  const here = await folder();
  const target = join(here, 'out.json');
  await writeFileAtomic(target, 'old');
  const failing = async (): Promise<void> => {
    await using file = await beginFile(target);
    await file.handle.writeFile('half of the n');
    throw new Error('stopped here');
  };
  await expect(failing()).rejects.toThrow('stopped here');
  expect(await readdir(here)).toEqual(['out.json']);
  expect(await readFile(target, 'utf8')).toBe('old');
  await writeFileAtomic(target, 'new');
  expect(await readFile(target, 'utf8')).toBe('new');
});

test('a target that cannot be written is output.unwritable, before or at the rename, and leaves nothing', async () => {
  const here = await folder();
  await expect(writeFileAtomic(join(here, 'none', 'x'), '')).rejects.toMatchObject({
    code: 'output.unwritable',
    message: `\`${join(here, 'none', 'x')}\`: cannot be written (ENOENT)`,
  });
  const taken = join(here, 'taken');
  await mkdir(join(taken, 'full'), { recursive: true });
  await expect(writeFileAtomic(taken, 'x')).rejects.toMatchObject({ code: 'output.unwritable' });
  expect(await readdir(here)).toEqual(['taken']);
  await writeFile(join(here, 'file'), '');
  await expect(makeFolder(join(here, 'file', 'sub'))).rejects.toMatchObject({ code: 'output.unwritable' });
});

test('a folder is made with its parents, by several at once', async () => {
  const path = join(await folder(), 'a', 'b', 'c');
  await Promise.all([makeFolder(path), makeFolder(path), makeFolder(join(path, 'd'))]);
  expect(await readdir(path)).toEqual(['d']);
});

test.skipIf(process.platform !== 'linux')(
  'a folder that cannot be under an existing one is an error, no endless wait',
  async () => {
    await expect(makeFolder('/proc/none/sub')).rejects.toMatchObject({ code: 'output.unwritable' });
  },
);

test('the temporary name stands beside its target and names the process', () => {
  expect(temporaryName('/a/b/c.npy', 42)).toBe(join('/a/b', '.c.npy.42.tmp'));
});

test('digests are SHA-256 in lower-case hex, of a text, of bytes, and of a file larger than a piece', async () => {
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  expect(sha256('')).toBe(empty);
  expect(sha256(new TextEncoder().encode('ä'))).toBe(sha256('ä'));
  const path = join(await folder(), 'large.bin');
  const bytes = new Uint8Array(4 * 2 ** 20 + 5).map((_, i) => i % 251);
  await writeFile(path, bytes);
  expect(await sha256File(path)).toBe(createHash('sha256').update(bytes).digest('hex'));
  await writeFile(path, '');
  expect(await sha256File(path)).toBe(empty);
});

test('the cache folder is the one of the environment, else below the home folder', () => {
  expect(cacheFolder({ EGOLENS_CACHE_DIR: '/tmp/own' })).toBe('/tmp/own');
  const base = cacheFolder({ HOME: '/home/a', EGOLENS_CACHE_DIR: '' });
  expect(base.startsWith(join('/home/a')) && base.endsWith('egolens')).toBe(process.platform !== 'win32');
});

test.runIf(process.platform === 'linux')('XDG_CACHE_HOME counts where it is absolute', () => {
  expect(cacheFolder({ HOME: '/home/a', XDG_CACHE_HOME: '/var/cache' })).toBe('/var/cache/egolens');
  expect(cacheFolder({ HOME: '/home/a', XDG_CACHE_HOME: 'relative' })).toBe('/home/a/.cache/egolens');
});

test('the package root holds package.json', async () => {
  expect(await pathExists(join(packageRoot, 'package.json'))).toBe(true);
  expect(await pathExists(join(packageRoot, 'no such file'))).toBe(false);
});
