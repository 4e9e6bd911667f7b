/** `models import` of heads: the checkpoint of a head becomes a head folder. */
import { keyReportError, matchKeys } from '../checkpoint/match-keys.js';
import { openCheckpoint } from '../checkpoint/state-dict.js';
import { EgolensError } from '../errors.js';
import { openFileSource } from '../files.js';
import { mergedConfig } from '../models/config.js';
import { headGraph, type Head, type HeadFamily } from '../models/head.js';
import type { KeyShapes } from '../models/spec.js';
import type { StateDict } from '../types.js';
import { applyMap, readConfig } from './import-config.js';
import type { ImportOptions, ImportReport } from './import-model.js';
import { sourceRecord } from './import-sources.js';
import { writeHeadFolder } from './head-writer.js';
import { labelList, type LabelList } from './label-lists.js';
import { checkedName, defaultName } from './model-folders.js';

/**
 * Imports the checkpoint of a head: every tensor of the file and every parameter of the graph is accounted for, or nothing is written.
 *
 * @throws EgolensError checkpoint.*, model.*, usage.conflict for what heads do not take, output.exists
 */
export async function importHead(file: string, family: HeadFamily, options: ImportOptions): Promise<ImportReport> {
  const { signal, progress, force } = options;
  refuseOptions(options, ['with', 'tokenizer', 'preset'], `${family.name} is a head`);
  await using source = await openFileSource(file);
  const checkpoint = await openCheckpoint(source, { preferredKeys: family.weightsKeys ?? [] });
  const renamed = options.map === undefined ? checkpoint.tensors : await applyMap(checkpoint.tensors, options.map);
  const tensors = family.official(renamed);
  const given = options.config === undefined ? {} : (await readConfig(options.config)).config;
  const head = family.spec(mergedConfig(family.infer(shapesOf(tensors)), given));
  const { matched, left } = account(head, tensors, file);
  for (const { name: key, reason } of checkpoint.skipped) left.push({ key, why: `no tensor: ${reason}` });
  const name = options.name === undefined ? defaultName(file) : checkedName(options.name);
  const labels = options.labels === undefined ? {} : await headLabels(options.labels, head);
  const { folder, manifest } = await writeHeadFolder(
    {
      name,
      head,
      tensors: matched,
      labels,
      clock: null,
      options: {},
      trained: options.trained ?? 'official',
      licence: options.licence ?? { code: 'unknown', weights: 'unknown' },
      source: { ...(await sourceRecord({ path: file, checkpoint })), left },
    },
    {
      ...(options.output !== undefined && { output: options.output }),
      ...(force !== undefined && { force }),
      ...(signal && { signal }),
      ...(progress && { progress }),
    },
  );
  return { folder, manifest, matched: matched.size, left };
}

/** @throws EgolensError usage.conflict for options that such a model has no use for */
export function refuseOptions(
  options: ImportOptions,
  names: readonly ('with' | 'tokenizer' | 'preset' | 'map')[],
  what: string,
): void {
  const given = names.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new EgolensError('usage.conflict', `--${given}: ${what}, which has none`, { try: 'leave it out' });
}

function shapesOf(tensors: StateDict): KeyShapes {
  return new Map([...tensors].map(([key, { shape }]) => [key, shape]));
}

function account(
  head: Head,
  tensors: StateDict,
  file: string,
): { matched: StateDict; left: { key: string; why: string }[] } {
  const wanted = new Map(headGraph(head).params.map(({ name, shape }) => [name, shape] as const));
  const report = matchKeys(wanted, tensors, (key) => key, { has: (key) => head.leftover(key) !== undefined });
  const fault = keyReportError(report, file);
  if (fault !== null) throw fault;
  return { matched: report.matched, left: report.left.map((key) => ({ key, why: head.leftover(key)! })) };
}

/**
 * Class lists of a head by kind: a list for a head of one kind, a taxonomy of Ego4D for one of verbs and nouns.
 *
 * @throws EgolensError input.not_found, data.invalid; model.config where a list is not as long as the head has classes
 */
export async function headLabels(
  nameOrPath: string,
  { kinds }: Pick<Head, 'kinds'>,
): Promise<Record<string, LabelList>> {
  const lists: Record<string, LabelList> = {};
  for (const { kind, count } of kinds) {
    const list = await labelList(kinds.length === 1 ? nameOrPath : `${nameOrPath}:${kind}s`);
    if (list.labels.length !== count) {
      throw new EgolensError(
        'model.config',
        `\`${nameOrPath}\`: ${list.labels.length} labels; the head has ${count} classes of ${kind}`,
        { try: 'take the list that the head was trained with' },
      );
    }
    lists[kind] = list;
  }
  return lists;
}
