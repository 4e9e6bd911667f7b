import { expect, test } from 'vitest';
import { fitHead, named } from '../test/fit-head.js';
import type { BoxCorners } from '../src/models/forecasts.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { boxIou } from './box-feeds.js';
import { detectorTargets, type ObjectFrame } from './detector-targets.js';
import { scod } from './scod.js';

const [side, width] = [4, 6];
const size = [300, 240] as const;

/** Frames with boxes whose tokens are marked by their class, as far as the box covers them. */
function frames(count: number, classes: number) {
  const random = seededRandom(7, 'frames');
  const maps = Float32Array.from({ length: count * side * side * width }, () => 0.05 * random.normal());
  const items = Array.from({ length: count }, (_, frame): ObjectFrame => {
    const truths = Array.from({ length: classes === 1 ? 1 : 2 }, (_, i) => {
      const label = random.integer(classes);
      const [x, y] = [0.5 * i + 0.1 + 0.1 * random.uniform(), 0.1 + 0.5 * random.uniform()];
      const box: BoxCorners = [x * size[0], y * size[1], (x + 0.25) * size[0], (y + 0.3) * size[1]];
      for (let cell = 0; cell < side * side; cell++) {
        const [column, row] = [cell % side, Math.floor(cell / side)];
        const covered: BoxCorners = [
          (column / side) * size[0],
          (row / side) * size[1],
          ((column + 1) / side) * size[0],
          ((row + 1) / side) * size[1],
        ];
        const share = boxIou(box, covered) > 0 ? overlap(box, covered) : 0;
        maps[(frame * side * side + cell) * width + label]! += 3 * share;
      }
      return { box, label };
    });
    return { size, truths };
  });
  return { maps: tensor('float32', [count, 1, side, side, width], maps), items };
}

/** Share of the second box that the first covers. */
function overlap(a: BoxCorners, b: BoxCorners): number {
  const [w, h] = [Math.min(a[2], b[2]) - Math.max(a[0], b[0]), Math.min(a[3], b[3]) - Math.max(a[1], b[1])];
  return (w * h) / ((b[2] - b[0]) * (b[3] - b[1]));
}

test.each([1, 4])('learns to find boxes of %d class(es)', async (classes) => {
  const head = scod.spec({ dim: width, classes, grid: side, hidden: 24, depth: 1 });
  const { maps, items } = frames(4, classes);
  const targets = named({ ...detectorTargets(items, { grid: [2 * side, 2 * side], classes, radius: 1.5 }) });
  const { outputs, losses } = await fitHead(head, {
    inputs: { maps },
    targets,
    held: { maps },
    steps: 160,
    rate: 4e-3,
  });
  expect(losses[1]).toBeLessThan(losses[0]);
  const found = head.decode(outputs, { labels: {}, options: { sizes: [...size] }, clock: null });
  items.forEach(({ truths }, frame) => {
    for (const { box, label } of truths) {
      const best = found[frame]!.slice(0, truths.length).filter((one) => one.task === 'scod' && one.labelId === label);
      expect(Math.max(...best.map((one) => (one.task === 'scod' ? boxIou(one.box, box) : 0)))).toBeGreaterThan(0.7);
    }
  });
});

const grid = { grid: [4, 4], classes: 2, radius: 1.5 } as const;
const found = (frame: ObjectFrame) => {
  const { positive, class: labels } = detectorTargets([frame], grid);
  return [...positive.data].flatMap((one, place) => (one === 1 ? [[place, labels.data[2 * place + 1]]] : []));
};

test('places in and near the middle of a box find it, with the distances to its edges', () => {
  const frame: ObjectFrame = { size: [40, 40], truths: [{ box: [0, 0, 20, 20], label: 1 }] };
  expect(found(frame)).toEqual([
    [0, 1],
    [1, 1],
    [4, 1],
    [5, 1],
  ]);
  const { distances, centreness } = detectorTargets([frame], grid);
  expect([...distances.data.subarray(0, 8)]).toEqual([0.5, 0.5, 1.5, 1.5, 1.5, 0.5, 0.5, 1.5]);
  expect(centreness.data[0]).toBeCloseTo(1 / 3, 6);
});

test('of two boxes over one place the smaller one is found', () => {
  const truths = [
    { box: [20, 20, 30, 30], label: 1 },
    { box: [0, 0, 40, 40], label: 0 },
  ] as const;
  expect(found({ size: [40, 40], truths })).toContainEqual([10, 1]);
  expect(found({ size: [40, 40], truths: [...truths].reverse() })).toContainEqual([10, 1]);
  expect(found({ size: [40, 40], truths })).toContainEqual([5, 0]);
});

test('a box that lies between places, or outside the frame, breaks nothing', () => {
  expect(found({ size: [40, 40], truths: [{ box: [1, 1, 3, 3], label: 0 }] })).toEqual([[0, 0]]);
  expect(found({ size: [40, 40], truths: [{ box: [50, 50, 60, 60], label: 0 }] })).toEqual([]);
  const { distances } = detectorTargets([{ size: [40, 40], truths: [{ box: [1, 1, 3, 3], label: 0 }] }], grid);
  expect(distances.data.every((distance) => distance > 0)).toBe(true);
});

test('a frame in which nothing is found gives no boxes, and a batch without truths a finite loss', async () => {
  const head = scod.spec({ dim: 4, grid: 2, hidden: 8, depth: 1 });
  const inputs = { maps: tensor('float32', [1, 1, 2, 2, 4], new Float32Array(16)) };
  const targets = named({
    ...detectorTargets([{ size: [8, 8], truths: [] }], { grid: [4, 4], classes: 1, radius: 1.5 }),
  });
  const { losses, outputs } = await fitHead(head, { inputs, targets, held: inputs, steps: 30, rate: 1e-2 });
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(head.decode(outputs, { labels: {}, options: { sizes: [8, 8], min_score: 0.3 }, clock: null })).toEqual([[]]);
});
