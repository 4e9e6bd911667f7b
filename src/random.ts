import { assert } from './errors.js';

/**
 * The seeded generator of the whole program: xoshiro128** seeded by splitmix32 from a 32-bit seed and a stream name, so that
 * two uses of one seed do not share numbers. Same seed, same stream, same numbers on every machine.
 * Source: Blackman & Vigna, "Scrambled linear pseudorandom number generators", 2021 (public domain reference).
 */
export interface Random {
  /** Uniform in [0, 1), 53 random bits. */
  uniform(): number;
  /** Uniform integer in [0, bound), without bias; 1 <= bound <= 2^32. */
  integer(bound: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** In place, Fisher-Yates. */
  shuffle<T>(items: T[]): T[];
}

/** Numbers of `stream` for `seed`, of which the low 32 bits count. */
export function seededRandom(seed: number, stream = ''): Random {
  let mix = seed >>> 0;
  for (let i = 0; i < stream.length; i++) mix = Math.imul(mix ^ stream.charCodeAt(i), 0x01000193) >>> 0;
  const splitmix = (): number => {
    mix = (mix + 0x9e3779b9) >>> 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  let s0 = splitmix();
  let s1 = splitmix();
  let s2 = splitmix();
  let s3 = splitmix();
  if ((s0 | s1 | s2 | s3) === 0) s0 = 1;
  const rotate = (x: number, k: number): number => ((x << k) | (x >>> (32 - k))) >>> 0;
  const next = (): number => {
    const result = Math.imul(rotate(Math.imul(s1, 5) >>> 0, 7), 9) >>> 0;
    const t = (s1 << 9) >>> 0;
    s2 = (s2 ^ s0) >>> 0;
    s3 = (s3 ^ s1) >>> 0;
    s1 = (s1 ^ s2) >>> 0;
    s0 = (s0 ^ s3) >>> 0;
    s2 = (s2 ^ t) >>> 0;
    s3 = rotate(s3, 11);
    return result;
  };
  const uniform = (): number => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  const integer = (bound: number): number => {
    assert(Number.isInteger(bound) && bound >= 1 && bound <= 4294967296, `a bound from 1 to 2^32, found ${bound}`);
    const limit = 4294967296 - (4294967296 % bound);
    for (;;) {
      const value = next();
      if (value < limit) return value % bound;
    }
  };
  let spare: number | undefined;
  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  const shuffle = <T>(items: T[]): T[] => {
    for (let i = items.length - 1; i > 0; i--) {
      const j = integer(i + 1);
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  };
  return { uniform, integer, normal, shuffle };
}
