import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { evaluate } from './evaluate.js';
import { runBenchmarks, type BenchRecord } from './run.js';

test('evaluate times every generated challenge and leaves no files', async () => {
  const cache = await mkdtemp(join(tmpdir(), 'egolens-bench-test-'));
  try {
    const records: BenchRecord[] = [];
    const options = { benchmarks: [evaluate], repeat: 1, paths: [], cache, isSmoke: true };
    for await (const record of runBenchmarks(options)) records.push(record);
    const tasks = ['mq', 'nlq', 'vq2d', 'sta', 'lta', 'scod'];
    expect(records.map(({ figure }) => figure)).toEqual(
      tasks.flatMap((task) => [task, `${task}-official`, `${task}-memory`]),
    );
    expect(records.filter(({ limit }) => limit !== null)).toHaveLength(2 + 5 + 6);
    for (const { ratio } of records) expect(ratio!.median.value).toBeGreaterThan(0);
    expect(await readdir(cache)).toEqual([]);
  } finally {
    await rm(cache, { recursive: true, force: true });
  }
});
