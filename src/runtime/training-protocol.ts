import type { AnyTensor, Tensor } from '../types.js';
import type { HostUpdate } from './host-update.js';
import type { ExecutionProvider } from './protocol.js';

/**
 * What the main thread and a training worker say to each other. The worker owns several graphs and the state that they share: named
 * float32 tensors which a run reads as inputs and replaces by its outputs. Requests are answered in the order in which they came.
 */
export interface TrainingStart {
  readonly provider: ExecutionProvider;
  /** Threads of one run; null: the runtime's own choice. */
  readonly threads: number | null;
  readonly verbose: boolean;
  /** Int32 cells, see `cell` of protocol.ts. */
  readonly control: SharedArrayBuffer;
}

export type TensorsByName = Readonly<Record<string, AnyTensor>>;
export type FloatsByName = Readonly<Record<string, Tensor<'float32'>>>;

/** One run of a graph. Inputs that are named neither in `feeds` come from the state. */
export interface TrainingRun {
  readonly graph: string;
  readonly feeds: TensorsByName;
  /** Outputs to be given back. */
  readonly fetch: readonly string[];
  /** Output -> the state tensor that it replaces, when every number given back is finite. */
  readonly keep: Readonly<Record<string, string>>;
  /** What the worker does after a good run, over state tensors. */
  readonly update?: StateUpdate;
}

/** An update out of gradients that lie in the state. */
export interface StateUpdate extends HostUpdate {
  /** The output, among those given back, that is the L2 norm of all gradients. */
  readonly norm: string;
  readonly tensors: readonly {
    readonly decay: number;
    readonly scale: number;
    /** Names of state tensors. */
    readonly weights: string;
    readonly gradient: string;
    readonly m?: string;
    readonly v?: string;
    readonly ema?: string;
  }[];
}

export type TrainingRequest =
  | { readonly type: 'open'; readonly graph: string; readonly bytes: Uint8Array }
  /** Sets state tensors; new names are added. */
  | { readonly type: 'write'; readonly values: FloatsByName }
  | { readonly type: 'read'; readonly names: readonly string[] }
  /** Fills with zeros. */
  | { readonly type: 'clear'; readonly names: readonly string[] }
  /** State tensors of zeros; new names are added. */
  | { readonly type: 'zeros'; readonly shapes: Readonly<Record<string, readonly number[]>> }
  | ({ readonly type: 'run' } & TrainingRun);

export type ToTrainingWorker = { readonly id: number; readonly request: TrainingRequest } | { readonly type: 'stop' };

export type FromTrainingWorker = { readonly id: number } & (
  | { readonly outcome: 'done'; readonly values: FloatsByName; readonly kept: boolean }
  | { readonly outcome: 'failed'; readonly message: string }
);
