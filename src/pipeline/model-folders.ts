/** Model folders as a whole: their names, and how a finished one takes its place. */
import { rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { EgolensError } from '../errors.js';
import { pathExists } from '../files.js';

/** The name of a model that is made of this file, where the user gives none. */
export function defaultName(file: string): string {
  return (
    basename(file)
      .replace(/\.[^.]+$/, '')
      .replaceAll(/[^\w.-]+/g, '-') || 'model'
  );
}

/** A name becomes part of paths and of `name@digest`. @throws EgolensError usage.flag */
export function checkedName(name: string): string {
  if (/^\w[\w.-]{0,99}$/.test(name)) return name;
  throw new EgolensError('usage.flag', `--name \`${name}\`: expected letters, digits, \`.\`, \`_\` and \`-\``);
}

/** Throws `output.exists` where something is at the place; with `force` where that is no model folder. */
export async function refuseExisting(folder: string, force: boolean): Promise<void> {
  if (!force && (await pathExists(folder))) {
    throw new EgolensError('output.exists', `\`${folder}\`: exists already`, { try: '`--force` replaces it' });
  }
  if (force && (await pathExists(folder)) && !(await pathExists(join(folder, 'model.json')))) {
    throw new EgolensError('output.exists', `\`${folder}\`: exists and is no model folder, so it is not replaced`);
  }
}

/** Puts a finished folder in its place, in which an older one may be. */
export async function replaceFolder(work: string, folder: string): Promise<void> {
  if (await pathExists(folder)) {
    const old = `${work}.old`;
    await rename(folder, old);
    await rename(work, folder);
    await rm(old, { recursive: true, force: true });
  } else {
    await rename(work, folder);
  }
}
