import { expect, test } from 'vitest';
import { seededRandom } from '../random.js';
import { StateMemory } from './adamw-kernel.js';
import { updateOnHost, type HostState } from './host-update.js';

const rule = { kind: 'adamw', beta1: 0.9, beta2: 0.95, epsilon: 1e-8 } as const;
const scales = { weights: 0.5, gradient: 0.1, m: 0.01, v: 0.001 } as const;
type Part = keyof typeof scales;

/** A state of `count` elements, with zeros, tiny and huge values among them. */
function stateOf(count: number, make: (part: Part) => Float32Array): HostState {
  const random = seededRandom(count, 'state');
  const filled = (part: Part): Float32Array => {
    const values = make(part);
    for (let i = 0; i < count; i++) {
      const value = scales[part] * random.normal() * [1, 1, 1e-30, 1e10, 0][i % 5]!;
      values[i] = part === 'v' ? Math.abs(value) : value;
    }
    return values;
  };
  const [weights, gradient, m, v] = [filled('weights'), filled('gradient'), filled('m'), filled('v')];
  return { decay: 0.05, scale: 0.7, weights, gradient, m, v };
}

test.each([1, 2, 3, 64, 1001])('%i elements: the bits of the loop', (count) => {
  const memory = new StateMemory();
  const places = new Map((['weights', 'gradient', 'm', 'v'] as const).map((part) => [part, memory.place(count)!]));
  const here = stateOf(count, () => new Float32Array(count));
  const there = stateOf(count, (part) => memory.view(places.get(part)!, count));
  for (let step = 1; step <= 3; step++) {
    const update = { rule, clip: 0.5, rate: 1e-2, step };
    updateOnHost([here], update, 0.9);
    updateOnHost([there], update, 0.9, memory);
  }
  for (const part of ['weights', 'm', 'v'] as const) expect(there[part]).toEqual(here[part]);
  expect(here.weights.some((value, i) => value !== stateOf(count, () => new Float32Array(count)).weights[i])).toBe(
    true,
  );
});

test('a tensor that lies elsewhere is left to the loop', () => {
  const memory = new StateMemory();
  const at = memory.place(8)!;
  const here = stateOf(8, () => new Float32Array(8));
  const mixed = stateOf(8, (part) => (part === 'm' ? memory.view(at, 8) : new Float32Array(8)));
  updateOnHost([here], { rule, rate: 1e-2, step: 1 }, 1);
  updateOnHost([mixed], { rule, rate: 1e-2, step: 1 }, 1, memory);
  expect(mixed.weights).toEqual(here.weights);
});

test('places are apart, keep their values when the memory grows, and end with it', () => {
  const memory = new StateMemory();
  const first = memory.place(3)!;
  memory.view(first, 3).set([1, 2, 3]);
  const before = memory.view(first, 3);
  const second = memory.place(100_000)!;
  expect(second - first).toBeGreaterThanOrEqual(12);
  memory.view(second, 100_000).fill(7);
  expect(before.length).toBe(0);
  expect([...memory.view(first, 3)]).toEqual([1, 2, 3]);
  expect(memory.place(2 ** 31)).toBeUndefined();
  expect([...memory.view(memory.place(2)!, 2)]).toEqual([0, 0]);
});
