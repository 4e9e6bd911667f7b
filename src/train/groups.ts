import { assert } from '../errors.js';
import { sizeOf } from '../tensor.js';

/** How the optimiser treats one parameter. */
export interface ParameterGroup {
  /** Decoupled weight decay; 0: none. */
  readonly decay: number;
  /** Multiplies the learning rate. */
  readonly scale: number;
}

/** A parameter by its state-dict key. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
}

export type GroupRule = (parameter: Parameter) => ParameterGroup;

/**
 * Weight decay for matrices and kernels only: none for scalars and vectors, for names that end in `.bias`, and for those in `except`.
 * Source: MCG-NJU/VideoMAE optim_factory.py, get_parameter_groups.
 */
export function decayMatrices(decay: number, except: readonly string[] = []): GroupRule {
  return ({ name, shape }) => {
    const isFree = shape.length <= 1 || name.endsWith('.bias') || except.includes(name);
    return { decay: isFree ? 0 : decay, scale: 1 };
  };
}

/**
 * Learning rates that shrink towards the input of an encoder: what stands before the blocks has id 0, block i has id i + 1, the rest
 * depth + 1; the rate is multiplied by factor^(depth + 1 - id). `prefix` is that of the encoder's keys; what lies outside is the rest.
 * Source: MCG-NJU/VideoMAE optim_factory.py, LayerDecayValueAssigner.
 */
export function decayLayers(rule: GroupRule, depth: number, factor: number, prefix = ''): GroupRule {
  const idOf = (name: string): number => {
    if (!name.startsWith(prefix)) return depth + 1;
    const key = name.slice(prefix.length);
    if (/^(cls_token|mask_token|pos_embed|patch_embed\.)/.test(key)) return 0;
    const block = /^blocks\.(\d+)\./.exec(key);
    return block ? Number(block[1]) + 1 : depth + 1;
  };
  return (parameter) => {
    const { decay, scale } = rule(parameter);
    return { decay, scale: scale * factor ** (depth + 1 - idOf(parameter.name)) };
  };
}

/** One tensor of the training state: a large parameter, or many small ones of a group end to end. */
export interface Slab extends ParameterGroup {
  /** Of the state tensor: the parameter's own, or `packed.{n}`. */
  readonly name: string;
  /** Of the state tensor: the parameter's own, or [elements]. */
  readonly shape: readonly number[];
  readonly members: readonly (Parameter & { readonly offset: number })[];
  readonly isPacked: boolean;
}

/** Elements from which on a parameter is a state tensor of its own: copying it into a packed one would cost more than the calls saved. */
const ownFrom = 2 ** 14;

/**
 * How the state of the parameters is laid out. A call of the runtime costs some microseconds for each input and output, and an update is a
 * dozen nodes for each state tensor: packed, a transformer has a handful of them instead of hundreds.
 */
export function planSlabs(parameters: readonly Parameter[], rule: GroupRule): Slab[] {
  const packs = new Map<string, Slab & { members: (Parameter & { offset: number })[] }>();
  const slabs: Slab[] = [];
  for (const { name, shape } of parameters) {
    const group = rule({ name, shape });
    assert(group.decay >= 0 && group.scale >= 0, `${name}: decay ${group.decay}, scale ${group.scale}`);
    if (sizeOf(shape) >= ownFrom) {
      slabs.push({ ...group, name, shape, members: [{ name, shape, offset: 0 }], isPacked: false });
      continue;
    }
    const key = `${group.decay} ${group.scale}`;
    let pack = packs.get(key);
    if (!pack) {
      pack = { ...group, name: `packed.${packs.size}`, shape: [], members: [], isPacked: true };
      packs.set(key, pack);
      slabs.push(pack);
    }
    pack.members.push({ name, shape, offset: pack.members.reduce((total, member) => total + sizeOf(member.shape), 0) });
  }
  return slabs.map((slab) =>
    slab.isPacked ? { ...slab, shape: [slab.members.reduce((total, { shape }) => total + sizeOf(shape), 0)] } : slab,
  );
}
