/** Time tables of feature files: `index,first_frame,last_frame,start,end` (files.md 5). */
import { stringify } from 'csv-stringify/sync';
import { EgolensError } from '../errors.js';
import { readSmallFile } from '../files.js';
import { floatText } from '../json.js';
import { rowSpan, windowExtent } from '../time.js';
import type { FeatureClock, RowTime } from '../types.js';

const columns = ['index', 'first_frame', 'last_frame', 'start', 'end'] as const;

/** The table as text; seconds keep a decimal point, lines end with `\n`. */
export function timesText(rows: readonly RowTime[]): string {
  const records = rows.map((row) => [
    row.index,
    row.firstFrame,
    row.lastFrame,
    floatText(row.start),
    floatText(row.end),
  ]);
  return stringify([columns, ...records]);
}

const whole = /^\d{1,15}$/;
const decimal = /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/;

/** Reads a time table; throws `data.invalid` with the line that breaks its form: indexes from 0, first <= last, start < end. */
export function parseTimes(text: string, where: string): RowTime[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  const fault = (line: number, expected: string): EgolensError =>
    new EgolensError(
      'data.invalid',
      `\`${where}\`: line ${line + 1}: expected ${expected}, found \`${(lines[line] ?? '').slice(0, 80)}\``,
    );
  if (lines[0] !== columns.join(',')) throw fault(0, `\`${columns.join(',')}\``);
  return lines.slice(1).map((line, index) => {
    const cells = line.split(',');
    const [, firstFrame, lastFrame, start, end] = cells.map(Number);
    if (cells.length !== columns.length || !cells.every((cell, i) => (i < 3 ? whole : decimal).test(cell))) {
      throw fault(index + 1, 'three whole numbers and two decimal numbers');
    }
    if (cells[0] !== String(index)) throw fault(index + 1, `index ${index}`);
    // five cells, all numbers: checked above
    const row = { index, firstFrame: firstFrame!, lastFrame: lastFrame!, start: start!, end: end! };
    if (row.firstFrame > row.lastFrame) throw fault(index + 1, 'first_frame <= last_frame');
    if (!(row.start < row.end)) throw fault(index + 1, 'start < end');
    return row;
  });
}

/** The time table in a file, refused above 256 MiB (four million rows). */
export async function readTimes(path: string): Promise<RowTime[]> {
  const bytes = await readSmallFile(path, 256 * 2 ** 20);
  return parseTimes(new TextDecoder().decode(bytes), path);
}

/**
 * The time table that a clock implies, for feature sets that come without one. Frames are those of the clock's own rate. An
 * aligned last row lies on the grid unless `frameCount` says where the video ends.
 *
 * @throws EgolensError data.clock at rate `source`, which has no grid
 */
export function timesOf(clock: FeatureClock, frameCount?: number): RowTime[] {
  const extent = windowExtent(clock);
  return Array.from({ length: clock.rows }, (_, index) => {
    const onGrid = index * clock.hop;
    const isShifted =
      clock.tail === 'align' && index === clock.rows - 1 && frameCount !== undefined && onGrid + extent > frameCount;
    const row = isShifted ? Math.max(0, frameCount - extent) / clock.hop : index;
    const [start, end] = rowSpan(clock, row);
    const firstFrame = Math.floor(row * clock.hop);
    return { index, firstFrame, lastFrame: firstFrame + extent - 1, start, end };
  });
}
