/** How far two feature files are apart, row by row. */
import { EgolensError } from '../errors.js';
import { rationalText, windowExtent } from '../time.js';
import { shapeText, sizeOf } from '../tensor.js';
import type { FeatureClock, Finding } from '../types.js';
import type { FeatureFile } from './reader.js';

export interface RowDifference {
  readonly index: number;
  /** In [-1, 1]; two rows of zeros have 1, a row of zeros and another 0. */
  readonly cosine: number;
  readonly maxAbs: number;
}

export interface Comparison {
  /** Rows that both files have, all their values finite. */
  readonly rows: readonly RowDifference[];
  /** Over `rows`; 1 and 0 when there are none. */
  readonly minCosine: number;
  readonly maxAbs: number;
  /** Other counts of rows, other clocks, rows that are not finite: what a caller must not overlook. */
  readonly findings: readonly Finding[];
}

/** Findings of rows that are not finite stop after this many. */
const maxRowFindings = 50;

/** Do rows of both clocks mean the same windows? Rate, hop, frames and step are equal; tail and count do not matter. */
export function sameClock(a: FeatureClock, b: FeatureClock): boolean {
  const rate = (clock: FeatureClock): string => (clock.rate === 'source' ? clock.rate : rationalText(clock.rate));
  return (
    rate(a) === rate(b) &&
    a.hop === b.hop &&
    a.frames === b.frames &&
    a.step === b.step &&
    windowExtent(a) === windowExtent(b)
  );
}

/** `30/1, hop 16, frames 32, step 1`, for messages. */
export function clockText({ rate, hop, frames, step, extent }: FeatureClock): string {
  const span = extent === undefined ? '' : `, extent ${extent}`;
  return `${rate === 'source' ? rate : rationalText(rate)}, hop ${hop}, frames ${frames}, step ${step}${span}`;
}

/**
 * Cosine and largest difference of each row, read in blocks: memory does not grow with the arrays.
 *
 * @throws EgolensError data.shape when the rows have another shape
 */
export async function compareFeatures(a: FeatureFile, b: FeatureFile): Promise<Comparison> {
  const [rowsA = 0, ...rowShape] = a.shape;
  const [rowsB = 0, ...otherShape] = b.shape;
  if (shapeText(rowShape) !== shapeText(otherShape)) {
    throw new EgolensError(
      'data.shape',
      `rows of \`${a.path}\` have shape ${shapeText(rowShape)}, those of \`${b.path}\` ${shapeText(otherShape)}`,
    );
  }
  const findings = [...countFindings(rowsA, rowsB), ...clockFindings(a.clock, b.clock)];
  const width = sizeOf(rowShape);
  const step = Math.max(1, Math.floor(2 ** 20 / Math.max(1, width)));
  const rows: RowDifference[] = [];
  let index = 0;
  let notFinite = 0;
  const others = b.blocks(step)[Symbol.asyncIterator]();
  try {
    for await (const { shape, data } of a.blocks(step)) {
      const other = await others.next();
      if (other.done === true) break;
      const count = Math.min(shape[0] ?? 0, other.value.shape[0] ?? 0);
      for (let row = 0; row < count; row++, index++) {
        const difference = differenceOf(data, other.value.data, row * width, width);
        if (difference !== undefined) rows.push({ index, ...difference });
        else if (++notFinite <= maxRowFindings) findings.push(rowFinding(index));
      }
    }
  } finally {
    await others.return?.();
  }
  return {
    rows,
    minCosine: rows.reduce((least, { cosine }) => Math.min(least, cosine), 1),
    maxAbs: rows.reduce((most, { maxAbs }) => Math.max(most, maxAbs), 0),
    findings,
  };
}

/** Undefined when a value is not finite. */
function differenceOf(
  a: Float32Array,
  b: Float32Array,
  from: number,
  width: number,
): Omit<RowDifference, 'index'> | undefined {
  let dot = 0;
  let squareA = 0;
  let squareB = 0;
  let maxAbs = 0;
  for (let i = from; i < from + width; i++) {
    const [x, y] = [a[i]!, b[i]!]; // both blocks have these rows
    dot += x * y;
    squareA += x * x;
    squareB += y * y;
    maxAbs = Math.max(maxAbs, Math.abs(x - y));
  }
  // Squares of float32 fit in a double, so a sum is infinite or NaN only where a value is.
  if (!Number.isFinite(squareA + squareB)) return undefined;
  if (squareA === 0 || squareB === 0) return { cosine: squareA === squareB ? 1 : 0, maxAbs };
  return { cosine: Math.max(-1, Math.min(1, dot / Math.sqrt(squareA * squareB))), maxAbs };
}

function countFindings(a: number, b: number): Finding[] {
  if (a === b) return [];
  return [{ level: 'error', code: 'data.shape', at: '', expected: `${a} rows`, found: `${b} rows` }];
}

function clockFindings(a: FeatureClock | undefined, b: FeatureClock | undefined): Finding[] {
  if (a === undefined && b === undefined) return [];
  const text = (clock: FeatureClock | undefined): string => (clock === undefined ? 'no clock' : clockText(clock));
  if (a === undefined || b === undefined) {
    const hint = 'name the clock of a file without a meta file: `--clock ego4d-grid`';
    return [{ level: 'warning', code: 'data.clock', at: '/clock', expected: text(a), found: text(b), hint }];
  }
  if (sameClock(a, b)) return [];
  return [{ level: 'error', code: 'data.clock', at: '/clock', expected: text(a), found: text(b) }];
}

function rowFinding(index: number): Finding {
  return {
    level: 'error',
    code: 'data.not_finite',
    at: `/${index}`,
    expected: 'finite numbers',
    found: 'NaN or infinity',
  };
}
