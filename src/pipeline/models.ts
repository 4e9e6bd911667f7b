import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { listTensors, openCheckpoint } from '../checkpoint/state-dict.js';
import { asEgolensError, EgolensError } from '../errors.js';
import { openFileSource, readSmallFile } from '../files.js';
import { readOnnx, type OnnxSummary } from '../graph/onnx.js';
import { graphText } from '../graph/print.js';
import { embeddedModels, findModel, installedModels } from '../hub/cache.js';
import { float, type Float, type JsonValue } from '../json.js';
import type { HeadFamily } from '../models/head.js';
import {
  hasPreset,
  openModelFolder,
  openStoredModel,
  verifyFiles,
  type ModelManifest,
  type StoredModel,
} from '../models/folder.js';
import { tfjsFamily } from '../models/detector-folder.js';
import { families, familyOf } from '../models/index.js';
import { chooseProvider } from '../runtime/providers.js';
import { shapeText } from '../tensor.js';
import type { Progress, Tensor } from '../types.js';
import type { CheckResult } from './doctor.js';
import { runStoredProbe } from './folder-writer.js';
import { graphsOf } from './model-writer.js';
import { openModelSession, probeError, readProbe, runProbe } from './probe.js';

// ---- list --------------------------------------------------------------------------------------------------------

/** `egolens.installed/1` */
export type InstalledRecord = {
  readonly schema: 'egolens.installed/1';
  readonly model: string;
  readonly place: 'installed' | 'embedded';
  readonly kind: string;
  readonly family: string;
  /** `no parity data` where no output of the official code is at hand to compare the family with. */
  readonly parity: string | null;
  readonly trained: string;
  readonly licence: { readonly code: string; readonly weights: string };
  readonly precision: string;
  /** Null for heads and detectors. */
  readonly preset: string | null;
  readonly bytes: number;
  readonly path: string;
};

/** A model folder that is there, or why it cannot be used. */
export type ListedModel = InstalledRecord | { readonly folder: string; readonly error: EgolensError };

/** The models of the models folder, then those that come with the program, each sorted by name. Weights are not read. */
export async function listModels(): Promise<ListedModel[]> {
  const folders = [
    ...(await installedModels()).map((folder) => [folder, 'installed'] as const),
    ...(await installedModels(embeddedModels)).map((folder) => [folder, 'embedded'] as const),
  ];
  return await Promise.all(
    folders.map(([folder, place]) =>
      describeModel(folder, place).catch((error: unknown) => ({ folder, error: asEgolensError(error) })),
    ),
  );
}

async function describeModel(folder: string, place: InstalledRecord['place']): Promise<InstalledRecord> {
  const stored = await openStoredModel(folder);
  const { id, manifest } = stored;
  const preset = hasPreset(manifest) ? (await openModelFolder(folder)).preset : undefined;
  const sizes = await Promise.all(
    Object.keys(manifest.files).map(async (path) => (await stat(join(folder, path))).size),
  );
  return {
    schema: 'egolens.installed/1',
    model: id,
    place,
    kind: manifest.kind,
    family: manifest.family,
    parity: hasPreset(manifest) ? (familyOf(manifest.family).family.parity ?? null) : null,
    trained: manifest.trained,
    licence: { code: manifest.licence.code, weights: manifest.licence.weights },
    precision: manifest.precision,
    preset: preset === undefined ? null : `${preset.name}@${preset.version}`,
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    path: folder,
  };
}

/** `egolens.architecture/1` */
export type ArchitectureRecord = {
  readonly schema: 'egolens.architecture/1';
  readonly name: string;
  readonly family: string;
  readonly summary: string;
  readonly config: Readonly<Record<string, JsonValue>>;
};

/** What `--arch` takes: each family, then its known sizes; then the families of heads and others that are none of ours. */
export function listArchitectures(heads: readonly Pick<HeadFamily, 'name' | 'summary'>[]): ArchitectureRecord[] {
  const encoders: ArchitectureRecord[] = families.flatMap(({ name: family, summary, sizes }) => [
    { schema: 'egolens.architecture/1', name: family, family, summary, config: {} },
    ...Object.entries(sizes).map(([name, config]) => {
      const text = `known size of ${family}`;
      return { schema: 'egolens.architecture/1', name, family, summary: text, config } as const;
    }),
  ]);
  const schema = 'egolens.architecture/1' as const;
  const others = [...heads, { name: tfjsFamily, summary: 'detectors in graph models of TensorFlow.js (model.json)' }];
  return [...encoders, ...others.map(({ name, summary }) => ({ schema, name, family: name, summary, config: {} }))];
}

// ---- inspect -----------------------------------------------------------------------------------------------------

type Row = Readonly<Record<string, JsonValue | undefined>>;

/** What stands in a model file or folder, without running it. */
export interface Inspection {
  readonly kind: 'checkpoint' | 'onnx' | 'model';
  /** `egolens.tensor/1` for each tensor, one `egolens.onnx/1`, or the folder's `egolens.model/1`. */
  readonly records: Iterable<Row>;
  /** What else is to be known, one line each. */
  readonly notes: readonly string[];
}

/** An ONNX file is one protobuf message, which cannot be larger. */
const maxOnnxBytes = 2 ** 31;

/**
 * Looks into a checkpoint of any container, an `.onnx` file, a model folder or an installed model. Nothing in it is executed, no tensor
 * is read.
 *
 * @throws EgolensError input.*, checkpoint.*, model.*
 */
export async function inspectModel(path: string): Promise<Inspection> {
  const info = await stat(path).catch(() => undefined);
  const folder = info === undefined ? await findModel(path).catch(() => undefined) : path;
  if (folder !== undefined && info?.isFile() !== true) return await inspectFolder(await openStoredModel(folder));
  if (path.toLowerCase().endsWith('.onnx')) {
    const summary = readOnnx(await readSmallFile(path, maxOnnxBytes), path);
    return { kind: 'onnx', records: [onnxRow(path, summary)], notes: [] };
  }
  await using source = await openFileSource(path);
  const checkpoint = await openCheckpoint(source);
  const { container, weightsKey, prefix, tensors, leftInFile, skipped, foreignNames } = checkpoint;
  const named = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(', ');
  return {
    kind: 'checkpoint',
    records: [...listTensors(checkpoint)].map(({ name, storedType, shape, bytes, storageKey, contiguous }) => ({
      schema: 'egolens.tensor/1',
      input: path,
      name,
      storedType,
      shape,
      bytes,
      storage: storageKey,
      contiguous,
    })),
    notes: [
      `${container}, ${tensors.size} tensors${weightsKey === '' ? '' : ` under \`${weightsKey}\``}${prefix === '' ? '' : `, without the prefix \`${prefix}\``}`,
      ...(leftInFile.length === 0 ? [] : [`beside the weights: ${named(leftInFile)}`]),
      ...skipped.map(({ name, reason }) => `left: \`${name}\` (${reason})`),
      ...(foreignNames.length === 0 ? [] : [`named in the file and never called: ${named(foreignNames)}`]),
    ],
  };
}

async function inspectFolder(stored: StoredModel): Promise<Inspection> {
  const { manifest } = stored;
  const { left } = manifest.source;
  const notes: string[] = [];
  if (hasPreset(manifest)) {
    const { preset } = await openModelFolder(stored.folder);
    notes.push(`preset ${preset.name}@${preset.version}`);
  }
  return {
    kind: 'model',
    records: [manifestRow(manifest)],
    notes: [...notes, ...left.map(({ key, why }) => `left: \`${key}\` (${why})`)],
  };
}

/** model.json as it stands in the folder, with what a later version put into it. */
function manifestRow(manifest: ModelManifest): Row {
  return manifest as unknown as Row; // parsed JSON; interfaces lack the index signature that would let the compiler see it
}

function onnxRow(path: string, summary: OnnxSummary): Row {
  const value = ({ name, dtype, shape }: OnnxSummary['inputs'][number]): Row => ({ name, dtype, shape });
  const files = summary.initializers.flatMap(({ external }) => (external === null ? [] : [external]));
  return {
    schema: 'egolens.onnx/1',
    input: path,
    name: summary.name,
    producer: summary.producer,
    irVersion: summary.irVersion,
    opsets: summary.opsets,
    inputs: summary.inputs.map(value),
    outputs: summary.outputs.map(value),
    initializers: summary.initializers.length,
    weightFiles: [...new Set(files)].sort(),
    operations: Object.fromEntries([...summary.operations].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

/** The graphs of a model folder as text, one after the other under the names of their files. Throws `usage.flag` for anything else. */
export async function modelGraphs(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile()) {
    throw new EgolensError('usage.flag', `\`${path}\`: --graph prints the graphs of a model folder, found a file`);
  }
  const { spec } = await openModelFolder(await findModel(path));
  return [...graphsOf(spec)].map(([file, graph]) => `# ${file}\n${graphText(graph)}`).join('\n');
}

// ---- verify ------------------------------------------------------------------------------------------------------

/** `egolens.verified/1` */
export type VerifiedRecord = {
  readonly schema: 'egolens.verified/1';
  readonly input: string;
  readonly model: string;
  readonly files: number;
  readonly provider: string;
  readonly device: string;
  readonly limit: Float;
  readonly ok: boolean;
  readonly outputs: Readonly<Record<string, { readonly maxAbs: Float | null; readonly relative: Float | null }>>;
};

/** A model that was looked at: its numbers where it could be run, and what is wrong with it. */
export interface Verification {
  readonly input: string;
  readonly record?: VerifiedRecord;
  readonly error?: EgolensError;
}

export interface VerifyOptions {
  /** All that is installed or comes with the program, besides the ones named. */
  readonly all: boolean;
  readonly device: string;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/**
 * Every digest of each model, then its stored probe computed again (files.md 4).
 *
 * @throws EgolensError usage.flag when no model is meant; device.unavailable; the reason of the signal
 */
export async function* verifyModels(names: readonly string[], options: VerifyOptions): AsyncGenerator<Verification> {
  const there = options.all ? [...(await installedModels()), ...(await installedModels(embeddedModels))] : [];
  const inputs = [...names, ...there];
  if (inputs.length === 0 && !options.all) {
    throw new EgolensError('usage.flag', 'no model; expected names, model folders or --all');
  }
  for (const input of inputs) {
    options.signal.throwIfAborted();
    try {
      yield await verifyModel(input, options);
    } catch (error) {
      options.signal.throwIfAborted();
      const fault = asEgolensError(error, input);
      if (fault.code.startsWith('device.')) throw fault;
      yield { input, error: fault };
    }
  }
}

async function verifyModel(input: string, options: VerifyOptions): Promise<Verification> {
  const model = await openStoredModel(await findModel(input));
  options.progress.note(`${model.id}: digests`);
  await verifyFiles(model);
  options.progress.note(`${model.id}: probe`);
  const choice = await chooseProvider(options.device, options.signal);
  const computed = await recomputed(model, async () => {
    if (!hasPreset(model.manifest)) return await runStoredProbe(model, { ...options, device: choice });
    const encoder = await openModelFolder(model.folder);
    await using session = await openModelSession(encoder, { ...options, device: choice });
    return await runProbe(encoder, session, options);
  });
  // The bounds of files.md 4: another device adds in another order, half and int8 round.
  const limit = choice.provider === 'cpu' && model.manifest.precision === 'fp32' ? 1e-4 : 1e-2;
  const outputs: Record<string, VerifiedRecord['outputs'][string]> = {};
  const wrong: string[] = [];
  for (const [name, value] of Object.entries(computed)) {
    const stored = await readProbe(model, name);
    if (shapeText(stored.shape) !== shapeText(value.shape)) {
      throw new EgolensError(
        'model.probe',
        `${model.id}: output \`${name}\` has shape ${shapeText(value.shape)}, the stored one ${shapeText(stored.shape)}`,
      );
    }
    const { maxAbs, relative } = probeError(value, stored);
    outputs[name] = { maxAbs: finite(maxAbs), relative: finite(relative) };
    if (!(relative <= limit)) wrong.push(`\`${name}\` by ${relative.toExponential(2)}`);
  }
  const record: VerifiedRecord = {
    schema: 'egolens.verified/1',
    input,
    model: model.id,
    files: Object.keys(model.manifest.files).length,
    provider: choice.provider,
    device: choice.device,
    limit: float(limit),
    ok: wrong.length === 0,
    outputs,
  };
  if (wrong.length === 0) return { input, record };
  const error = new EgolensError(
    'model.probe',
    `${model.id} on ${choice.device}: off from the stored probe: ${wrong.join(', ')}; expected at most ${limit} of the largest value`,
    { input, try: 'import the model again, or `egolens doctor --gpu` where the device is a GPU' },
  );
  return { input, record, error };
}

/** NaN out of a model that import found finite is the model's fault, not the data's. */
async function recomputed(
  model: StoredModel,
  run: () => Promise<Record<string, Tensor<'float32'>>>,
): Promise<Record<string, Tensor<'float32'>>> {
  try {
    return await run();
  } catch (cause) {
    if (!(cause instanceof EgolensError) || cause.code !== 'data.not_finite') throw cause;
    throw new EgolensError('model.probe', `${model.id}: ${cause.message}`, { cause });
  }
}

function finite(value: number): Float | null {
  return Number.isFinite(value) ? float(value) : null;
}

/** The digests of all models that are there, as lines of `doctor`. */
export async function modelChecks(signal: AbortSignal): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const folder of [...(await installedModels()), ...(await installedModels(embeddedModels))]) {
    signal.throwIfAborted();
    const name = `model ${basename(folder)}`;
    try {
      const model = await openStoredModel(folder);
      await verifyFiles(model);
      results.push({ name, status: 'ok', cause: `${Object.keys(model.manifest.files).length} files as recorded` });
    } catch (error) {
      const { message, details } = asEgolensError(error);
      results.push({ name, status: 'fail', cause: message, remedy: details.try ?? 'import the model again' });
    }
  }
  return results;
}
