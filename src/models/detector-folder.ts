/** Detectors on disk (files.md 4): a graph over the pixels of a frame. */
import { join } from 'node:path';
import { EgolensError } from '../errors.js';
import { centernetConfig, type CenternetConfig } from './centernet.js';
import { openStoredModel, readLabels, verifyFiles, type StoredModel } from './folder.js';
import { labelFile } from './head-folder.js';

/** What `models import --arch` calls graph models of TensorFlow.js; the family of their folders. */
export const tfjsFamily = 'tfjs-graph';

export interface DetectorFolder extends StoredModel {
  readonly config: CenternetConfig;
  /** Names of its classes in index order; null where the folder holds none. */
  readonly nouns: readonly string[] | null;
}

/** Is this model folder that of a detector over pixels? */
export function isDetector({ manifest }: StoredModel): boolean {
  return manifest.kind === 'detector';
}

/**
 * A detector and its files, their digests included: they are small.
 *
 * @throws EgolensError model.not_found, model.incomplete, model.digest, data.invalid; model.config where it is none
 */
export async function openDetectorFolder(folder: string): Promise<DetectorFolder> {
  const stored = await openStoredModel(folder);
  const { manifest, id } = stored;
  if (!isDetector(stored) || manifest.family !== tfjsFamily) {
    throw new EgolensError(
      'model.config',
      `${id}: a ${manifest.kind} of family ${manifest.family}; expected a detector of family ${tfjsFamily}`,
    );
  }
  await verifyFiles(stored);
  const file = labelFile('noun');
  const nouns = manifest.files[file] === undefined ? null : await readLabels(join(folder, file));
  return { ...stored, config: centernetConfig(manifest.config, id), nouns };
}
