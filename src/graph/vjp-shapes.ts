import { tensor } from '../tensor.js';
import type { GraphBuilder } from './builder.js';
import * as op from './layers.js';
import type { NoAttrs, OpAttrs, Value, Vjp } from './ops.js';
import { fit, fixedSizes, integersIn, isFixed, positive, ruleOf, shaped, zerosLike } from './vjp.js';

/** Derivative rules of operations that move values. */

export const reshaped = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [shaped(g, dz, x!.shape, x), undefined]);

export const transposed = ruleOf<OpAttrs['Transpose']>((g, dz, { attrs: { perm } }) => [
  op.transpose(
    g,
    dz,
    perm.map((_, i) => perm.indexOf(i)),
  ),
]);

export const expanded = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [fit(g, dz, x!), undefined]);

export const concatenated = ruleOf<OpAttrs['Concat']>((g, dz, { inputs, attrs: { axis } }) => {
  if (inputs.length === 1) return [dz];
  const at = positive(axis, dz.shape.length);
  const sizes = inputs.map(({ shape }) => shape[at]!);
  if (isFixed(sizes)) return op.split(g, dz, sizes, at);
  const lengths = inputs.map((input) => op.one(g, 'Shape', [input], { start: at, end: at + 1 }));
  return g.op('Split', [dz, op.concat(g, lengths, 0)], { axis: at });
});

export const divided: Vjp<OpAttrs['Split']> = (g, { outputs, attrs: { axis } }, gradients) => [
  op.concat(
    g,
    outputs.map((part, i) => gradients[i] ?? zerosLike(g, part)),
    axis,
  ),
  undefined,
];

export const padded = ruleOf<NoAttrs>((g, dz, { inputs: [x, widths] }) => {
  const rank = x!.shape.length;
  const around = integersIn(widths!);
  const axes = x!.shape.flatMap((_, i) => (around[i]! + around[rank + i]! > 0 ? [i] : []));
  const sizes = axes.map((axis) => fixedSizes({ ...x!, shape: [x!.shape[axis]!] }, 'Pad')[0]!);
  if (axes.length === 0) return [dz, undefined, undefined];
  const starts = axes.map((axis) => around[axis]!);
  const ends = sizes.map((size, i) => starts[i]! + size);
  return [op.sliceBy(g, dz, { axes, starts, ends }), undefined, undefined];
});

/** Zeros around, and for steps between, the values that were taken. */
export const sliced = ruleOf<NoAttrs>((g, dz, { inputs: [x, startsOf, , axesOf, stepsOf] }) => {
  const rank = x!.shape.length;
  const starts = integersIn(startsOf!);
  const before = Array.from({ length: rank }, () => 0);
  const after = [...before];
  let back = dz;
  integersIn(axesOf!).forEach((axis, i) => {
    const at = positive(axis, rank);
    const size = fixedSizes({ ...x!, shape: [x!.shape[at]!] }, 'Slice')[0]!;
    const step = stepsOf === undefined ? 1 : integersIn(stepsOf)[i]!;
    const start = starts[i]!;
    const room = size - start;
    if (step > 1) back = spaced(g, back, at, step, room);
    const width = fixedSizes({ ...back, shape: [back.shape[at]!] }, 'Slice')[0]!;
    before[at] = start;
    after[at] = room - width;
  });
  return [op.pad(g, back, before, after)];
});

/** x with step - 1 zeros after every value along an axis, at most `room` values. */
function spaced(g: GraphBuilder, x: Value, axis: number, step: number, room: number): Value {
  const { shape } = x;
  const count = shape[axis] as number; // Slice has checked that it is a number
  const apart = shaped(g, x, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
  const none = apart.shape.map(() => 0);
  const filled = op.pad(
    g,
    apart,
    none,
    none.map((_, i) => (i === axis + 1 ? step - 1 : 0)),
  );
  const joined = shaped(
    g,
    filled,
    shape.map((dim, i) => (i === axis ? count * step : dim)),
  );
  return count * step > room ? op.slice(g, joined, axis, 0, room) : joined;
}

/** Rows may be taken twice, so gradients are added up; one row at a known place is padded instead. */
export const gathered = ruleOf<OpAttrs['Gather']>((g, dz, { inputs: [data, indices], attrs: { axis } }) => {
  const rank = data!.shape.length;
  const at = positive(axis, rank);
  if (indices!.constant !== undefined && indices!.shape.length === 0) {
    const size = fixedSizes({ ...data!, shape: [data!.shape[at]!] }, 'Gather')[0]!;
    const place = positive(integersIn(indices!)[0]!, size);
    const row = shaped(
      g,
      dz,
      data!.shape.map((dim, i) => (i === at ? 1 : dim)),
      data,
    );
    const along = (width: number): number[] => data!.shape.map((_, i) => (i === at ? width : 0));
    return [op.pad(g, row, along(place), along(size - 1 - place)), undefined];
  }
  const places = withLastAxis(g, indices!);
  if (at === 0) return [op.scatterRows(g, zerosLike(g, data!), places, dz, 'add'), undefined];
  const sizes = fixedSizes(data!, 'Gather along an inner axis');
  const width = indices!.shape.length;
  // dz [...data before, ...indices, ...data after] with the axes of the indices first
  const order = [...range(at, at + width), ...range(0, at), ...range(at + width, dz.shape.length)];
  const first = [at, ...range(0, at), ...range(at + 1, rank)];
  const zeros = zerosLike(g, { ...data!, shape: first.map((i) => sizes[i]!) });
  const added = op.scatterRows(g, zeros, places, op.transpose(g, dz, order), 'add');
  const back = op.transpose(
    g,
    added,
    first.map((_, i) => first.indexOf(i)),
  );
  return [back, undefined];
});

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

/** [...] as [..., 1]. */
function withLastAxis(g: GraphBuilder, x: Value): Value {
  if (x.shape.filter((dim) => typeof dim === 'string').length <= 1) return shaped(g, x, [...x.shape, 1]);
  const lead = op.one(g, 'Shape', [x], { start: 0, end: x.shape.length });
  return op.one(g, 'Reshape', [x, op.concat(g, [lead, op.integers(g, [1])], 0)], {});
}

export const gatheredND = ruleOf<OpAttrs['GatherND']>((g, dz, { inputs: [data, indices], attrs }) => {
  const { batch_dims: batch } = attrs;
  const sizes = fixedSizes(indices!, 'GatherND');
  const lead = sizes.slice(0, -1);
  // ScatterND has no batch axes: their own places go before the indices.
  const own = range(0, batch).map((axis) => {
    const places = BigInt64Array.from({ length: sizes[axis]! }, (_, i) => BigInt(i));
    const shape = lead.map((_, i) => (i === axis ? sizes[axis]! : 1));
    return op.expand(g, g.constant(tensor('int64', [...shape, 1], places)), [...lead, 1]);
  });
  const places = own.length === 0 ? indices! : op.concat(g, [...own, indices!], lead.length);
  return [op.scatterRows(g, zerosLike(g, data!), places, dz, 'add'), undefined];
});

export const gatheredElements = ruleOf<OpAttrs['GatherElements']>((g, dz, { inputs: [data, indices], attrs }) => [
  op.one(g, 'ScatterElements', [zerosLike(g, data!), indices!, dz], { axis: attrs.axis, reduction: 'add' }),
  undefined,
]);

export const scatteredND = ruleOf<OpAttrs['ScatterND']>((g, dz, { inputs: [, indices, updates], attrs }) => [
  attrs.reduction === 'add' ? dz : op.scatterRows(g, dz, indices!, zerosLike(g, updates!), 'none'),
  undefined,
  op.one(g, 'GatherND', [dz, indices!], { batch_dims: 0 }),
]);

export const scatteredElements = ruleOf<OpAttrs['ScatterElements']>(
  (g, dz, { inputs: [, indices, updates], attrs }) => [
    attrs.reduction === 'add' ? dz : op.one(g, 'ScatterElements', [dz, indices!, zerosLike(g, updates!)], attrs),
    undefined,
    op.one(g, 'GatherElements', [dz, indices!], { axis: attrs.axis }),
  ],
);
