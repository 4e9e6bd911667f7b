import { expect, test, vi } from 'vitest';
import { ego4dSelection, given, inputOptions, parseDuration } from './flags.js';
import { spanOf } from './video-flags.js';

test.each([
  ['90', 90_000],
  ['90s', 90_000],
  ['10m', 600_000],
  ['1.5h', 5_400_000],
  ['500ms', 500],
  ['596h', 2_145_600_000],
])('`%s` is %d ms', (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds);
});

test.each([[''], ['-1'], ['10 m'], ['1d'], ['ten'], ['0'], ['0ms'], ['597h'], ['9'.repeat(400)]])(
  '`%s` is refused: a timer of it would end at once, or never begin',
  (text) => {
    expect(() => parseDuration(text)).toThrow(
      expect.objectContaining({
        code: 'usage.flag',
        message: `expected a duration such as 90s or 10m, above 0 and up to 596h, found \`${text}\``,
      }),
    );
  },
);

test('flags that were not given are no members of the options', () => {
  expect(given({ a: 1, b: undefined, c: null })).toEqual({ a: 1, c: null });
  expect('b' in given({ b: undefined })).toBe(false);
  const plain = { nul: false, hidden: true, follow: false };
  expect(inputOptions(plain)).toEqual(plain);
  expect(inputOptions({ ...plain, ext: '.mp4,mkv', 'max-depth': 2, limit: 5, shuffle: 0, include: ['a*'] })).toEqual({
    ...plain,
    extensions: ['mp4', 'mkv'],
    maxDepth: 2,
    limit: 5,
    shuffle: 0,
    include: ['a*'],
  });
});

test('a selection of Ego4D: uids and files as they are, the folder from the environment only where something is asked', () => {
  vi.stubEnv('EGOLENS_EGO4D_DIR', '/ego4d');
  expect(ego4dSelection({})).toBeUndefined();
  expect(ego4dSelection({ task: 'mq', split: 'val' })).toEqual({ folder: '/ego4d', task: 'mq', split: 'val' });
  expect(ego4dSelection({ ego4d: 'here', 'clip-uids': ['c'] })).toEqual({ folder: 'here', clipUids: ['c'] });
  vi.stubEnv('EGOLENS_EGO4D_DIR', '');
  expect(() => ego4dSelection({ 'video-uids': ['v'] })).toThrow(expect.objectContaining({ code: 'usage.flag' }));
  expect(() => ego4dSelection({ ego4d: '' })).toThrow(expect.objectContaining({ code: 'usage.flag' }));
  vi.unstubAllEnvs();
});

test('bounds are times or frames; lengths of videos are times', () => {
  expect(spanOf({})).toBeUndefined();
  expect(spanOf({ start: '#120', end: '0:05' })).toEqual([{ frame: 120 }, 5]);
  expect(spanOf({ end: '#9' })).toEqual([0, { frame: 9 }]);
  for (const bad of [
    { start: '#9', end: '#9' },
    { start: '2', end: '1' },
    { start: '#-1' },
    { start: '#1.5' },
    { end: '#' },
  ])
    expect(() => spanOf(bad)).toThrow(expect.objectContaining({ code: 'usage.flag' }));
  const plain = { nul: false, hidden: true, follow: false };
  expect(inputOptions({ ...plain, 'min-duration': '1:30', 'max-duration': '100' }).durations).toEqual({
    min: 90,
    max: 100,
  });
  expect(() => inputOptions({ ...plain, 'min-duration': '3', 'max-duration': '2' })).toThrow('--min-duration up to');
});
