/** Models by name, whether they are there or only in the catalogue: list, show, path, remove. */
import { lstat, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { EgolensError } from '../errors.js';
import { pathExists, temporaryName } from '../files.js';
import { embeddedModels, findModel, modelsFolder } from '../hub/cache.js';
import { readCatalogue, type CatalogueEntry } from '../hub/catalogue.js';
import { float, type Float } from '../json.js';
import { listModels, type InstalledRecord } from './models.js';

type Reported = CatalogueEntry['reported'][number];

/** `egolens.catalogue-entry/1` */
export type CatalogueRecord = Omit<CatalogueEntry, 'reported'> & {
  readonly reported: readonly (Omit<Reported, 'value'> & { readonly value: Float })[];
  readonly schema: 'egolens.catalogue-entry/1';
  /** The installed model of that name. */
  readonly installed: string | null;
};

/** The entries of the catalogue, those of one task where it is named; with what is installed of them. */
export async function listAvailable({ task }: { readonly task?: string } = {}): Promise<CatalogueRecord[]> {
  const entries = (await readCatalogue()).filter(({ tasks }) => task === undefined || tasks.includes(task));
  const installed = (await listModels()).filter((model) => 'model' in model);
  return entries.map((entry) => ({
    schema: 'egolens.catalogue-entry/1',
    ...entry,
    reported: entry.reported.map((figure) => ({ ...figure, value: float(figure.value) })),
    installed: installed.find(({ model }) => model.startsWith(`${entry.name}@`))?.model ?? null,
  }));
}

/**
 * Everything known under a name: its entry in the catalogue, and the models that are there.
 *
 * @throws EgolensError model.not_found
 */
export async function showModel(name: string): Promise<(CatalogueRecord | InstalledRecord)[]> {
  const entries = (await listAvailable()).filter((entry) => entry.name === name);
  const models = (await listModels()).filter((model) => 'model' in model);
  const named = models.filter(({ model }) => model.startsWith(name.includes('@') ? name : `${name}@`));
  if (entries.length + named.length > 0) return [...entries, ...named];
  const path = await modelPath(name);
  return models.filter((model) => model.path === path);
}

/** Folder of a model that is there. @throws EgolensError model.not_found; where the catalogue has it, how to get it */
export async function modelPath(name: string): Promise<string> {
  return await findModel(name);
}

/** `egolens.removed/1` */
export type RemovedRecord = {
  readonly schema: 'egolens.removed/1';
  readonly model: string;
  readonly path: string;
  readonly bytes: number;
};

/** A model that may be removed. */
export interface Removal {
  readonly model: string;
  readonly path: string;
  readonly bytes: number;
  /** Removes it: first out of sight, then its files. A link is removed, not what it leads to. */
  remove(): Promise<RemovedRecord>;
}

/**
 * What `models rm NAME` would remove: an installed model only.
 *
 * @throws EgolensError model.not_found; usage.flag for a folder outside the models folder, an embedded model, or one that is no model
 */
export async function planRemoval(name: string): Promise<Removal> {
  const path = resolve(await modelPath(name));
  const home = resolve(modelsFolder());
  if (dirname(path) !== home) {
    const what = dirname(path) === resolve(embeddedModels) ? 'comes with the program' : `lies outside \`${home}\``;
    throw new EgolensError('usage.flag', `\`${name}\`: ${what}; \`models rm\` removes installed models only`);
  }
  const isLink = (await lstat(path)).isSymbolicLink();
  if (!isLink && !(await pathExists(join(path, 'model.json')))) {
    throw new EgolensError('usage.flag', `\`${path}\`: no model folder: it has no \`model.json\``);
  }
  const listed = (await listModels()).find((model) => 'model' in model && model.path === path);
  const bytes = isLink || listed === undefined || !('bytes' in listed) ? 0 : listed.bytes;
  const model = basename(path);
  return {
    model,
    path,
    bytes,
    async remove() {
      if (isLink) await rm(path);
      else {
        const gone = temporaryName(path);
        await rename(path, gone);
        await rm(gone, { recursive: true, force: true });
      }
      return { schema: 'egolens.removed/1', model, path, bytes };
    },
  };
}
