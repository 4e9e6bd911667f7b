import { assert } from '../errors.js';
import { tensor } from '../tensor.js';
import type { DType, Dim } from '../types.js';
import type { GraphBuilder } from './builder.js';
import type { OpAttrs, OpName, Value } from './ops.js';

/**
 * Layers of transformers over GraphBuilder. Names of parameters are those of PyTorch modules (`weight`, `bias`), so that scopes
 * spell the keys of a checkpoint. Shapes: b batch, n tokens, `width` channels.
 */

/** The single output of an operation. */
export function one<O extends OpName>(g: GraphBuilder, op: O, inputs: readonly Value[], attrs: OpAttrs[O]): Value {
  return g.op(op, inputs, attrs)[0]!;
}

export const add = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Add', [a, b], {});
export const sub = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Sub', [a, b], {});
export const mul = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Mul', [a, b], {});
export const div = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Div', [a, b], {});
export const max = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Max', [a, b], {});
export const min = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Min', [a, b], {});
/** x to the power of y. */
export const pow = (g: GraphBuilder, x: Value, y: Value): Value => one(g, 'Pow', [x, y], {});
export const neg = (g: GraphBuilder, x: Value): Value => one(g, 'Neg', [x], {});
/** 1 / x. */
export const reciprocal = (g: GraphBuilder, x: Value): Value => one(g, 'Reciprocal', [x], {});
export const abs = (g: GraphBuilder, x: Value): Value => one(g, 'Abs', [x], {});
/** -1, 0 or 1; nothing flows back through it. */
export const sign = (g: GraphBuilder, x: Value): Value => one(g, 'Sign', [x], {});
/** Nothing flows back through it. */
export const floor = (g: GraphBuilder, x: Value): Value => one(g, 'Floor', [x], {});
export const erf = (g: GraphBuilder, x: Value): Value => one(g, 'Erf', [x], {});
export const sin = (g: GraphBuilder, x: Value): Value => one(g, 'Sin', [x], {});
export const cos = (g: GraphBuilder, x: Value): Value => one(g, 'Cos', [x], {});
export const relu = (g: GraphBuilder, x: Value): Value => one(g, 'Relu', [x], {});
/** log(1 + exp(x)). */
export const softplus = (g: GraphBuilder, x: Value): Value => one(g, 'Softplus', [x], {});
/** x under another name: for outputs that are inputs, constants or outputs already. */
export const identity = (g: GraphBuilder, x: Value): Value => one(g, 'Identity', [x], {});
export const greater = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Greater', [a, b], {});
export const greaterOrEqual = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'GreaterOrEqual', [a, b], {});
export const less = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Less', [a, b], {});
export const equal = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'Equal', [a, b], {});
/** a where the condition (bool) holds, b elsewhere. */
export const where = (g: GraphBuilder, condition: Value, a: Value, b: Value): Value =>
  one(g, 'Where', [condition, a, b], {});
/** x within [least, most]. */
export const clip = (g: GraphBuilder, x: Value, least: number, most: number): Value =>
  one(g, 'Clip', [x, scalar(g, least), scalar(g, most)], {});
export const exp = (g: GraphBuilder, x: Value): Value => one(g, 'Exp', [x], {});
/** Natural logarithm. */
export const log = (g: GraphBuilder, x: Value): Value => one(g, 'Log', [x], {});
export const sqrt = (g: GraphBuilder, x: Value): Value => one(g, 'Sqrt', [x], {});
export const sigmoid = (g: GraphBuilder, x: Value): Value => one(g, 'Sigmoid', [x], {});
export const tanh = (g: GraphBuilder, x: Value): Value => one(g, 'Tanh', [x], {});
export const matMul = (g: GraphBuilder, a: Value, b: Value): Value => one(g, 'MatMul', [a, b], {});
/** x sigmoid(1.702 x), as CLIP and everything made of it uses it. */
export const quickGelu = (g: GraphBuilder, x: Value): Value => one(g, 'QuickGelu', [x], { alpha: 1.702 });
/** erf form, as the masked stream uses it. */
export const gelu = (g: GraphBuilder, x: Value): Value => one(g, 'Gelu', [x], {});
/** tanh form, up to 5e-4 from the erf form: what fused kernels call GELU (flash-attention's `gelu_approx`). */
export const geluTanh = (g: GraphBuilder, x: Value): Value => one(g, 'FastGelu', [x], {});
export const softmax = (g: GraphBuilder, x: Value, axis = -1): Value => one(g, 'Softmax', [x], { axis });
export const logSoftmax = (g: GraphBuilder, x: Value, axis = -1): Value => one(g, 'LogSoftmax', [x], { axis });
export const cast = (g: GraphBuilder, x: Value, to: DType): Value => (x.dtype === to ? x : one(g, 'Cast', [x], { to }));
export const transpose = (g: GraphBuilder, x: Value, perm: readonly number[]): Value =>
  one(g, 'Transpose', [x], { perm });
export const concat = (g: GraphBuilder, values: readonly Value[], axis: number): Value =>
  one(g, 'Concat', values, { axis });
export const mean = (g: GraphBuilder, x: Value, axes: readonly number[], keepdims: 0 | 1 = 0): Value =>
  one(g, 'ReduceMean', [x], { axes, keepdims });
/** Largest value over the axes. */
export const largest = (g: GraphBuilder, x: Value, axes: readonly number[], keepdims: 0 | 1 = 0): Value =>
  one(g, 'ReduceMax', [x], { axes, keepdims });
export const sum = (g: GraphBuilder, x: Value, axes: readonly number[], keepdims: 0 | 1 = 0): Value =>
  one(g, 'ReduceSum', [x, integers(g, axes)], { keepdims });

/** Logarithm of the sum of exponentials. */
export const logSumExp = (g: GraphBuilder, x: Value, axes: readonly number[], keepdims: 0 | 1 = 0): Value =>
  one(g, 'ReduceLogSumExp', [x], { axes, keepdims });
export const sumSquare = (g: GraphBuilder, x: Value, axes: readonly number[], keepdims: 0 | 1 = 0): Value =>
  one(g, 'ReduceSumSquare', [x], { axes, keepdims });
/** Sums of all elements up to each one along an axis, itself included. */
export const cumSum = (g: GraphBuilder, x: Value, axis: number): Value =>
  one(g, 'CumSum', [x, g.constant(tensor('int64', [], BigInt64Array.of(BigInt(axis))))], { exclusive: 0, reverse: 0 });

/** A float32 constant of the given shape. */
export function floats(g: GraphBuilder, values: readonly number[], shape: readonly number[] = [values.length]): Value {
  return g.constant(tensor('float32', shape, Float32Array.from(values)));
}

/** A float32 scalar. */
export const scalar = (g: GraphBuilder, value: number): Value => floats(g, [value], []);

/** A constant int64 vector. */
export function integers(g: GraphBuilder, values: readonly number[]): Value {
  return g.constant(tensor('int64', [values.length], BigInt64Array.from(values, BigInt)));
}

/** -1 once: what is left; 0: as in the input. */
export function reshape(g: GraphBuilder, x: Value, shape: readonly number[]): Value {
  return one(g, 'Reshape', [x, integers(g, shape)], {});
}

/** x from `start` to `end` along one axis. */
export function slice(g: GraphBuilder, x: Value, axis: number, start: number, end: number): Value {
  return one(g, 'Slice', [x, integers(g, [start]), integers(g, [end]), integers(g, [axis])], {});
}

/** x without its first `before` and its last `after` values along one axis, which may be of open size: `after` is above 0 then. */
export function trim(g: GraphBuilder, x: Value, axis: number, before: number, after: number): Value {
  const size = x.shape[axis]!;
  return slice(g, x, axis, before, typeof size === 'number' ? size - after : -after);
}

/** x from `starts` to `ends` along several axes, every `steps`-th value (default 1). */
export function sliceBy(
  g: GraphBuilder,
  x: Value,
  {
    axes,
    starts,
    ends,
    steps,
  }: {
    readonly axes: readonly number[];
    readonly starts: readonly number[];
    readonly ends: readonly number[];
    readonly steps?: readonly number[];
  },
): Value {
  const inputs = [x, integers(g, starts), integers(g, ends), integers(g, axes)];
  return one(g, 'Slice', steps?.some((step) => step !== 1) === true ? [...inputs, integers(g, steps)] : inputs, {});
}

/** x with `filler` around it: so many values before and after each axis. */
export function pad(g: GraphBuilder, x: Value, before: readonly number[], after: readonly number[], filler = 0): Value {
  const widths = [...before, ...after];
  if (widths.every((width) => width === 0)) return x;
  const inputs = [x, integers(g, widths)];
  return one(g, 'Pad', filler === 0 ? inputs : [...inputs, scalar(g, filler)], {});
}

/** `data` with `updates` [..., ...rest] written (each place once) or added at the rows `indices` int64 [..., depth]. */
export const scatterRows = (
  g: GraphBuilder,
  data: Value,
  indices: Value,
  updates: Value,
  reduction: 'none' | 'add',
): Value => one(g, 'ScatterND', [data, indices, updates], { reduction });

/** The beginning of x along `axis`, as long as axis `likeAxis` of `like`. */
export function sliceLike(g: GraphBuilder, x: Value, axis: number, like: Value, likeAxis: number): Value {
  const length = one(g, 'Shape', [like], { start: likeAxis, end: likeAxis + 1 });
  return one(g, 'Slice', [x, integers(g, [0]), length, integers(g, [axis])], {});
}

/** Index of the largest value along `axis`, the first of equal ones: int64, that axis kept with size 1. */
export const argMax = (g: GraphBuilder, x: Value, axis: number): Value => one(g, 'ArgMax', [x], { axis, keepdims: 1 });

/** How a convolution moves: one stride an axis of space, and the same zeros before and after it. */
export interface ConvSteps {
  readonly strides: readonly number[];
  readonly padding: readonly number[];
  /** Channels are cut into so many groups; as many as channels: depthwise. Default 1. */
  readonly groups?: number;
}

/** Convolution over x [b, c, ...space] by `weight` [out, c / groups, ...kernel] and optional bias [out]. */
export function convolve(
  g: GraphBuilder,
  x: Value,
  weight: Value,
  bias: Value | undefined,
  { strides, padding, groups = 1 }: ConvSteps,
): Value {
  const inputs = bias === undefined ? [x, weight] : [x, weight, bias];
  return one(g, 'Conv', inputs, { strides, pads: [...padding, ...padding], group: groups });
}

/**
 * Depthwise convolution over x [b, c, t, h, w] with an odd cube as kernel, stride 1, zeros around: the shape of x. Parameters
 * `name.weight` [c, 1, kernel, kernel, kernel] and `name.bias` [c].
 */
export function depthwise3d(g: GraphBuilder, x: Value, name: string, kernel: number): Value {
  const [c, t, h, w] = x.shape.slice(1) as [number, number, number, number];
  const weight = g.param(`${name}.weight`, [c, 1, kernel, kernel, kernel]);
  const bias = g.param(`${name}.bias`, [c]);
  const around = (kernel - 1) / 2;
  if (t > longestBand)
    return convolve(g, x, weight, bias, { strides: [1, 1, 1], padding: [around, around, around], groups: c });
  // One channel at a time is a product with a single row. With the times of a channel as the channels of a flat convolution it has t
  // rows, some of zeros, and reads each picture once: UniFormer-B in half the time on the cpu.
  const biases = reshape(g, expand(g, reshape(g, bias, [c, 1]), [c, t]), [c * t]);
  const flat = convolve(g, reshape(g, x, [0, c * t, h, w]), timeBand(g, weight, t), biases, {
    strides: [1, 1],
    padding: [around, around],
    groups: c,
  });
  return reshape(g, flat, [0, c, t, h, w]);
}

/** Most time steps that are worth a band, which has t^2 taps for t times the kernel's. */
const longestBand = 16;

/** Kernels [c, 1, k, k, k] as those of a flat convolution from t times to t times of each channel: [c t, t, k, k]. */
function timeBand(g: GraphBuilder, weight: Value, t: number): Value {
  const [c, , k] = weight.shape as [number, 1, number];
  const length = k + t;
  const padded = concat(g, [reshape(g, weight, [c, k, k, k]), expand(g, scalar(g, 0), [c, t, k, k])], 1);
  // Rows of `length` read as rows of one less: each begins one later, so that the taps of time i stand at i.
  const rows = reshape(g, expand(g, reshape(g, padded, [c, 1, length, k, k]), [c, t, length, k, k]), [c, -1, k, k]);
  const shifted = reshape(g, slice(g, rows, 1, 0, t * (length - 1)), [c, t, length - 1, k, k]);
  const around = (k - 1) / 2;
  return reshape(g, slice(g, shifted, 2, around, around + t), [c * t, t, k, k]);
}

/** x repeated along its axes of size 1, and along new ones before them. */
export function expand(g: GraphBuilder, x: Value, shape: readonly number[]): Value {
  return one(g, 'Expand', [x, integers(g, shape)], {});
}

export function split(g: GraphBuilder, x: Value, sizes: readonly number[], axis: number): readonly Value[] {
  return g.op('Split', [x, integers(g, sizes)], { axis });
}

/** Cuts x along axis 1 into parts as long as axis 1 of each of `parts`. */
export function splitLike(g: GraphBuilder, x: Value, parts: readonly Value[]): readonly Value[] {
  const lengths = parts.map((part) => one(g, 'Shape', [part], { start: 1, end: 2 }));
  return g.op('Split', [x, concat(g, lengths, 0)], { axis: 1 });
}

/** Rows of `table` [n, width] at `indices` int64 [...]: [..., width]. */
export const lookUp = (g: GraphBuilder, table: Value, indices: Value): Value =>
  one(g, 'Gather', [table, indices], { axis: 0 });

/** Token `index` of x [b, n, width]: [b, width]. */
export function tokenAt(g: GraphBuilder, x: Value, index: number): Value {
  return one(g, 'Gather', [x, g.constant(tensor('int64', [], BigInt64Array.of(BigInt(index))))], { axis: 1 });
}

/** `token`, width values, for every sample of x [b, n, width]: [b, 1, width]. */
export function repeatToken(g: GraphBuilder, token: Value, x: Value): Value {
  const width = x.shape[2] as number;
  const batch = one(g, 'Shape', [x], { start: 0, end: 1 });
  const sizes = concat(g, [batch, integers(g, [1, width])], 0);
  return one(g, 'Expand', [reshape(g, token, [1, 1, width]), sizes], {});
}

/** `token` [width] before the tokens of every sample of x [b, n, width]: [b, 1 + n, width]. */
export function prependToken(g: GraphBuilder, token: Value, x: Value): Value {
  return concat(g, [repeatToken(g, token, x), x], 1);
}

/** For each sample the tokens at `indices` int64 [b, m] of x [b, n, ...]: [b, m, ...]. */
export function takeTokens(g: GraphBuilder, x: Value, indices: Value): Value {
  return one(g, 'GatherND', [x, reshape(g, indices, [0, 0, 1])], { batch_dims: 1 });
}

/** y = x W^T + b for x [..., in]; W [out, in] stays as the checkpoint holds it. Pass `bias` to give one that is no parameter. */
export function linear(
  g: GraphBuilder,
  x: Value,
  name: string,
  out: number,
  options: { readonly bias?: Value | 'none' } = {},
): Value {
  const width = x.shape.at(-1);
  assert(typeof width === 'number', `linear ${name}: the last axis of its input must be a number`);
  const weight = g.param(`${name}.weight`, [out, width]);
  const bias = options.bias ?? g.param(`${name}.bias`, [out]);
  return multiply(g, x, weight, bias === 'none' ? undefined : bias);
}

/** x [..., in] times the transpose of weight [out, in], plus bias [out]. */
export function multiply(g: GraphBuilder, x: Value, weight: Value, bias?: Value): Value {
  const [out, width] = weight.shape as readonly number[];
  // Gemm reads W as it lies in the file; a MatMul would need a transposed copy of every weight in memory.
  const rows = x.shape.length === 2 ? x : reshape(g, x, [-1, width!]);
  const inputs = bias === undefined ? [rows, weight] : [rows, weight, bias];
  const product = one(g, 'Gemm', inputs, { transB: 1 });
  if (x.shape.length === 2) return product;
  const inner = x.shape.slice(1, -1);
  if (isFixed(inner)) return reshape(g, product, [-1, ...inner, out!]);
  // Two sizes are open (batch and tokens): only x itself can tell them.
  const lead = one(g, 'Shape', [x], { start: 0, end: x.shape.length - 1 });
  return one(g, 'Reshape', [product, concat(g, [lead, integers(g, [out!])], 0)], {});
}

function isFixed(dims: readonly Dim[]): dims is readonly number[] {
  return dims.every((dim) => typeof dim === 'number');
}

/** Over the last axis; parameters `name.weight` and `name.bias` [width]. */
export function layerNorm(g: GraphBuilder, x: Value, name: string, epsilon: number): Value {
  const width = x.shape.at(-1) as number;
  const affine = [g.param(`${name}.weight`, [width]), g.param(`${name}.bias`, [width])];
  return one(g, 'LayerNormalization', [x, ...affine], { axis: -1, epsilon });
}

/** x divided by the root of its mean square over the last axis; parameter `name.weight` [width]. Source: Zhang and Sennrich, 2019. */
export function rmsNorm(g: GraphBuilder, x: Value, name: string, epsilon: number): Value {
  const width = x.shape.at(-1) as number;
  const square = mean(g, mul(g, x, x), [x.shape.length - 1], 1);
  const root = sqrt(g, add(g, square, scalar(g, epsilon)));
  return mul(g, div(g, x, root), g.param(`${name}.weight`, [width]));
}

/**
 * Batch norm in evaluation, with its running statistics: y = x scale + shift, [width] each; over the parameters of `name`. Both can
 * go into a product before or after it, and are worked out once, when the graph is loaded.
 */
export function batchNormAffine(
  g: GraphBuilder,
  name: string,
  width: number,
  epsilon: number,
): { readonly scale: Value; readonly shift: Value } {
  const [weight, bias, average, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map((part) =>
    g.param(`${name}.${part}`, [width]),
  );
  const scale = div(g, weight!, sqrt(g, add(g, variance!, scalar(g, epsilon))));
  return { scale, shift: sub(g, bias!, mul(g, average!, scale)) };
}

/** `fused`: one operator, for cpu and cuda. `separate`: products and softmax, for WebGPU, where the fused operator was seen to give wrong numbers. */
export type AttentionForm = 'fused' | 'separate';

export interface AttentionOptions {
  readonly heads: number;
  /** Multiplies the logits. */
  readonly scale: number;
  readonly form: AttentionForm;
  /** A token sees itself and those before it; `context` is the most tokens there can be. */
  readonly causal?: { readonly context: number };
}

/**
 * Multi-head attention without projections: q [b, n, width], k [b, m, width], v [b, m, width] -> [b, n, width].
 * Heads lie one after the other along the width.
 */
export function attention(
  g: GraphBuilder,
  [q, k, v]: readonly [q: Value, k: Value, v: Value],
  { heads, scale, form, causal }: AttentionOptions,
): Value {
  if (form === 'fused')
    return one(g, 'MultiHeadAttention', [q, k, v], { num_heads: heads, scale, ...(causal && { unidirectional: 1 }) });
  const width = q.shape[2] as number;
  const headed = (x: Value, perm: readonly number[]): Value =>
    transpose(g, reshape(g, x, [0, 0, heads, width / heads]), perm);
  const scaled = mul(g, headed(q, [0, 2, 1, 3]), scalar(g, scale)); // [b, heads, n, d]
  const logits = matMul(g, scaled, headed(k, [0, 2, 3, 1])); // [b, heads, n, m]
  const seen = causal === undefined ? logits : add(g, logits, causalMask(g, q, causal.context));
  const mixed = matMul(g, softmax(g, seen), headed(v, [0, 2, 1, 3])); // [b, heads, n, d]
  return reshape(g, transpose(g, mixed, [0, 2, 1, 3]), [0, 0, width]);
}

/** [n, n], to be added to logits: 0 on and below the diagonal, above it a number whose exponential is 0. */
function causalMask(g: GraphBuilder, q: Value, context: number): Value {
  const values = Float32Array.from({ length: context ** 2 }, (_, i) =>
    i % context > Math.floor(i / context) ? -1e9 : 0,
  );
  const whole = g.constant(tensor('float32', [context, context], values), `causal_${context}`);
  if (q.shape[1] === context) return whole;
  return sliceLike(g, sliceLike(g, whole, 0, q, 1), 1, q, 1);
}

/** linear `fc1` to `hidden`, erf GELU, linear `fc2` back. */
export function mlp(g: GraphBuilder, x: Value, hidden: number): Value {
  const width = x.shape.at(-1) as number;
  return linear(g, gelu(g, linear(g, x, 'fc1', hidden)), 'fc2', width);
}

/** x divided by its L2 norm over the last axis; norms below `epsilon` count as epsilon. */
export function unitLength(g: GraphBuilder, x: Value, epsilon: number): Value {
  const norm = one(g, 'ReduceL2', [x], { axes: [x.shape.length - 1], keepdims: 1 });
  return div(g, x, max(g, norm, scalar(g, epsilon)));
}
