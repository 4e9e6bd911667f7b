import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { seededRandom } from '../random.js';
import { openIndex, openSpool, stageIndex } from '../search/index-file.js';
import { blockRows, type IndexHeader, type IndexItem } from '../search/index-format.js';
import { bestRows, scoreError } from '../search/exact.js';
import { exactScore, unitHalves, unitVector } from '../search/vectors.js';
import { pathInIndex } from './index-library.js';
import { openScorer } from './index-scores.js';
import { parseClip } from './search.js';
import { parseGranularity } from './window-vectors.js';

const width = 16;
const rows = 4 * blockRows + 100;
let folder: string;
let path: string;
let view: DataView;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-search-test-'));
  path = join(folder, 'lib.egx');
  const sha = '0'.repeat(64);
  const item: IndexItem = {
    path: 'a.mp4',
    bytes: 1,
    identity: `ends:${sha}`,
    key: sha,
    rows,
    origin: 0,
    clock: { rate: { num: 1, den: 1 }, hop: 2, frames: 2, step: 1, tail: 'align', rows },
    last: [2 * rows - 2, 2 * rows],
  };
  const header: Omit<IndexHeader, 'items'> = {
    model: { id: 'm@000000000000', digest: sha },
    output: 'pooled',
    precision: 'fp32',
    preset: 'p@1',
    granularity: { num: 2, den: 1 },
    stream: '0',
    width,
  };
  const random = seededRandom(1, 'vectors');
  const vectors = unitHalves(
    Float32Array.from({ length: rows * width }, () => random.normal()),
    width,
  );
  view = new DataView(vectors.buffer);
  await using spool = await openSpool(path, width);
  await spool.append(vectors);
  await using file = await stageIndex(path, header, [{ item, source: spool, firstRow: 0 }]);
  await file.commit();
});
afterAll(() => rm(folder, { recursive: true }));

function queryOf(seed: number): Float32Array {
  const random = seededRandom(seed, 'query');
  return Float32Array.from(unitVector(Array.from({ length: width }, () => random.normal())));
}

describe('scores of an index', () => {
  const runBytes = 2 * blockRows * width * 2;
  test.each([
    ['nothing stays', 0],
    ['one run stays, the others are read', runBytes],
    ['all stay', Infinity],
  ])('%s in memory: query after query every row has its product', async (_, maxMemory) => {
    await using index = await openIndex(path);
    await using scorer = await openScorer(index, { maxMemory });
    for (const seed of [1, 2, 3]) {
      const query = queryOf(seed);
      const scores = await scorer.scores(query);
      expect(scores.map(({ length }) => length)).toEqual([...Array<number>(4).fill(blockRows), 100]);
      let worst = 0;
      scores.forEach((block, i) => {
        block.forEach(
          (score, k) => (worst = Math.max(worst, Math.abs(score - exactScore(query, view, i * blockRows + k)))),
        );
      });
      expect(worst).toBeLessThanOrEqual(scoreError(query));
    }
  });

  test('the best rows are those of a brute force in double, by graph and by hand', async () => {
    await using index = await openIndex(path);
    await using scorer = await openScorer(index, { maxMemory: 0, threads: 1 });
    const query = queryOf(4);
    const around = (row: number) => [row, row + 1] as const;
    const found = await bestRows(await scorer.scores(query), { query, top: 25, vectors: index, around });
    const truth = Array.from({ length: rows }, (_, row) => ({ row, score: exactScore(query, view, row) }));
    truth.sort((a, b) => b.score - a.score || a.row - b.row);
    expect(found).toEqual(truth.slice(0, 25));
  });

  test('vectors that are no numbers are a damaged index; an aborted signal ends it with its reason', async () => {
    const bad = join(folder, 'nan.egx');
    const bytes = await readFile(path);
    bytes.writeUInt16LE(0x7e00, bytes.length - 2);
    await writeFile(bad, bytes);
    for (const maxMemory of [0, Infinity]) {
      await using index = await openIndex(bad);
      await using scorer = await openScorer(index, { maxMemory });
      await expect(scorer.scores(queryOf(1))).rejects.toMatchObject({
        code: 'data.not_finite',
        message: expect.stringContaining('nan.egx') as string,
      });
    }
    await using index = await openIndex(path);
    const controller = new AbortController();
    const reason = new Error('enough');
    await using scorer = await openScorer(index, { maxMemory: 0, signal: controller.signal });
    controller.abort(reason);
    await expect(scorer.scores(queryOf(1))).rejects.toBe(reason);
  });
});

describe('--by-clip', () => {
  test.each([
    ['a.mp4:1-2.5', 'a.mp4', [1, 2.5]],
    ['a.mp4:1:30-0:02:00.5', 'a.mp4', [90, 120.5]],
    ['C:/films/a.mp4:1-2', 'C:/films/a.mp4', [1, 2]],
    ['a-1:2-b.mp4:3-4', 'a-1:2-b.mp4', [3, 4]],
  ])('%s', async (text, file, span) => {
    expect(await parseClip(text)).toEqual({ input: text, path: resolve(file), span });
  });

  test('of several readings the one whose file is there counts; a file alone is all of it', async () => {
    const odd = join(folder, 'clip:1');
    await writeFile(odd, '');
    expect(await parseClip(`${odd}:30-40`)).toMatchObject({ path: odd, span: [30, 40] });
    expect(await parseClip(odd)).toEqual({ input: odd, path: odd });
  });

  test.each([
    ['a.mp4', 'input.not_found'],
    ['a.mp4:1', 'input.not_found'],
    ['a.mp4:-1-2', 'input.not_found'],
    [':1-2', 'input.not_found'],
    ['a.mp4:2-1', 'usage.flag'],
    ['a.mp4:1-1', 'usage.flag'],
  ])('%s is refused', async (text, code) => {
    await expect(parseClip(text)).rejects.toMatchObject({ code });
  });
});

test('a granularity is seconds, exact', () => {
  expect(parseGranularity('2s')).toEqual({ num: 2, den: 1 });
  expect(parseGranularity('0.64')).toEqual({ num: 16, den: 25 });
  for (const text of ['0', '0.0s', '-1s', '2m', '3601', '', '1e3']) {
    expect(() => parseGranularity(text)).toThrow(expect.objectContaining({ code: 'usage.flag' }) as Error);
  }
});

test('videos are named as seen from the folder of the index', () => {
  expect(pathInIndex('/films/lib.egx', '/films/a/b.mp4')).toBe('a/b.mp4');
  expect(pathInIndex('/cache/lib.egx', '/films/b.mp4')).toBe('../films/b.mp4');
});
