/** The class list of a Moment Queries run. */
import { basename, join } from 'node:path';
import { EgolensError } from '../errors.js';
import { pathExists } from '../files.js';
import { readJsonFile } from './json-files.js';
import { labelList, type LabelList } from './label-lists.js';

/** Class numbers of the official evaluation, 0 being the background; the published and the Tabletop annotations lie beside it. */
const classFile = 'moment_classes_idx.json';
/** Names in a message. */
const shownNames = 5;

/**
 * The classes of a training split: those given, else of the official class file beside it, else its own labels in alphabetical order.
 *
 * @param used labels of the split; all must be classes
 * @param given name or file of a class list, or an official class file
 * @throws EgolensError input.not_found, data.invalid with the labels that are no classes
 */
export async function momentClasses(
  gt: { readonly path: string; readonly folder: string },
  used: readonly string[],
  given: string | undefined,
): Promise<LabelList> {
  const beside = join(gt.folder, classFile);
  const path = given ?? ((await pathExists(beside)) ? beside : undefined);
  const list =
    path === undefined ? listOf([...new Set(used)].sort(), 'alphabetical, of the training split') : await read(path);
  if (list.labels.length === 0) {
    throw new EgolensError('data.invalid', `\`${gt.path}\`: expected labelled moments, found none`, { input: gt.path });
  }
  const known = new Set(list.labels);
  const strange = [...new Set(used.filter((label) => !known.has(label)))];
  if (strange.length > 0) {
    const names = strange.slice(0, shownNames).map((label) => `\`${label}\``);
    const more = strange.length > shownNames ? ` and ${strange.length - shownNames} more` : '';
    throw new EgolensError(
      'data.invalid',
      `\`${gt.path}\`: ${strange.length} labels that are none of the ${list.labels.length} classes: ${names.join(', ')}${more}`,
      { input: gt.path, try: '`--labels FILE` with all classes' },
    );
  }
  return list;
}

async function read(path: string): Promise<LabelList> {
  if (basename(path) !== classFile) return await labelList(path);
  const { value } = await readJsonFile(path);
  const entries = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
  const numbered = entries
    .filter((entry): entry is [string, number] => Number.isSafeInteger(entry[1]) && entry[1] > 0)
    .sort((a, b) => a[1] - b[1]);
  const isWhole = numbered.every(([, number], i) => number === i + 1);
  if (numbered.length === 0 || !isWhole) {
    throw new EgolensError(
      'data.invalid',
      `\`${path}\`: expected class names with the numbers 1, 2, … after the background`,
      {
        input: path,
      },
    );
  }
  return listOf(
    numbered.map(([label]) => label),
    `numbers of ${classFile}, without the background`,
  );
}

function listOf(labels: readonly string[], order: string): LabelList {
  return { schema: 'egolens.labels/1', name: 'moments', version: 1, order, labels };
}
