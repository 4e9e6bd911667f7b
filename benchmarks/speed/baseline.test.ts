import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { float, jsonText } from '../../src/json.js';
import { readBaseline, shippedBaseline, slowdownOf, verdictOf, withBaseline } from './baseline.js';
import { speedBenchmarks } from './index.js';
import type { BenchRecord } from './run.js';

function record(figure: string, median: number, limit: number | null = null): BenchRecord {
  return {
    schema: 'egolens.bench/1',
    name: 'decode',
    figure,
    input: null,
    of: 'a / b',
    ratio: { median: float(median), min: float(median), max: float(median) },
    limit: limit === null ? null : float(limit),
    ok: limit === null ? null : median <= limit,
    rounds: 1,
    detail: {},
    machine: { cpu: 'test', threads: 1, platform: 'linux-x64', node: '20.0.0' },
  };
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-test-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function written(text: string): Promise<string> {
  await writeFile(join(folder, 'baseline'), text);
  return join(folder, 'baseline');
}

test.each([
  ['one document', (records: readonly BenchRecord[]) => jsonText(records, 2)],
  ['lines', (records: readonly BenchRecord[]) => records.map((each) => `${jsonText(each)}\n`).join('')],
])('a baseline is what bench printed, as %s', async (_, print) => {
  const path = await written(print([record('fast', 1.2), record('exact', 1.7), { ...record('none', 1), ratio: null }]));
  expect(await readBaseline(path)).toEqual(
    new Map([
      ['decode/fast', 1.2],
      ['decode/exact', 1.7],
    ]),
  );
});

test.each(['no json', '[1]', '[{"schema":"egolens.bench/1","name":"a","figure":"b","ratio":{"median":"1"}}]', '{'])(
  'a file that is no baseline is refused: %s',
  async (text) => {
    await expect(readBaseline(await written(text))).rejects.toMatchObject({ code: 'data.invalid' });
  },
);

test('a figure is compared with its own earlier value; one without stays alone', () => {
  const baseline = new Map([['decode/fast', 1.2]]);
  expect(slowdownOf(record('fast', 1.5), baseline)?.factor).toBeCloseTo(1.25, 12);
  expect(withBaseline(record('fast', 1.5), baseline)).toMatchObject({ baseline: float(1.2), slowdown: float(1.25) });
  expect(withBaseline(record('exact', 1.5), baseline)).toMatchObject({ baseline: null, slowdown: null });
  expect(withBaseline(record('fast', 0), new Map([['decode/fast', 0]])).slowdown).toEqual(float(1));
});

test('only what was asked for makes a run fail', () => {
  const baseline = new Map([['decode/fast', 1]]);
  const records = [record('fast', 1.3, 1.25)];
  expect(verdictOf(records, { strict: false })).toBeUndefined();
  expect(verdictOf(records, { strict: false, baseline })).toBeUndefined();
  expect(verdictOf(records, { strict: false, baseline, most: 1.4 })).toBeUndefined();
  expect(verdictOf(records, { strict: false, baseline, most: 1.2 })?.oclif.exit).toBe(5);
  expect(verdictOf(records, { strict: true })?.message).toBe('too slow: decode/fast is 1.3, limit 1.25');
});

test('the shipped baseline knows every figure', async () => {
  const wanted = speedBenchmarks.flatMap(({ name, figures }) => figures.map((figure) => `${name}/${figure.name}`));
  expect([...(await readBaseline(shippedBaseline)).keys()].sort()).toEqual(wanted.sort());
});
