import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeGraph } from '../runtime/probe-graphs.js';
import { attr, tfjsModel, windows, type NodeText, type WeightText } from '../../test/tfjs.js';
import { memorySource } from '../checkpoint/bytes.js';
import { parseTfjs, readTfjsWeights } from '../checkpoint/tfjs.js';
import { EgolensError } from '../errors.js';
import { GraphBuilder } from '../graph/builder.js';
import { identity, transpose } from '../graph/layers.js';
import { seededRandom } from '../random.js';
import { openSession } from '../runtime/session.js';
import { sizeOf, tensor } from '../tensor.js';
import { convertTfjs } from './tfjs-graph.js';

/** Numbers in TensorFlow's order, [h, w, c]. */
interface Map3 {
  readonly shape: readonly [h: number, w: number, c: number];
  readonly data: readonly number[];
}

const random = seededRandom(7, 'tfjs');
const numbers = (count: number): number[] => Array.from({ length: count }, () => Math.fround(2 * random.normal()));
const x: Map3 = { shape: [7, 6, 3], data: numbers(126) };
const at = ({ shape: [h, w, c], data }: Map3, y: number, column: number, channel: number): number | undefined =>
  y >= 0 && y < h && column >= 0 && column < w ? data[(y * w + column) * c + channel] : undefined;

/** A map of this shape by a function of row, column and channel. */
function map(shape: Map3['shape'], value: (y: number, x: number, c: number) => number): Map3 {
  const [h, w, c] = shape;
  return {
    shape,
    data: Array.from({ length: h * w * c }, (_, i) => value(Math.floor(i / (w * c)), Math.floor(i / c) % w, i % c)),
  };
}

/** How many windows there are along an axis, and how far before the first value the first one begins. */
function placed(size: number, span: number, stride: number, isSame: boolean): readonly [count: number, begin: number] {
  if (!isSame) return [Math.floor((size - span) / stride) + 1, 0];
  const count = Math.ceil(size / stride);
  return [count, Math.floor(Math.max(0, (count - 1) * stride + span - size) / 2)];
}

interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: number;
  readonly isSame: boolean;
  readonly dilation?: number;
}

/** Convolution as its definition says, over kernels [kh, kw, c, m]; depthwise gives c m channels. */
function convolved(
  input: Map3,
  weights: readonly number[],
  m: number,
  isDepthwise: boolean,
  { kernel: [kh, kw], stride, isSame, dilation = 1 }: Window,
): Map3 {
  const [h, w, c] = input.shape;
  const [rows, top] = placed(h, (kh - 1) * dilation + 1, stride, isSame);
  const [columns, left] = placed(w, (kw - 1) * dilation + 1, stride, isSame);
  return map([rows, columns, isDepthwise ? c * m : m], (row, column, out) => {
    let sum = 0;
    for (let i = 0; i < kh; i++) {
      for (let j = 0; j < kw; j++) {
        for (let channel = 0; channel < c; channel++) {
          if (isDepthwise && channel !== Math.floor(out / m)) continue;
          const value = at(input, row * stride - top + i * dilation, column * stride - left + j * dilation, channel);
          sum += (value ?? 0) * weights[((i * kw + j) * c + channel) * m + (isDepthwise ? out % m : out)]!; // in range
        }
      }
    }
    return sum;
  });
}

function pooled(input: Map3, { kernel: [kh, kw], stride, isSame }: Window): Map3 {
  const [h, w, c] = input.shape;
  const [rows, top] = placed(h, kh, stride, isSame);
  const [columns, left] = placed(w, kw, stride, isSame);
  return map([rows, columns, c], (row, column, channel) => {
    const seen: number[] = [];
    for (let i = 0; i < kh; i++) {
      for (let j = 0; j < kw; j++) {
        const value = at(input, row * stride - top + i, column * stride - left + j, channel);
        if (value !== undefined) seen.push(value);
      }
    }
    return Math.max(...seen);
  });
}

function resized(input: Map3, height: number, width: number, placeOf: (i: number, from: number, to: number) => number) {
  const [h, w, c] = input.shape;
  return map([height, width, c], (row, column, channel) => {
    const [y, xs] = [placeOf(row, h, height), placeOf(column, w, width)];
    const [y0, x0] = [Math.min(Math.floor(y), h - 1), Math.min(Math.floor(xs), w - 1)];
    const value = (dy: number, dx: number): number =>
      at(input, Math.min(y0 + dy, h - 1), Math.min(x0 + dx, w - 1), channel)!; // within
    const [fy, fx] = [y - y0, xs - x0];
    const upper = (1 - fx) * value(0, 0) + fx * value(0, 1);
    return (1 - fy) * upper + fy * ((1 - fx) * value(1, 0) + fx * value(1, 1));
  });
}

const each = (input: Map3, change: (value: number, channel: number) => number): Map3 =>
  map(input.shape, (y, column, channel) => change(at(input, y, column, channel)!, channel));

const kernel = numbers(3 * 2 * 3 * 4);
const deep = numbers(3 * 3 * 3 * 2);
const bias4 = numbers(4);
const bias6 = numbers(6);
const scale3 = [0.5, -1, 2];
const plane = numbers(42);
const weights: readonly WeightText[] = [
  { name: 'kernel', shape: [3, 2, 3, 4], values: kernel },
  { name: 'deep', shape: [3, 3, 3, 2], values: deep },
  { name: 'bias4', shape: [4], values: bias4 },
  { name: 'bias6', shape: [6], values: bias6 },
  { name: 'scale3', shape: [3], values: scale3, as: 'float16' },
  { name: 'plane', shape: [7, 6, 1], values: plane },
  { name: 'three', shape: [], values: [3] },
  { name: 'sixth', shape: [1, 1], values: [1 / 6] },
  { name: 'rows and columns', shape: [2], values: [1, 2], as: 'int32' },
  { name: 'last', shape: [], values: [-1], as: 'int32' },
  { name: 'size', shape: [2], values: [14, 9], as: 'int32' },
];
const hardSwish = (value: number): number => (value * Math.min(Math.max(value + 3, 0), 6)) / 6;
const sum = (values: readonly number[]): number => values.reduce((total, one) => total + one, 0);
const window = { kernel: [3, 2], stride: 2, isSame: true } as const;

/** Nodes of one operation, whose last one counts, and what it gives. */
const cases: Readonly<Record<string, { readonly nodes: readonly NodeText[]; readonly expected: Map3 }>> = {
  'Conv2D, SAME with an odd row': {
    nodes: [{ name: 'c', op: 'Conv2D', input: ['x', 'kernel'], attr: windows('SAME', 2) }],
    expected: convolved(x, kernel, 4, false, window),
  },
  '_FusedConv2D, VALID, with bias and Relu': {
    nodes: [
      {
        ...{ name: 'f', op: '_FusedConv2D', input: ['x', 'kernel', 'bias4'] },
        attr: windows('VALID', 1, { fused_ops: attr.texts('BiasAdd', 'Relu') }),
      },
    ],
    expected: each(convolved(x, kernel, 4, false, { kernel: [3, 2], stride: 1, isSame: false }), (value, channel) =>
      Math.max(0, value + bias4[channel]!),
    ),
  },
  'DepthwiseConv2dNative of two filters a channel, dilated': {
    nodes: [
      {
        ...{ name: 'd', op: 'DepthwiseConv2dNative', input: ['x', 'deep'] },
        attr: windows('SAME', 1, { dilations: attr.ints(1, 2, 2, 1) }),
      },
    ],
    expected: convolved(x, deep, 2, true, { kernel: [3, 3], stride: 1, isSame: true, dilation: 2 }),
  },
  'FusedDepthwiseConv2dNative with bias and Relu6': {
    nodes: [
      {
        ...{ name: 'fd', op: 'FusedDepthwiseConv2dNative', input: ['x', 'deep', 'bias6'] },
        attr: windows('SAME', 2, { fused_ops: attr.texts('BiasAdd', 'Relu6') }),
      },
    ],
    expected: each(convolved(x, deep, 2, true, { kernel: [3, 3], stride: 2, isSame: true }), (value, channel) =>
      Math.min(6, Math.max(0, value + bias6[channel]!)),
    ),
  },
  'hard swish out of its pieces': {
    nodes: [
      { name: 'h1', op: 'AddV2', input: ['x', 'three'] },
      { name: 'h2', op: 'Relu6', input: ['h1'] },
      { name: 'h3', op: 'Mul', input: ['sixth', 'h2'] },
      { name: 'h4', op: 'Mul', input: ['x', 'h3'] },
    ],
    expected: each(x, hardSwish),
  },
  'squeeze and excite': {
    nodes: [
      { name: 's1', op: 'Mean', input: ['x', 'rows and columns'], attr: { keep_dims: attr.bool(true) } },
      { name: 's2', op: 'Sigmoid', input: ['s1'] },
      { name: 's3', op: 'Mul', input: ['x', 's2'] },
    ],
    expected: each(x, (value, channel) => {
      const mean = sum(x.data.filter((_, i) => i % 3 === channel)) / 42;
      return value / (1 + Math.exp(-mean));
    }),
  },
  'constants of one axis and of a plane': {
    nodes: [
      { name: 'k1', op: 'Mul', input: ['x', 'scale3'] },
      { name: 'k2', op: 'Sub', input: ['k1', 'plane'] },
    ],
    expected: map(x.shape, (y, column, c) => at(x, y, column, c)! * scale3[c]! - plane[y * 6 + column]!),
  },
  'ConcatV2 along the last axis': {
    nodes: [
      { name: 'j1', op: 'Relu', input: ['x'] },
      { name: 'j2', op: 'ConcatV2', input: ['x', 'j1', 'last'] },
    ],
    expected: map([7, 6, 6], (y, column, c) => (c < 3 ? at(x, y, column, c)! : Math.max(0, at(x, y, column, c - 3)!))),
  },
  'peaks: MaxPool, Equal, Cast': {
    nodes: [
      { name: 'p1', op: 'MaxPool', input: ['x'], attr: windows('SAME', 1, { ksize: attr.ints(1, 3, 3, 1) }) },
      { name: 'p2', op: 'Equal', input: ['x', 'p1'] },
      { name: 'p3', op: 'Cast', input: ['p2'], attr: { DstT: attr.type('DT_FLOAT') } },
    ],
    expected: (() => {
      const best = pooled(x, { kernel: [3, 3], stride: 1, isSame: true });
      return map(x.shape, (y, column, c) => (at(best, y, column, c) === at(x, y, column, c) ? 1 : 0));
    })(),
  },
  'MaxPool, SAME with an odd row': {
    nodes: [{ name: 'm', op: 'MaxPool', input: ['x'], attr: windows('SAME', 2, { ksize: attr.ints(1, 3, 2, 1) }) }],
    expected: pooled(x, window),
  },
  'ResizeBilinear as TensorFlow 1 has it': {
    nodes: [{ name: 'r1', op: 'ResizeBilinear', input: ['x', 'size'], attr: {} }],
    expected: resized(x, 14, 9, (i, from, to) => (i * from) / to),
  },
  'ResizeBilinear, half_pixel_centers': {
    nodes: [{ name: 'r2', op: 'ResizeBilinear', input: ['x', 'size'], attr: { half_pixel_centers: attr.bool(true) } }],
    expected: resized(x, 14, 9, (i, from, to) => Math.max(0, ((i + 0.5) * from) / to - 0.5)),
  },
  'ResizeBilinear, align_corners': {
    nodes: [{ name: 'r3', op: 'ResizeBilinear', input: ['x', 'size'], attr: { align_corners: attr.bool(true) } }],
    expected: resized(x, 14, 9, (i, from, to) => (i * (from - 1)) / (to - 1)),
  },
};

const placeholder: NodeText = { name: 'x', op: 'Placeholder' };

/** The graph up to `wanted` behind an input [1, h, w, c]. */
async function converted(nodes: readonly NodeText[], wanted: readonly string[], of: readonly WeightText[] = weights) {
  const { json, bin } = tfjsModel([placeholder, ...nodes], of);
  const model = parseTfjs(Buffer.from(JSON.stringify(json)), 'model.json');
  const stored = await readTfjsWeights(model, new Map([['model.bin', memorySource('model.bin', bin)]]));
  const g = new GraphBuilder('test');
  const turned = transpose(g, g.input('picture', 'float32', [1, ...x.shape]), [0, 3, 1, 2]);
  return { g, ...convertTfjs(g, model, stored, { given: new Map([['x', turned]]), wanted }) };
}

describe('ONNX Runtime computes what TensorFlow defines', () => {
  const results: Record<string, { readonly shape: readonly number[]; readonly data: Float32Array }> = {};
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'egolens-tfjs-'));
    const lasts = Object.entries(cases).map(([name, { nodes }]) => [name, nodes.at(-1)!.name] as const); // one at least
    const all = Object.values(cases).flatMap(({ nodes }) => nodes);
    const { g, outputs, parameters } = await converted(
      all,
      lasts.map(([, node]) => node),
    );
    for (const [name, node] of lasts) g.output(name, identity(g, outputs.get(node)!)); // asked for
    const path = await writeGraph(folder, g.finish(), (name) => parameters.get(name)!.data);
    await using session = await openSession({ graph: path, device: 'cpu', threads: 1 });
    const picture = tensor('float32', [1, ...x.shape], Float32Array.from(x.data));
    Object.assign(results, await session.run({ picture }, Object.keys(cases)));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(Object.keys(cases))('%s', (name) => {
    const { expected } = cases[name]!; // one of them
    const { shape, data } = results[name]!; // as many
    const [h, w, c] = expected.shape;
    expect(shape).toEqual([1, c, h, w]);
    const worst = expected.data.map((value, i) => {
      const [place, channel] = [Math.floor(i / c), i % c];
      return Math.abs(value - data[channel * h * w + place]!) / Math.max(1, Math.abs(value)); // of these sizes
    });
    // float32 sums of at most 27 products.
    expect(Math.max(...worst)).toBeLessThan(1e-5);
    expect(sizeOf(shape)).toBe(expected.data.length);
  });
});

async function refusal(
  nodes: readonly NodeText[],
  wanted: string,
  of: readonly WeightText[] = weights,
): Promise<string> {
  return await converted(nodes, [wanted], of).then(
    () => 'no error',
    (error: unknown) => (error instanceof EgolensError ? `${error.code}: ${error.message}` : String(error)),
  );
}

test('all operations that are not known are listed, with their nodes; those off the way are not looked at', async () => {
  const nodes = [
    { name: 'a', op: 'TopKV2', input: ['x'] },
    { name: 'b', op: 'Relu', input: ['a'] },
    { name: 'c', op: 'NonMaxSuppressionV3', input: ['b', 'x'] },
    { name: 'd', op: 'TopKV2', input: ['c'] },
  ];
  const said = await refusal(nodes, 'd');
  expect(said).toContain('checkpoint.unsupported');
  expect(said).toContain('TopKV2 (`a`, `d`), NonMaxSuppressionV3 (`c`)');
  expect(await refusal([...nodes, { name: 'e', op: 'Relu', input: ['x'] }], 'e')).toBe('no error');
});

test.each<[string, readonly NodeText[], string]>([
  [
    'a circle',
    [
      { name: 'a', op: 'Relu', input: ['b'] },
      { name: 'b', op: 'Relu', input: ['out'] },
      { name: 'out', op: 'Relu', input: ['a'] },
    ],
    'checkpoint.format: the graph goes round in a circle: `out`, `a`, `b`',
  ],
  ['itself', [{ name: 'out', op: 'Relu', input: ['out'] }], 'goes round in a circle: `out`'],
  ['an input from nowhere', [{ name: 'out', op: 'Relu', input: ['gone'] }], 'its input `gone` is no node'],
  ['no input', [{ name: 'out', op: 'Relu' }], 'checkpoint.format: node `out` (Relu): expected 1 inputs'],
  ['another output', [{ name: 'out', op: 'Relu', input: ['x:1'] }], 'takes output 1 of `x`'],
  ['no such node', [], 'model.config: output `out`'],
  [
    'a kernel of other channels',
    [{ name: 'out', op: 'Conv2D', input: ['x', 'deeper'], attr: windows('SAME', 1) }],
    'node `out` (Conv2D)',
  ],
  [
    'a kernel that is an activation',
    [{ name: 'out', op: 'Conv2D', input: ['x', 'x'], attr: windows('SAME', 1) }],
    'input 1, `x`: expected a weight',
  ],
  ['padding of no kind', [{ name: 'out', op: 'Conv2D', input: ['x', 'kernel'] }], 'padding of no kind'],
  [
    'a stride of 0',
    [{ name: 'out', op: 'Conv2D', input: ['x', 'kernel'], attr: windows('SAME', 0) }],
    'strides [1, 0, 0, 1]',
  ],
  ['10^9 rows', [{ name: 'out', op: 'ResizeBilinear', input: ['x', 'huge'] }], 'a size of 1000000000 x 2'],
  [
    'a pool of 1000',
    [{ name: 'out', op: 'MaxPool', input: ['x'], attr: windows('SAME', 1, { ksize: attr.ints(1, 1000, 1, 1) }) }],
    'a pool of 1000',
  ],
  ['axis 9', [{ name: 'out', op: 'ConcatV2', input: ['x', 'x', 'nine'] }], 'axis 9'],
  ['other shapes', [{ name: 'out', op: 'Add', input: ['x', 'bias4'] }], 'model.shape: node `out` (Add)'],
])('%s: refused', async (_, nodes, message) => {
  const more: readonly WeightText[] = [
    { name: 'deeper', shape: [1, 1, 2, 2], values: [1, 2, 3, 4] },
    { name: 'huge', shape: [2], values: [1e9, 2], as: 'int32' },
    { name: 'nine', shape: [], values: [9], as: 'int32' },
  ];
  expect(await refusal(nodes, 'out', [...weights, ...more])).toContain(message);
});

test('a graph that doubles its channels again and again is refused before it takes the memory', async () => {
  const nodes = Array.from({ length: 40 }, (_, i): NodeText => {
    const before = i === 0 ? 'x' : `n${i - 1}`;
    return { name: `n${i}`, op: 'ConcatV2', input: [before, before, 'last'] };
  });
  expect(await refusal(nodes, 'n39')).toContain('limit.size: node `n');
});

test('tables of resized maps are counted before they are made', async () => {
  const nodes = Array.from({ length: 40 }, (_, i): NodeText => {
    return { name: `n${i}`, op: 'ResizeBilinear', input: [i === 0 ? 'x' : `n${i - 1}`, `size${i % 2}`] };
  });
  const sizes = [0, 1].map((i): WeightText => {
    return { name: `size${i}`, shape: [2], values: [8192 - i, 1], as: 'int32' };
  });
  expect(await refusal(nodes, 'n39', [...weights, ...sizes])).toContain(
    'limit.size: node `n1` (ResizeBilinear): constants of',
  );
});

test('a chain of 40 000 nodes is walked without recursion', async () => {
  const nodes = Array.from({ length: 40_000 }, (_, i): NodeText => {
    return { name: `n${i}`, op: 'What', input: [i === 0 ? 'x' : `n${i - 1}`] };
  });
  expect(await refusal(nodes, 'n39999')).toContain('What (`n0`, `n1`, `n2` and 39997 more)');
});
