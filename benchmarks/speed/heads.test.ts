import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { headOf } from '../../heads/index.js';
import { packageRoot } from '../../src/files.js';
import { openModelFolder } from '../../src/models/folder.js';
import { headClockJson } from '../../src/models/head-folder.js';
import { initialWeights } from '../../src/models/head.js';
import { stateDictOf, writeHeadFolder } from '../../src/pipeline/head-writer.js';
import { seededRandom } from '../../src/random.js';
import { heads } from './heads.js';
import { runBenchmarks, type BenchRecord } from './run.js';

/** One round over eight seconds and heads that have learned nothing: that each is asked what its command asks, not how fast. */
let folder: string;
let width: number;
let grid: readonly [number, number, number];
let clock: ReturnType<typeof headClockJson>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-bench-test-'));
  const { spec, preset } = await openModelFolder(join(packageRoot, 'fixtures', 'models', 'videomae-nano'));
  grid = spec.tokenGrid!; // it has one
  width = spec.outputs[preset.feature]!.shape[1] as number; // [batch, width]
  const { rate, hop, frames, step } = preset.sampling;
  clock = headClockJson({ rate, hop, frames, step, tail: 'drop', rows: 0 });
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function headFolder(
  family: string,
  config: Readonly<Record<string, unknown>>,
  more: { readonly labels?: Readonly<Record<string, readonly string[]>>; readonly isGrid?: boolean } = {},
): Promise<string> {
  const output = join(folder, family);
  const head = headOf(family)!.spec(config); // a family
  const labels = Object.entries(more.labels ?? {}).map(([name, list]) => {
    return [name, { schema: 'egolens.labels/1', name, version: 1, order: 'any', labels: list }] as const;
  });
  await writeHeadFolder(
    {
      ...{ name: family, head, tensors: stateDictOf(initialWeights(head, seededRandom(3, family))), options: {} },
      labels: Object.fromEntries(labels),
      clock: more.isGrid === false ? null : clock,
      features: [{ model: null, output: null, width: head.widths[0]! }], // one stream
      trained: 'seeded',
      licence: { code: 'unknown', weights: 'unknown' },
      source: {
        ...{ name: 'none', bytes: 0, sha256: '0'.repeat(64), container: 'none' },
        ...{ weightsKey: null, prefix: null, left: [] },
      },
    },
    { output },
  );
  return output;
}

async function recordsOf(asked: readonly string[]): Promise<BenchRecord[]> {
  const records: BenchRecord[] = [];
  const options = { benchmarks: [heads], repeat: 1, heads: asked, cache: folder, isSmoke: true };
  for await (const record of runBenchmarks(options)) records.push(record);
  return records;
}

test('every kind of head is asked what its command asks of a video, beside the encoder', async () => {
  const [times, h, w] = grid;
  const tokens = { isGrid: false };
  const records = await recordsOf([
    await headFolder('linear-probe', { dim: width, kinds: ['label'], classes: [3] }),
    await headFolder('pnr-oscc', { dim: width, rows: 15, hidden: 8, heads: 2, depth: 1 }),
    await headFolder('scod', { dim: width, classes: 1, maps: 4, frames: 3, grid: [h, w], hidden: 8, depth: 1 }, tokens),
    await headFolder('hands', { dim: width, grid: [times, h, w], hidden: 8 }, tokens),
    await headFolder('sta-roi', { dim: width, grid: [h, w], nouns: 3, verbs: 2 }, tokens),
  ]);
  expect(records.map(({ figure, detail }) => [figure, detail['asks']])).toEqual([
    ['recognition', 1],
    ['pnr', 1],
    ['scod', 8],
    ['fhp', 8],
    ['sta', 8],
  ]);
  for (const { ratio, limit, detail } of records) {
    expect(ratio!.median.value).toBeGreaterThan(0);
    expect(limit!.value).toBe(0.1);
    expect(detail).toMatchObject({ seconds: 8, threads: 1 });
  }
});

test('a head of questions has a second figure, in milliseconds beside its limit', async () => {
  const words = ['<pad>', '<unk>', 'where', 'cup'];
  const config = { video_feature_dim: width, dim: 8, num_heads: 2, max_pos_len: 32, word_size: 4, word_dim: 4 };
  const asked = await headFolder('vslnet-small', { ...config, text: 'words' }, { labels: { word: words } });
  const [share, question] = await recordsOf([asked]);
  expect([share!.figure, question!.figure]).toEqual(['nlq', 'question']);
  const { headCpuMs } = question!.detail as { headCpuMs: { value: number } };
  expect(question!.ratio!.median.value).toBeCloseTo(headCpuMs.value / 50, 3);
});

test('a head over features of another width is refused with both sides', async () => {
  const narrow = await headFolder('attentive-probe', { dim: width / 2, kinds: ['label'], classes: [3], heads: 2 });
  await expect(recordsOf([narrow])).rejects.toThrow(`rows of ${width} numbers`);
});
