import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { handFeeds, handRecord, looksAtTokens } from './hand-task.js';
import { mirroredColumns } from './object-maps.js';
import { mirroredHands } from './train-hands.js';

test('in a mirror columns are reversed at every time and row, and twice is as before', () => {
  const tokens = tensor(
    'float32',
    [12, 2],
    Float32Array.from({ length: 24 }, (_, i) => i),
  );
  const once = mirroredColumns(tokens, 3);
  expect([...once.data.subarray(0, 12)]).toEqual([4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]);
  expect(mirroredColumns(once, 3).data).toEqual(tokens.data);
});

test('in a mirror the left hand is the right one, and what is not annotated stays so', () => {
  const points = [10, 20, 0, 0, 0, 30, 40, 0, ...new Array<number>(12).fill(0)];
  const once = mirroredHands({ points, size: [100, 50] });
  expect(once.points.slice(0, 8)).toEqual([0, 0, 90, 20, 60, 0, 100, 30]);
  expect(mirroredHands(once).points).toEqual(points);
});

const points = [[[0.5, 0.25]]];
const query = { ask: null, time: 2, frame: 60, size: [320, 240] } as const;
const numbersOf = (record: object | undefined): unknown =>
  (JSON.parse(JSON.stringify(record)) as { points: unknown }).points;

test.each([
  [true, 'pixels', [160, 60]],
  [true, 'normalized', [0.5, 0.25]],
  [false, 'pixels', [0.5, 0.25]],
  [false, 'normalized', [0.5 / 320, 0.25 / 240]],
] as const)('shares of the frame %s, wanted in %s', (isShares, space, place) => {
  const record = handRecord({ task: 'fhp', points }, query, { isShares, space });
  const [[[x, y]]] = numbersOf(record) as [[[{ value: number }, { value: number }]]];
  expect([x.value, y.value]).toEqual(place.map((value) => expect.closeTo(value, 9) as number));
  expect(record).not.toHaveProperty('id');
});

test('a head says by its inputs what it looks at, and refuses another number of tokens', () => {
  const port = (shape: (number | string)[]) => ({ dtype: 'float32', shape, meaning: '' }) as const;
  const onTokens = { family: 'hands', inputs: { tokens: port(['batch', 4, 2]) } };
  const onRows = { family: 'fhp-head', inputs: { features: port(['batch', 'rows', 2]) } };
  expect([looksAtTokens(onTokens), looksAtTokens(onRows)]).toEqual([true, false]);
  expect(handFeeds(onRows, tensor('float32', [3, 2], new Float32Array(6)))['features']!.shape).toEqual([1, 3, 2]);
  expect(() => handFeeds(onTokens, tensor('float32', [1, 3, 2], new Float32Array(6)))).toThrow(
    'hands expects 4 of them',
  );
});
