import { expect, test } from 'vitest';
import type { ActionClip } from '../ego4d/action-clips.js';
import { verbRepeats } from './action-classes.js';

function clip(verbs: readonly number[]): ActionClip {
  const noun = { label: 0, name: null };
  const actions = verbs.map((label, i) => ({
    id: `c_${i}`,
    start: i,
    end: i + 1,
    labels: { verb: { label, name: null }, noun },
  }));
  return { clipUid: 'c', videoUid: 'v', clipStart: null, actions };
}

test('verbs that go round come again after a round, and not before', () => {
  const round = clip(Array.from({ length: 400 }, (_, i) => i % 4));
  const factors = verbRepeats([round, round], 5);
  expect(factors.map((factor) => Math.round(factor * 10) / 10)).toEqual([0, 0, 0, 4, 0]);
  for (const factor of factors) expect(factor).toBeGreaterThan(0);
});

test('distances that no clip has, and clips without labels, change nothing', () => {
  expect(verbRepeats([clip([0, 1])], 3).slice(1)).toEqual([1, 1]);
  expect(verbRepeats([], 2)).toEqual([1, 1]);
});
