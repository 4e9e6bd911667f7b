/** Labelled segments in the videos of a list: which file, which seconds, which classes. */
import { basename, extname } from 'node:path';
import type { SegmentList } from '../ego4d/segments.js';
import { EgolensError } from '../errors.js';
import type { TuneSample } from './fine-tune-data.js';
import type { InputItem } from './inputs.js';
import { classesOf, type ClassLists } from './segment-classes.js';

/** Names in a message. */
const shownNames = 5;

/** Segments as samples of a training split. */
export interface SegmentSamples {
  readonly samples: readonly TuneSample[];
  /** Segments that were left out because no video of theirs is in the list. */
  readonly missing: number;
}

/**
 * Finds the video of each segment by its name: the file whose name without ending is the uid of the clip or of the video, or the name that
 * an own list says.
 *
 * @throws EgolensError the fault of an input; input.not_found with the names of the videos that are missing, unless `skipMissing`;
 *   usage.conflict where two files have one name; data.invalid for labels outside the lists, and where no segment is left
 */
export function segmentSamples(
  list: SegmentList,
  classes: ClassLists,
  videos: readonly InputItem[],
  { skipMissing }: { readonly skipMissing: boolean },
): SegmentSamples {
  const byName = new Map<string, InputItem[]>();
  for (const video of videos) {
    if (video.error !== undefined) throw video.error;
    const stem = basename(video.path, extname(video.path));
    byName.set(stem, [...(byName.get(stem) ?? []), video]);
  }
  const numbers = classesOf(list, classes);
  const samples: TuneSample[] = [];
  const missing: string[] = [];
  list.segments.forEach(({ places }, i) => {
    const place = places.find(({ name }) => byName.has(name));
    const [video, other] = place === undefined ? [] : byName.get(place.name)!; // it has the name
    if (place === undefined || video === undefined) {
      missing.push(places[0]?.name ?? '');
      return;
    }
    if (other !== undefined) {
      throw new EgolensError(
        'usage.conflict',
        `two videos are called ${place.name}: \`${video.input}\` and \`${other.input}\``,
        {
          input: other.input,
          try: 'name one of them',
        },
      );
    }
    samples.push({
      path: video.path,
      start: place.start ?? 0,
      ...(place.end !== undefined && { end: place.end }),
      labels: Object.fromEntries([...numbers].map(([kind, indexes]) => [kind, indexes[i]!])), // one index a segment
    });
  });
  const names = [...new Set(missing)];
  if (missing.length > 0 && (!skipMissing || samples.length === 0)) {
    const shown = names.slice(0, shownNames).map((name) => `\`${name}\``);
    const more = names.length > shownNames ? ` and ${names.length - shownNames} more` : '';
    throw new EgolensError(
      'input.not_found',
      `\`${list.name}\`: ${missing.length} of ${list.segments.length} segments lie in videos that are not among the ${videos.length} given: ${shown.join(', ')}${more}`,
      {
        input: list.name,
        try: skipMissing ? 'the folder of these videos' : 'give their files too, or `--skip-missing` leaves them out',
      },
    );
  }
  if (samples.length === 0)
    throw new EgolensError('data.invalid', `\`${list.name}\`: expected labelled segments, found none`, {
      input: list.name,
    });
  return { samples, missing: missing.length };
}
