/** Clips or frames of an annotation file that have no features: a run over features refuses them, or leaves them out. */
import { EgolensError } from '../errors.js';
import type { FeatureForm } from './segment-features.js';
import type { HeadTrainingOptions } from './train-head.js';

/** What was found of the clips of an annotation file, or of its frames. */
export interface FoundClips {
  /** Of the files; undefined where there are none. */
  readonly form: FeatureForm | undefined;
  /** Clips with features. */
  readonly found: number;
  /** Names of those without. */
  readonly missing: readonly string[];
  /** What is counted; default clips. */
  readonly what?: 'clip' | 'frame';
}

/** Names in a message. */
const shownNames = 5;

/**
 * The form of the features of an annotation file whose clips all have some, or with `skipMissing` one at least: the others are noted.
 *
 * @param name of the annotation file
 * @throws EgolensError input.not_found naming how many clips have no features; data.invalid where there are no clips
 */
export function formOfClips(
  name: string,
  { form, found, missing, what = 'clip' }: FoundClips,
  { features, skipMissing, progress }: Pick<HeadTrainingOptions, 'features' | 'skipMissing' | 'progress'>,
): FeatureForm {
  const count = found + missing.length;
  if (missing.length > 0 && (found === 0 || !skipMissing)) {
    const names = missing.slice(0, shownNames).map((one) => `\`${one}\``);
    const more = missing.length > shownNames ? ', …' : '';
    throw new EgolensError(
      'input.not_found',
      `\`${name}\`: ${missing.length} of ${count} ${what}s have no features: ${names.join(', ')}${more}; looked for them and their videos in \`${features}\``,
      { input: name, try: '`egolens extract` for these videos, or `--skip-missing`' },
    );
  }
  if (form === undefined || found === 0) {
    throw new EgolensError('data.invalid', `\`${name}\`: expected at least one ${what}, found none`, { input: name });
  }
  if (missing.length > 0)
    progress.note(`${name}: ${missing.length} of ${count} ${what}s left out, for want of features`);
  return form;
}
