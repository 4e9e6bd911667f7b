import fc from 'fast-check';
import { expect, test } from 'vitest';
import { intersection, matchGreedy, pixelIous, signedArea, sizedIous, type MatchRule } from './boxes.js';

test('counts both corner pixels of a box, as Short-Term Anticipation does', () => {
  const out = new Float64Array(1);
  pixelIous(Float64Array.of(0, 0, 9, 9), Float64Array.of(5, 0, 14, 9), out);
  expect(out[0]).toBeCloseTo(50 / 150, 12);
});

test('gives an inverted box no area, and one inverted by half a pixel half of one', () => {
  const out = new Float64Array(2);
  pixelIous(Float64Array.of(9, 9, 0, 0, 5, 5, 4.5, 5), Float64Array.of(0, 0, 9, 9), out);
  expect(out[0]).toBe(0);
  expect(out[1]).toBeCloseTo(0.5 / 100, 12);
});

test('measures the overlap with a crowd by the area of the detection', () => {
  const out = new Float64Array(2);
  sizedIous(Float64Array.of(0, 0, 10, 10), Float64Array.of(0, 0, 20, 20, 0, 0, 20, 20), Uint8Array.of(0, 1), out);
  expect([...out]).toEqual([0.25, 1]);
});

test('keeps the sign of an inverted area, and shares nothing with it', () => {
  const inverted = Float64Array.of(10, 0, 0, 10);
  expect(signedArea(inverted, 0)).toBe(-100);
  expect(intersection(inverted, 0, Float64Array.of(0, 0, 10, 10), 0)).toBe(0);
});

test('a rule decides what reaches the threshold and which of equal truths is taken', () => {
  const image = { ious: Float64Array.of(0.5, 0.5), truths: 2, order: Int32Array.of(0), candidates: 1 };
  const taken = (rule: MatchRule): number => {
    const out = new Int32Array(1);
    matchGreedy(image, rule, new Uint8Array(2), out);
    return out[0]!;
  };
  expect(taken({ threshold: 0.5, overlap: 'above', equals: 'first' })).toBe(-1);
  expect(taken({ threshold: 0.5, overlap: 'atLeast', equals: 'first' })).toBe(0);
  expect(taken({ threshold: 0.5, overlap: 'atLeast', equals: 'last' })).toBe(1);
});

test('matching equals the definition, tried on small random images', () => {
  const images = fc.integer({ min: 0, max: 4 }).chain((truths) =>
    fc.record({
      ious: fc.array(fc.array(fc.constantFrom(0, 0.3, 0.5, 0.6, 0.6, 1), { minLength: truths, maxLength: truths }), {
        maxLength: 5,
      }),
      ignored: fc.array(fc.constantFrom(0, 1), { minLength: truths, maxLength: truths }),
      equals: fc.constantFrom('first' as const, 'last' as const),
      overlap: fc.constantFrom('above' as const, 'atLeast' as const),
    }),
  );
  fc.assert(
    fc.property(images, ({ ious, ignored, equals, overlap }) => {
      const truths = ignored.length;
      const out = new Int32Array(ious.length);
      const image = {
        ious: Float64Array.from(ious.flat()),
        truths,
        order: Int32Array.from(ious, (_, i) => i),
        candidates: ious.length,
        ignored: Uint8Array.from(ignored),
      };
      matchGreedy(image, { threshold: 0.5, overlap, equals }, new Uint8Array(truths), out);
      const free = new Set(ignored.keys());
      const wanted = ious.map((row) => {
        const allowed = [...free].filter((t) => row[t]! > 0.5 || (overlap === 'atLeast' && row[t] === 0.5));
        const regular = allowed.filter((t) => ignored[t] === 0);
        const pool = regular.length > 0 ? regular : allowed;
        const best = Math.max(...pool.map((t) => row[t]!));
        const equal = pool.filter((t) => row[t] === best);
        const chosen = equals === 'first' ? equal[0] : equal[equal.length - 1];
        if (chosen !== undefined) free.delete(chosen);
        return chosen ?? -1;
      });
      expect([...out]).toEqual(wanted);
    }),
  );
});
