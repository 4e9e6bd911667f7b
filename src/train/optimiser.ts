/**
 * Optimisers as graph nodes: what changes from step to step is a scalar input, what is fixed a constant, and the state goes in and out.
 *
 * Papers: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019 (AdamW); Kingma and Ba, "Adam", 2015.
 */
import type { GraphBuilder } from '../graph/builder.js';
import { add, concat, div, min, mul, reshape, scalar, slice, sqrt, sub, sum, sumSquare } from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { sizeOf, tensor } from '../tensor.js';
import type { AnyTensor } from '../types.js';
import type { Slab } from './groups.js';

/** Adam with decoupled weight decay; epsilon is added outside the root. */
export interface AdamW {
  readonly kind: 'adamw';
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** Gradient descent with momentum (0: none) and coupled weight decay, as torch.optim.SGD. */
export interface Sgd {
  readonly kind: 'sgd';
  readonly momentum: number;
}

export interface Optimiser {
  readonly rule: AdamW | Sgd;
  /** Largest global L2 norm of the gradients; absent: they are taken as they are. */
  readonly clip?: number;
  /** Decay of an exponential moving average of the weights; absent: none is kept. */
  readonly average?: number;
}

export const adamw: AdamW = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/** What an optimiser keeps for each parameter: Adam's moments (`m` also SGD's momentum) and the moving average. */
export type Moment = 'm' | 'v' | 'ema';

/** The state tensors beside the weights. */
export function momentsOf({ rule, average }: Optimiser): Moment[] {
  const own: Moment[] = rule.kind === 'adamw' ? ['m', 'v'] : rule.momentum > 0 ? ['m'] : [];
  return average === undefined ? own : [...own, 'ema'];
}

/** Name of a state tensor beside the weights. */
export const momentName = (moment: Moment | 'a', slab: string): string => `${moment}/${slab}`;

/** A slab in the graph of a step. */
export interface SlabValues {
  readonly slab: Slab;
  readonly weights: Value;
  readonly gradient: Value;
}

export interface Update {
  /** L2 norm of all gradients before clipping: []. */
  readonly gradientNorm: Value;
  /** State tensor -> what it becomes. */
  readonly next: ReadonlyMap<string, Value>;
}

/**
 * Inputs of the update that change with the step.
 *
 * @param step from 1: the number of this update
 */
export function stepFeeds({ rule }: Optimiser, step: number, rate: number): Record<string, AnyTensor> {
  const single = (value: number): AnyTensor => tensor('float32', [], Float32Array.of(value));
  if (rule.kind === 'sgd') return { [names.rate]: single(rate) };
  return {
    [names.rate]: single(rate),
    [names.first]: single(1 - rule.beta1 ** step),
    [names.second]: single(1 - rule.beta2 ** step),
  };
}

const names = { rate: 'optimiser.rate', first: 'optimiser.bc1', second: 'optimiser.bc2' } as const;

/** The nodes of one update, and its inputs: moments, rate and bias corrections. */
export function update(g: GraphBuilder, slabs: readonly SlabValues[], optimiser: Optimiser): Update {
  return g.scope('optimiser', () => {
    const { rule, clip, average } = optimiser;
    const rate = g.input(names.rate, 'float32', []);
    const gradientNorm = globalNorm(
      g,
      slabs.map(({ gradient }) => gradient),
    );
    const factor =
      clip === undefined
        ? undefined
        : min(g, scalar(g, 1), div(g, scalar(g, clip), add(g, gradientNorm, scalar(g, 1e-6))));
    const apply = rule.kind === 'adamw' ? adamwStep(g, rule, rate, factor) : sgdStep(g, rule, rate, factor);
    const next = new Map<string, Value>();
    for (const values of slabs) {
      const { slab } = values;
      const { weights, moments } = apply(values);
      next.set(slab.name, weights);
      for (const [moment, value] of moments) next.set(momentName(moment, slab.name), value);
      if (average === undefined) continue;
      const name = momentName('ema', slab.name);
      const before = g.input(name, 'float32', slab.shape);
      next.set(name, add(g, mul(g, before, scalar(g, average)), mul(g, weights, scalar(g, 1 - average))));
    }
    return { gradientNorm, next };
  });
}

type SlabStep = (values: SlabValues) => {
  readonly weights: Value;
  readonly moments: readonly (readonly [Moment, Value])[];
};

function adamwStep(
  g: GraphBuilder,
  { beta1, beta2, epsilon }: AdamW,
  rate: Value,
  factor: Value | undefined,
): SlabStep {
  const first = g.input(names.first, 'float32', []);
  const root = sqrt(g, g.input(names.second, 'float32', []));
  // rate / bc1 * m / (sqrt(v) / sqrt(bc2) + epsilon), with the scalars gathered: two nodes less for each slab.
  const speed = div(g, mul(g, rate, root), first);
  const floor = mul(g, root, scalar(g, epsilon));
  const share = (part: number, power: 1 | 2): Value => {
    if (factor === undefined) return scalar(g, part);
    return mul(g, power === 1 ? factor : mul(g, factor, factor), scalar(g, part));
  };
  const [newFirst, newSecond] = [share(1 - beta1, 1), share(1 - beta2, 2)];
  return ({ slab, weights, gradient }) => {
    const before = (moment: Moment): Value => g.input(momentName(moment, slab.name), 'float32', slab.shape);
    const m = add(g, mul(g, before('m'), scalar(g, beta1)), mul(g, gradient, newFirst));
    const v = add(g, mul(g, before('v'), scalar(g, beta2)), mul(g, mul(g, gradient, gradient), newSecond));
    const change = mul(g, div(g, m, add(g, sqrt(g, v), floor)), scaled(g, speed, slab.scale));
    const kept =
      slab.decay === 0 ? weights : mul(g, weights, sub(g, scalar(g, 1), scaled(g, rate, slab.scale * slab.decay)));
    return {
      weights: sub(g, kept, change),
      moments: [
        ['m', m],
        ['v', v],
      ],
    };
  };
}

function sgdStep(g: GraphBuilder, { momentum }: Sgd, rate: Value, factor: Value | undefined): SlabStep {
  return ({ slab, weights, gradient }) => {
    const clipped = factor === undefined ? gradient : mul(g, gradient, factor);
    const pull = slab.decay === 0 ? clipped : add(g, clipped, mul(g, weights, scalar(g, slab.decay)));
    const speed = scaled(g, rate, slab.scale);
    if (momentum === 0) return { weights: sub(g, weights, mul(g, pull, speed)), moments: [] };
    const before = g.input(momentName('m', slab.name), 'float32', slab.shape);
    const m = add(g, mul(g, before, scalar(g, momentum)), pull);
    return { weights: sub(g, weights, mul(g, m, speed)), moments: [['m', m]] };
  };
}

const scaled = (g: GraphBuilder, value: Value, factor: number): Value =>
  factor === 1 ? value : mul(g, value, scalar(g, factor));

/** L2 norm of all gradients: []. */
export function globalNorm(g: GraphBuilder, gradients: readonly Value[]): Value {
  const squares = gradients.flatMap((gradient) => sumsOfSquares(g, gradient));
  return sqrt(g, sum(g, squares.length === 1 ? squares[0]! : concat(g, squares, 0), [0]));
}

/**
 * Sums of squares of parts, [1] each. In two stages over a nearly square table, because the runtime adds up in one float32: over 100,000
 * elements in a row it strays by 1e-5.
 */
function sumsOfSquares(g: GraphBuilder, x: Value): Value[] {
  const count = sizeOf(x.shape as readonly number[]); // the shape of a slab
  const columns = 2 ** Math.floor(Math.log2(Math.sqrt(count)));
  const rows = Math.floor(count / columns);
  const rest = count - rows * columns;
  const flat = reshape(g, x, [count]);
  const table = reshape(g, rest === 0 ? flat : slice(g, flat, 0, 0, rows * columns), [rows, columns]);
  const body = sum(g, sumSquare(g, table, [1]), [0], 1);
  return rest === 0 ? [body] : [body, sumSquare(g, slice(g, flat, 0, rows * columns, count), [0], 1)];
}
