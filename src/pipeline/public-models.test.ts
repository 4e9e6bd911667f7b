import { cp, lstat, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { packageRoot, pathExists } from '../files.js';
import { embeddedModels } from '../hub/cache.js';
import { listAvailable, planRemoval, showModel } from './public-models.js';

let home: string;
let models: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'egolens-public-'));
  models = join(home, 'models');
  await mkdir(models);
  vi.stubEnv('EGOLENS_MODELS_DIR', models);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(home, { recursive: true, force: true });
});

/** A copy of the model that comes with the program. */
async function modelAt(path: string): Promise<string> {
  await cp(join(packageRoot, 'fixtures', 'models', 'videomae-nano-untrained'), path, { recursive: true });
  return path;
}

test('a model of the models folder goes, with the bytes that it listed', async () => {
  const path = await modelAt(join(models, 'a@0123456789ab'));
  const other = await modelAt(join(models, 'b@0123456789ab'));
  const removal = await planRemoval('a');
  expect(await pathExists(path)).toBe(true);
  expect(await removal.remove()).toMatchObject({ schema: 'egolens.removed/1', model: 'a@0123456789ab', path });
  expect(removal.bytes).toBeGreaterThan(1000);
  expect([await pathExists(path), await pathExists(other)]).toEqual([false, true]);
});

test('a damaged model can be removed too', async () => {
  const path = await modelAt(join(models, 'a@0123456789ab'));
  await rm(join(path, 'weights.bin'));
  await (await planRemoval('a')).remove();
  expect(await pathExists(path)).toBe(false);
});

test('what comes with the program, lies elsewhere or is no model is refused', async () => {
  const elsewhere = await modelAt(join(home, 'elsewhere'));
  await mkdir(join(models, 'notes'));
  const nested = await modelAt(join(models, 'notes', 'deep'));
  const names = [
    'videomae-nano-untrained',
    join(embeddedModels, 'videomae-nano-untrained'),
    elsewhere,
    nested,
    models,
    join(models, '..'),
    join(models, 'notes'),
  ];
  for (const name of names) await expect(planRemoval(name)).rejects.toMatchObject({ code: 'usage.flag' });
  await expect(planRemoval('none')).rejects.toMatchObject({ code: 'model.not_found' });
  for (const path of [elsewhere, nested]) expect(await pathExists(join(path, 'model.json'))).toBe(true);
});

test('of a link only the link goes', async () => {
  const elsewhere = await modelAt(join(home, 'elsewhere'));
  const link = join(models, 'linked');
  await symlink(elsewhere, link);
  await (await planRemoval(link)).remove();
  await expect(lstat(link)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(await pathExists(join(elsewhere, 'model.json'))).toBe(true);
});

test('every entry is listed, and those of a task serve it', async () => {
  const all = await listAvailable();
  const some = await listAvailable({ task: 'retrieval' });
  expect(some.length).toBeGreaterThan(5);
  expect(all.length).toBeGreaterThan(some.length);
  expect(some.every(({ kind }) => kind === 'two-tower')).toBe(true);
});

test('show finds entries, embedded models and folders; nothing is model.not_found with the way to get it', async () => {
  expect(await showModel('clip-b16')).toMatchObject([{ schema: 'egolens.catalogue-entry/1', installed: null }]);
  expect(await showModel('videomae-nano-untrained')).toMatchObject([{ place: 'embedded' }]);
  expect(await showModel(await modelAt(join(models, 'a@0123456789ab')))).toMatchObject([{ place: 'installed' }]);
  await expect(showModel('nope')).rejects.toMatchObject({ code: 'model.not_found' });
});
