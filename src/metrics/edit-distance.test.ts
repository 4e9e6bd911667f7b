import fc from 'fast-check';
import { expect, test } from 'vitest';
import { longestSequence, lowerPrefixDistances, meanTrapezoid, type EditRule } from './edit-distance.js';

/** The table of the textbook. */
function tableDistance(a: readonly number[], b: readonly number[], rule: EditRule): number {
  const table = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => i + j));
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const replaced = table[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      table[i]![j] = Math.min(table[i - 1]![j]! + 1, table[i]![j - 1]! + 1, replaced);
      if (rule === 'damerau' && i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        table[i]![j] = Math.min(table[i]![j]!, table[i - 2]![j - 2]! + 1);
      }
    }
  }
  return table[a.length]![b.length]!;
}

function prefixDistances(truth: readonly number[], guess: readonly number[], rule: EditRule): number[] {
  const matches = Int32Array.from(guess, (symbol) =>
    truth.reduce((bits, other, i) => (other === symbol ? bits | (1 << i) : bits), 0),
  );
  const out = new Uint8Array(guess.length).fill(255);
  lowerPrefixDistances(matches, 0, guess.length, rule, out, 0);
  return [...out];
}

test.each(['levenshtein', 'damerau'] as const)('%s agrees with the table, for every prefix', (rule) => {
  const pair = fc.integer({ min: 1, max: longestSequence }).chain((length) => {
    const symbols = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: length, maxLength: length });
    return fc.tuple(symbols, symbols);
  });
  fc.assert(
    fc.property(pair, ([truth, guess]) => {
      const wanted = guess.map((_, z) => tableDistance(truth.slice(0, z + 1), guess.slice(0, z + 1), rule));
      expect(prefixDistances(truth, guess, rule)).toEqual(wanted);
    }),
    { numRuns: 500 },
  );
});

test('a swap of neighbours costs two, or one where swaps are counted', () => {
  expect(prefixDistances([1, 2, 3], [2, 1, 3], 'levenshtein')).toEqual([1, 2, 2]);
  expect(prefixDistances([1, 2, 3], [2, 1, 3], 'damerau')).toEqual([1, 1, 1]);
});

test('the lower of two distances is kept', () => {
  const out = Uint8Array.of(0, 1, 9);
  lowerPrefixDistances(Int32Array.of(0, 0, 0), 0, 3, 'levenshtein', out, 0);
  expect([...out]).toEqual([0, 1, 3]);
});

test('the mean of a straight line is its middle', () => {
  expect(meanTrapezoid([0, 1, 2, 3])).toBe(1.5);
  expect(meanTrapezoid([1])).toBeNaN();
});
