import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seededRandom, type Random } from './random.js';

const take = <T>(count: number, next: () => T): T[] => Array.from({ length: count }, next);
const first = (random: Random): number[] => take(4, () => random.integer(2 ** 32));

test('the numbers of a seed never change: stored probes and untrained models depend on them', () => {
  const [zero, normals] = [seededRandom(0), seededRandom(0)];
  expect(first(seededRandom(0))).toEqual([1789933344, 44971166, 2521387044, 3848737593]);
  expect(first(seededRandom(1, 'probe'))).toEqual([3395055506, 2802847518, 3159229669, 365972421]);
  expect(take(2, () => zero.uniform())).toEqual([0.41675133265905573, 0.5870561741002205]);
  expect(take(3, () => normals.normal())).toEqual([-0.8868947106344905, -0.5400935828026158, -0.7337002414628956]);
  expect(seededRandom(7, 'order').shuffle([0, 1, 2, 3, 4, 5, 6, 7])).toEqual([1, 6, 7, 2, 0, 5, 3, 4]);
});

/** xoshiro128** and splitmix32 once more, in 64-bit integers. */
function reference(seed: number): () => number {
  const mask = 0xffffffffn;
  let mix = BigInt(seed);
  const splitmix = (): bigint => {
    mix = (mix + 0x9e3779b9n) & mask;
    let z = mix;
    z = ((z ^ (z >> 16n)) * 0x21f0aaadn) & mask;
    z = ((z ^ (z >> 15n)) * 0x735a2d97n) & mask;
    return z ^ (z >> 15n);
  };
  const s = [splitmix(), splitmix(), splitmix(), splitmix()] as [bigint, bigint, bigint, bigint];
  const rotate = (x: bigint, k: bigint): bigint => ((x << k) | (x >> (32n - k))) & mask;
  return () => {
    const result = (rotate((s[1] * 5n) & mask, 7n) * 9n) & mask;
    const t = (s[1] << 9n) & mask;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11n);
    return Number(result);
  };
}

test('the generator is xoshiro128**, seeded by splitmix32', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (seed) => {
      const next = reference(seed);
      expect(take(20, () => seededRandom(seed).integer(2 ** 32))[0]).toBe(next());
      const random = seededRandom(seed);
      const again = reference(seed);
      expect(take(20, () => random.integer(2 ** 32))).toEqual(take(20, again));
    }),
    { numRuns: 50 },
  );
});

test('two streams of one seed share no numbers, and two seeds of one stream neither', () => {
  const numbers = (seed: number, stream: string): number[] => {
    const random = seededRandom(seed, stream);
    return take(1000, () => random.integer(2 ** 32));
  };
  const sets = [numbers(3, 'a'), numbers(3, 'b'), numbers(4, 'a'), numbers(3, '')];
  expect(new Set(sets.flat()).size).toBe(4000);
});

test('uniform numbers lie in [0, 1) and fill it evenly', () => {
  const random = seededRandom(11);
  const counts = new Array<number>(16).fill(0);
  for (let i = 0; i < 160_000; i++) counts[Math.floor(random.uniform() * 16)]!++;
  expect(counts.reduce((a, b) => a + b)).toBe(160_000);
  const chiSquare = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
  expect(chiSquare).toBeLessThan(37.7); // 99.9 % of 15 degrees of freedom
});

test('integers below a bound that divides nothing are without bias', () => {
  // Modulo alone would give the lower two thirds twice as often as the upper one.
  const bound = 3 * 2 ** 30;
  const random = seededRandom(5);
  let low = 0;
  for (let i = 0; i < 30_000; i++) {
    const value = random.integer(bound);
    expect(value < bound && Number.isInteger(value)).toBe(true);
    if (value < 2 ** 30) low++;
  }
  expect(Math.abs(low / 30_000 - 1 / 3)).toBeLessThan(0.01); // 3.6 standard deviations
  expect(random.integer(1)).toBe(0);
});

test.each([[0], [-1], [1.5], [NaN], [2 ** 32 + 1]])('a bound of %d is refused instead of drawn for ever', (bound) => {
  expect(() => seededRandom(0).integer(bound)).toThrow(expect.objectContaining({ code: 'internal.bug' }));
});

test('a shuffle is a permutation, in place', () => {
  fc.assert(
    fc.property(fc.array(fc.integer()), fc.nat(), (items, seed) => {
      const shuffled = [...items];
      expect(seededRandom(seed).shuffle(shuffled)).toBe(shuffled);
      expect([...shuffled].sort((a, b) => a - b)).toEqual([...items].sort((a, b) => a - b));
    }),
  );
});

test('every order of three is as frequent as any other', () => {
  const random = seededRandom(2);
  const counts = new Map<string, number>();
  for (let i = 0; i < 6000; i++) {
    const order = random.shuffle(['a', 'b', 'c']).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  expect(counts.size).toBe(6);
  for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(120); // 4 standard deviations
});

test('normal numbers have the moments of the standard normal', () => {
  const random = seededRandom(9);
  const values = take(100_000, () => random.normal());
  const moment = (k: number): number => values.reduce((sum, x) => sum + x ** k, 0) / values.length;
  // about four standard errors each: 1, sqrt 2, sqrt 15, sqrt 96 over sqrt of the count
  expect(Math.abs(moment(1))).toBeLessThan(0.013);
  expect(Math.abs(moment(2) - 1)).toBeLessThan(0.018);
  expect(Math.abs(moment(3))).toBeLessThan(0.05);
  expect(Math.abs(moment(4) - 3)).toBeLessThan(0.13);
  expect(values.every(Number.isFinite)).toBe(true);
});
