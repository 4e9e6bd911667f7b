/** Material for the tests of model families: golden cases as values, and graphs run without a model folder. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readNpy } from '../src/checkpoint/npy.js';
import { openCheckpoint } from '../src/checkpoint/state-dict.js';
import { openFileSource, packageRoot } from '../src/files.js';
import { graphFiles, type GraphVariant, type ModelSpec } from '../src/models/spec.js';
import { seededRandom } from '../src/random.js';
import { writeGraph } from '../src/runtime/probe-graphs.js';
import { openSession } from '../src/runtime/session.js';
import { sizeOf, tensor } from '../src/tensor.js';
import type { AnyTensor, Normalisation, StateDict, Tensor } from '../src/types.js';

/** Values of a model's parameters by name. */
export type Weights = ReadonlyMap<string, Float32Array<ArrayBuffer>>;

export interface GoldenModel {
  readonly family: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, { readonly file: string; readonly tolerance: { fp32_max_abs: number } }>>;
}

const fixture = (name: string, file: string): string => join(packageRoot, 'fixtures/golden/encoder', name, file);

/** `case.json` of a model case in fixtures/. */
export function goldenModel(name: string): GoldenModel {
  return JSON.parse(readFileSync(fixture(name, 'case.json'), 'utf8')) as GoldenModel;
}

/** An array of a model case in fixtures/. */
export async function goldenArray(name: string, file: string): Promise<AnyTensor> {
  await using source = await openFileSource(fixture(name, file));
  return (await readNpy(source)).tensor;
}

/** Shapes of the checkpoint of a model case in fixtures/, and its values where `adapt` says how they become parameters. */
export async function goldenWeights(
  name: string,
  adapt: (tensors: StateDict) => StateDict = (tensors) => tensors,
): Promise<{ readonly shapes: Map<string, readonly number[]>; readonly weights: Weights }> {
  await using source = await openFileSource(fixture(name, 'checkpoint.pth'));
  const { tensors } = await openCheckpoint(source);
  return {
    shapes: new Map([...tensors].map(([key, { shape }]) => [key, shape])),
    weights: await valuesOf(adapt(tensors)),
  };
}

/** Every tensor, read. */
export async function valuesOf(tensors: StateDict): Promise<Weights> {
  const weights = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [key, stored] of tensors) {
    const values = new Float32Array(sizeOf(stored.shape));
    let at = 0;
    for await (const piece of stored.chunks()) {
      values.set(piece, at);
      at += piece.length;
    }
    weights.set(key, values);
  }
  return weights;
}

/** Parameters of the graphs of a model: name -> shape. */
export function parametersOf(spec: ModelSpec, variant: GraphVariant = graphFiles[0]): Map<string, readonly number[]> {
  return new Map(spec.build(variant).params.map(({ name, shape }) => [name, shape]));
}

/** Random values for every parameter, normally distributed with the deviation that `spread` gives its name. */
export function randomWeights(spec: ModelSpec, seed: number, spread: (name: string) => number): Weights {
  return new Map(
    [...parametersOf(spec)].map(([name, shape]) => {
      const random = seededRandom(seed, name);
      return [name, Float32Array.from({ length: sizeOf(shape) }, () => spread(name) * random.normal())];
    }),
  );
}

/** Frames uint8 [b, t, h, w, 3] as float32 [b, 3, t, h, w], normalised. */
export function normalised({ data, shape }: Tensor<'uint8'>, { mean, std }: Normalisation): Tensor<'float32'> {
  const [b, t, h, w] = shape as [number, number, number, number, number];
  const count = t * h * w;
  const values = Float32Array.from({ length: b * 3 * count }, (_, i) => {
    const [sample, c, place] = [Math.floor(i / (3 * count)), Math.floor(i / count) % 3, i % count];
    return (data[(sample * count + place) * 3 + c]! / 255 - mean[c]!) / std[c]!;
  });
  return tensor('float32', [b, 3, t, h, w], values);
}

/** Runs each of the four graphs on the cpu over the same frames, and gives all outputs of each, by the name of its file. */
export async function runEveryGraph(
  spec: ModelSpec,
  weights: Weights,
  frames: Tensor<'uint8'>,
): Promise<ReadonlyMap<string, Readonly<Record<string, Tensor<'float32'>>>>> {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-graphs-'));
  try {
    const results = new Map<string, Readonly<Record<string, Tensor<'float32'>>>>();
    for (const { file, input, form } of graphFiles) {
      const graph = spec.build({ input, form });
      const path = await writeGraph(folder, { ...graph, name: file }, (name) => weights.get(name)!);
      await using session = await openSession({ graph: path, device: 'cpu', threads: 1 });
      const feeds = input === 'frames' ? { frames } : { input: normalised(frames, spec.preset) };
      results.set(file, await session.run(feeds, Object.keys(spec.outputs)));
    }
    return results;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
