import { mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { fakeServer, sha256Of, type FakeServer } from '../../test/hub/server.js';
import { download, type RemoteFile } from './download.js';
import { openHttp } from './http.js';

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) % 256));
const sha256 = sha256Of(content);

let server: FakeServer;
let folder: string;
beforeEach(async () => {
  server = await fakeServer();
  server.files.set('/f.bin', content);
  folder = await mkdtemp(join(tmpdir(), 'egolens-download-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
});

const target = (): string => join(folder, 'f.bin');
async function fetchFile(
  file: Partial<RemoteFile> = {},
  signal?: AbortSignal,
): Promise<{ sha256: string; bytes: number }> {
  await using http = await openHttp({ tries: 3, backoffMs: 1 });
  const remote = { url: `${server.url}/f.bin`, sha256: null, bytes: null, ...file };
  return await download(http, remote, target(), signal === undefined ? {} : { signal });
}

test('a file arrives under its name, with digest and size, and leaves no part', async () => {
  expect(await fetchFile({ sha256, bytes: content.length })).toEqual({ sha256, bytes: content.length });
  expect(await readdir(folder)).toEqual(['f.bin']);
  expect((await readFile(target())).equals(content)).toBe(true);
});

test('a connection that breaks is continued from where it broke, in the same call', async () => {
  server.faults.push({ cutAfter: 100_000 });
  expect(await fetchFile({ sha256 })).toEqual({ sha256, bytes: content.length });
  const ranges = server.gets.map(({ headers }) => headers.range).filter((range) => range !== undefined);
  expect(ranges).toEqual(['bytes=100000-']);
  expect(server.gets.at(-1)?.headers['if-range']).toBe(`"${sha256}"`);
});

test('the part of an earlier call is continued by the next one', async () => {
  server.faults.push({ hangAfter: 120_000 });
  const controller = new AbortController();
  const first = fetchFile({ sha256 }, controller.signal);
  await expect.poll(async () => (await sizes())[0]).toBe(120_000);
  controller.abort(new Error('stop'));
  await expect(first).rejects.toThrow('stop');
  expect((await readdir(folder)).map((name) => name.replace(/\.[0-9a-f]{16}\./, '.#.'))).toEqual([
    'f.bin.#.incomplete',
  ]);
  await fetchFile({ sha256 });
  expect(server.gets.at(-1)?.headers.range).toBe('bytes=120000-');
  expect(await readdir(folder)).toEqual(['f.bin']);
});

test('a part of another version is not glued to the new one', async () => {
  server.faults.push({ cutAfter: 100_000 }, { status: 404 });
  await expect(fetchFile()).rejects.toMatchObject({ code: 'model.download' });
  const changed = Buffer.from(content).reverse();
  server.files.set('/f.bin', changed);
  expect(await fetchFile()).toEqual({ sha256: sha256Of(changed), bytes: changed.length });
  expect(server.gets.at(-1)?.headers.range).toBeUndefined();
  expect(await readdir(folder)).toEqual(['f.bin']);
});

test('a file that changes between the cut and the next connection is fetched from the start', async () => {
  const changed = Buffer.from(content).reverse();
  server.faults.push({ cutAfter: 100_000, before: () => server.files.set('/f.bin', changed) });
  expect(await fetchFile()).toEqual({ sha256: sha256Of(changed), bytes: changed.length });
});

test.each([
  ['sends no ETag', (one: FakeServer) => (one.etag = null)],
  ['sends a weak ETag', (one: FakeServer) => (one.etag = 'W/"1"')],
  ['knows no ranges', (one: FakeServer) => (one.hasRanges = false)],
  ['sends no length', (one: FakeServer) => (one.hasLength = false)],
])('a server that %s is read from the start again after a cut', async (_, prepare) => {
  prepare(server);
  server.faults.push({ cutAfter: 100_000 });
  expect(await fetchFile({ sha256 })).toEqual({ sha256, bytes: content.length });
  expect((await readFile(target())).equals(content)).toBe(true);
});

test('other bytes than expected are model.digest, with both digests, and nothing stays', async () => {
  const wanted = 'a'.repeat(64);
  await expect(fetchFile({ sha256: wanted })).rejects.toMatchObject({
    code: 'model.digest',
    message: expect.stringMatching(new RegExp(`expected SHA-256 ${wanted}, received ${sha256}; removed`)) as string,
  });
  expect(await readdir(folder)).toEqual([]);
});

test('another size than declared is refused before anything is written', async () => {
  await expect(fetchFile({ bytes: 7 })).rejects.toMatchObject({
    code: 'model.digest',
    message: expect.stringContaining('expected 7 bytes, the server has 300000') as string,
  });
  expect(await readdir(folder)).toEqual([]);
});

test('a server that sends more than declared without a length is stopped at the limit', async () => {
  server.hasLength = false;
  await expect(fetchFile({ bytes: 70_000 })).rejects.toMatchObject({ code: 'limit.size' });
  expect(await readdir(folder)).toEqual([]);
});

test('a size beyond all checkpoints, or beyond the disk, is refused before anything is written', async () => {
  server.statedLength = 2 ** 37;
  await expect(fetchFile()).rejects.toMatchObject({ code: 'limit.size' });
  const { bavail, bsize } = await statfs(folder);
  server.statedLength = bavail * bsize + 1;
  await expect(fetchFile()).rejects.toMatchObject({
    code: expect.stringMatching(/^limit\.(disk|size)$/) as string, // a disk with more than 64 GiB free has room for what is allowed
  });
  expect(await readdir(folder)).toEqual([]);
});

test('an abort between two tries ends with its reason', async () => {
  server.faults.push({ status: 503 });
  const controller = new AbortController();
  const reason = new Error('stop');
  await using http = await openHttp({ tries: 3, backoffMs: 60_000 });
  const sent = http.send(`${server.url}/f.bin`, { signal: controller.signal });
  await expect.poll(() => server.seen.length).toBe(1);
  setTimeout(() => {
    controller.abort(reason);
  }, 20);
  await expect(sent).rejects.toBe(reason);
});

test('503 twice is waited out; 503 for ever is model.download, retryable', async () => {
  server.faults.push({ status: 503 }, { status: 503 });
  expect((await fetchFile({ sha256 })).bytes).toBe(content.length);
  server.faults.push({ status: 503 }, { status: 503 }, { status: 503 });
  await rm(target());
  await expect(fetchFile()).rejects.toMatchObject({
    code: 'model.download',
    message: expect.stringContaining('the server answers 503, 3 times') as string,
    details: { retryable: true },
  });
});

test('a server that is not there is model.download with the reason', async () => {
  const url = `${server.url}/f.bin`;
  server.stop();
  await expect(fetchFile({ url })).rejects.toMatchObject({
    code: 'model.download',
    message: expect.stringContaining('no connection (ECONNREFUSED), 3 times') as string,
  });
});

test('a connection that always breaks without a byte ends after some tries', async () => {
  server.faults.push(...Array.from({ length: 20 }, () => ({ cutAfter: 0 })));
  await expect(fetchFile()).rejects.toMatchObject({ code: 'model.download', details: { retryable: true } });
  expect(server.gets.length).toBeLessThan(16);
});

test('404 is not tried again and says that the file has moved', async () => {
  await expect(fetchFile({ url: `${server.url}/gone.bin` })).rejects.toMatchObject({
    code: 'model.download',
    details: { try: expect.stringContaining('--from') as string },
  });
  expect(server.seen).toHaveLength(1);
});

test.each(['file:///etc/passwd', 'ftp://example.org/f', 'data:text/plain,x'])(
  'a redirect to %s is refused',
  async (place) => {
    server.faults.push({ redirect: place });
    await expect(fetchFile()).rejects.toMatchObject({
      code: 'model.download',
      message: expect.stringMatching(/redirected to .*expected http or https/) as string,
    });
    expect(await readdir(folder)).toEqual([]);
  },
);

test('a circle of redirects ends', async () => {
  server.faults.push(...Array.from({ length: 20 }, () => ({ redirect: '/f.bin' })));
  await expect(fetchFile()).rejects.toMatchObject({ message: expect.stringContaining('redirects') as string });
});

test('a redirect to another origin does not carry the authorization, one to the same does', async () => {
  const other = await fakeServer();
  other.files.set('/f.bin', content);
  server.faults.push({ redirect: '/f.bin' }, { redirect: `${other.url}/f.bin` });
  await fetchFile({ headers: { authorization: 'Bearer t' } });
  expect(server.seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer t', 'Bearer t']);
  expect(other.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
});

test('a whole part whose process died before the rename is only checked', async () => {
  await writeFile(join(folder, 'f.bin.incomplete'), content);
  await fetchFile({ sha256, isContentNamed: true });
  expect(server.gets.every(({ headers }) => headers.range === undefined)).toBe(true);
  expect(await readdir(folder)).toEqual(['f.bin']);
});

async function sizes(): Promise<number[]> {
  const names = await readdir(folder);
  return await Promise.all(names.map(async (name) => (await readFile(join(folder, name))).length));
}
