import { parentPort, workerData } from 'node:worker_threads';
import { createRequire } from 'node:module';
import type * as Ort from 'onnxruntime-node';
import { sizeOf } from '../tensor.js';
import type { Tensor } from '../types.js';
import { openStateMemory } from './adamw-kernel.js';
import { firstNotFinite } from './finite.js';
import { guarded } from './guard.js';
import { updateOnHost, type HostState } from './host-update.js';
import { stop } from './protocol.js';
import type {
  FloatsByName,
  FromTrainingWorker,
  StateUpdate,
  TensorsByName,
  ToTrainingWorker,
  TrainingRequest,
  TrainingRun,
  TrainingStart,
} from './training-protocol.js';

/**
 * The program of a worker thread that trains: graphs that share one state. A run may not write what it still reads (the runtime promises
 * no order within a graph), so each state tensor that runs replace has two buffers, which change places after every good run.
 */
const { provider, threads, verbose, control } = workerData as TrainingStart;
const port = parentPort!; // a worker thread has one
const cells = new Int32Array(control);
// The package is CommonJS; `require` skips the detection of its named exports.
const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof Ort;
ort.env.logLevel = verbose ? 'warning' : 'fatal';

interface Slot {
  readonly shape: readonly number[];
  front: Buffered;
  /** Made when a run first replaces the tensor: what is only read needs no second buffer. */
  back: Buffered | undefined;
}
/** A buffer and the runtime's view of it, which is made once. */
interface Buffered {
  readonly data: Float32Array<ArrayBuffer>;
  readonly tensor: Ort.Tensor;
  /** Its address in `memory`. */
  readonly at: number | undefined;
}

const sessions = new Map<string, Ort.InferenceSession>();
const slots = new Map<string, Slot>();

/** Where the state lies on the cpu, whose worker updates it; elsewhere, and where this memory ends, in buffers of their own. */
const memory = provider === 'cpu' ? openStateMemory() : undefined;

const buffered = (data: Float32Array<ArrayBuffer>, shape: readonly number[], at?: number): Buffered => ({
  data,
  tensor: new ort.Tensor('float32', data, shape),
  at,
});

/** A buffer of zeros. */
function newBuffer(shape: readonly number[], count: number): Buffered {
  const at = memory?.place(count);
  if (memory === undefined || at === undefined) return buffered(new Float32Array(count), shape);
  // The memory may have grown, which empties all views of it.
  const anew = (one: Buffered, like: readonly number[]): Buffered =>
    one.at === undefined || one.data.length > 0 ? one : buffered(memory.view(one.at, sizeOf(like)), like, one.at);
  for (const slot of slots.values()) {
    slot.front = anew(slot.front, slot.shape);
    slot.back &&= anew(slot.back, slot.shape);
  }
  return buffered(memory.view(at, count), shape, at);
}

function slotOf(name: string): Slot {
  const slot = slots.get(name);
  if (!slot) throw new Error(`no state tensor \`${name}\``);
  return slot;
}

async function open(graph: string, bytes: Uint8Array): Promise<void> {
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [provider],
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: verbose ? 2 : 4,
    ...(threads === null ? {} : { intraOpNumThreads: threads }),
    // Idle pool threads would spin on the cores that prepare the next batch (performance.md 2).
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  sessions.set(graph, session);
}

function write(values: FloatsByName): void {
  for (const [name, { data, shape }] of Object.entries(values)) slotFor(name, shape).front.data.set(data);
}

/** The slot of this name, made anew where there is none of this size. */
function slotFor(name: string, shape: readonly number[]): Slot {
  const known = slots.get(name);
  const count = sizeOf(shape);
  const isFit = known?.front.data.length === count;
  const slot: Slot = isFit ? { ...known, shape } : { shape, front: newBuffer(shape, count), back: undefined };
  slots.set(name, slot);
  return slot;
}

function read(names: readonly string[]): FloatsByName {
  return Object.fromEntries(
    names.map((name) => {
      const { shape, front } = slotOf(name);
      return [name, { dtype: 'float32', shape, data: front.data.slice() } satisfies Tensor<'float32'>] as const;
    }),
  );
}

interface Answer {
  readonly values: FloatsByName;
  readonly kept: boolean;
}

async function run({ graph, feeds, fetch, keep, update }: TrainingRun): Promise<Answer> {
  const session = sessions.get(graph);
  if (!session) throw new Error(`no graph \`${graph}\``);
  // Before anything looks at a buffer: a new one may give all others new views.
  for (const name of Object.values(keep)) {
    const slot = slotOf(name);
    if (session.inputNames.includes(name)) slot.back ??= newBuffer(slot.shape, slot.front.data.length);
  }
  const inputs = inputsOf(session, feeds);
  const targets: Record<string, Ort.Tensor | null> = {};
  for (const name of fetch) targets[name] = null;
  const replaced: Slot[] = [];
  for (const [output, name] of Object.entries(keep)) {
    const slot = slotOf(name);
    if (session.inputNames.includes(name)) replaced.push(slot);
    targets[output] = (replaced.at(-1) === slot ? slot.back! : slot.front).tensor; // written in place
  }
  const results = await session.run(inputs, targets);
  const values = Object.fromEntries(fetch.map((name) => [name, floatsOf(name, results[name]!)]));
  const kept = Object.values(values).every(({ data }) => firstNotFinite(data) < 0);
  if (kept) for (const slot of replaced) [slot.front, slot.back] = [slot.back!, slot.front];
  if (kept && update) updateState(values[update.norm]!.data[0]!, update); // the norm is among the outputs asked for
  return { values, kept };
}

function updateState(norm: number, update: StateUpdate): void {
  const data = (name: string): Float32Array => slotOf(name).front.data;
  const states = update.tensors.map(({ decay, scale, weights, gradient, m, v, ema }): HostState => ({
    decay,
    scale,
    weights: data(weights),
    gradient: data(gradient),
    m: m === undefined ? m : data(m),
    v: v === undefined ? v : data(v),
    ema: ema === undefined ? ema : data(ema),
  }));
  updateOnHost(states, update, norm, memory);
}

function inputsOf(session: Ort.InferenceSession, feeds: TensorsByName): Ort.InferenceSession.FeedsType {
  const inputs: Record<string, Ort.Tensor> = {};
  for (const name of session.inputNames) {
    const feed = feeds[name];
    inputs[name] = feed
      ? new ort.Tensor(feed.dtype as 'float32', feed.data as Float32Array, feed.shape)
      : slotOf(name).front.tensor;
  }
  return inputs;
}

function floatsOf(name: string, { data, dims }: Ort.OnnxValue): Tensor<'float32'> {
  if (!(data instanceof Float32Array)) throw new Error(`output ${name}: element type is not float32`);
  return { dtype: 'float32', shape: dims, data: data.slice() };
}

async function answerOf(request: TrainingRequest): Promise<Answer> {
  const nothing = { values: {}, kept: true };
  switch (request.type) {
    case 'open':
      await open(request.graph, request.bytes);
      return nothing;
    case 'write':
      write(request.values);
      return nothing;
    case 'read':
      return { values: read(request.names), kept: true };
    case 'zeros':
      for (const [name, shape] of Object.entries(request.shapes)) slotFor(name, shape).front.data.fill(0);
      return nothing;
    case 'clear':
      for (const name of request.names) slotOf(name).front.data.fill(0);
      return nothing;
    case 'run':
      return await run(request);
  }
}

async function handle(message: ToTrainingWorker): Promise<void> {
  if ('type' in message) {
    await guarded(cells, stop.all, async () => {
      for (const session of sessions.values()) await session.release();
    });
    port.close();
    return;
  }
  const { id, request } = message;
  const post = (answer: FromTrainingWorker, transfer: readonly ArrayBuffer[] = []): void => {
    port.postMessage(answer, transfer);
  };
  try {
    const result = await guarded(cells, stop.queued, () => answerOf(request));
    if (!result) post({ id, outcome: 'failed', message: 'stopped' });
    else
      post(
        { id, outcome: 'done', ...result },
        Object.values(result.values).map(({ data }) => data.buffer),
      );
  } catch (error) {
    post({ id, outcome: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
}

// Messages are taken one after the other: a handler that waits must not be overtaken.
let last = Promise.resolve();
port.on('message', (message: ToTrainingWorker) => {
  last = last.then(() => handle(message));
});
