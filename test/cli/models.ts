import { createWriteStream, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll } from 'vitest';
import { writeSafetensors, type SafetensorsEntry } from '../../src/checkpoint/safetensors.js';
import { openCheckpoint } from '../../src/checkpoint/state-dict.js';
import { openFileSource } from '../../src/files.js';
import { familyOf } from '../../src/models/index.js';
import { readPreset } from '../../src/models/presets.js';
import { graphFiles } from '../../src/models/spec.js';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { sizeOf } from '../../src/tensor.js';
import { goldenFolder } from '../golden/cases.js';

/** Models and checkpoints for process tests. Seeded models have learned nothing. */

const folder = mkdtempSync(join(tmpdir(), 'egolens-models-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A quarter of VideoMAE's ViT-S at 224 px: a run of 8 windows takes a second on two cores, long enough to be interrupted. */
export async function slowModel(): Promise<string> {
  const path = join(folder, 'quarter-vit-s');
  const config = {
    img_size: 224,
    patch_size: 16,
    all_frames: 16,
    embed_dim: 384,
    depth: 3,
    num_heads: 6,
    num_classes: 0,
  };
  await makeSeededModel(path, { name: 'quarter-vit-s', config, preset: readPreset('ego4d-mq'), seed: 1 });
  return path;
}

/** Folder of a golden encoder case: the full set beside the checkout, else the part that comes with it. */
export function goldenCase(name: string): string {
  if (goldenFolder === undefined) throw new Error('no golden data, neither ../shared/golden nor fixtures/golden');
  return join(goldenFolder, 'encoder', name);
}

/** A tensor in memory. */
export interface Weights {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

/** All tensors of a checkpoint. */
export async function readWeights(path: string): Promise<Map<string, Weights>> {
  await using source = await openFileSource(path);
  const weights = new Map<string, Weights>();
  for (const [name, stored] of (await openCheckpoint(source)).tensors) {
    const chunks: number[] = [];
    for await (const chunk of stored.chunks()) chunks.push(...chunk);
    weights.set(name, { shape: stored.shape, data: Float32Array.from(chunks) });
  }
  return weights;
}

/** A safetensors file of them. */
export async function writeWeights(path: string, weights: ReadonlyMap<string, Weights>): Promise<string> {
  const entries = [...weights].map(([name, { shape, data }]): SafetensorsEntry => ({
    name,
    dtype: 'F32',
    shape,
    bytes: () => [new Uint8Array(data.buffer)],
  }));
  await pipeline(writeSafetensors(entries), createWriteStream(path));
  return path;
}

/** The same weights under the names of the `transformers` library, q, k and v in three matrices (design: encoder.md 2.3). */
export function transformersWeights(weights: ReadonlyMap<string, Weights>): Map<string, Weights> {
  const renamed = new Map<string, Weights>();
  const endings = [
    ['norm1.', 'layernorm_before.'],
    ['norm2.', 'layernorm_after.'],
    ['attn.q_bias', 'attention.attention.q_bias'],
    ['attn.v_bias', 'attention.attention.v_bias'],
    ['attn.proj.', 'attention.output.dense.'],
    ['mlp.fc1.', 'intermediate.dense.'],
    ['mlp.fc2.', 'output.dense.'],
  ] as const;
  for (const [name, value] of weights) {
    const block = /^(encoder\.|decoder\.|)blocks\.(\d+)\.(.+)$/.exec(name);
    if (!block) {
      const top = name
        .replace(/^(encoder\.)?patch_embed\.proj\./, 'videomae.embeddings.patch_embeddings.projection.')
        .replace(/^encoder\.norm\./, 'videomae.layernorm.')
        .replace(/^head\./, 'classifier.');
      renamed.set(top, value);
      continue;
    }
    const [, tower, number, rest] = block;
    const stack = tower === 'decoder.' ? `decoder.decoder_layers.${number!}` : `videomae.encoder.layer.${number!}`;
    if (rest === 'attn.qkv.weight') {
      const [rows, width] = value.shape as [number, number];
      const size = (rows / 3) * width;
      for (const [i, part] of ['query', 'key', 'value'].entries()) {
        const data = value.data.slice(i * size, (i + 1) * size);
        renamed.set(`${stack}.attention.attention.${part}.weight`, { shape: [rows / 3, width], data });
      }
    } else {
      const ending = endings.find(([official]) => rest!.startsWith(official));
      if (ending === undefined) throw new Error(`no transformers name for ${name}`);
      renamed.set(`${stack}.${ending[1]}${rest!.slice(ending[0].length)}`, value);
    }
  }
  return renamed;
}

/** A checkpoint of ViT-S size (88 MB of small numbers): importing it takes long enough to be stopped. */
export async function slowWeights(path: string): Promise<string> {
  const { family, size } = familyOf('videomae-s');
  const params = family.spec({ ...size, num_classes: 0 }, {}).build(graphFiles[0]).params;
  const entries = params.map(({ name, shape }): SafetensorsEntry => {
    const data = new Float32Array(sizeOf(shape)).fill(0.01);
    return { name, dtype: 'F32', shape, bytes: () => [new Uint8Array(data.buffer)] };
  });
  await pipeline(writeSafetensors(entries), createWriteStream(path));
  return path;
}
