import type { GraphBuilder } from './builder.js';
import * as op from './layers.js';
import type { NoAttrs, OpAttrs, Value } from './ops.js';
import { fit, ruleOf, scalarLike } from './vjp.js';

/** Derivative rules of element-wise operations. */

const times = (g: GraphBuilder, x: Value, factor: number): Value => op.mul(g, x, scalarLike(g, factor, x));
const oneMinus = (g: GraphBuilder, x: Value): Value => op.sub(g, scalarLike(g, 1, x), x);

/** dz where the condition holds and 0 elsewhere, and the other way round. */
function parted(g: GraphBuilder, condition: Value, dz: Value): readonly [held: Value, others: Value] {
  const zero = scalarLike(g, 0, dz);
  return [op.where(g, condition, dz, zero), op.where(g, condition, zero, dz)];
}

export const add = ruleOf<NoAttrs>((g, dz, { inputs: [x, y] }) => [fit(g, dz, x!), fit(g, dz, y!)]);

export const sub = ruleOf<NoAttrs>((g, dz, { inputs: [x, y] }) => [fit(g, dz, x!), op.neg(g, fit(g, dz, y!))]);

export const mul = ruleOf<NoAttrs>((g, dz, { inputs: [x, y] }) => [
  fit(g, op.mul(g, dz, y!), x!),
  fit(g, op.mul(g, dz, x!), y!),
]);

export const div = ruleOf<NoAttrs>((g, dz, { inputs: [x, y], z }) => {
  const dx = op.div(g, dz, y!);
  return [fit(g, dx, x!), op.neg(g, fit(g, op.mul(g, dx, z), y!))];
});

/** Of equal operands the second takes the whole gradient: what asks for a tie rule puts the winner there. */
export const max = ruleOf<NoAttrs>((g, dz, { inputs: [x, y] }) => {
  const [first, second] = parted(g, op.greater(g, x!, y!), dz);
  return [fit(g, first, x!), fit(g, second, y!)];
});

/** As `max`. */
export const min = ruleOf<NoAttrs>((g, dz, { inputs: [x, y] }) => {
  const [first, second] = parted(g, op.less(g, x!, y!), dz);
  return [fit(g, first, x!), fit(g, second, y!)];
});

export const pow = ruleOf<NoAttrs>((g, dz, { inputs: [x, y], z }) => {
  const slope = op.mul(g, y!, op.pow(g, x!, op.sub(g, y!, scalarLike(g, 1, y!))));
  return [fit(g, op.mul(g, dz, slope), x!), fit(g, op.mul(g, dz, op.mul(g, z, op.log(g, x!))), y!)];
});

export const neg = ruleOf<NoAttrs>((g, dz) => [op.neg(g, dz)]);
export const identity = ruleOf<NoAttrs>((_g, dz) => [dz]);
/** Constant between its steps. */
export const stepwise = ruleOf<NoAttrs>(() => [undefined]);
export const reciprocal = ruleOf<NoAttrs>((g, dz, { z }) => [op.neg(g, op.mul(g, dz, op.mul(g, z, z)))]);
export const exp = ruleOf<NoAttrs>((g, dz, { z }) => [op.mul(g, dz, z)]);
export const log = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [op.div(g, dz, x!)]);
export const sqrt = ruleOf<NoAttrs>((g, dz, { z }) => [op.div(g, times(g, dz, 0.5), z)]);
export const abs = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [op.mul(g, dz, op.sign(g, x!))]);
export const sin = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [op.mul(g, dz, op.cos(g, x!))]);
export const cos = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [op.neg(g, op.mul(g, dz, op.sin(g, x!)))]);
export const sigmoid = ruleOf<NoAttrs>((g, dz, { z }) => [op.mul(g, dz, op.mul(g, z, oneMinus(g, z)))]);
export const tanh = ruleOf<NoAttrs>((g, dz, { z }) => [op.mul(g, dz, oneMinus(g, op.mul(g, z, z)))]);
export const softplus = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [op.mul(g, dz, op.sigmoid(g, x!))]);

export const relu = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [
  parted(g, op.greater(g, x!, scalarLike(g, 0, x!)), dz)[0],
]);

export const erf = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => [
  op.mul(g, dz, times(g, op.exp(g, op.neg(g, op.mul(g, x!, x!))), 2 / Math.sqrt(Math.PI))),
]);

/** The bounds themselves are constants. */
export const clip = ruleOf<NoAttrs>((g, dz, { inputs: [x, least, most] }) => {
  const [above] = parted(g, op.greaterOrEqual(g, x!, least!), dz);
  return [parted(g, op.greaterOrEqual(g, most!, x!), above)[0]];
});

export const where = ruleOf<NoAttrs>((g, dz, { inputs: [condition, x, y] }) => {
  const [held, others] = parted(g, condition!, dz);
  return [undefined, fit(g, held, x!), fit(g, others, y!)];
});

/** Between floating types; nothing flows back into integers and conditions. */
export const cast = ruleOf<OpAttrs['Cast']>((g, dz, { inputs: [x] }) => [
  x!.dtype === 'float32' || x!.dtype === 'float16' ? op.cast(g, dz, x!.dtype) : undefined,
]);

/** With s = sigmoid(a x): s + a x s (1 - s) = s (1 + a (x - y)). */
export const quickGelu = ruleOf<OpAttrs['QuickGelu']>((g, dz, { inputs: [x], z, attrs: { alpha } }) => {
  const s = op.sigmoid(g, times(g, x!, alpha));
  const slope = op.mul(g, s, op.add(g, times(g, op.sub(g, x!, z), alpha), scalarLike(g, 1, x!)));
  return [op.mul(g, dz, slope)];
});

/**
 * With u = x / sqrt 2: (1 + erf(u)) / 2 + u exp(-u^2) / sqrt(pi), worked out again: kept, it would be one more tensor a layer. Each operation
 * is a pass over memory, so exp(u^2) divides, and spares a change of sign; where it is infinite, the quotient is 0, as it should be.
 */
export const gelu = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => {
  const u = times(g, x!, Math.SQRT1_2);
  const bend = times(g, op.div(g, u, op.exp(g, op.mul(g, u, u))), 2 / Math.sqrt(Math.PI));
  const twice = op.add(g, op.add(g, op.erf(g, u), scalarLike(g, 1, x!)), bend);
  return [op.mul(g, op.mul(g, dz, scalarLike(g, 0.5, dz)), twice)];
});

/** With k = sqrt(2 / pi), t = tanh(k (x + 0.044715 x^3)): (1 + t) / 2 + x (1 - t^2) k (1 + 0.134145 x^2) / 2. */
export const geluTanh = ruleOf<NoAttrs>((g, dz, { inputs: [x] }) => {
  const k = Math.sqrt(2 / Math.PI);
  const one = scalarLike(g, 1, x!);
  const square = op.mul(g, x!, x!);
  const t = op.tanh(g, op.mul(g, x!, op.add(g, times(g, square, k * 0.044715), scalarLike(g, k, x!))));
  const inner = op.add(g, times(g, square, k * 0.134145), scalarLike(g, k, x!));
  const bend = op.mul(g, op.mul(g, x!, oneMinus(g, op.mul(g, t, t))), inner);
  return [op.mul(g, dz, times(g, op.add(g, op.add(g, t, one), bend), 0.5))];
});
