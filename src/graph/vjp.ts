import { EgolensError } from '../errors.js';
import { floatToHalf, shapeText, tensor } from '../tensor.js';
import type { Dim } from '../types.js';
import type { GraphBuilder, GraphNode } from './builder.js';
import { concat, expand, integers, one, reshape, sum } from './layers.js';
import type { Applied, OpName, Value, Vjp } from './ops.js';

/** What derivative rules are written with. Names in rules: x, y, … inputs, z the output, dz the gradient of the loss by z. */

/** The rule of an operation with one output. */
export function ruleOf<A>(
  body: (
    g: GraphBuilder,
    dz: Value,
    node: { readonly inputs: readonly Value[]; readonly z: Value; readonly attrs: A },
  ) => readonly (Value | undefined)[],
): Vjp<A> {
  return (g, { inputs, outputs, attrs }: Applied<A>, [dz]) => body(g, dz!, { inputs, z: outputs[0]!, attrs });
}

/** A scalar of the element type of `like`, float32 or float16. */
export function scalarLike(g: GraphBuilder, value: number, like: Value): Value {
  return g.constant(
    like.dtype === 'float16'
      ? tensor('float16', [], Uint16Array.of(floatToHalf(value)))
      : tensor('float32', [], Float32Array.of(value)),
  );
}

/** Broadcasting undone: `gradient` of the broadcast shape, summed over what was repeated, in the shape of `like`. */
export function fit(g: GraphBuilder, gradient: Value, like: Value): Value {
  const missing = gradient.shape.length - like.shape.length;
  const leading = Array.from({ length: missing }, (_, i) => i);
  const repeated = like.shape.flatMap((dim, i) => (dim === 1 && gradient.shape[missing + i] !== 1 ? [i] : []));
  const lined = leading.length === 0 ? gradient : sum(g, gradient, leading);
  return repeated.length === 0 ? lined : sum(g, lined, repeated, 1);
}

/** An int64 vector of sizes; a symbol at place i is read from axis i of `like` at run time. */
function sizesOf(g: GraphBuilder, dims: readonly Dim[], like: Value): Value {
  if (isFixed(dims)) return integers(g, dims);
  const parts = dims.map((dim, i) =>
    typeof dim === 'number' ? integers(g, [dim]) : one(g, 'Shape', [like], { start: i, end: i + 1 }),
  );
  return concat(g, parts, 0);
}

export function isFixed(dims: readonly Dim[]): dims is readonly number[] {
  return dims.every((dim) => typeof dim === 'number');
}

/** x in the shape `dims`, of which one may be a symbol; more are read from the axes of `like`. */
export function shaped(g: GraphBuilder, x: Value, dims: readonly Dim[], like: Value = x): Value {
  if (shapeText(x.shape) === shapeText(dims)) return x;
  const open = dims.filter((dim) => typeof dim === 'string').length;
  if (open > 1) return one(g, 'Reshape', [x, sizesOf(g, dims, like)], {});
  return reshape(
    g,
    x,
    dims.map((dim) => (typeof dim === 'number' ? dim : -1)),
  );
}

/** x repeated to the shape of `like`. */
export function expandLike(g: GraphBuilder, x: Value, like: Value): Value {
  if (shapeText(x.shape) === shapeText(like.shape)) return x;
  if (isFixed(like.shape)) return expand(g, x, like.shape);
  return one(g, 'Expand', [x, sizesOf(g, like.shape, like)], {});
}

export const zerosLike = (g: GraphBuilder, like: Value): Value => expandLike(g, scalarLike(g, 0, like), like);

/** Sizes that have to be numbers for a rule to be written down; throws `data.shape`. */
export function fixedSizes(x: Value, why: string): readonly number[] {
  if (isFixed(x.shape)) return x.shape;
  throw new EgolensError(
    'data.shape',
    `\`${x.name}\` ${shapeText(x.shape)}: expected known sizes for the gradient of ${why}`,
    {
      try: 'build the training graph for one batch size',
    },
  );
}

/** The node that gives x as its first output, if it is of this operation. */
export function madeBy<O extends OpName>(g: GraphBuilder, x: Value, op: O): GraphNode<O> | undefined {
  const node = g.nodes.findLast(({ outputs }) => outputs[0] === x);
  return node !== undefined && isOf(node, op) ? node : undefined;
}

const isOf = <O extends OpName>(node: GraphNode, op: O): node is GraphNode<O> => node.op === op;

/** The values of a constant int64 input. */
export const integersIn = (value: Value): readonly number[] => Array.from(value.constant!.data, Number);

export const positive = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);
