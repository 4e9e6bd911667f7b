import { readdir, readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { EgolensError } from '../errors.js';
import { cacheFolder, packageRoot, pathExists } from '../files.js';
import { readCatalogue } from './catalogue.js';

/** Where models without a place of their own are kept: `EGOLENS_MODELS_DIR`, else `models` in the cache. */
export function modelsFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const own = environment['EGOLENS_MODELS_DIR'];
  return own === undefined || own === '' ? join(cacheFolder(environment), 'models') : resolve(own);
}

/** Folders of the models that are installed, sorted by name. */
export async function installedModels(folder = modelsFolder()): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => join(folder, entry.name))
    .sort();
}

/** The embedded model that runs when none is named. It was trained on Tabletop (docs/default-encoder.md). */
export const defaultModelName = 'videomae-nano';

/** Folder of the models that come with the program; published with it (package.json `files`). */
export const embeddedModels = join(packageRoot, 'fixtures', 'models');

/** Embedded models lie under their bare names; heads and features name what they were made with by name and digest. */
async function embeddedBy(id: string): Promise<string | undefined> {
  const [, name, digest] = /^([^/\\]+)@([0-9a-f]{4,64})$/.exec(id) ?? [];
  if (name === undefined || digest === undefined) return undefined;
  const folder = join(embeddedModels, name);
  const text = await readFile(join(folder, 'model.json'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const manifest = JSON.parse(text) as { readonly digest: string }; // it comes with the program
  return manifest.digest.startsWith(digest) ? folder : undefined;
}

/**
 * What `--model` names -> a folder: a path that exists, an installed model (`name`, or `name@` with digits of its digest), or one
 * that comes with the program. A whole name counts before the beginning of one.
 *
 * @throws EgolensError model.not_found with the names there are
 */
export async function findModel(name: string): Promise<string> {
  if (await pathExists(name)) return resolve(name);
  const installed = [...(await installedModels()), ...(await installedModels(embeddedModels))];
  const whole = installed.find((folder) => basename(folder) === name);
  if (whole !== undefined) return whole;
  const matches = installed.filter((folder) => basename(folder).startsWith(name.includes('@') ? name : `${name}@`));
  if (matches.length === 1) return matches[0]!;
  const embedded = await embeddedBy(name);
  if (matches.length === 0 && embedded !== undefined) return embedded;
  const isPublic = matches.length === 0 && (await readCatalogue()).some((entry) => entry.name === name);
  const list = (folders: readonly string[]): string => folders.map((folder) => `\`${basename(folder)}\``).join(', ');
  throw new EgolensError(
    'model.not_found',
    matches.length === 0
      ? `no model \`${name}\`; there are ${installed.length === 0 ? 'none' : list(installed)}`
      : `\`${name}\` names ${matches.length} models: ${list(matches)}`,
    {
      try: isPublic
        ? `\`egolens models pull ${name}\` fetches it`
        : '`egolens models list`, or the path of a model folder',
    },
  );
}
