/** The verbs and nouns of a run of long-term anticipation. Their places are the official labels, which submissions hold. */
import { dirname, join } from 'node:path';
import type { ActionClass, ActionClip, ClipLabels } from '../ego4d/action-clips.js';
import { EgolensError } from '../errors.js';
import { pathExists } from '../files.js';
import { labelList, type LabelList } from './label-lists.js';
import { taxonomyName } from './segment-classes.js';

export type ActionLists = Readonly<Record<'verb' | 'noun', LabelList>>;

/**
 * The classes of a training split: those given, else of the taxonomy beside the file, else as many as its labels need.
 *
 * @param given a taxonomy of Ego4D
 * @throws EgolensError input.not_found; data.invalid for a list of another form, and for labels beyond the list
 */
export async function actionClasses(
  gt: string,
  clips: readonly ActionClip[],
  given: string | undefined,
): Promise<ActionLists> {
  const beside = join(dirname(gt), taxonomyName);
  const path = given ?? ((await pathExists(beside)) ? beside : undefined);
  const actions = labelled(clips);
  const listOf = async (kind: 'verb' | 'noun'): Promise<LabelList> => {
    const used = actions.map((labels) => labels[kind]);
    if (path === undefined) return ownList(kind, used);
    const list = await labelList(`${path}:${kind}s`);
    const beyond = used.find(({ label }) => label >= list.labels.length);
    if (beyond === undefined) return list;
    throw new EgolensError(
      'data.invalid',
      `\`${gt}\`: ${kind}_label ${beyond.label}; \`${path}\` has the classes 0 to ${list.labels.length - 1}`,
      { input: gt, try: '`--labels FILE` with the taxonomy of these annotations' },
    );
  };
  return { verb: await listOf('verb'), noun: await listOf('noun') };
}

/** Verb and noun of every action that is done, each pair once, in the order of their labels. */
export function pairsOf(clips: readonly ActionClip[]): (readonly [verb: number, noun: number])[] {
  const pairs = new Map(
    labelled(clips).map(({ verb, noun }) => [`${verb.label} ${noun.label}`, [verb.label, noun.label] as const]),
  );
  return [...pairs.values()].sort(([verb, noun], [otherVerb, otherNoun]) => verb - otherVerb || noun - otherNoun);
}

/**
 * How much likelier than by chance (1) a verb is 1, 2, ... `most` actions after itself. Few clips say little: five actions by chance are
 * counted with each distance, so that no factor is 0.
 */
export function verbRepeats(clips: readonly ActionClip[], most: number): number[] {
  const sequences = clips.map(({ actions }) => actions.flatMap(({ labels }) => labels?.verb.label ?? []));
  const counts = new Map<number, number>();
  for (const verb of sequences.flat()) counts.set(verb, (counts.get(verb) ?? 0) + 1);
  const total = sequences.flat().length;
  const chance = [...counts.values()].reduce((sum, count) => sum + (count / total) ** 2, 0);
  return Array.from({ length: most }, (_, i) => {
    const gap = i + 1;
    const places = sequences.reduce((sum, { length }) => sum + Math.max(0, length - gap), 0);
    const same = sequences.reduce(
      (sum, verbs) => sum + verbs.filter((v, at) => at >= gap && verbs[at - gap] === v).length,
      0,
    );
    const factor = total === 0 ? 1 : (same + 5 * chance) / ((places + 5) * chance);
    return Math.max(0.001, Math.round(factor * 1000) / 1000);
  });
}

function labelled(clips: readonly ActionClip[]): ClipLabels[] {
  return clips.flatMap(({ actions }) => actions.flatMap(({ labels }) => labels ?? []));
}

/** Names by label; a label that no action has is called by its number. */
function ownList(kind: string, used: readonly ActionClass[]): LabelList {
  const count = used.reduce((most, { label }) => Math.max(most, label + 1), 1);
  const labels = Array.from({ length: count }, (_, label) => String(label));
  for (const { label, name } of used) if (name !== null) labels[label] = name;
  return {
    schema: 'egolens.labels/1',
    name: `${kind}s`,
    version: 1,
    order: `${kind}_label of the training split`,
    labels,
  };
}
