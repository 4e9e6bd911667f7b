import { expect, test } from 'vitest';
import { fitHead, named } from '../test/fit-head.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { handPrior, handTargets, keyFrames, type AnnotatedHands } from './hand-points.js';
import { hands, priorParameter } from './hands.js';

const [slots, side, width, clips] = [2, 4, 8, 6];
const size = [320, 240] as const;

/** Clips in which two marked tokens move evenly over a grid, and the places where the motion leads. */
function movingHands(): { readonly tokens: Float32Array<ArrayBuffer>; readonly truth: AnnotatedHands[] } {
  const random = seededRandom(3, 'hands');
  const tokens = Float32Array.from({ length: clips * slots * side * side * width }, () => 0.1 * random.normal());
  const truth = Array.from({ length: clips }, (_, clip): AnnotatedHands => {
    const points = new Array<number>(4 * keyFrames).fill(0);
    for (const hand of [0, 1]) {
      const [x, y] = [random.integer(side), random.integer(side)];
      const [dx, dy] = [random.integer(3) - 1, random.integer(3) - 1];
      for (let slot = 0; slot < slots; slot++) {
        const cell = [x + dx * slot, y + dy * slot].map((place) => Math.min(Math.max(place, 0), side - 1));
        const token = (clip * slots + slot) * side * side + cell[1]! * side + cell[0]!;
        tokens[token * width + hand]! += 3;
      }
      for (let frame = 0; frame < keyFrames; frame++) {
        points[4 * frame + 2 * hand] = ((x + 0.5) / side) * size[0] + 12 * dx * frame;
        points[4 * frame + 2 * hand + 1] = ((y + 0.5) / side) * size[1] + 9 * dy * frame;
      }
    }
    // The left hand of the first clip is never seen.
    return { points: clip === 0 ? points.map((value, i) => (i % 4 < 2 ? 0 : value)) : points, size };
  });
  return { tokens, truth };
}

test('learns where moving hands will be, and which are in view', async () => {
  const head = hands.spec({ dim: width, grid: [slots, side, side], hidden: 32 });
  const { tokens, truth } = movingHands();
  const inputs = { tokens: tensor('float32', [clips, slots * side * side, width], tokens) };
  const targets = handTargets(truth);
  const prior = handPrior(targets);
  const { outputs, losses } = await fitHead(head, {
    inputs,
    targets: named({ ...targets }),
    held: inputs,
    steps: 120,
    rate: 6e-3,
    weights: new Map([[priorParameter, prior]]),
  });
  expect(losses[1]).toBeLessThan(losses[0] / 10);
  const found = head.decode(outputs, { labels: {}, options: { sizes: [...size] }, clock: null }).flat();
  const distances = { head: 0, blind: 0, count: 0 };
  truth.forEach(({ points }, clip) => {
    const prediction = found[clip]!;
    if (prediction.task !== 'fhp') throw new Error(prediction.task);
    const visible = prediction.visible!.flat();
    for (let hand = 0; hand < 2 * keyFrames; hand++) {
      const [x, y] = [points[2 * hand]!, points[2 * hand + 1]!];
      const isThere = x !== 0 || y !== 0;
      expect(visible[hand]! > 0.5).toBe(isThere);
      if (!isThere) continue;
      const [px, py] = prediction.points.flat()[hand] as [number, number];
      distances.head += Math.hypot(px - x, py - y);
      distances.blind += Math.hypot(prior.data[2 * hand]! * size[0] - x, prior.data[2 * hand + 1]! * size[1] - y);
      distances.count++;
    }
  });
  expect(distances.blind / distances.count).toBeGreaterThan(60);
  expect(distances.head / distances.count).toBeLessThan(10);
});

test('a hand at (0, 0) is not annotated, one on an edge is', () => {
  const points = [0, 0, 0, 12, ...new Array<number>(16).fill(0)];
  const { mask } = handTargets([{ points, size: [100, 50] }]);
  expect([...mask.data.subarray(0, 4)]).toEqual([0, 0, 1, 1]);
  expect(mask.data.subarray(4).every((value) => value === 0)).toBe(true);
});

test('the prior is the mean over annotated hands, and the middle where there is none', () => {
  const at = (x: number, y: number): AnnotatedHands => ({
    points: [x, y, ...new Array<number>(18).fill(0)],
    size: [100, 100],
  });
  const { data } = handPrior(handTargets([at(10, 20), at(30, 40), at(0, 0)]));
  expect(data[0]).toBeCloseTo(0.2, 6);
  expect(data[1]).toBeCloseTo(0.3, 6);
  expect([...data.subarray(2, 4)]).toEqual([0.5, 0.5]);
});

test('frames without a size are refused by the name of the option', () => {
  const head = hands.spec({ dim: 4, grid: [1, 1, 1], hidden: 8 });
  const outputs = {
    points: tensor('float32', [1, 5, 4], new Float32Array(20)),
    visible: tensor('float32', [1, 5, 2], new Float32Array(10)),
  };
  const decode = (options: Record<string, never[] | number[]>) => () =>
    head.decode(outputs, { labels: {}, options, clock: null });
  expect(decode({})).toThrow(/option `sizes`: expected \[width, height\] in pixels, or 1 of them, found nothing/);
  expect(decode({ sizes: [0, 5] })).toThrow(/option `sizes`/);
});

test.each([
  ['grid', { dim: 4 }, /`grid`: expected 3 whole numbers/],
  ['heads', { dim: 4, grid: [1, 2, 2], hidden: 9, heads: 2 }, /`heads`: expected a divisor of the 9 channels/],
  ['tokens', { dim: 4, grid: [4096, 4096, 4096] }, /`grid`: expected at most/],
])('a configuration with a wrong %s is refused', (_, config, message) => {
  expect(() => hands.spec(config)).toThrow(message);
});
