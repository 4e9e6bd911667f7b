import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { GraphBuilder } from './builder.js';
import * as op from './layers.js';
import type { OpAttrs, Value, Vjp } from './ops.js';
import { expandLike, fit, integersIn, isFixed, madeBy, positive, ruleOf, scalarLike, shaped } from './vjp.js';

/** Derivative rules of sums over axes, and of what normalises by them. */

/** A reduced value with its axes kept as 1, to be broadcast against x. */
function kept(g: GraphBuilder, reduced: Value, x: Value, axes: readonly number[]): Value {
  const gone = new Set(axes.map((axis) => positive(axis, x.shape.length)));
  return shaped(
    g,
    reduced,
    x.shape.map((dim, i) => (gone.has(i) ? 1 : dim)),
    x,
  );
}

type Reduction = OpAttrs['ReduceMean'];

export const sum: Vjp<OpAttrs['ReduceSum']> = ruleOf((g, dz, { inputs: [x, axes] }) => [
  expandLike(g, kept(g, dz, x!, integersIn(axes!)), x!),
  undefined,
]);

export const mean = ruleOf<Reduction>((g, dz, { inputs: [x], attrs: { axes } }) => {
  const count = axes.reduce((product, axis) => product * sizeAt(x!, axis), 1);
  const share = op.mul(g, dz, scalarLike(g, 1 / count, dz));
  return [expandLike(g, kept(g, share, x!, axes), x!)];
});

function sizeAt(x: Value, axis: number): number {
  const size = x.shape[positive(axis, x.shape.length)];
  if (typeof size === 'number') return size;
  throw new EgolensError(
    'data.shape',
    `\`${x.name}\` ${shapeText(x.shape)}: expected a known size along axis ${axis} for the gradient of a mean over it`,
    { try: 'build the training graph for one batch size, or divide a sum by a count that is an input' },
  );
}

/** All elements that are the largest share the gradient. */
export const max = ruleOf<Reduction>((g, dz, { inputs: [x], z, attrs: { axes } }) => {
  const isLargest = op.cast(g, op.equal(g, x!, kept(g, z, x!, axes)), dz.dtype);
  const share = op.div(g, kept(g, dz, x!, axes), op.sum(g, isLargest, axes, 1));
  return [op.mul(g, isLargest, share)];
});

/** x / z, and 0 at x = 0, where there is none. */
export const l2 = ruleOf<Reduction>((g, dz, { inputs: [x], z, attrs: { axes } }) => {
  const ratio = op.div(g, dz, op.max(g, z, scalarLike(g, z.dtype === 'float16' ? 2 ** -24 : 1e-30, z)));
  return [op.mul(g, x!, kept(g, ratio, x!, axes))];
});

export const sumSquare = ruleOf<Reduction>((g, dz, { inputs: [x], attrs: { axes } }) => [
  op.mul(g, x!, kept(g, op.mul(g, dz, scalarLike(g, 2, dz)), x!, axes)),
]);

export const logSumExp = ruleOf<Reduction>((g, dz, { inputs: [x], z, attrs: { axes } }) => [
  op.mul(g, op.exp(g, op.sub(g, x!, kept(g, z, x!, axes))), kept(g, dz, x!, axes)),
]);

/** z (dz - sum(z dz)). */
export const softmax = ruleOf<OpAttrs['Softmax']>((g, dz, { z, attrs: { axis } }) => {
  const dot = dotOfMixed(g, dz, z, positive(axis, z.shape.length));
  if (dot !== undefined) return [op.mul(g, z, op.sub(g, dz, dot))];
  const weighted = op.mul(g, dz, z);
  return [op.sub(g, weighted, op.mul(g, z, op.sum(g, weighted, [axis], 1)))];
});

/**
 * sum(z dz) over the last axis where z are the weights of attention: y = z v, dz = dy v', and so the sum is that of y dy, over d values
 * a head instead of one a token. Source: Dao et al., "FlashAttention", 2022, section 3.1. Undefined elsewhere.
 */
function dotOfMixed(g: GraphBuilder, dz: Value, z: Value, axis: number): Value | undefined {
  const [dy, flippedV] = madeBy(g, dz, 'MatMul')?.inputs ?? [];
  const [v] = (flippedV && madeBy(g, flippedV, 'Transpose')?.inputs) ?? [];
  const mixing = g.nodes.find(({ op: name, inputs: [a, b] }) => name === 'MatMul' && a === z && b === v);
  if (dy === undefined || mixing === undefined || axis !== z.shape.length - 1) return undefined;
  return op.sum(g, op.mul(g, dy, mixing.outputs[0]!), [axis], 1);
}

export const logSoftmax = ruleOf<OpAttrs['LogSoftmax']>((g, dz, { z, attrs: { axis } }) => [
  op.sub(g, dz, op.mul(g, op.exp(g, z), op.sum(g, dz, [axis], 1))),
]);

export const cumSum = ruleOf<OpAttrs['CumSum']>((g, dz, { inputs: [, axis], attrs: { exclusive, reverse } }) => [
  op.one(g, 'CumSum', [dz, axis!], { exclusive, reverse: reverse === 1 ? 0 : 1 }),
  undefined,
]);

/**
 * With t = x - mean, n = t inv and h = dz gamma: inv (h - mean(h) - n mean(h n)). Mean and inv are further outputs of the forward. What
 * is summed over a row or a column is a product with a vector, so that it needs no pass over memory of its own.
 */
export const layerNormalization: Vjp<OpAttrs['LayerNormalization']> = (g, node, [dz]) => {
  const [x, gamma, beta] = node.inputs;
  const [, average, inverse] = g.allOutputs(node);
  const width = x!.shape.at(-1) as number; // that of gamma
  const centred = op.sub(g, x!, average!);
  const weighted = op.mul(g, dz!, centred);
  const share = op.reshape(g, op.mul(g, gamma!, scalarLike(g, 1 / width, gamma!)), [width, 1]);
  const along = op.mul(g, op.mul(g, inverse!, inverse!), op.matMul(g, weighted, share));
  const h = op.sub(g, op.mul(g, dz!, gamma!), op.matMul(g, dz!, share));
  const dx = op.mul(g, op.sub(g, h, op.mul(g, centred, along)), inverse!);
  return [dx, normalisedSum(g, weighted, inverse!, gamma!), fit(g, dz!, beta!)];
};

/** The sum of x inv over all axes but the last, in the shape of `like`. */
function normalisedSum(g: GraphBuilder, x: Value, inverse: Value, like: Value): Value {
  if (!isFixed(x.shape)) return fit(g, op.mul(g, x, inverse), like);
  const width = x.shape.at(-1)!;
  return op.reshape(g, op.matMul(g, op.reshape(g, inverse, [1, -1]), op.reshape(g, x, [-1, width])), [width]);
}
