/** Writes folders of models with one graph (files.md 4): heads and detectors. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { writeNpy } from '../checkpoint/npy.js';
import { assertValid } from '../check.js';
import { removeDeadTemporaries } from '../features/locks.js';
import { makeFolder, sha256File, temporaryName } from '../files.js';
import type { Graph } from '../graph/builder.js';
import { modelsFolder } from '../hub/cache.js';
import { jsonText, type JsonValue } from '../json.js';
import type { ModelManifest, StoredModel } from '../models/folder.js';
import { labelFile } from '../models/head-folder.js';
import type { Choice } from '../runtime/provider-types.js';
import { openSession } from '../runtime/session.js';
import type { AnyTensor, Progress, StateDict, Tensor } from '../types.js';
import type { LabelList } from './label-lists.js';
import { refuseExisting, replaceFolder } from './model-folders.js';
import { writeJsonFile, writeWeights } from './model-writer.js';
import { readProbe } from './probe.js';

/** What such a folder is made of. */
export interface FolderContent {
  readonly name: string;
  readonly graph: Graph;
  /** Parameter -> tensor, all of them. */
  readonly tensors: StateDict;
  /** Class names by kind. */
  readonly labels: Readonly<Record<string, LabelList>>;
  /** model.json, once all files are hashed. */
  describe(files: ModelManifest['files']): ModelManifest;
  /** Inputs whose outputs are kept, so that they can be computed again. */
  readonly probe: Readonly<Record<string, AnyTensor>>;
}

/** Where it goes. */
export interface FolderTarget {
  /** Absent: into the models folder under `name@digest`. */
  readonly output?: string;
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/**
 * Writes the folder beside its name and renames it, its probe included.
 *
 * @throws EgolensError output.exists, output.unwritable, limit.disk, data.not_finite, model.probe
 */
export async function writeModelFolder(content: FolderContent, target: FolderTarget): Promise<StoredModel> {
  const { name, graph, tensors, labels, probe } = content;
  const output = target.output === undefined ? undefined : resolve(target.output);
  if (output !== undefined) await refuseExisting(output, target.force ?? false);
  const parent = output === undefined ? modelsFolder() : dirname(output);
  await makeFolder(parent);
  await removeDeadTemporaries(parent);
  const work = temporaryName(output ?? join(parent, name));
  await rm(work, { recursive: true, force: true });
  await mkdir(join(work, 'probe'), { recursive: true });
  try {
    await writeWeights(work, new Map([['graph.onnx', graph]]), tensors, target);
    const paths = ['graph.onnx', 'weights.bin'];
    for (const [kind, list] of Object.entries(labels)) {
      await writeJsonFile(work, labelFile(kind), list as unknown as JsonValue); // parsed JSON
      paths.push(labelFile(kind));
    }
    const files: Record<string, string> = {};
    for (const path of paths.sort()) files[path] = await sha256File(join(work, path));
    const manifest = content.describe(files);
    await assertValid('egolens.model/1', manifest, 'model.json');
    await writeFile(join(work, 'model.json'), `${jsonText(manifest as unknown as JsonValue, 2)}\n`); // plain JSON
    await writeProbe(work, probe, Object.keys(manifest.outputs), target.signal);
    const folder = output ?? join(parent, `${name}@${manifest.digest.slice(0, 12)}`);
    if (output === undefined) await refuseExisting(folder, target.force ?? false);
    await replaceFolder(work, folder);
    return { folder, manifest, id: `${name}@${manifest.digest.slice(0, 12)}` };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function writeProbe(
  folder: string,
  inputs: FolderContent['probe'],
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const outputs = await runGraph(folder, inputs, names, {
    device: 'cpu',
    ...(signal && { signal }),
  });
  for (const [name, value] of Object.entries({ ...inputs, ...outputs })) {
    await writeFile(join(folder, 'probe', `${name}.npy`), writeNpy(value));
  }
}

async function runGraph(
  folder: string,
  inputs: Readonly<Record<string, AnyTensor>>,
  outputs: readonly string[],
  options: { readonly device: string | Choice; readonly threads?: number; readonly signal?: AbortSignal },
): Promise<Record<string, Tensor<'float32'>>> {
  await using session = await openSession({ graph: join(folder, 'graph.onnx'), ...options });
  return await session.run(inputs, outputs);
}

/** The stored probe of such a folder, computed again: what came out by output. */
export async function runStoredProbe(
  { folder, manifest }: StoredModel,
  options: { readonly device: string | Choice; readonly threads?: number; readonly signal?: AbortSignal },
): Promise<Record<string, Tensor<'float32'>>> {
  const inputs: Record<string, AnyTensor> = {};
  for (const name of Object.keys(manifest.inputs)) inputs[name] = await readProbe({ folder }, name);
  return await runGraph(folder, inputs, Object.keys(manifest.outputs), options);
}
