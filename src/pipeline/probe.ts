import { join } from 'node:path';
import { openFileSource } from '../files.js';
import { readNpy } from '../checkpoint/npy.js';
import { EgolensError } from '../errors.js';
import type { ModelFolder } from '../models/folder.js';
import type { TextTower } from '../models/spec.js';
import { seededRandom } from '../random.js';
import type { Choice } from '../runtime/provider-types.js';
import { chooseProvider } from '../runtime/providers.js';
import type { Session } from '../runtime/session.js';
import { tensor } from '../tensor.js';
import type { AnyTensor, Tensor } from '../types.js';
import { openStoredSession } from './stored-session.js';

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
  return await openStoredSession(model, {
    graph: `${file}.onnx`,
    fallbackGraph: `${file}.webgpu.onnx`,
    ...options,
  });
}

/**
 * Opens the text tower of a model. A WebGPU device runs none (spec.ts): texts go to the cpu there.
 *
 * @throws EgolensError model.incomplete for a model without a text tower; device.unavailable
 */
export async function openTextSession(
  model: ModelFolder,
  options: { readonly device: string | Choice; readonly threads?: number; readonly signal?: AbortSignal },
): Promise<Session> {
  if (model.spec.text === undefined) {
    throw new EgolensError(
      'model.incomplete',
      `${model.id}: a model of family ${model.spec.family} has no text tower; expected one that compares pictures with texts`,
      { try: '`egolens models list` shows the kind of each model: `two-tower` is meant' },
    );
  }
  const { device, signal } = options;
  const choice = typeof device === 'string' ? await chooseProvider(device, signal) : device;
  return await openStoredSession(model, {
    graph: 'text.onnx',
    fallbackGraph: 'text.webgpu.onnx',
    ...options,
    device: choice.provider === 'webgpu' ? 'cpu' : choice,
  });
}

/** One row of seeded tokens as long as the context: int64 [1, context], the end token, which has the highest id, at its end. */
export function probeTokens({ context, vocabulary }: TextTower): Tensor<'int64'> {
  const random = seededRandom(0, 'probe tokens');
  const end = vocabulary - 1;
  const row = Array.from({ length: context }, (_, i) => (i === context - 1 ? end : random.integer(end)));
  return tensor('int64', [1, context], BigInt64Array.from(row, BigInt));
}

/**
 * Runs the probe input that stands in the folder: every output of the picture graph, then those of the text tower where there is one.
 *
 * @param session over the uint8 graph; the text tower is opened on its device, or on the cpu where that runs no texts
 */
export async function runProbe(
  model: ModelFolder,
  session: Session,
  options: { readonly threads?: number; readonly signal?: AbortSignal } = {},
): Promise<Record<string, Tensor<'float32'>>> {
  const { spec } = model;
  const arrays: Record<string, AnyTensor> = {};
  for (const name of Object.keys(spec.probeArrays())) arrays[name] = await readProbe(model, name);
  const feeds = { frames: await readProbe(model, 'input'), ...spec.feeds(arrays, 1) };
  const pictures = await session.run(feeds, Object.keys(spec.outputs));
  if (spec.text === undefined) return pictures;
  const device = session.provider === 'cuda' ? session.device : 'cpu';
  await using texts = await openTextSession(model, { ...options, device });
  const tokens = await readProbe(model, 'text');
  return { ...pictures, ...(await texts.run({ tokens }, Object.keys(spec.text.outputs))) };
}

/** A stored array of the probe: `input`, or the name of an array or output. */
export async function readProbe(model: Pick<ModelFolder, 'folder'>, name: string): Promise<AnyTensor> {
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
