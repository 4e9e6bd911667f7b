import { expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { tensor } from '../tensor.js';
import type { AnyTensor } from '../types.js';
import { asksAtOnce, runTogether } from './head-runs.js';

type Together = Parameters<typeof runTogether>[0];

/** Doubles what it is given, and remembers the shapes of its runs. */
function doubling(batch: string | number): { readonly session: Together; readonly runs: (readonly number[])[] } {
  const runs: (readonly number[])[] = [];
  const session: Together = {
    inputs: [{ name: 'x', dtype: 'float32', shape: [batch, 'rows'] }],
    run: ({ x }) => {
      if (x?.dtype !== 'float32') return Promise.reject(new EgolensError('internal.bug', 'no x'));
      runs.push(x.shape);
      return Promise.resolve({
        y: tensor(
          'float32',
          x.shape,
          x.data.map((value) => 2 * value),
        ),
      });
    },
  };
  return { session, runs };
}

const set = (...values: number[]): Readonly<Record<string, AnyTensor>> => ({
  x: tensor('float32', [1, values.length], Float32Array.from(values)),
});

test('neighbours of one shape share a run, and each gets its own outputs', async () => {
  const { session, runs } = doubling('batch');
  const found = await runTogether(session, [set(1, 2), set(3, 4), set(5), set(6, 7)], ['y']);
  expect(runs).toEqual([
    [2, 2],
    [1, 1],
    [1, 2],
  ]);
  expect(found.map(({ y }) => [y!.shape, [...y!.data]])).toEqual([
    [
      [1, 2],
      [2, 4],
    ],
    [
      [1, 2],
      [6, 8],
    ],
    [[1, 1], [10]],
    [
      [1, 2],
      [12, 14],
    ],
  ]);
});

test('a graph of batch 1 gets one set at a time', async () => {
  const { session, runs } = doubling(1);
  await runTogether(session, [set(1), set(2)], ['y']);
  expect(runs).toEqual([
    [1, 1],
    [1, 1],
  ]);
});

test('a run carries no more asks, and no more numbers, than it may', async () => {
  const many = doubling('batch');
  await runTogether(
    many.session,
    Array.from({ length: asksAtOnce + 3 }, () => set(1)),
    ['y'],
  );
  expect(many.runs.map(([count]) => count)).toEqual([asksAtOnce, 3]);
  const large = doubling('batch');
  const wide = { x: tensor('float32', [1, 1_500_000], new Float32Array(1_500_000)) };
  await runTogether(large.session, [wide, wide, wide], ['y']);
  expect(large.runs.map(([count]) => count)).toEqual([2, 1]);
});

test('no asks need no run', async () => {
  const { session, runs } = doubling('batch');
  expect(await runTogether(session, [], ['y'])).toEqual([]);
  expect(runs).toEqual([]);
});
