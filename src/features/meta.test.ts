import { mkdtempSync } from 'node:fs';
import { rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Preset } from '../types.js';
import {
  clockJson,
  clockOf,
  featureKey,
  metaOf,
  metaText,
  readMeta,
  videoIdentity,
  type KeyParts,
  type MetaFacts,
} from './meta.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-meta-'));
afterAll(() => rm(folder, { recursive: true, force: true }));
const MiB = 2 ** 20;
const sha = 'a'.repeat(64);

async function video(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

test('a video is its size and its ends: a copy of another date is the same, a change at an end another', async () => {
  const bytes = new Uint8Array(3 * MiB).map((_, i) => i * 7);
  const path = await video('a.mp4', bytes);
  const identity = await videoIdentity(path);
  expect(identity).toEqual({ bytes: 3 * MiB, identity: expect.stringMatching(/^ends:[0-9a-f]{64}$/) as string });
  await utimes(path, 0, 0);
  expect(await videoIdentity(path)).toEqual(identity);
  const changed = async (at: number, mode?: 'content'): Promise<boolean> => {
    const other = bytes.slice();
    other[at]! ^= 1;
    const found = await videoIdentity(await video('b.mp4', other), mode);
    return found.identity !== (await videoIdentity(path, mode)).identity;
  };
  expect(await changed(0)).toBe(true);
  expect(await changed(MiB - 1)).toBe(true);
  expect(await changed(2 * MiB)).toBe(true);
  // The price of not reading the whole file, and the remedy.
  expect(await changed(1.5 * MiB)).toBe(false);
  expect(await changed(1.5 * MiB, 'content')).toBe(true);
});

test('of a video shorter than two MiB every byte counts', async () => {
  const bytes = new Uint8Array(1.5 * MiB);
  const identity = await videoIdentity(await video('c.mp4', bytes));
  for (const at of [0, MiB - 1, MiB, bytes.length - 1]) {
    const other = bytes.slice();
    other[at] = 1;
    expect((await videoIdentity(await video('d.mp4', other))).identity).not.toBe(identity.identity);
  }
  expect((await videoIdentity(await video('empty.mp4', new Uint8Array(0)))).bytes).toBe(0);
});

const preset: Preset = {
  name: 'p',
  version: 1,
  sampling: {
    plan: 'dense',
    frames: 16,
    step: 1,
    hop: 16,
    rate: { num: 30, den: 1 },
    tail: 'align',
    views: [1, 1],
    fusion: 'softmax-mean',
  },
  pixels: { path: 'exact', resize: 'opencv-bilinear', to: 'short-side', size: 224, crop: 'center' },
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  feature: 'pooled',
  source: 'here',
};
const parts: KeyParts = {
  video: { bytes: 5, identity: `ends:${sha}` },
  preset,
  settings: { stream: 0, pool: 'mean' },
  modelDigest: sha,
  output: 'pooled',
  precision: 'fp32',
};

test('a key depends on every part, and on nothing else', () => {
  const key = featureKey(parts);
  expect(key).toMatch(/^[0-9a-f]{64}$/);
  const others: KeyParts[] = [
    { ...parts, video: { ...parts.video, bytes: 6 } },
    { ...parts, video: { ...parts.video, identity: `ends:${'b'.repeat(64)}` } },
    { ...parts, preset: { ...preset, version: 2 } },
    { ...parts, preset: { ...preset, sampling: { ...preset.sampling, hop: 8 } } },
    { ...parts, settings: { stream: 1, pool: 'mean' } },
    { ...parts, settings: {} },
    { ...parts, modelDigest: 'b'.repeat(64) },
    { ...parts, output: 'tokens' },
    { ...parts, precision: 'fp16' },
  ];
  expect(new Set([key, ...others.map(featureKey)]).size).toBe(others.length + 1);
  expect(featureKey({ ...parts, preset: { ...preset, source: 'elsewhere' } })).toBe(key);
  expect(featureKey({ ...parts, settings: { pool: 'mean', stream: 0, unset: undefined } })).toBe(key);
});

test('a setting that is no plain data is refused, not hashed by accident', () => {
  expect(() => featureKey({ ...parts, settings: { at: new Map() } })).toThrow('expected plain JSON data');
  expect(() => featureKey({ ...parts, settings: { at: NaN } })).toThrow('expected plain JSON data');
});

test('a clock survives the way through a file', () => {
  const clock = { rate: { num: 30000, den: 1001 }, hop: 16.043, frames: 32, step: 1, tail: 'align', rows: 3 } as const;
  expect(clockJson(clock)).toEqual({ ...clock, rate: '30000/1001' });
  expect(clockOf(clockJson(clock))).toEqual(clock);
  expect(clockOf(clockJson({ ...clock, rate: 'source' })).rate).toBe('source');
});

const facts: MetaFacts = {
  input: { name: 'a.mp4', bytes: 5, identity: `ends:${sha}` },
  stream: 0,
  startOffset: 1,
  frames: { claimed: 300, decoded: 300 },
  decodeErrors: 0,
  warnings: [],
  clock: { rate: { num: 30, den: 1 }, hop: 16, frames: 16, step: 1, tail: 'align', rows: 2 },
  of: { kind: 'file' },
  preset: 'p@1',
  pixels: 'exact',
  model: { name: 'm', digest: sha },
  output: 'pooled',
  precision: 'fp32',
  provider: 'cpu',
  versions: { program: '0.1.0', runtime: '1.30.0', ffmpeg: '5.1.9' },
  key: sha,
};
const files = { array: { shape: [2, 4], bytes: 160, sha256: sha }, times: { bytes: 80, sha256: sha } };

test('a meta file has the keys in the order of the contract and keeps its decimal points', () => {
  const text = metaText(metaOf(facts, files));
  expect(Object.keys(JSON.parse(text) as object)).toEqual([
    'schema',
    'input',
    'stream',
    'startOffset',
    'frames',
    'decodeErrors',
    'warnings',
    'clock',
    'of',
    'preset',
    'pixels',
    'model',
    'output',
    'precision',
    'provider',
    'versions',
    'key',
    'array',
    'times',
  ]);
  expect(text).toContain('\n  "startOffset": 1.0,\n');
  expect(text).toContain('\n    "shape": [2, 4],\n');
  expect(text.endsWith('}\n')).toBe(true);
});

test('the size of the picture stands after the warnings where it is known; a file without it stays valid', async () => {
  const path = join(folder, 'sized.npy.meta.json');
  const text = metaText(metaOf({ ...facts, picture: { width: 320, height: 240 } }, files));
  expect(text).toContain('"warnings": [],\n  "picture": {');
  await writeFile(path, text);
  expect((await readMeta(path)).picture).toEqual({ width: 320, height: 240 });
  await writeFile(path, metaText(metaOf(facts, files)));
  expect((await readMeta(path)).picture).toBeUndefined();
  await writeFile(path, text.replace('320', '0'));
  await expect(readMeta(path)).rejects.toThrow('/picture/width');
});

test('a reader keeps members that it does not know, and writes them back', async () => {
  const path = join(folder, 'a.npy.meta.json');
  const text = metaText(metaOf(facts, files)).replace(/\n\}\n$/, ',\n  "later": 1\n}\n');
  await writeFile(path, text);
  expect(await readMeta(path)).toMatchObject({ later: 1, preset: 'p@1' });
  expect(metaText(await readMeta(path))).toBe(text);
});

test.each([
  ['half a file', '{"schema"', 'expected JSON'],
  ['another form', '{"schema":"egolens.meta/2"}', '/input: expected a member `input`'],
])('a meta file with %s is refused', async (_, text, message) => {
  const path = join(folder, 'bad.meta.json');
  await writeFile(path, text);
  await expect(readMeta(path)).rejects.toThrow(message);
});
