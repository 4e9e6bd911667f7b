import { expect, test } from 'vitest';
import { fitHead, named } from '../test/fit-head.js';
import type { BoxCorners } from '../src/models/forecasts.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { interactionTargets, type InteractionTruth } from './interaction-targets.js';
import { roiFactors } from './roi-align.js';
import { boxFeeds, staRoi, type BoxedPicture } from './sta-roi.js';
import { boxCodes } from './sta-roi-head.js';

const [side, width, nouns, verbs, slots] = [6, 12, 4, 3, 3];
const size = [120, 120] as const;

/** Pictures with three boxes: what lies under a box is its noun, the clip tells verb, time, and by the mark of one box which is next. */
function pictures(count: number) {
  const random = seededRandom(5, 'pictures');
  const map = Float32Array.from({ length: count * side * side * width }, () => 0.05 * random.normal());
  const pooled = new Float32Array(count * width);
  const items = Array.from({ length: count }, (_, picture) => {
    const [verb, time] = [random.integer(verbs), 0.3 + 1.5 * random.uniform()];
    pooled[picture * width + verb] = 2;
    pooled[picture * width + verbs] = time;
    const chosen = random.integer(3);
    const truths: InteractionTruth[] = [];
    const boxes = [0, 1, 2].map((i) => {
      const noun = random.integer(nouns);
      const row = random.integer(side - 1);
      const box: BoxCorners = [40 * i, 20 * row, 40 * i + 38, 20 * row + 38];
      for (const [dx, dy] of [
        [0, 0],
        [1, 0],
        [0, 1],
        [1, 1],
      ] as const) {
        const cell = (picture * side + row + dy) * side + 2 * i + dx;
        map[cell * width + noun] = 2;
        if (i === chosen) map[cell * width + nouns] = 2;
      }
      if (i === chosen) truths.push({ box, noun, verb, contact: time });
      return { box, score: 0.9 };
    });
    return { size, boxes, truths };
  });
  return {
    map: tensor('float32', [count, side, side, width], map),
    pooled: tensor('float32', [count, width], pooled),
    items,
  };
}

test('learns noun, verb, time and which of the boxes is next', async () => {
  const head = staRoi.spec({ dim: width, nouns, verbs, grid: side, roi_resolution: 2, hidden: 32 });
  const { map, pooled, items } = pictures(12);
  const inputs = { map, pooled, ...boxFeeds(items, { slots, grid: [side, side], output: 2 }) };
  const targets = named({ ...interactionTargets(items, { slots, nouns, verbs }) });
  const { losses, outputs } = await fitHead(head, { inputs, targets, held: inputs, steps: 120, rate: 5e-3 });
  expect(losses[1]).toBeLessThan(0.1);
  const found = head.decode(outputs, { labels: { noun: ['a', 'b', 'c', 'd'] }, options: {}, clock: null });
  items.forEach(({ truths: [truth] }, picture) => {
    const best = found[picture]![0]!;
    if (best.task !== 'sta') throw new Error(best.task);
    expect(best).toMatchObject({
      nounId: truth!.noun,
      noun: 'abcd'[truth!.noun],
      verbId: truth!.verb,
      verb: String(truth!.verb),
    });
    expect([...best.box]).toEqual([...truth!.box]);
    expect(Math.abs(best.timeToContact - truth!.contact)).toBeLessThan(0.2);
    const scores = found[picture]!.flatMap((one) => (one.task === 'sta' ? [one.score] : []));
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
  });
});

test('a box stands for the truth that it overlaps by half or more, else for none', () => {
  const truths: InteractionTruth[] = [{ box: [0, 0, 10, 10], noun: 1, verb: 2, contact: 0.5 }];
  const boxes = [
    { box: [0, 0, 10, 10], score: 1 },
    { box: [0, 0, 10, 5], score: 1 },
    { box: [0, 0, 10, 4.9], score: 1 },
  ] as const;
  const targets = interactionTargets(
    [
      { boxes, truths },
      { boxes: [], truths },
    ],
    { slots: 4, nouns: 2, verbs: 3 },
  );
  expect([...targets.positive.data]).toEqual([1, 1, 0, 0, 0, 0, 0, 0]);
  expect([...targets.counted.data]).toEqual([1, 1, 1, 0, 0, 0, 0, 0]);
  expect([...targets.noun.data.subarray(0, 6)]).toEqual([0, 1, 0, 1, 0, 0]);
});

test('bins of a whole map are means of its places; a box without a side gives zeros', () => {
  const boxes: BoxCorners[] = [
    [0, 0, 4, 2],
    [1, 1, 1, 1],
    [3, 0, 1, 2],
  ];
  const { rows, columns } = roiFactors([boxes], 3, { grid: [2, 4], scale: [1, 1], output: 2, sampling: 0 });
  expect([...columns.data.subarray(0, 8)]).toEqual([0.5, 0.5, 0, 0, 0, 0, 0.5, 0.5]);
  expect([...rows.data.subarray(0, 4)]).toEqual([1, 0, 0, 1]);
  expect(rows.data.subarray(4, 8).every((share) => share === 0)).toBe(true);
  expect(columns.data.subarray(16).every((share) => share === 0)).toBe(true);
});

test('a box as wide as a number can be is no endless work', () => {
  const { columns } = roiFactors([[[-1e30, 0, 1e30, 2]]], 1, { grid: [2, 4], scale: [1, 1], output: 2, sampling: 0 });
  expect(columns.data.every((share) => Number.isFinite(share))).toBe(true);
});

test('codes of places add the rows of the sinusoid table at the edges', () => {
  const { data, shape } = boxCodes(
    [
      [
        [0, 0, 0, 0.9],
        [0, 0, 0, 1],
      ],
    ],
    { slots: 3, width: 4 },
  );
  expect(shape).toEqual([1, 3, 4]);
  expect([...data.subarray(0, 4)]).toEqual([0, 4, 0, 4]);
  expect(data[4]).toBeCloseTo(Math.sin(1), 6);
  expect([...data.subarray(8)]).toEqual([0, 0, 0, 0]);
});

test('pictures of unlike numbers of boxes come as rows with padding of score 0', () => {
  const items: BoxedPicture[] = [
    { size, boxes: [] },
    { size, boxes: [{ box: [0, 0, 60, 60], noun: 2, score: 0.5 }] },
  ];
  const { boxes, places } = boxFeeds(items, { slots: 1, grid: [side, side], output: 2 });
  expect([...boxes.data]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 60, 60, 2, 0.5]);
  expect([...places.data.subarray(4)]).toEqual([0, 0, 0.5, 0.5]);
});
