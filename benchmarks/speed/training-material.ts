/** Models whose training is measured: stacks of transformer blocks as an encoder has them, a linear probe, and next to nothing. */
import type { GraphBuilder } from '../../src/graph/builder.js';
import { linear, mean, mul } from '../../src/graph/layers.js';
import type { Value } from '../../src/graph/ops.js';
import { block, type Tower } from '../../src/models/videomae.js';
import { seededRandom } from '../../src/random.js';
import { sizeOf, tensor } from '../../src/tensor.js';
import { stepGraphs, type StepDescription } from '../../src/train/graphs.js';
import { decayMatrices } from '../../src/train/groups.js';
import { classTargets, softCrossEntropy } from '../../src/train/losses.js';
import { adamw } from '../../src/train/optimiser.js';
import type { Weights } from '../../src/train/step.js';
import type { AnyTensor, Tensor } from '../../src/types.js';

/** A stack of blocks: `384/6/4/196/4`. */
export interface Stack {
  readonly width: number;
  readonly heads: number;
  readonly blocks: number;
  readonly tokens: number;
  readonly batch: number;
}

/** Something to train, with one batch for it; evaluation `forward` gives the loss alone, of the same graph. */
export interface Trained {
  readonly description: StepDescription;
  readonly weights: Weights;
  readonly batch: Readonly<Record<string, AnyTensor>>;
}

/** The mean square of what a stack of blocks gives. */
export function stackModel({ width, heads, blocks, tokens, batch }: Stack): Trained {
  const tower: Tower = {
    ...{ width, heads, depth: blocks, hidden: 4 * width, epsilon: 1e-6 },
    ...{ qvBias: true, layerScale: false, cosine: false },
  };
  return trained({ x: [batch, tokens, width] }, (g, { x }) => {
    let y = x!;
    for (let i = 0; i < blocks; i++)
      y = g.scope(`blocks.${i}`, () => block(g, y, tower, { input: 'normalised', form: 'separate' }));
    return mean(g, mul(g, y, y), [0, 1, 2]);
  });
}

/** A linear classifier over features. */
export function probeModel(batch: number, width: number, classes: number): Trained {
  const made = trained({ x: [batch, width], targets: [batch, classes] }, (g, { x, targets }) =>
    softCrossEntropy(g, linear(g, x!, 'head', classes), targets!),
  );
  const labels = Array.from({ length: batch }, (_, i) => i % classes);
  return { ...made, batch: { ...made.batch, targets: classTargets(labels, classes) } };
}

function trained(
  inputs: Readonly<Record<string, readonly number[]>>,
  lossOf: (g: GraphBuilder, values: Readonly<Record<string, Value>>) => Value,
): Trained {
  const forward = (g: GraphBuilder): { readonly loss: Value } => {
    const values = Object.entries(inputs).map(([name, shape]) => [name, g.input(name, 'float32', shape)] as const);
    return { loss: lossOf(g, Object.fromEntries(values)) };
  };
  const description: StepDescription = {
    name: 'bench',
    forward,
    groups: decayMatrices(0.05),
    optimiser: { rule: adamw, clip: 1 },
    evaluations: { forward },
  };
  const random = seededRandom(1, 'training');
  const normal = (shape: readonly number[], deviation: number): Tensor<'float32'> =>
    tensor(
      'float32',
      shape,
      Float32Array.from({ length: sizeOf(shape) }, () => deviation * random.normal()),
    );
  return {
    description,
    weights: new Map(stepGraphs(description).trained.map(({ name, shape }) => [name, normal(shape, 0.05)])),
    batch: Object.fromEntries(Object.entries(inputs).map(([name, shape]) => [name, normal(shape, 1)])),
  };
}
