import { basename } from 'node:path';
import { assertValid } from '../check.js';
import { EgolensError } from '../errors.js';
import { pathExists, readSmallFile } from '../files.js';
import { parseJson } from '../json-reader.js';
import { labelLists } from '../models/presets.js';

/** `egolens.labels/1`: names by class index. Members that this version does not know are kept. */
export interface LabelList {
  readonly schema: 'egolens.labels/1';
  readonly name: string;
  readonly version: number;
  /** Where this order comes from. */
  readonly order: string;
  readonly labels: readonly string[];
}

/**
 * A class list: the name of one that comes with the program, a file of schema `egolens.labels/1`, or one half of a taxonomy of Ego4D,
 * `fho_lta_taxonomy.json:verbs` or `…:nouns`, whose names come with the annotations and are not public.
 *
 * @throws EgolensError input.not_found with the names there are, data.invalid
 */
export async function labelList(nameOrPath: string): Promise<LabelList> {
  const half = /^(.+):(verbs|nouns)$/s.exec(nameOrPath);
  if (half && !(await pathExists(nameOrPath))) return await taxonomyHalf(half[1]!, half[2]!);
  const path = (await pathExists(nameOrPath)) ? nameOrPath : labelLists().get(nameOrPath);
  if (path === undefined) {
    const names = [...labelLists().keys()].join(', ');
    throw new EgolensError('input.not_found', `no label list \`${nameOrPath}\`: neither a file nor one of ${names}`);
  }
  const value = await readJson(path);
  if (isTaxonomy(value)) {
    throw new EgolensError('data.invalid', `\`${path}\`: holds two lists, verbs and nouns; expected one`, {
      try: `\`${path}:verbs\` or \`${path}:nouns\``,
    });
  }
  await assertValid('egolens.labels/1', value, basename(path));
  return value as LabelList; // the schema says so
}

async function taxonomyHalf(path: string, half: string): Promise<LabelList> {
  const value = await readJson(path);
  if (!isTaxonomy(value)) {
    throw new EgolensError(
      'data.invalid',
      `\`${path}\`: expected a taxonomy of Ego4D, an object with the lists \`verbs\` and \`nouns\``,
    );
  }
  const list = {
    schema: 'egolens.labels/1',
    name: `ego4d-${half}`,
    version: 1,
    order: `${half} of ${basename(path)}`,
    labels: value[half as keyof typeof value],
  } as const;
  await assertValid('egolens.labels/1', list, `${basename(path)}:${half}`);
  return list;
}

function isTaxonomy(value: unknown): value is { readonly verbs: readonly string[]; readonly nouns: readonly string[] } {
  if (typeof value !== 'object' || value === null) return false;
  const { verbs, nouns } = value as { verbs?: unknown; nouns?: unknown };
  return Array.isArray(verbs) && Array.isArray(nouns);
}

async function readJson(path: string): Promise<unknown> {
  return parseJson(path, await readSmallFile(path)).value;
}
