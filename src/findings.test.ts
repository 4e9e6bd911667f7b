import { expect, test } from 'vitest';
import { countFindings, findingList, isMore, withLine } from './findings.js';
import { parseJson } from './json-reader.js';

const fault = { at: '/a/1', expected: 'x', found: 'y' };

test('keeps the first of each code and counts all of them', () => {
  const list = findingList(undefined, 2);
  let details = 0;
  for (let i = 0; i < 1_000_000; i++) {
    list.error('a.b', () => {
      details++;
      return fault;
    });
  }
  list.warning('c.d', () => fault);
  expect(details).toBe(2);
  expect([list.errors, list.warnings]).toEqual([1_000_000, 1]);
  expect(list.all().map(({ level, code }) => [level, code])).toEqual([
    ['error', 'a.b'],
    ['error', 'a.b'],
    ['warning', 'c.d'],
    ['error', 'a.b'],
  ]);
  expect(list.all().filter(isMore)).toMatchObject([{ more: 999_998, found: '999998 more' }]);
  expect(countFindings(list.all())).toEqual({ errors: 1_000_000, warnings: 1, atLeast: false });
});

test('counts of another list carry over', () => {
  const first = findingList(undefined, 1);
  first.error('a.b', () => fault);
  first.error('a.b', () => fault);
  const second = findingList(undefined, 1);
  second.error('a.b', () => fault);
  second.add(first.all());
  second.add([{ level: 'error', code: 'a.b', at: '', expected: '', found: '', more: 5, atLeast: true } as never]);
  expect(second.errors).toBe(8);
  expect(countFindings(second.all())).toEqual({ errors: 8, warnings: 0, atLeast: true });
});

test('a finding gets the line of its value, and a missing member that of what lacks it', () => {
  const document = parseJson('a.json', '{\n"a": [\n0,\n1]}');
  const finding = { level: 'error', code: 'a.b', ...fault } as const;
  expect(withLine(finding, document).line).toBe(4);
  expect(withLine({ ...finding, at: '/a/7/x' }, document).line).toBe(2);
  expect(withLine({ ...finding, at: '/b' }, document).line).toBe(1);
  expect(withLine(finding, undefined)).toBe(finding);
});
