import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonValue } from '../../src/json.js';
import { readPreset } from '../../src/models/presets.js';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import type { Preset } from '../../src/types.js';

/** Seeded models for process tests, made once a test file. They have learned nothing. */

const folder = mkdtempSync(join(tmpdir(), 'egolens-models-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** A quarter of VideoMAE's ViT-S at 224 px: a run of 8 windows takes a second on two cores, long enough to be interrupted. */
export async function slowModel(): Promise<string> {
  const size = { img_size: 224, patch_size: 16, all_frames: 16, embed_dim: 384, depth: 3, num_heads: 6 };
  return await seededModel('quarter-vit-s', size, readPreset('ego4d-mq'));
}

/** One narrow block at 224 px, 16 frames: fits the official presets and takes no time. */
export async function smallModel(preset = readPreset('ego4d-mq'), name = 'small-224'): Promise<string> {
  const size = { img_size: 224, patch_size: 16, all_frames: 16, embed_dim: 32, depth: 1, num_heads: 2 };
  return await seededModel(name, size, preset);
}

async function seededModel(name: string, config: Readonly<Record<string, JsonValue>>, preset: Preset): Promise<string> {
  const path = join(folder, name);
  await makeSeededModel(path, { name, config: { ...config, num_classes: 0 }, preset, seed: 1 });
  return path;
}
