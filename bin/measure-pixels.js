#!/usr/bin/env node
/**
 * How far the fast pixel path strays from the exact one, in feature cosine: each preset with an exact path, on the given videos, with a
 * seeded ViT-S at the preset's frames and size. Prints one line a preset and video; docs/pixels.md quotes them.
 * Usage: node bin/measure-pixels.js VIDEO...
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { compareFeatures, openFeatures } from '../dist/src/features/store.js';
import { presetNames, readPreset } from '../dist/src/models/presets.js';
import { makeSeededModel } from '../dist/src/pipeline/seeded-model.js';

const run = fileURLToPath(new URL('run.js', import.meta.url));
const work = await mkdtemp(join(tmpdir(), 'egolens-pixels-'));
const size = { embed_dim: 384, depth: 12, num_heads: 6, patch_size: 16, num_classes: 0 };
try {
  for (const name of presetNames()) {
    const preset = readPreset(name);
    if (preset.pixels.path !== 'exact') continue;
    const { mean, std, sampling, pixels } = preset;
    const config = { ...size, img_size: pixels.size, all_frames: sampling.frames, mean, std };
    const model = join(work, name);
    await makeSeededModel(model, { name: 'vit-s-untrained', config, preset, seed: 0 });
    for (const video of process.argv.slice(2)) {
      const paths = ['exact', 'fast'].map((path) => {
        const output = join(work, `${name}-${path}`);
        const args = [run, 'extract', video, '--model', model, '--pixels', path, '-o', output, '-q', '--ndjson'];
        const result = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
        if (result.status !== 0) process.exit(result.status ?? 1);
        return JSON.parse(result.stdout).path;
      });
      const [exact, fast] = [await openFeatures(paths[0]), await openFeatures(paths[1])];
      const { rows } = await compareFeatures(exact, fast);
      for (const file of [exact, fast]) await file[Symbol.asyncDispose]();
      const cosines = rows.map((row) => row.cosine);
      const average = cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
      console.log(
        `${name}  ${basename(video)}  rows ${rows.length}  cosine mean ${average.toFixed(5)}  min ${Math.min(...cosines).toFixed(5)}`,
      );
    }
  }
} finally {
  await rm(work, { recursive: true, force: true });
}
