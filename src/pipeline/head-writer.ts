/** Writes head folders (files.md 4), out of a checkpoint as out of a training run. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { writeNpy } from '../checkpoint/npy.js';
import { assertValid } from '../check.js';
import { removeDeadTemporaries } from '../features/locks.js';
import { makeFolder, sha256File, temporaryName } from '../files.js';
import { modelsFolder } from '../hub/cache.js';
import { jsonText, type JsonValue } from '../json.js';
import {
  modelDigest,
  type FeatureSource,
  type HeadInfo,
  type ModelManifest,
  type StoredModel,
} from '../models/folder.js';
import { labelFile } from '../models/head-folder.js';
import { headGraph, type Head } from '../models/head.js';
import { seededRandom } from '../random.js';
import type { Choice } from '../runtime/provider-types.js';
import { openSession } from '../runtime/session.js';
import type { AnyTensor, Progress, StateDict, StoredTensor, Tensor } from '../types.js';
import type { LabelList } from './label-lists.js';
import { refuseExisting, replaceFolder } from './model-folders.js';
import { writeJsonFile, writeWeights } from './model-writer.js';
import { readProbe } from './probe.js';

/** What a head folder is made of. */
export interface HeadContent {
  readonly name: string;
  readonly head: Head;
  /** Parameter -> tensor, all of them. */
  readonly tensors: StateDict;
  /** Class names by kind; kinds without a list go by numbers. */
  readonly labels: Readonly<Record<string, LabelList>>;
  /** Streams of features; absent: nothing is known but their widths. */
  readonly features?: readonly FeatureSource[];
  readonly clock: HeadInfo['clock'];
  /** Where vectors of words come from; absent: the head takes none, or nothing is known. */
  readonly text?: HeadInfo['text'];
  readonly options: HeadInfo['options'];
  readonly trained: string;
  readonly licence: ModelManifest['licence'];
  readonly source: ModelManifest['source'];
}

/** Where it goes. */
export interface HeadTarget {
  /** Absent: into the models folder under `name@digest`. */
  readonly output?: string;
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/**
 * Writes a head folder beside its name and renames it, its probe included.
 *
 * @throws EgolensError output.exists, output.unwritable, limit.disk, data.not_finite, model.probe
 */
export async function writeHeadFolder(content: HeadContent, target: HeadTarget): Promise<StoredModel> {
  const { head, name } = content;
  const output = target.output === undefined ? undefined : resolve(target.output);
  if (output !== undefined) await refuseExisting(output, target.force ?? false);
  const parent = output === undefined ? modelsFolder() : dirname(output);
  await makeFolder(parent);
  await removeDeadTemporaries(parent);
  const work = temporaryName(output ?? join(parent, name));
  await rm(work, { recursive: true, force: true });
  await mkdir(join(work, 'probe'), { recursive: true });
  try {
    await writeWeights(work, new Map([['graph.onnx', headGraph(head)]]), content.tensors, target);
    const further: string[] = [];
    for (const [kind, list] of Object.entries(content.labels)) {
      await writeJsonFile(work, labelFile(kind), list as unknown as JsonValue); // parsed JSON
      further.push(labelFile(kind));
    }
    const manifest = await describeHead(work, content, further);
    await assertValid('egolens.model/1', manifest, 'model.json');
    await writeFile(join(work, 'model.json'), `${jsonText(manifest as unknown as JsonValue, 2)}\n`); // plain JSON
    await writeProbe(work, head, target.signal);
    const folder = output ?? join(parent, `${name}@${manifest.digest.slice(0, 12)}`);
    if (output === undefined) await refuseExisting(folder, target.force ?? false);
    await replaceFolder(work, folder);
    return { folder, manifest, id: `${name}@${manifest.digest.slice(0, 12)}` };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function describeHead(folder: string, content: HeadContent, further: readonly string[]): Promise<ModelManifest> {
  const { name, head, clock, options, trained, licence, source } = content;
  const files: Record<string, string> = {};
  for (const path of ['graph.onnx', 'weights.bin', ...further].sort())
    files[path] = await sha256File(join(folder, path));
  return {
    schema: 'egolens.model/1',
    name,
    kind: 'head',
    family: head.family,
    config: head.config,
    inputs: head.inputs,
    outputs: head.outputs,
    precision: 'fp32',
    trained,
    licence,
    source,
    files,
    digest: modelDigest(files),
    head: {
      task: head.task,
      features: content.features ?? head.widths.map((width) => ({ model: null, output: null, width })),
      clock,
      text: content.text ?? null,
      options,
      postprocess: head.postprocess,
    },
  };
}

async function writeProbe(folder: string, head: Head, signal: AbortSignal | undefined): Promise<void> {
  const inputs = head.probe(seededRandom(0, 'probe'));
  const outputs = await runHead(folder, inputs, Object.keys(head.outputs), {
    device: 'cpu',
    ...(signal && { signal }),
  });
  for (const [name, value] of Object.entries({ ...inputs, ...outputs })) {
    await writeFile(join(folder, 'probe', `${name}.npy`), writeNpy(value));
  }
}

async function runHead(
  folder: string,
  inputs: Readonly<Record<string, AnyTensor>>,
  outputs: readonly string[],
  options: { readonly device: string | Choice; readonly threads?: number; readonly signal?: AbortSignal },
): Promise<Record<string, Tensor<'float32'>>> {
  await using session = await openSession({ graph: join(folder, 'graph.onnx'), ...options });
  return await session.run(inputs, outputs);
}

/** The stored probe of a head, computed again: what came out by output. */
export async function runHeadProbe(
  { folder, manifest }: StoredModel,
  options: { readonly device: string | Choice; readonly threads?: number; readonly signal?: AbortSignal },
): Promise<Record<string, Tensor<'float32'>>> {
  const inputs: Record<string, AnyTensor> = {};
  for (const name of Object.keys(manifest.inputs)) inputs[name] = await readProbe({ folder }, name);
  return await runHead(folder, inputs, Object.keys(manifest.outputs), options);
}

/** Tensors in memory as a state dict, for writers that stream. */
export function stateDictOf(values: ReadonlyMap<string, Tensor<'float32'>>): StateDict {
  return new Map(
    [...values].map(([name, { shape, data }]): [string, StoredTensor] => [
      name,
      {
        name,
        storedType: 'float32',
        shape,
        async *chunks() {
          yield await Promise.resolve(data);
        },
      },
    ]),
  );
}
