import { describe, expect, test } from 'vitest';
import { seededRandom } from '../random.js';
import { tensor } from '../tensor.js';
import {
  cosineLogits,
  FrameMean,
  mergeLabels,
  softmax,
  topClasses,
  ViewFusion,
  type ScoredLabel,
} from './class-scores.js';

const close = (values: Iterable<number>): unknown[] =>
  Array.from(values, (value) => expect.closeTo(value, 12) as unknown);

test('a softmax is that of the numbers less their largest: 1000 and 1001 do not overflow', () => {
  expect([...softmax([0, Math.log(3)])]).toEqual(close([0.25, 0.75]));
  expect([...softmax([1000, 1000 + Math.log(3)])]).toEqual(close([0.25, 0.75]));
  expect([...softmax([-1e300, 0])]).toEqual([0, 1]);
  expect([...softmax([5])]).toEqual([1]);
});

describe('two views, of probabilities 1/4, 3/4 and 9/10, 1/10', () => {
  const views = [
    [0, Math.log(3)],
    [Math.log(9), 0],
  ];
  const fused = (rule: ViewFusion['rule']) => {
    const fusion = new ViewFusion(rule);
    for (const view of views) fusion.add(view);
    return fusion.take();
  };

  test('softmax-mean averages the probabilities', () => {
    const { scores, logits } = fused('softmax-mean');
    expect([...scores]).toEqual(close([(0.25 + 0.9) / 2, (0.75 + 0.1) / 2]));
    expect([...logits]).toEqual(close([Math.log(9) / 2, Math.log(3) / 2]));
  });

  test('logit-mean averages the logits, then takes the softmax: 3 to sqrt 3', () => {
    const { scores, logits } = fused('logit-mean');
    const share = 3 / (3 + Math.sqrt(3));
    expect([...scores]).toEqual(close([share, 1 - share]));
    expect([...logits]).toEqual(close([Math.log(9) / 2, Math.log(3) / 2]));
  });

  test('the next window begins anew', () => {
    const fusion = new ViewFusion('softmax-mean');
    for (const view of views) {
      fusion.add(view);
      expect([...fusion.take().scores]).toEqual([...softmax(view)]);
    }
    expect(() => fusion.take()).toThrow(expect.objectContaining({ code: 'internal.bug' }) as Error);
  });
});

test('logits against texts are scale x cosine, whatever the length of the picture vector', () => {
  const classes = tensor('float32', [3, 5], Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, -1, 0, 0, 0));
  expect([...cosineLogits([3, 0, 0, 0, 4], classes, 10)]).toEqual(close([6, 8, 0]));
  expect([...cosineLogits([0.03, 0, 0, 0, 0.04], classes, 10)]).toEqual(close([6, 8, 0]));
  expect([...cosineLogits([0, 0, 0, 0, 0], classes, 10)].map(Math.abs)).toEqual([0, 0, 0]);
  expect(() => cosineLogits([1, 2], classes, 1)).toThrow(expect.objectContaining({ code: 'internal.bug' }) as Error);
});

test.each([1, 3, 4, 7, 16])('logits at width %d are those of the plain sum', (width) => {
  const random = seededRandom(4, `cosine ${width}`);
  const classes = tensor(
    'float32',
    [6, width],
    Float32Array.from({ length: 6 * width }, () => random.normal()),
  );
  const vector = Float32Array.from({ length: width }, () => random.normal());
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  const plain = Array.from({ length: 6 }, (_, c) =>
    vector.reduce((sum, value, i) => sum + (7 * value * classes.data[c * width + i]!) / length, 0),
  );
  expect([...cosineLogits(vector, classes, 7)]).toEqual(plain.map((value) => expect.closeTo(value, 10) as unknown));
});

test('vectors of frames are averaged as they are, before they are brought to unit length', () => {
  const mean = new FrameMean(2);
  expect(mean.add([10, 0])).toBeUndefined();
  expect([...mean.add([0, 1])!]).toEqual([5, 0.5]); // unit vectors would give equal parts
  expect(mean.add([1, 1])).toBeUndefined();
  expect([...mean.add([3, 5])!]).toEqual([2, 3]);
});

test('the best classes come by falling score, the lower number first of equal ones', () => {
  const scores = Float64Array.of(0.1, 0.3, 0.1, 0.3, 0.2);
  expect(topClasses(scores, 3, 0)).toEqual([1, 3, 4]);
  expect(topClasses(scores, 9, 0)).toEqual([1, 3, 4, 0, 2]);
  expect(topClasses(scores, 4, 0.2)).toEqual([1, 3, 4]);
  expect(topClasses(scores, 1, 0)).toEqual([1]);
  expect(topClasses(scores, 2, 0.5)).toEqual([]);
  const random = seededRandom(1, 'top');
  const many = Float64Array.from({ length: 500 }, () => random.integer(40));
  const sorted = [...many.keys()].sort((a, b) => many[b]! - many[a]! || a - b);
  for (const most of [1, 7, 500]) expect(topClasses(many, most, 0)).toEqual(sorted.slice(0, most));
});

describe('merging', () => {
  const window = (index: number, label: number, score: number, start: number, end: number): ScoredLabel => {
    return { index, start, end, label, score, logit: score * 10 };
  };

  test('neighbours with one label become one segment with mean score and logit', () => {
    const merged = mergeLabels([window(0, 7, 0.5, 0, 1), window(1, 7, 0.75, 1, 2), window(2, 3, 0.25, 2, 3)]);
    expect(merged).toEqual([
      { index: 0, start: 0, end: 2, label: 7, score: 0.625, logit: 6.25 },
      { index: 1, start: 2, end: 3, label: 3, score: 0.25, logit: 2.5 },
    ]);
  });

  test('of overlapping windows a segment begins where the one before it ends', () => {
    const merged = mergeLabels([
      window(0, 1, 1, 0, 2),
      window(1, 1, 1, 1, 3),
      window(2, 2, 1, 2, 4),
      window(3, 1, 1, 3, 5),
    ]);
    expect(merged.map(({ label, start, end }) => [label, start, end])).toEqual([
      [1, 0, 3],
      [2, 3, 4],
      [1, 4, 5],
    ]);
  });

  test('a segment of which nothing is left is dropped', () => {
    const merged = mergeLabels([window(0, 1, 1, 0, 5), window(1, 2, 1, 3, 5), window(2, 1, 1, 4, 6)]);
    expect(merged.map(({ index, label, start, end }) => [index, label, start, end])).toEqual([
      [0, 1, 0, 5],
      [1, 1, 5, 6],
    ]);
  });

  test('a window that was left out separates its neighbours', () => {
    expect(mergeLabels([window(0, 1, 1, 0, 1), window(2, 1, 1, 2, 3)])).toHaveLength(2);
    expect(mergeLabels([])).toEqual([]);
  });
});
