import { expect, test } from 'vitest';
import { given, inputOptions, parseDuration } from './flags.js';

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
