/** Two-tower models that are small enough to be made on the spot: for tests. They have learned nothing. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openModelFolder, type ModelFolder } from '../src/models/folder.js';
import { toyTokenizerJson, toyVocabulary } from './toy-tokenizer.js';
import { makeSeededModel } from '../src/pipeline/seeded-model.js';

const towers = {
  /** One image of 32 pixels; texts of at most 12 tokens, longer ones are refused. */
  clip: { vision: { image_resolution: 32, patch_size: 16, width: 32, layers: 1, heads: 2 }, context: 12 },
  /** Four frames of 32 pixels; texts of at most 10 tokens, longer ones are cut. */
  viclip: {
    vision: { input_resolution: 32, patch_size: 16, width: 32, layers: 1, heads: 2, num_frames: 4 },
    context: 10,
  },
} as const;

/** Makes a model of that family with the toy vocabulary in a folder: vectors of 16, text tokens of 24. Same seed, same bytes. */
export async function makeToyTwoTower(
  folder: string,
  family: keyof typeof towers = 'clip',
  seed = 1,
): Promise<ModelFolder> {
  const { vision, context } = towers[family];
  const work = await mkdtemp(join(tmpdir(), 'egolens-toy-'));
  try {
    const tokenizer = join(work, 'tokenizer.json');
    await writeFile(tokenizer, toyTokenizerJson());
    const text = { context_length: context, vocab_size: toyVocabulary, width: 24, layers: 2, heads: 2 };
    const config = { embed_dim: 16, vision, text };
    await makeSeededModel(folder, { name: `toy-${family}`, arch: family, config, seed, tokenizer });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return await openModelFolder(folder);
}
