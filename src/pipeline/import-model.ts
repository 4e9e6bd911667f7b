import { spawn } from 'node:child_process';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { assertValid } from '../check.js';
import { keyReportError, matchKeys } from '../checkpoint/match-keys.js';
import { writeNpy } from '../checkpoint/npy.js';
import { openCheckpoint, type Checkpoint } from '../checkpoint/state-dict.js';
import { EgolensError } from '../errors.js';
import { removeDeadTemporaries } from '../features/locks.js';
import { builtProgram, makeFolder, openFileSource, pathExists, sha256File, temporaryName, writeAt } from '../files.js';
import type { Graph } from '../graph/builder.js';
import { onnxBytes } from '../graph/onnx.js';
import { planWeights, type WeightPlan } from '../graph/weights.js';
import { modelsFolder } from '../hub/cache.js';
import { jsonText, type JsonValue } from '../json.js';
import { modelDigest, readLabels, type ModelManifest, type PortInfo } from '../models/folder.js';
import { familyOf } from '../models/index.js';
import { labelLists, parsePreset, presetJson, readPreset } from '../models/presets.js';
import { graphFiles, type ModelSpec } from '../models/spec.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Preset, Progress, StateDict } from '../types.js';
import { probeFrames } from './probe.js';

/** What to make of a checkpoint, and where. */
export interface ImportOptions {
  /** A family, or a known size of one. */
  readonly arch: string;
  /** JSON file with the configuration, bare or under `config`. */
  readonly config?: string;
  /** Key renaming: JSON object, name in the file -> official name (null: leave it). */
  readonly map?: string;
  readonly labels?: string;
  readonly preset?: Preset;
  readonly name?: string;
  /** Where the model folder goes; where absent, into the models folder under `name@digest`. */
  readonly output?: string;
  readonly force?: boolean;
  readonly trained?: string;
  readonly licence?: { readonly code: string; readonly weights: string };
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** What became of an import. */
export interface ImportReport {
  readonly folder: string;
  readonly manifest: ModelManifest;
  /** Tensors of the file that fill a parameter. */
  readonly matched: number;
  /** Tensors that the graph has no use for, and why each may be left. */
  readonly left: readonly { readonly key: string; readonly why: string }[];
}

/**
 * Imports an official checkpoint: every tensor of the file and every parameter of the graph is accounted for, or nothing is
 * written. Tensors are streamed; the folder appears under its name when it is complete, its probe included.
 *
 * @throws EgolensError checkpoint.*, model.*, output.exists, and what the child process of the probe reports
 */
export async function importModel(file: string, options: ImportOptions): Promise<ImportReport> {
  const { family, size } = familyOf(options.arch);
  await using source = await openFileSource(file);
  const checkpoint = await openCheckpoint(source, {});
  const renamed = options.map === undefined ? checkpoint.tensors : await applyMap(checkpoint.tensors, options.map);
  const given: GivenConfig = options.config === undefined ? { config: {} } : await readConfig(options.config);
  const official = family.official(renamed);
  const keyShapes = new Map([...official].map(([key, { shape }]) => [key, shape]));
  checkSize(options.arch, size, given.config);
  const config = { ...family.infer(keyShapes), ...size, ...given.config };
  const spec = family.spec(config, {
    ...(given.repository !== undefined && { repository: given.repository }),
    ...(options.preset !== undefined && { preset: options.preset }),
  });
  const labels = options.labels === undefined ? undefined : await checkedLabels(options.labels, spec);
  const name = options.name === undefined ? defaultName(file) : checkedName(options.name);
  const target = options.output === undefined ? undefined : resolve(options.output);
  if (target !== undefined) await refuseExisting(target, options.force ?? false);

  const graphs = graphFiles.map((variant) => spec.build(variant));
  const { matched, left } = account(graphs, spec.adapt(official), spec, file);
  left.push(...checkpoint.skipped.map(({ name: key, reason }) => ({ key, why: `no tensor: ${reason}` })));

  const parent = target === undefined ? modelsFolder() : dirname(target);
  await makeFolder(parent);
  await removeDeadTemporaries(parent);
  const work = temporaryName(target ?? join(parent, name));
  await rm(work, { recursive: true, force: true });
  await mkdir(join(work, 'probe'), { recursive: true });
  try {
    await writeWeights(work, graphs, matched, options);
    await writeText(work, 'preset.json', presetJson(spec.preset));
    if (labels !== undefined) await writeText(work, 'labels.json', labels);
    const manifest = await describeModel(work, { name, spec, checkpoint, source, left, graphs, options });
    await writeText(work, 'model.json', manifest as unknown as JsonValue);
    await writeProbeInput(work, spec);
    await computeProbe(work, options.signal);
    const folder = target ?? join(parent, `${name}@${manifest.digest.slice(0, 12)}`);
    if (target === undefined) await refuseExisting(folder, options.force ?? false);
    await replaceFolder(work, folder);
    return { folder, manifest, matched: matched.size, left };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

interface GivenConfig {
  readonly config: Record<string, unknown>;
  readonly repository?: string;
}

/** A configuration file: the object itself, or any JSON that holds it under `config`; `official.repository` beside it. */
async function readConfig(path: string): Promise<GivenConfig> {
  const value = await readJsonObject(path, 'model.config');
  const inner = value['config'];
  const config = isObject(inner) ? inner : value;
  const official = value['official'];
  const repository = isObject(official) ? official['repository'] : undefined;
  return { config, ...(typeof repository === 'string' && { repository }) };
}

/** A known size and a configuration may not say different things. */
function checkSize(
  arch: string,
  size: Readonly<Record<string, JsonValue>>,
  config: Readonly<Record<string, unknown>>,
): void {
  for (const [name, value] of Object.entries(size)) {
    const found = config[name] ?? value;
    if (found === value) continue;
    throw new EgolensError(
      'model.config',
      `\`${name}\`: ${arch} has ${JSON.stringify(value)}, the configuration ${JSON.stringify(found)}`,
      { try: 'name the family instead of the size, or leave the member out' },
    );
  }
}

async function applyMap(tensors: StateDict, path: string): Promise<StateDict> {
  const map = await readJsonObject(path, 'model.config');
  for (const key of Object.keys(map)) {
    if (!tensors.has(key))
      throw new EgolensError('model.config', `\`${path}\`: \`${key}\`: the checkpoint has no such tensor`);
  }
  const renamed = new Map<string, StateDict extends ReadonlyMap<string, infer T> ? T : never>();
  for (const [key, value] of tensors) {
    const to = Object.hasOwn(map, key) ? map[key] : key;
    if (to === null) continue;
    if (typeof to !== 'string')
      throw new EgolensError('model.config', `\`${path}\`: \`${key}\`: expected a name or null`);
    if (renamed.has(to)) throw new EgolensError('model.config', `\`${path}\`: two tensors become \`${to}\``);
    renamed.set(to, value);
  }
  return renamed;
}

async function readJsonObject(path: string, code: 'model.config'): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new EgolensError(
      code,
      `\`${path}\`: cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown reason'})`,
      { cause },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EgolensError(code, `\`${path}\`: no JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isObject(value)) throw new EgolensError(code, `\`${path}\`: expected a JSON object`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A label list by path, or by the name of one that comes with the program. @throws EgolensError input.not_found */
export async function labelsPath(nameOrPath: string): Promise<string> {
  if (await pathExists(nameOrPath)) return nameOrPath;
  const path = labelLists().get(nameOrPath);
  if (path !== undefined) return path;
  const names = [...labelLists().keys()].join(', ');
  throw new EgolensError('input.not_found', `no label list \`${nameOrPath}\`: neither a file nor one of ${names}`);
}

/** A preset by name, `name@version`, or path of a preset file. @throws EgolensError usage.flag, data.invalid */
export async function presetOf(nameOrPath: string): Promise<Preset> {
  if (!nameOrPath.endsWith('.json')) return readPreset(nameOrPath);
  const value = await readJsonObject(nameOrPath, 'model.config');
  await assertValid('egolens.preset/1', value, nameOrPath);
  return parsePreset(value);
}

async function checkedLabels(path: string, spec: ModelSpec): Promise<JsonValue> {
  const labels = await readLabels(path);
  if (labels.length !== spec.classes) {
    throw new EgolensError(
      'model.config',
      `\`${path}\`: ${labels.length} labels; the model has ${spec.classes} classes`,
      {
        try: 'take the list that the checkpoint was trained with',
      },
    );
  }
  return JSON.parse(await readFile(path, 'utf8')) as JsonValue;
}

function defaultName(file: string): string {
  return (
    basename(file)
      .replace(/\.[^.]+$/, '')
      .replaceAll(/[^\w.-]+/g, '-') || 'model'
  );
}

/** A name becomes part of paths and of `name@digest`. */
function checkedName(name: string): string {
  if (/^\w[\w.-]{0,99}$/.test(name)) return name;
  throw new EgolensError('usage.flag', `--name \`${name}\`: expected letters, digits, \`.\`, \`_\` and \`-\``);
}

async function refuseExisting(folder: string, force: boolean): Promise<void> {
  if (!force && (await pathExists(folder))) {
    throw new EgolensError('output.exists', `\`${folder}\`: exists already`, { try: '`--force` replaces it' });
  }
  if (force && (await pathExists(folder)) && !(await pathExists(join(folder, 'model.json')))) {
    throw new EgolensError('output.exists', `\`${folder}\`: exists and is no model folder, so it is not replaced`);
  }
}

async function replaceFolder(work: string, folder: string): Promise<void> {
  if (await pathExists(folder)) {
    const old = `${work}.old`;
    await rename(folder, old);
    await rename(work, folder);
    await rm(old, { recursive: true, force: true });
  } else {
    await rename(work, folder);
  }
}

interface Account {
  readonly matched: StateDict;
  readonly left: { key: string; why: string }[];
}

/** Every parameter has its tensor and every tensor its parameter or its reason; else `model.key_unmatched` or `model.shape` with both sides. */
function account(graphs: readonly Graph[], tensors: StateDict, spec: ModelSpec, file: string): Account {
  const wanted = new Map(graphs.flatMap((graph) => graph.params.map(({ name, shape }) => [name, shape] as const)));
  const report = matchKeys(wanted, tensors, (key) => key, { has: (key) => spec.leftover(key) !== undefined });
  const fault = keyReportError(report, file);
  if (fault !== null) throw fault;
  return { matched: report.matched, left: report.left.map((key) => ({ key, why: spec.leftover(key)! })) };
}

/** weights.bin and the graphs over it, tensor by tensor in the order of the file's layout. */
async function writeWeights(
  folder: string,
  graphs: readonly Graph[],
  tensors: StateDict,
  options: ImportOptions,
): Promise<void> {
  const plan = planWeights(graphs);
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
  for (const [i, { file }] of graphFiles.entries()) {
    const bytes = onnxBytes(graphs[i]!, { weightsFile: 'weights.bin', plan, inline: (name) => inline.get(name)! });
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

async function writeText(folder: string, name: string, value: JsonValue): Promise<void> {
  await writeFile(join(folder, name), `${jsonText(value, 2)}\n`);
}

interface Described {
  readonly name: string;
  readonly spec: ModelSpec;
  readonly checkpoint: Checkpoint;
  readonly source: { readonly name: string; readonly size: number };
  readonly left: readonly { key: string; why: string }[];
  readonly graphs: readonly Graph[];
  readonly options: ImportOptions;
}

async function describeModel(folder: string, described: Described): Promise<ModelManifest> {
  const { name, spec, checkpoint, source, left, graphs, options } = described;
  const paths = [
    'graph.onnx',
    'graph.webgpu.onnx',
    'graph.float.onnx',
    'graph.float.webgpu.onnx',
    'preset.json',
    'weights.bin',
  ];
  if (options.labels !== undefined) paths.push('labels.json');
  const files: Record<string, string> = {};
  for (const path of paths.sort()) files[path] = await sha256File(join(folder, path));
  const inputs: Record<string, PortInfo> = {};
  for (const { name: input, dtype, shape } of graphs[0]!.inputs) {
    inputs[input] = {
      dtype,
      shape,
      meaning: input === 'frames' ? 'rgb pixels, 0 to 255, not normalised' : 'see `encode`',
    };
  }
  const outputs: Record<string, PortInfo> = {};
  for (const [output, { shape, meaning }] of Object.entries(spec.outputs))
    outputs[output] = { dtype: 'float32', shape, meaning };
  return {
    schema: 'egolens.model/1',
    name,
    kind: 'encoder',
    family: spec.family,
    config: spec.config,
    inputs,
    outputs,
    precision: 'fp32',
    trained: options.trained ?? 'official',
    licence: options.licence ?? { code: 'unknown', weights: 'unknown' },
    source: {
      name: basename(source.name),
      bytes: source.size,
      sha256: await sha256File(source.name),
      container: checkpoint.container,
      weightsKey: checkpoint.weightsKey === '' ? null : checkpoint.weightsKey,
      prefix: checkpoint.prefix === '' ? null : checkpoint.prefix,
      left,
    },
    files,
    digest: modelDigest(files),
  };
}

async function writeProbeInput(folder: string, spec: ModelSpec): Promise<void> {
  await writeFile(join(folder, 'probe', 'input.npy'), writeNpy(probeFrames(spec)));
  for (const [name, value] of Object.entries(spec.probeArrays())) {
    await writeFile(join(folder, 'probe', `${name}.npy`), writeNpy(value));
  }
}

/** The probe runs in a child process: its memory is the model's, ours stays that of a copy. */
async function computeProbe(folder: string, signal: AbortSignal | undefined): Promise<void> {
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
