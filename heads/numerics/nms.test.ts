import { expect, test } from 'vitest';
import { seededRandom } from '../../src/random.js';
import { hardNms, softNms, suppress, voteSegments, type SuppressionOptions } from './nms.js';
import { pickSegments, type Segments } from './segments.js';

/** Rows of start, end, score and label. */
function segmentsOf(rows: readonly (readonly [start: number, end: number, score: number, label?: number])[]): Segments {
  return {
    start: Float32Array.from(rows, ([start]) => start),
    end: Float32Array.from(rows, ([, end]) => end),
    score: Float32Array.from(rows, ([, , score]) => score),
    label: Int32Array.from(rows, ([, , , label = 0]) => label),
  };
}

function randomSegments(count: number, classes: number, seed = 1): Segments {
  const random = seededRandom(seed, 'segments');
  return segmentsOf(
    Array.from({ length: count }, () => {
      const start = 500 * random.uniform();
      return [start, start + 0.5 + 20 * random.uniform(), random.uniform(), random.integer(classes)] as const;
    }),
  );
}

const soft: SuppressionOptions = {
  method: 'soft',
  sigma: 0.9,
  overlapFrom: 0.1,
  minScore: 0.001,
  most: 2000,
  perClass: true,
  votingFrom: 0,
};
const gaussian = { decay: 'gaussian', sigma: 0.5, overlapFrom: 0.5, minScore: 0.001 } as const;

test('overlapping segments lose score by exp(-IoU^2 / sigma), others none', () => {
  const { index, score } = softNms(
    segmentsOf([
      [0, 10, 0.9],
      [0, 5, 0.8],
      [20, 30, 0.7],
    ]),
    gaussian,
  );
  expect([...index]).toEqual([0, 2, 1]);
  expect(score[2]).toBeCloseTo(0.8 * Math.exp(-0.25 / 0.5), 6);
  expect([score[0], score[1]]).toEqual([Math.fround(0.9), Math.fround(0.7)]);
});

test.each([
  ['linear', 0.4],
  ['cut', 0],
] as const)('with %s decay half an overlap leaves %f of a score of 0.8', (decay, expected) => {
  const segments = segmentsOf([
    [0, 10, 0.9],
    [0, 5, 0.8],
    [0, 4, 0.3],
  ]);
  const { index, score } = softNms(segments, { decay, sigma: 1, overlapFrom: 0.45, minScore: 0 });
  // The third overlaps the first by 0.4, below the threshold, and the second by 0.8.
  expect(score[[...index].indexOf(1)]).toBeCloseTo(expected, 5);
});

test('the first pick stays even below the least score, and all others below it go', () => {
  const { index } = softNms(
    segmentsOf([
      [0, 1, 0.01],
      [5, 6, 0.05],
      [8, 9, 0.02],
    ]),
    { ...gaussian, minScore: 0.1 },
  );
  expect([...index]).toEqual([1]);
});

test('equal scores go by the order that removals left: the last one takes the place of one that falls out', () => {
  const { index } = softNms(
    segmentsOf([
      [0, 10, 0.9],
      [0, 10, 0.2],
      [20, 21, 0.5],
      [30, 31, 0.5],
    ]),
    { decay: 'cut', sigma: 1, overlapFrom: 0.5, minScore: 0.01 },
  );
  expect([...index]).toEqual([0, 3, 2]);
});

test('a limit gives the beginning of the whole list', () => {
  const segments = randomSegments(300, 1);
  const whole = softNms(segments, gaussian);
  const cut = softNms(segments, { ...gaussian, most: 40 });
  expect([...cut.index]).toEqual([...whole.index.subarray(0, 40)]);
  expect([...cut.score]).toEqual([...whole.score.subarray(0, 40)]);
  expect([...whole.score]).toEqual([...whole.score].sort((a, b) => b - a));
});

test('hard suppression falls from an overlap equal to the threshold on; equal scores by place', () => {
  const segments = segmentsOf([
    [0, 10, 0.5],
    [10, 20, 0.5],
    [0, 5, 0.4],
    [12, 20, 0.3],
  ]);
  // No overlap is an overlap of 0.
  expect([...hardNms(segments, { overlapFrom: 0 })]).toEqual([0]);
  // 5 / (10 + 5 + 2e-6 - 5) in float32 is below a half.
  expect([...hardNms(segments, { overlapFrom: 0.5 })]).toEqual([0, 1, 2]);
  expect([...hardNms(segments, { overlapFrom: 0.49 })]).toEqual([0, 1]);
  expect([...hardNms(segments, { overlapFrom: 0.5, most: 1 })]).toEqual([0]);
});

test('suppression within classes is that of each class on its own, by falling score', () => {
  const all = randomSegments(400, 7);
  const found = suppress(all, soft);
  expect([...found.score]).toEqual([...found.score].sort((a, b) => b - a));
  for (let label = 0; label < 7; label++) {
    const places = [...all.label.keys()].filter((i) => all.label[i] === label);
    const own = suppress(pickSegments(all, places), { ...soft, perClass: false });
    const same = [...found.label.keys()].filter((i) => found.label[i] === label);
    expect([...pickSegments(found, same).start]).toEqual([...own.start]);
  }
});

test('hard suppression drops scores at the least one before; without method nothing is done', () => {
  const all = segmentsOf([
    [0, 1, 0.25, 0],
    [5, 6, 0.5, 1],
  ]);
  const hard = { ...soft, method: 'hard', minScore: 0.25 } as const;
  expect([...suppress(all, hard).label]).toEqual([1]);
  expect(suppress(all, { ...soft, method: 'none' })).toBe(all);
  expect(suppress(segmentsOf([]), hard).score).toHaveLength(0);
});

test('votes pull the ends of a segment to those that overlap it, by score times IoU', () => {
  const all = segmentsOf([
    [0, 10, 0.8],
    [0, 8, 0.4],
    [50, 60, 0.9],
  ]);
  const { start, end, score } = voteSegments(pickSegments(all, [0]), all, 0.7);
  expect(start[0]).toBe(0);
  expect(end[0]).toBeCloseTo((0.8 * 10 + 0.4 * 0.8 * 8) / (0.8 + 0.4 * 0.8), 5);
  expect(score[0]).toBe(Math.fround(0.8));
});

test('a segment of no length keeps its place where the original divides 0 by 0', () => {
  const all = segmentsOf([[3, 3, 0.5]]);
  expect([...voteSegments(all, all, 0.5).start]).toEqual([3]);
});

test('votes are only counted where suppression went over all classes', () => {
  const all = segmentsOf([
    [0, 10, 0.8],
    [0, 8, 0.4],
  ]);
  expect(suppress(all, { ...soft, votingFrom: 0.7 }).end[0]).toBe(10);
  expect(suppress(all, { ...soft, perClass: false, votingFrom: 0.7 }).end[0]).toBeLessThan(10);
});

test('5,000 segments of 110 classes take less than 50 ms of the processor', () => {
  const all = randomSegments(5000, 110);
  const times = Array.from({ length: 7 }, () => {
    const begun = process.cpuUsage();
    suppress(all, soft);
    const { user, system } = process.cpuUsage(begun);
    return (user + system) / 1000;
  });
  expect(Math.min(...times)).toBeLessThan(50);
});
