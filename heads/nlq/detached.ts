import type { GraphBuilder } from '../../src/graph/builder.js';
import { floor, mul, scalar } from '../../src/graph/layers.js';
import type { Value } from '../../src/graph/ops.js';

/**
 * x, as a constant to the way back. Nothing flows back through Floor; scaled by a power of two this large, it leaves every number as it is
 * (to 1e-18; |x| up to 2^67).
 */
export function detached(g: GraphBuilder, x: Value): Value {
  return mul(g, floor(g, mul(g, x, scalar(g, 2 ** 60))), scalar(g, 2 ** -60));
}
