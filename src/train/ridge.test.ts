import { expect, test } from 'vitest';
import { seededRandom } from '../random.js';
import { columnStatistics, fitRidge } from './ridge.js';

/** Rows of three classes around centres of their own, in columns of unlike means and sizes. */
function clusters(
  count: number,
  width: number,
  seed: number,
): { rows: Float32Array<ArrayBuffer>[]; labels: Int32Array } {
  const random = seededRandom(seed, 'clusters');
  const centres = Array.from({ length: 3 }, () => Array.from({ length: width }, () => random.normal()));
  const labels = Int32Array.from({ length: count }, (_, i) => i % 3);
  const rows = Array.from(labels, (label) =>
    Float32Array.from({ length: width }, (_, j) => 5 * j + (1 + j) * (centres[label]![j]! + 0.8 * random.normal())),
  );
  return { rows, labels };
}

test('solves the normal equations: the gradient of the penalised error is 0', () => {
  const { rows, labels } = clusters(60, 4, 1);
  const { mean, variance } = columnStatistics(rows, 4);
  const penalty = 0.1;
  const [fit] = fitRidge(rows, { mean, variance }, [{ labels, classes: 3 }], { epsilon: 1e-6, penalties: [penalty] });
  const standard = rows.map((row) =>
    Array.from(row, (value, j) => (value - mean[j]!) / Math.sqrt(variance[j]! + 1e-6)),
  );
  // The scale multiplies both; the bias of a class is its share, a third.
  const scale = fit!.bias[0]! * 3;
  for (let c = 0; c < 3; c++) {
    const weights = Array.from(fit!.weights.subarray(4 * c, 4 * c + 4), (value) => value / scale);
    for (let j = 0; j < 4; j++) {
      let slope = penalty * rows.length * weights[j]!;
      standard.forEach((row, i) => {
        const score = 1 / 3 + row.reduce((sum, value, k) => sum + value * weights[k]!, 0);
        slope += (score - Number(labels[i] === c)) * row[j]!;
      });
      expect(Math.abs(slope)).toBeLessThan(1e-9);
    }
  }
});

test('its leave-one-out accuracy is that of fits without each row', () => {
  const { rows, labels } = clusters(24, 3, 2);
  const statistics = columnStatistics(rows, 3);
  const options = { epsilon: 1e-6, penalties: [0.3] };
  const [whole] = fitRidge(rows, statistics, [{ labels, classes: 3 }], options);
  // Without row i, in the standardisation of all: the intercept takes part, so that columns of the others need no mean of 0.
  const standard = rows.map((row) =>
    Array.from(row, (value, j) => (value - statistics.mean[j]!) / Math.sqrt(statistics.variance[j]! + 1e-6)),
  );
  let hits = 0;
  for (let i = 0; i < rows.length; i++) {
    const others = standard.map((_, k) => k).filter((k) => k !== i);
    const scores = [0, 1, 2].map((c) => {
      const solution = leastSquares(
        others.map((k) => [...standard[k]!, 1]),
        others.map((k) => Number(labels[k] === c)),
        [0.3 * rows.length, 0.3 * rows.length, 0.3 * rows.length, 0],
      );
      return [...standard[i]!, 1].reduce((sum, value, k) => sum + value * solution[k]!, 0);
    });
    hits += Number(scores.indexOf(Math.max(...scores)) === labels[i]);
  }
  expect(whole!.accuracy).toBe(hits / rows.length);
});

/** Gauss elimination of (X^T X + diag) w = X^T y. */
function leastSquares(x: readonly number[][], y: readonly number[], added: readonly number[]): number[] {
  const n = added.length;
  const table = Array.from({ length: n }, (_, a) => [
    ...Array.from({ length: n }, (_, b) => x.reduce((sum, row) => sum + row[a]! * row[b]!, a === b ? added[a]! : 0)),
    x.reduce((sum, row, i) => sum + row[a]! * y[i]!, 0),
  ]);
  for (let a = 0; a < n; a++) {
    for (let b = a + 1; b < n; b++) {
      const factor = table[b]![a]! / table[a]![a]!;
      for (let k = a; k <= n; k++) table[b]![k]! -= factor * table[a]![k]!;
    }
  }
  const w = new Array<number>(n).fill(0);
  for (let a = n - 1; a >= 0; a--) {
    const known = w.reduce((sum, value, k) => sum + (k > a ? value * table[a]![k]! : 0), 0);
    w[a] = (table[a]![n]! - known) / table[a]![a]!;
  }
  return w;
}

test('more columns than rows, and a column that never changes, are no trouble', () => {
  const { rows, labels } = clusters(9, 40, 3);
  for (const row of rows) row[7] = 2;
  const [fit] = fitRidge(rows, columnStatistics(rows, 40), [{ labels, classes: 3 }], { epsilon: 1e-6 });
  expect([...fit!.weights, ...fit!.bias].every((value) => Number.isFinite(value))).toBe(true);
  expect(fit!.weights[7]).toBeCloseTo(0, 9);
});

test('noise asks for a large penalty', () => {
  const random = seededRandom(4, 'noise');
  const rows = Array.from({ length: 60 }, () => Float32Array.from({ length: 50 }, () => random.normal()));
  const labels = Int32Array.from(rows, (row, i) => Number(row[0]! + 0.1 * (i % 2) > 0));
  const [fit] = fitRidge(rows, columnStatistics(rows, 50), [{ labels, classes: 2 }], { epsilon: 1e-6 });
  expect(fit!.penalty).toBeGreaterThanOrEqual(0.03);
});

test('no rows are refused', () => {
  expect(() => fitRidge([], columnStatistics([], 2), [], { epsilon: 1 })).toThrow(/at least one row/);
});
