import { assert, EgolensError } from '../errors.js';
import { onnxBytes } from '../graph/onnx.js';
import type { openTrainingSession, StateUpdate, TensorsByName } from '../runtime/training-session.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { bucketOf, checkBatch, numbersByStep, numbersOf, stackedBatches } from './batches.js';
import {
  lossOutput,
  normOutput,
  packed,
  shareInput,
  valueOf,
  type GraphKind,
  type StepDescription,
  type StepGraph,
  type StepGraphs,
  type UpdatePlace,
} from './graphs.js';
import type { Parameter } from './groups.js';
import type { MemoryPlan } from './memory.js';
import { momentName, momentsOf, stepFeeds, type Moment } from './optimiser.js';
import type { StepResult, Training, TrainingState, Weights } from './step.js';

type Session = Awaited<ReturnType<typeof openTrainingSession>>;

/** A training over the graphs of a step, see `Training`; `begin` or `load` comes before anything else. */
export class OpenTraining implements Training {
  readonly device: string;
  readonly parameters: readonly Parameter[];
  readonly memory: MemoryPlan;
  readonly stepsPerRun: number;
  readonly #description: StepDescription;
  /** One of each bucket; their state is the same. */
  readonly #graphs: readonly [StepGraphs, ...StepGraphs[]];
  readonly #session: Session;
  readonly #place: UpdatePlace;
  readonly #opened = new Map<string, Promise<Pick<StepGraph, 'fetch' | 'keep'>>>();
  #hasAccumulators = false;
  #step = 0;

  constructor(
    description: StepDescription,
    {
      graphs,
      place,
      stepsPerRun,
    }: {
      readonly graphs: readonly [StepGraphs, ...StepGraphs[]];
      readonly place: UpdatePlace;
      readonly stepsPerRun: number;
    },
    session: Session,
  ) {
    this.device = session.device;
    this.stepsPerRun = stepsPerRun;
    this.parameters = graphs[0].trained;
    this.memory = graphs.map((one) => one.memory(place)).reduce((a, b) => (b.total > a.total ? b : a));
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
    const bucket = this.#check(list);
    const number = this.#step + 1;
    const result =
      list.length === 1 ? await this.#single(list[0]!, bucket, rate) : await this.#accumulated(list, bucket, rate);
    this.#step = number;
    return { step: number, ...result };
  }

  async runMany(batches: readonly TensorsByName[], rates: readonly number[]): Promise<StepResult[]> {
    assert(batches.length === rates.length, `${batches.length} batches and ${rates.length} learning rates`);
    const isOne = batches.length === this.stepsPerRun && batches.length > 1;
    const buckets = new Set(batches.map((batch) => bucketOf(this.#graphs, batch)));
    if (!isOne || buckets.size > 1) {
      const results: StepResult[] = [];
      for (const [i, batch] of batches.entries()) results.push(await this.run(batch, rates[i]!));
      return results;
    }
    const bucket = this.#check(batches);
    const feeds = batches.map((batch, i) => ({ ...batch, ...this.#stepFeeds(rates[i]!, i) }));
    const make = (): StepGraph => this.#graphs[bucket]!.rounds(batches.length);
    const { values, kept } = await this.#use(`rounds ${bucket}`, stackedBatches(feeds), { make });
    const numbers = numbersByStep(values, batches.length);
    if (!kept) throw this.#notFiniteAmong(numbers);
    const first = this.#step + 1;
    this.#step += batches.length;
    return numbers.map((one, i) => ({ step: first + i, ...reportOf(one) }));
  }

  #notFiniteAmong(numbers: readonly Readonly<Record<string, number>>[]): EgolensError {
    const at = numbers.findIndex((one) => notFiniteIn(one) !== '');
    const failed = numbers[at]!; // the run has not kept its results for one of these numbers
    return new EgolensError(
      'data.not_finite',
      `step ${this.#step + 1 + at}: ${notFiniteIn(failed)}, expected finite numbers; the state is that of step ${this.#step}, before the ${numbers.length} steps of this run`,
      { try: 'a lower learning rate, or clipping; one step in a run tells which gradient it is' },
    );
  }

  async #single(batch: TensorsByName, bucket: number, rate: number): Promise<Omit<StepResult, 'step'>> {
    const isHost = this.#place === 'host';
    if (isHost) await this.#makeAccumulators();
    const { values, kept } = isHost
      ? await this.#use(`gradient ${bucket}`, batch, {
          make: this.#maker('gradient', bucket),
          update: this.#hostUpdate(rate),
        })
      : await this.#use(
          `step ${bucket}`,
          { ...batch, ...this.#stepFeeds(rate) },
          { make: this.#maker('step', bucket) },
        );
    const numbers = numbersOf(values);
    if (!kept) throw await this.#notFinite(batch, numbers);
    return reportOf(numbers);
  }

  #maker(kind: GraphKind, bucket: number): () => StepGraph {
    return () => this.#graphs[bucket]!.graph(kind); // `#check` has found the bucket
  }

  async #accumulated(list: readonly TensorsByName[], bucket: number, rate: number): Promise<Omit<StepResult, 'step'>> {
    await this.#makeAccumulators();
    await this.#session.clear(this.#accumulators());
    const share = tensor('float32', [], Float32Array.of(1 / list.length));
    const total: Record<string, number> = {};
    for (const [i, batch] of list.entries()) {
      const isLast = i === list.length - 1 && this.#place === 'host';
      const { values, kept } = await this.#use(
        `accumulate ${bucket}`,
        { ...batch, [shareInput]: share },
        { make: this.#maker('accumulate', bucket), ...(isLast && { update: this.#hostUpdate(rate) }) },
      );
      const { [normOutput]: norm, ...numbers } = numbersOf(values);
      if (!kept) throw await this.#notFinite(batch, numbersOf(values));
      for (const [name, value] of Object.entries(numbers)) total[name] = (total[name] ?? 0) + value / list.length;
      if (norm !== undefined) total[normOutput] = norm;
    }
    if (this.#place === 'host') return reportOf(total);
    const { values, kept } = await this.#use('apply', this.#stepFeeds(rate), { make: this.#maker('apply', 0) });
    const numbers = { ...total, ...numbersOf(values) };
    if (!kept) throw await this.#notFinite(list[0]!, numbers);
    return reportOf(numbers);
  }

  /** @param after updates between the last one and this one */
  #stepFeeds(rate: number, after = 0): TensorsByName {
    return stepFeeds(this.#description.optimiser, this.#step + 1 + after, rate);
  }

  #hostUpdate(rate: number): StateUpdate {
    const { optimiser } = this.#description;
    const moments = momentsOf(optimiser);
    const tensors = this.#graphs[0].slabs.map(({ name, decay, scale }) => ({
      decay,
      scale,
      weights: name,
      gradient: momentName('a', name),
      ...Object.fromEntries(moments.map((moment) => [moment, momentName(moment, name)])),
    }));
    return { ...optimiser, rate, step: this.#step + 1, norm: normOutput, tensors };
  }

  async gradients(batch: TensorsByName): Promise<Weights> {
    const bucket = this.#check([batch]);
    await this.#makeAccumulators();
    await this.#use(`gradient ${bucket}`, batch, { make: this.#maker('gradient', bucket), fetch: [] });
    const values = await this.#session.read(this.#accumulators());
    return this.#unpacked((slab) => values[momentName('a', slab)]!);
  }

  async evaluate(
    name: string,
    feeds: TensorsByName,
    weights: 'current' | 'average' = 'current',
  ): Promise<Record<string, Tensor<'float32'>>> {
    const make = (): StepGraph => this.#graphs[0].evaluation(name, weights);
    return (await this.#use(`${name} ${weights}`, feeds, { make })).values;
  }

  async state(): Promise<TrainingState> {
    const moments = momentsOf(this.#description.optimiser);
    const { slabs, frozen } = this.#graphs[0];
    const names = slabs.flatMap(({ name }) => [name, ...moments.map((moment) => momentName(moment, name))]);
    const values = await this.#session.read([...names, ...frozen.map(({ name }) => name)]);
    const weights = new Map(this.#unpacked((slab) => values[slab]!));
    for (const { name } of frozen) weights.set(name, values[name]!);
    const byMoment = moments.map((moment) => [moment, this.#unpacked((slab) => values[momentName(moment, slab)]!)]);
    return { step: this.#step, weights, moments: Object.fromEntries(byMoment) as TrainingState['moments'] };
  }

  /** The state before the first step: moments of zeros, the average equal to the weights. */
  async begin(weights: Weights): Promise<void> {
    for (const moment of momentsOf(this.#description.optimiser)) {
      if (moment === 'ema') await this.#write(weights, moment);
      else await this.#session.zeros(this.#shapes(moment));
    }
    await this.#write(weights);
    await this.#writeFrozen(weights);
  }

  async load({ step, weights, moments }: TrainingState): Promise<void> {
    const { slabs, frozen } = this.#graphs[0];
    const asked = momentsOf(this.#description.optimiser);
    // All of it is looked at before any of it is written.
    for (const parameter of frozen) valueOf(weights, parameter);
    for (const member of slabs.flatMap(({ members }) => members)) {
      valueOf(weights, member);
      for (const moment of asked) valueOf(moments[moment] ?? new Map<string, Tensor<'float32'>>(), member);
    }
    for (const moment of asked) await this.#write(moments[moment] ?? new Map(), moment);
    await this.#write(weights);
    await this.#writeFrozen(weights);
    this.#step = step;
  }

  /** Weights, or a moment of them. One tensor at a time: its copy on the way is the only one. */
  async #write(values: Weights, moment?: Moment): Promise<void> {
    for (const slab of this.#graphs[0].slabs) {
      const name = moment === undefined ? slab.name : momentName(moment, slab.name);
      await this.#session.write({ [name]: { dtype: 'float32', shape: slab.shape, data: packed(slab, values) } });
    }
  }

  async #writeFrozen(weights: Weights): Promise<void> {
    for (const { name, shape } of this.#graphs[0].frozen) {
      const data = valueOf(weights, { name, shape }).data.slice();
      await this.#session.write({ [name]: { dtype: 'float32', shape, data } });
    }
  }

  /** Shapes of the state tensors of a moment. */
  #shapes(moment: Moment | 'a'): Record<string, readonly number[]> {
    return Object.fromEntries(this.#graphs[0].slabs.map(({ name, shape }) => [momentName(moment, name), shape]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }

  /** Runs a graph, which is built and opened when it is first used. */
  async #use(
    name: string,
    feeds: TensorsByName,
    options: {
      readonly make: () => StepGraph;
      readonly fetch?: readonly string[];
      readonly update?: StateUpdate;
    },
  ): ReturnType<Session['run']> {
    const opening = this.#opened.get(name) ?? this.#open(name, options.make());
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
    return this.#graphs[0].slabs.map(({ name }) => momentName('a', name));
  }

  async #makeAccumulators(): Promise<void> {
    if (this.#hasAccumulators) return;
    await this.#session.zeros(this.#shapes('a'));
    this.#hasAccumulators = true;
  }

  #unpacked(stateOf: (slab: string) => Tensor<'float32'>): Map<string, Tensor<'float32'>> {
    const found = new Map<string, Tensor<'float32'>>();
    for (const slab of this.#graphs[0].slabs) {
      const { data } = stateOf(slab.name);
      for (const { name, shape, offset } of slab.members) {
        found.set(name, tensor('float32', shape, data.slice(offset, offset + sizeOf(shape))));
      }
    }
    // In the order of the model, whatever the packing.
    return new Map(this.parameters.map(({ name }) => [name, found.get(name)!]));
  }

  /** The bucket of batches of one update, or of one run. */
  #check(batches: readonly TensorsByName[]): number {
    const bucket = bucketOf(this.#graphs, batches[0]!); // an update has a batch
    for (const batch of batches) checkBatch(this.#graphs[bucket]!, batch);
    return bucket;
  }

  async #notFinite(batch: TensorsByName, numbers: Readonly<Record<string, number>>): Promise<EgolensError> {
    const what = notFiniteIn(numbers);
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

/** `loss is NaN, gradient norm is Infinity`; nothing where all are finite. */
function notFiniteIn(numbers: Readonly<Record<string, number>>): string {
  const found = Object.entries(numbers).filter(([, value]) => !Number.isFinite(value));
  return found.map(([name, value]) => `${name.replace('_', ' ')} is ${value}`).join(', ');
}

function reportOf(numbers: Readonly<Record<string, number>>): Omit<StepResult, 'step'> {
  const { [lossOutput]: loss = NaN, [normOutput]: gradientNorm = NaN, ...parts } = numbers;
  const named = Object.entries(parts).map(([name, value]) => [name.replace(/^loss\./, ''), value] as const);
  return { loss, gradientNorm, parts: Object.fromEntries(named) };
}
