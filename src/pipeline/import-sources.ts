/** The checkpoints of an import: opened, put under official names, and laid beside the graphs. No tensor is read here. */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { keyReportError, matchKeys } from '../checkpoint/match-keys.js';
import { openCheckpoint, type Checkpoint } from '../checkpoint/state-dict.js';
import { EgolensError } from '../errors.js';
import { openFileSource, sha256File, type FileSource } from '../files.js';
import type { Graph } from '../graph/builder.js';
import type { JsonValue } from '../json.js';
import { mergedConfig } from '../models/config.js';
import type { CheckpointSource } from '../models/folder.js';
import { families, familyOf } from '../models/index.js';
import type { KeyShapes, ModelFamily, ModelSpec } from '../models/spec.js';
import type { Preset, StateDict } from '../types.js';
import { applyMap, checkSize, type GivenConfig } from './import-config.js';

/** One checkpoint of an import. */
interface Opened {
  readonly path: string;
  readonly family: ModelFamily;
  readonly checkpoint: Checkpoint;
  /** By official name. */
  readonly tensors: StateDict;
}

/** What `openSources` takes beside the file. */
export interface SourceOptions {
  /** A family, a known size of one, or `auto`. */
  readonly arch: string;
  /** Path of a map file, for the keys of the file itself. */
  readonly map?: string;
  /** Checkpoints of the parts of the family: name -> path. */
  readonly with?: Readonly<Record<string, string>>;
}

/** The opened checkpoints of one import; disposing closes the files. */
export interface ImportSources extends AsyncDisposable {
  readonly arch: string;
  readonly family: ModelFamily;
  /** What the known size says; empty for a family. */
  readonly size: Readonly<Record<string, JsonValue>>;
  readonly main: Opened;
  readonly parts: ReadonlyMap<string, Opened>;
  /** Official tensors of all files, those of a part under `NAME.`. */
  readonly tensors: StateDict;
}

/**
 * Opens the checkpoint and those of its parts.
 *
 * @throws EgolensError model.unknown_family, usage.conflict where parts are missing or unknown, and the codes of `openCheckpoint`
 */
export async function openSources(file: string, options: SourceOptions): Promise<ImportSources> {
  const files: FileSource[] = [];
  const close = async (): Promise<void> => {
    for (const source of files) await source[Symbol.asyncDispose]();
  };
  const open = async (path: string): Promise<Checkpoint> => {
    const source = await openFileSource(path);
    files.push(source);
    return await openCheckpoint(source);
  };
  try {
    const named = options.arch === 'auto' ? undefined : familyOf(options.arch);
    if (named) checkParts(named.family, options.with ?? {});
    const checkpoint = await open(file);
    const renamed = options.map === undefined ? checkpoint.tensors : await applyMap(checkpoint.tensors, options.map);
    const { family, size } = named ?? { family: recognised(renamed, file), size: {} };
    if (!named) checkParts(family, options.with ?? {});
    const main: Opened = { path: file, family, checkpoint, tensors: family.official(renamed) };
    const parts = new Map<string, Opened>();
    for (const [name, part] of Object.entries(family.parts ?? {})) {
      const path = options.with![name]!; // checkParts saw it
      await refuseFolder(name, path);
      const opened = await open(path);
      parts.set(name, { path, family: part, checkpoint: opened, tensors: part.official(opened.tensors) });
    }
    const tensors = new Map(main.tensors);
    for (const [name, part] of parts) {
      for (const [key, value] of part.tensors) tensors.set(`${name}.${key}`, value);
    }
    const arch = options.arch === 'auto' ? family.name : options.arch;
    return { arch, family, size, main, parts, tensors, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** All parts of the family and no others. */
function checkParts({ name: family, parts = {} }: ModelFamily, found: Readonly<Record<string, string>>): void {
  const wanted = Object.keys(parts);
  const given = Object.keys(found);
  if (wanted.every((name) => Object.hasOwn(found, name)) && given.every((name) => Object.hasOwn(parts, name))) return;
  const list = (names: readonly string[]): string => (names.length === 0 ? 'none' : names.join(', '));
  throw new EgolensError(
    'usage.conflict',
    `${family}: expected the checkpoints of these parts: ${list(wanted)}; found ${list(given)}`,
    {
      try:
        wanted.length === 0
          ? 'leave `--with` out: this family is one file'
          : wanted.map((name) => `\`--with ${name}=FILE\``).join(' '),
    },
  );
}

async function refuseFolder(name: string, path: string): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isDirectory() !== true) return;
  throw new EgolensError(
    'input.not_a_file',
    `--with ${name}=${path}: expected the checkpoint of that part, found a folder`,
    { try: 'give the file that the model folder was imported from: `source` in its model.json names it' },
  );
}

/** Keys and shapes, as families judge files by them. */
function shapesOf(tensors: StateDict): KeyShapes {
  return new Map([...tensors].map(([key, { shape }]) => [key, shape]));
}

/** The families that take these tensors for theirs. */
function claimants(tensors: StateDict): ModelFamily[] {
  return families.filter((family) => family.recognises(shapesOf(family.official(tensors))));
}

/** `--arch auto`. */
function recognised(tensors: StateDict, file: string): ModelFamily {
  const [family, ...others] = claimants(tensors);
  if (family !== undefined && others.length === 0) return family;
  const names = (list: readonly ModelFamily[]): string => list.map(({ name }) => `\`${name}\``).join(', ');
  throw new EgolensError(
    'model.unknown_family',
    family === undefined
      ? `\`${file}\`: the names of its tensors are those of no family; there are ${names(families)}`
      : `\`${file}\`: the names of its tensors are those of ${names([family, ...others])}; expected one family`,
    { input: file, try: 'name it with `--arch`; `egolens models inspect FILE` lists the tensors' },
  );
}

/** What a configured import goes on with. */
export interface Configured {
  readonly spec: ModelSpec;
  /** Parameter -> tensor. */
  readonly matched: StateDict;
  /** Tensors that have no parameter, and why each may be left. */
  readonly left: { readonly key: string; readonly why: string }[];
  readonly graphs: ReadonlyMap<string, Graph>;
}

/**
 * Configuration, graphs, and an account of every tensor and parameter. What the configuration leaves open is read off the keys.
 *
 * @param build the graphs of a model by file name
 * @throws EgolensError model.config, model.key_unmatched, model.shape; where the file looks like that of another family, it says so
 */
export function configure(
  sources: ImportSources,
  given: GivenConfig,
  { preset, build }: { readonly preset?: Preset; readonly build: (spec: ModelSpec) => ReadonlyMap<string, Graph> },
): Configured {
  const { family, size, main, parts, tensors } = sources;
  checkSize(sources.arch, size, given.config);
  try {
    const inner = [...parts].map(([name, part]) => [name, part.family.infer(shapesOf(part.tensors))] as const);
    const inferred = mergedConfig(Object.fromEntries(inner), family.infer(shapesOf(tensors)));
    const spec = family.spec(mergedConfig(inferred, size, given.config), {
      ...(given.repository !== undefined && { repository: given.repository }),
      ...(preset !== undefined && { preset }),
    });
    const graphs = build(spec);
    const { matched, left } = account([...graphs.values()], spec.adapt(tensors), spec, main.path);
    for (const [name, { checkpoint }] of [['', main] as const, ...parts]) {
      const prefix = name === '' ? '' : `${name}.`;
      for (const { name: key, reason } of checkpoint.skipped)
        left.push({ key: `${prefix}${key}`, why: `no tensor: ${reason}` });
    }
    return { spec, matched, left, graphs };
  } catch (error) {
    throw withLookalike(error, sources);
  }
}

/**
 * Every parameter has its tensor and every tensor its parameter or its reason.
 *
 * @param tensors adapted to the graph
 * @param file what messages call it
 * @throws EgolensError model.key_unmatched or model.shape with both sides
 */
export function account(
  graphs: readonly Graph[],
  tensors: StateDict,
  spec: Pick<ModelSpec, 'leftover'>,
  file: string,
): Pick<Configured, 'matched' | 'left'> {
  const wanted = new Map(graphs.flatMap((graph) => graph.params.map(({ name, shape }) => [name, shape] as const)));
  const report = matchKeys(wanted, tensors, (key) => key, { has: (key) => spec.leftover(key) !== undefined });
  const fault = keyReportError(report, file);
  if (fault !== null) throw fault;
  return { matched: report.matched, left: report.left.map((key) => ({ key, why: spec.leftover(key)! })) };
}

/** The error of a file that does not fit; where it is a file of another family, with that family's name. */
function withLookalike(error: unknown, { main, parts }: ImportSources): unknown {
  if (!(error instanceof EgolensError) || !error.code.startsWith('model.')) return error;
  for (const [name, { path, family, checkpoint, tensors }] of [['', main] as const, ...parts]) {
    if (family.recognises(shapesOf(tensors))) continue;
    const others = claimants(checkpoint.tensors).filter((other) => other !== family);
    if (others.length === 0) continue;
    const names = others.map((other) => `\`${other.name}\``).join(' or ');
    const said = `${error.message}\n\`${path}\` looks like ${names}${name === '' ? '' : `; --with ${name} takes a file of family \`${family.name}\``}`;
    const advice = name === '' ? `\`--arch ${others[0]!.name}\`` : `give the checkpoint of the ${name} part`;
    return new EgolensError(error.code, said, { ...error.details, cause: error, try: advice });
  }
  return error;
}

/** What model.json records of a checkpoint: name, size, digest, and where its weights stood. */
export async function sourceRecord({
  path,
  checkpoint,
}: Pick<Opened, 'path' | 'checkpoint'>): Promise<CheckpointSource> {
  const { container, weightsKey, prefix } = checkpoint;
  await using source = await openFileSource(path);
  return {
    name: basename(path),
    bytes: source.size,
    sha256: await sha256File(path),
    container,
    weightsKey: weightsKey === '' ? null : weightsKey,
    prefix: prefix === '' ? null : prefix,
  };
}
