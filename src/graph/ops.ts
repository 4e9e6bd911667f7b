import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { AnyTensor, DType, Dim } from '../types.js';
import type { Graph, GraphBuilder } from './builder.js';
import { broadcast, productOf, quotientOf, sumOf } from './dims.js';
import * as elementwiseVjp from './vjp-elementwise.js';
import * as productVjp from './vjp-products.js';
import * as reductionVjp from './vjp-reductions.js';
import * as shapeVjp from './vjp-shapes.js';

/** An edge of a graph: what it holds, and for constants the values themselves (shape rules read them). */
export interface Value {
  /** Unique in its graph; the ONNX name. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  readonly constant?: AnyTensor;
  /** For an int64 vector that Shape made: the sizes in it, so that shape rules can follow them. */
  readonly sizes?: readonly Dim[];
}

/** What an operation gives, before it has a name. */
export type Inferred = Pick<Value, 'dtype' | 'shape' | 'sizes'>;

/** Attributes of every operation, under their ONNX names. */
export interface OpAttrs {
  Add: NoAttrs;
  Sub: NoAttrs;
  Mul: NoAttrs;
  Div: NoAttrs;
  Max: NoAttrs;
  Min: NoAttrs;
  /** x to the power of y. */
  Pow: NoAttrs;
  Neg: NoAttrs;
  Reciprocal: NoAttrs;
  Exp: NoAttrs;
  /** Natural. */
  Log: NoAttrs;
  Sqrt: NoAttrs;
  Abs: NoAttrs;
  /** -1, 0 or 1. */
  Sign: NoAttrs;
  Floor: NoAttrs;
  Erf: NoAttrs;
  Sin: NoAttrs;
  Cos: NoAttrs;
  Sigmoid: NoAttrs;
  Tanh: NoAttrs;
  Relu: NoAttrs;
  /** log(1 + exp(x)). */
  Softplus: NoAttrs;
  Identity: NoAttrs;
  /** Inputs x, least, most; both bounds are constant scalars. */
  Clip: NoAttrs;
  /** Comparisons give bool. */
  Greater: NoAttrs;
  GreaterOrEqual: NoAttrs;
  Less: NoAttrs;
  Equal: NoAttrs;
  /** Inputs condition (bool), x where it holds, y elsewhere. */
  Where: NoAttrs;
  MatMul: NoAttrs;
  /** y = a' b' + c with a' [m, k] and b' [k, n]: a and b or, for transA or transB 1, their transposes. */
  Gemm: { readonly transA?: 0 | 1; readonly transB: 0 | 1 };
  Transpose: { readonly perm: readonly number[] };
  /** Sizes of the axes [start, end) as an int64 vector. */
  Shape: { readonly start: number; readonly end: number };
  Reshape: NoAttrs;
  /** Repeats x along axes of size 1 to the sizes in the second input. */
  Expand: NoAttrs;
  /**
   * Inputs x, starts, ends, axes and, where not all are 1, steps: int64 vectors. Ends may be symbols of a Shape, or below 0 (counted from
   * the end) along an axis of open size; all else is known while building.
   */
  Slice: NoAttrs;
  /** Inputs x, widths before all axes and then after them (int64), and the constant scalar to fill with where it is not 0. */
  Pad: NoAttrs;
  Concat: { readonly axis: number };
  Split: { readonly axis: number };
  Cast: { readonly to: DType };
  Gather: { readonly axis: number };
  GatherND: { readonly batch_dims: number };
  /** y[..., i, ...] = x[..., indices[..., i, ...], ...] along one axis. */
  GatherElements: { readonly axis: number };
  /** Inputs data, indices [..., depth], updates: data with rows replaced (each place once) or added to (places may repeat). */
  ScatterND: { readonly reduction: 'none' | 'add' };
  /** Inputs data, indices, updates of the shape of indices: the opposite of GatherElements; as ScatterND. */
  ScatterElements: { readonly axis: number; readonly reduction: 'none' | 'add' };
  /** Index of the largest value, the first of equal ones: int64. */
  ArgMax: { readonly axis: number; readonly keepdims: 0 | 1 };
  Softmax: { readonly axis: number };
  LogSoftmax: { readonly axis: number };
  /** Running sums along the axis in the second input, a constant int64 scalar; `exclusive` leaves the element itself out. */
  CumSum: { readonly exclusive: 0 | 1; readonly reverse: 0 | 1 };
  LayerNormalization: { readonly axis: -1; readonly epsilon: number };
  ReduceMax: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceMean: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceL2: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceSumSquare: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceLogSumExp: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceSum: { readonly keepdims: 0 | 1 };
  /**
   * Cross-correlation of x [b, c, ...space] with w [m, c / group, ...kernel], optional bias [m]; `pads` are the begins of all axes, then
   * the ends, filled with zeros. Dilations are 1 where absent.
   */
  Conv: ConvAttrs;
  /** What takes the gradient of a Conv back to its input: x [b, c, ...space], w [c, m / group, ...kernel], optional bias [m]. */
  ConvTranspose: ConvAttrs & { readonly output_padding: readonly number[] };
  /** x sigmoid(alpha x), CLIP's with alpha 1.702; domain com.microsoft. */
  QuickGelu: { readonly alpha: number };
  /** erf form; domain com.microsoft. */
  Gelu: NoAttrs;
  /** tanh form; domain com.microsoft. */
  FastGelu: NoAttrs;
  /** Softmax(q k^T scale) v per head: q [b, n, width], k, v [b, m, width]; domain com.microsoft. */
  MultiHeadAttention: {
    readonly num_heads: number;
    readonly scale: number;
    /** A token sees itself and those before it; n = m then. */
    readonly unidirectional?: 1;
  };
  /**
   * A graph run several times (loop.ts). Inputs: rounds (constant int64 []), condition (bool []), carried values, and values that the
   * body reads from outside. Outputs: the carried values after the last round, and the rows of all rounds [rounds, ...].
   */
  Loop: LoopAttrs;
}
export interface LoopAttrs {
  /** Inputs: number of the round (int64 []), condition (bool []), carried values, captured ones. Outputs: condition, carried values, one row each round. */
  readonly body: Graph;
  /** How many values go from round to round. */
  readonly carried: number;
}
export type NoAttrs = Readonly<Record<string, never>>;
export interface ConvAttrs {
  readonly strides: readonly number[];
  readonly pads: readonly number[];
  readonly dilations?: readonly number[];
  readonly group: number;
}
export type OpName = keyof OpAttrs;

/** What a derivative rule sees of a node. */
export interface Applied<A> {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attrs: A;
}

/**
 * Vector-Jacobian product: from the gradients of a loss by the outputs of a node (undefined: the loss does not depend on that one) to
 * those by its inputs, each of the shape of its input. Undefined where none flows: integers, conditions, and what is constant almost
 * everywhere. A rule emits nodes for all inputs; those that nobody needs fall to `pruned` (prune.ts).
 */
export type Vjp<A> = (
  g: GraphBuilder,
  node: Applied<A>,
  gradients: readonly (Value | undefined)[],
) => readonly (Value | undefined)[];

/** One row of the op table. Both rules are required, so that an operation without a derivative says so. */
export interface OpRule<A> {
  /** Where the operator set is not the default one. */
  readonly domain?: 'com.microsoft';
  /** Outputs for these inputs; throws `data.shape` or `data.dtype` naming what was found and expected. */
  infer(inputs: readonly Value[], attrs: A): readonly Inferred[];
  /** Outputs after these that the operation can give and only its derivative needs: `GraphBuilder.allOutputs` adds them. */
  further?(inputs: readonly Value[]): readonly Inferred[];
  readonly vjp: 'not differentiable' | Vjp<A>;
  /** What a training graph takes in its place: the `try` line where the way back ends here. */
  readonly instead?: string;
}

/** Opset of the default domain; everything the project emits runs there (architecture.md 8). */
export const opset = 17;

function take(inputs: readonly Value[], least: number, most = least): void {
  if (inputs.length < least || inputs.length > most) {
    throw new EgolensError(
      'data.shape',
      `expected ${least === most ? least : most === Infinity ? `${least} or more` : `${least} to ${most}`} inputs, found ${inputs.length}`,
    );
  }
}

function fail(expected: string, inputs: readonly Value[]): never {
  const found = inputs.map((input) => `${input.dtype} ${shapeText(input.shape)}`).join(', ');
  throw new EgolensError('data.shape', `expected ${expected}, found ${found}`);
}

function sameType(inputs: readonly Value[]): DType {
  const dtype = inputs[0]!.dtype;
  for (const input of inputs) {
    if (input.dtype !== dtype) {
      throw new EgolensError('data.dtype', `expected one element type, found ${inputs.map((i) => i.dtype).join(', ')}`);
    }
  }
  return dtype;
}

function axisOf(axis: number, rank: number, inputs: readonly Value[]): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || positive < 0 || positive >= rank) fail(`an axis of ${rank} axes, not ${axis}`, inputs);
  return positive;
}

/** The values of an int64 input that must be known while building. */
function integersOf(value: Value): readonly number[] {
  if (value.constant?.dtype !== 'int64') fail('a constant int64 input', [value]);
  return Array.from(value.constant.data, Number);
}

/** The sizes in an int64 input: numbers of a constant, symbols of a Shape. */
function sizesIn(value: Value): readonly Dim[] {
  return value.sizes ?? integersOf(value);
}

/** The part of a row that says shapes. */
type Shapes<A> = Pick<OpRule<A>, 'infer'>;

const elementwise: Shapes<NoAttrs> = {
  infer(inputs) {
    take(inputs, 2);
    return [{ dtype: sameType(inputs), shape: broadcast(inputs[0]!.shape, inputs[1]!.shape, 'elementwise') }];
  },
};

const comparison: Shapes<NoAttrs> = {
  infer: (inputs, attrs) => elementwise.infer(inputs, attrs).map((output) => ({ ...output, dtype: 'bool' })),
};

const same: Shapes<unknown> = {
  infer(inputs) {
    take(inputs, 1);
    return [{ dtype: inputs[0]!.dtype, shape: inputs[0]!.shape }];
  },
};

function reduced(input: Value, axes: readonly number[], keepdims: 0 | 1): Inferred {
  const rank = input.shape.length;
  if (axes.length === 0) fail('at least one axis (ONNX takes none for all)', [input]);
  const dropped = new Set(axes.map((axis) => axisOf(axis, rank, [input])));
  const shape = input.shape.flatMap((dim, i) => (dropped.has(i) ? (keepdims === 1 ? [1] : []) : [dim]));
  return { dtype: input.dtype, shape };
}

/** Along one axis, which must exist. */
const alongAxis: Shapes<{ readonly axis: number }> = {
  infer(inputs, { axis }) {
    take(inputs, 1);
    const { dtype, shape } = inputs[0]!;
    axisOf(axis, shape.length, inputs);
    return [{ dtype, shape }];
  },
};

const reduceByAttribute: Shapes<{ readonly axes: readonly number[]; readonly keepdims: 0 | 1 }> = {
  infer(inputs, { axes, keepdims }) {
    take(inputs, 1);
    return [reduced(inputs[0]!, axes, keepdims)];
  },
};

/** Indices of the rank of `data`, along an axis of it. */
function alongAndAcross(data: Value, indices: Value, axis: number, inputs: readonly Value[]): void {
  if (indices.dtype !== 'int64' || indices.shape.length !== data.shape.length)
    fail(`int64 indices of ${data.shape.length} axes`, inputs);
  axisOf(axis, data.shape.length, inputs);
}

/** What both convolutions need: known channels and kernels, and how far each kernel axis reaches over the input. */
function convolved(
  inputs: readonly Value[],
  { strides, pads, dilations }: ConvAttrs,
  kernel: string,
): {
  readonly batch: Dim;
  readonly sizes: readonly Dim[];
  readonly weight: readonly number[];
  readonly spans: readonly number[];
} {
  take(inputs, 2, 3);
  const [x, w] = [inputs[0]!.shape, inputs[1]!.shape];
  const rank = x.length - 2;
  if (
    rank < 1 ||
    w.length !== x.length ||
    strides.length !== rank ||
    pads.length !== 2 * rank ||
    (dilations ?? strides).length !== rank
  )
    fail(`x [b, c, ...space], ${kernel}, ${rank} strides, ${2 * rank} pads`, inputs);
  if (![x[1], ...w].every((size) => typeof size === 'number')) fail('known channels and kernels', inputs);
  const weight = w as readonly number[];
  const spans = weight.slice(2).map((k, i) => (dilations?.[i] ?? 1) * (k - 1) + 1);
  return { batch: x[0]!, sizes: x.slice(2), weight, spans };
}

function checkBias(inputs: readonly Value[], m: number): void {
  const bias = inputs[2]?.shape;
  if (bias !== undefined && (bias.length !== 1 || bias[0] !== m)) fail(`a bias [${m}]`, inputs);
}

/** THE op table: one row per operation that our graphs use. */
export const ops: { readonly [O in OpName]: OpRule<OpAttrs[O]> } = {
  Add: { ...elementwise, vjp: elementwiseVjp.add },
  Sub: { ...elementwise, vjp: elementwiseVjp.sub },
  Mul: { ...elementwise, vjp: elementwiseVjp.mul },
  Div: { ...elementwise, vjp: elementwiseVjp.div },
  Max: { ...elementwise, vjp: elementwiseVjp.max },
  Min: { ...elementwise, vjp: elementwiseVjp.min },
  Pow: { ...elementwise, vjp: elementwiseVjp.pow },
  Neg: { ...same, vjp: elementwiseVjp.neg },
  Reciprocal: { ...same, vjp: elementwiseVjp.reciprocal },
  Exp: { ...same, vjp: elementwiseVjp.exp },
  Log: { ...same, vjp: elementwiseVjp.log },
  Sqrt: { ...same, vjp: elementwiseVjp.sqrt },
  Abs: { ...same, vjp: elementwiseVjp.abs },
  Sign: { ...same, vjp: elementwiseVjp.stepwise },
  Floor: { ...same, vjp: elementwiseVjp.stepwise },
  Erf: { ...same, vjp: elementwiseVjp.erf },
  Sin: { ...same, vjp: elementwiseVjp.sin },
  Cos: { ...same, vjp: elementwiseVjp.cos },
  Sigmoid: { ...same, vjp: elementwiseVjp.sigmoid },
  Tanh: { ...same, vjp: elementwiseVjp.tanh },
  Relu: { ...same, vjp: elementwiseVjp.relu },
  Softplus: { ...same, vjp: elementwiseVjp.softplus },
  Identity: { ...same, vjp: elementwiseVjp.identity },
  Clip: {
    infer(inputs) {
      take(inputs, 3);
      const [x, ...bounds] = inputs;
      if (bounds.some(({ constant, shape }) => constant === undefined || shape.length > 0))
        fail('constant scalars as bounds', inputs);
      return [{ dtype: sameType(inputs), shape: x!.shape }];
    },
    vjp: elementwiseVjp.clip,
  },
  Greater: { ...comparison, vjp: 'not differentiable' },
  GreaterOrEqual: { ...comparison, vjp: 'not differentiable' },
  Less: { ...comparison, vjp: 'not differentiable' },
  Equal: { ...comparison, vjp: 'not differentiable' },
  Where: {
    infer(inputs) {
      take(inputs, 3);
      const [condition, x, y] = inputs;
      if (condition!.dtype !== 'bool') fail('a bool condition', inputs);
      const chosen = broadcast(x!.shape, y!.shape, 'Where');
      return [{ dtype: sameType(inputs.slice(1)), shape: broadcast(condition!.shape, chosen, 'Where') }];
    },
    vjp: elementwiseVjp.where,
  },
  MatMul: {
    infer(inputs) {
      take(inputs, 2);
      const [a, b] = [inputs[0]!.shape, inputs[1]!.shape];
      if (a.length < 2 || b.length < 2 || a.at(-1) !== b.at(-2)) fail('[..., m, k] and [..., k, n]', inputs);
      const batch = broadcast(a.slice(0, -2), b.slice(0, -2), 'MatMul');
      return [{ dtype: sameType(inputs), shape: [...batch, a.at(-2)!, b.at(-1)!] }];
    },
    vjp: productVjp.matMul,
  },
  Gemm: {
    infer(inputs, { transA = 0, transB }) {
      take(inputs, 2, 3);
      const [a, b, c] = inputs.map((input) => input.shape);
      if (a!.length !== 2 || b!.length !== 2) fail('two matrices', inputs);
      const [m, columns] = transA === 1 ? [a![1], a![0]] : [a![0], a![1]];
      const [k, n] = transB === 1 ? [b![1], b![0]] : [b![0], b![1]];
      if (columns !== k) fail(`${String(columns)} columns to meet ${String(k)} rows`, inputs);
      const shape = [m!, n!];
      if (c !== undefined && shapeText(broadcast(shape, c, 'Gemm')) !== shapeText(shape)) fail('a bias [n]', inputs);
      return [{ dtype: sameType(inputs), shape }];
    },
    vjp: productVjp.gemm,
  },
  Transpose: {
    infer(inputs, { perm }) {
      take(inputs, 1);
      const { shape, dtype } = inputs[0]!;
      if ([...perm].sort((a, b) => a - b).some((axis, i) => axis !== i) || perm.length !== shape.length) {
        fail(`a permutation of ${shape.length} axes, not ${shapeText(perm)}`, inputs);
      }
      return [{ dtype, shape: perm.map((axis) => shape[axis]!) }];
    },
    vjp: shapeVjp.transposed,
  },
  Shape: {
    infer(inputs, { start, end }) {
      take(inputs, 1);
      const sizes = inputs[0]!.shape.slice(start, end);
      return [{ dtype: 'int64', shape: [sizes.length], sizes }];
    },
    vjp: 'not differentiable',
  },
  Reshape: {
    infer(inputs) {
      take(inputs, 2);
      const from = inputs[0]!;
      const wanted = sizesIn(inputs[1]!).map((dim, i): Dim => (dim === 0 ? (from.shape[i] ?? 0) : dim));
      const open = wanted.indexOf(-1);
      if (wanted.some((dim, i) => typeof dim === 'number' && dim < 0 && i !== open))
        fail(`one -1 at most and no other size below 0, not ${shapeText(wanted)}`, inputs);
      const known = productOf(wanted.filter((dim) => dim !== -1));
      const total = productOf(from.shape);
      const rest = quotientOf(total, known);
      if (rest === undefined || (open < 0 && rest !== 1))
        fail(`${String(total)} elements, not ${shapeText(wanted)}`, inputs);
      return [{ dtype: from.dtype, shape: wanted.map((dim, i) => (i === open ? rest : dim)) }];
    },
    vjp: shapeVjp.reshaped,
  },
  Expand: {
    infer(inputs) {
      take(inputs, 2);
      return [{ dtype: inputs[0]!.dtype, shape: broadcast(inputs[0]!.shape, sizesIn(inputs[1]!), 'Expand') }];
    },
    vjp: shapeVjp.expanded,
  },
  Slice: {
    infer(inputs) {
      take(inputs, 4, 5);
      const { shape, dtype } = inputs[0]!;
      const [starts, axes] = [integersOf(inputs[1]!), integersOf(inputs[3]!)];
      const ends = sizesIn(inputs[2]!);
      const steps = inputs[4] === undefined ? axes.map(() => 1) : integersOf(inputs[4]);
      if ([starts, ends, steps].some(({ length }) => length !== axes.length))
        fail('one start and one end an axis', inputs);
      if (steps.some((step) => step < 1)) fail(`steps of 1 or more, not ${shapeText(steps)}`, inputs);
      const cut = [...shape];
      axes.forEach((axis, i) => {
        const at = axisOf(axis, shape.length, inputs);
        const [start, end, size, step] = [starts[i]!, ends[i]!, shape[at]!, steps[i]!];
        if (typeof end === 'string') {
          // The length of another value: the caller answers for it being no longer than this axis.
          if (start !== 0 || step !== 1) fail('a start of 0 and a step of 1 before a symbolic end', inputs);
          cut[at] = end;
        } else if (typeof size === 'number' && start >= 0 && start < end && end <= size)
          cut[at] = Math.ceil((end - start) / step);
        // From the end of an open axis: the caller answers for it being long enough.
        else if (typeof size === 'string' && start >= 0 && end < 0 && step === 1) cut[at] = sumOf([size, end - start]);
        else fail(`0 <= start < end <= ${String(size)} along axis ${at}, not ${start} and ${end}`, inputs);
      });
      return [{ dtype, shape: cut }];
    },
    vjp: shapeVjp.sliced,
  },
  Pad: {
    infer(inputs) {
      take(inputs, 2, 3);
      const [x, widths, filler] = inputs;
      const rank = x!.shape.length;
      const around = integersOf(widths!);
      if (around.length !== 2 * rank || around.some((width) => width < 0))
        fail(`${2 * rank} widths of 0 or more, not ${shapeText(around)}`, inputs);
      if (filler !== undefined && (filler.constant === undefined || filler.shape.length > 0))
        fail('a constant scalar to fill with', inputs);
      const shape = x!.shape.map((dim, i) => {
        const width = around[i]! + around[rank + i]!;
        return width === 0 ? dim : sumOf([dim, width]);
      });
      return [{ dtype: sameType(filler === undefined ? [x!] : [x!, filler]), shape }];
    },
    vjp: shapeVjp.padded,
  },
  Concat: {
    infer(inputs, { axis }) {
      take(inputs, 1, Infinity);
      const first = inputs[0]!.shape;
      const at = axisOf(axis, first.length, inputs);
      for (const { shape } of inputs) {
        if (shape.length !== first.length || shape.some((dim, i) => i !== at && dim !== first[i])) {
          fail(`shapes that differ only along axis ${at}`, inputs);
        }
      }
      const joined = sumOf(inputs.map((input) => input.shape[at]!));
      const shape = first.map((dim, i) => (i === at ? joined : dim));
      const isSizes = inputs.some((input) => input.sizes) && inputs.every((input) => input.sizes ?? input.constant);
      const sizes = isSizes ? inputs.flatMap(sizesIn) : undefined;
      return [{ dtype: sameType(inputs), shape, ...(sizes === undefined ? {} : { sizes }) }];
    },
    vjp: shapeVjp.concatenated,
  },
  Split: {
    infer(inputs, { axis }) {
      take(inputs, 2);
      const { shape, dtype } = inputs[0]!;
      const at = axisOf(axis, shape.length, inputs);
      const sizes = sizesIn(inputs[1]!);
      if (sumOf(sizes) !== shape[at] || sizes.some((size) => typeof size === 'number' && size < 0))
        fail(`parts that sum to ${String(shape[at])}, not ${shapeText(sizes)}`, inputs);
      return sizes.map((size) => ({ dtype, shape: shape.map((dim, i) => (i === at ? size : dim)) }));
    },
    vjp: shapeVjp.divided,
  },
  Cast: {
    infer(inputs, { to }) {
      take(inputs, 1);
      return [{ dtype: to, shape: inputs[0]!.shape }];
    },
    vjp: elementwiseVjp.cast,
  },
  Gather: {
    infer(inputs, { axis }) {
      take(inputs, 2);
      const [data, indices] = [inputs[0]!, inputs[1]!];
      if (indices.dtype !== 'int64') fail('int64 indices', inputs);
      const at = axisOf(axis, data.shape.length, inputs);
      return [
        { dtype: data.dtype, shape: [...data.shape.slice(0, at), ...indices.shape, ...data.shape.slice(at + 1)] },
      ];
    },
    vjp: shapeVjp.gathered,
  },
  GatherND: {
    infer(inputs, { batch_dims: batch }) {
      take(inputs, 2);
      const [data, indices] = [inputs[0]!, inputs[1]!];
      const depth = indices.shape.at(-1);
      if (indices.dtype !== 'int64' || typeof depth !== 'number') fail('int64 indices [..., depth]', inputs);
      if (depth < 1 || batch + depth > data.shape.length || batch >= indices.shape.length)
        fail(`a depth from 1 to the ${data.shape.length - batch} axes after the first ${batch}`, inputs);
      for (let i = 0; i < batch; i++) {
        if (data.shape[i] !== indices.shape[i]) fail(`equal sizes on the first ${batch} axes`, inputs);
      }
      return [{ dtype: data.dtype, shape: [...indices.shape.slice(0, -1), ...data.shape.slice(batch + depth)] }];
    },
    vjp: shapeVjp.gatheredND,
  },
  GatherElements: {
    infer(inputs, { axis }) {
      take(inputs, 2);
      const [data, indices] = [inputs[0]!, inputs[1]!];
      alongAndAcross(data, indices, axis, inputs);
      return [{ dtype: data.dtype, shape: indices.shape }];
    },
    vjp: shapeVjp.gatheredElements,
  },
  ScatterND: {
    infer(inputs) {
      take(inputs, 3);
      const [data, indices, updates] = [inputs[0]!, inputs[1]!, inputs[2]!];
      const depth = indices.shape.at(-1);
      if (indices.dtype !== 'int64' || typeof depth !== 'number' || depth < 1 || depth > data.shape.length)
        fail(`int64 indices [..., depth], a depth from 1 to ${data.shape.length}`, inputs);
      const wanted = shapeText([...indices.shape.slice(0, -1), ...data.shape.slice(depth)]);
      if (shapeText(updates.shape) !== wanted) fail(`updates ${wanted}`, inputs);
      return [{ dtype: sameType([data, updates]), shape: data.shape }];
    },
    vjp: shapeVjp.scatteredND,
  },
  ScatterElements: {
    infer(inputs, { axis }) {
      take(inputs, 3);
      const [data, indices, updates] = [inputs[0]!, inputs[1]!, inputs[2]!];
      alongAndAcross(data, indices, axis, inputs);
      if (shapeText(updates.shape) !== shapeText(indices.shape)) fail('updates of the shape of the indices', inputs);
      return [{ dtype: sameType([data, updates]), shape: data.shape }];
    },
    vjp: shapeVjp.scatteredElements,
  },
  ArgMax: {
    infer(inputs, { axis, keepdims }) {
      take(inputs, 1);
      return [{ ...reduced(inputs[0]!, [axis], keepdims), dtype: 'int64' }];
    },
    vjp: 'not differentiable',
  },
  Softmax: { ...alongAxis, vjp: reductionVjp.softmax },
  LogSoftmax: { ...alongAxis, vjp: reductionVjp.logSoftmax },
  CumSum: {
    infer(inputs) {
      take(inputs, 2);
      const [x, axis] = [inputs[0]!, inputs[1]!];
      if (axis.shape.length > 0) fail('one axis', inputs);
      axisOf(integersOf(axis)[0]!, x.shape.length, inputs);
      return [{ dtype: x.dtype, shape: x.shape }];
    },
    vjp: reductionVjp.cumSum,
  },
  LayerNormalization: {
    infer(inputs) {
      take(inputs, 3);
      const { shape } = inputs[0]!;
      for (const affine of inputs.slice(1)) {
        if (affine.shape.length !== 1 || affine.shape[0] !== shape.at(-1))
          fail(`scale and bias [${String(shape.at(-1))}]`, inputs);
      }
      return [{ dtype: sameType(inputs), shape }];
    },
    /** Mean, and 1 / sqrt(variance + epsilon). */
    further([x]) {
      const statistic: Inferred = { dtype: 'float32', shape: [...x!.shape.slice(0, -1), 1] };
      return [statistic, statistic];
    },
    vjp: reductionVjp.layerNormalization,
  },
  ReduceMax: { ...reduceByAttribute, vjp: reductionVjp.max },
  ReduceMean: { ...reduceByAttribute, vjp: reductionVjp.mean },
  ReduceL2: { ...reduceByAttribute, vjp: reductionVjp.l2 },
  ReduceSumSquare: { ...reduceByAttribute, vjp: reductionVjp.sumSquare },
  ReduceLogSumExp: { ...reduceByAttribute, vjp: reductionVjp.logSumExp },
  ReduceSum: {
    infer(inputs, { keepdims }) {
      take(inputs, 2);
      return [reduced(inputs[0]!, integersOf(inputs[1]!), keepdims)];
    },
    vjp: reductionVjp.sum,
  },
  Conv: {
    infer(inputs, attrs) {
      const { batch, sizes, weight, spans } = convolved(inputs, attrs, 'w [m, c / group, ...kernel]');
      const { strides, pads, group } = attrs;
      const [m, perGroup] = weight as readonly [number, number];
      if (perGroup * group !== inputs[0]!.shape[1] || m % group !== 0)
        fail(`${group} groups of ${perGroup} channels`, inputs);
      checkBias(inputs, m);
      const space = spans.map((span, i) => {
        const [size, around] = [sizes[i]!, pads[i]! + pads[spans.length + i]!];
        // How many windows fit hangs on the size, unless the stride divides it; the caller answers for there being one at all.
        if (typeof size === 'string') {
          const whole = quotientOf(size, strides[i]!) ?? fail('a known size, or a stride that divides it', inputs);
          return sumOf([whole, Math.floor((around - span) / strides[i]!) + 1]);
        }
        const padded = size + around;
        if (padded < span) fail(`at least ${span} values along axis ${2 + i}, padding included`, inputs);
        return Math.floor((padded - span) / strides[i]!) + 1;
      });
      return [{ dtype: sameType(inputs), shape: [batch, m, ...space] }];
    },
    vjp: productVjp.conv,
  },
  ConvTranspose: {
    infer(inputs, attrs) {
      const { batch, sizes, weight, spans } = convolved(inputs, attrs, 'w [c, m / group, ...kernel]');
      const { strides, pads, group, output_padding: extra } = attrs;
      const [c, perGroup] = weight as readonly [number, number];
      if (c !== inputs[0]!.shape[1] || c % group !== 0) fail(`${group} groups of ${c} channels`, inputs);
      checkBias(inputs, perGroup * group);
      if (extra.length !== spans.length) fail(`${spans.length} output paddings`, inputs);
      if (sizes.some((size) => typeof size === 'string')) fail('known sizes but for the batch', inputs);
      const space = spans.map((span, i) => {
        const size = ((sizes[i] as number) - 1) * strides[i]! + span + extra[i]! - pads[i]! - pads[spans.length + i]!;
        return size > 0
          ? size
          : fail(`more than ${size} values along axis ${2 + i} after the padding is cut off`, inputs);
      });
      return [{ dtype: sameType(inputs), shape: [batch, perGroup * group, ...space] }];
    },
    vjp: productVjp.convTranspose,
  },
  QuickGelu: { ...same, domain: 'com.microsoft', vjp: elementwiseVjp.quickGelu },
  Gelu: { ...same, domain: 'com.microsoft', vjp: elementwiseVjp.gelu },
  FastGelu: { ...same, domain: 'com.microsoft', vjp: elementwiseVjp.geluTanh },
  MultiHeadAttention: {
    domain: 'com.microsoft',
    infer(inputs, { num_heads: heads, unidirectional }) {
      take(inputs, 3);
      const [q, k, v] = inputs.map((input) => input.shape);
      const fits =
        [q, k, v].every((shape) => shape!.length === 3 && shape![0] === q![0]) &&
        q![2] === k![2] &&
        k![1] === v![1] &&
        (unidirectional === undefined || q![1] === k![1]) &&
        [q, v].every((shape) => typeof shape![2] === 'number' && shape![2] % heads === 0);
      if (!fits) fail(`q, k, v [batch, tokens, width], width a multiple of ${heads} heads`, inputs);
      return [{ dtype: sameType(inputs), shape: [q![0]!, q![1]!, v![2]!] }];
    },
    vjp: 'not differentiable',
    instead: "build the model with attention of `form: 'separate'`, which differentiates",
  },
  Loop: {
    infer(inputs, { body, carried }) {
      take(inputs, 2 + carried, Infinity);
      const [rounds, condition] = [inputs[0]!, inputs[1]!];
      if (rounds.shape.length > 0 || condition.dtype !== 'bool' || condition.shape.length > 0)
        fail('a number of rounds and a bool condition, both scalars', inputs);
      const count = integersOf(rounds)[0]!;
      const typeOf = ({ dtype, shape }: Value): string => `${dtype} ${shapeText(shape)}`;
      if (body.params.length > 0 || body.inputs.length !== inputs.length)
        fail(`a body without parameters and with ${inputs.length} inputs, not ${body.inputs.length}`, inputs);
      body.inputs.slice(2).forEach((input, i) => {
        const given = inputs[2 + i]!;
        if (typeOf(given) !== typeOf(input)) fail(`${typeOf(input)} for \`${input.name}\``, [given]);
      });
      const [goesOn, ...results] = body.outputs.values();
      if (goesOn === undefined || typeOf(goesOn) !== 'bool []' || results.length < carried)
        fail(`a body that gives a condition and ${carried} carried values`, inputs);
      results.slice(0, carried).forEach((result, i) => {
        if (typeOf(result) !== typeOf(inputs[2 + i]!))
          fail(`${typeOf(result)} at the start, as after a round`, [inputs[2 + i]!]);
      });
      return results.map(({ dtype, shape }, i) => ({ dtype, shape: i < carried ? shape : [count, ...shape] }));
    },
    vjp: 'not differentiable',
    instead: 'take the gradients inside the body',
  },
};
