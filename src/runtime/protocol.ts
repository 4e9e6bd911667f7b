import type { OnnxValue } from '../graph/onnx.js';
import type { AnyTensor, Tensor } from '../types.js';

/**
 * What the main thread and a session's worker say to each other. The worker answers runs in the order in which they were posted.
 */

/** What onnxruntime-node is given as execution provider. */
export type ExecutionProvider =
  'cpu' | { readonly name: 'cuda'; readonly deviceId: number } | { readonly name: 'webgpu' };

/** A graph file, opened by path (its external data lie beside it). */
export interface GraphProgram {
  readonly kind: 'graph';
  readonly path: string;
  readonly provider: ExecutionProvider;
  /** Threads of one run; null: the runtime's own choice. */
  readonly threads: number | null;
  /** Let the library's warnings reach standard error. */
  readonly verbose: boolean;
  /** Run once on zeros before reporting: some devices fail only then (performance.md 7.5). */
  readonly warmUp: boolean;
}

/** A device that computes nothing and uses no CPU: blocks its thread, then gives zeros. */
export interface SleepProgram {
  readonly kind: 'sleep';
  readonly milliseconds: number;
  readonly inputs: readonly OnnxValue[];
  /** Symbolic sizes take the value that a feed gives them, else 1. */
  readonly outputs: readonly OnnxValue[];
}

export type Program = GraphProgram | SleepProgram;

export interface WorkerStart {
  readonly program: Program;
  /** Int32 cells, see `cell`. */
  readonly control: SharedArrayBuffer;
}

/**
 * Cells shared by both threads. Before each call into the runtime the worker writes `state` busy, then reads `stop`; who wants an
 * end writes `stop`, then reads `state`. So one of the two always sees the other.
 */
export const cell = { stop: 0, state: 1, running: 2 } as const;
export const cellCount = 3;
/** `queued`: start no further run. `all`: start nothing in the runtime any more, not even a release: the process ends. */
export const stop = { no: 0, queued: 1, all: 2 } as const;
export const state = { idle: 0, busy: 1 } as const;

export type Feeds = Readonly<Record<string, AnyTensor>>;

export type ToWorker =
  | {
      readonly type: 'run';
      readonly id: number;
      readonly feeds: Feeds;
      readonly fetch: readonly string[];
      /** Look for NaN and infinities in the outputs. */
      readonly finite: boolean;
      /** Send the feeds' buffers back with the answer. */
      readonly giveBack: boolean;
      /** Id of feeds that are held, which the run takes beside its own; 0: none. */
      readonly held: number;
    }
  /** Feeds that stay, under an id above 0, until they are dropped. */
  | { readonly type: 'hold'; readonly id: number; readonly feeds: Feeds }
  | { readonly type: 'drop'; readonly id: number }
  | { readonly type: 'stop' };

export interface Opened {
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

/** The first value of an output that is no number. */
export interface NotFinite {
  readonly output: string;
  readonly index: number;
  readonly value: number;
  readonly shape: readonly number[];
}

export type RunAnswer = { readonly type: 'ran'; readonly id: number; readonly buffers: readonly ArrayBuffer[] } & (
  | { readonly outcome: 'done'; readonly outputs: Readonly<Record<string, Tensor<'float32'>>> }
  | { readonly outcome: 'not-finite'; readonly fault: NotFinite }
  | { readonly outcome: 'failed'; readonly message: string }
  | { readonly outcome: 'skipped' }
);

export type FromWorker =
  ({ readonly type: 'opened' } & Opened) | { readonly type: 'open-failed'; readonly message: string } | RunAnswer;
