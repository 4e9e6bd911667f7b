import { expect, test } from 'vitest';
import { seededRandom } from '../../src/random.js';
import { clippedEdge, decodedBox, softmax32 } from './box-coder.js';
import { iou32, suppressedByClass } from './box-nms.js';

const flat = (...boxes: number[][]): Float32Array => Float32Array.from(boxes.flat());

test('a worse box falls where it overlaps by more than the threshold, not by as much', () => {
  const boxes = flat([0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 5.01]);
  const given = { boxes, scores: [3, 2, 1], classes: [0, 0, 0] };
  expect(suppressedByClass(given, 0.5)).toEqual([0, 1]);
  expect(suppressedByClass(given, 0.49)).toEqual([0]);
});

test('boxes of unlike classes stay, equal scores keep their order', () => {
  const boxes = flat([0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]);
  expect(suppressedByClass({ boxes, scores: [1, 1, 1], classes: [2, 1, 2] }, 0.5)).toEqual([0, 1]);
});

test('no boxes and boxes without area break nothing', () => {
  expect(suppressedByClass({ boxes: flat(), scores: [], classes: [] }, 0.5)).toEqual([]);
  const boxes = flat([5, 5, 5, 5], [5, 5, 5, 5]);
  expect(iou32(boxes, 0, 1)).toBeNaN();
  expect(suppressedByClass({ boxes, scores: [1, 2], classes: [0, 0] }, 0.5)).toEqual([1, 0]);
});

test('beyond the official limit the pass for each class picks what the pass over moved boxes picks', () => {
  const random = seededRandom(1, 'boxes');
  const count = 1001;
  const boxes = new Float32Array(4 * count);
  const [scores, classes] = [new Float32Array(count), new Int32Array(count)];
  for (let i = 0; i < count; i++) {
    const [x, y] = [random.integer(60), random.integer(60)];
    boxes.set([x, y, x + 1 + random.integer(20), y + 1 + random.integer(20)], 4 * i);
    scores[i] = random.uniform();
    classes[i] = random.integer(4);
  }
  const whole = suppressedByClass({ boxes, scores, classes }, 0.4);
  expect(whole.length).toBeLessThan(0.8 * count);
  // The worst box cannot suppress another one, so that without it (1000 boxes) the rest is picked alike.
  const worst = scores.indexOf(Math.min(...scores));
  const keep = [...scores.keys()].filter((i) => i !== worst);
  const fewer = suppressedByClass(
    {
      boxes: Float32Array.from(keep.flatMap((i) => [...boxes.subarray(4 * i, 4 * i + 4)])),
      scores: keep.map((i) => scores[i]!),
      classes: keep.map((i) => classes[i]!),
    },
    0.4,
  );
  expect(fewer.map((i) => keep[i])).toEqual(whole.filter((i) => i !== worst));
});

test('offsets of zero give the proposal back, growth is bounded', () => {
  const proposals = flat([10, 20, 30, 60]);
  const at = { proposal: 0, offset: 0 };
  const weights = [10, 10, 5, 5] as const;
  expect(decodedBox({ proposals, offsets: flat([0, 0, 0, 0]) }, at, weights)).toEqual([10, 20, 30, 60]);
  const [x1, , x2] = decodedBox({ proposals, offsets: flat([5, 0, 1e9, 0]) }, at, weights);
  expect((x1 + x2) / 2).toBeCloseTo(30, 3);
  expect(x2 - x1).toBeCloseTo(20 * (1000 / 16), 2);
});

test('edges are cut to the picture, softmax sums to 1 for logits of any size', () => {
  expect([-3, 5, 99].map((edge) => clippedEdge(edge, 50))).toEqual([0, 5, 50]);
  const shares = softmax32(Float32Array.of(1000, 999, -1000));
  expect(shares.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
  expect(shares[0]! / shares[1]!).toBeCloseTo(Math.E, 5);
});
