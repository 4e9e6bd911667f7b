import { expect, test } from 'vitest';
import type { Progress } from '../types.js';
import { formOfClips } from './missing-clips.js';

const form = { path: 'a.npy', width: 2, clock: undefined, model: undefined, output: undefined, preset: undefined };
const notes: string[] = [];
const progress: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: (text) => notes.push(text),
  warn: () => undefined,
};
const options = { features: 'feats', skipMissing: false, progress };
const missing = ['a', 'b', 'c', 'd', 'e', 'f'];

test('what has no features is named and counted, unless it may be skipped', () => {
  const found = { form, found: 3, missing };
  expect(() => formOfClips('val.json', found, options)).toThrow(
    '`val.json`: 6 of 9 clips have no features: `a`, `b`, `c`, `d`, `e`, …; looked for them and their videos in `feats`',
  );
  expect(formOfClips('val.json', found, { ...options, skipMissing: true })).toBe(form);
  expect(notes).toEqual(['val.json: 6 of 9 clips left out, for want of features']);
});

test('nothing but missing ones, and nothing at all, are refused in any case', () => {
  const skipping = { ...options, skipMissing: true };
  expect(() => formOfClips('val.json', { form: undefined, found: 0, missing, what: 'frame' }, skipping)).toThrow(
    '6 of 6 frames have no features',
  );
  expect(() => formOfClips('val.json', { form, found: 0, missing: [] }, skipping)).toThrow(
    '`val.json`: expected at least one clip, found none',
  );
});
