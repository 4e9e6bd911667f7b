import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { assertValid } from '../check.js';
import { asEgolensError, EgolensError, type ErrorCode } from '../errors.js';
import type { ClockJson } from '../features/meta.js';
import { pathExists, readSmallFile, sha256, sha256File } from '../files.js';
import type { JsonValue } from '../json.js';
import type { Dim, DType, Preset } from '../types.js';
import type { HeadTask } from './head.js';
import { familyOf } from './index.js';
import { parsePreset } from './presets.js';
import type { ModelSpec } from './spec.js';

/** One input or output of a model, as model.json describes it. */
export interface PortInfo {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  readonly meaning: string;
}

/** A file that an import read. */
export interface SourceFile {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** A checkpoint that an import read, and where its weights stood. */
export interface CheckpointSource extends SourceFile {
  readonly container: string;
  readonly weightsKey: string | null;
  readonly prefix: string | null;
}

/** Features that a head was made for; null where nothing tells it, as for an imported head. */
export interface FeatureSource {
  /** `name@` and 12 digits of the digest of the encoder. */
  readonly model: string | null;
  readonly output: string | null;
  readonly width: number;
  /** `name@version` of the recipe of its windows. */
  readonly preset?: string;
}

/** `head` of model.json (files.md 4): what a head folder says beyond what every model says. */
export interface HeadInfo {
  readonly task: HeadTask;
  /** One for each stream of features. */
  readonly features: readonly FeatureSource[];
  /** The grid of the features it was trained on. */
  readonly clock: Omit<ClockJson, 'rows' | 'tail'> | null;
  readonly text: { readonly model: string; readonly layer: string | number; readonly width: number } | null;
  /** Thresholds and the like, which `decode` takes. */
  readonly options: Readonly<Record<string, JsonValue>>;
  /** Rule and version of `decode`. */
  readonly postprocess: string;
}

/** `egolens.model/1` */
export interface ModelManifest {
  readonly schema: 'egolens.model/1';
  readonly name: string;
  readonly kind: 'encoder' | 'two-tower' | 'coordination' | 'head' | 'detector';
  readonly family: string;
  readonly config: Readonly<Record<string, JsonValue>>;
  readonly inputs: Readonly<Record<string, PortInfo>>;
  readonly outputs: Readonly<Record<string, PortInfo>>;
  readonly precision: 'fp32' | 'fp16' | 'int8';
  /** `official`, `tabletop`, `untrained`, or the run that made it. */
  readonly trained: string;
  readonly licence: { readonly code: string; readonly weights: string };
  readonly source: CheckpointSource & {
    /** Tensors that the model does not use; those of a part under `PART.`. */
    readonly left: readonly { readonly key: string; readonly why: string }[];
    /** Checkpoints of the parts, for a model made of several (`models import --with`). */
    readonly with?: Readonly<Record<string, CheckpointSource>>;
    /** What tokenizer.json was made of. */
    readonly tokenizer?: SourceFile;
  };
  /** Path below the folder -> SHA-256; all files but model.json and probe/. */
  readonly files: Readonly<Record<string, string>>;
  readonly digest: string;
  /** Of heads only. */
  readonly head?: HeadInfo;
}

/** What to say before labels or scores of a model are believed; undefined for a model that learned from real videos. */
export function doubtOf({
  id,
  manifest,
}: Pick<ModelFolder, 'id' | 'manifest'>): { readonly code: ErrorCode; readonly text: string } | undefined {
  if (manifest.trained === 'untrained')
    return { code: 'model.untrained', text: `${id} has learned nothing: what it gives means nothing` };
  if (manifest.trained === 'tabletop')
    return { code: 'model.tabletop', text: `${id} knows Tabletop, a drawn world: on other videos it means little` };
  return undefined;
}

/** Files without which a model cannot run; all others depend on its kind. */
const needed = ['graph.onnx', 'preset.json'] as const;
const otherNeeds = ['graph.onnx'] as const;

/** Does a model of this kind come with a recipe for its pixels, and can its graphs be built again from the configuration? */
export function hasPreset({ kind }: Pick<ModelManifest, 'kind'>): boolean {
  return kind !== 'head' && kind !== 'detector';
}

/** A folder that a model.json describes, its presence checked: a model or a head. */
export interface StoredModel {
  readonly folder: string;
  readonly manifest: ModelManifest;
  /** How records name it: `name@` and the first 12 digits of the digest. */
  readonly id: string;
}

/** An imported model on disk (files.md 4). */
export interface ModelFolder extends StoredModel {
  readonly spec: ModelSpec;
  readonly preset: Preset;
  /** Class names in index order; null where the model brings none. */
  readonly labels: readonly string[] | null;
  /** Path of the folder's `tokenizer.json`; null where the model has no text tower or was imported without one. */
  readonly tokenizer: string | null;
}

/** Digest of a model: SHA-256 over the lines `<sha256>  <path>` of its files in byte order of the paths. */
export function modelDigest(files: Readonly<Record<string, string>>): string {
  const paths = Object.keys(files).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return sha256(paths.map((path) => `${files[path]}  ${path}\n`).join(''));
}

/**
 * Opens a model folder: its description is checked, the presence of its files too; their digests are `verifyFiles`'s work, since
 * hashing gigabytes at every start would cost more than most runs.
 *
 * @throws EgolensError model.not_found, model.incomplete, model.digest, model.config, model.unknown_family, data.invalid
 */
export async function openModelFolder(folder: string): Promise<ModelFolder> {
  const stored = await openStoredModel(folder);
  const { manifest, id } = stored;
  if (!hasPreset(manifest)) {
    throw new EgolensError(
      'model.config',
      `${id}: a ${manifest.kind} of family ${manifest.family}; expected a model that makes features of pictures`,
      {
        try:
          manifest.kind === 'detector'
            ? '`anticipate --detector` takes it'
            : '`--head` takes it, beside the encoder that `--model` names',
      },
    );
  }
  const preset = parsePreset(await readJson(join(folder, 'preset.json'), 'egolens.preset/1'));
  const labels = manifest.files['labels.json'] === undefined ? null : await readLabels(join(folder, 'labels.json'));
  const spec = familyOf(manifest.family).family.spec(manifest.config, { preset });
  const tokenizer = manifest.files['tokenizer.json'] === undefined ? null : join(folder, 'tokenizer.json');
  return { ...stored, spec, preset, labels, tokenizer };
}

/**
 * The description of a folder of any kind: its form, the presence of the files it lists, and its digest over them.
 *
 * @throws EgolensError model.not_found, model.incomplete, model.digest, data.invalid
 */
export async function openStoredModel(folder: string): Promise<StoredModel> {
  const manifestPath = join(folder, 'model.json');
  if (!(await pathExists(manifestPath))) {
    throw new EgolensError('model.not_found', `\`${folder}\`: expected a model folder, found no \`model.json\` in it`, {
      try: '`egolens models import CHECKPOINT --arch FAMILY -o DIR` makes one',
    });
  }
  const manifest = (await readJson(manifestPath, 'egolens.model/1')) as ModelManifest;
  for (const path of hasPreset(manifest) ? needed : otherNeeds) {
    if (manifest.files[path] === undefined) {
      throw new EgolensError(
        'model.incomplete',
        `\`${manifestPath}\`: \`files\`: expected \`${path}\` in it, found none`,
      );
    }
  }
  for (const path of Object.keys(manifest.files)) {
    const info = await stat(join(folder, path)).catch(() => undefined);
    if (!info?.isFile()) {
      throw new EgolensError('model.incomplete', `\`${folder}\`: model.json lists \`${path}\`, which is missing`, {
        try: 'import the model again',
      });
    }
  }
  const digest = modelDigest(manifest.files);
  if (digest !== manifest.digest) {
    throw new EgolensError(
      'model.digest',
      `\`${manifestPath}\`: \`digest\`: expected ${digest}, that of the files it lists, found ${manifest.digest}`,
      { try: 'import the model again' },
    );
  }
  const id = `${manifest.name}@${manifest.digest.slice(0, 12)}`;
  return { folder, manifest, id };
}

/** Hashes every file of the model. @throws EgolensError model.digest naming the first file with other bytes than recorded */
export async function verifyFiles(model: StoredModel): Promise<void> {
  for (const [path, expected] of Object.entries(model.manifest.files)) {
    const found = await sha256File(join(model.folder, path));
    if (found !== expected) {
      throw new EgolensError(
        'model.digest',
        `\`${join(model.folder, path)}\`: expected SHA-256 ${expected}, found ${found}`,
        { try: 'import the model again' },
      );
    }
  }
}

/** The names of a label list file. @throws EgolensError model.incomplete where there is none, data.invalid */
export async function readLabels(path: string): Promise<readonly string[]> {
  return ((await readJson(path, 'egolens.labels/1')) as { labels: readonly string[] }).labels;
}

async function readJson(
  path: string,
  schema: 'egolens.model/1' | 'egolens.preset/1' | 'egolens.labels/1',
): Promise<unknown> {
  const bytes = await readSmallFile(path).catch((cause: unknown) => {
    const error = asEgolensError(cause);
    throw error.code === 'input.not_found' ? new EgolensError('model.incomplete', error.message, { cause }) : error;
  });
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${path}\`: no JSON: ${(cause as Error).message}`, { cause });
  }
  await assertValid(schema, value, basename(path));
  return value;
}
