import { mkdtempSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { featureKey, readFeatures, readTimes, videoIdentity } from '../features/store.js';
import { packageRoot } from '../files.js';
import { findModel } from '../hub/cache.js';
import { openModelFolder } from '../models/folder.js';
import type { HeadRun } from './recognize-head.js';
import { extractDefaults, type ExtractFlags } from './extract-options.js';
import { extract, planExtract, type ExtractEvent, type ExtractOptions, type FeatureRecord } from './extract.js';
import { featuresForHead } from './head-features.js';
import type { InputItem } from './inputs.js';

/** Features of windows that end at given times: rows, keys, and what a second start does. */

const base = mkdtempSync(join(tmpdir(), 'egolens-extract-at-'));
afterAll(() => rm(base, { recursive: true, force: true }));

const model = 'videomae-nano-untrained';
const flags: ExtractFlags = {
  model,
  ...{ output: '', pool: 'mean', level: 'clip', outType: 'npy', stream: '0', device: 'cpu' },
  ...{ jobs: 1, force: false, decodeErrors: 'ignore' },
};
const path = join(packageRoot, 'fixtures', 'videos', 'three-seconds.mp4');
const item: InputItem = { input: path, path, relpath: '' };
const progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};
const rest = { strict: true, onError: 'skip', progress, signal: new AbortController().signal } as const;

type Changes = Partial<ExtractFlags> & Pick<ExtractOptions, 'at' | 'span'>;

async function optionsOf(output: string, { at, span, ...changes }: Changes = {}): Promise<ExtractOptions> {
  return {
    ...(await extractDefaults({ ...flags, ...changes, output })),
    ...rest,
    ...{ retryFailed: false, identity: 'ends', argv: [] },
    ...(at !== undefined && { at }),
    ...(span !== undefined && { span }),
  };
}

async function eventsOf(items: readonly InputItem[], options: ExtractOptions): Promise<ExtractEvent[]> {
  const events: ExtractEvent[] = [];
  for await (const event of extract(items, options)) events.push(event);
  return events;
}

async function recordOf(one: InputItem, changes: Changes = {}): Promise<FeatureRecord> {
  const [event] = await eventsOf([one], await optionsOf(await mkdtemp(join(base, 'out-')), changes));
  if (event?.kind !== 'done') throw new Error(JSON.stringify(event));
  return event.record;
}

const timesOf = ({ path: array }: FeatureRecord) => readTimes(array.replace(/\.npy$/, '.times.csv'));

test('rows are those of the dense grid that end there, on no clock; frames are those of the sampling rate', async () => {
  const dense = await recordOf(item, { stride: '1' });
  const at = [2.5, { frame: 40 }, { frame: 40 }];
  const record = await recordOf(item, { at });
  const times = await timesOf(record);
  expect([record.rows, record.clock]).toEqual([2, null]);
  expect(times.map(({ firstFrame, lastFrame }) => [firstFrame, lastFrame])).toEqual([
    [10, 40],
    [45, 75],
  ]);
  const [some, all] = [(await readFeatures(record.path)).array, (await readFeatures(dense.path)).array];
  const width = some.shape[1]!;
  for (const [row, whole] of [10, 45].entries()) {
    for (let d = 0; d < width; d++) expect(some.data[row * width + d]).toBeCloseTo(all.data[whole * width + d]!, 5);
  }
  expect((await timesOf(await recordOf(item, { at: { every: 1 } }))).map(({ lastFrame }) => lastFrame)).toEqual([
    30, 60,
  ]);
});

test("an item's own times come before those of the run", async () => {
  const [own, run] = [
    { ...item, at: [1] },
    { ...item, name: 'other' },
  ];
  const options = await optionsOf(await mkdtemp(join(base, 'out-')), { at: [2, 2.5] });
  const events = await eventsOf([own, run], options);
  expect(events).toMatchObject([{ record: { rows: 1 } }, { record: { rows: 2 } }]);
});

test('keys are those of before without times, and tell windows apart, not what they were asked by', async () => {
  const { spec, manifest, preset } = await openModelFolder(await findModel(model));
  const settings = { decoder: 'decode/1', stream: 0, span: null, pool: 'mean', level: 'clip' };
  const parts = { video: await videoIdentity(path), preset, settings, modelDigest: manifest.digest };
  const plain = featureKey({ ...parts, output: spec.preset.feature, precision: manifest.precision });
  const keyOf = async (changes: Changes): Promise<string> => (await recordOf(item, changes)).key;
  expect(await keyOf({})).toBe(plain);
  const [times, frames] = [await keyOf({ at: [2, 1] }), await keyOf({ at: [{ frame: 30 }, { frame: 60 }, 1.01] })];
  expect(frames).toBe(times);
  const keys = [plain, times, await keyOf({ at: [2] }), await keyOf({ at: { every: 1 } })];
  expect(new Set(keys).size).toBe(4);
});

test('a second start keeps them, a plan knows them, other times are made anew', async () => {
  const output = await mkdtemp(join(base, 'out-'));
  const states = async (at: readonly number[]): Promise<string[]> => {
    const plans: string[] = [];
    for await (const { state, estimate } of planExtract([item], await optionsOf(output, { at }))) {
      plans.push(`${state} ${estimate}`);
    }
    return plans;
  };
  const kinds = async (at: readonly number[]): Promise<string[]> =>
    (await eventsOf([item], await optionsOf(output, { at }))).map(({ kind }) => kind);
  expect(await states([1, 2])).toEqual(['missing null']);
  expect([await kinds([1, 2]), await kinds([2, 1]), await states([2, 1])]).toEqual([
    ['done'],
    ['kept'],
    ['complete 0'],
  ]);
  expect([await states([1]), await kinds([1])]).toEqual([['missing null'], ['done']]);
});

test('a time behind the end fails its video, and so does a part of one; the others go on', async () => {
  const items: InputItem[] = [
    { ...item, name: 'behind', at: [1, 4] },
    { ...item, name: 'wrong', at: [-1] },
    { ...item, name: 'part', at: [1], start: 1 },
    { ...item, name: 'good', at: [3.2] },
  ];
  const events = await eventsOf(items, await optionsOf(await mkdtemp(join(base, 'out-'))));
  expect(events).toMatchObject([
    { kind: 'failed', error: { code: 'input.too_short' } },
    { kind: 'failed', error: { code: 'usage.flag' } },
    { kind: 'failed', error: { code: 'usage.conflict' } },
    { kind: 'done', record: { rows: 1 } },
  ]);
});

test('a recipe on no grid is refused before anything is written', async () => {
  const output = join(base, 'not there');
  for (const [items, at] of [
    [[item], [1]],
    [[{ ...item, at: [1] }], undefined],
  ] as const) {
    const options = await optionsOf(output, { fps: 'source', ...(at && { at }) });
    await expect(eventsOf(items, options)).rejects.toMatchObject({ code: 'usage.flag' });
  }
  await expect(readFeatures(output)).rejects.toMatchObject({ code: 'input.not_found' });
});

test('features for a head are kept apart by their times', async () => {
  vi.stubEnv('EGOLENS_CACHE_DIR', join(base, 'cache'));
  const { spec } = await openModelFolder(await findModel(model));
  // What of a head decides its features.
  const run = {
    folder: { id: 'h', info: { features: [{ output: spec.tokenOutput }], clock: null }, manifest: { name: 'h' } },
    head: { widths: [1] },
  } as unknown as HeadRun;
  const { stream, jobs, device, decodeErrors } = await optionsOf('');
  const options = { ...rest, ...{ stream, jobs, device, decodeErrors }, encoder: model };
  const pathsOf = async (one: InputItem, at?: readonly number[]): Promise<readonly string[]> => {
    const found = await featuresForHead([one], run, { ...options, ...(at && { at }) });
    expect(found.failed).toEqual([]);
    return found.index.get('three-seconds') ?? [];
  };
  const [plain, first, second] = [
    await pathsOf(item),
    await pathsOf({ ...item, at: [1] }),
    await pathsOf(item, [1, 2]),
  ];
  expect(new Set([...plain, ...first, ...second]).size).toBe(3);
  expect(await pathsOf({ ...item, at: [1] })).toEqual(first);
  const { array } = await readFeatures(second[0]!);
  expect([array.shape.length, array.shape[0]]).toEqual([3, 2]);
  vi.unstubAllEnvs();
});
