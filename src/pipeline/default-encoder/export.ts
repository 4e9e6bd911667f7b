import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { writeSafetensors } from '../../checkpoint/safetensors.js';
import { readPreset } from '../../models/presets.js';
import { graphFiles } from '../../models/spec.js';
import { videomaeClassifier } from '../../models/videomae-family.js';
import { bytesOf } from '../../tensor.js';
import type { Weights } from '../../train/step.js';
import { verbs } from '../../world/vocabulary.js';
import { importModel, type ImportReport } from '../import-model.js';
import { config } from './recipe.js';

/** Name of the model folder. */
export const defaultEncoderName = 'videomae-nano';

/** Writes the trained encoder as a model folder: the heads for the dense truth are left behind, the classifier of verbs stays. */
export async function exportDefaultEncoder(folder: string, weights: Weights): Promise<ImportReport> {
  const preset = readPreset('nano-8x8');
  const { params } = videomaeClassifier.spec(config, { preset }).build(graphFiles[0]);
  const work = await mkdtemp(join(tmpdir(), 'egolens-default-'));
  try {
    const file = join(work, `${defaultEncoderName}.safetensors`);
    const entries = params.map(({ name, shape }) => ({
      name,
      dtype: 'F32' as const,
      shape,
      bytes: () => [bytesOf(weights.get(name)!)], // the step trains every parameter of the classifier
    }));
    await pipeline(writeSafetensors(entries), createWriteStream(file));
    await writeFile(join(work, 'config.json'), JSON.stringify(config));
    const order = 'order of the verbs of Tabletop';
    const labels = { schema: 'egolens.labels/1', name: 'tabletop-verbs', version: 1, order, labels: verbs };
    await writeFile(join(work, 'labels.json'), JSON.stringify(labels));
    return await importModel(file, {
      arch: videomaeClassifier.name,
      config: join(work, 'config.json'),
      labels: join(work, 'labels.json'),
      preset,
      name: defaultEncoderName,
      output: folder,
      force: true,
      trained: 'tabletop',
      licence: { code: 'Apache-2.0', weights: 'Apache-2.0' },
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
