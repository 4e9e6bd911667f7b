import { lstat, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { scanCacheDir } from '@huggingface/hub';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { fakeServer, sha256Of, type FakeServer } from '../../test/hub/server.js';
import { openHttp } from './http.js';
import { fetchHubFile, findHubFile, hubEndpoint, hubFolder, type HubFile } from './repository.js';

const content = Buffer.from('weights '.repeat(1000));
const sha256 = sha256Of(content);
const commit = '0123456789abcdef0123456789abcdef01234567';

let server: FakeServer;
let environment: Record<string, string>;
beforeEach(async () => {
  server = await fakeServer();
  server.repositories.set('org/model', { commit, files: { 'sub/model.bin': content } });
  const cache = await mkdtemp(join(tmpdir(), 'egolens-hub-'));
  onTestFinished(() => rm(cache, { recursive: true, force: true }));
  environment = { HF_HUB_CACHE: cache, HF_ENDPOINT: `${server.url}/` };
});

async function fetchFile(wanted: Partial<HubFile> = {}) {
  await using http = await openHttp({ tries: 2, backoffMs: 1 });
  return await fetchHubFile(http, hubFile(wanted), {}, environment);
}
const hubFile = (wanted: Partial<HubFile> = {}): HubFile => ({
  repository: 'org/model',
  file: 'sub/model.bin',
  revision: commit,
  sha256: null,
  bytes: null,
  ...wanted,
});

test('the layout on disk is that of the Python client, readable by its JavaScript sister', async () => {
  const { path } = await fetchFile({ revision: 'main' });
  const cache = hubFolder(environment);
  const repository = join(cache, 'models--org--model');
  expect(path).toBe(join(repository, 'snapshots', commit, 'sub', 'model.bin'));
  expect((await lstat(path)).isSymbolicLink()).toBe(true);
  expect(await readlink(path)).toBe(join('..', '..', '..', 'blobs', sha256));
  expect(await readdir(join(repository, 'blobs'))).toEqual([sha256]);
  expect(await readFile(join(repository, 'refs', 'main'), 'utf8')).toBe(commit);
  expect((await readFile(path)).equals(content)).toBe(true);
  const scanned = await scanCacheDir(cache);
  expect(scanned.warnings).toEqual([]);
  expect(scanned.repos).toMatchObject([
    { id: { name: 'org/model', type: 'model' }, revisions: [{ commitOid: commit, refs: ['main'] }] },
  ]);
});

test('a commit that is in the cache needs no request; a branch is what its ref says', async () => {
  await fetchFile({ revision: 'main' });
  server.seen.length = 0;
  expect(await fetchFile({ sha256 })).toMatchObject({ commit, sha256, bytes: content.length });
  expect(await findHubFile(hubFile({ revision: 'main' }), environment)).toMatchObject({ commit });
  expect(await findHubFile(hubFile({ revision: 'dev' }), environment)).toBeUndefined();
  expect(await findHubFile(hubFile({ file: 'other.bin' }), environment)).toBeUndefined();
  expect(server.seen).toEqual([]);
});

test('a digest that the hub states counts as confirmed', async () => {
  expect(await fetchFile()).toMatchObject({ isConfirmed: true, sha256 });
});

test('bytes that are not those the hub states are model.digest, and nothing stays', async () => {
  server.repositories.set('org/model', { commit, files: { 'sub/model.bin': content }, statedSha256: 'b'.repeat(64) });
  await expect(fetchFile()).rejects.toMatchObject({ code: 'model.digest' });
  expect(await readdir(join(hubFolder(environment), 'models--org--model', 'blobs'))).toEqual([]);
});

test('a hub that states another digest than the catalogue is refused before a byte is fetched', async () => {
  await expect(fetchFile({ sha256: 'c'.repeat(64) })).rejects.toMatchObject({
    code: 'model.digest',
    message: expect.stringContaining(`the hub has ${sha256}`) as string,
  });
  expect(server.gets).toEqual([]);
});

test('a cached file that was damaged since is model.digest', async () => {
  const { path } = await fetchFile();
  await writeFile(path, 'damaged');
  await expect(fetchFile({ sha256 })).rejects.toMatchObject({ code: 'model.digest' });
});

test('a token that is none is refused without a request and without being shown; a line end behind one is no part of it', async () => {
  environment['HF_TOKEN'] = 'first\nsecond';
  await expect(fetchFile()).rejects.toMatchObject({
    code: 'usage.flag',
    message: expect.not.stringMatching(/first|second/) as string,
  });
  expect(server.seen).toEqual([]);
  environment['HF_TOKEN'] = 'secret\n';
  server.repositories.set('org/model', { commit, files: { 'sub/model.bin': content }, token: 'secret' });
  expect(await fetchFile()).toMatchObject({ sha256 });
});

test('a proxy that is no address is refused without being shown', async () => {
  vi.stubEnv('HTTPS_PROXY', 'user:password@proxy');
  onTestFinished(() => void vi.unstubAllEnvs());
  await expect(openHttp()).rejects.toMatchObject({
    code: 'usage.flag',
    message: expect.not.stringContaining('password') as string,
  });
});

test('a gated file says how to get a token; the token opens it and goes to the hub alone', async () => {
  server.repositories.set('org/model', { commit, files: { 'sub/model.bin': content }, token: 'secret' });
  await expect(fetchFile()).rejects.toMatchObject({
    code: 'model.download',
    message: expect.stringContaining('401 without a token') as string,
    details: { try: `accept the terms on ${server.url}/org/model, then set \`HF_TOKEN\` to a token of yours` },
  });
  environment['HF_TOKEN'] = 'secret';
  expect((await fetchFile()).sha256).toBe(sha256);
});

test.each([
  ['repository', { repository: 'org/none' }],
  ['commit', { revision: 'f'.repeat(40) }],
  ['file', { file: 'none.bin' }],
])('an unknown %s is model.download with a way on', async (_, wanted) => {
  await expect(fetchFile(wanted)).rejects.toMatchObject({
    code: 'model.download',
    details: { try: expect.stringContaining('NAME@REV') as string },
  });
});

test.each(['../x', 'a/../../x', '/etc/passwd', 'a\\b', 'C:x', ''])('a file called `%s` is refused', async (file) => {
  await expect(findHubFile(hubFile({ file }), environment)).rejects.toMatchObject({ code: 'usage.flag' });
  await expect(findHubFile(hubFile({ revision: file }), environment)).rejects.toMatchObject({ code: 'usage.flag' });
});

test('an answer that is no JSON is model.download, not a crash', async () => {
  server.repositories.clear();
  server.files.set('/api/models/org/model/paths-info/x', Buffer.from(''));
  const page = await fakeServer();
  environment['HF_ENDPOINT'] = page.url;
  page.repositories.set('org/model', { commit: 'no commit', files: {} });
  await expect(fetchFile({ revision: 'main' })).rejects.toMatchObject({ code: 'model.download' });
});

test('the cache is that of the Python client where its variables say so, else ours', () => {
  expect(hubFolder({ HF_HUB_CACHE: '/h', HF_HOME: '/home' })).toBe('/h');
  expect(hubFolder({ HF_HOME: '/home' })).toBe(join('/home', 'hub'));
  expect(hubFolder({ EGOLENS_CACHE_DIR: '/c' })).toBe(join('/c', 'hub'));
  expect(hubEndpoint({})).toBe('https://huggingface.co');
});

test('a proxy of the environment sees the request', async () => {
  const proxy = await fakeServer();
  proxy.files.set('/f.bin', content);
  const before = process.env['http_proxy'];
  process.env['http_proxy'] = proxy.url;
  try {
    await using http = await openHttp({ tries: 1 });
    const response = await http.send('http://nowhere.invalid/f.bin');
    expect(Buffer.from(await response.arrayBuffer()).equals(content)).toBe(true);
    expect(proxy.seen).toMatchObject([{ path: 'http://nowhere.invalid/f.bin' }]);
  } finally {
    if (before === undefined) delete process.env['http_proxy'];
    else process.env['http_proxy'] = before;
  }
});
