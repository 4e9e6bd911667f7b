import { expect, test } from 'vitest';
import type { GraphBuilder } from '../graph/builder.js';
import { mean, mul, sum } from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { seededRandom } from '../random.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { decayMatrices } from './groups.js';
import {
  binaryCrossEntropy,
  classTargets,
  distanceIou,
  focalLoss,
  meanSquaredError,
  softCrossEntropy,
  weightedCrossEntropy,
  whereCounted,
} from './losses.js';
import { adamw } from './optimiser.js';
import { openTraining } from './step.js';

const [rows, columns] = [4, 3];
const random = seededRandom(3, 'losses');
const normal = (): number[] => Array.from({ length: rows * columns }, () => 2 * random.normal());
const targets = classTargets([0, 2, 1, 1], columns, 0.1);
const constant = (g: GraphBuilder, values: readonly number[], shape: readonly number[]): Value =>
  g.constant(tensor('float32', shape, Float32Array.from(values)));

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const rowOf = (x: readonly number[], row: number, size = columns): number[] => x.slice(row * size, (row + 1) * size);
const logSoftmax = (row: readonly number[]): number[] => row.map((value) => value - Math.log(total(row.map(Math.exp))));
const entropies = (x: readonly number[]): number[] =>
  Array.from(
    { length: rows },
    (_, row) => -total(logSoftmax(rowOf(x, row)).map((p, i) => p * targets.data[row * columns + i]!)),
  );
const bits = Array.from(targets.data, (value) => (value > 0.5 ? 1 : 0));
const softplus = (x: number): number => Math.log1p(Math.exp(x));
const spans = [1, 2, 0.5, 4, 3, 3, 0, 0]; // the last row does not count
const counted = [1, 1, 1, 0];

function diou(x: readonly number[]): number {
  return total(
    counted.map((isCounted, row) => {
      if (isCounted === 0) return 0;
      const [p, t] = [rowOf(x, row, 2), rowOf(spans, row, 2)];
      const inter = Math.min(p[0]!, t[0]!) + Math.min(p[1]!, t[1]!);
      const hull = Math.max(p[0]!, t[0]!) + Math.max(p[1]!, t[1]!);
      const apart = (p[1]! - p[0]! - t[1]! + t[0]!) / 2 / hull;
      return 1 - inter / (total(p) + total(t) - inter) + apart ** 2;
    }),
  );
}

/** What the graph computes, the same in double precision, and where. */
const cases: readonly {
  name: string;
  graph: (g: GraphBuilder, x: Value) => Value;
  reference: (x: readonly number[]) => number;
  x?: Tensor<'float32'>;
}[] = [
  {
    name: 'cross-entropy with smoothed targets',
    graph: (g, x) => softCrossEntropy(g, x, g.constant(targets)),
    reference: (x) => total(entropies(x)) / rows,
  },
  {
    name: 'cross-entropy over the rows that count',
    graph: (g, x) => weightedCrossEntropy(g, x, g.constant(targets), constant(g, [1, 0, 2, 1], [4])),
    reference: (x) => total(entropies(x).map((value, i) => value * [1, 0, 2, 1][i]!)) / 4,
  },
  {
    name: 'mean squared error',
    graph: (g, x) => meanSquaredError(g, x, g.constant(targets)),
    reference: (x) => total(x.map((value, i) => (value - targets.data[i]!) ** 2)) / x.length,
  },
  {
    name: 'binary cross-entropy with logits',
    graph: (g, x) => mean(g, binaryCrossEntropy(g, x, g.constant(targets)), [0, 1]),
    reference: (x) => total(x.map((value, i) => softplus(value) - value * targets.data[i]!)) / x.length,
  },
  {
    name: 'focal loss',
    graph: (g, x) => sum(g, focalLoss(g, x, constant(g, bits, [rows, columns])), [0, 1]),
    reference: (x) =>
      total(
        x.map((value, i) => {
          const p = 1 / (1 + Math.exp(-value));
          const [alpha, right] = bits[i] === 1 ? [0.25, p] : [0.75, 1 - p];
          return -alpha * (1 - right) ** 2 * Math.log(right);
        }),
      ),
  },
  {
    name: 'distance IoU of the rows that count',
    graph(g, x) {
      const mask = constant(g, counted, [4, 1]);
      const [found, wanted] = [x, constant(g, spans, [4, 2])].map((value) => whereCounted(g, value, mask));
      return sum(g, mul(g, distanceIou(g, found!, wanted!), mask), [0, 1]);
    },
    reference: diou,
    x: tensor('float32', [4, 2], Float32Array.of(0.7, 2.6, 1.3, 3.1, 2.2, 1.7, 0, 0)),
  },
];

test.each(cases)('$name: value and gradient are those of double precision', async ({ graph, reference, x: given }) => {
  const x = given ?? tensor('float32', [rows, columns], Float32Array.from(normal()));
  const description = {
    name: 'loss',
    groups: decayMatrices(0),
    optimiser: { rule: adamw },
    forward: (g: GraphBuilder) => ({ loss: graph(g, g.param('x', x.shape)) }),
  };
  await using training = await openTraining(description, new Map([['x', x]]), { device: 'cpu', threads: 1 });
  const gradient = (await training.gradients({})).get('x')!.data;
  const { loss } = await training.run({}, 0);
  const values = Array.from(x.data);
  expect(loss).toBeCloseTo(reference(values), 5);
  values.forEach((value, i) => {
    const step = 1e-5;
    const [up, down] = [step, -step].map((by) => reference(values.map((one, j) => (j === i ? value + by : one))));
    expect(gradient[i]).toBeCloseTo((up! - down!) / (2 * step), 5);
  });
});

test('a binary cross-entropy of large logits stays finite', async () => {
  const x = tensor('float32', [2], Float32Array.of(200, -200));
  const description = {
    name: 'loss',
    groups: decayMatrices(0),
    optimiser: { rule: adamw },
    forward: (g: GraphBuilder) => ({
      loss: mean(g, binaryCrossEntropy(g, g.param('x', [2]), constant(g, [0, 1], [2])), [0]),
    }),
  };
  await using training = await openTraining(description, new Map([['x', x]]), { device: 'cpu', threads: 1 });
  expect((await training.run({}, 0)).loss).toBeCloseTo(200, 3);
});

test('class targets sum to one in each row', () => {
  expect(Array.from(classTargets([1], 2, 0.2).data)).toEqual([0.1, 0.9].map(Math.fround));
});
