/** Clips of Natural Language Queries as stretches of feature files. */
import { queryClips, type ClipQuestion, type QueryClip } from '../ego4d/query-clips.js';
import { sha256 } from '../files.js';
import { canonicalText } from '../json.js';
import type { JsonDocument } from '../types.js';
import { onePath, type ClipOptions } from './clip-sequences.js';
import { sequenceFile, type SequenceFile } from './feature-rows.js';
import type { Stretch } from './predict.js';
import type { FeatureSet } from './recognize-head.js';
import { checkForm, type FeatureForm } from './segment-features.js';

/** A clip with what is asked of it. */
export interface QueryStretch extends Stretch {
  readonly questions: readonly ClipQuestion[];
}

export interface QueryStretches {
  /** Of the first file, or the form that was asked for; undefined where no clip has features. */
  readonly form: FeatureForm | undefined;
  readonly stretches: readonly QueryStretch[];
  /** Clips without features, or outside of them. */
  readonly missing: readonly string[];
  /** Questions without text. */
  readonly silent: number;
  /** Tells whether the same rows would be read again. */
  readonly digest: string;
}

/**
 * The clips of a queries file that have features: a file of their own, called by the uid of the clip, or those rows of the features of their
 * video whose middle lies in the clip.
 *
 * @throws EgolensError data.invalid for an annotation file of another form and for uids that several feature files have; data.clock for
 *   features whose times nothing tells; data.shape, data.clock, usage.conflict where a file has another form than the first
 */
export async function queryStretches(
  document: JsonDocument,
  set: FeatureSet,
  { like, mixed, only, reading, signal, progress }: ClipOptions = {},
): Promise<QueryStretches> {
  const clips = queryClips(document).filter((clip) => only?.(clip) ?? true);
  const files = new Map<string, SequenceFile>();
  const stretches: QueryStretch[] = [];
  const missing: string[] = [];
  let form = like;
  const bar = progress?.start(`features for ${document.name}`, clips.length);
  try {
    for (const clip of clips) {
      signal?.throwIfAborted();
      bar?.advance(1);
      const name = [clip.clipUid, clip.videoUid].find((uid) => set.index.has(uid));
      const path = name === undefined ? undefined : onePath(name, set.index, document);
      if (path === undefined) {
        missing.push(clip.clipUid);
        continue;
      }
      let file = files.get(path);
      if (file === undefined) {
        file = await sequenceFile(path, reading);
        checkForm(file.form, (form ??= file.form), mixed);
        files.set(path, file);
      }
      const stretch = stretchFor(clip, file, name === clip.clipUid);
      if (stretch === undefined) missing.push(clip.clipUid);
      else stretches.push({ ...stretch, input: set.inputs?.get(path)?.input ?? path });
    }
  } finally {
    bar?.stop();
  }
  const sources = stretches.map(({ id, rows, file: { meta } }) => {
    return [id, rows, meta?.key ?? null, meta?.array.sha256 ?? null];
  });
  const silent = clips.reduce((count, clip) => count + clip.silent, 0);
  return { form, stretches, missing, silent, digest: sha256(canonicalText(sources)) };
}

/** The rows of a clip; undefined where none is in it. */
function stretchFor(clip: QueryClip, file: SequenceFile, isOwn: boolean): QueryStretch | undefined {
  const { clipUid, duration, videoStart, questions } = clip;
  const { times, meta, form } = file;
  // A file of the clip may have been cut out of its video, and keep its seconds.
  const begin = isOwn && meta?.of.kind !== 'video' ? 0 : videoStart;
  if (begin === undefined) return undefined;
  const isInside = ({ start, end }: (typeof times)[number]): boolean => {
    const middle = (start + end) / 2 - begin;
    return isOwn || (middle >= 0 && (duration === undefined || middle < duration));
  };
  const first = times.findIndex(isInside);
  if (first < 0) return undefined;
  const last = times.findLastIndex(isInside);
  const start = times[first]!.start - begin; // found
  const end = times[last]!.end - begin;
  return {
    id: clipUid,
    input: form.path,
    of: { kind: 'clip', uid: clipUid },
    clipUid,
    path: form.path,
    file,
    rows: [first, last + 1],
    offset: start,
    duration: end - start,
    bounds: [0, duration ?? end],
    questions,
  };
}
