import { assert, EgolensError } from '../errors.js';
import { GraphBuilder, type Constant, type Graph } from '../graph/builder.js';
import { gradients } from '../graph/grad.js';
import { loopOver } from '../graph/loop.js';
import { add, concat, identity, mul, reshape, split } from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { prepended, pruned } from '../graph/prune.js';
import { shapeText, sizeOf } from '../tensor.js';
import { planSlabs, type GroupRule, type Parameter, type Slab } from './groups.js';
import { bytesOfValue, keptBytes, type MemoryPlan } from './memory.js';
import { globalNorm, momentName, momentsOf, update, type Optimiser, type SlabValues } from './optimiser.js';

/** What the forward pass of a step gives. */
export interface Forward {
  /** What is minimised: []. */
  readonly loss: Value;
  /** Further scalars to be reported, as the terms of the loss. */
  readonly parts?: Readonly<Record<string, Value>>;
}

/** A training step in the making. */
export interface StepDescription {
  readonly name: string;
  /** Declares the inputs of a batch and the parameters, by their state-dict keys. */
  readonly forward: (g: GraphBuilder) => Forward;
  /** Sizes of symbols in the shapes of inputs: one step graph is for one size of batch. */
  readonly sizes?: Readonly<Record<string, number>>;
  /**
   * Other sizes of some of the symbols, by which batches may differ, as the lengths that sequences are padded to: a step graph each, over the same
   * state. Absent: all batches have `sizes`.
   */
  readonly buckets?: readonly Readonly<Record<string, number>>[];
  /** Is the parameter trained? Absent: all are that the loss depends on. The others are neither updated nor decayed. */
  readonly isTrained?: (name: string) => boolean;
  readonly groups: GroupRule;
  readonly optimiser: Optimiser;
  /** Further graphs over the same weights, as for scoring: name -> what declares inputs and gives outputs. */
  readonly evaluations?: Readonly<Record<string, (g: GraphBuilder) => Readonly<Record<string, Value>>>>;
}

/** A graph, and which of its outputs become which state tensors. */
export interface StepGraph {
  readonly graph: Graph;
  /** Outputs that are reported. */
  readonly fetch: readonly string[];
  /** Output -> state tensor. */
  readonly keep: Readonly<Record<string, string>>;
}

/** Where the optimiser works: as nodes of the step graph, or on the host, over the gradients that a graph gives. */
export type UpdatePlace = 'graph' | 'host';

/**
 * `step`: gradients and update in one. `gradient`: gradients into state `a/…`. `accumulate`: a share of the gradients added to `a/…`.
 * `apply`: the update out of `a/…`.
 */
export type GraphKind = 'step' | 'gradient' | 'accumulate' | 'apply';

/** A training step: its layout, and the graphs over it, which share state tensors. */
export interface StepGraphs {
  /** Trained parameters, in the order in which the forward pass asks for them. */
  readonly trained: readonly Parameter[];
  readonly slabs: readonly Slab[];
  /** Parameters that do not change. */
  readonly frozen: readonly Parameter[];
  /** Inputs of a batch. */
  readonly inputs: readonly Value[];
  memory(place: UpdatePlace): MemoryPlan;
  /** Built anew at each call. */
  graph(kind: GraphKind): StepGraph;
  /** So many steps in one run: batches, rates and bias corrections have an axis of steps before the others, and so has what is reported. */
  rounds(count: number): StepGraph;
  evaluation(name: string, weights: 'current' | 'average'): StepGraph;
}

/** Input of the gradient graph: what its gradients are multiplied by. */
export const shareInput = 'accumulator.share';

/** Outputs that every step gives; those that keep gradients give the norm of what they keep. */
export const lossOutput = 'loss';
export const normOutput = 'gradient_norm';
const partOutput = (name: string): string => `loss.${name}`;

/**
 * Builds the graphs of a training step.
 *
 * @throws EgolensError data.invalid when no trained parameter is reached by the loss; data.shape for shapes that do not fit
 */
export function stepGraphs(description: StepDescription): StepGraphs {
  const { name, optimiser, evaluations = {} } = description;
  const layout = differentiated(description, name);
  const { slabs, trained } = layout;
  const isTrained = new Set(trained.map((parameter) => parameter.name));
  const frozen = new Map<string, Parameter>();
  const note = (parameters: readonly Parameter[]): void => {
    for (const parameter of parameters) {
      if (!isTrained.has(parameter.name)) frozen.set(parameter.name, { name: parameter.name, shape: parameter.shape });
    }
  };
  note(layout.g.params);
  const evaluated = new Map<string, Graph>();
  for (const [key, body] of Object.entries(evaluations)) {
    const g = new GraphBuilder(`${name}.${key}`, { params: 'inputs' });
    for (const [output, value] of Object.entries(body(g))) g.output(output, value);
    note(g.params);
    evaluated.set(key, g.finish());
  }
  const isParameter = new Set(layout.g.params.map((parameter) => parameter.name));
  const inputs = layout.forwardInputs.filter((value) => !isParameter.has(value.name));
  const builders: Readonly<Record<GraphKind, () => StepGraph>> = {
    step: () => updating(description),
    gradient: () => differentiating(description),
    accumulate: () => accumulating(description),
    apply: () => applying(slabs, description),
  };
  return {
    trained,
    slabs,
    frozen: [...frozen.values()],
    inputs,
    memory: (place) => memoryOf(layout, { frozen: [...frozen.values()], inputs, optimiser, place }),
    graph: (kind) => builders[kind](),
    rounds: (count) => looping(description, count, frozen),
    evaluation(key, weights) {
      const graph = evaluated.get(key);
      assert(graph, `${name}: no evaluation \`${key}\``);
      assert(weights === 'current' || optimiser.average !== undefined, `${name}: no average is kept`);
      const bound = bind(graph, slabs, (slab) => (weights === 'average' ? momentName('ema', slab) : slab));
      return { graph: bound, fetch: [...graph.outputs.keys()], keep: {} };
    },
  };
}

interface Differentiated {
  readonly g: GraphBuilder;
  readonly trained: readonly Parameter[];
  readonly slabs: readonly Slab[];
  readonly slabValues: readonly SlabValues[];
  readonly forwardInputs: readonly Value[];
  /** Nodes of the forward pass. */
  readonly forwardCount: number;
  /** Outputs declared so far. */
  readonly fetch: readonly string[];
}

/** Forward and backward pass; loss and parts are declared as outputs. */
function differentiated(description: StepDescription, name: string): Differentiated {
  const { forward, sizes = {}, isTrained = () => true, groups } = description;
  const g = new GraphBuilder(name, { params: 'inputs', sizes });
  const { loss, parts = {} } = forward(g);
  g.output(lossOutput, loss);
  const fetch = [lossOutput];
  for (const [part, value] of Object.entries(parts)) {
    if (value === loss) continue;
    g.output(partOutput(part), value);
    fetch.push(partOutput(part));
  }
  const forwardCount = g.nodes.length;
  const forwardInputs = g.finish().inputs;
  const wanted = g.params.filter((param) => isTrained(param.name));
  const found = gradients(g, loss, wanted);
  const reached = wanted.filter((param) => found.get(param) !== undefined);
  if (reached.length === 0) {
    throw new EgolensError('data.invalid', `${name}: expected a loss that depends on a trained parameter, found none`);
  }
  const trained = reached.map((param) => ({ name: param.name, shape: param.shape }));
  const slabs = planSlabs(trained, groups);
  const byName = new Map(reached.map((param) => [param.name, param]));
  const gradientOf = (key: string): Value => found.get(byName.get(key)!)!;
  const slabValues = g.scope('pack', () =>
    slabs.map((slab): SlabValues => {
      if (!slab.isPacked) return { slab, weights: byName.get(slab.name)!, gradient: gradientOf(slab.name) };
      const flat = slab.members.map((member) => reshape(g, gradientOf(member.name), [sizeOf(member.shape)]));
      const gradient = flat.length === 1 ? flat[0]! : concat(g, flat, 0);
      return { slab, weights: g.input(slab.name, 'float32', slab.shape), gradient };
    }),
  );
  return { g, trained, slabs, slabValues, forwardInputs, forwardCount, fetch };
}

function updating(description: StepDescription): StepGraph {
  const { g, slabs, slabValues, fetch } = differentiated(description, `${description.name}.step`);
  const { gradientNorm, next } = update(g, slabValues, description.optimiser);
  g.output(normOutput, gradientNorm);
  const keep = outputs(g, next);
  return { graph: bind(g.finish(), slabs), fetch: [...fetch, normOutput], keep };
}

function looping(description: StepDescription, count: number, frozen: ReadonlyMap<string, Parameter>): StepGraph {
  const { graph, fetch, keep } = updating(description);
  const carried = Object.fromEntries(Object.entries(keep).map(([output, state]) => [state, output]));
  const isFixed = (name: string): boolean => carried[name] !== undefined || frozen.has(name);
  const rows = graph.inputs.map(({ name }) => name).filter((name) => !isFixed(name));
  const g = new GraphBuilder(`${description.name}.rounds`, { params: 'inputs' });
  const { last, each } = loopOver(g, count, graph, { carried, rows, each: fetch });
  for (const name of fetch) g.output(name, each[name]!);
  for (const [output, state] of Object.entries(keep)) g.output(output, last[state]!);
  return { graph: g.finish(), fetch, keep };
}

function differentiating(description: StepDescription): StepGraph {
  const { g, slabs, slabValues, fetch } = differentiated(description, `${description.name}.gradient`);
  // A gradient may be another one as well, or an input; an output is neither.
  const next = new Map(slabValues.map(({ slab, gradient }) => [momentName('a', slab.name), identity(g, gradient)]));
  outputNorm(g, next);
  const keep = outputs(g, next);
  return { graph: bind(g.finish(), slabs), fetch: [...fetch, normOutput], keep };
}

/** The norm of what the host updates by: here it is a pass over values that are at hand, there it would fetch them from memory once more. */
function outputNorm(g: GraphBuilder, gradients: ReadonlyMap<string, Value>): void {
  g.output(
    normOutput,
    g.scope('norm', () => globalNorm(g, [...gradients.values()])),
  );
}

/** Declares what state tensors become; gives output -> state tensor. */
function outputs(g: GraphBuilder, next: ReadonlyMap<string, Value>): Record<string, string> {
  const keep: Record<string, string> = {};
  for (const [state, value] of next) {
    g.output(`next.${state}`, value);
    keep[`next.${state}`] = state;
  }
  return keep;
}

function accumulating(description: StepDescription): StepGraph {
  const { g, slabs, slabValues, fetch } = differentiated(description, `${description.name}.accumulate`);
  const share = g.input(shareInput, 'float32', []);
  const next = new Map(
    slabValues.map(({ slab, gradient }) => {
      const name = momentName('a', slab.name);
      return [name, add(g, g.input(name, 'float32', slab.shape), mul(g, gradient, share))] as const;
    }),
  );
  outputNorm(g, next);
  const keep = outputs(g, next);
  return { graph: bind(g.finish(), slabs), fetch: [...fetch, normOutput], keep };
}

function applying(slabs: readonly Slab[], description: StepDescription): StepGraph {
  const g = new GraphBuilder(`${description.name}.apply`, { params: 'inputs' });
  const slabValues = slabs.map((slab) => ({
    slab,
    weights: g.input(slab.name, 'float32', slab.shape),
    gradient: g.input(momentName('a', slab.name), 'float32', slab.shape),
  }));
  const { gradientNorm, next } = update(g, slabValues, description.optimiser);
  g.output(normOutput, gradientNorm);
  const keep = outputs(g, next);
  return { graph: pruned(g.finish()), fetch: [normOutput], keep };
}

/** The graph with its parameters taken out of the slabs, without what nothing needs. `stored` names the state tensor of a slab. */
function bind(graph: Graph, slabs: readonly Slab[], stored: (slab: string) => string = (slab) => slab): Graph {
  const asked = new Set(graph.inputs.map(({ name }) => name));
  const g = new GraphBuilder('unpack');
  const inputs: Value[] = [];
  const sources = new Map<string, Value>();
  g.scope('unpack', () => {
    for (const slab of slabs) {
      const isState = !slab.isPacked && stored(slab.name) === slab.name; // the parameter is the state tensor
      if (isState || !slab.members.some(({ name }) => asked.has(name))) continue;
      const whole = g.input(stored(slab.name), 'float32', slab.shape);
      inputs.push(whole);
      const sizes = slab.members.map(({ shape }) => sizeOf(shape));
      const pieces = sizes.length === 1 ? [whole] : split(g, whole, sizes, 0);
      slab.members.forEach(({ name, shape }, i) => {
        sources.set(name, slab.isPacked ? reshape(g, pieces[i]!, shape) : whole);
      });
    }
  });
  const constants = g.nodes.flatMap((node) => node.inputs.filter(isConstant));
  return pruned(prepended({ inputs, constants, nodes: g.nodes }, sources, graph));
}

const isConstant = (value: Value): value is Constant => value.constant !== undefined;

function memoryOf(
  { g, forwardCount, slabs }: Differentiated,
  options: {
    readonly frozen: readonly Parameter[];
    readonly inputs: readonly Value[];
    readonly optimiser: Optimiser;
    readonly place: UpdatePlace;
  },
): MemoryPlan {
  const bytes = (parameters: readonly { readonly shape: readonly number[] }[]): number =>
    parameters.reduce((total, { shape }) => total + 4 * sizeOf(shape), 0);
  const set = bytes(slabs) * (1 + momentsOf(options.optimiser).length);
  // The host changes the state in place, out of gradients beside it.
  const state = options.place === 'graph' ? 2 * set : set + bytes(slabs);
  const frozen = bytes(options.frozen);
  const kept = keptBytes(g.nodes, forwardCount);
  const batch = options.inputs.reduce((total, value) => total + bytesOfValue(value), 0);
  return { state, frozen, kept, batch, total: state + frozen + kept + batch };
}

/** The values of state tensors out of values by parameter; refuses missing and misshapen ones. */
export function packed(
  slab: Slab,
  values: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>,
): Float32Array<ArrayBuffer> {
  const whole = new Float32Array(sizeOf(slab.shape));
  for (const { name, shape, offset } of slab.members) whole.set(valueOf(values, { name, shape }).data, offset);
  return whole;
}

export function valueOf<T extends { readonly shape: readonly number[] }>(
  values: ReadonlyMap<string, T>,
  { name, shape }: Parameter,
): T {
  const value = values.get(name);
  if (value === undefined) {
    throw new EgolensError('model.key_unmatched', `${name}: expected values ${shapeText(shape)}, found none`);
  }
  if (shapeText(value.shape) !== shapeText(shape)) {
    throw new EgolensError('model.shape', `${name}: expected ${shapeText(shape)}, found ${shapeText(value.shape)}`);
  }
  return value;
}
