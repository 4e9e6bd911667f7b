import { expect, test } from 'vitest';
import { fitHead, named } from '../test/fit-head.js';
import { rational } from '../src/time.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import type { FeatureClock } from '../src/types.js';
import { pnrOscc } from './pnr-oscc.js';
import { stateTargets, type StateTruth } from './state-targets.js';

const [rows, width, clips] = [12, 6, 12];

/** Clips that go from one kind of row to another where the state changes, or stay as they are. */
function changingClips() {
  const random = seededRandom(11, 'clips');
  const features = Float32Array.from({ length: clips * rows * width }, () => 0.1 * random.normal());
  const truth = Array.from({ length: clips }, (_, clip): StateTruth => {
    const stateChange = clip % 3 !== 0;
    const middle = 2 + (rows - 5) * random.uniform();
    for (let row = 0; row < rows; row++) {
      const share = stateChange ? Math.min(Math.max(row - middle + 0.5, 0), 1) : 0;
      const at = (clip * rows + row) * width;
      features[at]! += 2 * (1 - share);
      features[at + 1]! += 2 * share;
    }
    return { stateChange, row: stateChange ? middle : null };
  });
  const mask = new Float32Array(clips * rows).fill(1);
  return {
    inputs: {
      features: tensor('float32', [clips, rows, width], features),
      mask: tensor('float32', [clips, rows], mask),
    },
    truth,
  };
}

test('learns when and whether a state changes, finer than the rows', async () => {
  const head = pnrOscc.spec({ dim: width, rows, hidden: 32, depth: 1 });
  const { inputs, truth } = changingClips();
  const targets = named({ ...stateTargets(truth, { rows }) });
  const { outputs } = await fitHead(head, { inputs, targets, held: inputs, steps: 100, rate: 6e-3 });
  const found = head.decode(outputs, { labels: {}, options: { first: 0.25, step: 0.5 }, clock: null });
  let error = 0;
  truth.forEach(({ stateChange, row }, clip) => {
    const [pnr, oscc] = found[clip]!;
    if (pnr?.task !== 'pnr' || oscc?.task !== 'oscc') throw new Error('expected both predictions');
    expect(oscc.stateChange).toBe(stateChange);
    if (row !== null) error = Math.max(error, Math.abs(pnr.time - (0.25 + 0.5 * row)));
  });
  expect(error).toBeLessThan(0.2);
});

const outputs = (logits: readonly number[], state: number) => ({
  pnr: tensor('float32', [1, logits.length], Float32Array.from(logits)),
  state: tensor('float32', [1], Float32Array.of(state)),
});

const when = (
  logits: readonly number[],
  options: Record<string, number | number[]>,
  clock: FeatureClock | null = null,
) => {
  const [prediction] = pnrOscc
    .spec({ dim: 1, rows: logits.length })
    .decode(outputs(logits, -1), { labels: {}, options, clock })[0]!;
  if (prediction?.task !== 'pnr') throw new Error('no time');
  return prediction.time;
};

test('the time lies between the rows that share the probability, and at an end on the row itself', () => {
  expect(when([-9, 3, 3.0001, -9, -9], { first: 0, step: 1 })).toBeGreaterThan(1.4);
  expect(when([-9, 3, 3.0001, -9, -9], { first: 0, step: 1 })).toBeLessThan(1.6);
  expect(when([5, 4, 0, 0, 0], { first: 0.5, step: 1 })).toBe(0.5);
});

test('times follow the clock of the features, or cut eight seconds evenly', () => {
  const clock: FeatureClock = { rate: rational(30), hop: 8, frames: 8, step: 2, tail: 'drop', rows: 0 };
  const logits = [-30, -30, 30, -30, -30];
  expect(when(logits, {}, clock)).toBeCloseTo(15 / 2 / 30 + (2 * 8) / 30, 6);
  expect(when(logits, {})).toBeCloseTo(4, 6);
  expect(when(logits, { first: [1], step: 2 })).toBeCloseTo(5, 6);
});

test('a list of first times of another length is refused', () => {
  expect(() => when([1, 2], { first: [1, 2] })).toThrow(/option `first`: expected seconds, or 1 of them/);
});

test('no part of the bell lies in the padding', () => {
  const { pnr } = stateTargets([{ stateChange: true, row: 9, count: 3 }], { rows: 5 });
  expect([...pnr.data.subarray(3)]).toEqual([0, 0]);
  expect(pnr.data.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
  expect(pnr.data.indexOf(Math.max(...pnr.data))).toBe(2);
});

test('the bell sums to 1, also at the ends and beyond them', () => {
  const { pnr, counted } = stateTargets(
    [
      { stateChange: true, row: 0 },
      { stateChange: true, row: 99 },
      { stateChange: false, row: null },
    ],
    { rows: 5 },
  );
  for (const clip of [0, 1, 2]) {
    expect(pnr.data.subarray(5 * clip, 5 * clip + 5).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
  }
  expect([...counted.data]).toEqual([1, 1, 0]);
  expect(pnr.data[9]).toBe(Math.max(...pnr.data.subarray(5, 10)));
});

test('padding is never the point of no return, and does not change the rest', async () => {
  const head = pnrOscc.spec({ dim: 2, rows: 6, hidden: 8, depth: 2 });
  const random = seededRandom(2, 'rows');
  const data = Float32Array.from({ length: 24 }, () => random.normal());
  data.set(data.subarray(0, 8), 12); // two clips that differ in their padding only
  const inputs = {
    features: tensor('float32', [2, 6, 2], data),
    mask: tensor('float32', [2, 6], Float32Array.of(1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0)),
  };
  const targets = named({
    ...stateTargets(
      [
        { stateChange: true, row: 1 },
        { stateChange: false, row: null },
      ],
      { rows: 6 },
    ),
  });
  const { outputs: found, losses } = await fitHead(head, { inputs, targets, held: inputs, steps: 1 });
  expect(losses[0]).toBeLessThan(5);
  const [first, second] = [found['pnr']!.data.subarray(0, 4), found['pnr']!.data.subarray(6, 10)];
  first.forEach((value, i) => {
    expect(value).toBeCloseTo(second[i]!, 5);
  });
  expect(found['state']!.data[0]).toBeCloseTo(found['state']!.data[1]!, 5);
  expect(Math.max(...found['pnr']!.data.subarray(4, 6))).toBeLessThan(Math.min(...first) - 20);
});
