import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/files.js';
import type { Float } from '../../src/json.js';
import { speedBenchmarks } from './index.js';
import { runBenchmarks, type BenchRecord } from './run.js';

/** One round each over fixtures and a tiny model: that the benchmarks run and what they report, not how fast. */
const clip = join(packageRoot, 'fixtures', 'videos', 'three-seconds.mp4');
const other = join(packageRoot, 'fixtures', 'videos', 'demo.mp4');
let cache: string;

beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), 'egolens-bench-test-'));
});
afterAll(async () => {
  await rm(cache, { recursive: true, force: true });
});

async function recordsOf(name: string, paths: readonly string[] = [], signal?: AbortSignal): Promise<BenchRecord[]> {
  const benchmarks = speedBenchmarks.filter((benchmark) => benchmark.name === name);
  const options = { benchmarks, repeat: 1, paths, cache, isSmoke: true, ...(signal && { signal }) };
  const records: BenchRecord[] = [];
  for await (const record of runBenchmarks(options)) records.push(record);
  return records;
}

test('decode counts every frame and compares both pixel paths', async () => {
  const records = await recordsOf('decode', [clip]);
  expect(records.map(({ figure, limit }) => [figure, limit?.value])).toEqual([
    ['fast', 1.25],
    ['exact', 1.8],
  ]);
  for (const record of records) {
    expect(record).toMatchObject({ schema: 'egolens.bench/1', input: clip, rounds: 1, detail: { frames: 90 } });
    expect(record.ratio!.median.value).toBeGreaterThan(0.5);
  }
});

test('pipeline runs the product loop beside a device without CPU', async () => {
  const [record, ...more] = await recordsOf('pipeline', [clip]);
  expect(more).toEqual([]);
  expect(record).toMatchObject({ figure: 'large', rounds: 1, detail: { windows: 6 } });
});

test('encode and graph run over seeded weights, which are written once', async () => {
  const [window] = await recordsOf('encode');
  expect(window).toMatchObject({ figure: 'window', limit: { value: 1.15 }, detail: { device: 'cpu' } });
  const [memory, time] = await recordsOf('graph');
  expect(memory!.figure).toBe('memory');
  expect(memory!.ratio!.median.value).toBeGreaterThan(1); // a whole Node process over a small model
  expect(time!.ratio!.median.value).toBeGreaterThan(0);
  expect((await readdir(cache)).filter((file) => file.endsWith('.tmp'))).toEqual([]);
});

test('training compares steps with forward passes, and memory with its plan', async () => {
  const records = await recordsOf('training');
  expect(records.map(({ figure, limit }) => [figure, limit?.value])).toEqual([
    ['step-384', 3.3],
    ['step-768', 3.3],
    ['step-192', 3.3],
    ['step-probe', 3.3],
    ['fixed', 1],
    ['memory-384', 2],
    ['memory-768', 2],
    ['memory-192', 2],
  ]);
  for (const record of records) expect(record.ratio!.median.value).toBeGreaterThan(0);
});

test('nms suppresses the segments of a clip within classes and over all of them', async () => {
  const records = await recordsOf('nms');
  expect(records.map(({ figure, limit }) => [figure, limit?.value])).toEqual([
    ['classes', 1],
    ['agnostic', undefined],
  ]);
  for (const { detail } of records) expect(detail).toMatchObject({ segments: 5000, classes: 110 });
});

test('neither --help nor probe loads ONNX Runtime', async () => {
  const records = await recordsOf('startup', [clip]);
  expect(records.map(({ figure }) => figure)).toEqual(['help', 'probe', 'runtime']);
  expect(records[2]).toMatchObject({ ok: true, ratio: { max: { value: 0 } } });
});

test('memory compares the peaks of extract on two videos', async () => {
  const [record] = await recordsOf('memory', [other, clip]);
  expect(record).toMatchObject({ figure: 'flatness', rounds: 1 });
  expect(record!.ratio!.median.value).toBeGreaterThan(0.5);
});

test('search misses nothing, and an index of a million rows of 512 would be below its limit', async () => {
  const records = await recordsOf('search');
  expect(records.map(({ figure, limit }) => [figure, limit?.value])).toEqual([
    ['scan', 2],
    ['missed', 0],
    ['query', 3],
    ['size', 1],
  ]);
  expect(records[1]).toMatchObject({ ok: true, ratio: { max: { value: 0 } } });
  expect(records[3]).toMatchObject({ ok: true });
});

test('synth draws and encodes a clip, leaves no file, and says how many times real time that was', async () => {
  const [record, ...more] = await recordsOf('synth');
  expect(more).toEqual([]);
  expect(record).toMatchObject({ figure: 'realtime', limit: { value: 0.25 }, rounds: 1, detail: { frames: 30 } });
  const { timesRealTime, leastTimesRealTime } = record!.detail;
  expect((timesRealTime as Float).value * record!.ratio!.median.value).toBeCloseTo(1, 3);
  expect(leastTimesRealTime).toBe(1 / record!.limit!.value);
  expect((await readdir(cache)).filter((file) => file.startsWith('synth-'))).toEqual([]);
});

test('an interruption ends a run with the reason of the signal', async () => {
  const controller = new AbortController();
  const reason = new Error('stop');
  const records = recordsOf('decode', [clip], controller.signal);
  setTimeout(() => controller.abort(reason), 50);
  await expect(records).rejects.toBe(reason);
});
