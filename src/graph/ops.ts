import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { AnyTensor, DType, Dim } from '../types.js';
import { broadcast, productOf, quotientOf, sumOf } from './dims.js';

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
  Exp: NoAttrs;
  /** Natural. */
  Log: NoAttrs;
  Sqrt: NoAttrs;
  Sigmoid: NoAttrs;
  Tanh: NoAttrs;
  MatMul: NoAttrs;
  /** y = a b' + c with b' = b or, for transB 1, its transpose; a [m, k]. */
  Gemm: { readonly transB: 0 | 1 };
  Transpose: { readonly perm: readonly number[] };
  /** Sizes of the axes [start, end) as an int64 vector. */
  Shape: { readonly start: number; readonly end: number };
  Reshape: NoAttrs;
  /** Repeats x along axes of size 1 to the sizes in the second input. */
  Expand: NoAttrs;
  /** Inputs x, starts, ends, axes: int64 vectors. Ends may be symbols of a Shape; all else is known while building. */
  Slice: NoAttrs;
  Concat: { readonly axis: number };
  Split: { readonly axis: number };
  Cast: { readonly to: DType };
  Gather: { readonly axis: number };
  GatherND: { readonly batch_dims: number };
  /** Index of the largest value, the first of equal ones: int64. */
  ArgMax: { readonly axis: number; readonly keepdims: 0 | 1 };
  Softmax: { readonly axis: number };
  LayerNormalization: { readonly axis: -1; readonly epsilon: number };
  ReduceMax: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceMean: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceL2: { readonly axes: readonly number[]; readonly keepdims: 0 | 1 };
  ReduceSum: { readonly keepdims: 0 | 1 };
  /**
   * Cross-correlation of x [b, c, ...space] with w [m, c / group, ...kernel], optional bias [m]; `pads` are the begins of all axes, then
   * the ends, filled with zeros.
   */
  Conv: { readonly strides: readonly number[]; readonly pads: readonly number[]; readonly group: number };
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
}
export type NoAttrs = Readonly<Record<string, never>>;
export type OpName = keyof OpAttrs;

/**
 * One row of the op table. The derivative rule becomes a second required member of this interface with the training engine,
 * so that an op without one does not compile.
 */
export interface OpRule<A> {
  /** Where the operator set is not the default one. */
  readonly domain?: 'com.microsoft';
  /** Outputs for these inputs; throws `data.shape` or `data.dtype` naming what was found and expected. */
  infer(inputs: readonly Value[], attrs: A): readonly Inferred[];
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

const elementwise: OpRule<NoAttrs> = {
  infer(inputs) {
    take(inputs, 2);
    return [{ dtype: sameType(inputs), shape: broadcast(inputs[0]!.shape, inputs[1]!.shape, 'elementwise') }];
  },
};

const same: OpRule<unknown> = {
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

const reduceByAttribute: OpRule<{ readonly axes: readonly number[]; readonly keepdims: 0 | 1 }> = {
  infer(inputs, { axes, keepdims }) {
    take(inputs, 1);
    return [reduced(inputs[0]!, axes, keepdims)];
  },
};

/** THE op table: one row per operation that our graphs use. */
export const ops: { readonly [O in OpName]: OpRule<OpAttrs[O]> } = {
  Add: elementwise,
  Sub: elementwise,
  Mul: elementwise,
  Div: elementwise,
  Max: elementwise,
  Min: elementwise,
  Exp: same,
  Log: same,
  Sqrt: same,
  Sigmoid: same,
  Tanh: same,
  MatMul: {
    infer(inputs) {
      take(inputs, 2);
      const [a, b] = [inputs[0]!.shape, inputs[1]!.shape];
      if (a.length < 2 || b.length < 2 || a.at(-1) !== b.at(-2)) fail('[..., m, k] and [..., k, n]', inputs);
      const batch = broadcast(a.slice(0, -2), b.slice(0, -2), 'MatMul');
      return [{ dtype: sameType(inputs), shape: [...batch, a.at(-2)!, b.at(-1)!] }];
    },
  },
  Gemm: {
    infer(inputs, { transB }) {
      take(inputs, 2, 3);
      const [a, b, c] = inputs.map((input) => input.shape);
      if (a!.length !== 2 || b!.length !== 2) fail('two matrices', inputs);
      const [k, n] = transB === 1 ? [b![1], b![0]] : [b![0], b![1]];
      if (a![1] !== k) fail(`${String(a![1])} columns to meet ${String(k)} rows`, inputs);
      const shape = [a![0]!, n!];
      if (c !== undefined && shapeText(broadcast(shape, c, 'Gemm')) !== shapeText(shape)) fail('a bias [n]', inputs);
      return [{ dtype: sameType(inputs), shape }];
    },
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
  },
  Shape: {
    infer(inputs, { start, end }) {
      take(inputs, 1);
      const sizes = inputs[0]!.shape.slice(start, end);
      return [{ dtype: 'int64', shape: [sizes.length], sizes }];
    },
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
  },
  Expand: {
    infer(inputs) {
      take(inputs, 2);
      return [{ dtype: inputs[0]!.dtype, shape: broadcast(inputs[0]!.shape, sizesIn(inputs[1]!), 'Expand') }];
    },
  },
  Slice: {
    infer(inputs) {
      take(inputs, 4);
      const { shape, dtype } = inputs[0]!;
      const [starts, axes] = [integersOf(inputs[1]!), integersOf(inputs[3]!)];
      const ends = sizesIn(inputs[2]!);
      if (starts.length !== axes.length || ends.length !== axes.length) fail('one start and one end an axis', inputs);
      const cut = [...shape];
      axes.forEach((axis, i) => {
        const at = axisOf(axis, shape.length, inputs);
        const [start, end, size] = [starts[i]!, ends[i]!, shape[at]!];
        if (typeof end === 'string') {
          // The length of another value: the caller answers for it being no longer than this axis.
          if (start !== 0) fail('a start of 0 before a symbolic end', inputs);
          cut[at] = end;
        } else if (typeof size === 'number' && start >= 0 && start < end && end <= size) cut[at] = end - start;
        else fail(`0 <= start < end <= ${String(size)} along axis ${at}, not ${start} and ${end}`, inputs);
      });
      return [{ dtype, shape: cut }];
    },
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
  },
  Cast: {
    infer(inputs, { to }) {
      take(inputs, 1);
      return [{ dtype: to, shape: inputs[0]!.shape }];
    },
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
  },
  ArgMax: {
    infer(inputs, { axis, keepdims }) {
      take(inputs, 1);
      return [{ ...reduced(inputs[0]!, [axis], keepdims), dtype: 'int64' }];
    },
  },
  Softmax: {
    infer(inputs, { axis }) {
      take(inputs, 1);
      const { dtype, shape } = inputs[0]!;
      axisOf(axis, shape.length, inputs);
      return [{ dtype, shape }];
    },
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
  },
  ReduceMax: reduceByAttribute,
  ReduceMean: reduceByAttribute,
  ReduceL2: reduceByAttribute,
  ReduceSum: {
    infer(inputs, { keepdims }) {
      take(inputs, 2);
      return [reduced(inputs[0]!, integersOf(inputs[1]!), keepdims)];
    },
  },
  Conv: {
    infer(inputs, { strides, pads, group }) {
      take(inputs, 2, 3);
      const [x, w, bias] = inputs.map((input) => input.shape);
      const rank = x!.length - 2;
      const sizes = [x![1], ...w!, ...x!.slice(2)];
      if (rank < 1 || w!.length !== x!.length || strides.length !== rank || pads.length !== 2 * rank)
        fail(`x [b, c, ...space], w [m, c / group, ...kernel], ${rank} strides, ${2 * rank} pads`, inputs);
      if (!sizes.every((size) => typeof size === 'number')) fail('known sizes but for the batch', inputs);
      const [m, perGroup, ...kernel] = w as readonly number[];
      if (perGroup! * group !== x![1] || m! % group !== 0) fail(`${group} groups of ${perGroup} channels`, inputs);
      if (bias !== undefined && (bias.length !== 1 || bias[0] !== m)) fail(`a bias [${m}]`, inputs);
      const space = kernel.map((k, i) => {
        const padded = (x![2 + i] as number) + pads[i]! + pads[rank + i]!;
        if (padded < k) fail(`at least ${k} values along axis ${2 + i}, padding included`, inputs);
        return Math.floor((padded - k) / strides[i]!) + 1;
      });
      return [{ dtype: sameType(inputs), shape: [x![0]!, m!, ...space] }];
    },
  },
  QuickGelu: { domain: 'com.microsoft', infer: same.infer.bind(same) },
  Gelu: { domain: 'com.microsoft', infer: same.infer.bind(same) },
  FastGelu: { domain: 'com.microsoft', infer: same.infer.bind(same) },
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
  },
};
