import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { seededRandom, type Random } from '../random.js';
import { writeGraph } from '../runtime/probe-graphs.js';
import { openSession } from '../runtime/session.js';
import { sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Dim, Tensor } from '../types.js';
import { GraphBuilder, type Graph } from './builder.js';
import { checkpoint, gradients } from './grad.js';
import * as op from './layers.js';
import { batchNorm, channelNorm, groupNorm } from './norms.js';
import { ops, type OpName, type Value } from './ops.js';
import { pruned } from './prune.js';
import * as spatial from './spatial.js';

/**
 * Every derivative rule against a central difference along one random direction: with the output weighted by random numbers, the
 * slope of that sum along the direction is the gradient times the direction. Inputs are of size about 1 and the step is 1e-2, so the
 * third derivative leaves some 1e-4 and float32 some 1e-5 of the terms' root sum square; a wrong rule is off by 0.1 and more. Inputs
 * keep further from kinks than the step goes.
 */
const step = 1e-2;
const tolerance = 2e-3;

type Sampler = (random: Random, count: number) => number[];
const listed = (count: number, of: (i: number) => number): number[] => Array.from({ length: count }, (_, i) => of(i));
const normal: Sampler = (random, count) => listed(count, () => random.normal());
/** From 0.5 to 1.5. */
const positive: Sampler = (random, count) => listed(count, () => 0.5 + random.uniform());
/** 0.2 and more from 0. */
const awayFromZero: Sampler = (random, count) =>
  listed(count, () => (random.uniform() < 0.5 ? -1 : 1) * (0.2 + random.uniform()));
/** 0.25 and more from each other, and 0.125 from those with another `shift`. */
const apart =
  (shift: 0 | 0.125 = 0): Sampler =>
  (random, count) =>
    random.shuffle(listed(count, (i) => (i - Math.floor(count / 2)) * 0.25 + shift + 0.05));

type Shaped = readonly number[] | { readonly shape: readonly number[]; readonly sampler: Sampler };
interface Case {
  /** What is differentiated by; normally distributed where nothing is said. */
  readonly of: Readonly<Record<string, Shaped>>;
  readonly build: (g: GraphBuilder, values: Readonly<Record<string, Value>>) => Value | readonly Value[];
}
const from = (shape: readonly number[], sampler: Sampler): Shaped => ({ shape, sampler });
const rows = (g: GraphBuilder, shape: readonly number[], ...values: number[]): Value =>
  g.constant(tensor('int64', shape, BigInt64Array.from(values, BigInt)));

const unary = (name: OpName, sampler: Sampler = normal): readonly Case[] => [
  { of: { x: from([3, 5], sampler) }, build: (g, { x }) => g.op(name, [x!], {}) },
];
/** Equal shapes, and broadcasting over axes that are missing and over axes of 1. */
const binary = (name: OpName, first: Sampler = normal, second: Sampler = first): readonly Case[] =>
  [
    [[3], [3]],
    [
      [2, 3, 5],
      [3, 1],
    ],
    [
      [5, 1],
      [2, 1, 3],
    ],
    [[], [2, 3]],
  ].map(([x, y]) => ({
    of: { x: from(x!, first), y: from(y!, second) },
    build: (g, i) => g.op(name, [i['x']!, i['y']!], {}),
  }));
const reduction = (name: 'ReduceMean', sampler: Sampler = normal): readonly Case[] => [
  { of: { x: from([2, 3, 5], sampler) }, build: (g, { x }) => g.op(name, [x!], { axes: [0, -1], keepdims: 0 }) },
  { of: { x: from([2, 3, 5], sampler) }, build: (g, { x }) => g.op(name, [x!], { axes: [1], keepdims: 1 }) },
];
const convolution = (
  x: readonly number[],
  w: readonly number[],
  attrs: { strides: readonly number[]; pads: readonly number[]; dilations?: readonly number[]; group: number },
  bias?: number,
): Case => ({
  of: { x, w, ...(bias === undefined ? {} : { bias: [bias] }) },
  build: (g, i) => g.op('Conv', [i['x']!, i['w']!, ...(i['bias'] ? [i['bias']] : [])], attrs),
});
const transposedConvolution = (
  x: readonly number[],
  w: readonly number[],
  attrs: {
    strides: readonly number[];
    pads: readonly number[];
    dilations?: readonly number[];
    group: number;
    output_padding: readonly number[];
  },
): Case => ({ of: { x, w }, build: (g, i) => g.op('ConvTranspose', [i['x']!, i['w']!], attrs) });

/** One row per operation: a row of the op table without one here does not compile. `none`: it has no derivative. */
const rules: { readonly [O in OpName]: 'none' | readonly Case[] } = {
  Add: binary('Add'),
  Sub: binary('Sub'),
  Mul: [
    ...binary('Mul'),
    { of: { x: [3, 5] }, build: (g, { x }) => op.mul(g, x!, x!) }, // both operands are one value
  ],
  Div: binary('Div', normal, positive),
  Max: binary('Max', apart(), apart(0.125)),
  Min: binary('Min', apart(), apart(0.125)),
  Pow: [
    ...binary('Pow', positive, normal),
    { of: { x: from([3, 5], awayFromZero) }, build: (g, { x }) => op.pow(g, x!, op.scalar(g, 3)) },
  ],
  Neg: unary('Neg'),
  Reciprocal: unary('Reciprocal', positive),
  Exp: unary('Exp'),
  Log: unary('Log', positive),
  Sqrt: unary('Sqrt', positive),
  Abs: unary('Abs', awayFromZero),
  Sign: unary('Sign', awayFromZero),
  Floor: [{ of: { x: from([7], apart(0.125)) }, build: (g, { x }) => op.mul(g, x!, op.floor(g, x!)) }],
  Erf: unary('Erf'),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Sigmoid: unary('Sigmoid'),
  Tanh: unary('Tanh'),
  Relu: unary('Relu', awayFromZero),
  Softplus: unary('Softplus'),
  Identity: unary('Identity'),
  Clip: [{ of: { x: from([15], apart()) }, build: (g, { x }) => op.clip(g, x!, -0.8, 0.7) }],
  Greater: 'none',
  GreaterOrEqual: 'none',
  Less: 'none',
  Equal: 'none',
  Where: [
    {
      of: { x: [2, 3, 5], y: [3, 1], c: from([5], awayFromZero) },
      build: (g, { x, y, c }) => op.where(g, op.less(g, c!, op.scalar(g, 0)), x!, y!),
    },
    {
      of: { x: [1, 5], y: [] },
      build: (g, { x, y }) =>
        op.where(g, g.constant(tensor('bool', [3, 1], Uint8Array.of(1, 0, 1))), op.mul(g, x!, x!), y!),
    },
  ],
  MatMul: [
    { of: { a: [3, 5], b: [5, 2] }, build: (g, { a, b }) => op.matMul(g, a!, b!) },
    { of: { a: [2, 3, 5], b: [5, 7] }, build: (g, { a, b }) => op.matMul(g, a!, b!) },
    { of: { a: [3, 5], b: [2, 5, 7] }, build: (g, { a, b }) => op.matMul(g, a!, b!) },
    { of: { a: [3, 1, 2, 5], b: [4, 5, 3] }, build: (g, { a, b }) => op.matMul(g, a!, b!) },
  ],
  Gemm: ([0, 1] as const)
    .flatMap((transA) =>
      ([0, 1] as const).flatMap((transB) =>
        [undefined, [5], [3, 1]].map((bias): Case => ({
          of: { a: transA ? [2, 3] : [3, 2], b: transB ? [5, 2] : [2, 5], ...(bias ? { bias } : {}) },
          build: (g, i) => g.op('Gemm', [i['a']!, i['b']!, ...(i['bias'] ? [i['bias']] : [])], { transA, transB }),
        })),
      ),
    )
    .concat(
      // Wide enough for a transpose of its own on the way back.
      ([0, 1] as const).map((transB) => ({
        of: { a: [3, transB === 1 ? 300 : 2], b: [2, 300] },
        build: (g, { a, b }) => g.op('Gemm', [a!, b!], { transB }),
      })),
    ),
  Transpose: [{ of: { x: [2, 3, 5] }, build: (g, { x }) => op.transpose(g, x!, [1, 2, 0]) }],
  Shape: 'none',
  Reshape: [{ of: { x: [2, 3, 5] }, build: (g, { x }) => op.reshape(g, x!, [5, -1]) }],
  Expand: [
    { of: { x: [1, 3, 1] }, build: (g, { x }) => op.expand(g, x!, [4, 2, 3, 5]) },
    { of: { x: [] }, build: (g, { x }) => op.expand(g, x!, [2, 3]) },
  ],
  Slice: [
    { of: { x: [5, 3] }, build: (g, { x }) => op.slice(g, x!, 0, 1, 4) },
    {
      of: { x: [5, 7, 9] },
      build: (g, { x }) => op.sliceBy(g, x!, { axes: [2, 0, 1], starts: [1, 0, 2], ends: [9, 5, 7], steps: [3, 2, 1] }),
    },
    { of: { x: [8] }, build: (g, { x }) => op.sliceBy(g, x!, { axes: [0], starts: [1], ends: [4], steps: [2] }) },
    { of: { x: [8] }, build: (g, { x }) => op.sliceBy(g, x!, { axes: [0], starts: [7], ends: [8], steps: [5] }) },
  ],
  Pad: [
    { of: { x: [2, 3] }, build: (g, { x }) => op.pad(g, x!, [0, 1], [2, 0]) },
    { of: { x: [3] }, build: (g, { x }) => op.pad(g, x!, [1], [1], -5) },
    { of: { x: [3] }, build: (g, { x }) => g.op('Pad', [op.mul(g, x!, x!), op.integers(g, [0, 0])], {}) },
  ],
  Concat: [
    { of: { x: [2, 1, 3], y: [2, 4, 3] }, build: (g, { x, y }) => op.concat(g, [x!, y!, x!], -2) },
    { of: { x: [3] }, build: (g, { x }) => op.concat(g, [x!], 0) },
  ],
  Split: [
    { of: { x: [2, 6] }, build: (g, { x }) => op.split(g, x!, [1, 2, 3], -1) },
    { of: { x: [2, 6] }, build: (g, { x }) => op.split(g, x!, [1, 2, 3], 1)[1]! }, // the others reach no loss
  ],
  Cast: [{ of: { x: [3] }, build: (g, { x }) => op.cast(g, op.cast(g, x!, 'float16'), 'float32') }],
  Gather: [
    { of: { x: [4, 3] }, build: (g, { x }) => op.lookUp(g, x!, rows(g, [2, 3], 0, 2, 2, -1, 0, 2)) },
    { of: { x: [2, 4, 3] }, build: (g, { x }) => g.op('Gather', [x!, rows(g, [3], 1, 3, 1)], { axis: 1 }) },
    { of: { x: [2, 3, 4] }, build: (g, { x }) => g.op('Gather', [x!, rows(g, [2, 2], 1, 3, 1, 0)], { axis: -1 }) },
    { of: { x: [2, 4, 3] }, build: (g, { x }) => op.tokenAt(g, x!, 2) },
    { of: { x: [2, 4, 3] }, build: (g, { x }) => op.tokenAt(g, x!, -1) },
  ],
  GatherND: [
    { of: { x: [2, 4, 3] }, build: (g, { x }) => op.takeTokens(g, x!, rows(g, [2, 3], 0, 3, 3, 2, 1, 1)) },
    {
      of: { x: [4, 3, 2] },
      build: (g, { x }) => g.op('GatherND', [x!, rows(g, [3, 2], 0, 1, 3, 2, 0, 1)], { batch_dims: 0 }),
    },
    {
      of: { x: [2, 3, 4, 5] },
      build: (g, { x }) => g.op('GatherND', [x!, rows(g, [2, 3, 1], 0, 3, 1, 2, 2, 0)], { batch_dims: 2 }),
    },
  ],
  GatherElements: [
    {
      of: { x: [4, 3] },
      build: (g, { x }) => g.op('GatherElements', [x!, rows(g, [2, 3], 0, 3, 1, 0, 2, 1)], { axis: 0 }),
    },
    { of: { x: [2, 4] }, build: (g, { x }) => g.op('GatherElements', [x!, rows(g, [2, 1], 3, 0)], { axis: -1 }) },
  ],
  ScatterND: [
    {
      of: { x: [4, 3], u: [3, 3] },
      build: (g, { x, u }) => op.scatterRows(g, x!, rows(g, [3, 1], 0, 2, 2), u!, 'add'),
    },
    {
      of: { x: [4, 3], u: [2] },
      build: (g, { x, u }) => op.scatterRows(g, x!, rows(g, [2, 2], 3, 1, 0, 2), u!, 'none'),
    },
  ],
  ScatterElements: (['add', 'none'] as const).map((reduction) => ({
    of: { x: [4, 3], u: [2, 3] },
    build: (g, { x, u }) =>
      g.op('ScatterElements', [x!, rows(g, [2, 3], 0, 3, 1, 2, 0, 3), u!], { axis: 0, reduction }),
  })),
  ArgMax: 'none',
  Softmax: [-1, 0, 1].map((axis) => ({ of: { x: [2, 3, 5] }, build: (g, { x }) => op.softmax(g, x!, axis) })),
  LogSoftmax: [-1, 1].map((axis) => ({ of: { x: [2, 3, 5] }, build: (g, { x }) => op.logSoftmax(g, x!, axis) })),
  CumSum: ([0, 1] as const).flatMap((exclusive) =>
    ([0, 1] as const).map((reverse) => ({
      of: { x: [2, 3, 5] },
      build: (g, { x }) => g.op('CumSum', [x!, rows(g, [], 1)], { exclusive, reverse }),
    })),
  ),
  LayerNormalization: [
    {
      of: { x: [2, 3, 7], weight: [7], bias: [7] },
      build: (g, { x, weight, bias }) => g.op('LayerNormalization', [x!, weight!, bias!], { axis: -1, epsilon: 0.1 }),
    },
  ],
  ReduceMax: reduction('ReduceMax' as 'ReduceMean', apart()),
  ReduceMean: reduction('ReduceMean'),
  ReduceL2: reduction('ReduceL2' as 'ReduceMean'),
  ReduceSumSquare: reduction('ReduceSumSquare' as 'ReduceMean'),
  ReduceLogSumExp: reduction('ReduceLogSumExp' as 'ReduceMean'),
  ReduceSum: [
    { of: { x: [2, 3, 5] }, build: (g, { x }) => op.sum(g, op.mul(g, x!, x!), [0, -1]) },
    { of: { x: [2, 3, 5] }, build: (g, { x }) => op.sum(g, op.mul(g, x!, x!), [1], 1) },
  ],
  Conv: [
    convolution([2, 3, 9], [4, 3, 3], { strides: [1], pads: [1, 1], group: 1 }, 4),
    convolution([2, 3, 8], [4, 3, 3], { strides: [2], pads: [0, 1], group: 1 }),
    convolution([2, 3, 11], [4, 3, 3], { strides: [3], pads: [2, 0], dilations: [2], group: 1 }),
    convolution([2, 4, 7], [6, 2, 3], { strides: [2], pads: [1, 1], group: 2 }, 6),
    convolution([2, 3, 5, 7], [3, 1, 3, 3], { strides: [1, 2], pads: [1, 1, 1, 1], group: 3 }, 3),
    convolution([2, 3, 5, 7], [6, 1, 3, 3], { strides: [1, 2], pads: [1, 0, 1, 0], group: 3 }),
    convolution([2, 3, 4, 6], [5, 3, 2, 3], { strides: [2, 3], pads: [0, 0, 0, 0], group: 1 }, 5), // tiles
    convolution([1, 4, 4, 6], [6, 2, 2, 3], { strides: [2, 3], pads: [0, 0, 0, 0], group: 2 }),
    convolution([2, 3, 5, 6], [5, 3, 2, 3], { strides: [2, 3], pads: [0, 0, 0, 0], group: 1 }), // a row left over
    convolution([1, 2, 3, 4, 5], [3, 2, 2, 3, 2], { strides: [1, 1, 2], pads: [0, 1, 0, 1, 1, 0], group: 1 }),
    convolution([2, 3, 4], [5, 3, 1], { strides: [1], pads: [0, 0], group: 1 }),
  ],
  ConvTranspose: [
    transposedConvolution([2, 3, 5], [3, 4, 4], { strides: [2], pads: [1, 1], group: 1, output_padding: [0] }),
    transposedConvolution([2, 4, 5], [4, 3, 3], {
      strides: [3],
      pads: [0, 1],
      dilations: [2],
      group: 2,
      output_padding: [2],
    }),
    transposedConvolution([1, 3, 2, 3], [3, 1, 2, 2], {
      strides: [2, 2],
      pads: [0, 0, 0, 0],
      group: 3,
      output_padding: [0, 0],
    }),
    {
      of: { x: [1, 3, 4], w: [3, 2, 3], bias: [2] },
      build: (g, { x, w, bias }) =>
        g.op('ConvTranspose', [x!, w!, bias!], { strides: [2], pads: [1, 1], group: 1, output_padding: [1] }),
    },
  ],
  QuickGelu: [{ of: { x: [3, 5] }, build: (g, { x }) => op.quickGelu(g, x!) }],
  Gelu: unary('Gelu'),
  FastGelu: unary('FastGelu'),
  MultiHeadAttention: 'none',
  Loop: 'none',
};

/** What is put together from several operations. */
const layers: Readonly<Record<string, Case>> = {
  'separate attention, causal': {
    of: { q: [2, 3, 4], k: [2, 3, 4], v: [2, 3, 4] },
    build: (g, { q, k, v }) =>
      op.attention(g, [q!, k!, v!], { heads: 2, scale: 0.7, form: 'separate', causal: { context: 3 } }),
  },
  linear: {
    of: { x: [2, 3, 5], weight: [4, 5], bias: [4] },
    build: (g, { x, weight, bias }) => op.multiply(g, x!, weight!, bias),
  },
  unitLength: { of: { x: [3, 5] }, build: (g, { x }) => op.unitLength(g, x!, 1e-12) },
  channelNorm: {
    of: { x: [2, 4, 3], weight: [4], bias: [4] },
    build: (g, { x, weight, bias }) => channelNorm(g, x!, { weight: weight!, bias: bias! }, 1e-2),
  },
  groupNorm: {
    of: { x: [2, 4, 3, 2], weight: [4], bias: [4] },
    build: (g, { x, weight, bias }) => groupNorm(g, x!, { weight: weight!, bias: bias! }, { groups: 2, epsilon: 1e-2 }),
  },
  'batchNorm and its statistics': {
    of: { x: [3, 2, 5], weight: [2], bias: [2] },
    build: (g, { x, weight, bias }) => {
      const { y, mean, variance } = batchNorm(g, x!, { weight: weight!, bias: bias! }, 1e-2);
      return [y, mean, variance];
    },
  },
  maxPool: {
    of: { x: from([2, 3, 7], apart()) },
    build: (g, { x }) => spatial.maxPool(g, x!, 2, { kernel: 3, stride: 2, padding: 1 }),
  },
  averagePool: { of: { x: [2, 7, 3] }, build: (g, { x }) => spatial.averagePool(g, x!, 1, 3) },
  upsampleNearest: { of: { x: [2, 3, 5] }, build: (g, { x }) => spatial.upsampleNearest(g, x!, 1, 3) },
  'resizeLinear of an inner axis': { of: { x: [2, 5, 3] }, build: (g, { x }) => spatial.resizeLinear(g, x!, 1, 3) },
  neighbourhoods: { of: { x: [2, 4, 3] }, build: (g, { x }) => spatial.neighbourhoods(g, x!, 5) },
  gridSample: {
    of: { x: [2, 3, 4, 5], grid: from([2, 3, 2, 2], apart()) },
    build: (g, { x, grid }) => spatial.gridSample(g, x!, op.mul(g, grid!, op.scalar(g, 0.3))),
  },
};

const cases = new Map<string, Case>([
  ...Object.entries(rules).flatMap(([name, listedCases]) =>
    listedCases === 'none' ? [] : listedCases.map((one, i) => [`${name} ${i}`, one] as const),
  ),
  ...Object.entries(layers),
]);

type Feeds = Record<string, Tensor<'float32'>>;

async function run(
  folder: string,
  graph: Graph,
  feedsOf: readonly Readonly<Record<string, AnyTensor>>[],
): Promise<Record<string, Tensor<'float32'>>[]> {
  await using session = await openSession({ graph: await writeGraph(folder, graph), device: 'cpu', threads: 1 });
  const results = [];
  for (const feeds of feedsOf) results.push(await session.run(feeds, [...graph.outputs.keys()]));
  return results;
}

/** The sum of a value's elements, each times a random number. */
function weighed(g: GraphBuilder, value: Value, stream: string): Value {
  const random = seededRandom(2, stream);
  const shape = value.shape as readonly number[];
  const weights = tensor(
    'float32',
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
  );
  const product = op.mul(g, value, g.constant(weights));
  return shape.length === 0
    ? product
    : op.sum(
        g,
        product,
        shape.map((_, i) => i),
      );
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-grad-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a derivative rule gives the slope along a random direction', () => {
  const base: Feeds = {};
  const direction: Feeds = {};
  const outputsOf = new Map<string, { readonly weights: readonly Float32Array[]; readonly names: readonly string[] }>();
  let results: Record<string, Tensor<'float32'>>[];

  beforeAll(async () => {
    const g = new GraphBuilder('rules', { params: 'inputs' });
    for (const [name, { of, build }] of cases) {
      g.scope(name, () => {
        const values: Record<string, Value> = {};
        for (const [key, shaped] of Object.entries(of)) {
          const { shape, sampler } = 'sampler' in shaped ? shaped : { shape: shaped, sampler: normal };
          const param = g.param(key, shape);
          const count = sizeOf(shape);
          base[param.name] = tensor('float32', shape, Float32Array.from(sampler(seededRandom(1, param.name), count)));
          const random = seededRandom(3, param.name);
          direction[param.name] = tensor('float32', shape, Float32Array.from(normal(random, count)));
          values[key] = param;
        }
        const built = build(g, values);
        const outputs = 'name' in built ? [built] : built;
        const loss = outputs
          .map((output, i) => weighed(g, output, `${name} ${i}`))
          .reduce((total, part) => op.add(g, total, part));
        outputsOf.set(name, {
          names: outputs.map((_, i) => `${name}/out ${i}`),
          weights: outputs.map((output, i) => {
            const random = seededRandom(2, `${name} ${i}`);
            return Float32Array.from({ length: sizeOf(output.shape as number[]) }, () => random.normal());
          }),
        });
        outputs.forEach((output, i) => g.output(`${name}/out ${i}`, op.identity(g, output)));
        for (const [value, gradient] of gradients(g, loss, Object.values(values)))
          g.output(`${value.name}/gradient`, op.identity(g, gradient));
      });
    }
    const moved = (by: number): Feeds =>
      Object.fromEntries(
        Object.entries(base).map(([name, { shape, data }]) => [
          name,
          tensor(
            'float32',
            shape,
            data.map((value, i) => value + by * direction[name]!.data[i]!),
          ),
        ]),
      );
    results = await run(folder, g.finish(), [moved(0), moved(step), moved(-step)]);
  });

  test.each([...cases.keys()])('%s', (name) => {
    const { names, weights } = outputsOf.get(name)!;
    let slope = 0;
    names.forEach((output, i) => {
      const [, ahead, behind] = results.map((result) => result[output]!.data);
      weights[i]!.forEach((weight, k) => (slope += (weight * (ahead![k]! - behind![k]!)) / (2 * step)));
    });
    const products = Object.keys(cases.get(name)!.of).flatMap((key) => {
      const gradient = results[0]![`${name}.${key}/gradient`];
      return gradient === undefined ? [] : [...gradient.data.map((d, k) => d * direction[`${name}.${key}`]!.data[k]!)];
    });
    const along = products.reduce((total, product) => total + product, 0);
    const size = Math.sqrt(products.reduce((total, product) => total + product ** 2, 0));
    expect(Math.abs(slope - along)).toBeLessThanOrEqual(tolerance * size);
  });
});

test('the rows without a derivative say so in the table, and no others', () => {
  for (const [name, listedCases] of Object.entries(rules) as [OpName, unknown][])
    expect([name, ops[name].vjp === 'not differentiable']).toEqual([name, listedCases === 'none']);
});

/** Values of the gradients of `loss` by parameters called in `build`, and the graph. */
async function gradientsOf(
  name: string,
  params: Readonly<Record<string, Tensor<'float32'>>>,
  build: (g: GraphBuilder, values: Readonly<Record<string, Value>>) => Value,
): Promise<{ readonly values: Record<string, number[]>; readonly graph: Graph }> {
  const g = new GraphBuilder(name, { params: 'inputs' });
  const values = Object.fromEntries(Object.entries(params).map(([key, { shape }]) => [key, g.param(key, shape)]));
  const loss = build(g, values);
  g.output('loss', op.identity(g, loss));
  for (const [{ name: key }, gradient] of gradients(g, loss, Object.values(values)))
    g.output(`d.${key}`, op.identity(g, gradient));
  const graph = pruned(g.finish());
  const feeds = Object.fromEntries(Object.entries(params).filter(([key]) => graph.inputs.some((i) => i.name === key)));
  const [results] = await run(folder, graph, [feeds]);
  return { values: Object.fromEntries(Object.entries(results!).map(([key, { data }]) => [key, [...data]])), graph };
}

const vector = (...values: number[]): Tensor<'float32'> =>
  tensor('float32', [values.length], Float32Array.from(values));
const seeded = (name: string, shape: readonly number[]): Tensor<'float32'> =>
  tensor('float32', shape, Float32Array.from(normal(seededRandom(4, name), sizeOf(shape))));
const totalOf = (g: GraphBuilder, x: Value): Value =>
  op.sum(
    g,
    x,
    x.shape.map((_, i) => i),
  );

test('a value that is used several times gets the sum of its gradients', async () => {
  const { values } = await gradientsOf('shared', { x: vector(1, 2, 3) }, (g, { x }) =>
    totalOf(g, op.add(g, op.mul(g, x!, x!), op.mul(g, x!, op.scalar(g, 10)))),
  );
  expect(values['d.x']).toEqual([12, 14, 16]);
});

test('gradients can be differentiated again', async () => {
  const { values } = await gradientsOf('twice', { x: vector(1, 2, -3) }, (g, { x }) => {
    const cube = totalOf(g, op.mul(g, x!, op.mul(g, x!, x!)));
    return totalOf(g, gradients(g, cube, [x!]).get(x!)!);
  });
  expect(values['d.x']).toEqual([6, 12, -18]);
});

test('values in the middle may be wanted, the loss too; what the loss does not depend on is missing', () => {
  const g = new GraphBuilder('g', { params: 'inputs' });
  const [x, y] = [g.param('x', [3]), g.param('y', [3])];
  const middle = op.exp(g, x);
  const loss = totalOf(g, op.mul(g, middle, middle));
  totalOf(g, op.mul(g, y, middle)); // leads to no loss
  const found = gradients(g, loss, [x, y, middle, loss]);
  expect([...found.keys()].map(({ name }) => name)).toEqual(['x', middle.name, loss.name]);
  expect([...found.values()].map(({ shape }) => shape)).toEqual([[3], [3], []]);
});

test('nothing flows through conditions and integers, without an error', () => {
  const g = new GraphBuilder('g', { params: 'inputs' });
  const x = g.param('x', [3]);
  const mask = op.cast(g, op.greater(g, x, op.scalar(g, 0)), 'float32');
  const place = op.cast(g, op.argMax(g, x, 0), 'float32');
  expect(gradients(g, totalOf(g, op.add(g, mask, place)), [x]).size).toBe(0);
  expect(gradients(g, totalOf(g, op.mul(g, mask, x)), [x]).size).toBe(1);
});

test('a way through an operation without a derivative is refused, with its name and what to do', () => {
  const g = new GraphBuilder('g', { params: 'inputs' });
  const [x, y] = [g.param('x', [1, 3, 4]), g.param('y', [1, 3, 4])];
  const mixed = g.scope('blocks.0', () => op.attention(g, [x, x, x], { heads: 2, scale: 1, form: 'fused' }));
  const loss = totalOf(g, op.mul(g, mixed, y));
  expect(() => gradients(g, loss, [x])).toThrow(
    expect.objectContaining({
      code: 'data.invalid',
      message: `\`${mixed.name}\`: the loss depends on it, and MultiHeadAttention has no derivative`,
      details: { try: "build the model with attention of `form: 'separate'`, which differentiates" },
    }),
  );
  expect(mixed.name).toContain('blocks.0.');
  expect(gradients(g, loss, [y]).size).toBe(1); // another way
});

test('a loss has one element', () => {
  const g = new GraphBuilder('g', { params: 'inputs' });
  const x = g.param('x', [3]);
  expect(() => gradients(g, op.exp(g, x), [x])).toThrow(
    expect.objectContaining({
      code: 'data.shape',
      message: expect.stringContaining('one element, found [3]') as string,
    }),
  );
  const one = op.sum(g, x, [0], 1);
  expect(gradients(g, one, [x]).get(x)!.shape).toEqual([3]);
});

test('rules that need a size refuse a symbol in its place', () => {
  const g = new GraphBuilder('g', { params: 'inputs' });
  const x = op.mul(g, g.input('x', 'float32', ['batch', 3]), g.param('w', [3]));
  expect(() => gradients(g, op.mean(g, x, [0, 1]), g.params)).toThrow(
    expect.objectContaining({
      code: 'data.shape',
      message: expect.stringContaining('[batch, 3]: expected a known size along axis 0') as string,
    }),
  );
});

test('float16 stays float16 on the way back, and is float32 again at the parameter', () => {
  const g = new GraphBuilder('g', { params: 'inputs' });
  const [x, w] = [g.param('x', [2, 3]), g.param('w', [4, 3])];
  const h = op.gelu(g, op.multiply(g, op.cast(g, x, 'float16'), op.cast(g, w, 'float16')));
  const found = gradients(g, totalOf(g, op.cast(g, op.softmax(g, h), 'float32')), [x, w, h]);
  expect([...found.values()].map(({ dtype }) => dtype)).toEqual(['float32', 'float32', 'float16']);
});

test('of equal values the earliest of a pool takes the gradient, and all of a ReduceMax share it', async () => {
  const x = vector(1, 1, 0, 2, 2, 2);
  const pooled = await gradientsOf('pool', { x }, (g, { x: v }) =>
    totalOf(g, spatial.maxPool(g, v!, 0, { kernel: 3, stride: 3 })),
  );
  expect(pooled.values['d.x']).toEqual([1, 0, 0, 1, 0, 0]);
  const largest = await gradientsOf('largest', { x: vector(1, 4, 4, 2) }, (g, { x: v }) => op.largest(g, v!, [0]));
  expect(largest.values['d.x']).toEqual([0, 0.5, 0.5, 0]);
});

test('a norm of zero has the gradient zero', async () => {
  const { values } = await gradientsOf('norm', { x: vector(0, 0) }, (g, { x }) =>
    op.one(g, 'ReduceL2', [x!], { axes: [0], keepdims: 0 }),
  );
  expect(values['d.x']).toEqual([0, 0]);
});

/** Two transformer blocks of one head; `around` is what is done with each block. */
function blocks(
  g: GraphBuilder,
  x: Value,
  around: (inputs: readonly Value[], body: () => Value) => Value = (_inputs, body) => body(),
): Value {
  let tokens = x;
  for (const i of [0, 1]) {
    const inside = tokens;
    tokens = around([inside], () =>
      g.scope(`blocks.${i}`, () => {
        const h = op.layerNorm(g, inside, 'norm1', 1e-5);
        const [q, k, v] = ['q', 'k', 'v'].map((name) => op.linear(g, h, name, 4));
        const mixed = op.add(g, inside, op.attention(g, [q!, k!, v!], { heads: 2, scale: 0.5, form: 'separate' }));
        return op.add(g, mixed, op.mlp(g, op.layerNorm(g, mixed, 'norm2', 1e-5), 6));
      }),
    );
  }
  return tokens;
}

/** Gradients by the parameters and the input of `blocks` over x [batch, 3, 4], by name. */
async function blockGradients(
  name: string,
  batch: Dim,
  around?: (g: GraphBuilder) => (inputs: readonly Value[], body: () => Value) => Value,
): Promise<{ readonly graph: Graph; readonly values: Record<string, Tensor<'float32'>> }> {
  const g = new GraphBuilder(name, { params: 'inputs' });
  const x = g.input('x', 'float32', [batch, 3, 4]);
  const y = blocks(g, x, around?.(g));
  const loss = op.sum(g, op.sum(g, op.mul(g, y, op.sin(g, y)), [1, 2]), [0]);
  g.output('loss', op.identity(g, loss));
  for (const [value, gradient] of gradients(g, loss, [x, ...g.params]))
    g.output(`d.${value.name}`, op.identity(g, gradient));
  const graph = pruned(g.finish());
  const feeds: Feeds = { x: seeded('x', [2, 3, 4]) };
  for (const param of g.params) feeds[param.name] = seeded(param.name, param.shape);
  return { graph, values: (await run(folder, graph, [feeds]))[0]! };
}

test('a batch of open size has the same gradients as one of known size', async () => {
  const [fixed, open] = [await blockGradients('fixed', 2), await blockGradients('open', 'batch')];
  expect(Object.keys(fixed.values)).toHaveLength(2 + 2 * 14);
  for (const [key, { shape, data }] of Object.entries(fixed.values)) {
    expect([key, open.values[key]!.shape]).toEqual([key, shape]);
    data.forEach((value, i) => expect(open.values[key]!.data[i]).toBeCloseTo(value, 4));
  }
});

describe('checkpoint', () => {
  const counts = (graph: Graph, name: OpName): number => graph.nodes.filter((node) => node.op === name).length;

  test('computes a block again on the way back and gives the same gradients', async () => {
    const kept = await blockGradients('kept', 2);
    const again = await blockGradients('again', 2, (g) => (inputs, body) => checkpoint(g, inputs, body));
    expect(Object.keys(again.values)).toEqual(Object.keys(kept.values));
    for (const [key, { data }] of Object.entries(kept.values))
      expect([key, again.values[key]!.data]).toEqual([key, data]);
    expect([counts(kept.graph, 'LayerNormalization'), counts(again.graph, 'LayerNormalization')]).toEqual([4, 8]);
  });

  test('keeps nothing of a block for the way back but its input and result', () => {
    const g = new GraphBuilder('g', { params: 'inputs' });
    const x = g.input('x', 'float32', [2, 3, 4]);
    const y = blocks(g, x, (inputs, body) => checkpoint(g, inputs, body));
    const forward = [...g.nodes];
    const loss = totalOf(g, y);
    gradients(g, loss, g.params);
    const ends = new Set(
      g.segments.flatMap(({ to, inputs }) => [forward[to - 1]!.outputs[0]!.name, ...inputs.map(({ name }) => name)]),
    );
    const inner = new Set(
      forward.flatMap(({ outputs }) => outputs.map(({ name }) => name)).filter((name) => !ends.has(name)),
    );
    const read = g.nodes.slice(forward.length).flatMap(({ inputs }) => inputs.map(({ name }) => name));
    expect(read.filter((name) => inner.has(name))).toEqual([]);
    // What is computed again depends on a gradient, or the runtime would merge it with the first time.
    expect(read.filter((name) => name === 'x')).toHaveLength(1);
  });

  test('inside another one it changes nothing', async () => {
    const kept = await blockGradients('flat', 2);
    const nested = await blockGradients(
      'nested',
      2,
      (g) => (inputs, body) => checkpoint(g, inputs, () => checkpoint(g, inputs, body)),
    );
    expect(nested.values).toEqual(kept.values);
  });

  test('leaves a stretch alone that the loss does not depend on, and one without operations', () => {
    const g = new GraphBuilder('g', { params: 'inputs' });
    const x = g.param('x', [3]);
    checkpoint(g, [x], () => op.exp(g, x));
    expect(checkpoint(g, [x], () => x)).toBe(x);
    const found = gradients(g, totalOf(g, op.sin(g, x)), [x]);
    expect(found.size).toBe(1);
    expect(g.nodes.filter((node) => node.op === 'Exp')).toHaveLength(1);
  });

  test('values inside may be wanted, and values may come in that are not listed', async () => {
    const build = (g: GraphBuilder, { x, y }: Readonly<Record<string, Value>>, around: typeof checkpoint): Value => {
      const outer = op.sin(g, y!);
      let inside = x!;
      const result = around(g, [x!], () => {
        inside = op.exp(g, x!);
        return op.mul(g, inside, outer);
      });
      const loss = totalOf(g, op.mul(g, result, result));
      const found = gradients(g, loss, [inside]).get(inside)!;
      return op.add(g, loss, totalOf(g, op.mul(g, found, op.scalar(g, 0.5))));
    };
    const params = { x: seeded('x', [3]), y: seeded('y', [3]) };
    const kept = await gradientsOf('inner-kept', params, (g, v) => build(g, v, (_g, _inputs, body) => body()));
    const again = await gradientsOf('inner-again', params, (g, v) => build(g, v, checkpoint));
    for (const [key, expected] of Object.entries(kept.values))
      expected.forEach((value, i) => expect(again.values[key]![i]).toBeCloseTo(value, 5));
  });
});
