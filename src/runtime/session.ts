import { EgolensError } from '../errors.js';
import type { OnnxValue } from '../graph/onnx.js';
import type { AnyTensor, Tensor } from '../types.js';
import { checkFeeds, checkFetch, type FeedForm } from './checks.js';
import { WorkerLink, type BufferTaker } from './link.js';
import type { Program } from './protocol.js';
import { executionProvider, type Choice, type ProviderName } from './provider-types.js';
import { chooseProvider } from './providers.js';
import { defaultThreads } from './threads.js';

export interface RunOptions {
  /** Hand the buffers behind the feeds over instead of copying them: they are detached here. */
  readonly transfer?: boolean;
  /** Gets the buffers of transferred feeds back, under all circumstances: after a run, a refused run, a failed one. Implies `transfer`. */
  readonly pool?: BufferTaker;
  /** Look for NaN and infinities in the outputs; true where absent. */
  readonly finite?: boolean;
  /** Inputs that the session holds; `feeds` are then the others. */
  readonly held?: HeldFeeds;
}

/** Inputs that lie with the session, so that a run need not carry them; dispose it to let them go. */
export interface HeldFeeds extends Disposable {
  readonly id: number;
  readonly forms: Readonly<Record<string, FeedForm>>;
}

/** One open graph on one device. Dispose it: a run in flight is waited for, queued ones reject. */
export interface Session extends AsyncDisposable {
  readonly provider: ProviderName | 'stand-in';
  /** As `--device` spells it: `cpu`, `cuda:0`. */
  readonly device: string;
  /** Symbolic sizes stay strings; an element type that we do not use stays as the runtime calls it. */
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /**
   * Computes the outputs named in `fetch`, and no others. Runs are queued in call order.
   *
   * Rejects with `data.shape`, `data.dtype` (feeds do not fit, nothing ran), `data.not_finite`, `device.failed`, or the reason of the
   * signal. A rejection that nobody waits for stays silent.
   */
  run(
    feeds: Readonly<Record<string, AnyTensor>>,
    fetch: readonly string[],
    options?: RunOptions,
  ): Promise<Record<string, Tensor<'float32'>>>;
  /**
   * Hands inputs over for as long as the session lives, or until they are disposed: their buffers are detached here. For large inputs of
   * many runs. To carry a buffer to the session and back costs no copy, but each time both threads count it as fresh memory and collect
   * garbage for it: over a search index that is half the time of a query (docs/search.md).
   */
  hold(feeds: Readonly<Record<string, AnyTensor>>): HeldFeeds;
}

export interface SessionOptions {
  /** Path of the graph file with fused attention (files.md 4). */
  readonly graph: string;
  /** The same with separate attention, for devices whose fused attention fails the self-check. Leave it out only where `graph` has no fused attention: it is run as it is then. */
  readonly fallbackGraph?: string;
  /** As the user gave it, or what `chooseProvider` found (choose once, open often). */
  readonly device: string | Choice;
  /** Threads of one run; where absent the container's quota, else the runtime's choice (one a core). */
  readonly threads?: number;
  /** Let the library's own warnings reach standard error. */
  readonly verbose?: boolean;
  /** Ends the session: queued runs reject at once, the one in flight is finished. Dispose all the same. */
  readonly signal?: AbortSignal;
}

/** Opens a graph file in a worker thread. Rejects with `device.unavailable`, `device.failed`, or the signal's reason. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { graph, fallbackGraph, device, threads, verbose = false, signal } = options;
  signal?.throwIfAborted();
  const choice = typeof device === 'string' ? await chooseProvider(device, signal) : device;
  const program: Program = {
    kind: 'graph',
    path: choice.attention === 'separate' ? (fallbackGraph ?? graph) : graph,
    provider: executionProvider(choice),
    threads: threads ?? defaultThreads(),
    verbose,
    warmUp: choice.provider !== 'cpu',
  };
  return await openProgram(program, { provider: choice.provider, device: choice.device }, signal);
}

/**
 * A session that computes nothing: every run blocks its worker for `millisecondsPerRun` without using the CPU and gives zeros. For
 * measurements of the pipeline around it (performance.md 6) and tests; no `--device` leads here.
 */
export async function openStandIn(options: {
  readonly millisecondsPerRun: number;
  readonly inputs: readonly OnnxValue[];
  /** Symbolic sizes take the value that a feed gives them, else 1. */
  readonly outputs: readonly OnnxValue[];
  readonly signal?: AbortSignal;
}): Promise<Session> {
  const { millisecondsPerRun: milliseconds, inputs, outputs, signal } = options;
  const program: Program = { kind: 'sleep', milliseconds, inputs, outputs };
  return await openProgram(program, { provider: 'stand-in', device: 'stand-in' }, signal);
}

async function openProgram(
  program: Program,
  place: Pick<Session, 'provider' | 'device'>,
  signal: AbortSignal | undefined,
): Promise<Session> {
  signal?.throwIfAborted();
  const link = new WorkerLink(program, place.device);
  const abort = (): void => {
    link.close(signal?.reason);
  };
  signal?.addEventListener('abort', abort, { once: true });
  const close = async (): Promise<void> => {
    link.close(new EgolensError('run.interrupted', `${place.device}: the session was closed`));
    await link.ended;
    signal?.removeEventListener('abort', abort);
  };
  try {
    const { inputs, outputs } = await link.opened();
    return {
      ...place,
      inputs,
      outputs,
      hold(feeds) {
        const forms = Object.entries(feeds).map(([name, { dtype, shape, data }]) => {
          return [name, { dtype, shape, data: { length: data.length } }] as const;
        });
        const id = link.hold(feeds);
        return { id, forms: Object.fromEntries(forms), [Symbol.dispose]: () => link.drop(id) };
      },
      run(feeds, fetch, { transfer = false, pool, finite = true, held } = {}) {
        try {
          checkFeeds(inputs, { ...held?.forms, ...feeds });
          checkFetch(outputs, fetch);
        } catch (error) {
          return link.refuse(error, feeds, pool);
        }
        return link.run(feeds, {
          fetch,
          finite,
          transfer: transfer || pool !== undefined,
          pool,
          held: held?.id ?? 0,
        });
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
