import { assert, EgolensError } from '../errors.js';
import { openTrainingSession, type TensorsByName, type TrainingSessionOptions } from '../runtime/training-session.js';
import type { Tensor } from '../types.js';
import { stepGraphs, valueOf, type StepDescription, type UpdatePlace } from './graphs.js';
import type { Parameter } from './groups.js';
import type { MemoryPlan } from './memory.js';
import { OpenTraining } from './open-training.js';
import type { Moment } from './optimiser.js';

/** Values by parameter name. */
export type Weights = ReadonlyMap<string, Tensor<'float32'>>;

/** Everything that a later run needs to go on. */
export interface TrainingState {
  /** Updates done. */
  readonly step: number;
  /** Trained and frozen parameters. */
  readonly weights: Weights;
  /** Of the trained parameters. */
  readonly moments: Readonly<Partial<Record<Moment, Weights>>>;
}

export interface StepResult {
  /** Number of the update, from 1. */
  readonly step: number;
  /** Mean over the micro-batches. */
  readonly loss: number;
  readonly parts: Readonly<Record<string, number>>;
  /** L2 norm of all gradients before clipping. */
  readonly gradientNorm: number;
}

/** A model in training: its state lies with a worker thread. Dispose it. */
export interface Training extends AsyncDisposable {
  readonly device: string;
  /** Trained parameters. */
  readonly parameters: readonly Parameter[];
  readonly memory: MemoryPlan;
  /** Updates done. */
  readonly step: number;
  /**
   * One update by the mean gradient of one batch, or of several equal ones (accumulation: one session adds the gradients up, another one
   * applies them).
   *
   * @param rate learning rate before the scales of the groups
   * @throws EgolensError data.not_finite, with the step and the first gradient that is not finite; the state is then as it was before
   */
  run(batches: TensorsByName | readonly TensorsByName[], rate: number): Promise<StepResult>;
  /** Updates of one run of the runtime, see `TrainingOptions`. */
  readonly stepsPerRun: number;
  /**
   * One update by each batch: in one run of the runtime where there are `stepsPerRun` of them and all of one shape, else one by one. The numbers
   * are those of `run` but for rounding.
   *
   * @param rates learning rate of each update
   * @throws EgolensError data.not_finite, with the step; in one run the state is then as it was before the first of these updates, one by one
   *   as before the step that failed
   */
  runMany(batches: readonly TensorsByName[], rates: readonly number[]): Promise<StepResult[]>;
  /** Gradients of one batch, not clipped; the state stays as it is. */
  gradients(batch: TensorsByName): Promise<Weights>;
  /** Outputs of an evaluation graph, with the weights as they are or with their moving average. */
  evaluate(
    name: string,
    feeds: TensorsByName,
    weights?: 'current' | 'average',
  ): Promise<Record<string, Tensor<'float32'>>>;
  state(): Promise<TrainingState>;
  /** @throws EgolensError model.key_unmatched, model.shape when the state is not that of this model and optimiser */
  load(state: TrainingState): Promise<void>;
}

export interface TrainingOptions extends TrainingSessionOptions {
  /** Default: `host` on the cpu, else `graph`. Both do the same but for rounding. */
  readonly update?: UpdatePlace;
  /**
   * Updates that `runMany` does in one run, with the update in the graph: the state goes to a device and back once for all of them. Default 1. On the
   * cpu more than 1 is slower (docs/training.md); on cuda it is expected to be quicker, and not measured.
   */
  readonly stepsPerRun?: number;
}

/**
 * Compiles a training step and opens it.
 *
 * @param weights values of all parameters, frozen ones included; others may be among them
 * @throws EgolensError as `stepGraphs`; model.key_unmatched, model.shape for weights that do not fit; device.failed
 */
export async function openTraining(
  description: StepDescription,
  weights: Weights,
  options: TrainingOptions,
): Promise<Training> {
  const { stepsPerRun = 1 } = options;
  if (!Number.isInteger(stepsPerRun) || stepsPerRun < 1)
    throw new EgolensError('usage.flag', `${stepsPerRun} steps in a run, expected a whole number from 1`);
  if (stepsPerRun > 1 && options.update === 'host')
    throw new EgolensError(
      'usage.conflict',
      `${stepsPerRun} steps in a run need the update in the graph, not on the host`,
    );
  const { sizes = {}, buckets = [{}] } = description;
  const graphs = buckets.map((bucket) => stepGraphs({ ...description, sizes: { ...sizes, ...bucket } }));
  const [first] = graphs;
  assert(first !== undefined, `${description.name}: expected at least one bucket`);
  // Looked at before anything is opened.
  for (const parameter of [...first.trained, ...first.frozen]) valueOf(weights, parameter);
  const session = await openTrainingSession(options);
  const place = options.update ?? (session.device === 'cpu' && stepsPerRun === 1 ? 'host' : 'graph');
  const training = new OpenTraining(description, { graphs: [first, ...graphs.slice(1)], place, stepsPerRun }, session);
  try {
    await training.begin(weights);
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
  return training;
}
