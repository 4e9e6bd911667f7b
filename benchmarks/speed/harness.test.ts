import { expect, test } from 'vitest';
import { alternate, pairRatios, spreadOf, valuesOf, type Step } from './harness.js';

const counting = (name: string, log: string[]): Step => ({
  name,
  run: () => Promise.resolve({ pass: log.push(name) }),
});

test('steps run in turn, and the warm-up does not count', async () => {
  const log: string[] = [];
  const samples = await alternate([counting('a', log), counting('b', log)], { rounds: 2 });
  expect(log.join('')).toBe('ababab');
  expect(valuesOf(samples, 'a', 'pass')).toEqual([3, 5]);
  expect(valuesOf(samples, 'b', 'pass')).toEqual([4, 6]);
});

test('an aborted signal stops before the next pass, with its own reason', async () => {
  const controller = new AbortController();
  const reason = new Error('stop');
  const log: string[] = [];
  const steps: Step[] = [
    counting('a', log),
    {
      name: 'b',
      run: () => {
        controller.abort(reason);
        return Promise.resolve({});
      },
    },
    counting('c', log),
  ];
  await expect(alternate(steps, { rounds: 3, signal: controller.signal })).rejects.toBe(reason);
  expect(log).toEqual(['a']);
});

test('the median of an even count lies between the two in the middle', () => {
  expect(spreadOf([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4 });
  expect(spreadOf([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 });
  expect(spreadOf([7])).toEqual({ median: 7, min: 7, max: 7 });
});

test('ratios are taken round by round: load that comes and goes between rounds cancels', () => {
  const load = [1, 3, 1.5];
  const ratios = pairRatios(
    load.map((x) => 120 * x),
    load.map((x) => 100 * x),
  );
  for (const ratio of ratios) expect(ratio).toBeCloseTo(1.2, 12);
  expect(() => pairRatios([1, 2], [1])).toThrow('2 measurements cannot be paired with 1');
});
