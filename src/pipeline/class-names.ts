import { EgolensError } from '../errors.js';
import { readLabels, type ModelFolder } from '../models/folder.js';
import { labelLists } from '../models/presets.js';
import { labelList } from './label-lists.js';

/**
 * The names of a classifier's classes, in index order: those of `labels` (a list that comes with the program, a file, or `none` for
 * numbers), else the model's own. Without either nothing is guessed: files with the same number of classes have them in different
 * orders (encoder.md 11), and a wrong order gives wrong names without any other sign.
 *
 * @throws EgolensError model.config for a model without classes, a list of another length, or no list; input.not_found
 */
export async function classNames(model: ModelFolder, labels: string | undefined): Promise<readonly string[]> {
  const { spec, id } = model;
  const { classes } = spec;
  if (classes === 0 || spec.outputs['logits'] === undefined) throw noClassifier(model);
  if (labels === 'none') return Array.from({ length: classes }, (_, i) => `class ${i}`);
  const names = labels === undefined ? model.labels : (await labelList(labels)).labels;
  if (names !== null && names.length === classes) return names;
  const fitting = await listsOf(classes);
  const lists = fitting.map((name) => `\`--labels ${name}\``).join(' or ');
  const known =
    fitting.length === 0
      ? `no list of the program has ${classes} classes: \`--labels FILE\``
      : `${lists} (which one belongs to the checkpoint: docs/models.md), \`--labels FILE\``;
  const hint = { try: `${known}, or \`--labels none\` for class numbers` };
  if (names === null)
    throw new EgolensError('model.config', `${id}: ${classes} classes, and no list of their names`, hint);
  const list = labels === undefined ? `${id}: labels.json` : `\`${labels}\``;
  throw new EgolensError('model.config', `${list}: ${names.length} labels; ${id} has ${classes} classes`, hint);
}

function noClassifier({ id, spec }: ModelFolder): EgolensError {
  if (spec.text !== undefined) {
    return new EgolensError('model.config', `${id}: compares pictures with texts, and no classes were given`, {
      try: '`--class "cut vegetables" --class "wash dishes"`, `--class-file FILE`, or `--zero-shot --labels k400`',
    });
  }
  return new EgolensError('model.config', `${id}: gives features only; it has no classes that could be named`, {
    try: '`--model` with a classifier (`egolens models import CHECKPOINT --arch videomae-b --labels k400`), or with a two-tower model and `--class TEXT`',
  });
}

/** Lists of the program with so many classes. */
async function listsOf(classes: number): Promise<string[]> {
  const fitting: string[] = [];
  for (const [name, path] of labelLists()) if ((await readLabels(path)).length === classes) fitting.push(name);
  return fitting;
}
