import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Dim } from '../types.js';
import { broadcast, productOf, quotientOf, sumOf } from './dims.js';

const sizes: Readonly<Record<string, number>> = { batch: 3, tokens: 7, visible: 5 };

/** The number that a size stands for when the names have these values; the text is arithmetic as it stands. */
function valueOf(dim: Dim): number {
  const text = String(dim).replace(/[a-z]+/g, (name) => String(sizes[name]));
  const sum = (from: string): [number, string] => {
    let [total, rest] = product(from);
    while (rest.startsWith('+')) {
      const [next, after] = product(rest.slice(1));
      [total, rest] = [total + next, after];
    }
    return [total, rest];
  };
  const product = (from: string): [number, string] => {
    let [total, rest] = atom(from);
    while (rest.startsWith('*')) {
      const [next, after] = atom(rest.slice(1));
      [total, rest] = [total * next, after];
    }
    return [total, rest];
  };
  const atom = (from: string): [number, string] => {
    if (from.startsWith('(')) {
      const [value, rest] = sum(from.slice(1));
      return [value, rest.slice(1)];
    }
    const digits = /^\d+/.exec(from)![0];
    return [Number(digits), from.slice(digits.length)];
  };
  return sum(text)[0];
}

const plain: fc.Arbitrary<Dim> = fc.oneof(
  fc.integer({ min: 1, max: 12 }),
  fc.constantFrom('batch', 'tokens', 'visible'),
);
const dim: fc.Arbitrary<Dim> = fc.letrec<{ dim: Dim }>((tie) => ({
  dim: fc.oneof(
    { maxDepth: 3 },
    plain,
    fc.array(tie('dim'), { minLength: 1, maxLength: 3 }).map(productOf),
    fc.array(tie('dim'), { minLength: 1, maxLength: 3 }).map(sumOf),
  ),
})).dim;

test('products and sums of sizes have the value of the sizes', () => {
  fc.assert(
    fc.property(fc.array(dim, { maxLength: 4 }), (dims) => {
      expect(valueOf(productOf(dims))).toBe(dims.reduce((product: number, one) => product * valueOf(one), 1));
      expect(valueOf(sumOf(dims))).toBe(dims.reduce((sum: number, one) => sum + valueOf(one), 0));
    }),
  );
});

test('the order of factors and of terms does not change the text', () => {
  fc.assert(
    fc.property(fc.array(dim, { minLength: 1, maxLength: 4 }), (dims) => {
      const reversed = [...dims].reverse();
      expect(productOf(reversed)).toBe(productOf(dims));
      expect(sumOf(reversed)).toBe(sumOf(dims));
      expect(sumOf([sumOf(dims.slice(1)), dims[0]!])).toBe(sumOf(dims));
    }),
  );
});

test('a product divided by one of its factors is the other', () => {
  fc.assert(
    fc.property(dim, dim, (a, b) => {
      expect(quotientOf(productOf([a, b]), b)).toBe(productOf([a]));
    }),
  );
});

test('sizes are written in one way', () => {
  expect(productOf([])).toBe(1);
  expect(productOf([2, 'tokens', 8, 'batch'])).toBe('batch*tokens*16');
  expect(productOf(['batch', 0])).toBe(0);
  expect(sumOf([])).toBe(0);
  expect(sumOf([1, 2])).toBe(3);
  expect(sumOf(['visible', 'tokens', 1, 2])).toBe('(tokens+visible+3)');
  expect(sumOf(['batch', 'batch'])).toBe('batch*2');
  expect(productOf([sumOf(['b', 'a']), 4])).toBe('(a+b)*4');
  expect(quotientOf('(a+b)*4', '(a+b)')).toBe(4);
});

test.each([
  [7, 2],
  ['batch', 'tokens'],
  [12, 'batch'],
  ['batch*3', 2],
  ['batch', 0],
])('%s is not divided by %s for every value of the names', (a, b) => {
  expect(quotientOf(a, b)).toBeUndefined();
});

test('shapes broadcast by the rule of numpy, whichever comes first', () => {
  expect(broadcast(['batch', 5, 1], [4], 'x')).toEqual(['batch', 5, 4]);
  expect(broadcast([], [2, 'n'], 'x')).toEqual([2, 'n']);
  expect(broadcast([1, 3], ['batch', 1, 1], 'x')).toEqual(['batch', 1, 3]);
  fc.assert(
    fc.property(fc.array(plain, { maxLength: 3 }), fc.array(plain, { maxLength: 3 }), (a, b) => {
      const shape = (one: readonly Dim[], other: readonly Dim[]): unknown => {
        try {
          return broadcast(one, other, 'x');
        } catch {
          return 'refused';
        }
      };
      expect(shape(a, b)).toEqual(shape(b, a));
    }),
  );
});

test('shapes that do not broadcast are both named', () => {
  expect(() => broadcast(['batch', 3], [4], 'Add')).toThrow(
    expect.objectContaining({ code: 'data.shape', message: 'Add: shapes [batch, 3] and [4] do not broadcast' }),
  );
  expect(() => broadcast(['batch'], ['tokens'], 'Add')).toThrow('shapes [batch] and [tokens]');
});
