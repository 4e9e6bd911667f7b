import { mkdtempSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { writeNpy } from '../checkpoint/npy.js';
import { sha256, sha256File } from '../files.js';
import { tensor } from '../tensor.js';
import type { FeatureClock, Tensor } from '../types.js';
import { completeMeta, isComplete, type MetaFacts } from './meta.js';
import { planNames, type FeatureTarget, type FeatureType } from './names.js';
import { openFeatures, readFeatures } from './reader.js';
import { timesOf } from './times.js';
import { ledgerFiles, openFeatureWriter } from './writer.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-writer-'));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(base, 'case-'));
});
afterAll(() => rm(base, { recursive: true, force: true }));

const sha = 'a'.repeat(64);
const key = 'b'.repeat(64);
const types: readonly FeatureType[] = ['npy', 'npz', 'safetensors'];

function targetIn(out: string, type: FeatureType = 'npy'): FeatureTarget {
  return planNames([{ path: 'P01/a.mp4', relpath: 'P01' }], { out, type })[0]!.targets[0]!;
}

const clockOfRows = (rows: number): FeatureClock => ({
  rate: { num: 30, den: 1 },
  hop: 16,
  frames: 16,
  step: 1,
  tail: 'align',
  rows,
});

const factsOf = (rows: number): MetaFacts => ({
  input: { name: 'P01/a.mp4', bytes: 5, identity: `ends:${sha}` },
  stream: 0,
  startOffset: 0,
  frames: { claimed: rows * 16, decoded: rows * 16 },
  decodeErrors: 0,
  warnings: [{ code: 'decode.hdr', message: 'PQ video' }],
  clock: clockOfRows(rows),
  of: { kind: 'file' },
  preset: 'p@1',
  pixels: 'exact',
  model: { name: 'm', digest: sha },
  output: 'pooled',
  precision: 'fp32',
  provider: 'cpu',
  versions: { program: '0.1.0', runtime: '1.30.0', ffmpeg: '5.1.9' },
  key,
});

const batchOf = (shape: readonly number[], first = 0): Tensor<'float32'> =>
  tensor(
    'float32',
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => first + i / 4),
  );

async function write(target: FeatureTarget, batches: readonly Tensor<'float32'>[]): Promise<void> {
  const rows = batches.reduce((sum, { shape }) => sum + shape[0]!, 0);
  await using writer = await openFeatureWriter(target, batches[0]!.shape.slice(1));
  for (const batch of batches) await writer.append(batch);
  expect(writer.rows).toBe(rows);
  await writer.finish(factsOf(rows), timesOf(clockOfRows(rows)));
}

test.each(types)('a %s comes with times and meta, is complete under its key alone, and reads back', async (type) => {
  const target = targetIn(folder, type);
  await write(target, [batchOf([2, 3]), batchOf([1, 3], 100)]);
  expect((await readdir(join(folder, 'P01'))).sort()).toEqual([`a.${type}`, `a.${type}.meta.json`, 'a.times.csv']);
  expect(await isComplete(target, key, { deep: true })).toBe(true);
  expect(await isComplete(target, sha)).toBe(false);
  const { array, clock, times, meta } = await readFeatures(target.array);
  expect(array).toEqual(tensor('float32', [3, 3], Float32Array.of(0, 0.25, 0.5, 0.75, 1, 1.25, 100, 100.25, 100.5)));
  expect(clock).toEqual(clockOfRows(3));
  expect(times).toEqual(timesOf(clockOfRows(3)));
  expect(meta?.array).toEqual({
    shape: [3, 3],
    bytes: (await readFile(target.array)).length,
    sha256: await sha256File(target.array),
  });
});

test.each(types)('the same rows give the same %s bytes, in whatever batches they come', async (type) => {
  const [a, b] = [targetIn(join(folder, 'a'), type), targetIn(join(folder, 'b'), type)];
  await write(a, [batchOf([8, 5])]);
  await write(b, [batchOf([3, 5]), batchOf([1, 5], 3.75), batchOf([4, 5], 5)]);
  for (const part of ['array', 'times', 'meta'] as const) {
    expect(await readFile(a[part])).toEqual(await readFile(b[part]));
  }
});

test('rows with tokens keep their three axes', async () => {
  const target = targetIn(folder);
  await write(target, [batchOf([2, 4, 3])]);
  expect((await readFeatures(target.array)).array).toEqual(batchOf([2, 4, 3]));
});

test('a patched header is the header of the whole array, for any count and width of rows', async () => {
  const target = targetIn(folder);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(40), { minLength: 1, maxLength: 4 }),
      fc.constantFrom([1], [768], [3, 2], [100_000]),
      async (counts, rowShape) => {
        const rows = rowShape[0] === 100_000 ? counts.slice(0, 1).map((n) => n % 3) : counts;
        const total = rows.reduce((a, b) => a + b, 0);
        await write(
          target,
          rows.map((n) => batchOf([n, ...rowShape])),
        );
        const bytes = await readFile(target.array);
        const { array } = await readFeatures(target.array);
        expect(array.shape).toEqual([total, ...rowShape]);
        expect(sha256(bytes)).toBe(sha256(writeNpy(array)));
      },
    ),
    { seed: 4, numRuns: 25 },
  );
});

test('a writer that is given up leaves nothing', async () => {
  const target = targetIn(folder);
  {
    await using writer = await openFeatureWriter(target, [3]);
    await writer.append(batchOf([2, 3]));
    expect(await readdir(join(folder, 'P01'))).toEqual([`.a.npy.${process.pid}.tmp`]);
  }
  expect(await readdir(join(folder, 'P01'))).toEqual([]);
});

test('a table or clock of another length than the array is refused, and nothing is left', async () => {
  const target = targetIn(folder);
  for (const [rows, times] of [
    [2, 1],
    [1, 2],
  ] as const) {
    await using writer = await openFeatureWriter(target, [3]);
    await writer.append(batchOf([2, 3]));
    await expect(writer.finish(factsOf(rows), timesOf(clockOfRows(times)))).rejects.toMatchObject({
      code: 'internal.bug',
    });
  }
  expect(await readdir(join(folder, 'P01'))).toEqual([]);
});

test('a value that is not finite never reaches the disk', async () => {
  await using writer = await openFeatureWriter(targetIn(folder), [3]);
  await writer.append(batchOf([2, 3]));
  const batch = batchOf([2, 3]);
  batch.data[4] = NaN;
  await expect(writer.append(batch)).rejects.toMatchObject({
    code: 'data.not_finite',
    message: expect.stringContaining('row 3, element 1 is NaN') as string,
  });
});

test('an output folder that cannot be made is an error of the output', async () => {
  await writeFile(join(folder, 'P01'), '');
  await expect(openFeatureWriter(targetIn(folder), [3])).rejects.toMatchObject({ code: 'output.unwritable' });
});

test.each<[string, (target: FeatureTarget) => Promise<void>]>([
  ['without its meta file', ({ meta }) => rm(meta)],
  ['without its time table', ({ times }) => rm(times)],
  ['without its array', ({ array }) => rm(array)],
  ['whose array is cut', async ({ array }) => writeFile(array, (await readFile(array)).subarray(0, -4))],
  ['whose meta file is half', async ({ meta }) => writeFile(meta, (await readFile(meta)).subarray(0, 300))],
  ['whose meta file has another form', ({ meta }) => writeFile(meta, '{}')],
])('a feature file %s counts as missing', async (_, damage) => {
  const target = targetIn(folder);
  await write(target, [batchOf([2, 3])]);
  expect(await completeMeta(target, key)).toMatchObject({ key });
  await damage(target);
  expect(await isComplete(target, key)).toBe(false);
});

test('a flipped bit is found by a deep look alone', async () => {
  const target = targetIn(folder);
  await write(target, [batchOf([2, 3])]);
  const bytes = await readFile(target.array);
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(target.array, bytes);
  expect(await isComplete(target, key)).toBe(true);
  expect(await isComplete(target, key, { deep: true })).toBe(false);
});

test('a run killed between array and meta file leaves a file that counts as missing, even over an older one', async () => {
  const target = targetIn(folder);
  await write(target, [batchOf([2, 3])]);
  // A folder in the place of the time table stops the writer after the array is renamed.
  await rm(target.times);
  await mkdir(target.times);
  await expect(write(target, [batchOf([2, 3], 7)])).rejects.toMatchObject({ code: 'output.unwritable' });
  expect((await readdir(join(folder, 'P01'))).sort()).toEqual(['a.npy', 'a.times.csv']);
  expect(await isComplete(target, key)).toBe(false);
});

test('the ledger gets the paths below the output folder and the digests of all three files', async () => {
  const target = targetIn(folder);
  await write(target, [batchOf([2, 3])]);
  const files = ledgerFiles(folder, target, (await completeMeta(target, key))!);
  expect(Object.keys(files)).toEqual(['P01/a.npy', 'P01/a.times.csv', 'P01/a.npy.meta.json']);
  for (const [name, digest] of Object.entries(files)) expect(await sha256File(join(folder, name))).toBe(digest);
});

test('a meta file names no folder of this machine', async () => {
  const target = targetIn(folder);
  await write(target, [batchOf([2, 3])]);
  const text = await readFile(target.meta, 'utf8');
  expect(text).not.toContain(basename(folder));
  await using file = await openFeatures(target.array);
  expect(file.shape).toEqual([2, 3]);
});
