/** Operations of TensorFlow over activations that are turned to [b, c, h, w]; weights stand as TensorFlow stores them. */
import { tfjsBool, tfjsInts, tfjsText, tfjsTexts, tfjsType, type TfjsNode } from '../checkpoint/tfjs.js';
import { shortText } from '../checkpoint/bytes.js';
import { EgolensError } from '../errors.js';
import type { GraphBuilder } from '../graph/builder.js';
import * as layers from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { maxPool, resizeLinear } from '../graph/spatial.js';
import { shapeText, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

/** A node on its way into our graph. */
export interface TfjsContext {
  readonly g: GraphBuilder;
  readonly node: TfjsNode;
  /** Input `i`: an activation [b, c, h, w], or a constant that is broadcast to one. */
  readonly value: (i: number) => Value;
  /** Input `i`, which must be a weight, as it is stored. */
  readonly constant: (i: number) => Tensor<'float32'>;
  /** Announces a constant of so many values, before it is made. */
  readonly table: (count: number) => void;
  /** Input `i` as a parameter; `layout` keeps two forms of one weight apart. */
  readonly parameter: (i: number, layout: string, turned: Tensor<'float32'>) => Value;
}

export type TfjsRule = (context: TfjsContext) => Value;

/** Axes of [b, h, w, c] in [b, c, h, w]. */
const turnedAxis = [0, 2, 3, 1] as const;
/** Kernels of pools become as many operations; sides of resized maps a matrix. */
const [widestPool, longestSide] = [64, 8192];

/** What the rest of a graph may be made of: operation -> how it is built. */
export const tfjsRules: ReadonlyMap<string, TfjsRule> = new Map<string, TfjsRule>([
  ['Conv2D', (context) => conv(context, false)],
  ['_FusedConv2D', (context) => conv(context, false)],
  ['DepthwiseConv2dNative', (context) => conv(context, true)],
  ['FusedDepthwiseConv2dNative', (context) => conv(context, true)],
  ['BiasAdd', binary(layers.add)],
  ['Add', binary(layers.add)],
  ['AddV2', binary(layers.add)],
  ['Sub', binary(layers.sub)],
  ['Mul', binary(layers.mul)],
  ['Maximum', binary(layers.max)],
  ['Minimum', binary(layers.min)],
  ['Equal', binary(layers.equal)],
  ['Relu', unary(layers.relu)],
  ['Relu6', unary(relu6)],
  ['Sigmoid', unary(layers.sigmoid)],
  ['Tanh', unary(layers.tanh)],
  ['Identity', unary(layers.identity)],
  ['Cast', cast],
  ['Mean', mean],
  ['ConcatV2', concat],
  ['MaxPool', pool],
  ['ResizeBilinear', resize],
]);

function unary(make: (g: GraphBuilder, x: Value) => Value): TfjsRule {
  return ({ g, value }) => make(g, value(0));
}

function binary(make: (g: GraphBuilder, a: Value, b: Value) => Value): TfjsRule {
  return (context) => make(context.g, context.value(0), context.value(1));
}

function relu6(g: GraphBuilder, x: Value): Value {
  return layers.clip(g, x, 0, 6);
}

function refused(what: string): never {
  throw new EgolensError('checkpoint.unsupported', what);
}

function cast({ g, node, value }: TfjsContext): Value {
  const to = tfjsType(node, 'DstT');
  if (to !== 'DT_FLOAT') refused(`a cast to ${shortText(to ?? 'nothing')}, expected DT_FLOAT`);
  return layers.cast(g, value(0), 'float32');
}

function mean(context: TfjsContext): Value {
  const axes = Array.from(context.constant(1).data, axisOf);
  if (!tfjsBool(context.node, 'keep_dims')) refused('a mean that drops axes, expected `keep_dims`');
  return layers.mean(context.g, context.value(0), axes, 1);
}

function concat(context: TfjsContext): Value {
  const count = context.node.inputs.length - 1;
  const [axis = NaN] = context.constant(count).data;
  const values = Array.from({ length: count }, (_, i) => context.value(i));
  return layers.concat(context.g, values, axisOf(axis));
}

function axisOf(axis: number): number {
  return turnedAxis[axis < 0 ? axis + 4 : axis] ?? refused(`axis ${axis}, expected one of 4`);
}

/** Two numbers for height and width of an attribute [1, h, w, 1]. */
function windowOf(node: TfjsNode, name: string): readonly [number, number] {
  const [n = 1, h = 1, w = 1, c = 1] = tfjsInts(node, name) ?? [];
  const isSide = (side: number): boolean => side >= 1 && side <= longestSide;
  if (n !== 1 || c !== 1 || !isSide(h) || !isSide(w)) {
    refused(`${name} ${shapeText([n, h, w, c])}, expected [1, h, w, 1] up to ${longestSide}`);
  }
  return [h, w];
}

/**
 * Rows and columns before and after the picture. SAME: as many as make ceil(size / stride) windows, the odd one at the end.
 * Source: tensorflow/tensorflow core/framework/kernel_shape_util.cc, GetWindowedOutputSize.
 */
function padsOf(
  node: TfjsNode,
  x: Value,
  { spans, strides }: { readonly spans: readonly number[]; readonly strides: readonly number[] },
): { readonly before: readonly number[]; readonly after: readonly number[] } {
  const rule = tfjsText(node, 'padding');
  if (rule === 'VALID') return { before: [0, 0], after: [0, 0] };
  if (rule !== 'SAME') refused(`padding ${shortText(rule ?? 'of no kind')}, expected SAME or VALID`);
  const sides = x.shape.slice(2) as readonly number[]; // sizes are known here
  const totals = sides.map((size, i) => {
    const [span, stride] = [spans[i]!, strides[i]!]; // two of each
    return Math.max(0, (Math.ceil(size / stride) - 1) * stride + span - size);
  });
  const before = totals.map((total) => Math.floor(total / 2));
  return { before, after: totals.map((total, i) => total - before[i]!) }; // as many
}

function checkLayout(node: TfjsNode): void {
  const layout = tfjsText(node, 'data_format') ?? 'NHWC';
  if (layout !== 'NHWC') refused(`data_format ${shortText(layout)}, expected NHWC`);
}

function conv(context: TfjsContext, isDepthwise: boolean): Value {
  const { g, node } = context;
  checkLayout(node);
  const x = context.value(0);
  const stored = context.constant(1);
  if (stored.shape.length !== 4) refused(`a kernel ${shapeText(stored.shape)}, expected four axes`);
  const [kh, kw, channels, last] = stored.shape as readonly [number, number, number, number];
  const strides = windowOf(node, 'strides');
  const dilations = windowOf(node, 'dilations');
  const spans = [kh, kw].map((kernel, i) => dilations[i]! * (kernel - 1) + 1); // two of each
  const { before, after } = padsOf(node, x, { spans, strides });
  // [kh, kw, c, m] -> [m, c, kh, kw]; of depthwise ones, whose m filters a channel lie together, [c m, 1, kh, kw].
  const weight = isDepthwise
    ? context.parameter(1, 'depthwise', permuted({ ...stored, shape: [kh, kw, 1, channels * last] }))
    : context.parameter(1, 'conv', permuted(stored));
  const group = isDepthwise ? channels : (x.shape[1] as number) / channels; // sizes are known here
  if (!Number.isInteger(group)) refused(`${channels} channels of a kernel over ${x.shape[1]!}`);
  const fused = tfjsTexts(node, 'fused_ops');
  const bias = fused.includes('BiasAdd') ? [context.parameter(2, 'bias', context.constant(2))] : [];
  const attrs = { strides, pads: [...before, ...after], dilations, group };
  const [product] = g.op('Conv', [x, weight, ...bias], attrs);
  return fused.reduce((value, name, i) => {
    if (name === 'BiasAdd' && i === 0) return value;
    if (name === 'Relu') return layers.relu(g, value);
    return name === 'Relu6'
      ? relu6(g, value)
      : refused(`fused ${shortText(name)}, expected BiasAdd first, Relu, Relu6`);
  }, product!); // Conv has one output
}

/** [kh, kw, c, m] -> [m, c, kh, kw] */
function permuted({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [kh, kw, c, m] = shape as readonly [number, number, number, number];
  const turned = new Float32Array(data.length);
  const area = kh * kw;
  for (let at = 0; at < data.length; at++) {
    const [filter, channel, place] = [at % m, Math.floor(at / m) % c, Math.floor(at / (m * c))];
    turned[(filter * c + channel) * area + place] = data[at]!; // at < data.length
  }
  return tensor('float32', [m, c, kh, kw], turned);
}

function pool({ g, node, value }: TfjsContext): Value {
  checkLayout(node);
  const x = value(0);
  const [kernels, strides] = [windowOf(node, 'ksize'), windowOf(node, 'strides')];
  if (Math.max(...kernels) > widestPool) refused(`a pool of ${Math.max(...kernels)}, expected at most ${widestPool}`);
  const { before, after } = padsOf(node, x, { spans: kernels, strides });
  // Below every value that a network gives, as for `maxPool`.
  const padded = layers.pad(g, x, [0, 0, ...before], [0, 0, ...after], -1e9);
  const rows = maxPool(g, padded, 2, { kernel: kernels[0], stride: strides[0] });
  return maxPool(g, rows, 3, { kernel: kernels[1], stride: strides[1] });
}

function resize(context: TfjsContext): Value {
  const { g, node } = context;
  const [height = NaN, width = NaN] = context.constant(1).data;
  const isSide = (side: number): boolean => Number.isInteger(side) && side >= 1 && side <= longestSide;
  if (!isSide(height) || !isSide(width)) {
    refused(`a size of ${height} x ${width}, expected whole numbers from 1 to ${longestSide}`);
  }
  const places = tfjsBool(node, 'align_corners')
    ? 'corners'
    : tfjsBool(node, 'half_pixel_centers')
      ? 'areas'
      : 'starts';
  const x = context.value(0);
  const [, , rows, columns] = x.shape as readonly number[]; // sizes are known here
  context.table(height * rows! + width * columns!); // four axes
  return resizeLinear(g, resizeLinear(g, x, 2, height, places), 3, width, places);
}
