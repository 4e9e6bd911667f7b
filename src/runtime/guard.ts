import { cell, state } from './protocol.js';

/**
 * Runs `body`, which calls into the runtime, in a worker; undefined when it must not start any more because `stop` has reached `least`.
 * The cells tell the main thread, which must not let the process end in the middle of a call (protocol.ts).
 */
export async function guarded<T>(cells: Int32Array, least: number, body: () => Promise<T>): Promise<T | undefined> {
  Atomics.store(cells, cell.state, state.busy);
  try {
    return Atomics.load(cells, cell.stop) >= least ? undefined : await body();
  } finally {
    Atomics.store(cells, cell.state, state.idle);
    Atomics.notify(cells, cell.state);
  }
}
