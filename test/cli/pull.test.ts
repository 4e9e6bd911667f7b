import { cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/files.js';
import { fakeServer, sha256Of, type FakeServer } from '../hub/server.js';
import { egolens, temporaryFolder } from './command.js';
import { filesBelow, records, start, until } from './program.js';

const folder = temporaryFolder();
const golden = join(packageRoot, 'fixtures', 'golden', 'encoder', 'videomae_ft_mean');
const checkpoint = readFileSync(join(golden, 'checkpoint.pth'));
const { config } = JSON.parse(readFileSync(join(golden, 'case.json'), 'utf8')) as { config: Record<string, unknown> };
const commit = '89abcdef0123456789abcdef0123456789abcdef';
let count = 0;

/** One user: a cache, a models folder, a catalogue with one small checkpoint on a hub and others beside it. */
let home: string;
let server: FakeServer;
let env: Record<string, string>;
beforeEach(async () => {
  home = join(folder, `user ${count++}`);
  mkdirSync(home);
  server = await fakeServer();
  server.repositories.set('org/tiny', { commit, files: { 'tiny.pth': checkpoint } });
  server.files.set('/tiny.pth', checkpoint);
  const known = { sha256: sha256Of(checkpoint), bytes: checkpoint.length, megabytes: null };
  const unknown = { sha256: null, bytes: null, megabytes: null };
  const hub = { kind: 'hub', repository: 'org/tiny', file: 'tiny.pth', revision: commit };
  const catalogue = [
    entry('tiny', { ...hub, ...known }),
    entry('tiny-newest', { ...hub, revision: null, ...unknown }),
    entry('tiny-manual', {
      kind: 'manual',
      page: 'https://example.org/form',
      file: 'tiny.pth',
      why: 'request form',
      ...unknown,
    }),
  ];
  writeFileSync(join(home, 'catalogue.json'), JSON.stringify(catalogue));
  env = {
    EGOLENS_CATALOGUE: join(home, 'catalogue.json'),
    EGOLENS_CACHE_DIR: join(home, 'cache'),
    EGOLENS_MODELS_DIR: join(home, 'models'),
    HF_ENDPOINT: server.url,
    HF_HOME: '',
    HF_HUB_CACHE: '',
    HF_TOKEN: '',
    http_proxy: '',
    HTTP_PROXY: '',
  };
});

function entry(name: string, source: object): object {
  return {
    schema: 'egolens.catalogue-entry/1',
    name,
    summary: 'a small checkpoint with random weights',
    kind: 'encoder',
    tasks: ['recognition'],
    arch: 'videomae-classifier',
    config,
    source,
    gated: false,
    licence: { code: 'MIT', weights: 'MIT' },
    commercial: true,
    labels: null,
    preset: null,
    tokenizer: null,
    reported: [],
    parity: 'golden',
    unverified: ['everything'],
  };
}

const pull = (...args: string[]) => egolens(['models', 'pull', ...args], { env });

describe('models pull', () => {
  test('fetches from the hub, imports, and the model is found by the name of the entry and verified', async () => {
    const { code, stdout, stderr } = await pull('tiny');
    expect(code, stderr).toBe(0);
    const [record] = await records(stdout);
    expect(record).toMatchObject({
      schema: 'egolens.pulled/1',
      name: 'tiny',
      family: 'videomae-classifier',
      revision: commit,
      sha256: sha256Of(checkpoint),
      bytes: checkpoint.length,
      checked: 'catalogue',
      isNew: true,
    });
    expect(stderr).toContain('licence of the code MIT, of the weights MIT');
    expect(stderr).toContain('not verified: everything');
    const verified = await egolens(['models', 'verify', 'tiny', '--device', 'cpu', '-q'], { env });
    expect(await records(verified.stdout)).toMatchObject([{ model: String(record?.['model']), ok: true }]);
    const link = join(home, 'cache', 'hub', 'models--org--tiny', 'snapshots', commit, 'tiny.pth');
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    const model = JSON.parse(readFileSync(join(String(record?.['output']), 'model.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(model).toMatchObject({ licence: { code: 'MIT', weights: 'MIT' }, trained: 'official' });
  });

  test('a second pull fetches nothing; --force imports again from the cache', async () => {
    await pull('tiny');
    server.seen.length = 0;
    const again = await pull('tiny');
    expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining('is installed already') as string });
    expect(await records(again.stdout)).toMatchObject([{ isNew: false, checked: 'installed' }]);
    expect((await pull('tiny', '--force')).code).toBe(0);
    expect(server.seen).toEqual([]);
  });

  test('--from DIR takes the file from a folder, makes no request and keeps the folder as it is', async () => {
    const { code, stdout, stderr } = await pull('tiny', '--from', copyOfCheckpoint());
    expect(code, stderr).toBe(0);
    expect(await records(stdout)).toMatchObject([{ checked: 'catalogue', revision: null }]);
    expect(server.seen).toEqual([]);
    expect(Object.keys(filesBelow(join(home, 'mirror')))).toEqual(['tiny.pth']);
  });

  test('what people hand out is explained, with the line that imports it; --from takes it', async () => {
    const { code, stdout, stderr } = await pull('tiny-manual');
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(stderr).toContain('request form; https://example.org/form leads to it');
    expect(stderr).toContain('egolens models import FILE --arch videomae-classifier --name tiny-manual');
    expect((await pull('tiny-manual', '--from', copyOfCheckpoint())).code).toBe(0);
  });

  test('killed in the middle it leaves a part and no model; the next pull goes on from there', async () => {
    server.faults.push({ hangAfter: 200_000 });
    const running = start(['models', 'pull', 'tiny'], { env });
    const blobs = join(home, 'cache', 'hub', 'models--org--tiny', 'blobs');
    const part = join(blobs, `${sha256Of(checkpoint)}.incomplete`);
    await until(() => existsSync(part) && readFileSync(part).length === 200_000, 'the first part');
    running.child.kill('SIGKILL');
    await running.ended;
    expect(readdirSync(blobs)).toEqual([`${sha256Of(checkpoint)}.incomplete`]);
    expect(existsSync(join(home, 'models'))).toBe(false);
    expect((await pull('tiny')).code).toBe(0);
    expect(server.gets.at(-1)?.headers.range).toBe('bytes=200000-');
    expect(readdirSync(blobs)).toEqual([sha256Of(checkpoint)]);
  });
});

function copyOfCheckpoint(): string {
  const mirror = join(home, 'mirror');
  mkdirSync(mirror, { recursive: true });
  writeFileSync(join(mirror, 'tiny.pth'), checkpoint);
  return mirror;
}

describe('models list, show, path and rm', () => {
  /** A model folder, as if it had been pulled. */
  function install(name: string): string {
    const path = join(home, 'models', name);
    cpSync(join(packageRoot, 'fixtures', 'models', 'videomae-nano-untrained'), path, { recursive: true });
    const model = JSON.parse(readFileSync(join(path, 'model.json'), 'utf8')) as { digest: string };
    writeFileSync(join(path, 'model.json'), JSON.stringify({ ...model, name: name.split('@')[0] }));
    return path;
  }

  test('list --available shows the catalogue, also of one task, with what is installed', async () => {
    install('tiny@0123456789ab');
    const { code, stdout } = await egolens(['models', 'list', '--available', '--task', 'recognition'], { env });
    expect(code).toBe(0);
    const rows = await records(stdout);
    expect(rows.slice(0, 2)).toMatchObject([
      { name: 'tiny', installed: expect.stringMatching(/^tiny@[0-9a-f]{12}$/) as string },
      { name: 'tiny-newest', installed: null },
    ]);
    expect(rows.every(({ tasks }) => (tasks as string[]).includes('recognition'))).toBe(true);
  });

  test('list --available is a table of licences and figures on request; --task needs it', async () => {
    const table = await egolens(['models', 'list', '--available', '--task', 'retrieval', '-f', 'table'], { env });
    expect(table.stdout).toMatch(/^name +arch +kind +MB +licence_weights +commercial .*\n/);
    expect(table.stdout).toContain('clip-b16');
    expect((await egolens(['models', 'list', '--task', 'recognition'], { env })).code).toBe(2);
  });

  test('show gives the entry and the installed models of a name, path their folder', async () => {
    const path = install('tiny@0123456789ab');
    const shown = await records((await egolens(['models', 'show', 'tiny', '--ndjson'], { env })).stdout);
    expect(shown).toMatchObject([{ schema: 'egolens.catalogue-entry/1' }, { schema: 'egolens.installed/1', path }]);
    expect((await egolens(['models', 'path', 'tiny'], { env })).stdout).toBe(`${path}\n`);
    const table = (await egolens(['models', 'show', 'clip-b16', '-f', 'table'], { env })).stdout;
    expect(table).toMatch(/\nlicence +\{"code":"MIT","weights":"MIT"\}\n/);
  });

  test('a model that is only in the catalogue is named with the command that fetches it', async () => {
    const { code, stderr } = await egolens(['models', 'path', 'clip-b16'], { env });
    expect(code).toBe(6);
    expect(stderr).toContain('try: `egolens models pull clip-b16` fetches it');
  });

  test('rm asks; where nobody can answer it needs -y, and removes the one folder', async () => {
    install('tiny@0123456789ab');
    install('other@0123456789ab');
    expect(await egolens(['models', 'rm', 'tiny'], { env })).toMatchObject({ code: 2, stdout: '' });
    const { code, stdout } = await egolens(['models', 'rm', 'tiny', '-y'], { env });
    expect(code).toBe(0);
    expect(await records(stdout)).toMatchObject([{ schema: 'egolens.removed/1', model: 'tiny@0123456789ab' }]);
    expect(readdirSync(join(home, 'models'))).toEqual(['other@0123456789ab']);
  });
});
