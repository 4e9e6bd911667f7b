import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/files.js';

/**
 * Parity cases are discovered, never named: every folder (or loose JSON file) of the golden data is a case of its `family`.
 * `EGOLENS_GOLDEN_DIR` points to the data; the default is the full set beside the checkout, else the part in fixtures/.
 */
export interface GoldenCase {
  /** `encoder/videomae_ft_mean` */
  readonly name: string;
  readonly family: string;
  readonly path: string;
}

/** The part of the data that is in the repository. */
export const ownGolden = join(packageRoot, 'fixtures', 'golden');

export const goldenFolder =
  process.env['EGOLENS_GOLDEN_DIR'] ??
  [join(packageRoot, '..', 'shared', 'golden'), ownGolden].find((path) => existsSync(path));

const areas = ['encoder', 'heads', 'ego4d', 'training'] as const;

export function discoverCases(folder: string): GoldenCase[] {
  return areas.flatMap((area) => {
    const root = join(folder, area);
    if (!existsSync(root)) return [];
    return readdirSync(root)
      .filter((entry) => entry !== 'README.md')
      .sort()
      .flatMap((entry): GoldenCase[] => {
        const path = join(root, entry);
        const name = `${area}/${entry.replace(/\.json$/, '')}`;
        if (area === 'ego4d') return taskCases(name, path);
        return [{ name, family: `${area}/${familyIn(path) ?? entry.replace(/\.json$/, '')}`, path }];
      });
  });
}

/** Every folder of a task is a case; a task whose files lie in its own folder is one. */
function taskCases(family: string, path: string): GoldenCase[] {
  const folders = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  if (folders.length === 0) return [{ name: family, family, path }];
  return folders
    .map((folder) => ({ name: `${family}/${folder.name}`, family, path: join(path, folder.name) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function familyIn(path: string): string | undefined {
  if (!statSync(path).isDirectory()) return undefined;
  const file = join(path, 'case.json');
  if (!existsSync(file)) return undefined;
  const { family } = JSON.parse(readFileSync(file, 'utf8')) as { family?: string };
  return family;
}

/** Families, or whole areas as `heads/*`, that no issue has built yet. */
export const pending = JSON.parse(
  readFileSync(join(packageRoot, 'test/golden/pending.json'), 'utf8'),
) as readonly string[];

export function isPending({ family }: GoldenCase): boolean {
  return pending.some((entry) => entry === family || (entry.endsWith('/*') && family.startsWith(entry.slice(0, -1))));
}
