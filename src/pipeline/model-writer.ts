/** What an import puts into a model folder (files.md 4): graphs over one weights file, the description, the probe. */
import { spawn } from 'node:child_process';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeNpy } from '../checkpoint/npy.js';
import { EgolensError } from '../errors.js';
import { builtProgram, sha256File, writeAt } from '../files.js';
import type { Graph } from '../graph/builder.js';
import { onnxBytes } from '../graph/onnx.js';
import { planWeights, type WeightPlan } from '../graph/weights.js';
import { jsonText, type JsonValue } from '../json.js';
import { modelDigest, type ModelManifest, type PortInfo } from '../models/folder.js';
import { graphFiles, textFiles, type ModelSpec, type TextTower } from '../models/spec.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Progress, StateDict } from '../types.js';
import { jointOutputs } from './joint-outputs.js';
import { probeFrames, probeTokens } from './probe.js';

/** The graphs of a model by file name: four over pictures, then those of the text tower where there is one. */
export function graphsOf(spec: ModelSpec): ReadonlyMap<string, Graph> {
  const { text } = spec;
  return new Map([
    ...graphFiles.map((variant) => [variant.file, spec.build(variant)] as const),
    ...(text === undefined ? [] : textFiles.map(({ file, form }) => [file, text.build(form)] as const)),
  ]);
}

/** weights.bin and the graphs over it, tensor by tensor in the order of the file's layout. */
export async function writeWeights(
  folder: string,
  graphs: ReadonlyMap<string, Graph>,
  tensors: StateDict,
  options: { readonly signal?: AbortSignal; readonly progress?: Progress },
): Promise<void> {
  const plan = planWeights([...graphs.values()]);
  const bar = options.progress?.start('weights.bin', plan.totalBytes);
  const handle = await open(join(folder, 'weights.bin'), 'w');
  try {
    await handle.truncate(plan.totalBytes);
    for (const slot of plan.slots) {
      options.signal?.throwIfAborted();
      let at = slot.offset;
      for await (const bytes of slot.constant === undefined ? valuesOf(tensors, slot.name) : [bytesOf(slot.constant)]) {
        at = await writeAt(handle, bytes, at);
        bar?.advance(bytes.length);
      }
      if (at !== slot.offset + slot.length) {
        throw new EgolensError(
          'internal.bug',
          `${slot.name}: ${at - slot.offset} bytes written, expected ${slot.length}`,
        );
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
    bar?.stop();
  }
  const inline = await inlineValues(plan, tensors);
  for (const [file, graph] of graphs) {
    const bytes = onnxBytes(graph, { weightsFile: 'weights.bin', plan, inline: (name) => inline.get(name)! });
    await writeFile(join(folder, file), bytes);
  }
}

async function* valuesOf(tensors: StateDict, name: string): AsyncGenerator<Uint8Array> {
  for await (const chunk of tensors.get(name)!.chunks()) {
    const bad = chunk.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new EgolensError('data.not_finite', `${name}: the checkpoint holds ${chunk[bad]}`);
    yield new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }
}

async function inlineValues(plan: WeightPlan, tensors: StateDict): Promise<Map<string, AnyTensor>> {
  const values = new Map<string, AnyTensor>();
  for (const { name, shape } of plan.inline) {
    const data = new Float32Array(sizeOf(shape));
    let at = 0;
    for await (const bytes of valuesOf(tensors, name)) {
      new Uint8Array(data.buffer).set(bytes, at);
      at += bytes.length;
    }
    values.set(name, tensor('float32', shape, data));
  }
  return values;
}

/** A JSON file of the folder. */
export async function writeJsonFile(folder: string, name: string, value: JsonValue): Promise<void> {
  await writeFile(join(folder, name), `${jsonText(value, 2)}\n`);
}

/** What model.json says beside what stands in the folder. */
export type Described = Pick<ModelManifest, 'name' | 'trained' | 'licence' | 'source'> & {
  readonly spec: ModelSpec;
  readonly graphs: ReadonlyMap<string, Graph>;
  /** Files of the folder beside graphs, weights and preset. */
  readonly further: readonly string[];
};

/** The description of a folder whose files are written: every one is hashed. */
export async function describeFolder(folder: string, described: Described): Promise<ModelManifest> {
  const { name, spec, graphs, source, trained, licence, further } = described;
  const paths = [...graphs.keys(), 'preset.json', 'weights.bin', ...further].sort();
  const files: Record<string, string> = {};
  for (const path of paths) files[path] = await sha256File(join(folder, path));
  return {
    schema: 'egolens.model/1',
    name,
    kind: spec.kind,
    family: spec.family,
    config: spec.config,
    inputs: inputsOf(spec, graphs),
    outputs: outputsOf(spec),
    precision: 'fp32',
    trained,
    licence,
    source,
    files,
    digest: modelDigest(files),
  };
}

function inputsOf(spec: ModelSpec, graphs: ReadonlyMap<string, Graph>): Record<string, PortInfo> {
  const inputs: Record<string, PortInfo> = {};
  for (const { name, dtype, shape } of graphs.get('graph.onnx')!.inputs) {
    const meaning = name === 'frames' ? 'rgb pixels, 0 to 255, not normalised' : (spec.arrays[name] ?? 'see `encode`');
    inputs[name] = { dtype, shape, meaning };
  }
  for (const { name, dtype, shape } of graphs.get('text.onnx')?.inputs ?? []) {
    const meaning = `ids of the text tower: start, text, end, zeros; at most ${spec.text?.context ?? 0} a row`;
    inputs[name] = { dtype, shape, meaning };
  }
  return inputs;
}

function outputsOf({ outputs, text }: ModelSpec): Record<string, PortInfo> {
  const ports: Record<string, PortInfo> = {};
  const add = (name: string, { shape, meaning }: Omit<PortInfo, 'dtype'>): void => {
    ports[name] = { dtype: 'float32', shape, meaning };
  };
  for (const [name, output] of Object.entries(outputs)) add(name, output);
  if (text === undefined) return ports;
  for (const [name, output] of Object.entries(text.outputs)) add(name, output);
  for (const [name, output] of Object.entries(jointOutputs(text))) add(name, output);
  return ports;
}

/** The inputs of the probe, into `probe/`. */
export async function writeProbeInputs(folder: string, spec: ModelSpec): Promise<void> {
  const inputs: Record<string, AnyTensor> = { input: probeFrames(spec), ...spec.probeArrays() };
  const text: TextTower | undefined = spec.text;
  if (text !== undefined) inputs['text'] = probeTokens(text); // an output may be called `tokens`
  for (const [name, value] of Object.entries(inputs)) {
    await writeFile(join(folder, 'probe', `${name}.npy`), writeNpy(value));
  }
}

/** Its outputs, computed in a child process: its memory is the model's, ours stays that of a copy. */
export async function computeProbe(folder: string, signal: AbortSignal | undefined): Promise<void> {
  // The pipe that is its standard input closes when we die, and it with us.
  const child = spawn(process.execPath, [builtProgram('src/pipeline/probe-process.js'), folder], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
  const abort = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', abort, { once: true });
  const status = await new Promise<number | null>((done, failed) => {
    child.once('error', failed).once('close', (code) => done(code));
  });
  signal?.removeEventListener('abort', abort);
  signal?.throwIfAborted();
  if (status !== 0) {
    throw new EgolensError(
      'model.probe',
      `the imported graph does not run: ${said.trim() || `status ${String(status)}`}`,
    );
  }
}
