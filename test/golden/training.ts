import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openNpz } from '../../src/checkpoint/npz.js';
import { openFileSource } from '../../src/files.js';
import { GraphBuilder } from '../../src/graph/builder.js';
import { gradients } from '../../src/graph/grad.js';
import * as op from '../../src/graph/layers.js';
import { batchNorm, channelNorm, groupNorm } from '../../src/graph/norms.js';
import type { Value } from '../../src/graph/ops.js';
import { pruned } from '../../src/graph/prune.js';
import * as spatial from '../../src/graph/spatial.js';
import { writeGraph } from '../../src/runtime/probe-graphs.js';
import { openSession } from '../../src/runtime/session.js';
import { tensor } from '../../src/tensor.js';
import * as losses from '../../src/train/losses.js';
import type { AnyTensor } from '../../src/types.js';
import { numbers, readJson } from './model-cases.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

type Attributes = Readonly<Record<string, unknown>>;

/** A single operation of the golden data: what it is given, as values of the graph and as numbers. */
interface Given {
  readonly g: GraphBuilder;
  readonly attributes: Attributes;
  /** An input as a value of the graph. */
  readonly v: (name: string) => Value;
  /** An input as it stands in the file, for what the host prepares. */
  readonly host: (name: string) => AnyTensor;
}

const number = (given: Given, name: string): number => given.attributes[name] as number;
const list = (given: Given, name: string): readonly number[] => given.attributes[name] as readonly number[];
/** One number for all axes of space, or one each. */
const perAxis = (value: unknown, axes: number): readonly number[] =>
  typeof value === 'number' ? Array.from({ length: axes }, () => value) : (value as readonly number[]);

const unary =
  (of: (g: GraphBuilder, x: Value) => Value) =>
  ({ g, v }: Given): Value =>
    of(g, v('x'));
const binary =
  (of: (g: GraphBuilder, x: Value, y: Value) => Value) =>
  ({ g, v }: Given): Value =>
    of(g, v('x'), v('y'));
const shapeOf = (x: Value): readonly number[] => x.shape as readonly number[];

function convolution(given: Given): Value {
  const { g, v, attributes } = given;
  const axes = v('x').shape.length - 2;
  const padding = perAxis(attributes['padding'], axes);
  return op.one(g, 'Conv', [v('x'), v('weight'), ...bias(given)], {
    strides: perAxis(attributes['stride'], axes),
    pads: [...padding, ...padding],
    dilations: perAxis(attributes['dilation'] ?? 1, axes),
    group: (attributes['groups'] as number | undefined) ?? 1,
  });
}

function transposedConvolution(given: Given): Value {
  const { g, v, attributes } = given;
  const axes = v('x').shape.length - 2;
  const padding = perAxis(attributes['padding'], axes);
  return op.one(g, 'ConvTranspose', [v('x'), v('weight'), ...bias(given)], {
    strides: perAxis(attributes['stride'], axes),
    pads: [...padding, ...padding],
    group: 1,
    output_padding: perAxis(0, axes),
  });
}

function bias({ v, attributes }: Given): Value[] {
  return attributes['hasBias'] === true ? [v('bias')] : [];
}

/** Tokens at the places of a grid of `length`, `fill` everywhere else: by the inverse list, without a scatter. */
function scatterTokens(given: Given): Value {
  const { g, v, host } = given;
  const [b, n, width] = shapeOf(v('x')) as readonly [number, number, number];
  const length = number(given, 'length');
  const places = numbers(host('_index'));
  const inverse = Array.from({ length: b * length }, (_, i) => {
    const at = places.slice(Math.floor(i / length) * n, (Math.floor(i / length) + 1) * n).indexOf(i % length);
    return BigInt(at < 0 ? n : at);
  });
  const rows = op.concat(g, [v('x'), op.expand(g, v('fill'), [b, 1, width])], 1);
  return op.takeTokens(g, rows, g.constant(tensor('int64', [b, length], BigInt64Array.from(inverse))));
}

function labelEntropy(given: Given): Value {
  const { g, v, host } = given;
  const labels = numbers(host('_label'));
  const ignored = given.attributes['ignore_index'];
  const kept = labels.map((label) => (label === ignored ? 0 : label));
  const targets = losses.classTargets(kept, shapeOf(v('x'))[1]!, (given.attributes['label_smoothing'] ?? 0) as number);
  const weights = op.floats(
    g,
    labels.map((label) => (label === ignored ? 0 : 1)),
  );
  return losses.weightedCrossEntropy(g, v('x'), g.constant(targets), weights);
}

/** Two halves of the last axis turned against each other. */
function rotary(given: Given): Value {
  const { g, v } = given;
  const x = v('x');
  const [n, d] = shapeOf(x).slice(-2) as [number, number];
  const half = d / 2;
  const table = (of: (angle: number) => number): Value =>
    op.floats(
      g,
      Array.from({ length: n * d }, (_, i) => of(Math.floor(i / d) * number(given, 'theta') ** (-(i % half) / half))),
      [n, d],
    );
  const last = x.shape.length - 1;
  const [first, second] = op.split(g, x, [half, half], last);
  const turned = op.concat(g, [op.neg(g, second!), first!], last);
  return op.add(g, op.mul(g, x, table(Math.cos)), op.mul(g, turned, table(Math.sin)));
}

function attention(given: Given): Value {
  const { g, v } = given;
  const keys = op.transpose(g, v('k'), [0, 1, 3, 2]);
  const logits = op.mul(g, op.matMul(g, v('q'), keys), op.scalar(g, number(given, 'scale')));
  return op.matMul(g, op.softmax(g, op.add(g, logits, v('_add'))), v('v'));
}

function regions(given: Given): Value {
  const { g, v, host, attributes } = given;
  const boxes = numbers(host('_boxes'));
  const listed = Array.from({ length: boxes.length / 5 }, (_, i): spatial.Region => {
    const [sample, x1, y1, x2, y2] = boxes.slice(5 * i, 5 * i + 5) as [number, number, number, number, number];
    return { sample, box: [x1, y1, x2, y2] };
  });
  const { indices, weights } = spatial.regionSamples(listed, {
    size: shapeOf(v('x')).slice(2) as [number, number],
    output: attributes['output'] as [number, number],
    scale: number(given, 'scale'),
    sampling: number(given, 'sampling'),
  });
  return spatial.regionFeatures(g, v('x'), g.constant(indices), g.constant(weights));
}

const pool = (given: Given): Value =>
  spatial.maxPool(given.g, given.v('x'), 2, {
    kernel: number(given, 'kernel'),
    stride: number(given, 'stride'),
    padding: number(given, 'padding'),
  });

/** What every operation of the golden data is in our terms. */
const operations: Readonly<Record<string, (given: Given) => Value>> = {
  add_broadcast: binary(op.add),
  sub_broadcast: binary(op.sub),
  mul_broadcast: binary(op.mul),
  mul_scalar: binary(op.mul),
  div_broadcast: binary(op.div),
  pow2: (given) => op.pow(given.g, given.v('x'), op.scalar(given.g, number(given, 'exponent'))),
  exp: unary(op.exp),
  tanh: unary(op.tanh),
  sigmoid: unary(op.sigmoid),
  relu: unary(op.relu),
  silu: unary((g, x) => op.mul(g, x, op.sigmoid(g, x))),
  softplus: unary(op.softplus),
  abs: unary(op.abs),
  erf: unary(op.erf),
  sin: unary(op.sin),
  cos: unary(op.cos),
  log: unary(op.log),
  sqrt: unary(op.sqrt),
  reciprocal: unary(op.reciprocal),
  gelu_erf: unary(op.gelu),
  gelu_tanh: unary(op.geluTanh),
  quick_gelu: unary(op.quickGelu),
  minimum: binary(op.min),
  maximum_broadcast: binary(op.max),
  clamp: (given) => op.clip(given.g, given.v('x'), number(given, 'min'), number(given, 'max')),
  where: ({ g, v }) => op.where(g, op.cast(g, v('_condition'), 'bool'), v('x'), v('y')),
  matmul_2d: binary(op.matMul),
  matmul_batched: binary(op.matMul),
  matmul_batch_broadcast: binary(op.matMul),
  linear: ({ g, v }) => op.multiply(g, v('x'), v('weight'), v('bias')),
  softmax_last: unary((g, x) => op.softmax(g, x)),
  softmax_axis1: unary((g, x) => op.softmax(g, x, 1)),
  log_softmax: unary((g, x) => op.logSoftmax(g, x)),
  layer_norm: (given) =>
    op.one(given.g, 'LayerNormalization', [given.v('x'), given.v('weight'), given.v('bias')], {
      axis: -1,
      epsilon: number(given, 'eps'),
    }),
  layer_norm_channels_first: (given) =>
    channelNorm(given.g, given.v('x'), { weight: given.v('weight'), bias: given.v('bias') }, number(given, 'eps')),
  rms_norm: (given) => {
    const { g, v } = given;
    const power = op.mean(g, op.mul(g, v('x'), v('x')), [v('x').shape.length - 1], 1);
    return op.mul(g, op.div(g, v('x'), op.sqrt(g, op.add(g, power, op.scalar(g, number(given, 'eps'))))), v('weight'));
  },
  group_norm: (given) =>
    groupNorm(
      given.g,
      given.v('x'),
      { weight: given.v('weight'), bias: given.v('bias') },
      { groups: number(given, 'groups'), epsilon: number(given, 'eps') },
    ),
  batch_norm_train: (given) =>
    batchNorm(given.g, given.v('x'), { weight: given.v('weight'), bias: given.v('bias') }, number(given, 'eps')).y,
  l2_normalize: (given) => op.unitLength(given.g, given.v('x'), number(given, 'eps')),
  conv1d: convolution,
  conv1d_stride2: convolution,
  conv1d_stride2_kernel5_no_padding: convolution,
  conv1d_dilated: convolution,
  conv1d_depthwise: convolution,
  conv1d_depthwise_stride2: convolution,
  conv1d_grouped: convolution,
  conv2d_stride2: convolution,
  conv3d_patch: convolution,
  conv3d_depthwise: convolution,
  conv_transpose1d: transposedConvolution,
  conv_transpose2d: transposedConvolution,
  max_pool1d: pool,
  max_pool1d_ties: pool,
  avg_pool1d: (given) => spatial.averagePool(given.g, given.v('x'), 2, number(given, 'kernel')),
  upsample_nearest_1d: (given) => spatial.upsampleNearest(given.g, given.v('x'), 2, number(given, 'factor')),
  upsample_linear_1d: (given) => spatial.resizeLinear(given.g, given.v('x'), 2, number(given, 'size')),
  upsample_bilinear_2d: (given) => {
    const [h, w] = list(given, 'size') as [number, number];
    return spatial.resizeLinear(given.g, spatial.resizeLinear(given.g, given.v('x'), 2, h), 3, w);
  },
  grid_sample_bilinear: ({ g, v }) => spatial.gridSample(g, v('x'), v('grid')),
  reshape: (given) => op.reshape(given.g, given.v('x'), list(given, 'shape')),
  transpose: (given) => op.transpose(given.g, given.v('x'), list(given, 'perm')),
  slice: (given) => sliced(given),
  slice_step: (given) => sliced(given),
  concat: (given) => op.concat(given.g, [given.v('x'), given.v('y'), given.v('z')], number(given, 'axis')),
  stack: (given) => {
    const { g, v } = given;
    const axis = number(given, 'axis');
    const apart = (x: Value): Value => op.reshape(g, x, shapeOf(x).toSpliced(axis, 0, 1));
    return op.concat(g, [apart(v('x')), apart(v('y'))], axis);
  },
  pad: (given) => {
    const [last, second] = [list(given, 'last_axis'), list(given, 'second_last_axis')];
    const outer = given
      .v('x')
      .shape.slice(2)
      .map(() => 0);
    return op.pad(given.g, given.v('x'), [...outer, second[0]!, last[0]!], [...outer, second[1]!, last[1]!]);
  },
  expand: (given) => op.expand(given.g, given.v('x'), list(given, 'shape')),
  gather_rows_repeated: ({ g, v }) => op.lookUp(g, v('x'), v('_index')),
  gather_along_axis: (given) =>
    op.one(given.g, 'GatherElements', [given.v('x'), given.v('_index')], { axis: number(given, 'axis') }),
  mask_select_tokens: ({ g, v }) => op.takeTokens(g, v('x'), v('_index')),
  scatter_tokens: scatterTokens,
  embedding: ({ g, v }) => op.lookUp(g, v('weight'), v('_index')),
  sum_axes: (given) => op.sum(given.g, given.v('x'), list(given, 'axes')),
  mean_axis_keep: (given) => op.mean(given.g, given.v('x'), list(given, 'axes'), 1),
  amax: (given) => op.largest(given.g, given.v('x'), [number(given, 'axis')]),
  logsumexp: (given) => op.logSumExp(given.g, given.v('x'), [number(given, 'axis')]),
  cumsum: (given) => op.cumSum(given.g, given.v('x'), number(given, 'axis')),
  mse: binary(losses.meanSquaredError),
  l1: binary(losses.meanAbsoluteError),
  smooth_l1: (given) => losses.smoothAbsoluteError(given.g, given.v('x'), given.v('y'), number(given, 'beta')),
  cross_entropy_labels: labelEntropy,
  cross_entropy_ignore_smooth: labelEntropy,
  cross_entropy_soft: ({ g, v }) => losses.softCrossEntropy(g, v('x'), v('_target')),
  bce_with_logits: ({ g, v }) => {
    const each = losses.binaryCrossEntropy(g, v('x'), v('_target'));
    return op.mean(
      g,
      each,
      each.shape.map((_, i) => i),
    );
  },
  kl_divergence: ({ g, v }) => losses.klDivergence(g, v('x'), v('_target')),
  attention,
  rotary_half_split: rotary,
  roi_align: regions,
};

function sliced(given: Given): Value {
  const along = (name: string): readonly number[] => [number(given, name)];
  return op.sliceBy(given.g, given.v('x'), {
    axes: along('axis'),
    starts: along('start'),
    ends: along('end'),
    steps: along('step'),
  });
}

/** All single operations in one graph: outputs, and gradients of sum(output upstream). */
const runOperations: Runner = async (path) => {
  const { operations: listed } = await readJson<{
    readonly operations: Readonly<
      Record<string, { inputs: readonly string[]; attributes: Attributes; differentiable: readonly string[] }>
    >;
  }>(join(path, 'config.json'));
  await using source = await openFileSource(join(path, 'data.npz'));
  const file = await openNpz(source);
  const arrays = new Map<string, AnyTensor>();
  for (const name of file.names) arrays.set(name, (await file.read(name)).tensor);
  const comparisons: Comparison[] = [];
  const wanted = new Map<string, AnyTensor>();
  const g = new GraphBuilder('operations', { params: 'inputs' });
  for (const [name, { inputs, attributes, differentiable }] of Object.entries(listed)) {
    const build = operations[name];
    if (build === undefined) {
      comparisons.push({ what: `${name}: not known here`, error: Infinity, tolerance: 0 });
      continue;
    }
    const stored = (member: string): AnyTensor => arrays.get(`${name}/${member}`)!;
    const values = new Map(
      [...inputs.map((input) => `in/${input}`), 'upstream'].map((member) => {
        const { dtype, shape } = stored(member);
        return [member, g.input(`${name}/${member}`, dtype, shape)] as const;
      }),
    );
    g.scope(name, () => {
      const out = build({
        g,
        attributes: { ...attributes, hasBias: inputs.includes('bias') },
        v: (input) => values.get(`in/${input}`)!,
        host: (input) => stored(`in/${input}`),
      });
      const declare = (member: string, value: Value): void => {
        g.output(`${name}/${member}`, op.identity(g, value));
        wanted.set(`${name}/${member}`, stored(member));
      };
      declare('out', out);
      const weighted = op.mul(g, out, values.get('upstream')!);
      const axes = out.shape.map((_, i) => i);
      const loss = axes.length === 0 ? weighted : op.sum(g, weighted, axes);
      const of = differentiable.map((input) => values.get(`in/${input}`)!);
      const found = gradients(g, loss, of);
      differentiable.forEach((input, i) => {
        const gradient = found.get(of[i]!);
        if (gradient === undefined)
          comparisons.push({ what: `${name}/grad/${input}: none`, error: Infinity, tolerance: 0 });
        else declare(`grad/${input}`, gradient);
      });
    });
  }
  const graph = pruned(g.finish());
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    await using session = await openSession({ graph: await writeGraph(work, graph), device: 'cpu', threads: 1 });
    const feeds = Object.fromEntries(graph.inputs.map(({ name }) => [name, arrays.get(name)!]));
    const results = await session.run(feeds, [...graph.outputs.keys()]);
    for (const [what, reference] of wanted) {
      const expected = numbers(reference);
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      comparisons.push({
        what,
        error: maxAbs(expected, results[what]!.data),
        tolerance: 2e-5 * largest + 1e-7, // README of the data
      });
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return comparisons;
};

export const trainingRunners: Readonly<Record<string, Runner>> = { 'training/ops': runOperations };
