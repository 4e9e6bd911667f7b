import type { GraphBuilder } from './builder.js';
import * as op from './layers.js';
import type { ConvAttrs, NoAttrs, OpAttrs, Value } from './ops.js';
import { fit, fixedSizes, madeBy, ruleOf } from './vjp.js';

/** Derivative rules of matrix products and convolutions. */

/** The last two axes exchanged. The runtime makes it part of the product. */
function flipped(g: GraphBuilder, x: Value): Value {
  const rank = x.shape.length;
  const perm = x.shape.map((_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i));
  return op.transpose(g, x, perm);
}

const flat = (g: GraphBuilder, x: Value): Value =>
  x.shape.length === 2 ? x : op.reshape(g, x, [-1, x.shape.at(-1) as number]);

/** Fewest columns of a product that pay for a transpose of its left side. */
const worthTransposing = 256;

/**
 * a' b with a [k, m], b [k, n]. The runtime would read a across its rows once for each 128 columns of b; a transpose of its own is quicker
 * then: 0.82 of the time for 3072 x 768 x 392, 0.93 for 384 x 1536 x 784 (docs/training.md). In three axes, because the runtime would take
 * a transpose of two back into the product.
 */
function flippedTimes(g: GraphBuilder, a: Value, b: Value): Value {
  const [[k, m], [, n]] = [a.shape, b.shape];
  if (typeof k !== 'number' || typeof m !== 'number' || typeof n !== 'number' || n < worthTransposing)
    return op.one(g, 'Gemm', [a, b], { transA: 1, transB: 0 });
  const rows = op.reshape(g, op.transpose(g, op.reshape(g, a, [k, m, 1]), [1, 0, 2]), [m, k]);
  return op.one(g, 'Gemm', [rows, b], { transB: 0 });
}

export const matMul = ruleOf<NoAttrs>((g, dz, { inputs: [a, b] }) => {
  const da = fit(g, op.matMul(g, dz, flipped(g, b!)), a!);
  const columns = [a!.shape.at(-1), dz.shape.at(-1)];
  // A matrix that meets a batch: one product over all rows instead of many and their sum.
  if (b!.shape.length === 2 && columns.every((size) => typeof size === 'number')) {
    return [da, flippedTimes(g, flat(g, a!), flat(g, dz))];
  }
  // Where b is a transpose already (keys in attention), so is its gradient: two of the three transposes then cancel.
  const isFlipped = madeBy(g, b!, 'Transpose') !== undefined;
  const db = isFlipped ? flipped(g, op.matMul(g, flipped(g, dz), a!)) : op.matMul(g, flipped(g, a!), dz);
  return [da, fit(g, db, b!)];
});

export const gemm = ruleOf<OpAttrs['Gemm']>((g, dz, { inputs: [a, b, c], attrs: { transA = 0, transB } }) => {
  const product = (x: Value, y: Value, left: 0 | 1, right: 0 | 1): Value =>
    op.one(g, 'Gemm', [x, y], left === 1 ? { transA: 1, transB: right } : { transB: right });
  const flip = (trans: 0 | 1): 0 | 1 => (trans === 1 ? 0 : 1);
  const da = transA === 1 ? product(b!, dz, transB, 1) : product(dz, b!, 0, flip(transB));
  const db =
    transA === 0
      ? transB === 1
        ? flippedTimes(g, dz, a!)
        : flippedTimes(g, a!, dz)
      : transB === 1
        ? product(dz, a!, 1, 1)
        : product(a!, dz, 0, 0);
  return c === undefined ? [da, db] : [da, db, fit(g, dz, c)];
});

/** The gradient of a convolution by its bias: dz [b, m, ...space] summed to [m]. */
const biasGradient = (g: GraphBuilder, dz: Value): Value =>
  op.sum(
    g,
    dz,
    dz.shape.flatMap((_, i) => (i === 1 ? [] : [i])),
  );

export const conv = ruleOf<OpAttrs['Conv']>((g, dz, { inputs: [x, w, bias], attrs }) => {
  const rank = x!.shape.length - 2;
  const [sizes, kernel, out] = [x!, w!, dz].map((value) => value.shape.slice(2) as readonly number[]);
  // Values at the end of the padded input that no step of the kernel reached.
  const unreached = sizes!.map((size, i) => {
    const span = (attrs.dilations?.[i] ?? 1) * (kernel![i]! - 1) + 1;
    return size + attrs.pads[i]! + attrs.pads[rank + i]! - ((out![i]! - 1) * attrs.strides[i]! + span);
  });
  const dx = op.one(g, 'ConvTranspose', [dz, w!], { ...attrs, output_padding: unreached });
  const dw = kernelGradient(g, x!, dz, w!, attrs);
  return bias === undefined ? [dx, dw] : [dx, dw, biasGradient(g, dz)];
});

export const convTranspose = ruleOf<OpAttrs['ConvTranspose']>((g, dz, { inputs: [x, w, bias], attrs }) => {
  const { strides, pads, dilations, group } = attrs; // the convolution never comes to what output_padding added
  const forward = { strides, pads, group, ...(dilations && { dilations }) };
  const dx = op.one(g, 'Conv', [dz, w!], forward);
  const dw = kernelGradient(g, dz, x!, w!, forward);
  return bias === undefined ? [dx, dw] : [dx, dw, biasGradient(g, dz)];
});

/**
 * Gradient by the kernel w [m, c / group, ...kernel] of the convolution of x [b, c, ...sizes] whose output has the gradient dz
 * [b, m, ...out]. Every tap of the kernel meets a strided slice of x; the slices beside each other make one product with dz.
 */
function kernelGradient(g: GraphBuilder, x: Value, dz: Value, w: Value, attrs: ConvAttrs): Value {
  const { strides, group } = attrs;
  const [, c, ...sizes] = fixedSizes(x, 'a convolution') as readonly [number, number, ...number[]];
  const [m, perGroup, ...kernel] = w.shape as readonly [number, number, ...number[]];
  const [batch, , ...out] = fixedSizes(dz, 'a convolution') as readonly [number, number, ...number[]];
  const count = kernel.reduce((product, k) => product * k, 1);
  const isTiled =
    count > 1 &&
    attrs.pads.every((width) => width === 0) &&
    kernel.every((k, i) => k === strides[i] && k * out[i]! === sizes[i] && (attrs.dilations?.[i] ?? 1) === 1);
  const positions = out.reduce((product, n) => product * n, 1);
  if (!isTiled && perGroup === 1 && m === c && group === c) {
    // Depthwise: products with one row each, better as sums.
    const space = [0, ...out.map((_, i) => i + 2)];
    const taps = tapsOf(g, x, kernel, out, attrs).map((tap) =>
      op.reshape(g, op.sum(g, op.mul(g, tap, dz), space), [c, 1]),
    );
    return op.reshape(g, op.concat(g, taps, 1), [m, 1, ...kernel]);
  }
  const rows = op.reshape(g, op.transpose(g, op.reshape(g, dz, [batch, group, m / group, positions]), [1, 2, 0, 3]), [
    group,
    m / group,
    batch * positions,
  ]);
  const columns = isTiled
    ? tiles(g, x, kernel, out, group)
    : beside(g, tapsOf(g, x, kernel, out, attrs), group, positions);
  const product = op.matMul(g, rows, columns); // [group, m / group, count perGroup], taps outermost
  const apart = op.reshape(g, product, [m, count, perGroup]);
  return op.reshape(g, op.transpose(g, apart, [0, 2, 1]), [m, perGroup, ...kernel]);
}

/** For every position of the kernel, in raster order, what of x [b, c, ...sizes] it meets: [b, c, ...out]. */
function tapsOf(
  g: GraphBuilder,
  x: Value,
  kernel: readonly number[],
  out: readonly number[],
  { strides, pads, dilations }: ConvAttrs,
): Value[] {
  const rank = kernel.length;
  const around = (side: 0 | 1): number[] => [0, 0, ...pads.slice(side * rank, side * rank + rank)];
  const padded = op.pad(g, x, around(0), around(1));
  const axes = kernel.map((_, i) => i + 2);
  let places: number[][] = [[]];
  for (const k of kernel) places = places.flatMap((place) => Array.from({ length: k }, (_, i) => [...place, i]));
  return places.map((place) => {
    const starts = place.map((at, i) => at * (dilations?.[i] ?? 1));
    const ends = starts.map((start, i) => start + (out[i]! - 1) * strides[i]! + 1);
    return op.sliceBy(g, padded, { axes, starts, ends, steps: strides });
  });
}

/** Taps [b, c, ...out] as [group, b positions, taps c / group]. */
function beside(g: GraphBuilder, taps: readonly Value[], group: number, positions: number): Value {
  const [batch, c] = taps[0]!.shape as readonly [number, number];
  const grouped = taps.map((tap) => op.reshape(g, tap, [batch, group, c / group, positions]));
  const joined = op.transpose(g, op.concat(g, grouped, 2), [1, 0, 3, 2]);
  return op.reshape(g, joined, [group, batch * positions, (taps.length * c) / group]);
}

/** The same where the kernel's places lie side by side without a gap: a rearrangement. */
function tiles(g: GraphBuilder, x: Value, kernel: readonly number[], out: readonly number[], group: number): Value {
  const [batch, c] = x.shape as readonly [number, number];
  const apart = op.reshape(g, x, [batch, group, c / group, ...out.flatMap((n, i) => [n, kernel[i]!])]);
  const outs = out.map((_, i) => 3 + 2 * i);
  const moved = op.transpose(g, apart, [1, 0, ...outs, ...outs.map((axis) => axis + 1), 2]);
  const count = kernel.reduce((product, k) => product * k, 1);
  const positions = out.reduce((product, n) => product * n, 1);
  return op.reshape(g, moved, [group, batch * positions, (count * c) / group]);
}
