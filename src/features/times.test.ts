import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { FeatureClock, RowTime } from '../types.js';
import { parseTimes, timesOf, timesText } from './times.js';

test('a table has the columns of the contract, and seconds with a decimal point', () => {
  const rows: RowTime[] = [
    { index: 0, firstFrame: 0, lastFrame: 31, start: 0, end: 32 / 30 },
    { index: 1, firstFrame: 30, lastFrame: 61, start: 1, end: 2 },
  ];
  expect(timesText(rows)).toBe(
    'index,first_frame,last_frame,start,end\n0,0,31,0.0,1.0666666666666667\n1,30,61,1.0,2.0\n',
  );
  expect(timesText([])).toBe('index,first_frame,last_frame,start,end\n');
});

test('what is written is what is read, to the last bit', () => {
  const row = fc
    .tuple(
      fc.nat(),
      fc.nat(1000),
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      fc.double({ min: 1e-9, max: 1e3, noNaN: true }),
    )
    .filter(([, , start, length]) => start < start + length)
    .map(([first, count, start, length]) => ({
      firstFrame: first,
      lastFrame: first + count,
      start,
      end: start + length,
    }));
  fc.assert(
    fc.property(fc.array(row, { maxLength: 20 }), (list) => {
      const rows = list.map((entry, index) => ({ index, ...entry }));
      expect(parseTimes(timesText(rows), 't.csv')).toEqual(rows);
      expect(parseTimes(timesText(rows).replaceAll('\n', '\r\n'), 't.csv')).toEqual(rows);
    }),
    { seed: 3, numRuns: 200 },
  );
});

const header = 'index,first_frame,last_frame,start,end\n';
test.each([
  ['another header', 'i,a,b,c,d\n', 'line 1: expected `index,first_frame,last_frame,start,end`, found `i,a,b,c,d`'],
  ['an empty file', '', 'line 1: expected'],
  ['a missing cell', `${header}0,0,1,0.0\n`, 'line 2: expected three whole numbers and two decimal numbers'],
  ['an empty cell', `${header}0,0,1,,1.0\n`, 'line 2: expected three whole numbers'],
  ['a decimal frame', `${header}0,0.5,1,0.0,1.0\n`, 'line 2: expected three whole numbers'],
  ['a hexadecimal number', `${header}0,0,1,0x1,2.0\n`, 'line 2: expected three whole numbers'],
  ['a gap in the index', `${header}0,0,1,0.0,1.0\n2,0,1,0.0,1.0\n`, 'line 3: expected index 1'],
  ['frames that run backwards', `${header}0,2,1,0.0,1.0\n`, 'line 2: expected first_frame <= last_frame'],
  ['an empty span', `${header}0,0,1,1.0,1.0\n`, 'line 2: expected start < end'],
])('a table with %s is refused with its line', (_, text, message) => {
  expect(() => parseTimes(text, 't.csv')).toThrow(`\`t.csv\`: ${message}`);
});

const clock: FeatureClock = { rate: { num: 30, den: 1 }, hop: 16, frames: 32, step: 1, tail: 'align', rows: 2 };

test('the last row of an aligned clock lies where the video ends, if that is known', () => {
  // ego4d.md 1.5: 39 frames give the rows [0, 32) and [7, 39).
  expect(timesOf(clock, 39)).toEqual([
    { index: 0, firstFrame: 0, lastFrame: 31, start: 0, end: 32 / 30 },
    { index: 1, firstFrame: 7, lastFrame: 38, start: 7 / 30, end: 39 / 30 },
  ]);
  expect(timesOf(clock)[1]).toMatchObject({ firstFrame: 16, lastFrame: 47 });
  expect(timesOf({ ...clock, tail: 'pad' }, 39)[1]).toMatchObject({ firstFrame: 16 });
  expect(timesOf({ ...clock, rows: 1 }, 20)[0]).toMatchObject({ firstFrame: 0, start: 0 });
});

test('a clock at the rate of the source implies no times', () => {
  expect(() => timesOf({ ...clock, rate: 'source' })).toThrow('no grid');
});
