/**
 * Makes the small models of examples: seeded weights that have learned nothing. Needs a build.
 *
 *   node bin/make-example-models.js DIR [TOKENIZER]
 *
 * DIR/tiny-uniformerv2: 400 classes. DIR/tiny-viclip: video and text tower, with the vocabulary of TOKENIZER (a tokenizer.json, or
 * CLIP's merges file), else of single bytes. Same files, same bytes; existing models are replaced.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeSeededModel } from '../dist/src/pipeline/seeded-model.js';
import { openTokenizer, tokenizerJson } from '../dist/src/text/tokenizer.js';

const [folder, vocabulary] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: node bin/make-example-models.js DIR [TOKENIZER]');
  process.exit(2);
}

const vision = { input_resolution: 32, patch_size: 16, width: 48, layers: 2, heads: 3 };
await makeSeededModel(join(folder, 'tiny-uniformerv2'), {
  name: 'tiny-uniformerv2',
  arch: 'uniformerv2',
  config: { ...vision, t_size: 8, no_lmhra: true, n_layers: 2, num_classes: 400 },
  seed: 1,
});

const bytes = vocabulary === undefined ? Buffer.from('#version: 0.2\n') : await readFile(vocabulary);
const json = tokenizerJson(bytes, vocabulary ?? 'bytes');
const { size } = openTokenizer(Buffer.from(json), 'tokenizer.json');
const work = await mkdtemp(join(tmpdir(), 'egolens-example-'));
try {
  const tokenizer = join(work, 'tokenizer.json');
  await writeFile(tokenizer, json);
  const text = { context_length: 32, vocab_size: size, width: 48, layers: 2, heads: 3 };
  await makeSeededModel(join(folder, 'tiny-viclip'), {
    name: 'tiny-viclip',
    arch: 'viclip',
    config: { embed_dim: 32, vision: { ...vision, num_frames: 8 }, text },
    seed: 1,
    tokenizer,
  });
} finally {
  await rm(work, { recursive: true, force: true });
}
console.log(join(folder, 'tiny-uniformerv2'));
console.log(join(folder, 'tiny-viclip'));
