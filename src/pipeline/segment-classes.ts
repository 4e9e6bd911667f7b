/** Class lists of labelled segments, and labels as their numbers. */
import { dirname, join } from 'node:path';
import { EgolensError } from '../errors.js';
import { pathExists } from '../files.js';
import type { LabelKind, SegmentLabel, SegmentList } from '../ego4d/segments.js';
import { labelList, type LabelList } from './label-lists.js';

/** The file of class names, as it lies beside the annotations. */
export const taxonomyName = 'fho_lta_taxonomy.json';
/** Names in a message. */
const shownNames = 5;

/** A class list for each kind, in the order of the kinds. */
export type ClassLists = ReadonlyMap<LabelKind, LabelList>;

/**
 * The class lists of a training split: those given, else the taxonomy beside the file, else its own names in alphabetical order.
 *
 * @param given `--labels`: a list for one kind, a taxonomy of Ego4D for verbs and nouns
 * @throws EgolensError input.not_found, data.invalid; where labels are numbers only and nothing names them
 */
export async function classLists(list: SegmentList, given: string | undefined): Promise<ClassLists> {
  const beside = join(dirname(list.name), taxonomyName);
  const isAction = !list.kinds.includes('label');
  const path = given ?? (isAction && (await pathExists(beside)) ? beside : undefined);
  const lists = new Map<LabelKind, LabelList>();
  for (const kind of list.kinds) {
    if (path === undefined) lists.set(kind, ownList(list, kind));
    else lists.set(kind, await labelList(given !== undefined && list.kinds.length === 1 ? path : `${path}:${kind}s`));
  }
  return lists;
}

function ownList({ segments, name }: SegmentList, kind: LabelKind): LabelList {
  const names = new Set(segments.flatMap(({ labels }) => labels[kind]?.name ?? []));
  if (segments.some(({ labels }) => labels[kind]?.name === undefined)) {
    throw new EgolensError('data.invalid', `\`${name}\`: expected names of every ${kind}, found numbers only`, {
      input: name,
      try: '`--labels FILE` names the classes in their order',
    });
  }
  const labels = [...names].sort();
  return {
    schema: 'egolens.labels/1',
    name: `${kind}s`,
    version: 1,
    order: 'alphabetical, of the training split',
    labels,
  };
}

/**
 * The class of every segment, for each kind. A name counts before a number, which is a place in the list of the file's own data set.
 *
 * @throws EgolensError data.invalid with the labels outside the lists
 */
export function classesOf(list: SegmentList, classes: ClassLists): Map<LabelKind, Int32Array> {
  const result = new Map<LabelKind, Int32Array>();
  for (const [kind, { labels }] of classes) {
    const numbers = new Map(labels.map((label, i) => [label, i]));
    const strange = new Set<string>();
    const indexes = list.segments.map(({ labels: own }) => {
      const index = indexOf(own[kind], numbers);
      if (index === undefined) strange.add(own[kind]?.name ?? String(own[kind]?.number));
      return index ?? 0;
    });
    if (strange.size > 0) {
      const names = [...strange].slice(0, shownNames).map((label) => `\`${label}\``);
      const more = strange.size > shownNames ? ` and ${strange.size - shownNames} more` : '';
      throw new EgolensError(
        'data.invalid',
        `\`${list.name}\`: ${strange.size} labels that are none of the ${labels.length} classes of ${kind}: ${names.join(', ')}${more}`,
        { input: list.name, try: '`--labels FILE` with all classes, or leave these segments out' },
      );
    }
    result.set(kind, Int32Array.from(indexes));
  }
  return result;
}

function indexOf(label: SegmentLabel | undefined, numbers: ReadonlyMap<string, number>): number | undefined {
  if (label?.name !== undefined) return numbers.get(label.name);
  return label?.number !== undefined && label.number < numbers.size ? label.number : undefined;
}
