import { Worker } from 'node:worker_threads';
import { EgolensError } from '../errors.js';
import { unwatchExit, watchExit } from './link.js';
import { programUrl } from './program.js';
import { cell, cellCount, stop } from './protocol.js';
import { executionProvider, type Choice } from './provider-types.js';
import { chooseProvider } from './providers.js';
import { defaultThreads } from './threads.js';
import type {
  FloatsByName,
  FromTrainingWorker,
  ToTrainingWorker,
  TrainingRequest,
  TrainingRun,
  TrainingStart,
} from './training-protocol.js';

export type { FloatsByName, StateUpdate, TensorsByName, TrainingRun } from './training-protocol.js';

/** Graphs over one state, in a worker thread of their own: the state never leaves it but when it is read. Dispose it. */
export interface TrainingSession extends AsyncDisposable {
  /** As `--device` spells it: `cpu`, `cuda:0`. */
  readonly device: string;
  /** Adds a graph (ONNX bytes) under a name. Rejects with `device.failed`. */
  open(graph: string, bytes: Uint8Array): Promise<void>;
  /** Sets state tensors; names that are new are added. Their buffers are detached here. */
  write(values: FloatsByName): Promise<void>;
  /** Copies of state tensors. */
  read(names: readonly string[]): Promise<FloatsByName>;
  /** Sets state tensors to zeros of these shapes; names that are new are added. */
  zeros(shapes: Readonly<Record<string, readonly number[]>>): Promise<void>;
  /** Fills state tensors with zeros. */
  clear(names: readonly string[]): Promise<void>;
  /**
   * Runs a graph: its inputs come from `feeds`, which are copied, else from the state. `kept` is false when an output given back holds NaN
   * or an infinity: the state is then as it was before.
   */
  run(request: TrainingRun): Promise<{ readonly values: FloatsByName; readonly kept: boolean }>;
}

export interface TrainingSessionOptions {
  readonly device: string | Choice;
  /** Threads of one run; where absent the container's quota, else the runtime's choice. */
  readonly threads?: number;
  readonly verbose?: boolean;
  readonly signal?: AbortSignal;
}

/** Starts a training worker. Rejects with `device.unavailable`. */
export async function openTrainingSession(options: TrainingSessionOptions): Promise<TrainingSession> {
  const { device, threads, verbose = false, signal } = options;
  signal?.throwIfAborted();
  const choice = typeof device === 'string' ? await chooseProvider(device, signal) : device;
  const control = new SharedArrayBuffer(cellCount * Int32Array.BYTES_PER_ELEMENT);
  const link = new TrainingLink(choice.device, {
    provider: executionProvider(choice),
    threads: threads ?? defaultThreads(),
    verbose,
    control,
  });
  return {
    device: choice.device,
    async open(graph, bytes) {
      await link.ask({ type: 'open', graph, bytes });
    },
    async write(values) {
      await link.ask({ type: 'write', values }, buffersOf(values));
    },
    read: async (names) => (await link.ask({ type: 'read', names })).values,
    async zeros(shapes) {
      await link.ask({ type: 'zeros', shapes });
    },
    async clear(names) {
      await link.ask({ type: 'clear', names });
    },
    run: (request) => link.ask({ type: 'run', ...request }),
    [Symbol.asyncDispose]: () => link.close(),
  };
}

type Done = Extract<FromTrainingWorker, { outcome: 'done' }>;

class TrainingLink {
  readonly #label: string;
  readonly #worker: Worker;
  readonly #cells: Int32Array;
  readonly #pending = new Map<number, { resolve: (answer: Done) => void; reject: (reason: unknown) => void }>();
  readonly #ended: Promise<void>;
  #count = 0;
  #closed: EgolensError | undefined;

  constructor(label: string, start: TrainingStart) {
    this.#label = label;
    this.#cells = new Int32Array(start.control);
    this.#worker = new Worker(programUrl('training-worker'), {
      workerData: start,
      execArgv: [],
      name: 'egolens training',
    });
    watchExit(this.#cells);
    this.#worker.on('message', (answer: FromTrainingWorker) => {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if (answer.outcome === 'done') pending?.resolve(answer);
      else pending?.reject(this.#closed ?? this.#failed(answer.message));
    });
    this.#worker.on('error', (cause) => {
      this.#fail(this.#failed(`the training thread failed: ${cause.message}`, cause));
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        unwatchExit(this.#cells);
        this.#fail(this.#failed(`the training thread ended unexpectedly (status ${code})`));
        resolve();
      });
    });
  }

  async ask(request: TrainingRequest, transfer: readonly ArrayBuffer[] = []): Promise<Done> {
    if (this.#closed) throw this.#closed;
    const id = ++this.#count;
    return await new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, request } satisfies ToTrainingWorker, transfer);
    });
  }

  /** Requests that have not begun are refused; the one in flight is finished. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = new EgolensError('run.interrupted', `${this.#label}: the training session was closed`);
      Atomics.store(this.#cells, cell.stop, stop.queued);
      this.#worker.postMessage({ type: 'stop' } satisfies ToTrainingWorker);
    }
    await this.#ended;
  }

  #fail(reason: EgolensError): void {
    this.#closed ??= reason;
    for (const { reject } of this.#pending.values()) reject(this.#closed);
    this.#pending.clear();
  }

  #failed(message: string, cause: unknown = new Error(message)): EgolensError {
    return new EgolensError('device.failed', `${this.#label}: ${message}`, { cause, try: '`egolens doctor`' });
  }
}

function buffersOf(values: FloatsByName): ArrayBuffer[] {
  return [...new Set(Object.values(values).map(({ data }) => data.buffer))];
}
