import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { writeSafetensors, type SafetensorsEntry } from '../checkpoint/safetensors.js';
import { familyOf } from '../models/index.js';
import { readPreset } from '../models/presets.js';
import { graphFiles } from '../models/spec.js';
import { seededRandom, type Random } from '../random.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import { importModel, type ImportReport } from './import-model.js';

/** Name under which the embedded default encoder is installed; it says what it is. */
export const defaultModel = 'videomae-nano-untrained';

const config = {
  img_size: 96,
  patch_size: 16,
  all_frames: 16,
  embed_dim: 64,
  depth: 2,
  num_heads: 2,
  num_classes: 0,
} as const;

/**
 * Makes the embedded default model: VideoMAE's graph in small, its weights out of the seeded generator. It has learned nothing; it
 * is there so that every command works before a checkpoint is imported.
 *
 * @param folder the model folder to write, replaced where it exists
 * @param seed same seed, same bytes
 */
export async function makeDefaultModel(folder: string, seed: number): Promise<ImportReport> {
  const { family } = familyOf('videomae-classifier');
  const preset = readPreset('nano-16x2');
  const params = family.spec(config, { preset }).build(graphFiles[0]).params;
  const random = seededRandom(seed, defaultModel);
  const entries = params.map(({ name, shape }): SafetensorsEntry => {
    const values = initialValues(name, shape, random);
    return { name, dtype: 'F32', shape, bytes: () => [bytesOf(tensor('float32', shape, values))] };
  });
  const work = await mkdtemp(join(tmpdir(), 'egolens-default-'));
  try {
    const checkpoint = join(work, 'seeded.safetensors');
    await pipeline(writeSafetensors(entries), createWriteStream(checkpoint));
    const configFile = join(work, 'config.json');
    await writeFile(configFile, JSON.stringify(config));
    return await importModel(checkpoint, {
      arch: 'videomae-classifier',
      config: configFile,
      preset,
      name: defaultModel,
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
