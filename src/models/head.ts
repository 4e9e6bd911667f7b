/**
 * The contract of heads: what turns features into predictions of a task. The heads themselves lie in `heads/`; pipelines get them as
 * values from the command.
 */
import { GraphBuilder, type Graph, type Param } from '../graph/builder.js';
import type { Value } from '../graph/ops.js';
import type { JsonValue } from '../json.js';
import type { Random } from '../random.js';
import { sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, FeatureClock, ScoredTask, Seconds, StateDict, Tensor } from '../types.js';
import type { PortInfo } from './folder.js';
import type { Forecast } from './forecasts.js';
import type { KeyShapes } from './spec.js';

/** A task that a head serves (files.md 7). */
export type HeadTask = Exclude<ScoredTask, 'vq2d' | 'tal' | 'retrieval'>;

/** A family of heads: what `models import --arch` takes beside those of encoders. */
export interface HeadFamily {
  readonly name: string;
  readonly task: HeadTask;
  readonly summary: string;
  /** Where its checkpoints keep the weights that count, when that is not the usual place. */
  readonly weightsKeys?: readonly string[];
  /** Keys of the official checkpoint, or third-party spellings of them -> the graph's parameters; others come back as they are. */
  official(tensors: StateDict): StateDict;
  /** What configuration the official keys and shapes of a checkpoint imply. */
  infer(keys: KeyShapes): Readonly<Record<string, JsonValue>>;
  /** The head for a configuration. Throws `model.config` naming the member, what was found and what was expected. */
  spec(config: Readonly<Record<string, unknown>>): Head;
}

/** The classes of one kind of label that a head tells apart. */
export interface ClassKind {
  /** `verb`, `noun`; `label` where there is one kind only. */
  readonly kind: string;
  readonly count: number;
}

/** One head, fully configured. Pure: no file, clock or global randomness. */
export interface Head {
  readonly family: string;
  readonly task: HeadTask;
  /** Complete configuration; goes into model.json. */
  readonly config: Readonly<Record<string, JsonValue>>;
  /** Width of a feature row, for each stream of features in the order of the head's inputs. */
  readonly widths: readonly number[];
  /** Sizes that are free are symbols: `batch`, `rows`. */
  readonly inputs: Readonly<Record<string, PortInfo>>;
  readonly outputs: Readonly<Record<string, PortInfo>>;
  /** Class lists of the head, in the order of its outputs; none for tasks without classes. */
  readonly kinds: readonly ClassKind[];
  /** Rule and version that `decode` follows: raised when it gives other predictions than before. */
  readonly postprocess: string;
  /** Values of the declared inputs -> those of the declared outputs. Parameters have the keys of the checkpoint. */
  forward(g: GraphBuilder, inputs: Readonly<Record<string, Value>>): Readonly<Record<string, Value>>;
  /** What training makes small, over the outputs; it declares the targets as inputs of the graph. Absent: not trained here. */
  loss?(g: GraphBuilder, outputs: Readonly<Record<string, Value>>): HeadLoss;
  /** `mean`: it sees nothing of the rows of an item but their mean, which may as well be taken before. */
  readonly pooling?: 'mean';
  /** Values of the parameters that hold statistics of the training features: mean and variance of each column. */
  statistics?(
    mean: Float32Array<ArrayBuffer>,
    variance: Float32Array<ArrayBuffer>,
  ): Readonly<Record<string, Float32Array<ArrayBuffer>>>;
  /** Parameters that training leaves alone, as statistics of the features are. */
  isFrozen?(parameter: string): boolean;
  /** Values before training. Absent: `initialValues`. */
  initial?(parameter: Pick<Param, 'name' | 'shape'>, random: Random): Float32Array<ArrayBuffer>;
  /** Why this tensor of a checkpoint has no place in the graph; undefined when it should have one. */
  leftover(key: string): string | undefined;
  /** Seeded inputs for the stored probe. */
  probe(random: Random): Readonly<Record<string, AnyTensor>>;
  /** Outputs of a run -> predictions, a list for each item of the batch. */
  decode(
    outputs: Readonly<Record<string, Tensor<'float32'>>>,
    context: DecodeContext,
  ): readonly (readonly HeadPrediction[])[];
}

export interface HeadLoss {
  /** [] */
  readonly loss: Value;
  /** Further scalars to be reported. */
  readonly parts: Readonly<Record<string, Value>>;
}

/** What `decode` needs beside the outputs. */
export interface DecodeContext {
  /** Class names by kind, as many as classes. */
  readonly labels: Readonly<Record<string, readonly string[]>>;
  /** Thresholds and the like: those of the head folder, with what the user changed. */
  readonly options: Readonly<Record<string, JsonValue>>;
  /** Of the features; null where nothing tells it. */
  readonly clock: FeatureClock | null;
  /** Seconds of each item, which predictions are cut to; absent: to the end of its last row. */
  readonly durations?: readonly Seconds[];
}

/** A class of an item, by falling score. */
export interface ClassPrediction {
  readonly task: 'recognition';
  readonly kind: string;
  readonly label: string;
  readonly labelId: number;
  readonly score: number;
  readonly logit: number;
}

/** An answer to a question: a span of the clip in seconds, by falling score. */
export interface SpanAnswer {
  readonly task: 'nlq';
  readonly start: Seconds;
  readonly end: Seconds;
  readonly score: number;
}

/** A moment of a class in seconds of its item, by falling score. */
export interface MomentPrediction {
  readonly task: 'mq';
  readonly start: Seconds;
  readonly end: Seconds;
  readonly label: string;
  readonly labelId: number;
  readonly score: number;
}

/** What heads predict; a new task is one more arm. */
export type HeadPrediction = ClassPrediction | Forecast | SpanAnswer | MomentPrediction;

/** The inference graph of a head: parameters are stored beside it. */
export function headGraph(head: Head): Graph {
  const g = new GraphBuilder(head.family);
  for (const [name, value] of Object.entries(head.forward(g, headInputs(g, head)))) g.output(name, value);
  return g.finish();
}

/** The declared inputs as values of a graph, for `forward`. */
export function headInputs(g: GraphBuilder, { inputs }: Head): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { dtype, shape }]) => [name, g.input(name, dtype, shape)]),
  );
}

/** Values of all parameters before training, from the seeded generator. */
export function initialWeights(head: Head, random: Random): Map<string, Tensor<'float32'>> {
  const make = head.initial?.bind(head) ?? initialValues;
  return new Map(
    headGraph(head).params.map(({ name, shape }) => [name, tensor('float32', shape, make({ name, shape }, random))]),
  );
}

/** Matrices are normal numbers of deviation 0.02, gains of norms 1, everything else 0. */
export function initialValues(
  { name, shape }: Pick<Param, 'name' | 'shape'>,
  random: Random,
): Float32Array<ArrayBuffer> {
  const size = sizeOf(shape);
  if (shape.length >= 2) return Float32Array.from({ length: size }, () => 0.02 * random.normal());
  return new Float32Array(size).fill(name.endsWith('.weight') ? 1 : 0);
}

/** Seeded normal numbers, for probes. */
export function noise(random: Random, shape: readonly number[]): Tensor<'float32'> {
  return tensor(
    'float32',
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
  );
}
