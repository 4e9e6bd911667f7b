import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { seededRandom } from '../random.js';
import { writeGraph } from '../runtime/probe-graphs.js';
import { openSession } from '../runtime/session.js';
import { sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Dim, Tensor } from '../types.js';
import { GraphBuilder } from './builder.js';
import {
  abs,
  add,
  argMax,
  attention,
  batchNormAffine,
  cast,
  clip,
  concat,
  convolve,
  cos,
  cumSum,
  depthwise3d,
  div,
  equal,
  exp,
  floor,
  geluTanh,
  greater,
  greaterOrEqual,
  identity,
  largest,
  layerNorm,
  less,
  linear,
  log,
  logSoftmax,
  logSumExp,
  lookUp,
  matMul,
  max,
  mean,
  min,
  mlp,
  mul,
  neg,
  one,
  pad,
  pow,
  prependToken,
  quickGelu,
  reciprocal,
  relu,
  reshape,
  rmsNorm,
  scalar,
  scatterRows,
  sigmoid,
  sign,
  sin,
  slice,
  sliceBy,
  sliceLike,
  softmax,
  softplus,
  split,
  splitLike,
  sqrt,
  sub,
  sum,
  sumSquare,
  takeTokens,
  tanh,
  tokenAt,
  transpose,
  unitLength,
  where,
  erf as erfOf,
} from './layers.js';
import { loop } from './loop.js';
import { ops, type Value } from './ops.js';

/**
 * Every operation and layer, run by ONNX Runtime in one graph, against the same in plain float64 arithmetic. All inputs are a few
 * float32 numbers of size about 1, sums have at most ten terms, so 2e-6 (some thirty float32 roundings) bounds the error; a wrong
 * axis, order or constant is off by more than 1e-2.
 */
const tolerance = 2e-6;

/** A float64 array for the reference. */
interface Nd {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
type Index = readonly number[];

function nd(shape: readonly number[], value: (index: Index) => number): Nd {
  const data = Array.from({ length: sizeOf(shape) }, (_, flat) => {
    const index: number[] = [];
    let rest = flat;
    for (const size of [...shape].reverse()) {
      index.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    return value(index);
  });
  return { shape, data };
}
/** The element at an index; an axis of size 1 repeats, axes at the front may be missing. */
function at({ shape, data }: Nd, ...index: number[]): number {
  const own = index.slice(index.length - shape.length);
  return data[shape.reduce((flat, size, axis) => flat * size + (size === 1 ? 0 : own[axis]!), 0)]!;
}
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** erf by its power series; exact to 1e-15 for |x| < 3. */
function erf(x: number): number {
  let [term, result] = [x, x];
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    result += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * result;
}
const geluOf = (x: number): number => (x * (1 + erf(x / Math.SQRT2))) / 2;

// ---- inputs -------------------------------------------------------------------------------------------------------

const random = seededRandom(1, 'layers');
const normal = (...shape: number[]): Nd => nd(shape, () => Math.fround(random.normal()));
const x = normal(2, 3, 4);
const y = normal(3, 1);
const p = nd([2, 3], () => Math.fround(random.uniform() + 0.1));
const d = nd([3, 1], () => Math.fround(random.uniform() + 0.5));
const m = normal(3, 4);
const w = normal(4, 5);
const [q, k, v] = [normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 4)];
const bytes = nd([2, 3], () => random.integer(256));
const picks = nd([2, 2], () => random.integer(3)); // of 3
const weights: Readonly<Record<string, Nd>> = {
  'fc.weight': normal(5, 4),
  'fc.bias': normal(5),
  'open.weight': normal(5, 4),
  'open.bias': normal(5),
  'flat.weight': normal(2, 4),
  'norm.weight': normal(4),
  'norm.bias': normal(4),
  'mlp.fc1.weight': normal(6, 4),
  'mlp.fc1.bias': normal(6),
  'mlp.fc2.weight': normal(4, 6),
  'mlp.fc2.bias': normal(4),
  'depthwise.weight': normal(4, 1, 3, 3),
  'depthwise.bias': normal(4),
  'grouped.weight': normal(6, 2, 2, 3),
  'openBoth.weight': normal(5, 4),
  'cube.weight': nd([2, 1, 3, 3, 3], () => Math.fround(random.normal() / 4)),
  'cube.bias': normal(2),
  'wide.weight': nd([2, 1, 5, 5, 5], () => Math.fround(random.normal() / 6)),
  'wide.bias': normal(2),
  'running.weight': normal(4),
  'running.bias': normal(4),
  'running.running_mean': normal(4),
  'running.running_var': nd([4], () => Math.fround(random.uniform() + 0.5)),
  'openBoth.bias': normal(5),
};
const own = normal(2, 5, 4); // queries as many as the keys
const signal = normal(2, 4, 3, 5);
const volume = normal(2, 2, 4, 3, 2);
const long = normal(1, 2, 17, 2, 1); // more times than depthwise3d lays side by side
const kernel = normal(3, 2, 2);
const param = (name: string): Nd => weights[name]!;

const mapped = (input: Nd, of: (value: number) => number): Nd => nd(input.shape, (index) => of(at(input, ...index)));
/** 1 where a comparison of x with y holds. */
const compared = (holds: (a: number, b: number) => boolean): Nd =>
  nd(x.shape, (index) => (holds(at(x, ...index), at(y, ...index)) ? 1 : 0));
const asNumbers = (g: GraphBuilder, value: Value): Value => cast(g, value, 'float32');

// ---- reference forms ----------------------------------------------------------------------------------------------

const linearOf = (input: Nd, weight: Nd, bias?: Nd): Nd =>
  nd([...input.shape.slice(0, -1), weight.shape[0]!], (index) => {
    const row = index.slice(0, -1);
    const out = index.at(-1)!;
    const products = range(weight.shape[1]!).map((i) => at(input, ...row, i) * at(weight, out, i));
    return total(products) + (bias ? at(bias, out) : 0);
  });

function softmaxOf(values: readonly number[]): number[] {
  const largest = Math.max(...values);
  const exps = values.map((value) => Math.exp(value - largest));
  return exps.map((value) => value / total(exps));
}

function normOf(input: Nd, weight: Nd, bias: Nd, epsilon: number): Nd {
  return nd(input.shape, (index) => {
    const row = range(input.shape.at(-1)!).map((i) => at(input, ...index.slice(0, -1), i));
    const average = total(row) / row.length;
    const variance = total(row.map((value) => (value - average) ** 2)) / row.length;
    const i = index.at(-1)!;
    return ((row[i]! - average) / Math.sqrt(variance + epsilon)) * at(weight, i) + at(bias, i);
  });
}

function attentionOf(heads: number, scale: number, queries = q, causal = false): Nd {
  const size = 4 / heads;
  return nd(queries.shape, ([b, n, c]) => {
    const head = Math.floor(c! / size);
    const channels = range(size).map((i) => head * size + i);
    const seen = causal ? n! + 1 : 5;
    const logits = range(seen).map((t) => scale * total(channels.map((i) => at(queries, b!, n!, i) * at(k, b!, t, i))));
    return total(softmaxOf(logits).map((share, t) => share * at(v, b!, t, c!)));
  });
}

/** Channel m of a convolution at (i, j): the sum over its group's channels and the kernel, zeros outside the signal. */
function convOf(
  weight: Nd,
  bias: Nd | undefined,
  { strides, padding, groups }: { strides: Index; padding: Index; groups: number },
): Nd {
  const [b, , height, width] = signal.shape as [number, number, number, number];
  const [out, perGroup, rows, columns] = weight.shape as [number, number, number, number];
  const sizes = [height - rows, width - columns].map(
    (rest, a) => Math.floor((rest + 2 * padding[a]!) / strides[a]!) + 1,
  );
  return nd([b, out, ...sizes], ([n, m, i, j]) => {
    const first = Math.floor(m! / (out / groups)) * perGroup;
    const terms = range(perGroup * rows * columns).map((t) => {
      const [c, row, column] = [Math.floor(t / (rows * columns)), Math.floor(t / columns) % rows, t % columns];
      const [y, x] = [i! * strides[0]! + row - padding[0]!, j! * strides[1]! + column - padding[1]!];
      if (y < 0 || y >= height || x < 0 || x >= width) return 0;
      return at(signal, n!, first + c, y, x) * at(weight, m!, c, row, column);
    });
    return total(terms) + (bias ? at(bias, m!) : 0);
  });
}

/** Each channel of `input` [b, c, t, h, w] with its own cube of taps, zeros around. */
function depthwiseOf(input: Nd, weight: Nd, bias: Nd): Nd {
  const [, , ...space] = input.shape;
  const kernel = weight.shape[2]!;
  const around = (kernel - 1) / 2;
  return nd(input.shape, ([b, c, ...place]) => {
    const terms = range(kernel ** 3).map((tap) => {
      const taps = [Math.floor(tap / kernel ** 2), Math.floor(tap / kernel) % kernel, tap % kernel];
      const from = place.map((position, axis) => position + taps[axis]! - around);
      if (from.some((position, axis) => position < 0 || position >= space[axis]!)) return 0;
      return at(input, b!, c!, ...from) * at(weight, c!, 0, ...taps);
    });
    return total(terms) + at(bias, c!);
  });
}

interface Case {
  readonly build: (g: GraphBuilder, inputs: Readonly<Record<string, Value>>) => Value;
  readonly expected: Nd;
}
const xy = (f: (a: number, b: number) => number): Nd => nd(x.shape, (index) => f(at(x, ...index), at(y, ...index)));

const cases: Readonly<Record<string, Case>> = {
  add: { build: (g, i) => add(g, i['x']!, i['y']!), expected: xy((a, b) => a + b) },
  sub: { build: (g, i) => sub(g, i['x']!, i['y']!), expected: xy((a, b) => a - b) },
  mul: { build: (g, i) => mul(g, i['x']!, i['y']!), expected: xy((a, b) => a * b) },
  div: {
    build: (g, i) => div(g, i['x']!, i['d']!),
    expected: nd(x.shape, (index) => at(x, ...index) / at(d, ...index)),
  },
  max: { build: (g, i) => max(g, i['x']!, i['y']!), expected: xy(Math.max) },
  min: { build: (g, i) => min(g, i['x']!, i['y']!), expected: xy(Math.min) },
  exp: { build: (g, i) => exp(g, i['x']!), expected: nd(x.shape, (index) => Math.exp(at(x, ...index))) },
  sqrt: { build: (g, i) => sqrt(g, i['p']!), expected: nd(p.shape, (index) => Math.sqrt(at(p, ...index))) },
  log: { build: (g, i) => log(g, i['p']!), expected: nd(p.shape, (index) => Math.log(at(p, ...index))) },
  sigmoid: {
    build: (g, i) => sigmoid(g, i['x']!),
    expected: nd(x.shape, (index) => 1 / (1 + Math.exp(-at(x, ...index)))),
  },
  tanh: { build: (g, i) => tanh(g, i['x']!), expected: nd(x.shape, (index) => Math.tanh(at(x, ...index))) },
  quickGelu: {
    build: (g, i) => quickGelu(g, i['x']!),
    expected: nd(x.shape, (index) => at(x, ...index) / (1 + Math.exp(-1.702 * at(x, ...index)))),
  },
  matMul: {
    build: (g, i) => matMul(g, i['x']!, i['w']!),
    expected: nd([2, 3, 5], ([b, n, o]) => total(range(4).map((c) => at(x, b!, n!, c) * at(w, c, o!)))),
  },
  'Gemm as it lies': {
    build: (g, i) => g.op('Gemm', [i['m']!, i['w']!], { transB: 0 })[0]!,
    expected: nd([3, 5], ([n, o]) => total(range(4).map((c) => at(m, n!, c) * at(w, c, o!)))),
  },
  transpose: {
    build: (g, i) => transpose(g, i['x']!, [2, 0, 1]),
    expected: nd([4, 2, 3], ([c, b, n]) => at(x, b!, n!, c!)),
  },
  Shape: {
    build: (g, i) => cast(g, g.op('Shape', [i['x']!], { start: 1, end: 3 })[0]!, 'float32'),
    expected: nd([2], ([axis]) => [3, 4][axis!]!),
  },
  reshape: { build: (g, i) => reshape(g, i['x']!, [0, -1]), expected: { shape: [2, 12], data: x.data } },
  slice: {
    build: (g, i) => slice(g, i['v']!, 1, 1, 4),
    expected: nd([2, 3, 4], ([b, n, c]) => at(v, b!, n! + 1, c!)),
  },
  'sliceLike along an open axis': {
    build: (g, i) => sliceLike(g, i['v']!, 1, i['open']!, 1),
    expected: nd([2, 3, 4], ([b, n, c]) => at(v, b!, n!, c!)),
  },
  argMax: {
    build: (g, i) => cast(g, argMax(g, i['x']!, 1), 'float32'),
    expected: nd([2, 1, 4], ([b, , c]) => {
      const values = range(3).map((n) => at(x, b!, n, c!));
      return values.indexOf(Math.max(...values));
    }),
  },
  'argMax takes the first of equal ones': {
    build: (g, i) => cast(g, argMax(g, i['equal']!, 1), 'float32'),
    expected: { shape: [2, 1], data: [1, 0] },
  },
  'depthwise convolution within zeros': {
    build: (g, i) =>
      convolve(g, i['signal']!, g.param('depthwise.weight', [4, 1, 3, 3]), g.param('depthwise.bias', [4]), {
        strides: [1, 1],
        padding: [1, 1],
        groups: 4,
      }),
    expected: convOf(param('depthwise.weight'), param('depthwise.bias'), {
      strides: [1, 1],
      padding: [1, 1],
      groups: 4,
    }),
  },
  'convolution of two groups in steps': {
    build: (g, i) =>
      convolve(g, i['signal']!, g.param('grouped.weight', [6, 2, 2, 3]), undefined, {
        strides: [1, 2],
        padding: [0, 1],
        groups: 2,
      }),
    expected: convOf(param('grouped.weight'), undefined, { strides: [1, 2], padding: [0, 1], groups: 2 }),
  },
  concat: {
    build: (g, i) => concat(g, [i['x']!, i['q']!], 1),
    expected: nd([2, 6, 4], ([b, n, c]) => (n! < 3 ? at(x, b!, n!, c!) : at(q, b!, n! - 3, c!))),
  },
  split: {
    build: (g, i) => split(g, i['x']!, [1, 3], 2)[1]!,
    expected: nd([2, 3, 3], ([b, n, c]) => at(x, b!, n!, c! + 1)),
  },
  splitLike: {
    build: (g, i) => splitLike(g, concat(g, [i['open']!, i['v']!], 1), [i['open']!, i['v']!])[1]!,
    expected: v,
  },
  'cast from bytes': { build: (g, i) => cast(g, i['bytes']!, 'float32'), expected: bytes },
  'cast to whole numbers cuts towards 0': {
    build: (g, i) => cast(g, cast(g, i['x']!, 'int32'), 'float32'),
    expected: nd(x.shape, (index) => Math.trunc(at(x, ...index)) + 0),
  },
  lookUp: {
    build: (g, i) => lookUp(g, i['m']!, i['picks']!),
    expected: nd([2, 2, 4], ([b, n, c]) => at(m, at(picks, b!, n!), c!)),
  },
  tokenAt: { build: (g, i) => tokenAt(g, i['x']!, 2), expected: nd([2, 4], ([b, c]) => at(x, b!, 2, c!)) },
  prependToken: {
    build: (g, i) => prependToken(g, g.param('norm.bias', [4]), i['openBoth']!),
    expected: nd([2, 4, 4], ([b, n, c]) => (n === 0 ? at(param('norm.bias'), c!) : at(x, b!, n! - 1, c!))),
  },
  takeTokens: {
    build: (g, i) => takeTokens(g, i['x']!, i['picks']!),
    expected: nd([2, 2, 4], ([b, n, c]) => at(x, b!, at(picks, b!, n!), c!)),
  },
  'softmax over the last axis': {
    build: (g, i) => softmax(g, i['x']!),
    expected: nd(x.shape, ([b, n, c]) => softmaxOf(range(4).map((j) => at(x, b!, n!, j)))[c!]!),
  },
  'softmax over the middle axis': {
    build: (g, i) => softmax(g, i['x']!, 1),
    expected: nd(x.shape, ([b, n, c]) => softmaxOf(range(3).map((j) => at(x, b!, j, c!)))[n!]!),
  },
  layerNorm: {
    build: (g, i) => layerNorm(g, i['x']!, 'norm', 0.25),
    expected: normOf(x, param('norm.weight'), param('norm.bias'), 0.25),
  },
  mean: {
    build: (g, i) => mean(g, i['x']!, [0, 2]),
    expected: nd([3], ([n]) => total(range(8).map((j) => at(x, j >> 2, n!, j & 3))) / 8),
  },
  'mean that keeps its axis': {
    build: (g, i) => mean(g, i['x']!, [1], 1),
    expected: nd([2, 1, 4], ([b, , c]) => total(range(3).map((n) => at(x, b!, n, c!))) / 3),
  },
  largest: {
    build: (g, i) => largest(g, i['x']!, [0, 2]),
    expected: nd([3], ([n]) => Math.max(...range(8).map((j) => at(x, j >> 2, n!, j & 3)))),
  },
  sum: {
    build: (g, i) => sum(g, i['x']!, [2], 1),
    expected: nd([2, 3, 1], ([b, n]) => total(range(4).map((c) => at(x, b!, n!, c)))),
  },
  unitLength: {
    build: (g, i) => unitLength(g, i['x']!, 1e-12),
    expected: nd(x.shape, ([b, n, c]) => at(x, b!, n!, c!) / Math.hypot(...range(4).map((j) => at(x, b!, n!, j)))),
  },
  'unitLength of short rows': {
    build: (g, i) => unitLength(g, i['x']!, 100),
    expected: nd(x.shape, (index) => at(x, ...index) / 100),
  },
  'linear over a known count of tokens': {
    build: (g, i) => linear(g, i['x']!, 'fc', 5),
    expected: linearOf(x, param('fc.weight'), param('fc.bias')),
  },
  'linear over an open count of tokens': {
    build: (g, i) => linear(g, i['open']!, 'open', 5),
    expected: linearOf(x, param('open.weight'), param('open.bias')),
  },
  'linear of a matrix without bias': {
    build: (g, i) => linear(g, i['m']!, 'flat', 2, { bias: 'none' }),
    expected: linearOf(m, param('flat.weight')),
  },
  mlp: {
    build: (g, i) => g.scope('mlp', () => mlp(g, i['x']!, 6)),
    expected: (() => {
      const hidden = linearOf(x, param('mlp.fc1.weight'), param('mlp.fc1.bias'));
      const active = nd(hidden.shape, (index) => geluOf(at(hidden, ...index)));
      return linearOf(active, param('mlp.fc2.weight'), param('mlp.fc2.bias'));
    })(),
  },
  'depthwise3d over few times': {
    build: (g, i) => depthwise3d(g, i['volume']!, 'cube', 3),
    expected: depthwiseOf(volume, param('cube.weight'), param('cube.bias')),
  },
  'depthwise3d with a kernel longer than the volume': {
    build: (g, i) => depthwise3d(g, i['volume']!, 'wide', 5),
    expected: depthwiseOf(volume, param('wide.weight'), param('wide.bias')),
  },
  'depthwise3d over many times': {
    build: (g, i) => depthwise3d(g, i['long']!, 'cube', 3),
    expected: depthwiseOf(long, param('cube.weight'), param('cube.bias')),
  },
  'gelu in its tanh form': {
    build: (g, i) => geluTanh(g, i['x']!),
    expected: nd(x.shape, (index) => {
      const value = at(x, ...index);
      return (value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3)))) / 2;
    }),
  },
  'rmsNorm over a weight': {
    build: (g, i) => rmsNorm(g, i['x']!, 'norm', 0.1),
    expected: nd(x.shape, ([b, n, c]) => {
      const square = total(range(4).map((k) => at(x, b!, n!, k) ** 2)) / 4;
      return (at(x, b!, n!, c!) / Math.sqrt(square + 0.1)) * at(param('norm.weight'), c!);
    }),
  },
  'batch norm with running statistics': {
    build: (g, i) => {
      const { scale, shift } = batchNormAffine(g, 'running', 4, 0.1);
      return add(g, mul(g, i['x']!, scale), shift);
    },
    expected: nd(x.shape, ([b, n, c]) => {
      const [weight, bias, average, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map((part) =>
        at(param(`running.${part}`), c!),
      );
      return ((at(x, b!, n!, c!) - average!) / Math.sqrt(variance! + 0.1)) * weight! + bias!;
    }),
  },
  'gelu in its erf form': {
    build: (g, i) => g.op('Gelu', [i['x']!], {})[0]!,
    expected: nd(x.shape, (index) => geluOf(at(x, ...index))),
  },
  'fused attention of two heads': {
    build: (g, i) => attention(g, [i['q']!, i['k']!, i['v']!], { heads: 2, scale: 0.3, form: 'fused' }),
    expected: attentionOf(2, 0.3),
  },
  'separate attention of two heads': {
    build: (g, i) => attention(g, [i['q']!, i['k']!, i['v']!], { heads: 2, scale: 0.3, form: 'separate' }),
    expected: attentionOf(2, 0.3),
  },
  'fused causal attention': {
    build: (g, i) =>
      attention(g, [i['own']!, i['k']!, i['v']!], { heads: 2, scale: 0.3, form: 'fused', causal: { context: 5 } }),
    expected: attentionOf(2, 0.3, own, true),
  },
  'separate causal attention over fewer tokens than there can be': {
    build: (g, i) =>
      attention(g, [i['ownOpen']!, i['kOpen']!, i['vOpen']!], {
        heads: 2,
        scale: 0.3,
        form: 'separate',
        causal: { context: 9 },
      }),
    expected: attentionOf(2, 0.3, own, true),
  },
  'separate causal attention over all tokens there can be': {
    build: (g, i) =>
      attention(g, [i['own']!, i['k']!, i['v']!], { heads: 2, scale: 0.3, form: 'separate', causal: { context: 5 } }),
    expected: attentionOf(2, 0.3, own, true),
  },
  'linear over an open count of rows and tokens': {
    build: (g, i) => linear(g, i['openBoth']!, 'openBoth', 5),
    expected: linearOf(x, param('openBoth.weight'), param('openBoth.bias')),
  },
  pow: {
    build: (g, i) => pow(g, i['p']!, scalar(g, 2.5)),
    expected: mapped(p, (value) => value ** 2.5),
  },
  neg: { build: (g, i) => neg(g, i['x']!), expected: mapped(x, (value) => -value) },
  reciprocal: { build: (g, i) => reciprocal(g, i['d']!), expected: mapped(d, (value) => 1 / value) },
  abs: { build: (g, i) => abs(g, i['x']!), expected: mapped(x, Math.abs) },
  sign: { build: (g, i) => sign(g, i['x']!), expected: mapped(x, Math.sign) },
  floor: { build: (g, i) => floor(g, i['x']!), expected: mapped(x, Math.floor) },
  erf: { build: (g, i) => erfOf(g, i['x']!), expected: mapped(x, erf) },
  sin: { build: (g, i) => sin(g, i['x']!), expected: mapped(x, Math.sin) },
  cos: { build: (g, i) => cos(g, i['x']!), expected: mapped(x, Math.cos) },
  relu: { build: (g, i) => relu(g, i['x']!), expected: mapped(x, (value) => Math.max(value, 0)) },
  softplus: { build: (g, i) => softplus(g, i['x']!), expected: mapped(x, (value) => Math.log1p(Math.exp(value))) },
  identity: { build: (g, i) => identity(g, i['x']!), expected: x },
  clip: {
    build: (g, i) => clip(g, i['x']!, -0.5, 0.25),
    expected: mapped(x, (value) => Math.min(Math.max(value, -0.5), 0.25)),
  },
  greater: { build: (g, i) => asNumbers(g, greater(g, i['x']!, i['y']!)), expected: compared((a, b) => a > b) },
  'greater, of equal values': {
    build: (g, i) => asNumbers(g, greater(g, i['x']!, i['x']!)),
    expected: mapped(x, () => 0),
  },
  greaterOrEqual: {
    build: (g, i) => asNumbers(g, greaterOrEqual(g, i['x']!, i['y']!)),
    expected: compared((a, b) => a >= b),
  },
  'greaterOrEqual, of equal values': {
    build: (g, i) => asNumbers(g, greaterOrEqual(g, i['x']!, i['x']!)),
    expected: mapped(x, () => 1),
  },
  less: { build: (g, i) => asNumbers(g, less(g, i['x']!, i['y']!)), expected: compared((a, b) => a < b) },
  'equal to the largest': {
    build: (g, i) => asNumbers(g, equal(g, i['x']!, largest(g, i['x']!, [2], 1))),
    expected: nd(x.shape, ([a, b, c]) =>
      at(x, a!, b!, c!) === Math.max(...range(4).map((k) => at(x, a!, b!, k))) ? 1 : 0,
    ),
  },
  where: {
    build: (g, i) => where(g, less(g, i['x']!, scalar(g, 0)), i['y']!, i['x']!),
    expected: nd(x.shape, (index) => (at(x, ...index) < 0 ? at(y, ...index) : at(x, ...index))),
  },
  'logSoftmax over an inner axis': {
    build: (g, i) => logSoftmax(g, i['x']!, 1),
    expected: nd(x.shape, ([a, b, c]) => Math.log(softmaxOf(range(3).map((k) => at(x, a!, k, c!)))[b!]!)),
  },
  cumSum: {
    build: (g, i) => cumSum(g, i['x']!, 1),
    expected: nd(x.shape, ([a, b, c]) => total(range(b! + 1).map((k) => at(x, a!, k, c!)))),
  },
  'cumSum from the end, without the element': {
    build: (g, i) =>
      one(g, 'CumSum', [i['x']!, g.constant(tensor('int64', [], BigInt64Array.of(1n)))], { exclusive: 1, reverse: 1 }),
    expected: nd(x.shape, ([a, b, c]) => total(range(2 - b!).map((k) => at(x, a!, b! + 1 + k, c!)))),
  },
  logSumExp: {
    build: (g, i) => logSumExp(g, i['x']!, [1]),
    expected: nd([2, 4], ([a, c]) => Math.log(total(range(3).map((k) => Math.exp(at(x, a!, k, c!)))))),
  },
  sumSquare: {
    build: (g, i) => sumSquare(g, i['x']!, [0, 2], 1),
    expected: nd([1, 3, 1], ([, b]) => total(range(8).map((k) => at(x, k >> 2, b!, k & 3) ** 2))),
  },
  'sliceBy with steps': {
    build: (g, i) => sliceBy(g, i['x']!, { axes: [2, 0], starts: [1, 0], ends: [4, 2], steps: [2, 1] }),
    expected: nd([2, 3, 2], ([a, b, c]) => at(x, a!, b!, 1 + 2 * c!)),
  },
  'pad with a filler': {
    build: (g, i) => pad(g, i['x']!, [0, 1, 0], [0, 0, 2], -7),
    expected: nd([2, 4, 6], ([a, b, c]) => (b === 0 || c! > 3 ? -7 : at(x, a!, b! - 1, c!))),
  },
  'Gemm with both transposed': {
    build: (g, i) => one(g, 'Gemm', [i['m']!, transpose(g, i['m']!, [1, 0])], { transA: 1, transB: 1 }),
    expected: nd([4, 4], ([a, b]) => total(range(3).map((k) => at(m, k, a!) * at(m, k, b!)))),
  },
  GatherElements: {
    build: (g, i) => one(g, 'GatherElements', [i['m']!, i['picks']!], { axis: 0 }),
    expected: nd([2, 2], ([a, b]) => at(m, at(picks, a!, b!), b!)),
  },
  'ScatterND that adds': {
    build: (g, i) => {
      const rows = slice(g, reshape(g, i['own']!, [10, 4]), 0, 0, 4);
      return scatterRows(g, i['m']!, reshape(g, i['picks']!, [4, 1]), rows, 'add');
    },
    expected: nd([3, 4], ([a, c]) => {
      const added = range(4).filter((row) => picks.data[row] === a);
      return at(m, a!, c!) + total(added.map((row) => at(own, 0, row, c!)));
    }),
  },
  'ScatterElements that adds': {
    build: (g, i) =>
      one(g, 'ScatterElements', [i['m']!, i['picks']!, slice(g, slice(g, i['m']!, 0, 1, 3), 1, 0, 2)], {
        axis: 0,
        reduction: 'add',
      }),
    expected: nd([3, 4], ([a, c]) => {
      const added = c! > 1 ? [] : range(2).filter((row) => at(picks, row, c!) === a);
      return at(m, a!, c!) + total(added.map((row) => at(m, row + 1, c!)));
    }),
  },
  'a transposed convolution in steps': {
    build: (g, i) =>
      one(g, 'ConvTranspose', [i['x']!, i['kernel']!], {
        strides: [2],
        pads: [1, 0],
        dilations: [2],
        group: 1,
        output_padding: [1],
      }),
    // place t 2 + tap 2 - 1 for input t and tap 0 or 1
    expected: nd([2, 2, 9], ([b, o, place]) =>
      total(
        range(4 * 2).map((i) => {
          const [t, tap] = [i >> 1, i & 1];
          if (2 * t + 2 * tap - 1 !== place) return 0;
          return total(range(3).map((c) => at(x, b!, c, t) * at(kernel, c, o!, tap)));
        }),
      ),
    ),
  },
  'a loop that carries x, adds y and multiplies by the number of the round': {
    build: (g, i) =>
      loop(g, 3, { carried: { state: i['x']! }, captured: { step: i['y']! } }, (body, round) => {
        const state = add(body, body.input('state', 'float32', x.shape), body.param('step', y.shape));
        return { next: { state: mul(body, state, cast(body, round, 'float32')) } };
      }).last['state']!,
    // ((x + y) 0 + y) 1 + y) 2
    expected: nd(x.shape, (index) => 4 * at(y, ...index)),
  },
  'attention of one head': {
    build: (g, i) => attention(g, [i['q']!, i['k']!, i['v']!], { heads: 1, scale: 1, form: 'fused' }),
    expected: attentionOf(1, 1),
  },
};

const inputs = {
  ...{
    x,
    y,
    p,
    d,
    m,
    w,
    q,
    k,
    v,
    own,
    signal,
    volume,
    long,
    kernel,
    bytes,
    picks,
    equal: { shape: [2, 3], data: [1, 4, 4, 2, 2, 2] },
  },
  ...{ open: x, openBoth: x, ownOpen: own, kOpen: k, vOpen: v },
} as const;
/** Shapes that the graph leaves open. */
const openShapes: Readonly<Record<string, readonly Dim[]>> = {
  open: [2, 'tokens', 4],
  openBoth: ['rows', 'tokens', 4],
  ownOpen: ['batch', 'length', 4],
  kOpen: ['batch', 'length', 4],
  vOpen: ['batch', 'length', 4],
};
const dtypes: Readonly<Record<string, 'uint8' | 'int64'>> = { bytes: 'uint8', picks: 'int64', equal: 'int64' };

function feed(name: string, { shape, data }: Nd): AnyTensor {
  if (dtypes[name] === 'uint8') return tensor('uint8', shape, Uint8Array.from(data));
  if (dtypes[name] === 'int64') return tensor('int64', shape, BigInt64Array.from(data, BigInt));
  return tensor('float32', shape, Float32Array.from(data));
}

describe('ONNX Runtime computes what the plain arithmetic does', () => {
  let folder: string;
  let results: Record<string, Tensor<'float32'>>;
  const used = new Set<string>();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'egolens-layers-'));
    const g = new GraphBuilder('layers');
    const values = Object.fromEntries(
      Object.entries(inputs).map(([name, { shape }]) => {
        return [name, g.input(name, dtypes[name] ?? 'float32', openShapes[name] ?? shape)];
      }),
    );
    for (const [name, { build }] of Object.entries(cases)) g.output(name, build(g, values));
    const graph = g.finish();
    for (const { op } of graph.nodes) used.add(op);
    const path = await writeGraph(folder, graph, (name) => Float32Array.from(param(name).data));
    await using session = await openSession({ graph: path, device: 'cpu', threads: 1 });
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, feed(name, value)]));
    results = await session.run(feeds, Object.keys(cases));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('every operation of the table is in the graph', () => {
    expect([...used].sort()).toEqual(Object.keys(ops).sort());
  });

  test.each(Object.keys(cases))('%s', (name) => {
    const { expected } = cases[name]!;
    const { shape, data } = results[name]!;
    expect(shape).toEqual(expected.shape);
    const worst = Math.max(
      ...expected.data.map((value, i) => Math.abs(value - data[i]!) / Math.max(1, Math.abs(value))),
    );
    expect(worst).toBeLessThan(tolerance);
  });
});
