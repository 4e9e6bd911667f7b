import { EgolensError } from './errors.js';
import type { FeatureClock, Rational, Seconds, Span } from './types.js';

/** A sample is the frame on display at its time; a time stamp this much later still counts as on time (files.md 2). */
export const displayTolerance: Seconds = 0.001;

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** num/den in lowest terms; both must be safe integers, den > 0. */
export function rational(num: number, den = 1): Rational {
  if (!Number.isSafeInteger(num) || !Number.isSafeInteger(den) || den <= 0) {
    throw new EgolensError(
      'data.invalid',
      `expected a fraction of whole numbers with a positive denominator, found ${num}/${den}`,
    );
  }
  const divisor = gcd(Math.abs(num), den);
  return { num: num / divisor, den: den / divisor };
}

/** Reads `30`, `30000/1001`, `29.97` (as 2997/100). */
export function parseRational(text: string): Rational {
  const fraction = /^(\d{1,12})\/(?!0+$)(\d{1,12})$/.exec(text);
  if (fraction) return rational(Number(fraction[1]), Number(fraction[2]));
  const decimal = /^(\d{1,9})(?:\.(\d{1,6}))?$/.exec(text);
  if (!decimal)
    throw new EgolensError(
      'usage.flag',
      `expected a rate such as \`30\`, \`29.97\` or \`30000/1001\`, found \`${text}\``,
    );
  const places = decimal[2] ?? '';
  return rational(Number(decimal[1]! + places), 10 ** places.length);
}

/** `30000/1001`, always with its denominator. */
export function rationalText(value: Rational): string {
  return `${value.num}/${value.den}`;
}

export function rationalNumber(value: Rational): number {
  return value.num / value.den;
}

/** Time of sample `index` (it may lie between samples) on a grid of `rate` samples a second; one rounding for a whole index. */
export function secondsAt(index: number, rate: Rational): Seconds {
  return (index * rate.den) / rate.num;
}

/** Index of the sample on display at `seconds` (the last one at or before it, within the display tolerance): the inverse of `secondsAt` up to 500 samples a second. */
export function frameAt(seconds: Seconds, rate: Rational): number {
  return Math.floor(((seconds + displayTolerance) * rate.num) / rate.den);
}

/** Frames that one window spans: `extent`, else (frames - 1) * step + 1. */
export function windowExtent(clock: Pick<FeatureClock, 'frames' | 'step' | 'extent'>): number {
  return clock.extent ?? (clock.frames - 1) * clock.step + 1;
}

/** The span of row `row` on the clock's grid; the aligned last row of a sequence needs its time table instead. A clock at rate `source` has no grid: throws `data.clock`. */
export function rowSpan(clock: FeatureClock, row: number): Span {
  const { rate } = clock;
  if (rate === 'source')
    throw new EgolensError('data.clock', 'rows at rate `source` have no grid; expected their time table');
  const first = row * clock.hop;
  return [secondsAt(first, rate), secondsAt(first + windowExtent(clock), rate)];
}

/** `90`, `1:30`, `0:01:30.5` -> seconds. */
export function parseTime(text: string): Seconds {
  const match = /^(?:(?:(\d{1,6}):)?(\d{1,2}):)?(\d{1,9}(?:\.\d+)?)$/.exec(text);
  if (!match) throw new EgolensError('usage.flag', `expected seconds or hh:mm:ss.mmm, found \`${text}\``);
  return Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3]);
}

/** `hh:mm:ss.mmm` */
export function timeText(seconds: Seconds): string {
  const total = Math.round(Math.max(0, seconds) * 1000);
  const two = (n: number): string => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(total / 3_600_000), Math.floor(total / 60_000) % 60, Math.floor(total / 1000) % 60];
  return `${two(h)}:${two(m)}:${two(s)}.${String(total % 1000).padStart(3, '0')}`;
}
