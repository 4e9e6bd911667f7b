import { expect, test } from 'vitest';
import { fitHead, named } from '../test/fit-head.js';
import type { BoxCorners } from '../src/models/forecasts.js';
import type { JsonValue } from '../src/json.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { boxRows } from './box-feeds.js';
import { windowMap } from './interaction-feeds.js';
import { interactionTargets, type InteractionTruth } from './interaction-targets.js';
import { roiFactors } from './roi-align.js';
import { boxFeeds, staRoi, staRoiStep, type BoxedPicture } from './sta-roi.js';
import { boxCodes } from './sta-roi-head.js';

const [side, width, nouns, verbs, slots] = [6, 12, 4, 3, 3];
const [times, step] = [26, staRoiStep];
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
  const inputs = { map, pooled, ...boxFeeds(items, { slots, grid: [side, side], output: 2, nouns }) };
  const targets = named({ ...interactionTargets(items, { slots, nouns, verbs, times, step }) });
  const { losses, outputs } = await fitHead(head, { inputs, targets, held: inputs, steps: 120, rate: 5e-3 });
  expect(losses[1]).toBeLessThan(losses[0] / 3);
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
    { slots: 4, nouns: 2, verbs: 3, times: 10, step: 0.1 },
  );
  expect([...targets.positive.data]).toEqual([1, 1, 0, 0, 0, 0, 0, 0]);
  expect([...targets.counted.data]).toEqual([1, 1, 1, 0, 0, 0, 0, 0]);
  expect([...targets.noun.data.subarray(0, 6)]).toEqual([0, 1, 0, 1, 0, 0]);
  // 0.5 s lies between two steps of a tenth: they share most of it.
  const shares = [...targets.contact.data.subarray(0, 10)];
  expect(shares[4]).toBeCloseTo(shares[5]!, 6);
  expect(shares.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
  expect(shares[1]).toBe(0);
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
  const { boxes, places, hints } = boxFeeds(items, { slots: 1, grid: [side, side], output: 2, nouns: 3 });
  expect([...boxes.data]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 60, 60, 2, 0.5]);
  expect([...places.data.subarray(4)]).toEqual([0, 0, 0.5, 0.5]);
  expect([...hints.data]).toEqual([0, 0, 0, 0, 0, 0.5]);
});

test('several times, verbs and nouns of a box come by falling score, under the ids of the data set, none later than asked', () => {
  const head = staRoi.spec({ dim: 2, nouns: 2, verbs: 2, grid: 2, roi_resolution: 1, hidden: 4 });
  const contact = new Float32Array(times).fill(-20);
  contact.fill(4, 3, 6); // 0.3 to 0.6 s
  contact.fill(3, 18, 21); // 1.8 to 2.1 s
  const outputs = {
    noun: tensor('float32', [1, 1, 2], Float32Array.of(2, 0)),
    verb: tensor('float32', [1, 1, 2], Float32Array.of(0, 1)),
    contact: tensor('float32', [1, 1, times], contact),
    chosen: tensor('float32', [1, 1], Float32Array.of(9)),
    box: boxRows([[{ box: [1, 2, 3, 4], score: 0.5 }]], 1),
  };
  const decode = (options: Record<string, JsonValue>) =>
    head.decode(outputs, { labels: {}, options, clock: null })[0]!.flatMap((one) => (one.task === 'sta' ? [one] : []));
  const found = decode({ noun_ids: [17, 4], verb_ids: [8, 30], max_detections: 20 });
  expect(found).toHaveLength(8);
  expect(found[0]).toMatchObject({ nounId: 17, verbId: 30 });
  expect(found[0]!.timeToContact).toBeCloseTo(0.45, 5);
  expect(found[0]!.score).toBeCloseTo(0.5 * 0.8808 * 0.7311 * 0.7311, 3);
  const scores = found.map(({ score }) => score);
  expect(scores).toEqual([...scores].sort((a, b) => b - a));
  const early = decode({ max_time: 1, max_detections: 20 });
  expect(early.map(({ timeToContact }) => timeToContact < 1)).toEqual([true, true, true, true]);
  expect(decode({})).toHaveLength(5);
  expect(() => decode({ noun_ids: [1, 2, 3] })).toThrow(/option `noun_ids`: expected 2 whole numbers/);
});

test('windows of another number of tokens or another width are refused, those of several times give the last one and the mean', () => {
  const head = staRoi.spec({ dim: 2, nouns: 2, verbs: 2, grid: [1, 2], roi_resolution: 1, hidden: 4 });
  const rows = Float32Array.of(1, 10, 2, 20, 3, 30, 4, 40);
  expect([...windowMap(head, tensor('float32', [4, 2], rows)).data]).toEqual([3, 30, 4, 40, 2.5, 25]);
  expect(() => windowMap(head, tensor('float32', [8, 1], rows))).toThrow(/expects a multiple of 1 x 2 tokens of 2/);
  expect(() => windowMap(head, tensor('float32', [3, 2], rows.subarray(2)))).toThrow(/windows of 3 tokens/);
});
