import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256 } from '../files.js';
import { embeddedModels } from '../hub/cache.js';
import { modelDigest, openModelFolder, readLabels, verifyFiles, type ModelManifest } from './folder.js';

const original = join(embeddedModels, 'videomae-nano-untrained');
let root: string;
let count = 0;
beforeAll(async () => (root = await mkdtemp(join(tmpdir(), 'egolens-folder-'))));
afterAll(() => rm(root, { recursive: true, force: true }));

/** A copy of the embedded model that a test may spoil. */
async function copy(): Promise<string> {
  const folder = join(root, String(count++));
  await cp(original, folder, { recursive: true });
  return folder;
}

/** Rewrites model.json; its digest is made anew unless the change is about it. */
async function change(folder: string, edit: (manifest: Record<string, unknown>) => void, sign = true): Promise<void> {
  const path = join(folder, 'model.json');
  const manifest = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  edit(manifest);
  if (sign) manifest['digest'] = modelDigest(manifest['files'] as ModelManifest['files']);
  await writeFile(path, JSON.stringify(manifest));
}

test('a model folder opens with its description, preset and name', async () => {
  const model = await openModelFolder(original);
  expect(model.id).toMatch(/^videomae-nano-untrained@[0-9a-f]{12}$/);
  expect(model).toMatchObject({ folder: original, labels: null, preset: { name: 'nano-16x2' } });
  expect(model.spec.config).toEqual(model.manifest.config);
  await expect(verifyFiles(model)).resolves.toBeUndefined();
});

test('the digest is over the lines of all files in byte order of their paths', () => {
  const files = { 'weights.bin': 'b'.repeat(64), 'Z.json': 'a'.repeat(64) };
  expect(modelDigest(files)).toBe(sha256(`${'a'.repeat(64)}  Z.json\n${'b'.repeat(64)}  weights.bin\n`));
  // U+10000 is greater than U+FFFD as bytes, smaller in UTF-16.
  const [high, low] = ['\u{10000}', '\uFFFD'];
  expect(modelDigest({ [high]: 'c', [low]: 'd' })).toBe(sha256(`d  ${low}\nc  ${high}\n`));
});

test('a folder without model.json is no model', async () => {
  await expect(openModelFolder(root)).rejects.toMatchObject({
    code: 'model.not_found',
    message: `\`${root}\`: expected a model folder, found no \`model.json\` in it`,
  });
});

test('a file that is listed and missing is named', async () => {
  const folder = await copy();
  await rename(join(folder, 'weights.bin'), join(folder, 'elsewhere.bin'));
  await expect(openModelFolder(folder)).rejects.toMatchObject({
    code: 'model.incomplete',
    message: `\`${folder}\`: model.json lists \`weights.bin\`, which is missing`,
  });
});

test.each(['graph.onnx', 'preset.json'])('a description that does not list %s is incomplete', async (file) => {
  const folder = await copy();
  await change(folder, (manifest) => {
    const files = manifest['files'] as Record<string, string>;
    manifest['files'] = Object.fromEntries(Object.entries(files).filter(([path]) => path !== file));
  });
  await expect(openModelFolder(folder)).rejects.toMatchObject({
    code: 'model.incomplete',
    message: `\`${join(folder, 'model.json')}\`: \`files\`: expected \`${file}\` in it, found none`,
  });
});

test('a digest that is not that of the files is refused with both', async () => {
  const folder = await copy();
  const { manifest } = await openModelFolder(folder);
  await change(folder, (json) => (json['digest'] = '0'.repeat(64)), false);
  await expect(openModelFolder(folder)).rejects.toMatchObject({
    code: 'model.digest',
    message: `\`${join(folder, 'model.json')}\`: \`digest\`: expected ${manifest.digest}, that of the files it lists, found ${'0'.repeat(64)}`,
  });
});

test('a file with one byte changed opens and fails to verify, by name and with both digests', async () => {
  const folder = await copy();
  const weights = await readFile(join(folder, 'weights.bin'));
  weights[100]! ^= 1;
  await writeFile(join(folder, 'weights.bin'), weights);
  const model = await openModelFolder(folder);
  await expect(verifyFiles(model)).rejects.toMatchObject({
    code: 'model.digest',
    message: `\`${join(folder, 'weights.bin')}\`: expected SHA-256 ${model.manifest.files['weights.bin']}, found ${sha256(weights)}`,
  });
});

test('torn JSON is data.invalid with the path', async () => {
  const folder = await copy();
  const text = await readFile(join(folder, 'model.json'), 'utf8');
  await writeFile(join(folder, 'model.json'), text.slice(0, text.length / 2));
  await expect(openModelFolder(folder)).rejects.toMatchObject({
    code: 'data.invalid',
    message: expect.stringMatching(/model\.json`: no JSON: /) as string,
  });
});

test('a description that breaks its schema is refused at the member', async () => {
  const folder = await copy();
  await change(folder, (manifest) => (manifest['precision'] = 'fp64'));
  await expect(openModelFolder(folder)).rejects.toMatchObject({
    code: 'data.invalid',
    message: '`model.json`: /precision: expected one of `fp32`, `fp16`, `int8`, found `"fp64"`',
  });
});

test('a path that leaves the folder is refused before it is looked at', async () => {
  const folder = await copy();
  await change(folder, (manifest) => {
    manifest['files'] = { ...(manifest['files'] as object), '../0/model.json': 'a'.repeat(64) };
  });
  await expect(openModelFolder(folder)).rejects.toMatchObject({ code: 'data.invalid' });
});

test('a configuration that cannot be built and an unknown family are refused', async () => {
  const folder = await copy();
  await change(folder, (manifest) => (manifest['config'] = { ...(manifest['config'] as object), depth: 1e6 }));
  await expect(openModelFolder(folder)).rejects.toMatchObject({ code: 'model.config' });
  await change(folder, (manifest) => (manifest['family'] = 'resnet'));
  await expect(openModelFolder(folder)).rejects.toMatchObject({ code: 'model.unknown_family' });
});

test('labels are read where the description lists them', async () => {
  const folder = await copy();
  const labels = { schema: 'egolens.labels/1', name: 'x', version: 1, order: 'here', labels: ['a', 'b'] };
  await writeFile(join(folder, 'labels.json'), JSON.stringify(labels));
  expect((await openModelFolder(folder)).labels).toBeNull();
  await change(folder, (manifest) => {
    manifest['files'] = { ...(manifest['files'] as object), 'labels.json': sha256(JSON.stringify(labels)) };
  });
  expect((await openModelFolder(folder)).labels).toEqual(['a', 'b']);
  await expect(readLabels(join(folder, 'none.json'))).rejects.toMatchObject({ code: 'model.incomplete' });
  await expect(readLabels(folder)).rejects.toMatchObject({ code: 'input.not_a_file' });
});
