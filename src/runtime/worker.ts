import { parentPort, workerData } from 'node:worker_threads';
import { zeros } from '../tensor.js';
import type { Tensor } from '../types.js';
import { firstNotFinite } from './finite.js';
import { guarded } from './guard.js';
import {
  cell,
  stop,
  type Feeds,
  type FromWorker,
  type NotFinite,
  type RunAnswer,
  type SleepProgram,
  type ToWorker,
  type WorkerStart,
} from './protocol.js';
import type { NativeSession } from './native.js';

/**
 * The program of a worker thread that owns one session. It ends by itself: after `stop` it finishes the run in flight, releases
 * the session and closes its port. Nobody terminates it.
 */
const { program, control } = workerData as WorkerStart;
const port = parentPort!; // a worker thread has one
const cells = new Int32Array(control);

const post = (message: FromWorker, transfer: readonly ArrayBuffer[] = []): void => {
  port.postMessage(message, transfer);
};

async function open(): Promise<NativeSession | undefined> {
  if (program.kind === 'sleep') return sleeper(program);
  const { openNative } = await import('./native.js');
  return await guarded(cells, stop.queued, () => openNative(program));
}

function sleeper({ milliseconds, inputs, outputs }: SleepProgram): NativeSession {
  const never = new Int32Array(new SharedArrayBuffer(4));
  return {
    inputs,
    outputs,
    run(feeds, fetch) {
      Atomics.wait(never, 0, 0, milliseconds);
      const sizes = new Map<string, number>();
      for (const { name, shape } of inputs)
        shape.forEach((dim, axis) => {
          if (typeof dim === 'string') sizes.set(dim, feeds[name]?.shape[axis] ?? 1);
        });
      const shapes = new Map(outputs.map(({ name, shape }) => [name, shape]));
      const results = fetch.map((name) => {
        const shape = shapes.get(name)!.map((dim) => (typeof dim === 'string' ? (sizes.get(dim) ?? 1) : dim));
        return [name, zeros('float32', shape)] as const;
      });
      return Promise.resolve(Object.fromEntries(results));
    },
    release: () => Promise.resolve(),
  };
}

/** Feeds that stay between runs. */
const held = new Map<number, Feeds>();

async function run(session: NativeSession, request: ToWorker & { type: 'run' }): Promise<void> {
  const { id, fetch, finite } = request;
  const feeds = { ...held.get(request.held), ...request.feeds };
  const buffers = request.giveBack ? buffersOf(request.feeds) : [];
  const answer = (rest: Outcome, transfer: readonly ArrayBuffer[] = []): void => {
    post({ type: 'ran', id, buffers, ...rest }, [...buffers, ...transfer]);
  };
  Atomics.store(cells, cell.running, id);
  try {
    const outputs = await guarded(cells, stop.queued, () => session.run(feeds, fetch));
    const fault = outputs && finite ? faultOf(outputs) : undefined;
    if (!outputs) answer({ outcome: 'skipped' });
    else if (fault) answer({ outcome: 'not-finite', fault });
    else
      answer(
        { outcome: 'done', outputs },
        Object.values(outputs).map(({ data }) => data.buffer),
      );
  } catch (error) {
    answer({ outcome: 'failed', message: messageOf(error) });
  }
}

type Outcome = RunAnswer extends infer A ? (A extends RunAnswer ? Omit<A, 'type' | 'id' | 'buffers'> : never) : never;

function buffersOf(feeds: Feeds): ArrayBuffer[] {
  return [...new Set(Object.values(feeds).map(({ data }) => data.buffer))];
}

function faultOf(outputs: Readonly<Record<string, Tensor<'float32'>>>): NotFinite | undefined {
  for (const [output, { data, shape }] of Object.entries(outputs)) {
    const index = firstNotFinite(data);
    if (index >= 0) return { output, index, value: data[index]!, shape };
  }
  return undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function main(): Promise<void> {
  let session: NativeSession | undefined;
  // Messages are taken one after the other: a handler that waits must not be overtaken.
  let last = Promise.resolve();
  const handle = async (message: ToWorker): Promise<void> => {
    if (message.type === 'run') {
      await run(session!, message); // runs are posted after `opened`
      return;
    }
    if (message.type === 'hold') {
      held.set(message.id, message.feeds);
      return;
    }
    if (message.type === 'drop') {
      held.delete(message.id);
      return;
    }
    if (session) await guarded(cells, stop.all, session.release);
    port.close();
  };
  try {
    session = await open();
  } catch (error) {
    post({ type: 'open-failed', message: messageOf(error) });
    return;
  }
  if (!session) {
    post({ type: 'open-failed', message: 'stopped' });
    return;
  }
  port.on('message', (message: ToWorker) => {
    last = last.then(() => handle(message));
  });
  post({ type: 'opened', inputs: session.inputs, outputs: session.outputs });
}

await main();
