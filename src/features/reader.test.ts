import { mkdtempSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { writeNpy } from '../checkpoint/npy.js';
import { writeNpz } from '../checkpoint/npz.js';
import { writePt } from '../checkpoint/pt-features.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { bytesOf, floatToHalf, tensor } from '../tensor.js';
import type { AnyTensor, Tensor } from '../types.js';
import { compareFeatures } from './compare.js';
import { officialClock, openFeatures, readFeatures, type FeatureFile, type ReadOptions } from './reader.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-reader-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

const array = tensor(
  'float32',
  [5, 3],
  Float32Array.from({ length: 15 }, (_, i) => i - 4),
);

async function file(name: string, pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, pieces);
  return path;
}
const npy = (name: string, value: AnyTensor): Promise<string> => file(name, [writeNpy(value)]);

test.each<[string, () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>, string]>([
  ['a.npy', () => [writeNpy(array)], 'float32'],
  ['half.npy', () => [writeNpy(tensor('float16', [5, 3], Uint16Array.from(array.data, floatToHalf)))], 'float16'],
  ['ints.npy', () => [writeNpy(tensor('int64', [5, 3], BigInt64Array.from(array.data, BigInt)))], 'int64'],
  ['a.npz', () => writeNpz(new Map([['features', array]])), 'float32'],
  ['other.npz', () => writeNpz(new Map([['x', array]])), 'float32'],
  ['a.pt', () => writePt(array), 'float32'],
  [
    'a.safetensors',
    () => writeSafetensors([{ name: 'features', dtype: 'F32', shape: [5, 3], bytes: () => [bytesOf(array)] }]),
    'float32',
  ],
])('%s gives its rows whole and in blocks', async (name, pieces, storedType) => {
  const path = await file(name, pieces());
  const whole = await readFeatures(path);
  expect(whole).toEqual({ path, storedType, clock: undefined, times: undefined, meta: undefined, array });
  await using opened = await openFeatures(path);
  for (const rows of [1, 2, 5, 9]) {
    const blocks: Tensor<'float32'>[] = [];
    for await (const block of opened.blocks(rows)) blocks.push(block);
    expect(blocks.map(({ shape }) => shape[0])).toEqual(
      Array.from({ length: Math.ceil(5 / rows) }, (_, i) => Math.min(rows, 5 - i * rows)),
    );
    expect(blocks.flatMap(({ data }) => [...data])).toEqual([...array.data]);
  }
});

test('of several arrays the one called features is taken, or the one that is named', async () => {
  const other = tensor('float32', [1, 1], Float32Array.of(7));
  const both = await file(
    'both.npz',
    writeNpz(
      new Map([
        ['x', other],
        ['features', array],
      ]),
    ),
  );
  expect((await readFeatures(both)).array.shape).toEqual([5, 3]);
  expect((await readFeatures(both, { name: 'x' })).array).toEqual(other);
  await expect(readFeatures(both, { name: 'y' })).rejects.toThrow('expected an array `y`, found `x`, `features`');
});

test.each<[string, AnyTensor]>([
  ['a vector', tensor('float32', [3], new Float32Array(3))],
  ['four axes', tensor('float32', [1, 1, 1, 1], new Float32Array(1))],
])('%s is no feature array', async (_, value) => {
  await expect(readFeatures(await npy('bad.npy', value))).rejects.toMatchObject({ code: 'data.shape' });
});

test('another ending, a missing file and a table of another length are refused', async () => {
  await expect(readFeatures(await file('a.csv', []))).rejects.toMatchObject({ code: 'input.format' });
  await expect(readFeatures(join(folder, 'none.npy'))).rejects.toMatchObject({ code: 'input.not_found' });
  const path = await npy('timed.npy', array);
  await writeFile(join(folder, 'timed.times.csv'), 'index,first_frame,last_frame,start,end\n0,0,31,0.0,1.0\n');
  await expect(readFeatures(path)).rejects.toThrow('1 rows, expected 5');
});

// ---- official clocks (ego4d.md 1.5) ---------------------------------------------------------------------------------

test('rows of the official grid are 16 frames apart at 30 frames a second', async () => {
  const { clock, times } = await readFeatures(await file('grid.pt', writePt(array)), { clock: 'ego4d-grid' });
  expect(clock).toEqual({ rate: { num: 30, den: 1 }, hop: 16, frames: 32, step: 1, tail: 'align', rows: 5 });
  expect(times?.[2]).toEqual({ index: 2, firstFrame: 32, lastFrame: 63, start: 32 / 30, end: 64 / 30 });
  expect(officialClock('ego4d-nlq', 5)).toEqual(clock);
});

test('the moment queries clock spreads the rows over the duration', async () => {
  // 480 s at 30 frames a second: 14400 frames, 899 rows.
  const { hop } = officialClock('ego4d-mq', 899, 480);
  expect(30 / hop).toBeCloseTo(899 / 480, 12);
  const path = await file('mq.pt', writePt(array));
  await expect(readFeatures(path, { clock: 'ego4d-mq' })).rejects.toMatchObject({
    code: 'usage.flag',
    message: expect.stringContaining('mq.pt`: clock ego4d-mq: expected the video') as string,
  });
  const { times } = await readFeatures(path, { clock: 'ego4d-mq', duration: 3 });
  expect(times?.map(({ start }) => start)).toEqual(
    [0, 3 / 5, 6 / 5, 9 / 5, 12 / 5].map((s) => expect.closeTo(s, 12) as number),
  );
});

test('a clock in numbers is taken as it is', async () => {
  const clock = { rate: { num: 10, den: 1 }, hop: 5, frames: 1, step: 1, tail: 'drop' } as const;
  expect((await readFeatures(await npy('own.npy', array), { clock })).clock).toEqual({ ...clock, rows: 5 });
});

// ---- comparison -----------------------------------------------------------------------------------------------------

async function compared<T>(
  a: AnyTensor,
  b: AnyTensor,
  use: (a: FeatureFile, b: FeatureFile) => Promise<T>,
  options: readonly [ReadOptions, ReadOptions] = [{}, {}],
): Promise<T> {
  await using fileA = await openFeatures(await npy('left.npy', a), options[0]);
  await using fileB = await openFeatures(await npy('right.npy', b), options[1]);
  return await use(fileA, fileB);
}
const rowsOf = (...rows: readonly (readonly number[])[]): Tensor<'float32'> =>
  tensor('float32', [rows.length, rows[0]!.length], Float32Array.from(rows.flat()));

test('each row has its cosine and its largest difference', async () => {
  const result = await compared(
    rowsOf([1, 0], [3, 4], [0, 0], [0, 0], [1, 1]),
    rowsOf([0, 1], [6, 8], [0, 0], [1, 0], [-1, -1]),
    compareFeatures,
  );
  expect(result.findings).toEqual([]);
  expect(result.rows.map(({ cosine }) => cosine)).toEqual([0, 1, 1, 0, expect.closeTo(-1, 12)]);
  expect(result.rows.map(({ maxAbs }) => maxAbs)).toEqual([1, 4, 0, 1, 2]);
  expect(result.minCosine).toBeCloseTo(-1, 12);
  expect(result.maxAbs).toBe(4);
});

test('a file equals itself, in large blocks and across their borders', async () => {
  const value = tensor('float32', [3000, 700], new Float32Array(2_100_000).fill(0.5));
  const result = await compared(value, value, compareFeatures);
  expect(result.rows).toHaveLength(3000);
  expect(result.rows.at(-1)).toEqual({ index: 2999, cosine: expect.closeTo(1, 12) as number, maxAbs: 0 });
});

test('other counts, clocks and values that are not finite are findings', async () => {
  const result = await compared(rowsOf([1, 0], [NaN, 0], [1, 1]), rowsOf([1, 0], [1, 0]), compareFeatures, [
    { clock: 'ego4d-grid' },
    { clock: { ...officialClock('ego4d-grid', 0), hop: 8 } },
  ]);
  expect(result.findings.map(({ level, code, at }) => [level, code, at])).toEqual([
    ['error', 'data.shape', ''],
    ['error', 'data.clock', '/clock'],
    ['error', 'data.not_finite', '/1'],
  ]);
  expect(result.rows).toEqual([{ index: 0, cosine: 1, maxAbs: 0 }]);
});

test('one clock alone is a warning, other widths an error', async () => {
  const one = rowsOf([1, 0]);
  const { findings } = await compared(one, one, compareFeatures, [{ clock: 'ego4d-grid' }, {}]);
  expect(findings).toMatchObject([{ level: 'warning', code: 'data.clock', found: 'no clock' }]);
  await expect(compared(one, rowsOf([1]), compareFeatures)).rejects.toMatchObject({ code: 'data.shape' });
});
