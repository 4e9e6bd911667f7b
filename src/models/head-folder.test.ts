import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { headOf } from '../../heads/index.js';
import { readJson } from '../../test/golden/model-cases.js';
import { stateDictOf, writeHeadFolder } from '../pipeline/head-writer.js';
import { seededRandom } from '../random.js';
import type { FeatureClock } from '../types.js';
import { openModelFolder, type ModelManifest } from './folder.js';
import { checkFeatures, headClockJson, openHeadFolder, type HeadFolder } from './head-folder.js';
import { initialWeights } from './head.js';

const clock: FeatureClock = { rate: { num: 30, den: 1 }, hop: 16, frames: 16, step: 2, tail: 'align', rows: 9 };
const encoder = 'vit@0123456789ab';
let folder: string;
let head: HeadFolder;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-head-'));
  const spec = headOf('recognition-head')!.spec({ dim: 8, classes: [2, 3] });
  const list = (name: string, labels: string[]) =>
    ({ schema: 'egolens.labels/1', name, version: 1, order: 'ours', labels }) as const;
  await writeHeadFolder(
    {
      name: 'own',
      head: spec,
      tensors: stateDictOf(initialWeights(spec, seededRandom(0))),
      labels: { verb: list('verbs', ['cut', 'put']), noun: list('nouns', ['cup', 'egg', 'pan']) },
      features: [{ model: encoder, output: 'pooled', width: 8, preset: 'ego4d-mq@1' }],
      clock: headClockJson(clock),
      options: {},
      trained: 'run own',
      licence: { code: 'unknown', weights: 'unknown' },
      source: {
        ...{ name: 'x.safetensors', bytes: 1, sha256: '0'.repeat(64), container: 'safetensors' },
        ...{ weightsKey: null, prefix: null, left: [] },
      },
    },
    { output: join(folder, 'own') },
  );
  head = await openHeadFolder(join(folder, 'own'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a head folder holds its task, features, clock and class names', () => {
  expect(head.info).toEqual({
    task: 'recognition',
    features: [{ model: encoder, output: 'pooled', width: 8, preset: 'ego4d-mq@1' }],
    clock: { rate: '30/1', hop: 16, frames: 16, step: 2 },
    text: null,
    options: {},
    postprocess: 'recognition/1',
  });
  expect(head.labels).toEqual({ verb: ['cut', 'put'], noun: ['cup', 'egg', 'pan'] });
  expect(head.id).toMatch(/^own@[0-9a-f]{12}$/);
});

const offered = { name: 'a.npy', model: encoder, width: 8, clock };

test('features that it was made for are taken, also where nothing tells model or clock', () => {
  expect(() => checkFeatures(head, offered)).not.toThrow();
  expect(() => checkFeatures(head, { ...offered, clock: { ...clock, tail: 'pad', rows: 2 } })).not.toThrow();
  expect(() => checkFeatures(head, { ...offered, model: undefined, clock: undefined })).not.toThrow();
});

test.each([
  ['width', { width: 9 }, 'data.shape', '`a.npy`: rows of 9 numbers; own@… expects 8'],
  [
    'clock',
    { clock: { ...clock, hop: 8 } },
    'data.clock',
    '`a.npy`: rows at 30/1, hop 8, frames 16, step 2; own@… expects 30/1, hop 16, frames 16, step 2',
  ],
  [
    'model',
    { model: 'other@0123456789ab' },
    'usage.conflict',
    `\`a.npy\`: features of other@0123456789ab; own@… was trained on ${encoder}`,
  ],
])('features of another %s are refused with both sides', (_, change, code, message) => {
  let thrown: unknown;
  try {
    checkFeatures(head, { ...offered, ...change });
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({ code, message: message.replace('own@…', head.id) });
});

test('another model can be forced, another width or clock cannot', () => {
  const force = { force: true };
  expect(() => checkFeatures(head, { ...offered, model: 'other@0123456789ab' }, force)).not.toThrow();
  expect(() => checkFeatures(head, { ...offered, width: 9 }, force)).toThrow(/expects 8/);
  expect(() => checkFeatures(head, { ...offered, clock: { ...clock, step: 1 } }, force)).toThrow(/expects 30\/1/);
});

test('a head is no encoder, and a damaged description is refused', async () => {
  await expect(openModelFolder(join(folder, 'own'))).rejects.toMatchObject({ code: 'model.config' });
  const path = join(folder, 'own', 'model.json');
  const manifest = await readJson<ModelManifest>(path);
  const { head: dropped, ...rest } = manifest;
  await writeFile(path, JSON.stringify(rest));
  await expect(openHeadFolder(join(folder, 'own'))).rejects.toMatchObject({ code: 'data.invalid' });
  await writeFile(path, JSON.stringify({ ...manifest, kind: 'encoder' }));
  await expect(openHeadFolder(join(folder, 'own'))).rejects.toMatchObject({ code: 'model.incomplete' });
  const { 'graph.onnx': gone, ...files } = manifest.files;
  await writeFile(path, JSON.stringify({ ...manifest, files }));
  await expect(openHeadFolder(join(folder, 'own'))).rejects.toMatchObject({ code: 'model.incomplete' });
  await writeFile(path, JSON.stringify({ ...manifest, digest: '1'.repeat(64) }));
  await expect(openHeadFolder(join(folder, 'own'))).rejects.toMatchObject({ code: 'model.digest' });
  expect([dropped !== undefined, gone]).toEqual([true, manifest.files['graph.onnx']]);
});
