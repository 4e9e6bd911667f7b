import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { GraphBuilder } from './builder.js';
import * as op from './layers.js';
import type { OpAttrs, Value, Vjp } from './ops.js';
import { expandLike, fit, integersIn, positive, ruleOf, scalarLike, shaped } from './vjp.js';

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

export const softmax = ruleOf<OpAttrs['Softmax']>((g, dz, { z, attrs: { axis } }) => {
  const weighted = op.mul(g, dz, z);
  return [op.sub(g, weighted, op.mul(g, z, op.sum(g, weighted, [axis], 1)))];
});

export const logSoftmax = ruleOf<OpAttrs['LogSoftmax']>((g, dz, { z, attrs: { axis } }) => [
  op.sub(g, dz, op.mul(g, op.exp(g, z), op.sum(g, dz, [axis], 1))),
]);

export const cumSum = ruleOf<OpAttrs['CumSum']>((g, dz, { inputs: [, axis], attrs: { exclusive, reverse } }) => [
  op.one(g, 'CumSum', [dz, axis!], { exclusive, reverse: reverse === 1 ? 0 : 1 }),
  undefined,
]);

/** With n = (x - mean) inv and h = dz gamma: inv (h - mean(h) - n mean(h n)). Mean and inv are further outputs of the forward. */
export const layerNormalization: Vjp<OpAttrs['LayerNormalization']> = (g, node, [dz]) => {
  const [x, gamma, beta] = node.inputs;
  const [, average, inverse] = g.allOutputs(node);
  const last = [x!.shape.length - 1];
  const normal = op.mul(g, op.sub(g, x!, average!), inverse!);
  const h = op.mul(g, dz!, gamma!);
  const centred = op.sub(g, h, op.mean(g, h, last, 1));
  const along = op.mul(g, normal, op.mean(g, op.mul(g, h, normal), last, 1));
  return [op.mul(g, op.sub(g, centred, along), inverse!), fit(g, op.mul(g, dz!, normal), gamma!), fit(g, dz!, beta!)];
};
