/** A small model for tests: two layers and a classifier on rows of numbers. */
import { linear, relu } from '../graph/layers.js';
import { seededRandom } from '../random.js';
import { sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { TensorsByName } from '../runtime/training-session.js';
import type { StepDescription } from './graphs.js';
import { decayMatrices } from './groups.js';
import { classTargets, softCrossEntropy } from './losses.js';
import { adamw } from './optimiser.js';
import type { Weights } from './step.js';

const [width, hidden, classes] = [6, 8, 3];

/** A step for batches of `batch` rows; evaluation `scores` gives logits of any number of rows. */
export function toyStep(batch: number, overrides: Partial<StepDescription> = {}): StepDescription {
  return {
    name: 'toy',
    sizes: { batch },
    groups: decayMatrices(0.01),
    optimiser: { rule: adamw, clip: 1, average: 0.9 },
    forward(g) {
      const x = g.input('x', 'float32', ['batch', width]);
      const targets = g.input('targets', 'float32', ['batch', classes]);
      const loss = softCrossEntropy(g, linear(g, relu(g, linear(g, x, 'body', hidden)), 'head', classes), targets);
      return { loss, parts: { cross_entropy: loss } };
    },
    evaluations: {
      scores(g) {
        const x = g.input('x', 'float32', ['batch', width]);
        return { logits: linear(g, relu(g, linear(g, x, 'body', hidden)), 'head', classes) };
      },
    },
    ...overrides,
  };
}

export function toyWeights(seed = 1): Weights {
  const random = seededRandom(seed, 'weights');
  const normal = (shape: readonly number[]): Tensor<'float32'> =>
    tensor(
      'float32',
      shape,
      Float32Array.from({ length: sizeOf(shape) }, () => 0.3 * random.normal()),
    );
  return new Map([
    ['body.weight', normal([hidden, width])],
    ['body.bias', normal([hidden])],
    ['head.weight', normal([classes, hidden])],
    ['head.bias', normal([classes])],
  ]);
}

/** Rows by their numbers: the class of a row is where its first three values are largest. */
export function toyBatch(rows: readonly number[]): TensorsByName {
  const x = new Float32Array(rows.length * width);
  const labels = rows.map((row, i) => {
    const random = seededRandom(row, 'row');
    const values = Array.from({ length: width }, () => random.normal());
    x.set(values, i * width);
    return values.indexOf(Math.max(...values.slice(0, classes)));
  });
  return { x: tensor('float32', [rows.length, width], x), targets: classTargets(labels, classes) };
}
