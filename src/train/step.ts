import { EgolensError } from '../errors.js';
import { onnxBytes } from '../graph/onnx.js';
import {
  openTrainingSession,
  type StateUpdate,
  type TensorsByName,
  type TrainingSessionOptions,
} from '../runtime/training-session.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import {
  lossOutput,
  normOutput,
  packed,
  shareInput,
  stepGraphs,
  valueOf,
  type StepDescription,
  type StepGraph,
  type GraphKind,
  type StepGraphs,
  type UpdatePlace,
} from './graphs.js';
import type { Parameter } from './groups.js';
import type { MemoryPlan } from './memory.js';
import { momentName, momentsOf, stepFeeds, type Moment } from './optimiser.js';

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
  const graphs = stepGraphs(description);
  const initial = initialState(graphs, description, weights);
  const session = await openTrainingSession(options);
  const place = options.update ?? (session.device === 'cpu' ? 'host' : 'graph');
  const training = new OpenTraining(description, { graphs, place }, session);
  try {
    await training.load(initial);
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
  return training;
}

/** The state before the first step: moments of zeros, the average equal to the weights. */
function initialState(
  { trained, frozen }: Pick<StepGraphs, 'trained' | 'frozen'>,
  { optimiser }: StepDescription,
  weights: Weights,
): TrainingState {
  const own = new Map([...trained, ...frozen].map((parameter) => [parameter.name, valueOf(weights, parameter)]));
  const moments = momentsOf(optimiser).map((moment) => {
    const values = trained.map(({ name, shape }) => {
      const start = moment === 'ema' ? own.get(name)! : tensor('float32', shape, new Float32Array(sizeOf(shape)));
      return [name, start] as const;
    });
    return [moment, new Map(values)] as const;
  });
  return { step: 0, weights: own, moments: Object.fromEntries(moments) };
}

type Session = Awaited<ReturnType<typeof openTrainingSession>>;

class OpenTraining implements Training {
  readonly device: string;
  readonly parameters: readonly Parameter[];
  readonly memory: MemoryPlan;
  readonly #description: StepDescription;
  readonly #graphs: StepGraphs;
  readonly #session: Session;
  readonly #place: UpdatePlace;
  readonly #opened = new Map<string, Promise<Pick<StepGraph, 'fetch' | 'keep'>>>();
  #hasAccumulators = false;
  #step = 0;

  constructor(
    description: StepDescription,
    { graphs, place }: { readonly graphs: StepGraphs; readonly place: UpdatePlace },
    session: Session,
  ) {
    this.device = session.device;
    this.parameters = graphs.trained;
    this.memory = graphs.memory(place);
    this.#place = place;
    this.#description = description;
    this.#graphs = graphs;
    this.#session = session;
  }

  get step(): number {
    return this.#step;
  }

  async run(batches: TensorsByName | readonly TensorsByName[], rate: number): Promise<StepResult> {
    const list = isList(batches) ? batches : [batches];
    for (const batch of list) this.#check(batch);
    const number = this.#step + 1;
    const result = list.length === 1 ? await this.#single(list[0]!, rate) : await this.#accumulated(list, rate);
    this.#step = number;
    return { step: number, ...result };
  }

  async #single(batch: TensorsByName, rate: number): Promise<Omit<StepResult, 'step'>> {
    const isHost = this.#place === 'host';
    if (isHost) await this.#makeAccumulators();
    const { values, kept } = isHost
      ? await this.#use('gradient', batch, { update: this.#hostUpdate(rate) })
      : await this.#use('step', { ...batch, ...this.#stepFeeds(rate) });
    const numbers = numbersOf(values);
    if (!kept) throw await this.#notFinite(batch, numbers);
    return reportOf(numbers);
  }

  async #accumulated(list: readonly TensorsByName[], rate: number): Promise<Omit<StepResult, 'step'>> {
    await this.#makeAccumulators();
    await this.#session.clear(this.#accumulators());
    const share = tensor('float32', [], Float32Array.of(1 / list.length));
    const total: Record<string, number> = {};
    for (const [i, batch] of list.entries()) {
      const isLast = i === list.length - 1 && this.#place === 'host';
      const { values, kept } = await this.#use(
        'accumulate',
        { ...batch, [shareInput]: share },
        isLast ? { update: this.#hostUpdate(rate) } : {},
      );
      const { [normOutput]: norm, ...numbers } = numbersOf(values);
      if (!kept) throw await this.#notFinite(batch, numbersOf(values));
      for (const [name, value] of Object.entries(numbers)) total[name] = (total[name] ?? 0) + value / list.length;
      if (norm !== undefined) total[normOutput] = norm;
    }
    if (this.#place === 'host') return reportOf(total);
    const { values, kept } = await this.#use('apply', this.#stepFeeds(rate));
    const numbers = { ...total, ...numbersOf(values) };
    if (!kept) throw await this.#notFinite(list[0]!, numbers);
    return reportOf(numbers);
  }

  #stepFeeds(rate: number): TensorsByName {
    return stepFeeds(this.#description.optimiser, this.#step + 1, rate);
  }

  #hostUpdate(rate: number): StateUpdate {
    const { optimiser } = this.#description;
    const moments = momentsOf(optimiser);
    const tensors = this.#graphs.slabs.map(({ name, decay, scale }) => ({
      decay,
      scale,
      weights: name,
      gradient: momentName('a', name),
      ...Object.fromEntries(moments.map((moment) => [moment, momentName(moment, name)])),
    }));
    return { ...optimiser, rate, step: this.#step + 1, tensors };
  }

  async gradients(batch: TensorsByName): Promise<Weights> {
    this.#check(batch);
    await this.#makeAccumulators();
    await this.#use('gradient', batch, { fetch: [] });
    const values = await this.#session.read(this.#accumulators());
    return this.#unpacked((slab) => values[momentName('a', slab)]!);
  }

  async evaluate(
    name: string,
    feeds: TensorsByName,
    weights: 'current' | 'average' = 'current',
  ): Promise<Record<string, Tensor<'float32'>>> {
    const make = (): StepGraph => this.#graphs.evaluation(name, weights);
    return (await this.#use(`${name} ${weights}`, feeds, { make })).values;
  }

  async state(): Promise<TrainingState> {
    const moments = momentsOf(this.#description.optimiser);
    const { slabs, frozen } = this.#graphs;
    const names = slabs.flatMap(({ name }) => [name, ...moments.map((moment) => momentName(moment, name))]);
    const values = await this.#session.read([...names, ...frozen.map(({ name }) => name)]);
    const weights = new Map(this.#unpacked((slab) => values[slab]!));
    for (const { name } of frozen) weights.set(name, values[name]!);
    const byMoment = moments.map((moment) => [moment, this.#unpacked((slab) => values[momentName(moment, slab)]!)]);
    return { step: this.#step, weights, moments: Object.fromEntries(byMoment) as TrainingState['moments'] };
  }

  async load({ step, weights, moments }: TrainingState): Promise<void> {
    const { slabs, frozen } = this.#graphs;
    const values: Record<string, Tensor<'float32'>> = {};
    const write = (name: string, shape: readonly number[], data: Float32Array<ArrayBuffer>): void => {
      values[name] = { dtype: 'float32', shape, data };
    };
    for (const parameter of frozen) write(parameter.name, parameter.shape, valueOf(weights, parameter).data.slice());
    for (const slab of slabs) {
      write(slab.name, slab.shape, packed(slab, weights));
      for (const moment of momentsOf(this.#description.optimiser)) {
        write(momentName(moment, slab.name), slab.shape, packed(slab, moments[moment] ?? new Map()));
      }
    }
    await this.#session.write(values);
    this.#step = step;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }

  /** Runs a graph, which is built and opened when it is first used. */
  async #use(
    name: string,
    feeds: TensorsByName,
    options: {
      readonly make?: () => StepGraph;
      readonly fetch?: readonly string[];
      readonly update?: StateUpdate;
    } = {},
  ): ReturnType<Session['run']> {
    const make = options.make ?? ((): StepGraph => this.#graphs.graph(name as GraphKind)); // evaluations bring their own
    const opening = this.#opened.get(name) ?? this.#open(name, make());
    this.#opened.set(name, opening);
    const { fetch, keep } = await opening;
    const { update } = options;
    return await this.#session.run({
      graph: name,
      feeds,
      fetch: options.fetch ?? fetch,
      keep,
      ...(update && { update }),
    });
  }

  async #open(name: string, { graph, fetch, keep }: StepGraph): Promise<Pick<StepGraph, 'fetch' | 'keep'>> {
    const inline = (parameter: string): never => {
      throw new EgolensError('internal.bug', `${graph.name}: \`${parameter}\` is no input`);
    };
    const plan = { slots: [], inline: [], totalBytes: 0 };
    await this.#session.open(name, onnxBytes(graph, { weightsFile: '', plan, inline }));
    return { fetch, keep };
  }

  #accumulators(): string[] {
    return this.#graphs.slabs.map(({ name }) => momentName('a', name));
  }

  async #makeAccumulators(): Promise<void> {
    if (this.#hasAccumulators) return;
    const values = this.#graphs.slabs.map(({ name, shape }) => {
      return [momentName('a', name), tensor('float32', shape, new Float32Array(sizeOf(shape)))] as const;
    });
    await this.#session.write(Object.fromEntries(values));
    this.#hasAccumulators = true;
  }

  #unpacked(stateOf: (slab: string) => Tensor<'float32'>): Map<string, Tensor<'float32'>> {
    const found = new Map<string, Tensor<'float32'>>();
    for (const slab of this.#graphs.slabs) {
      const { data } = stateOf(slab.name);
      for (const { name, shape, offset } of slab.members) {
        found.set(name, tensor('float32', shape, data.slice(offset, offset + sizeOf(shape))));
      }
    }
    // In the order of the model, whatever the packing.
    return new Map(this.parameters.map(({ name }) => [name, found.get(name)!]));
  }

  #check(batch: TensorsByName): void {
    for (const { name, dtype, shape } of this.#graphs.inputs) {
      const value = batch[name];
      const found = value ? `${value.dtype} ${shapeText(value.shape)}` : 'nothing';
      const fits = value?.dtype === dtype && value.shape.length === shape.length;
      if (!fits || shape.some((dim, i) => typeof dim === 'number' && dim !== value.shape[i])) {
        throw new EgolensError(
          value && value.dtype !== dtype ? 'data.dtype' : 'data.shape',
          `batch, input \`${name}\`: expected ${dtype} ${shapeText(shape)}, found ${found}`,
        );
      }
    }
  }

  async #notFinite(batch: TensorsByName, numbers: Readonly<Record<string, number>>): Promise<EgolensError> {
    const found = Object.entries(numbers).filter(([, value]) => !Number.isFinite(value));
    const what = found.map(([name, value]) => `${name.replace('_', ' ')} is ${value}`).join(', ');
    const gradients = await this.gradients(batch);
    let first = 'all gradients are finite';
    for (const [name, { data, shape }] of gradients) {
      const index = data.findIndex((value) => !Number.isFinite(value));
      if (index < 0) continue;
      first = `the first gradient that is not finite is that of \`${name}\` ${shapeText(shape)}: element ${index} is ${data[index]!}`;
      break;
    }
    return new EgolensError('data.not_finite', `step ${this.#step + 1}: ${what}, expected finite numbers; ${first}`, {
      try: 'a lower learning rate, or clipping; and look at what this batch holds',
    });
  }
}

function isList(batches: TensorsByName | readonly TensorsByName[]): batches is readonly TensorsByName[] {
  return Array.isArray(batches);
}

function numbersOf(values: Readonly<Record<string, Tensor<'float32'>>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, { data }]) => [name, data[0]!]));
}

function reportOf(numbers: Readonly<Record<string, number>>): Omit<StepResult, 'step'> {
  const { [lossOutput]: loss = NaN, [normOutput]: gradientNorm = NaN, ...parts } = numbers;
  const named = Object.entries(parts).map(([name, value]) => [name.replace(/^loss\./, ''), value] as const);
  return { loss, gradientNorm, parts: Object.fromEntries(named) };
}
