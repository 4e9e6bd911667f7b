import { createRequire } from 'node:module';
import type * as Ort from 'onnxruntime-node';
import type { OnnxValue } from '../graph/onnx.js';
import { halfToFloat, zeros } from '../tensor.js';
import type { AnyTensor, DType, Tensor } from '../types.js';
import { isFloat } from './checks.js';
import type { Feeds, GraphProgram } from './protocol.js';

/**
 * The one door to onnxruntime-node. Loaded by the worker program and by the provider probe, never by the main thread: `run()`
 * blocks its thread, and an end of the process during it aborts (dependencies.md 5).
 */
export interface NativeSession {
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** float16 outputs are widened. Rejects with the runtime's own message. */
  run(feeds: Feeds, fetch: readonly string[]): Promise<Record<string, Tensor<'float32'>>>;
  readonly release: () => Promise<void>;
}

/** Opens a graph file by path. Rejects with the runtime's own message. */
export async function openNative(program: GraphProgram): Promise<NativeSession> {
  // The package is CommonJS; `require` skips the detection of its named exports.
  const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof Ort;
  ort.env.logLevel = program.verbose ? 'warning' : 'fatal';
  const session = await ort.InferenceSession.create(program.path, {
    executionProviders: [program.provider],
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: program.verbose ? 2 : 4,
    ...(program.threads === null ? {} : { intraOpNumThreads: program.threads }),
    // Idle pool threads would spin on the cores that ffmpeg decodes on (performance.md 2).
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const inputs = session.inputMetadata.map(describe);
  const outputs = session.outputMetadata.map(describe);
  const run = async (feeds: Feeds, fetch: readonly string[]): Promise<Record<string, Tensor<'float32'>>> => {
    const given = Object.entries(feeds).map(([name, { dtype, data, shape }]) => [
      name,
      new ort.Tensor(dtype, data, shape),
    ]);
    const results = await session.run(Object.fromEntries(given) as Ort.InferenceSession.FeedsType, fetch);
    return Object.fromEntries(fetch.map((name) => [name, ownFloats(name, results[name]!)]));
  };
  if (program.warmUp) {
    const feeds = warmUpFeeds(inputs);
    const output = outputs.find(({ dtype }) => isFloat(dtype));
    if (feeds && output) await run(feeds, [output.name]);
  }
  return { inputs, outputs, run, release: () => session.release() };
}

function describe(value: Ort.InferenceSession.ValueMetadata): OnnxValue {
  return value.isTensor
    ? { name: value.name, dtype: value.type, shape: value.shape }
    : { name: value.name, dtype: 'no tensor', shape: [] };
}

/** A copy in memory of its own: the runtime's buffer cannot be handed to another thread. */
function ownFloats(name: string, value: Ort.OnnxValue): Tensor<'float32'> {
  const { data, dims } = value;
  if (data instanceof Float32Array) return { dtype: 'float32', shape: dims, data: data.slice() };
  if (value.type !== 'float16') throw new Error(`output ${name}: element type is not a float`);
  const view = data as unknown as ArrayBufferView; // Uint16Array, or Float16Array in newer Node versions
  const halves = new Uint16Array(view.buffer, view.byteOffset, view.byteLength / 2);
  return { dtype: 'float32', shape: dims, data: Float32Array.from(halves, halfToFloat) };
}

/** Zeros for every input; undefined where another size than the first is open, because 1 may not fit there. */
function warmUpFeeds(inputs: readonly OnnxValue[]): Feeds | undefined {
  if (inputs.some(({ shape }) => shape.slice(1).some((dim) => typeof dim === 'string'))) return undefined;
  const feeds = inputs.map(({ name, dtype, shape }) => [
    name,
    zeros(
      dtype as DType,
      shape.map((dim) => (typeof dim === 'string' ? 1 : dim)),
    ),
  ]);
  return Object.fromEntries(feeds) as Record<string, AnyTensor>;
}
