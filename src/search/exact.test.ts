import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom } from '../random.js';
import { bestRows, scoreError, type BestOptions } from './exact.js';
import { blockRows } from './index-format.js';
import { exactScore, unitHalves, unitVector } from './vectors.js';

const width = 48;
const alone: BestOptions['around'] = (row) => [row, row + 1];

interface Rows {
  readonly count: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  readonly reads: number[];
  readonly vectors: BestOptions['vectors'];
}

function rowsOf(data: Float32Array): Rows {
  const bytes = unitHalves(data, width);
  const reads: number[] = [];
  return {
    count: data.length / width,
    bytes,
    view: new DataView(bytes.buffer),
    reads,
    vectors: {
      readRows(first, target) {
        reads.push(target.length / width / 2);
        target.set(bytes.subarray(first * width * 2, first * width * 2 + target.length));
        return Promise.resolve();
      },
    },
  };
}

function randomRows(count: number, seed: number): Rows {
  const random = seededRandom(seed, 'rows');
  return rowsOf(Float32Array.from({ length: count * width }, () => random.normal()));
}

function randomQuery(seed: number): Float32Array {
  const random = seededRandom(seed, 'query');
  return Float32Array.from(unitVector(Array.from({ length: width }, () => random.normal())));
}

/** Products as a graph may give them: off by up to the bound of float32. */
function roughScores({ view, count }: Rows, query: Float32Array, seed: number): Float32Array[] {
  const random = seededRandom(seed, 'rough');
  const error = scoreError(query) / 2;
  const all = Float32Array.from({ length: count }, (_, row) => {
    return exactScore(query, view, row) + (2 * random.uniform() - 1) * error;
  });
  return Array.from({ length: Math.ceil(count / blockRows) }, (_, i) => all.slice(i * blockRows, (i + 1) * blockRows));
}

/** Every row in double, sorted; of equal ones the first. */
function bruteForce({ view, count }: Rows, query: Float32Array): { row: number; score: number }[] {
  return Array.from({ length: count }, (_, row) => ({ row, score: exactScore(query, view, row) })).sort(
    (a, b) => b.score - a.score || a.row - b.row,
  );
}

test('recall against a brute force in double is 1, order and scores included', async () => {
  const rows = randomRows(2 * blockRows + 77, 1);
  for (let seed = 0; seed < 5; seed++) {
    const query = randomQuery(seed);
    const found = await bestRows(roughScores(rows, query, seed), {
      query,
      top: 20,
      vectors: rows.vectors,
      around: alone,
    });
    expect(found).toEqual(bruteForce(rows, query).slice(0, 20));
  }
});

test('rows that float32 cannot tell apart are told apart, equal ones come in their order', async () => {
  // One vector, its copies, and neighbours that differ by a few halves in the last place.
  const base = Float32Array.from(unitVector(Array.from({ length: width }, (_, i) => Math.sin(i + 1))));
  const data = new Float32Array(60 * width);
  const random = seededRandom(3, 'near');
  for (let row = 0; row < 60; row++) {
    data.set(row % 3 === 0 ? base : base.map((value) => value * (1 + (random.uniform() - 0.5) * 2e-3)), row * width);
  }
  const rows = rowsOf(data);
  const found = await bestRows(roughScores(rows, base, 9), {
    query: base,
    top: 60,
    vectors: rows.vectors,
    around: alone,
  });
  expect(found).toEqual(bruteForce(rows, base));
});

test('equal rows of a still scene are read together, each once', async () => {
  const count = blockRows + 500;
  const rows = rowsOf(new Float32Array(count * width).fill(1));
  const query = Float32Array.from(unitVector(new Float32Array(width).fill(1)));
  const found = await bestRows(roughScores(rows, query, 4), { query, top: 3, vectors: rows.vectors, around: alone });
  expect(found.map(({ row }) => row)).toEqual([0, 1, 2]);
  expect(rows.reads.reduce((sum, read) => sum + read, 0)).toBe(count);
  expect(rows.reads.length).toBeLessThan(5);
});

test('what lies around a better row is left out, across blocks too', async () => {
  const around: BestOptions['around'] = (row) => [Math.max(0, row - 2), Math.min(count, row + 3)];
  const count = blockRows + 10;
  const data = new Float32Array(count * width).fill(-1);
  for (const [row, value] of [
    [blockRows, 5],
    [blockRows - 1, 4],
    [blockRows + 2, 3],
    [blockRows - 3, 2],
  ] as const) {
    data.fill(-1, row * width, (row + 1) * width);
    data[row * width] = value;
  }
  const rows = rowsOf(data);
  const query = new Float32Array(width);
  query[0] = 1;
  const found = await bestRows(roughScores(rows, query, 5), { query, top: 2, vectors: rows.vectors, around });
  expect(found.map(({ row }) => row)).toEqual([blockRows, blockRows - 3]);
});

test('greedy answers equal those of a brute force for any gap', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 0, max: 9 }),
      fc.nat(99),
      async (count, gap, seed) => {
        const rows = randomRows(count, seed);
        const query = randomQuery(seed);
        const around: BestOptions['around'] = (row) => [Math.max(0, row - gap), Math.min(count, row + gap + 1)];
        const found = await bestRows(roughScores(rows, query, seed), { query, top: 8, vectors: rows.vectors, around });
        const expected: { row: number; score: number }[] = [];
        for (const one of bruteForce(rows, query)) {
          if (expected.length < 8 && expected.every(({ row }) => Math.abs(row - one.row) > gap)) expected.push(one);
        }
        expect(found).toEqual(expected);
      },
    ),
    { numRuns: 40 },
  );
});

test('fewer rows than asked for, and none at all', async () => {
  const rows = randomRows(3, 7);
  const query = randomQuery(7);
  const options = { query, top: 10, vectors: rows.vectors, around: alone };
  expect(await bestRows(roughScores(rows, query, 7), options)).toHaveLength(3);
  expect(await bestRows([], options)).toEqual([]);
});
