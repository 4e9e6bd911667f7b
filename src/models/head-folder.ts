import { join } from 'node:path';
import { assert, EgolensError } from '../errors.js';
import { clockText, sameClock, clockJson, clockOf, type ClockJson } from '../features/store.js';
import type { FeatureClock } from '../types.js';
import { openStoredModel, readLabels, type FeatureSource, type HeadInfo, type StoredModel } from './folder.js';

/** A head on disk (files.md 4). */
export interface HeadFolder extends StoredModel {
  readonly info: HeadInfo;
  /** Class names in index order by kind, in the order of the outputs; null where the folder holds no names of that kind. */
  readonly labels: Readonly<Record<string, readonly string[] | null>>;
}

/** File of the class names of a kind: `labels.json` where there is one kind, else `labels.verb.json`, `labels.noun.json`. */
export function labelFile(kind: string): string {
  return kind === 'label' ? 'labels.json' : `labels.${kind}.json`;
}

/** Is this model folder that of a head? */
export function isHead({ manifest }: StoredModel): boolean {
  return manifest.kind === 'head';
}

/**
 * Opens a head folder: description and presence of the files; digests are `verifyFiles`'s work.
 *
 * @throws EgolensError model.not_found, model.incomplete, model.digest, data.invalid; model.config where it is no head
 */
export async function openHeadFolder(folder: string): Promise<HeadFolder> {
  return await headFolderOf(await openStoredModel(folder));
}

/** As `openHeadFolder`, of a folder that is open already. */
export async function headFolderOf(stored: StoredModel): Promise<HeadFolder> {
  const { manifest, id, folder } = stored;
  if (!isHead(stored)) {
    throw new EgolensError('model.config', `${id}: a model of kind ${manifest.kind}; expected a head`, {
      try: `\`${manifest.kind === 'detector' ? 'anticipate --detector' : '--model'}\` takes it; \`egolens train\` makes heads`,
    });
  }
  assert(manifest.head, `${id}: the schema asks heads for \`head\``);
  const labels: Record<string, readonly string[] | null> = {};
  for (const kind of kindsOf(stored)) {
    const file = labelFile(kind);
    labels[kind] = manifest.files[file] === undefined ? null : await readLabels(join(folder, file));
  }
  return { ...stored, info: manifest.head, labels };
}

/** Kinds of classes as the configuration lists them; none for heads without classes. */
function kindsOf({ manifest }: StoredModel): string[] {
  const kinds = manifest.config['kinds'];
  return Array.isArray(kinds) ? kinds.filter((kind): kind is string => typeof kind === 'string') : [];
}

/** Features that are offered to a head. */
export interface OfferedFeatures {
  /** What messages call them: a path. */
  readonly name: string;
  /** `name@digest`; undefined where nothing tells it. */
  readonly model: string | undefined;
  readonly width: number;
  readonly clock: FeatureClock | undefined;
}

/**
 * Refuses features that the head was not made for: other width or clock, and, unless `force`, another model. What either side does not
 * say is not compared.
 *
 * @param index which stream of features
 * @throws EgolensError data.shape, data.clock, usage.conflict with both sides
 */
export function checkFeatures(
  { id, info }: HeadFolder,
  offered: OfferedFeatures,
  { force = false, index = 0 }: { readonly force?: boolean; readonly index?: number } = {},
): void {
  const wanted: FeatureSource | undefined = info.features[index];
  if (wanted === undefined) {
    throw new EgolensError(
      'model.config',
      `${id}: model.json names ${info.features.length} streams of features, expected at least ${index + 1}`,
    );
  }
  const { name, width, clock, model } = offered;
  if (width !== wanted.width) {
    throw new EgolensError('data.shape', `\`${name}\`: rows of ${width} numbers; ${id} expects ${wanted.width}`, {
      input: name,
      try: wanted.model === null ? 'features of the encoder that the head was made for' : `features of ${wanted.model}`,
    });
  }
  if (info.clock !== null && clock !== undefined) {
    const own = headClock(info.clock);
    if (!sameClock(own, clock)) {
      throw new EgolensError(
        'data.clock',
        `\`${name}\`: rows at ${clockText(clock)}; ${id} expects ${clockText(own)}`,
        { input: name, try: 'extract the features with the recipe that the head was trained on' },
      );
    }
  }
  if (!force && wanted.model !== null && model !== undefined && model !== wanted.model) {
    throw new EgolensError(
      'usage.conflict',
      `\`${name}\`: features of ${model}; ${id} was trained on ${wanted.model}`,
      {
        input: name,
        try: '`--force-features` if the models are known to be the same',
      },
    );
  }
}

/** A clock as a head folder states it: without tail and count. */
export function headClockJson(clock: FeatureClock): NonNullable<HeadInfo['clock']> {
  const { rate, hop, frames, step, extent } = clockJson(clock);
  return { rate, hop, frames, step, ...(extent !== undefined && { extent }) };
}

/** The clock of a head folder, of no rows. */
export function headClock(clock: Omit<ClockJson, 'rows' | 'tail'>): FeatureClock {
  return clockOf({ ...clock, tail: 'drop', rows: 0 });
}
