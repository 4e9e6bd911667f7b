import { mkdtempSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { fakeServer, sha256Of, type FakeServer } from '../../test/hub/server.js';
import { tryLock } from '../features/locks.js';
import { packageRoot } from '../files.js';
import { tokenizerFiles } from '../hub/catalogue.js';
import { pullModel, type PullOptions } from './pull.js';

/**
 * The files here are no checkpoints: what is tested ends where the import begins, which refuses them with `checkpoint.format`. Pulls to
 * the end: test/cli/pull.test.ts.
 */
const content = Buffer.from('no checkpoint');
/** A real one, for what comes after the import. */
const golden = join(packageRoot, 'fixtures/golden/encoder/videomae_ft_mean');
const { config } = JSON.parse(readFileSync(join(golden, 'case.json'), 'utf8')) as { config: object };
const commit = '89abcdef0123456789abcdef0123456789abcdef';
const root = mkdtempSync(join(tmpdir(), 'egolens-pull-test-'));
afterAll(() => rm(root, { recursive: true, force: true }));

let home: string;
let server: FakeServer;
let notes: string[];
let count = 0;
beforeEach(async () => {
  home = join(root, String(count++));
  await mkdir(home);
  notes = [];
  server = await fakeServer();
  server.repositories.set('org/tiny', { commit, files: { 'tiny.pth': content } });
  server.files.set('/tiny.pth', content);
  const known = { sha256: sha256Of(content), bytes: content.length, megabytes: null };
  const unknown = { sha256: null, bytes: null, megabytes: null };
  const hub = { kind: 'hub', repository: 'org/tiny', file: 'tiny.pth', revision: commit };
  const catalogue = [
    entry('tiny', { ...hub, ...known }),
    entry('tiny-newest', { ...hub, revision: null, ...unknown }),
    entry('tiny-url', { kind: 'url', url: `${server.url}/tiny.pth`, ...unknown }),
    entry(
      'tiny-real',
      { kind: 'url', url: `${server.url}/checkpoint.pth`, ...unknown },
      { arch: 'videomae-classifier', config },
    ),
    entry('tiny-manual', { kind: 'manual', page: 'https://h/form', file: 'tiny.pth', why: 'request form', ...unknown }),
    entry('tiny-text', { ...hub, ...known }, { arch: 'clip-b16', kind: 'two-tower', tokenizer: 'clip-bpe' }),
    entry('tiny-nc', { ...hub, ...known }, { commercial: false, licence: { code: 'MIT', weights: 'CC-BY-NC-4.0' } }),
    entry('tiny-unsettled', { ...hub, ...known }, { commercial: null }),
  ];
  await writeFile(join(home, 'catalogue.json'), JSON.stringify(catalogue));
  vi.stubEnv('EGOLENS_CATALOGUE', join(home, 'catalogue.json'));
  vi.stubEnv('EGOLENS_CACHE_DIR', join(home, 'cache'));
  vi.stubEnv('EGOLENS_MODELS_DIR', join(home, 'models'));
  vi.stubEnv('HF_ENDPOINT', server.url);
  for (const name of ['HF_HOME', 'HF_HUB_CACHE', 'HF_TOKEN', 'http_proxy', 'HTTP_PROXY']) vi.stubEnv(name, '');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

function entry(name: string, source: object, more: object = {}): object {
  return {
    schema: 'egolens.catalogue-entry/1',
    name,
    summary: 'a file',
    kind: 'encoder',
    tasks: [],
    arch: 'videomae-b',
    config: {},
    source,
    gated: false,
    licence: { code: 'MIT', weights: 'MIT' },
    commercial: true,
    labels: null,
    preset: null,
    tokenizer: null,
    reported: [],
    parity: 'golden',
    unverified: [],
    ...more,
  };
}

async function pull(name: string, options: Partial<PullOptions> = {}): Promise<unknown> {
  const progress = {
    start: () => ({ advance: () => undefined, stop: () => undefined }),
    note: (text: string) => void notes.push(text),
    warn: () => undefined,
  };
  return await pullModel(name, {
    licences: 'any',
    offline: false,
    force: false,
    signal: new AbortController().signal,
    progress,
    ...options,
  });
}

/** The file arrived, and the import got to see that it is no checkpoint. */
const arrives = async (name: string, options?: Partial<PullOptions>): Promise<void> => {
  await expect(pull(name, options)).rejects.toMatchObject({ code: 'checkpoint.format' });
};

const models = (): Promise<string[]> => readdir(join(home, 'models')).catch(() => []);

async function mirror(bytes = content, name = 'tiny.pth'): Promise<string> {
  const folder = join(home, 'mirror');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), bytes);
  return folder;
}

describe('where the file comes from', () => {
  test('offline, with and without the file in the cache: no request, and the place where it belongs', async () => {
    for (const name of ['tiny', 'tiny-newest', 'tiny-url']) {
      await expect(pull(name, { offline: true })).rejects.toMatchObject({
        code: 'model.not_found',
        details: {
          try: expect.stringMatching(
            name === 'tiny-newest' ? /^name the folder/ : /copy the file to `.*tiny\.pth`/,
          ) as string,
        },
      });
    }
    expect(server.seen).toEqual([]);
    for (const name of ['tiny', 'tiny-newest', 'tiny-url']) await arrives(name);
    server.seen.length = 0;
    for (const name of ['tiny', 'tiny-newest', 'tiny-url']) await arrives(name, { offline: true });
    expect(server.seen).toEqual([]);
  });

  test('a file that is put where the message says is found', async () => {
    const error = (await pull('tiny-url', { offline: true }).catch((thrown: unknown) => thrown)) as {
      details: { try: string };
    };
    const place = /copy the file to `(.*?)`/.exec(error.details.try)?.[1] ?? '';
    await mkdir(join(place, '..'), { recursive: true });
    await writeFile(place, content);
    await arrives('tiny-url', { offline: true });
  });

  test('without a pinned commit the newest is looked up and said', async () => {
    await arrives('tiny-newest');
    expect(notes).toContain(`org/tiny: main is commit ${commit}`);
  });

  test('a revision behind @ is taken where there is a repository', async () => {
    await arrives(`tiny@${commit}`);
    await arrives('tiny@main');
    await expect(pull('tiny@other')).rejects.toMatchObject({ code: 'model.download' });
    await expect(pull('tiny-url@main')).rejects.toMatchObject({ code: 'usage.flag' });
    await expect(pull('tiny@../x')).rejects.toMatchObject({ code: 'usage.flag' });
    await expect(pull('nope')).rejects.toMatchObject({ code: 'model.not_found' });
  });

  test('--from a folder: by its name or by its path in the repository, with no request', async () => {
    const from = await mirror();
    await arrives('tiny', { from, offline: true });
    await rm(join(from, 'tiny.pth'));
    await mkdir(join(from, 'org', 'tiny'), { recursive: true });
    await writeFile(join(from, 'org', 'tiny', 'tiny.pth'), content);
    await arrives('tiny', { from, offline: true });
    expect(server.seen).toEqual([]);
    await expect(pull('tiny-url', { from: join(home, 'none') })).rejects.toMatchObject({ code: 'input.not_found' });
    await writeFile(join(from, 'org', 'tiny', 'tiny.pth'), 'other bytes');
    await expect(pull('tiny', { from })).rejects.toMatchObject({ code: 'model.digest' });
  });

  test('--from an address: below it or the file itself; other schemes are refused', async () => {
    await arrives('tiny', { from: `${server.url}/` });
    await arrives('tiny-url', { from: `${server.url}/tiny.pth` });
    expect(server.seen.map(({ path }) => path)).toEqual(['/tiny.pth', '/tiny.pth']);
    for (const from of ['file:///tmp', 'ftp://h/x'])
      await expect(pull('tiny', { from })).rejects.toMatchObject({ code: 'usage.flag' });
  });

  test('what people hand out is explained, with the line that imports it; --from takes it', async () => {
    await expect(pull('tiny-manual')).rejects.toMatchObject({
      code: 'model.not_found',
      message: expect.stringContaining('request form; https://h/form leads to it (tiny.pth)') as string,
      details: { try: expect.stringContaining('models import FILE --arch videomae-b --name tiny-manual') as string },
    });
    await arrives('tiny-manual', { from: await mirror() });
  });

  test('the tokenizer is looked for in the folder too, and must be the one of the digest', async () => {
    const from = await mirror();
    await expect(pull('tiny-text', { from, offline: true })).rejects.toMatchObject({
      code: 'model.not_found',
      details: { try: expect.stringContaining('bpe_simple_vocab_16e6.txt.gz') as string },
    });
    await mirror(Buffer.from('x'), 'bpe_simple_vocab_16e6.txt.gz');
    await expect(pull('tiny-text', { from, offline: true })).rejects.toMatchObject({
      code: 'model.digest',
      message: expect.stringContaining(tokenizerFiles['clip-bpe'].sha256) as string,
    });
  });

  test('a file that another process fetches is left to it', async () => {
    await arrives('tiny');
    const [name] = (await readdir(join(home, 'cache', 'downloads'))).filter((entry) => entry.endsWith('.lock'));
    expect(name).toBeUndefined();
    const key = sha256Of(Buffer.from('org/tiny\ntiny.pth')).slice(0, 16);
    await using held = await tryLock(join(home, 'cache', 'downloads', `${key}.lock`));
    expect(held).toBeDefined();
    await expect(pull('tiny')).rejects.toMatchObject({ code: 'store.locked' });
  });

  test('an output that is there is refused before any request', async () => {
    await expect(pull('tiny', { output: home })).rejects.toMatchObject({ code: 'output.exists' });
    expect(server.seen).toEqual([]);
  });
});

describe('licence and trust', () => {
  test.each([
    ['tiny-nc', /forbids commercial use: CC-BY-NC-4\.0/],
    ['tiny-unsettled', /does not settle commercial use/],
  ])('commercial refuses %s before any request; any says what the licence is', async (name, why) => {
    await expect(pull(name, { licences: 'commercial' })).rejects.toMatchObject({
      code: 'model.licence',
      message: expect.stringMatching(why) as string,
    });
    expect(server.seen).toEqual([]);
    await arrives('tiny', { licences: 'commercial' });
    await arrives(name);
    expect(notes.join('\n')).toMatch(/commercial use/);
  });

  test('a digest that nobody states is kept once its file was imported, and other bytes are refused later', async () => {
    const path = join(home, 'models', 'first-use.json');
    // No model: it must not stand in the way of the right file.
    await arrives('tiny-real', { from: await mirror(content, 'checkpoint.pth') });
    expect(await models()).toEqual([]);
    const checkpoint = await readFile(join(golden, 'checkpoint.pth'));
    const from = await mirror(checkpoint, 'checkpoint.pth');
    expect(await pull('tiny-real', { from })).toMatchObject({ checked: 'first-use' });
    expect(notes.join('\n')).toContain('nobody vouches for it');
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ 'tiny-real': sha256Of(checkpoint) });
    expect(await pull('tiny-real', { from, force: true })).toMatchObject({ checked: 'earlier' });
    await mirror(Buffer.from('other bytes'), 'checkpoint.pth');
    await expect(pull('tiny-real', { from, force: true })).rejects.toMatchObject({
      code: 'model.digest',
      message: expect.stringContaining('as at the first pull') as string,
      details: { try: expect.stringContaining('take `tiny-real` out of') as string },
    });
    await writeFile(path, '[]');
    await expect(pull('tiny-real', { from, force: true })).rejects.toMatchObject({ code: 'data.invalid' });
  });

  test('what the catalogue or the hub vouches for needs no trust', async () => {
    await arrives('tiny');
    await arrives('tiny-newest');
    expect(await models()).toEqual([]);
    expect(notes).toContain(`SHA-256 ${sha256Of(content)}, as the hub states it`);
  });

  test('other bytes than the catalogue states are model.digest, and nothing is left', async () => {
    server.repositories.set('org/tiny', { commit, files: { 'tiny.pth': Buffer.from('not the same!') } });
    await expect(pull('tiny')).rejects.toMatchObject({ code: 'model.digest' });
    expect(await models()).toEqual([]);
  });
});
