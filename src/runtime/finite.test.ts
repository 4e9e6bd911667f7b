import fc from 'fast-check';
import { expect, test } from 'vitest';
import { firstNotFinite } from './finite.js';

test('the first value that is no number is found wherever it stands', () => {
  fc.assert(
    fc.property(fc.float32Array({ maxLength: 40 }), (values) => {
      expect(firstNotFinite(values)).toBe(values.findIndex((value) => !Number.isFinite(value)));
    }),
  );
});

test('the largest and the smallest floats are finite, their sum does not matter', () => {
  expect(firstNotFinite(new Float32Array(1001).fill(3.4028234663852886e38))).toBe(-1);
  expect(firstNotFinite(Float32Array.of(1e-45, -1e-45, -0, 0))).toBe(-1);
});
