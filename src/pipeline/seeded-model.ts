import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { writeSafetensors, type SafetensorsEntry } from '../checkpoint/safetensors.js';
import { defaultModelName } from '../hub/cache.js';
import type { JsonValue } from '../json.js';
import { familyOf } from '../models/index.js';
import { readPreset } from '../models/presets.js';
import { graphFiles } from '../models/spec.js';
import { seededRandom, type Random } from '../random.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import type { Preset } from '../types.js';
import { importModel, type ImportReport } from './import-model.js';

export interface SeededModel {
  readonly name: string;
  /** Configuration of family videomae-classifier. */
  readonly config: Readonly<Record<string, JsonValue>>;
  readonly preset: Preset;
  /** Same seed, same bytes. */
  readonly seed: number;
}

/** The embedded default: VideoMAE in small, so that every command works before a checkpoint is imported. */
export const defaultSeededModel: SeededModel = {
  name: defaultModelName,
  config: { img_size: 96, patch_size: 16, all_frames: 16, embed_dim: 64, depth: 2, num_heads: 2, num_classes: 0 },
  preset: readPreset('nano-16x2'),
  seed: 0,
};

/** Makes a model folder whose weights come out of the seeded generator: it has learned nothing, and says so. An existing one is replaced. */
export async function makeSeededModel(
  folder: string,
  { name, config, preset, seed }: SeededModel,
): Promise<ImportReport> {
  const { family } = familyOf('videomae-classifier');
  const params = family.spec(config, { preset }).build(graphFiles[0]).params;
  const random = seededRandom(seed, name);
  const entries = params.map(({ name, shape }): SafetensorsEntry => {
    const values = initialValues(name, shape, random);
    return { name, dtype: 'F32', shape, bytes: () => [bytesOf(tensor('float32', shape, values))] };
  });
  const work = await mkdtemp(join(tmpdir(), 'egolens-seeded-'));
  try {
    const checkpoint = join(work, 'seeded.safetensors');
    await pipeline(writeSafetensors(entries), createWriteStream(checkpoint));
    const configFile = join(work, 'config.json');
    await writeFile(configFile, JSON.stringify(config));
    return await importModel(checkpoint, {
      arch: 'videomae-classifier',
      config: configFile,
      preset,
      name,
      output: folder,
      force: true,
      trained: 'untrained',
      licence: { code: 'Apache-2.0', weights: 'Apache-2.0' },
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Norms begin as identity, biases at zero, matrices with unit gain: signals keep their size through the blocks. */
function initialValues(name: string, shape: readonly number[], random: Random): Float32Array<ArrayBuffer> {
  const fanIn = sizeOf(shape.slice(1));
  if (shape.length === 1) return new Float32Array(sizeOf(shape)).fill(/norm\d?\.weight$/.test(name) ? 1 : 0);
  return Float32Array.from({ length: sizeOf(shape) }, () => random.normal() / Math.sqrt(fanIn));
}
