import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { familyOf } from '../../src/models/index.js';
import { graphFiles } from '../../src/models/spec.js';
import { sizeOf } from '../../src/tensor.js';
import { hasSharedVideos, peakResident, sharedVideos, start, unlessShared, workFolder } from '../cli/program.js';

/** Three blocks of width 4096 on frames so small that the probe is quick: 2.4 GB of weights, the largest tensor 256 MiB. */
const wide = {
  img_size: 32,
  patch_size: 16,
  all_frames: 2,
  embed_dim: 4096,
  depth: 3,
  num_heads: 16,
  mlp_ratio: 4,
  num_classes: 0,
  use_mean_pooling: true,
};

/** A safetensors file of zeros in which only the header takes room on the disk. */
async function sparseCheckpoint(path: string): Promise<{ total: number; largest: number }> {
  const { params } = familyOf('videomae-classifier').family.spec(wide, {}).build(graphFiles[0]);
  let total = 0;
  let largest = 0;
  const header: Record<string, object> = {};
  for (const { name, shape } of params) {
    const bytes = 4 * sizeOf(shape);
    header[name] = { dtype: 'F32', shape, data_offsets: [total, total + bytes] };
    total += bytes;
    largest = Math.max(largest, bytes);
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await using file = await open(path, 'w');
  await file.write(Buffer.concat([length, text]));
  await file.truncate(8 + text.length + total);
  return { total, largest };
}

describe.runIf(process.platform === 'linux')('memory', () => {
  test('an import of 2.4 GB takes less than 1.5 x its largest tensor + 300 MB', async () => {
    const folder = await workFolder();
    const checkpoint = join(folder, 'wide.safetensors');
    const { total, largest } = await sparseCheckpoint(checkpoint);
    expect(total).toBeGreaterThan(2e9);
    const config = join(folder, 'config.json');
    await writeFile(config, JSON.stringify(wide));
    const args = ['--arch', 'videomae-classifier', '--config', config, '-o', join(folder, 'model')];
    const { status, stderr, peak } = await peakResident(start(['models', 'import', checkpoint, ...args]));
    const [tensor, limit] = [largest / 2 ** 20, (1.5 * largest + 300e6) / 2 ** 20];
    console.log(
      `import of ${(total / 2 ** 30).toFixed(2)} GiB: peak ${peak.toFixed(0)} MiB, largest tensor ${tensor} MiB, limit ${limit.toFixed(0)} MiB`,
    );
    expect(status, stderr).toBe(0);
    expect(peak).toBeLessThan(limit);
  });

  test.runIf(hasSharedVideos)(
    `a video of 363 s takes at most 1.1 x the memory of one of 139 s${unlessShared}`,
    async () => {
      const folder = await workFolder();
      const peaks: number[] = [];
      for (const name of ['people_walk_by_139s', 'black_1080p_363s']) {
        const args = ['extract', join(sharedVideos, 'long', `${name}.mp4`), '-o', join(folder, name)];
        const { status, stderr, peak } = await peakResident(start(args));
        expect(status, stderr).toBe(0);
        console.log(`extract ${name}: peak ${peak.toFixed(0)} MiB`);
        peaks.push(peak);
      }
      expect(peaks[1]).toBeLessThanOrEqual(1.1 * peaks[0]!);
    },
  );
});
