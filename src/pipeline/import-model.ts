import { mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { assertValid } from '../check.js';
import { EgolensError } from '../errors.js';
import { removeDeadTemporaries } from '../features/locks.js';
import { makeFolder, readSmallFile, sha256, temporaryName } from '../files.js';
import { modelsFolder } from '../hub/cache.js';
import type { JsonValue } from '../json.js';
import { type ModelManifest, type SourceFile } from '../models/folder.js';
import { parsePreset, presetJson, readPreset } from '../models/presets.js';
import type { ModelSpec } from '../models/spec.js';
import type { Preset, Progress } from '../types.js';
import { readConfig, readJsonObject } from './import-config.js';
import { configure, openSources, sourceRecord, type ImportSources } from './import-sources.js';
import { labelList } from './label-lists.js';
import { checkedName, defaultName, refuseExisting, replaceFolder } from './model-folders.js';
import {
  computeProbe,
  describeFolder,
  graphsOf,
  writeJsonFile,
  writeProbeInputs,
  writeWeights,
} from './model-writer.js';

/** What to make of a checkpoint, and where. */
export interface ImportOptions {
  /** A family, a known size of one, or `auto`: the one family that recognises the names of the tensors. */
  readonly arch: string;
  /** JSON file with the configuration, bare or under `config`. */
  readonly config?: string;
  /** Key renaming: JSON object, name in the file -> official name (null: leave it). */
  readonly map?: string;
  /** Checkpoints of the parts, for a family that has some: name -> path. */
  readonly with?: Readonly<Record<string, string>>;
  /** Vocabulary of the text tower: a `tokenizer.json`, or CLIP's merges file, gzipped or plain. */
  readonly tokenizer?: string;
  /** A label list: its path, or the name of one that comes with the program. */
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
  /** Tensors of the files that fill a parameter. */
  readonly matched: number;
  /** Tensors that the graph has no use for, and why each may be left; those of a part under `NAME.`. */
  readonly left: readonly { readonly key: string; readonly why: string }[];
}

/**
 * Imports an official checkpoint: every tensor of the file and every parameter of the graph is accounted for, or nothing is
 * written. Tensors are streamed; the folder appears under its name when it is complete, its probe included.
 *
 * @throws EgolensError checkpoint.*, model.*, output.exists, and what the child process of the probe reports
 */
export async function importModel(file: string, options: ImportOptions): Promise<ImportReport> {
  const { signal, progress, preset } = options;
  await using sources = await openSources(file, options);
  const given = options.config === undefined ? { config: {} } : await readConfig(options.config);
  const { spec, matched, left, graphs } = configure(sources, given, {
    build: graphsOf,
    ...(preset !== undefined && { preset }),
  });
  const labels = options.labels === undefined ? undefined : await checkedLabels(options.labels, spec);
  const tokenizer = options.tokenizer === undefined ? undefined : await checkedTokenizer(options.tokenizer, spec);
  const name = options.name === undefined ? defaultName(file) : checkedName(options.name);
  const target = options.output === undefined ? undefined : resolve(options.output);
  if (target !== undefined) await refuseExisting(target, options.force ?? false);

  const parent = target === undefined ? modelsFolder() : dirname(target);
  await makeFolder(parent);
  await removeDeadTemporaries(parent);
  const work = temporaryName(target ?? join(parent, name));
  await rm(work, { recursive: true, force: true });
  await mkdir(join(work, 'probe'), { recursive: true });
  try {
    await writeWeights(work, graphs, matched, options);
    await writeJsonFile(work, 'preset.json', presetJson(spec.preset));
    const further: string[] = [];
    if (labels !== undefined) {
      await writeJsonFile(work, 'labels.json', labels);
      further.push('labels.json');
    }
    if (tokenizer !== undefined) {
      await writeFile(join(work, 'tokenizer.json'), tokenizer.json);
      further.push('tokenizer.json');
    }
    const manifest = await describeFolder(work, {
      name,
      spec,
      graphs,
      source: await sourceOf(sources, left, tokenizer?.source),
      trained: options.trained ?? 'official',
      licence: options.licence ?? { code: 'unknown', weights: 'unknown' },
      further,
    });
    await writeJsonFile(work, 'model.json', manifest as unknown as JsonValue);
    await writeProbeInputs(work, spec);
    await computeProbe(work, signal);
    const folder = target ?? join(parent, `${name}@${manifest.digest.slice(0, 12)}`);
    if (target === undefined) await refuseExisting(folder, options.force ?? false);
    await replaceFolder(work, folder);
    if (spec.text !== undefined && tokenizer === undefined) {
      progress?.warn(
        'model.incomplete',
        `${name}: no tokenizer: it takes token ids, no text; \`--tokenizer FILE\` adds one`,
      );
    }
    return { folder, manifest, matched: matched.size, left };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** `source` of model.json: every file that was read. */
async function sourceOf(
  { main, parts }: ImportSources,
  left: ModelManifest['source']['left'],
  tokenizer: SourceFile | undefined,
): Promise<ModelManifest['source']> {
  const others: Record<string, Awaited<ReturnType<typeof sourceRecord>>> = {};
  for (const [name, part] of parts) others[name] = await sourceRecord(part);
  return {
    ...(await sourceRecord(main)),
    left,
    ...(parts.size > 0 && { with: others }),
    ...(tokenizer !== undefined && { tokenizer }),
  };
}

interface Vocabulary {
  /** Text of tokenizer.json. */
  readonly json: string;
  readonly source: SourceFile;
}

async function checkedTokenizer(path: string, { text, family }: ModelSpec): Promise<Vocabulary> {
  if (text === undefined) {
    throw new EgolensError('usage.conflict', `--tokenizer \`${path}\`: family ${family} has no text tower`);
  }
  const { openTokenizer, tokenizerJson } = await import('../text/tokenizer.js');
  const file = await readSmallFile(path);
  const json = tokenizerJson(file, path);
  const { size } = openTokenizer(new TextEncoder().encode(json), path);
  if (size !== text.vocabulary) {
    throw new EgolensError(
      'model.config',
      `\`${path}\`: ${size} tokens; the text tower has ${text.vocabulary}, expected as many`,
      { input: path, try: 'take the vocabulary that the checkpoint was trained with' },
    );
  }
  return { json, source: { name: basename(path), bytes: file.length, sha256: sha256(file) } };
}

/** A preset by name, `name@version`, or path of a preset file. @throws EgolensError usage.flag, data.invalid */
export async function presetOf(nameOrPath: string): Promise<Preset> {
  if (!nameOrPath.endsWith('.json')) return readPreset(nameOrPath);
  const value = await readJsonObject(nameOrPath);
  await assertValid('egolens.preset/1', value, nameOrPath);
  return parsePreset(value);
}

async function checkedLabels(nameOrPath: string, { classes, text, family }: ModelSpec): Promise<JsonValue> {
  if (classes === 0) {
    throw new EgolensError(
      'usage.conflict',
      `--labels \`${nameOrPath}\`: this model of family ${family} has no classes`,
      {
        try:
          text === undefined
            ? 'leave it out'
            : 'leave it out; `egolens recognize --zero-shot --labels LIST` takes the names as texts',
      },
    );
  }
  const list = await labelList(nameOrPath);
  const { labels } = list;
  if (labels.length !== classes) {
    throw new EgolensError(
      'model.config',
      `\`${nameOrPath}\`: ${labels.length} labels; the model has ${classes} classes`,
      {
        try: 'take the list that the checkpoint was trained with',
      },
    );
  }
  return list as unknown as JsonValue; // parsed JSON; interfaces lack the index signature that would let the compiler see it
}
