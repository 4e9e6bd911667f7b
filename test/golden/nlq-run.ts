import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTensor } from '../../src/checkpoint/pt-features.js';
import { openCheckpoint } from '../../src/checkpoint/state-dict.js';
import { openFileSource } from '../../src/files.js';
import type { JsonValue } from '../../src/json.js';
import { headInputs, type Head, type HeadFamily } from '../../src/models/head.js';
import { importHead } from '../../src/pipeline/import-head.js';
import { openSession } from '../../src/runtime/session.js';
import { decayMatrices } from '../../src/train/groups.js';
import { adamw } from '../../src/train/optimiser.js';
import { openTraining, type Training, type Weights } from '../../src/train/step.js';
import type { AnyTensor, Tensor } from '../../src/types.js';
import { bounds } from './moment-arrays.js';
import { maxAbs, type Comparison } from './results.js';

/** Tensors of a checkpoint by stripped name. */
export async function readTensors(path: string, preferredKeys: readonly string[] = []): Promise<Weights> {
  await using source = await openFileSource(path);
  const found = new Map<string, Tensor<'float32'>>();
  for (const [name, stored] of (await openCheckpoint(source, { preferredKeys })).tensors)
    found.set(name, await readTensor(stored));
  return found;
}

/** Largest difference, absolute up to 1 and relative above. */
export function mixedError(own: ArrayLike<number>, expected: readonly number[]): number {
  const scales = expected.map((value) => Math.max(1, Math.abs(value)));
  return maxAbs(
    Array.from(own, (value, i) => value / (scales[i] ?? NaN)),
    expected.map((value, i) => value / scales[i]!),
  );
}

/** Gradients against those of the official code, each by its largest entry; parameters without one must have none here. */
export function compareGradients(found: Weights, expected: Weights): Comparison[] {
  const largest = (data: Float32Array): number => data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  // Of gradients that are 0 by their nature, as of the bias of keys, both sides hold the rounding of sums of larger numbers.
  const floor = 3e-6 * [...expected.values()].reduce((most, { data }) => Math.max(most, largest(data)), 0);
  return [...expected].map(([name, { data }]) => {
    const own = found.get(name)?.data ?? new Float32Array(data.length);
    return {
      what: `gradient of ${name}`,
      error: maxAbs(own, data),
      tolerance: bounds.gradients * largest(data) + floor,
    };
  });
}

/** A head in training without updates: loss, gradients and further values of the graph. */
export async function openHead(
  head: Head,
  weights: Weights,
  sizes: Readonly<Record<string, number>>,
  values: Parameters<typeof openTraining>[0]['evaluations'],
): Promise<Training> {
  return await openTraining(
    {
      name: head.family,
      sizes,
      isTrained: (name) => head.isFrozen?.(name) !== true,
      groups: decayMatrices(0),
      optimiser: { rule: adamw },
      forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))),
      ...(values && { evaluations: values }),
    },
    weights,
    { device: 'cpu', threads: 1, update: 'host' },
  );
}

/** A checkpoint imported as a user does it, and its graph run. */
export async function ranHead(
  family: HeadFamily,
  checkpoint: string,
  config: Readonly<Record<string, JsonValue>>,
  inputs: Readonly<Record<string, AnyTensor>>,
): Promise<Record<string, Tensor<'float32'>>> {
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const output = join(work, 'head');
    const file = join(work, 'config.json');
    await writeFile(file, JSON.stringify(config));
    const { manifest } = await importHead(checkpoint, family, { arch: family.name, config: file, output });
    await using session = await openSession({ graph: join(output, 'graph.onnx'), device: 'cpu' });
    return await session.run(inputs, Object.keys(manifest.outputs));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
