import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cocoFigures, cocoPrecisions, cocoThresholds, matchCoco, type CocoBoxes } from './coco.js';

type Sized = readonly [x: number, y: number, width: number, height: number];
interface Picture {
  readonly truths: readonly { readonly box: Sized; readonly isCrowd?: boolean; readonly id?: number }[];
  readonly detections: readonly { readonly box: Sized; readonly score: number }[];
}

function boxesOf(pictures: readonly Picture[]): CocoBoxes {
  const truths = pictures.flatMap((picture) => picture.truths);
  const detections = pictures.flatMap((picture) => picture.detections);
  const starts = (counts: readonly number[]): Int32Array => {
    const start = new Int32Array(counts.length + 1);
    counts.forEach((count, i) => (start[i + 1] = start[i]! + count));
    return start;
  };
  return {
    images: pictures.length,
    truthStart: starts(pictures.map((picture) => picture.truths.length)),
    truths: Float64Array.from(truths.flatMap(({ box }) => box)),
    truthArea: Float64Array.from(truths, ({ box }) => box[2] * box[3]),
    crowd: Uint8Array.from(truths, ({ isCrowd }) => (isCrowd === true ? 1 : 0)),
    unseen: Uint8Array.from(truths, ({ id }) => (id === 0 ? 1 : 0)),
    detectionStart: starts(pictures.map((picture) => picture.detections.length)),
    detections: Float64Array.from(detections.flatMap(({ box }) => box)),
    scores: Float64Array.from(detections, ({ score }) => score),
  };
}

const box: Sized = [10, 10, 40, 40];

test('a perfect result is one rounding step below 1, as in the library', () => {
  const { stats } = cocoFigures([matchCoco(boxesOf([{ truths: [{ box }], detections: [{ box, score: 0.9 }] }]))]);
  expect(stats.AP50).toBe(0.9999999999999999);
  expect(stats['AR@1']).toBe(1);
  expect(stats.APs).toBe(-1);
});

test('everything is -1 without truth', () => {
  const { stats } = cocoFigures([matchCoco(boxesOf([{ truths: [], detections: [{ box, score: 0.9 }] }]))]);
  expect(new Set(Object.values(stats))).toEqual(new Set([-1]));
});

test('a crowd takes any number of detections, and none of them counts', () => {
  const crowd: Picture = {
    truths: [{ box: [0, 0, 100, 100], isCrowd: true }, { box: [200, 200, 40, 40] }],
    detections: [
      { box: [10, 10, 40, 40], score: 0.9 },
      { box: [50, 50, 40, 40], score: 0.8 },
      { box: [200, 200, 40, 40], score: 0.7 },
    ],
  };
  expect(cocoFigures([matchCoco(boxesOf([crowd]))]).stats.AP).toBeCloseTo(1, 12);
});

test('a truth with id 0 is taken and still missed', () => {
  const zero: Picture = { truths: [{ box, id: 0 }], detections: [{ box, score: 0.9 }] };
  expect(cocoFigures([matchCoco(boxesOf([zero]))]).stats.AP).toBe(0);
});

test('only the hundred best detections of an image are looked at', () => {
  const detections = Array.from({ length: 100 }, () => ({ box: [500, 500, 40, 40] as const, score: 0.9 }));
  const picture: Picture = { truths: [{ box }], detections: [...detections, { box, score: 0.1 }] };
  expect(cocoFigures([matchCoco(boxesOf([picture]))]).stats['AR@100']).toBe(0);
});

const side = fc.integer({ min: 1, max: 12 }).map((n) => n * 10);
const sized = fc.tuple(
  fc.integer({ min: 0, max: 4 }).map((n) => n * 10),
  fc.constant(0),
  side,
  side,
);
const pictures = fc.array(
  fc.record({
    truths: fc.array(fc.record({ box: sized, isCrowd: fc.boolean() }), { maxLength: 3 }),
    detections: fc.array(fc.record({ box: sized, score: fc.constantFrom(0.1, 0.2, 0.3, 0.4, 0.5) }), { maxLength: 5 }),
  }),
  { minLength: 1, maxLength: 4 },
);

test('the later of equal scores comes first when asked, within an image and across images', () => {
  const far: Sized = [500, 500, 40, 40];
  const spread = (list: readonly Picture[]): number[] =>
    (['first', 'last'] as const).map((ties) => cocoPrecisions([matchCoco(boxesOf(list), ties)]).AP50);
  const hit = { box, score: 0.5 };
  const miss = { box: far, score: 0.5 };
  const [first, last] = spread([{ truths: [{ box }], detections: [hit, miss] }]);
  expect(first).toBeCloseTo(1, 12);
  expect(last).toBeCloseTo(0.5, 12);
  const across = spread([
    { truths: [{ box }], detections: [hit] },
    { truths: [], detections: [miss] },
  ]);
  expect(across).toEqual([first, last]);
});

test('AP and recall equal the definition, tried on small random images', () => {
  fc.assert(
    fc.property(pictures, (list) => {
      const figures = cocoFigures([matchCoco(boxesOf(list))]);
      cocoThresholds.forEach((threshold, t) => {
        const { ap, recall } = definition(list, threshold);
        expect(figures.ap[t]).toBeCloseTo(ap, 12);
        expect(figures.recall[t]).toBeCloseTo(recall, 12);
      });
    }),
  );
});

test('drawing every image once changes nothing, and drawing all twice keeps recall', () => {
  fc.assert(
    fc.property(pictures, (list) => {
      const matches = [matchCoco(boxesOf(list))];
      const once = new Int32Array(list.length).fill(1);
      const { AP, AP50, AP75 } = cocoFigures(matches).stats;
      expect(cocoPrecisions(matches, once)).toEqual({ AP, AP50, AP75 });
      expect(cocoFigures(matches, once.fill(2)).stats['AR@100']).toBeCloseTo(cocoFigures(matches).stats['AR@100'], 12);
    }),
  );
});

/** One threshold over all areas, written as the library's definition says. */
function definition(list: readonly Picture[], threshold: number): { ap: number; recall: number } {
  const flags = list.flatMap(({ truths, detections }) => {
    const taken = new Set<number>();
    return [...detections]
      .sort((a, b) => b.score - a.score)
      .map((detection) => {
        const pick = (isCrowd: boolean): number | undefined => {
          const possible = truths
            .map((truth, t) => ({ t, iou: overlap(detection.box, truth.box, truth.isCrowd === true), truth }))
            .filter(
              ({ t, iou, truth }) =>
                (truth.isCrowd === true) === isCrowd && iou >= threshold && (isCrowd || !taken.has(t)),
            );
          const best = Math.max(...possible.map(({ iou }) => iou));
          return possible.filter(({ iou }) => iou === best).at(-1)?.t;
        };
        const regular = pick(false);
        if (regular !== undefined) taken.add(regular);
        return {
          score: detection.score,
          hit: regular !== undefined,
          ignored: regular === undefined && pick(true) !== undefined,
        };
      });
  });
  const positives = list.flatMap(({ truths }) => truths).filter(({ isCrowd }) => isCrowd !== true).length;
  if (positives === 0) return { ap: -1, recall: -1 };
  const counted = flags.sort((a, b) => b.score - a.score).filter(({ ignored }) => !ignored);
  let [hits, misses] = [0, 0];
  const points = counted.map(({ hit }) => {
    if (hit) hits++;
    else misses++;
    return { recall: hits / positives, precision: hits / (hits + misses + 2 ** -52) };
  });
  const at = Array.from({ length: 101 }, (_, i) => {
    const reached = points.findIndex(({ recall }) => recall >= (i === 100 ? 1 : i * 0.01));
    return reached === -1 ? 0 : Math.max(...points.slice(reached).map(({ precision }) => precision));
  });
  return { ap: at.reduce((sum, value) => sum + value, 0) / 101, recall: hits / positives };
}

function overlap(a: Sized, b: Sized, isCrowd: boolean): number {
  const w = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const h = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  if (w <= 0 || h <= 0) return 0;
  return (w * h) / (isCrowd ? a[2] * a[3] : a[2] * a[3] + b[2] * b[3] - w * h);
}
