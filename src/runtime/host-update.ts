import type { StateMemory } from './adamw-kernel.js';

/**
 * The update of an optimiser over plain arrays, in one pass. As graph nodes it takes a dozen passes over memory and a second set of
 * state, because a graph cannot write what it reads: measured on one core, 4 ns an element here and 16 ns there. Arithmetic is in double
 * precision, storage in float32. The formulas are those of src/train/optimiser.ts, which makes the nodes.
 */
export type HostRule =
  | { readonly kind: 'adamw'; readonly beta1: number; readonly beta2: number; readonly epsilon: number }
  | { readonly kind: 'sgd'; readonly momentum: number };

export interface HostUpdate {
  readonly rule: HostRule;
  /** Largest global L2 norm of the gradients. */
  readonly clip?: number;
  /** Decay of the moving average. */
  readonly average?: number;
  /** Learning rate before the scales. */
  readonly rate: number;
  /** Number of this update, from 1. */
  readonly step: number;
}

/** State of one tensor, changed in place. `m`, `v`, `ema` as the rule needs them. */
export interface HostState {
  readonly decay: number;
  readonly scale: number;
  readonly weights: Float32Array;
  readonly gradient: Float32Array;
  readonly m?: Float32Array | undefined;
  readonly v?: Float32Array | undefined;
  readonly ema?: Float32Array | undefined;
}

/** Updates weights and moments by gradients whose norm is `norm`, which must be finite; quicker where the state lies in `memory`. */
export function updateOnHost(
  states: readonly HostState[],
  update: HostUpdate,
  norm: number,
  memory?: StateMemory,
): void {
  const { rule, clip, average } = update;
  const factor = clip === undefined ? 1 : Math.min(1, clip / (norm + 1e-6));
  for (const state of states) {
    if (rule.kind === 'adamw') adamw(state, rule, update, factor, memory);
    else sgd(state, rule.momentum, update.rate * state.scale, factor);
    if (average !== undefined) follow(state.ema!, state.weights, average); // the caller keeps what the optimiser needs
  }
}

function adamw(
  { weights, gradient, m, v, decay, scale }: HostState,
  { beta1, beta2, epsilon }: HostRule & { kind: 'adamw' },
  { rate, step }: HostUpdate,
  factor: number,
  memory: StateMemory | undefined,
): void {
  const [first, second] = [m!, v!]; // Adam's state has both
  const root = Math.sqrt(1 - beta2 ** step);
  const speed = (rate * scale * root) / (1 - beta1 ** step);
  const floor = epsilon * root;
  const kept = 1 - rate * scale * decay;
  const [share1, share2] = [1 - beta1, 1 - beta2];
  const constants = { beta1, beta2, share1, share2, factor, kept, speed, floor };
  const done = memory?.adamw([weights, gradient, first, second], constants) ?? 0;
  for (let i = done; i < weights.length; i++) {
    const g = gradient[i]! * factor;
    const a = beta1 * first[i]! + share1 * g;
    const b = beta2 * second[i]! + share2 * g * g;
    first[i] = a;
    second[i] = b;
    weights[i] = weights[i]! * kept - (speed * a) / (Math.sqrt(b) + floor); // adamw-kernel.ts does the same
  }
}

function sgd({ weights, gradient, m, decay }: HostState, momentum: number, rate: number, factor: number): void {
  for (let i = 0; i < weights.length; i++) {
    let pull = gradient[i]! * factor + decay * weights[i]!;
    if (m) {
      pull += momentum * m[i]!;
      m[i] = pull;
    }
    weights[i] = weights[i]! - rate * pull;
  }
}

function follow(ema: Float32Array, weights: Float32Array, average: number): void {
  const share = 1 - average;
  for (let i = 0; i < weights.length; i++) ema[i] = average * ema[i]! + share * weights[i]!;
}
