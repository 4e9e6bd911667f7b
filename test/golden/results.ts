import { expect } from 'vitest';

/** One compared array of a case. */
export interface Comparison {
  readonly what: string;
  /** Largest absolute difference. */
  readonly error: number;
  readonly tolerance: number;
}

/** What a runner of a family does with one case folder: what it compared, or why it could not. */
export type Runner = (path: string) => Promise<readonly Comparison[] | { readonly skipped: string }>;

/** Largest |a - b|; infinite when the lengths differ or a value is NaN. */
export function maxAbs(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Infinity : difference;
  }
  return worst;
}

/** Prints the case's line and fails when a comparison is out of its tolerance. */
export function report(name: string, comparisons: Awaited<ReturnType<Runner>>): void {
  if ('skipped' in comparisons) {
    console.log(`skipped ${name.padEnd(36)} ${comparisons.skipped}`);
    return;
  }
  expect(comparisons.length, `${name}: nothing was compared`).toBeGreaterThan(0);
  const worst = comparisons.reduce((a, b) => (b.error / b.tolerance > a.error / a.tolerance ? b : a));
  const verdict = worst.error <= worst.tolerance ? 'ok' : 'FAILED';
  console.log(
    `${verdict.padEnd(7)} ${name.padEnd(36)} worst error ${worst.error.toExponential(2)} of ${worst.tolerance.toExponential(2)} (${worst.what}; ${comparisons.length} compared)`,
  );
  for (const { what, error, tolerance } of comparisons)
    expect(error, `${name}: ${what}`).toBeLessThanOrEqual(tolerance);
}
