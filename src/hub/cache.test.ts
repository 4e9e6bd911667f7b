import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { embeddedModels, findModel, installedModels, modelsFolder } from './cache.js';

let models: string;
beforeEach(async () => {
  models = await mkdtemp(join(tmpdir(), 'egolens-models-'));
  vi.stubEnv('EGOLENS_MODELS_DIR', models);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(models, { recursive: true, force: true });
});
const install = async (...names: string[]): Promise<void> => {
  for (const name of names) await mkdir(join(models, name));
};

test('models lie in the folder of the environment, else in the cache', () => {
  expect(modelsFolder({ EGOLENS_MODELS_DIR: 'own' })).toBe(resolve('own'));
  expect(modelsFolder({ EGOLENS_MODELS_DIR: '', EGOLENS_CACHE_DIR: '/c' })).toBe(join('/c', 'models'));
});

test('installed are the folders that are no work in progress, by name; a folder that is not there holds none', async () => {
  await install('b@2', 'a@1', '.half.1.tmp');
  await writeFile(join(models, 'file'), '');
  expect((await installedModels()).map((path) => basename(path))).toEqual(['a@1', 'b@2']);
  expect(await installedModels(join(models, 'none'))).toEqual([]);
});

test('a model is found by path, by name, by name and digits, and among those that come with the program', async () => {
  await install('vit-b@0123456789ab', 'vit-bb@0123456789ab');
  const folder = join(models, 'vit-b@0123456789ab');
  expect(await findModel('vit-b')).toBe(folder);
  expect(await findModel('vit-b@0123')).toBe(folder);
  expect(await findModel(folder)).toBe(folder);
  expect(await findModel('videomae-nano-untrained')).toBe(join(embeddedModels, 'videomae-nano-untrained'));
});

test('an embedded model is found by name and digest, as heads and features call it, and by no other digest', async () => {
  const folder = join(embeddedModels, 'videomae-nano-untrained');
  const { digest } = JSON.parse(await readFile(join(folder, 'model.json'), 'utf8')) as { digest: string };
  expect(await findModel(`videomae-nano-untrained@${digest.slice(0, 12)}`)).toBe(folder);
  await expect(findModel('videomae-nano-untrained@0123456789ab')).rejects.toThrow('no model');
});

test('an unknown name is refused with the names there are', async () => {
  await install('vit-b@0123456789ab');
  await expect(findModel('vit')).rejects.toMatchObject({
    code: 'model.not_found',
    message: expect.stringMatching(/^no model `vit`; there are `vit-b@0123456789ab`, .*`videomae-nano`/) as unknown,
  });
});

test('a name of several models is refused with them', async () => {
  await install('vit-b@0123456789ab', 'vit-b@ba9876543210');
  await expect(findModel('vit-b')).rejects.toMatchObject({
    code: 'model.not_found',
    message: '`vit-b` names 2 models: `vit-b@0123456789ab`, `vit-b@ba9876543210`',
  });
  expect(await findModel('vit-b@ba')).toBe(join(models, 'vit-b@ba9876543210'));
});

test('a whole name counts before a beginning, an installed model before one that comes with the program', async () => {
  await install('vit-b', 'vit-b@0123456789ab', 'videomae-nano-untrained');
  expect(await findModel('vit-b')).toBe(join(models, 'vit-b'));
  expect(await findModel('videomae-nano-untrained')).toBe(join(models, 'videomae-nano-untrained'));
});
