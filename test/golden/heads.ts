import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { headOf } from '../../heads/index.js';
import { importHead } from '../../src/pipeline/import-head.js';
import { openSession } from '../../src/runtime/session.js';
import { tensor } from '../../src/tensor.js';
import type { Tensor } from '../../src/types.js';
import { forecastRunners } from './forecast-heads.js';
import { numbers, readArray } from './model-cases.js';
import { momentRunners } from './moment-heads.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

/** The classifiers of verbs, of nouns and of both: imported with the case's configuration, run over its tokens. */
const recognition: Runner = async (path) => {
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const comparisons: Comparison[] = [];
    for (const part of ['verb', 'noun', 'both']) {
      const output = join(work, part);
      const config = join(path, 'config.json');
      const family = headOf('recognition-head')!; // one of ours
      await importHead(join(path, `head_${part}.pt`), family, { arch: family.name, config, output });
      const features = (await readArray(join(path, `tokens_${part}.npy`))) as Tensor<'float32'>;
      const [batch = 0, rows = 0] = features.shape;
      const mask = tensor('float32', [batch, rows], new Float32Array(batch * rows).fill(1));
      await using session = await openSession({ graph: join(output, 'graph.onnx'), device: 'cpu' });
      const { logits } = await session.run({ features, mask }, ['logits']);
      const expected = numbers(await readArray(join(path, `logits_${part}.npy`)));
      // heads.md 11: layer outputs within 1e-4; a norm and one product of 20 numbers stay far below.
      comparisons.push({ what: part, error: maxAbs(numbers(logits!), expected), tolerance: 1e-5 });
    }
    return comparisons;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
};

export const headRunners: Readonly<Record<string, Runner>> = {
  ...forecastRunners,
  ...momentRunners,
  'heads/recognition_head': recognition,
};
