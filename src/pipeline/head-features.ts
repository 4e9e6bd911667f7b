/** Features of videos for a head: computed with the encoder and the recipe that it was trained with, and kept in the cache. */
import { basename, extname, join, resolve } from 'node:path';
import { EgolensError } from '../errors.js';
import { cacheFolder, sha256 } from '../files.js';
import { findModel } from '../hub/cache.js';
import { openModelFolder, openStoredModel } from '../models/folder.js';
import { headClock, type HeadFolder } from '../models/head-folder.js';
import type { Head } from '../models/head.js';
import { readPreset } from '../models/presets.js';
import type { Preset } from '../types.js';
import { extract, type ExtractOptions } from './extract.js';
import type { FeatureIndex } from './feature-index.js';
import type { InputItem } from './inputs.js';
import type { HeadRun } from './recognize-head.js';
import { errorRecord, type ErrorRecord } from './records.js';

/** Options of `extract` but for what the head decides. */
export type HeadExtraction = Omit<
  ExtractOptions,
  | 'model'
  | 'output'
  | 'pool'
  | 'level'
  | 'type'
  | 'preset'
  | 'adjust'
  | 'shard'
  | 'force'
  | 'retryFailed'
  | 'identity'
  | 'argv'
  | 'multimodal'
  | 'streamSet'
  | 'template'
>;

/** Features of the videos of a list. */
export interface VideoFeatures {
  /** By stem of the video, by path below its folder, and by the uid of an Ego4D video. */
  readonly index: FeatureIndex;
  /** Input as given, by path of the features. */
  readonly inputs: ReadonlyMap<string, InputItem>;
  readonly failed: readonly ErrorRecord[];
}

/**
 * Features for the head, computed with the encoder and recipe that it was trained with, into the cache: a second run finds them there.
 *
 * @param encoder name or folder in place of the one that the head names
 * @throws EgolensError model.not_found where the encoder is not there; as `extract`
 */
export async function featuresForHead(
  items: readonly InputItem[],
  { folder, head }: Pick<HeadRun, 'folder' | 'head'>,
  options: HeadExtraction & { readonly encoder?: string },
): Promise<VideoFeatures> {
  const { encoder, ...rest } = options;
  const source = folder.info.features[0];
  const model = await encoderOf(folder, encoder);
  const { spec, preset } = await openModelFolder(model);
  const named = source?.preset;
  const base = named === undefined || named === `${preset.name}@${preset.version}` ? preset : readPreset(named);
  // Named by the digest of their paths: videos of one name in two folders are two, and so are other windows of one.
  const byName = new Map<string, InputItem>();
  const renamed = items.map((item): InputItem => {
    const at = item.at ?? rest.at;
    const place = [resolve(item.path), item.start ?? null, item.end ?? null, ...(at === undefined ? [] : [at])];
    const digest = sha256(JSON.stringify(place));
    byName.set(`${digest.slice(0, 2)}/${digest.slice(2, 34)}`, item);
    return { ...item, relpath: digest.slice(0, 2), name: digest.slice(2, 34) };
  });
  const run = extract(renamed, {
    ...rest,
    model,
    preset: base,
    adjust: (one) => onClockOf(one, folder),
    pool: source?.output === spec.tokenOutput && source.output !== base.feature ? 'tokens' : 'mean',
    output: join(cacheFolder(), 'features'),
    level: 'clip',
    type: 'npy',
    force: false,
    retryFailed: true,
    identity: 'ends',
    argv: ['recognize', '--head', folder.manifest.name],
  });
  const index = new Map<string, string[]>();
  const inputs = new Map<string, InputItem>();
  const failed: ErrorRecord[] = [];
  for (;;) {
    const next = await run.next();
    if (next.done === true) break;
    const event = next.value;
    if (event.kind === 'failed') failed.push(event.error);
    else if (event.kind === 'skipped') {
      const error = new EgolensError('store.locked', `\`${event.input}\`: another process works on its features`, {
        retryable: true,
      });
      failed.push(errorRecord(error, event.input));
    } else {
      const item = byName.get(event.record.id)!; // the names are ours
      inputs.set(event.record.path, item);
      for (const name of namesOf(item)) index.set(name, [...(index.get(name) ?? []), event.record.path]);
    }
  }
  assertWidths(head, folder);
  return { index, inputs, failed };
}

function assertWidths({ widths }: Head, { id }: HeadFolder): void {
  if (widths.length === 1) return;
  throw new EgolensError(
    'model.config',
    `${id}: takes ${widths.length} streams of features; give them with --features`,
  );
}

function namesOf({ path, relpath, name, of }: InputItem): Set<string> {
  const stem = name ?? basename(path, extname(path));
  return new Set([
    stem,
    relpath === '' ? stem : `${relpath}/${stem}`,
    ...(of === undefined || of.kind === 'file' ? [] : [of.uid]),
  ]);
}

/** Folder of the encoder: the one given, else the one of that name and digest. */
async function encoderOf({ id, info }: HeadFolder, given: string | undefined): Promise<string> {
  if (given !== undefined) return await findModel(given);
  const wanted = info.features[0]?.model ?? null;
  if (wanted === null) {
    throw new EgolensError('usage.flag', `${id}: does not say which encoder its features come from`, {
      try: '`--model ENCODER`, or `--features DIR`',
    });
  }
  const folder = await findModel(wanted).catch(() => undefined);
  if (folder !== undefined && (await openStoredModel(folder)).id === wanted) return folder;
  throw new EgolensError('model.not_found', `${id}: was trained on features of ${wanted}, which is not there`, {
    try: '`--model DIR` names its folder, `--features DIR` features of it',
  });
}

/** The recipe with windows on the clock of the head. */
function onClockOf(preset: Preset, { info }: HeadFolder): Preset {
  if (info.clock === null) return preset;
  const { rate, hop, frames, step, extent } = headClock(info.clock);
  const own = { plan: 'dense', rate, hop, frames, step, views: [1, 1] as const };
  return { ...preset, sampling: { ...preset.sampling, ...own, ...(extent !== undefined && { extent }) } };
}
