/** Which feature file is whose. */
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';

const endings = ['.npy', '.npz', '.pt', '.safetensors'];

/** Feature files of a folder by what they may be called: stem, and path below the folder without ending. */
export type FeatureIndex = ReadonlyMap<string, readonly string[]>;

/**
 * The feature files below a folder.
 *
 * @throws EgolensError input.not_found, input.empty where there are none
 */
export async function indexFeatures(folder: string): Promise<FeatureIndex> {
  const hint = { try: '`egolens extract VIDEOS -o DIR` makes one' };
  const info = await stat(folder).catch(() => undefined);
  if (!info?.isDirectory()) {
    const found = info ? 'a file' : 'nothing there';
    throw new EgolensError('input.not_found', `\`${folder}\`: expected a folder of features, found ${found}`, hint);
  }
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw asEgolensError(cause, folder);
  });
  const index = new Map<string, string[]>();
  const paths = entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.') && endings.includes(extname(entry.name)))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const path of paths) {
    const below = path.slice(join(folder, '/').length, -extname(path).length).replaceAll('\\', '/');
    for (const name of new Set([below, below.split('/').at(-1)!])) {
      index.set(name, [...(index.get(name) ?? []), path]);
    }
  }
  if (index.size === 0) {
    throw new EgolensError('input.empty', `\`${folder}\`: expected feature files (${endings.join(', ')}), found none`, {
      try: '`egolens extract VIDEOS -o DIR` makes them',
    });
  }
  return index;
}
