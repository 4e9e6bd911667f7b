import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findingList } from '../../src/findings.js';
import {
  checkCorners,
  checkFalling,
  checkFinite,
  checkIds,
  checkSegment,
  percentText,
  pointer,
  shown,
  tiedScores,
  warnTied,
} from './checks.js';

const at = (index: number): string => `/results/${index}`;

test('ids are compared with those that are asked for', () => {
  const list = findingList();
  const asked = new Set(['a', 'b', 'c', 'd']);
  const coverage = checkIds(list, asked, ['a', 'x', 'b', 'a'], at, { what: 'clip_uid', within: '/results' });
  expect(coverage).toEqual({ asked: 4, answered: 2, missing: 2, unknown: 1, repeated: 1, percent: 50 });
  expect(list.all().map(({ level, code, at, found }) => [level, code, at, found])).toEqual([
    ['error', 'ids.unknown', '/results/1', '`x`'],
    ['error', 'ids.repeated', '/results/3', '`a` again'],
    ['error', 'ids.missing', '/results', 'none'],
    ['error', 'ids.missing', '/results', 'none'],
    ['warning', 'ids.coverage', '/results', '2 (50.00 %)'],
  ]);
});

test('what does not matter for a task is not said', () => {
  const list = findingList();
  const rules = { what: 'uid', within: '', missing: false, unknown: 'warning', repeated: false } as const;
  checkIds(list, new Set(['a', 'b']), ['a', 'a', 'x'], at, rules);
  expect(list.all().map(({ level, code }) => [level, code])).toEqual([
    ['warning', 'ids.unknown'],
    ['warning', 'ids.coverage'],
  ]);
  expect(checkIds(findingList(), new Set(), [], at, rules).percent).toBe(100);
});

test('millions of missing ids cost a count', () => {
  const list = findingList();
  const asked = new Set(Array.from({ length: 500_000 }, (_, index) => `id${index}`));
  expect(checkIds(list, asked, [], at, { what: 'uid', within: '' }).missing).toBe(500_000);
  expect(list.errors).toBe(500_000);
  expect(list.all()).toHaveLength(102);
});

test('coverage is never rounded up to all', () => {
  expect([percentText(100), percentText(99.99999), percentText(0)]).toEqual(['100.00 %', '99.99 %', '0.00 %']);
});

test('numbers, segments and boxes are told where they break their rule', () => {
  const list = findingList();
  const place = (): string => '/x';
  expect([1, 1n, NaN, Infinity, '1', null].map((value) => checkFinite(list, value, place))).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
  expect(list.errors).toBe(4);
  expect([checkSegment(list, 0, 1, place), checkSegment(list, 1, 1, place), checkSegment(list, 2, 1, place)]).toEqual([
    true,
    false,
    false,
  ]);
  expect(checkSegment(list, NaN, 1, place)).toBe(false);
  expect(list.errors).toBe(6);
  expect([checkCorners(list, [0, 0, 1, 1], place), checkCorners(list, [0, 1, 1, 1], place, 'warning')]).toEqual([
    true,
    false,
  ]);
  expect(list.all().at(-1)).toMatchObject({ level: 'warning', code: 'box.inverted', found: '`[0, 1, 1, 1]`' });
});

test('the first rising score of a list is told', () => {
  const list = findingList();
  expect(checkFalling(list, [3, 2, 2, 1], at)).toBe(true);
  expect(checkFalling(list, [3, 1, 2, 5], at)).toBe(false);
  expect(list.all()).toMatchObject([{ code: 'order.unsorted', at: '/results/2', found: '`2`' }]);
});

test('counts scores that equal another', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), (scores) => {
      const tied = scores.filter((score, index) => scores.some((other, at) => at !== index && other === score));
      expect(tiedScores(scores)).toBe(tied.length);
    }),
  );
  const list = findingList();
  warnTied(list, 0, 5, '');
  warnTied(list, 2, 5, '/results');
  expect(list.all()).toMatchObject([{ level: 'warning', code: 'score.tied', found: '2 of 5 equal to another' }]);
});

test('pointers escape what pointers escape', () => {
  expect(pointer('results', 'a/b~c', 3)).toBe('/results/a~1b~0c/3');
  expect([undefined, null, [1], { a: 1 }, 'x', 1n, NaN, true].map(shown)).toEqual([
    'none',
    '`null`',
    'a list of 1',
    'an object of 1 members',
    '`"x"`',
    '`1`',
    '`NaN`',
    '`true`',
  ]);
});
