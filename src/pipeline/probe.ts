import { join } from 'node:path';
import { openFileSource } from '../files.js';
import { readNpy } from '../checkpoint/npy.js';
import type { ModelFolder } from '../models/folder.js';
import { seededRandom } from '../random.js';
import type { Choice } from '../runtime/provider-types.js';
import { openSession, type Session } from '../runtime/session.js';
import { tensor } from '../tensor.js';
import type { AnyTensor, Tensor } from '../types.js';

/**
 * The probe of a model folder: one fixed input and what the model made of it at import, on cpu, fp32. `verify` computes it again.
 */

/** One window of seeded noise: uint8 [1, frames, size, size, 3]. */
export function probeFrames(spec: { readonly frames: number; readonly size: number }): Tensor<'uint8'> {
  const random = seededRandom(0, 'probe');
  const shape = [1, spec.frames, spec.size, spec.size, 3];
  return tensor(
    'uint8',
    shape,
    Uint8Array.from({ length: spec.frames * spec.size * spec.size * 3 }, () => random.integer(256)),
  );
}

/** Opens the uint8 graph of a model; the separate form is at hand where the device needs it. */
export async function openModelSession(
  model: ModelFolder,
  options: {
    readonly device: string | Choice;
    readonly threads?: number;
    readonly verbose?: boolean;
    readonly signal?: AbortSignal;
  },
  input: 'frames' | 'normalised' = 'frames',
): Promise<Session> {
  const file = input === 'frames' ? 'graph' : 'graph.float';
  return await openSession({
    graph: join(model.folder, `${file}.onnx`),
    fallbackGraph: join(model.folder, `${file}.webgpu.onnx`),
    ...options,
  });
}

/** Runs the probe input that stands in the folder. */
export async function runProbe(model: ModelFolder, session: Session): Promise<Record<string, Tensor<'float32'>>> {
  const arrays: Record<string, AnyTensor> = {};
  for (const name of Object.keys(model.spec.probeArrays())) arrays[name] = await readProbe(model, name);
  const feeds = { frames: await readProbe(model, 'input'), ...model.spec.feeds(arrays, 1) };
  return await session.run(feeds, Object.keys(model.manifest.outputs));
}

/** A stored array of the probe: `input`, or the name of an array or output. */
export async function readProbe(model: ModelFolder, name: string): Promise<AnyTensor> {
  await using source = await openFileSource(join(model.folder, 'probe', `${name}.npy`));
  return (await readNpy(source)).tensor;
}

/** How far computed outputs are from stored ones, relative to the largest stored value. */
export function probeError(
  computed: Tensor<'float32'>,
  stored: AnyTensor,
): { readonly maxAbs: number; readonly relative: number } {
  let maxAbs = 0;
  let largest = 0;
  computed.data.forEach((value, i) => {
    const expected = Number(stored.data[i] ?? NaN);
    maxAbs = Math.max(maxAbs, Math.abs(value - expected));
    largest = Math.max(largest, Math.abs(expected));
  });
  return { maxAbs, relative: largest === 0 ? maxAbs : maxAbs / largest };
}
