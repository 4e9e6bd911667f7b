import { join } from 'node:path';
import { openNpz } from '../../src/checkpoint/npz.js';
import { openFileSource } from '../../src/files.js';
import type { GraphBuilder } from '../../src/graph/builder.js';
import type { Value } from '../../src/graph/ops.js';
import type { GroupRule } from '../../src/train/groups.js';
import { adamw } from '../../src/train/optimiser.js';
import type { Forward, StepDescription } from '../../src/train/graphs.js';
import { openTraining, type Training, type TrainingState, type Weights } from '../../src/train/step.js';
import type { AnyTensor, Tensor } from '../../src/types.js';
import { readJson } from './model-cases.js';
import { maxAbs, type Comparison, type Runner } from './results.js';
import { trainingModels } from './training-models.js';

/** `config.json` of a whole training case. */
export interface TrainingConfig {
  readonly case: string;
  readonly model: Readonly<Record<string, unknown>>;
  readonly optimizer: {
    readonly betas: readonly [number, number];
    readonly eps: number;
    readonly lr_per_step: readonly number[];
    readonly clip_norm: number | null;
    readonly ema_decay: number | null;
    readonly groups: readonly { readonly name: string; readonly weight_decay: number; readonly lr_scale: number }[];
  };
  readonly loss_before_each_step_then_after_last: readonly number[];
  readonly grad_norm_before_clip: readonly number[];
  readonly per_step_then_after_last: readonly Readonly<Record<string, number>>[];
  readonly parameters_without_gradient: readonly string[];
  readonly parameters_with_analytically_zero_gradient: readonly string[];
  readonly tensors: Readonly<Record<string, { readonly absmax: number; readonly dev32: number }>>;
}

export type Arrays = ReadonlyMap<string, AnyTensor>;

/** What a case trains: the part of it that the data do not say. */
export interface TrainingModel {
  forward(g: GraphBuilder): Forward & { readonly outputs?: Readonly<Record<string, Value>> };
  /** The rule of its parameter groups, where we have it: it must give the groups of the data. */
  readonly groups?: GroupRule;
  /** Sizes of the symbols in the shapes of its inputs. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Inputs of the graph before step `i`, from 0; the last one is for the loss after all steps. */
  batch(i: number): Readonly<Record<string, AnyTensor>>;
}

/** Bounds of the data's README, relative or times the largest value. */
const bounds = { loss: 1e-5, gradient: 1e-5, gradientFloor: 1e-8, weights: 5e-6, dev32: 10 } as const;

/**
 * One training case: gradients before clipping, five updates with loss and gradient norm, weights after one and after five, moments and
 * averages, what the forward pass gives on the way. Once for each place where the optimiser may work.
 */
const runTraining: Runner = async (path) => {
  const config = await readJson<TrainingConfig>(join(path, 'config.json'));
  const arrays = await readArrays(join(path, 'data.npz'));
  const make = trainingModels[config.case];
  if (!make) throw new Error(`${config.case}: no such model`);
  const model = make(config, arrays);
  const { step, weights } = describe(config, model, arrays);
  const found: Comparison[] = groupComparisons(config, model, arrays);
  for (const update of ['host', 'graph'] as const) {
    await using training = await openTraining(step, weights, { device: 'cpu', threads: 1, update });
    const comparisons = await follow(training, config, { arrays, model });
    found.push(...comparisons.map((one) => ({ ...one, what: `${one.what}, update by the ${update}` })));
  }
  return found;
};

function groupComparisons({ optimizer }: TrainingConfig, { groups }: TrainingModel, arrays: Arrays): Comparison[] {
  if (!groups) return [];
  return optimizer.groups.map(({ name, weight_decay, lr_scale }) => {
    const { decay, scale } = groups({ name, shape: arrays.get(`init/${name}`)!.shape });
    const error = Math.max(Math.abs(decay - weight_decay), Math.abs(scale - lr_scale));
    return { what: `group of ${name}`, error, tolerance: 1e-12 };
  });
}

async function follow(
  training: Training,
  config: TrainingConfig,
  { arrays, model }: { readonly arrays: Arrays; readonly model: TrainingModel },
): Promise<Comparison[]> {
  const { optimizer, tensors } = config;
  const found: Comparison[] = [];
  const zero = new Set(config.parameters_with_analytically_zero_gradient);
  const losses = config.loss_before_each_step_then_after_last;
  const relative = (what: string, value: number, expected: number): void => {
    found.push({ what, error: Math.abs(value - expected) / Math.abs(expected), tolerance: bounds.loss });
  };
  const parts = (values: Readonly<Record<string, number>>, i: number): void => {
    for (const [name, expected] of Object.entries(config.per_step_then_after_last[i]!)) {
      if (values[name] !== undefined) relative(`${name} ${i}`, values[name], expected);
    }
  };
  /** Every stored array of a kind against values by parameter. */
  const compare = (kind: string, values: Weights, tolerance: (name: string) => number): void => {
    for (const [name, expected] of arrays) {
      if (!name.startsWith(`${kind}/`)) continue;
      const parameter = name.slice(kind.length + 1);
      if (config.parameters_without_gradient.includes(parameter)) {
        found.push({ what: `${name} untouched`, error: values.has(parameter) ? 1 : 0, tolerance: 0 });
        continue;
      }
      const value = values.get(parameter);
      const reference = zero.has(parameter) ? arrays.get(`init/${parameter}`)! : expected;
      const error = value ? maxAbs(value.data, (reference as Tensor<'float32'>).data) : Infinity;
      if (zero.has(parameter)) {
        // Rounding noise in place of a gradient of zero: AdamW makes it steps of any direction, of at most the learning rate.
        if (kind.startsWith('step')) found.push({ what: name, error, tolerance: total(optimizer.lr_per_step) });
      } else found.push({ what: name, error, tolerance: tolerance(name) });
    }
  };
  const byScale = (name: string): number => bounds.gradient * tensors[name]!.absmax + bounds.gradientFloor;
  const byDeviation = (name: string): number => bounds.weights + bounds.dev32 * tensors[name]!.dev32;

  const outputs = await training.evaluate('forward', model.batch(0));
  for (const [name, { data }] of Object.entries(outputs)) {
    if (!name.startsWith('out/')) continue;
    const expected = (arrays.get(name) as Tensor<'float32'>).data;
    found.push({ what: name, error: maxAbs(data, expected), tolerance: 2e-5 * tensors[name]!.absmax + 1e-7 });
  }
  compare('grad', await training.gradients(model.batch(0)), byScale);
  for (const [i, rate] of optimizer.lr_per_step.entries()) {
    const result = await training.run(model.batch(i), rate);
    relative(`loss before step ${i + 1}`, result.loss, losses[i]!);
    relative(`gradient norm of step ${i + 1}`, result.gradientNorm, config.grad_norm_before_clip[i]!);
    parts(result.parts, i);
    if (i === 0) compare('step1', trainedOf(await training.state(), training), byDeviation);
  }
  const state = await training.state();
  compare('step5', trainedOf(state, training), byDeviation);
  compare('ema5', state.moments.ema ?? new Map(), byDeviation);
  compare('m5', state.moments.m ?? new Map(), (name) => byScale(name) + bounds.dev32 * tensors[name]!.dev32);
  compare('v5', state.moments.v ?? new Map(), (name) => byScale(name) + bounds.dev32 * tensors[name]!.dev32);
  const after = await training.evaluate('forward', model.batch(optimizer.lr_per_step.length));
  relative('loss after the last step', after['loss']!.data[0]!, losses.at(-1)!);
  return found;
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

function trainedOf({ weights }: TrainingState, { parameters }: Training): Weights {
  return new Map(parameters.map(({ name }) => [name, weights.get(name)!]));
}

function describe(
  config: TrainingConfig,
  model: TrainingModel,
  arrays: Arrays,
): { step: StepDescription; weights: Weights } {
  const { betas, eps, clip_norm: clip, ema_decay: average, groups } = config.optimizer;
  const weights = new Map<string, Tensor<'float32'>>();
  for (const [name, value] of arrays) {
    if (/^(init|const)\//.test(name)) weights.set(name.slice(name.indexOf('/') + 1), value as Tensor<'float32'>);
  }
  const byName = new Map(groups.map((group) => [group.name, group]));
  const step: StepDescription = {
    name: config.case,
    forward: (g) => model.forward(g),
    sizes: model.sizes ?? {},
    isTrained: (name) => byName.has(name),
    groups: ({ name }) => ({ decay: byName.get(name)!.weight_decay, scale: byName.get(name)!.lr_scale }),
    optimiser: {
      rule: { ...adamw, beta1: betas[0], beta2: betas[1], epsilon: eps },
      ...(clip === null ? {} : { clip }),
      ...(average === null ? {} : { average }),
    },
    evaluations: {
      forward(g) {
        const { loss, outputs } = model.forward(g);
        return { loss, ...outputs };
      },
    },
  };
  return { step, weights };
}

async function readArrays(path: string): Promise<Arrays> {
  await using source = await openFileSource(path);
  const npz = await openNpz(source);
  const arrays = new Map<string, AnyTensor>();
  for (const name of npz.names) arrays.set(name, (await npz.read(name)).tensor);
  return arrays;
}

/** Runners of the cases that train a whole model. */
export const trainingStepRunners: Readonly<Record<string, Runner>> = Object.fromEntries(
  Object.keys(trainingModels).map((name) => [`training/${name}`, runTraining]),
);
