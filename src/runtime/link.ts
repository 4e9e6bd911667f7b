import { Worker } from 'node:worker_threads';
import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { AnyTensor, Tensor } from '../types.js';
import { programUrl } from './program.js';
import {
  cell,
  cellCount,
  state,
  stop,
  type Feeds,
  type FromWorker,
  type Opened,
  type Program,
  type RunAnswer,
  type ToWorker,
  type WorkerStart,
} from './protocol.js';

export type Outputs = Record<string, Tensor<'float32'>>;

/** Where the buffers of feeds go when a run is over; BufferPool is one. */
export interface BufferTaker {
  give(buffer: ArrayBuffer): void;
}

export interface LinkRun {
  readonly fetch: readonly string[];
  readonly finite: boolean;
  /** Hand the feeds' buffers over instead of copying them; `pool` gets them back. */
  readonly transfer: boolean;
  readonly pool: BufferTaker | undefined;
  /** What `hold` gave; 0: nothing. */
  readonly held: number;
}

interface Pending {
  readonly resolve: (outputs: Outputs) => void;
  readonly reject: (reason: unknown) => void;
  readonly pool: BufferTaker | undefined;
  /** Sizes of the buffers that are to come back. */
  readonly lent: readonly number[];
}

/**
 * The main thread's end of one session worker. All runs are posted at once, so that the worker starts the next one without waiting
 * for this thread; an end is asked for through shared cells, which the worker reads before each run.
 */
export class WorkerLink {
  readonly #label: string;
  readonly #worker: Worker;
  readonly #cells: Int32Array;
  readonly #pending = new Map<number, Pending>();
  readonly #ended: Promise<void>;
  #opening: { readonly resolve: (opened: Opened) => void; readonly reject: (reason: unknown) => void } | undefined;
  #count = 0;
  #holds = 0;
  #closed: { readonly reason: unknown } | undefined;

  /** `label` stands at the head of messages: `cpu`, `cuda:0`. */
  constructor(program: Program, label: string) {
    const control = new SharedArrayBuffer(cellCount * Int32Array.BYTES_PER_ELEMENT);
    this.#label = label;
    this.#cells = new Int32Array(control);
    const workerData: WorkerStart = { program, control };
    this.#worker = new Worker(programUrl('worker'), { workerData, execArgv: [], name: 'egolens session' });
    watchExit(this.#cells);
    this.#worker.on('message', (message: FromWorker) => {
      this.#receive(message);
    });
    this.#worker.on('error', (cause) => {
      this.#fail(this.#failed(`the session's thread failed: ${cause.message}`, cause));
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        unwatchExit(this.#cells);
        this.#fail(this.#closed?.reason ?? this.#failed(`the session's thread ended unexpectedly (status ${code})`));
        resolve();
      });
    });
  }

  /** Waits until the session is open. Rejects with `device.failed`, or with the reason of a close meanwhile. */
  async opened(): Promise<Opened> {
    try {
      return await new Promise((resolve, reject) => {
        this.#opening = { resolve, reject };
      });
    } catch (error) {
      await this.#ended;
      throw error;
    }
  }

  /** Posts a run. Rejects with `device.failed`, `data.not_finite`, or the reason of a close. */
  run(feeds: Feeds, { fetch, finite, transfer, pool, held }: LinkRun): Promise<Outputs> {
    if (this.#closed) return this.refuse(this.#closed.reason, feeds, pool);
    const id = ++this.#count;
    // Posting a view would copy the whole buffer behind it.
    const sent = transfer ? feeds : copied(feeds);
    const buffers = buffersOf(sent);
    const giveBack = transfer && pool !== undefined;
    const lent = giveBack ? buffers.map(({ byteLength }) => byteLength) : [];
    return quiet(
      new Promise((resolve, reject) => {
        const message: ToWorker = { type: 'run', id, feeds: sent, fetch, finite, giveBack, held };
        this.#worker.postMessage(message, buffers);
        this.#pending.set(id, { resolve, reject, pool, lent });
      }),
    );
  }

  /** Hands feeds over, to stay until they are dropped; gives their id, above 0. Their buffers are detached here. */
  hold(feeds: Feeds): number {
    const id = ++this.#holds;
    if (!this.#closed) this.#worker.postMessage({ type: 'hold', id, feeds } satisfies ToWorker, buffersOf(feeds));
    return id;
  }

  /** Runs that were posted before still find them. */
  drop(id: number): void {
    if (!this.#closed) this.#worker.postMessage({ type: 'drop', id } satisfies ToWorker);
  }

  /** Rejects a run that was not posted; its buffers go to `pool` at once. */
  refuse(reason: unknown, feeds: Feeds, pool: BufferTaker | undefined): Promise<Outputs> {
    if (pool) for (const buffer of buffersOf(feeds)) pool.give(buffer);
    return quiet(Promise.reject(reason as Error)); // a signal's reason may be any value
  }

  /** Runs that have not begun reject with `reason`; the one in flight is finished, then the session is released and the thread ends. */
  close(reason: unknown): void {
    if (this.#closed) return;
    this.#closed = { reason };
    Atomics.store(this.#cells, cell.stop, stop.queued);
    const running = Atomics.load(this.#cells, cell.running);
    for (const [id, { reject }] of this.#pending) if (id !== running) reject(reason);
    this.#worker.postMessage({ type: 'stop' } satisfies ToWorker);
  }

  /** Resolves when the thread has ended. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  #receive(message: FromWorker): void {
    if (message.type === 'opened') {
      if (this.#closed) this.#opening?.reject(this.#closed.reason);
      else this.#opening?.resolve(message);
    } else if (message.type === 'open-failed') this.#fail(this.#closed?.reason ?? this.#failed(message.message));
    else this.#settle(message);
  }

  #settle(answer: RunAnswer): void {
    const pending = this.#pending.get(answer.id);
    if (!pending) return;
    this.#pending.delete(answer.id);
    for (const buffer of answer.buffers) pending.pool?.give(buffer);
    if (answer.outcome === 'done') pending.resolve(answer.outputs);
    else if (answer.outcome === 'failed') pending.reject(this.#failed(answer.message));
    else if (answer.outcome === 'skipped') pending.reject(this.#closed?.reason);
    else {
      const { output, index, value, shape } = answer.fault;
      pending.reject(
        new EgolensError(
          'data.not_finite',
          `output ${output} ${shapeText(shape)}: element ${index} is ${value}, expected finite numbers`,
          { try: '`egolens models verify`, or another precision' },
        ),
      );
    }
  }

  /** Nothing will come from the worker any more. */
  #fail(reason: unknown): void {
    this.#closed ??= { reason };
    this.#opening?.reject(reason);
    for (const { reject, pool, lent } of this.#pending.values()) {
      reject(reason);
      // The buffers are lost with the worker; nobody shall wait for them for ever.
      for (const size of lent) pool?.give(new ArrayBuffer(size));
    }
    this.#pending.clear();
  }

  #failed(message: string, cause: unknown = new Error(message)): EgolensError {
    return new EgolensError('device.failed', `${this.#label}: ${message}`, { cause, try: '`egolens doctor`' });
  }
}

/** A rejection that nobody waits for (the second of two runs, when the first has failed) is no fault of the program. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

function buffersOf(feeds: Feeds): ArrayBuffer[] {
  return [...new Set(Object.values(feeds).map(({ data }) => data.buffer))];
}

function copied(feeds: Feeds): Feeds {
  const copies = Object.entries(feeds).map(([name, feed]) => [name, { ...feed, data: feed.data.slice() } as AnyTensor]);
  return Object.fromEntries(copies) as Feeds;
}

/** Cells of the workers that live. Module state, because the process has one end. */
const watched = new Set<Int32Array>();

/** From now on the process waits for this worker before it ends, if the worker is inside the runtime then. */
export function watchExit(cells: Int32Array): void {
  if (watched.size === 0) process.on('exit', settleBeforeExit);
  watched.add(cells);
}

/** The worker has ended. */
export function unwatchExit(cells: Int32Array): void {
  watched.delete(cells);
  if (watched.size === 0) process.off('exit', settleBeforeExit);
}

/**
 * An end of the process during a call into the runtime would abort it with status 134 (dependencies.md 5). Every orderly end
 * (`process.exit`, an uncaught error, an empty event loop) passes here: we block until no worker is inside the runtime.
 */
function settleBeforeExit(): void {
  const all = [...watched];
  for (const cells of all) Atomics.store(cells, cell.stop, stop.all);
  if (all.every((cells) => Atomics.load(cells, cell.state) === state.idle)) return;
  // No handler runs while we block: without handlers a signal ends the process at once.
  process.removeAllListeners('SIGINT').removeAllListeners('SIGTERM');
  for (const cells of all) Atomics.wait(cells, cell.state, state.busy);
}
