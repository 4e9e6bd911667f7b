/** What a fine-tuning run ends with: the encoder and the head as folders of their own. */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { writeSafetensors, type SafetensorsEntry } from '../checkpoint/safetensors.js';
import { makeFolder, sha256File } from '../files.js';
import { jsonText } from '../json.js';
import { familyOf } from '../models/index.js';
import type { ModelFolder, StoredModel } from '../models/folder.js';
import type { Head } from '../models/head.js';
import { graphFiles } from '../models/spec.js';
import { bytesOf } from '../tensor.js';
import type { Weights } from '../train/step.js';
import type { Progress, Tensor } from '../types.js';
import { encoderPrefix, headPrefix } from './fine-tune-step.js';
import { stateDictOf, writeHeadFolder } from './head-writer.js';
import { importModel } from './import-model.js';
import type { LabelList } from './label-lists.js';

export interface TunedModel {
  /** What was tuned. */
  readonly model: ModelFolder;
  readonly head: Head;
  readonly labels: Readonly<Record<string, LabelList>>;
  /** Of the run, all of them: `encoder.…` and `head.…`. */
  readonly weights: Weights;
  /** Of the run. */
  readonly folder: string;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** The folders of the end product. */
export interface TunedFolders {
  readonly encoder: StoredModel;
  readonly head: StoredModel;
}

/**
 * Writes `final/encoder/`, the tuned encoder in its family and preset without a classifier of its own, and `final/head/` over its feature.
 * What was there is replaced.
 *
 * @throws EgolensError data.not_finite, output.*, limit.disk, model.probe
 */
export async function writeTuned({
  model,
  head,
  labels,
  weights,
  folder,
  signal,
  progress,
}: TunedModel): Promise<TunedFolders> {
  const final = join(resolve(folder), 'final');
  await makeFolder(final);
  const trained = `run ${basename(resolve(folder))}`;
  const { manifest, preset, spec } = model;
  const work = await mkdtemp(join(tmpdir(), 'egolens-tuned-'));
  try {
    const config = withoutClasses(spec.config);
    const { family } = familyOf(spec.family);
    const own = family
      .spec(config, { preset })
      .build(graphFiles[0])
      .params.map(({ name }) => name);
    const encoderFile = await writeTensors(join(work, 'encoder.safetensors'), part(weights, encoderPrefix, own));
    const headFile = await writeTensors(join(work, 'head.safetensors'), part(weights, headPrefix));
    const configFile = join(work, 'config.json');
    await writeFile(configFile, jsonText(config));
    const further = { ...(signal && { signal }), ...(progress && { progress }) };
    const encoder = await importModel(encoderFile, {
      ...further,
      arch: family.name,
      config: configFile,
      preset,
      name: manifest.name.endsWith('-tuned') ? manifest.name : `${manifest.name}-tuned`,
      output: join(final, 'encoder'),
      force: true,
      trained,
      licence: manifest.licence,
    });
    const id = `${encoder.manifest.name}@${encoder.manifest.digest.slice(0, 12)}`;
    const written = await writeHeadFolder(
      {
        name: `${encoder.manifest.name}-${head.family}`,
        head,
        tensors: stateDictOf(part(weights, headPrefix)),
        labels,
        features: [
          { model: id, output: preset.feature, width: head.widths[0]!, preset: `${preset.name}@${preset.version}` },
        ], // one stream
        // It saw single windows: it has no grid of its own.
        clock: null,
        options: {},
        trained,
        licence: manifest.licence,
        source: {
          name: basename(headFile),
          bytes: (await stat(headFile)).size,
          sha256: await sha256File(headFile),
          container: 'safetensors',
          weightsKey: null,
          prefix: null,
          left: [],
        },
      },
      { ...further, output: join(final, 'head'), force: true },
    );
    return { encoder: { folder: encoder.folder, manifest: encoder.manifest, id }, head: written };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The old classifier does not fit the new feature. */
function withoutClasses(config: ModelFolder['spec']['config']): ModelFolder['spec']['config'] {
  return 'num_classes' in config ? { ...config, num_classes: 0 } : config;
}

/** The weights below a prefix, without it; `wanted` leaves out the others. */
function part(weights: Weights, prefix: string, wanted?: readonly string[]): Map<string, Tensor<'float32'>> {
  const own = [...weights].filter(([name]) => name.startsWith(prefix));
  const found = own.map(([name, value]) => [name.slice(prefix.length), value] as const);
  return new Map(found.filter(([name]) => wanted?.includes(name) ?? true));
}

async function writeTensors(path: string, values: Weights): Promise<string> {
  const entries = [...values].map(([name, value]): SafetensorsEntry => ({
    name,
    dtype: 'F32',
    shape: value.shape,
    bytes: () => [bytesOf(value)],
  }));
  await pipeline(writeSafetensors(entries), createWriteStream(path));
  return path;
}
