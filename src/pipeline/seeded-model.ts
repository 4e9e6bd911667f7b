import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { writeSafetensors, type SafetensorsEntry } from '../checkpoint/safetensors.js';
import type { JsonValue } from '../json.js';
import { mergedConfig } from '../models/config.js';
import { familyOf } from '../models/index.js';
import { readPreset } from '../models/presets.js';
import { graphFiles } from '../models/spec.js';
import { seededRandom, type Random } from '../random.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import type { Preset } from '../types.js';
import { importModel, type ImportReport } from './import-model.js';

export interface SeededModel {
  readonly name: string;
  /** A family, or a known size of one; `videomae-classifier` where absent. */
  readonly arch?: string;
  /** Complete configuration of the family; what a known size says may be left out. */
  readonly config: Readonly<Record<string, JsonValue>>;
  /** The family's own where absent. */
  readonly preset?: Preset;
  /** Same seed, same bytes. */
  readonly seed: number;
  /** Path of a vocabulary, for a model with a text tower. */
  readonly tokenizer?: string;
}

/** VideoMAE in small with random weights: what a trained encoder is measured against, and quick to run in tests. */
export const untrainedNano: SeededModel = {
  name: 'videomae-nano-untrained',
  config: { img_size: 96, patch_size: 16, all_frames: 16, embed_dim: 64, depth: 2, num_heads: 2, num_classes: 0 },
  preset: readPreset('nano-16x2'),
  seed: 0,
};

/** Makes a model folder whose weights come out of the seeded generator: it has learned nothing, and says so. An existing one is replaced. */
export async function makeSeededModel(
  folder: string,
  { name, arch = 'videomae-classifier', config, preset, seed, tokenizer }: SeededModel,
): Promise<ImportReport> {
  const { family, size } = familyOf(arch);
  const whole = mergedConfig(size, config);
  const spec = family.spec(whole, preset === undefined ? {} : { preset });
  const graphs = [spec.build(graphFiles[0]), ...(spec.text === undefined ? [] : [spec.text.build('fused')])];
  const shapes = new Map(graphs.flatMap(({ params }) => params.map(({ name, shape }) => [name, shape] as const)));
  const random = seededRandom(seed, name);
  const parts = Object.keys(family.parts ?? {});
  // One file for the model itself and one for each of its parts, whose names begin with the part's.
  const entries = new Map<string, SafetensorsEntry[]>(['', ...parts].map((part) => [part, []]));
  for (const [parameter, shape] of shapes) {
    const values = initialValues(parameter, shape, random);
    const part = parts.find((one) => parameter.startsWith(`${one}.`)) ?? '';
    const key = part === '' ? parameter : parameter.slice(part.length + 1);
    entries.get(part)!.push({
      name: key,
      dtype: 'F32',
      shape,
      bytes: () => [bytesOf(tensor('float32', shape, values))],
    });
  }
  const work = await mkdtemp(join(tmpdir(), 'egolens-seeded-'));
  try {
    const files = new Map<string, string>();
    for (const [part, tensors] of entries) {
      const file = join(work, part === '' ? 'seeded.safetensors' : `seeded-${part}.safetensors`);
      await pipeline(writeSafetensors(tensors), createWriteStream(file));
      files.set(part, file);
    }
    const configFile = join(work, 'config.json');
    await writeFile(configFile, JSON.stringify(whole));
    return await importModel(files.get('')!, {
      arch: family.name,
      config: configFile,
      with: Object.fromEntries(parts.map((part) => [part, files.get(part)!])),
      ...(preset !== undefined && { preset }),
      ...(tokenizer !== undefined && { tokenizer }),
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

/**
 * Norms and layer scales begin as identity, biases at zero, matrices with unit gain: signals keep their size through the blocks. Vectors
 * that stand for a token begin small, and so do the gates of a second stream, which at zero would hide it.
 */
function initialValues(name: string, shape: readonly number[], random: Random): Float32Array<ArrayBuffer> {
  const size = sizeOf(shape);
  const last = name.slice(name.lastIndexOf('.') + 1);
  if (last === 'logit_scale') return new Float32Array(size).fill(Math.log(1 / 0.07)); // openai/CLIP model.py
  if (shape.length <= 1) {
    if (/(embedding|token|^gate_\w+)$/.test(last))
      return Float32Array.from({ length: size }, () => 0.1 * random.normal());
    return new Float32Array(size).fill(/^(weight|running_var|gamma\w*)$/.test(last) ? 1 : 0);
  }
  const fanIn = sizeOf(shape.slice(1));
  return Float32Array.from({ length: size }, () => random.normal() / Math.sqrt(fanIn));
}
