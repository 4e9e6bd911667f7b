import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  frameAt,
  parseRational,
  parseTime,
  rational,
  rationalNumber,
  rationalText,
  rowSpan,
  secondsAt,
  timeText,
  windowExtent,
} from './time.js';
import type { FeatureClock } from './types.js';

const whole = fc.integer({ min: 1, max: 1e6 });
const ntsc = rational(30000, 1001);

test('a fraction is in lowest terms and keeps its value', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e6, max: 1e6 }), whole, whole, (num, den, factor) => {
      const { num: n, den: d } = rational(num * factor, den * factor);
      expect(n * den).toBe(num * d);
      for (let k = 2; k <= Math.min(d, 50); k++) expect(d % k === 0 && n % k === 0).toBe(false);
      expect(rational(num, den)).toEqual({ num: n, den: d });
    }),
  );
  expect(rational(0, 25)).toEqual({ num: 0, den: 1 });
  expect(rational(30)).toEqual({ num: 30, den: 1 });
});

test.each([
  [1.5, 1],
  [1, 0],
  [1, -2],
  [NaN, 1],
  [2 ** 53, 1],
])('%d/%d is no fraction', (num, den) => {
  expect(() => rational(num, den)).toThrow(expect.objectContaining({ code: 'data.invalid' }));
});

test.each([
  ['30', 30, 1],
  ['30000/1001', 30000, 1001],
  ['60/2', 30, 1],
  ['29.97', 2997, 100],
  ['23.976', 2997, 125],
  ['0', 0, 1],
])('`%s` is read as %d/%d', (text, num, den) => {
  expect(parseRational(text)).toEqual({ num, den });
});

test.each([['30/0'], ['30/00'], ['-30'], ['1e3'], ['30 /1'], [''], ['.5'], ['30/1/1'], ['29.9700001'], ['ntsc']])(
  '`%s` is refused as a rate',
  (text) => {
    expect(() => parseRational(text)).toThrow(
      expect.objectContaining({
        code: 'usage.flag',
        message: `expected a rate such as \`30\`, \`29.97\` or \`30000/1001\`, found \`${text}\``,
      }),
    );
  },
);

test('the text of a fraction reads back as itself', () => {
  fc.assert(
    fc.property(whole, whole, (num, den) => {
      const value = rational(num, den);
      expect(parseRational(rationalText(value))).toEqual(value);
      expect(rationalNumber(value)).toBe(num / den);
    }),
  );
});

test('over twelve hours at 30000/1001 every sample is on display at its own time, and the one before it 2 ms earlier', () => {
  let wrong = 0;
  for (let frame = 1; frame < 12 * 3600 * 30; frame++) {
    const seconds = secondsAt(frame, ntsc);
    if (frameAt(seconds, ntsc) !== frame || frameAt(seconds - 0.002, ntsc) !== frame - 1) wrong++;
  }
  expect(wrong).toBe(0);
  expect(secondsAt(30000 * 3600, ntsc)).toBe(1001 * 3600);
});

test('at any rate up to 500 the sample on display at the time of a sample is that sample, as half a millisecond before it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 500_000 }),
      fc.integer({ min: 1000, max: 1001 }),
      fc.nat(1e7),
      (num, den, frame) => {
        const rate = rational(num, den);
        expect(frameAt(secondsAt(frame, rate), rate)).toBe(frame);
        expect(frameAt(secondsAt(frame, rate) - 0.0005, rate)).toBe(frame);
      },
    ),
  );
});

const clock: FeatureClock = { rate: rational(30), hop: 16, frames: 16, step: 2, tail: 'align', rows: 9 };

test('a row begins at its hop and covers the extent of its window', () => {
  expect(windowExtent(clock)).toBe(31);
  expect(rowSpan(clock, 0)).toEqual([0, 31 / 30]);
  expect(rowSpan(clock, 5)).toEqual([80 / 30, 111 / 30]);
  expect(rowSpan({ ...clock, hop: 16.043, step: 1 }, 2)).toEqual([32.086 / 30, 48.086 / 30]);
  expect(rowSpan({ ...clock, rate: ntsc }, 1)).toEqual([(16 * 1001) / 30000, (47 * 1001) / 30000]);
});

test('a clock at rate `source` has no grid', () => {
  expect(() => rowSpan({ ...clock, rate: 'source' }, 0)).toThrow(expect.objectContaining({ code: 'data.clock' }));
});

test.each([
  ['90', 90],
  ['1:30', 90],
  ['0:01:30.5', 90.5],
  ['90:00', 5400],
  ['10:00:00', 36000],
  ['0.25', 0.25],
])('`%s` is %d seconds', (text, seconds) => {
  expect(parseTime(text)).toBe(seconds);
});

test.each([[''], ['-1'], ['1:2:3:4'], ['1m'], ['1:-3'], ['1.5:30'], ['1e9'], [':30'], ['9'.repeat(400)]])(
  '`%s` is refused as a time',
  (text) => {
    expect(() => parseTime(text)).toThrow(expect.objectContaining({ code: 'usage.flag' }));
  },
);

test('a time is written to the millisecond, carried over whole minutes and hours', () => {
  expect(timeText(0)).toBe('00:00:00.000');
  expect(timeText(90.5)).toBe('00:01:30.500');
  expect(timeText(3599.9996)).toBe('01:00:00.000');
  expect(timeText(360_000)).toBe('100:00:00.000');
  expect(timeText(-3)).toBe('00:00:00.000');
});

test('a time that was written reads back to the millisecond', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e9 }), (milliseconds) => {
      expect(parseTime(timeText(milliseconds / 1000))).toBeCloseTo(milliseconds / 1000, 6);
    }),
  );
});
