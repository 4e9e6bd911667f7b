import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { headInputs, initialWeights, type Head } from '../src/models/head.js';
import { stateDictOf, writeHeadFolder } from '../src/pipeline/head-writer.js';
import { seededRandom } from '../src/random.js';
import { openSession } from '../src/runtime/session.js';
import { decayMatrices } from '../src/train/groups.js';
import { adamw } from '../src/train/optimiser.js';
import { openTraining, type Weights } from '../src/train/step.js';
import type { AnyTensor, Tensor } from '../src/types.js';

type Tensors = Readonly<Record<string, AnyTensor>>;

/** Targets under the names that losses give them. */
export function named(targets: Readonly<Record<string, Tensor<'float32'>>>): Record<string, Tensor<'float32'>> {
  return Object.fromEntries(Object.entries(targets).map(([name, value]) => [`targets.${name}`, value]));
}

/** A head in training on one batch, over and over. */
export interface Fitted {
  /** Before the first and before the last step. */
  readonly losses: readonly [first: number, last: number];
  readonly parts: Readonly<Record<string, number>>;
  /** Outputs of the trained head for other inputs. */
  readonly outputs: Record<string, Tensor<'float32'>>;
}

/** Trains a head on one batch for so many steps, then runs it over `held`. */
export async function fitHead(
  head: Head,
  {
    inputs,
    targets,
    held,
    steps = 150,
    rate = 2e-3,
    weights,
  }: {
    readonly inputs: Tensors;
    readonly targets: Tensors;
    readonly held: Tensors;
    readonly steps?: number;
    readonly rate?: number;
    readonly weights?: Weights;
  },
): Promise<Fitted> {
  const sizes: Record<string, number> = {};
  for (const [name, { shape }] of Object.entries(head.inputs)) {
    shape.forEach((dim, i) => {
      if (typeof dim === 'string') sizes[dim] = inputs[name]!.shape[i]!;
    });
  }
  await using training = await openTraining(
    {
      name: head.family,
      sizes,
      groups: decayMatrices(0.01),
      optimiser: { rule: adamw, clip: 1 },
      ...(head.isFrozen && { isTrained: (name) => !head.isFrozen!(name) }),
      forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))),
      evaluations: { outputs: (g) => head.forward(g, headInputs(g, head)) },
    },
    new Map([...initialWeights(head, seededRandom(1, 'weights')), ...(weights ?? [])]),
    { device: 'cpu', threads: 1 },
  );
  const batch = { ...inputs, ...targets };
  const results = [];
  for (let step = 0; step < steps; step++) results.push(await training.run(batch, rate));
  return {
    losses: [results[0]!.loss, results.at(-1)!.loss],
    parts: results.at(-1)!.parts,
    outputs: await training.evaluate('outputs', held),
  };
}

/** Megabytes of the parameters, after the head was written as a folder and opened again: its declared outputs have the declared shapes. */
export async function checkFolder(
  head: Head,
): Promise<{ readonly megabytes: number; readonly outputs: Record<string, Tensor<'float32'>> }> {
  const work = await mkdtemp(join(tmpdir(), 'egolens-head-'));
  try {
    const weights = initialWeights(head, seededRandom(1, 'weights'));
    const { folder } = await writeHeadFolder(
      {
        name: head.family,
        head,
        tensors: stateDictOf(weights),
        labels: {},
        clock: null,
        options: {},
        trained: 'untrained',
        licence: { code: 'unknown', weights: 'unknown' },
        source: {
          name: 'none',
          bytes: 0,
          sha256: '0'.repeat(64),
          container: 'none',
          weightsKey: null,
          prefix: null,
          left: [],
        },
      },
      { output: join(work, 'head') },
    );
    await using session = await openSession({ graph: join(folder, 'graph.onnx'), device: 'cpu' });
    const inputs = head.probe(seededRandom(2, 'probe'));
    const outputs = await session.run(inputs, Object.keys(head.outputs));
    const elements = [...weights.values()].reduce((total, { data }) => total + data.length, 0);
    return { megabytes: (4 * elements) / 1e6, outputs };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
