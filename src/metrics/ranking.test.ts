import fc from 'fast-check';
import { expect, test } from 'vitest';
import { continuousTiou } from './intervals.js';
import { fallingOrder } from './order.js';
import {
  firstHitRank,
  interpolatedAveragePrecision,
  matchRanked,
  meanAveragePrecision,
  rankSpans,
  recallAt,
  type ScoredSpans,
  type SpanRules,
} from './ranking.js';

const hitLists = fc.array(fc.integer({ min: 0, max: 1 }), { maxLength: 60 });

/** The definition, written with the arrays of the official code: recall 0 and 1 added at the ends, precision made to fall. */
function plainAveragePrecision(hits: readonly number[], positives: number): number {
  if (hits.length === 0) return 0;
  let found = 0;
  const precision = [0];
  const recall = [0];
  hits.forEach((hit, i) => {
    found += hit;
    precision.push(found / (i + 1));
    recall.push(found / positives);
  });
  precision.push(0);
  recall.push(1);
  for (let i = precision.length - 2; i >= 0; i--) precision[i] = Math.max(precision[i]!, precision[i + 1]!);
  return recall.reduce(
    (sum, r, i) => (i === 0 || r === recall[i - 1] ? sum : sum + (r - recall[i - 1]!) * precision[i]!),
    0,
  );
}

test('average precision equals its definition', () => {
  fc.assert(
    fc.property(hitLists, fc.nat(20), (hits, missed) => {
      const positives = hits.reduce((sum, hit) => sum + hit, missed) || 1;
      expect(interpolatedAveragePrecision(hits, positives)).toBeCloseTo(plainAveragePrecision(hits, positives), 12);
    }),
  );
});

test('a guess listed with a weight counts as so many equal guesses in a row', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 1 }), fc.nat(3)), { maxLength: 30 }), (pairs) => {
      const hits = pairs.map(([hit]) => hit);
      const weights = Int32Array.from(pairs, ([, weight]) => weight);
      const listed = pairs.flatMap(([hit, weight]) => Array.from({ length: weight }, () => hit));
      const positives = listed.reduce((sum, hit) => sum + hit, 1);
      expect(interpolatedAveragePrecision(hits, positives, weights)).toBeCloseTo(
        plainAveragePrecision(listed, positives),
        12,
      );
    }),
  );
});

test('no guesses give 0, guesses without truth are undefined', () => {
  expect(interpolatedAveragePrecision([], 3)).toBe(0);
  expect(interpolatedAveragePrecision([0], 0)).toBeNaN();
});

test('a worthless guess at the end never raises average precision', () => {
  fc.assert(
    fc.property(hitLists, (hits) => {
      const positives = hits.reduce((sum, hit) => sum + hit, 1);
      expect(interpolatedAveragePrecision([...hits, 0], positives)).toBeLessThanOrEqual(
        interpolatedAveragePrecision(hits, positives),
      );
    }),
  );
});

const item = fc.record({
  unit: fc.nat(2),
  label: fc.nat(1),
  start: fc.nat(12),
  length: fc.integer({ min: 1, max: 6 }),
  score: fc.nat(1000),
});
type Item = typeof item extends fc.Arbitrary<infer T> ? T : never;
const distinct = (items: readonly Item[]): Item[] => [...new Map(items.map((one) => [one.score, one])).values()];

function spansOf(items: readonly Item[]): ScoredSpans {
  return {
    unit: Int32Array.from(items, ({ unit }) => unit),
    label: Int32Array.from(items, ({ label }) => label),
    start: Float64Array.from(items, ({ start }) => start),
    end: Float64Array.from(items, ({ start, length }) => start + length),
    score: Float64Array.from(items, ({ score }) => score),
  };
}

const rules: SpanRules = {
  thresholds: [0.3, 0.5],
  comparison: '>=',
  undefinedOverlap: 'hit',
  overlap: continuousTiou,
  ties: 'numpy',
};

/** Objects and loops: one label, one threshold. */
function plainMatch(truth: readonly Item[], guesses: readonly Item[], threshold: number): number[] {
  const taken = new Set<Item>();
  return [...guesses]
    .sort((a, b) => b.score - a.score)
    .map((guess) => {
      let best: Item | undefined;
      let bestOverlap = -1;
      for (const one of truth) {
        if (one.unit !== guess.unit || taken.has(one)) continue;
        const value = continuousTiou(one.start, one.start + one.length, guess.start, guess.start + guess.length);
        if (value >= bestOverlap) {
          best = one;
          bestOverlap = value;
        }
      }
      if (best === undefined || bestOverlap < threshold) return 0;
      taken.add(best);
      return 1;
    });
}

test('ranking and matching of all labels equals loops over one label at a time', () => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 12 }), fc.array(item, { maxLength: 25 }), (truth, listed) => {
      const guesses = distinct(listed);
      const ranked = rankSpans(spansOf(truth), spansOf(guesses), 2, rules);
      const mean = meanAveragePrecision(ranked, 2);
      [0, 1].forEach((label) => {
        const mine = truth.filter((one) => one.label === label);
        rules.thresholds.forEach((threshold, t) => {
          const hits = plainMatch(
            mine,
            guesses.filter((one) => one.label === label),
            threshold,
          );
          expect(Array.from(ranked[label]!.hits[t]!)).toEqual(hits);
          if (mine.length > 0) expect(mean.ap[t]![label]).toBeCloseTo(plainAveragePrecision(hits, mine.length), 12);
        });
      });
    }),
  );
});

test('the order of the list does not matter while no scores are equal', () => {
  fc.assert(
    fc.property(
      fc.array(item, { maxLength: 12 }),
      fc.array(item, { maxLength: 40 }),
      fc.nat(),
      (truth, listed, turn) => {
        const guesses = distinct(listed);
        const at = guesses.length === 0 ? 0 : turn % guesses.length;
        const turned = [...guesses.slice(at), ...guesses.slice(0, at)];
        const score = (items: readonly Item[]): readonly number[] =>
          meanAveragePrecision(rankSpans(spansOf(truth), spansOf(items), 2, rules), 2).mAP;
        expect(score(turned)).toEqual(score(guesses));
      },
    ),
  );
});

test('a unit that is drawn twice counts as two units', () => {
  fc.assert(
    fc.property(fc.array(item, { minLength: 1, maxLength: 10 }), fc.array(item, { maxLength: 20 }), (truth, listed) => {
      const guesses = distinct(listed);
      const ranked = rankSpans(spansOf(truth), spansOf(guesses), 2, rules);
      // unit 0 twice, unit 1 never, unit 2 once; the copy of unit 0 becomes unit 1, scored a hair lower
      const drawn = (items: readonly Item[]): Item[] =>
        items.flatMap((one) =>
          one.unit === 1 ? [] : one.unit === 0 ? [one, { ...one, unit: 1, score: one.score - 1e-9 }] : [one],
        );
      const copied = rankSpans(spansOf(drawn(truth)), spansOf(drawn(guesses)), 2, rules);
      const present = [0, 1].filter((label) => drawn(truth).some((one) => one.label === label));
      const expected = meanAveragePrecision(copied, 2);
      const found = meanAveragePrecision(ranked, 2, Int32Array.of(2, 0, 1));
      expect(found.ap.map((values) => Array.from(values, (v) => v.toFixed(12)))).toEqual(
        expected.ap.map((values) => present.map((label) => values[label]!.toFixed(12))),
      );
    }),
  );
});

test('an undefined overlap hits or misses, as the rules say, and a strict rule wants more than the threshold', () => {
  const match = (undefinedOverlap: 'hit' | 'miss', comparison: '>=' | '>', overlap: number): number => {
    const order = fallingOrder(Float64Array.of(1), 'numpy');
    const part = { thresholds: [0.5], comparison, undefinedOverlap };
    return matchRanked(order, Int32Array.of(0), Int32Array.of(0), () => overlap, part)[0]![0]!;
  };
  expect(match('hit', '>=', NaN)).toBe(1);
  expect(match('hit', '>', NaN)).toBe(1);
  expect(match('miss', '>=', NaN)).toBe(0);
  expect(match('hit', '>=', 0.5)).toBe(1);
  expect(match('hit', '>', 0.5)).toBe(0);
});

test('of equally overlapping truths the later one is taken first', () => {
  const overlaps = [
    [0.6, 0.6],
    [0.6, 0],
  ];
  const order = Int32Array.of(0, 1);
  const hits = matchRanked(order, Int32Array.of(0, 0), Int32Array.of(0, 0), (g, t) => overlaps[g]![t]!, rules);
  expect(Array.from(hits[1]!)).toEqual([1, 1]);
});

test('recall@k counts ranks of at most k, each entry as often as it is drawn', () => {
  expect(firstHitRank([0.1, 0.3, NaN, 0.4], 0.3)).toBe(4);
  expect(firstHitRank([], 0.3)).toBe(Infinity);
  expect(recallAt([[1, 4, Infinity]], [1, 5])).toEqual([[1 / 3, 2 / 3]]);
  expect(recallAt([[1, 4, Infinity]], [1, 5], [0, 3, 1])).toEqual([[0, 3 / 4]]);
  expect(recallAt([[]], [1])).toEqual([[NaN]]);
});
