/** Annotations of Ego4D queries as VSLNet's own data files have them: clip by clip, in features instead of seconds. */
import { questionText } from '../../src/text/questions.js';
import type { Seconds } from '../../src/types.js';
import { featureAt, officialRate } from './sampling.js';

/** What is read of `nlq_train.json`, `nlq_val.json`. */
export interface QueryAnnotations {
  readonly videos: readonly {
    readonly video_uid: string;
    readonly clips: readonly {
      readonly clip_uid: string;
      readonly video_start_sec: Seconds;
      readonly video_end_sec: Seconds;
      readonly annotations: readonly {
        readonly annotation_uid: string;
        readonly language_queries: readonly {
          readonly query?: string | null;
          readonly clip_start_sec: Seconds;
          readonly clip_end_sec: Seconds;
        }[];
      }[];
    }[];
  }[];
}

/** One clip in the official form: keys are theirs. Lists are of one length, an entry for each question. */
export interface ReformattedClip {
  /** Features a second. */
  readonly fps: number;
  /** Features of the clip. */
  readonly num_frames: number;
  /** First and last feature of each answer. */
  readonly timestamps: (readonly [number, number])[];
  readonly exact_times: (readonly [Seconds, Seconds])[];
  readonly sentences: string[];
  readonly annotation_uids: string[];
  /** Number of the question in its annotation, those without text counted. */
  readonly query_idx: number[];
}

/** All clips of an annotation file in the official form. */
export interface Reformatted {
  readonly clips: Readonly<Record<string, ReformattedClip>>;
  /** Clip -> its video, and where it lies in it. */
  readonly clipVideoMap: Readonly<Record<string, readonly [video: string, start: Seconds, end: Seconds]>>;
}

/**
 * Questions by clip; those without text are left out.
 *
 * @source EGO4D/episodic-memory NLQ/VSLNet/utils/prepare_ego4d_dataset.py, reformat_data
 */
export function reformatted({ videos }: QueryAnnotations): Reformatted {
  const clips = new Map<string, ReformattedClip>();
  const map = new Map<string, readonly [string, Seconds, Seconds]>();
  for (const { video_uid, clips: own } of videos) {
    for (const { clip_uid, video_start_sec, video_end_sec, annotations } of own) {
      map.set(clip_uid, [video_uid, video_start_sec, video_end_sec]);
      const clip: ReformattedClip = {
        fps: officialRate,
        num_frames: featureAt(video_end_sec - video_start_sec),
        timestamps: [],
        exact_times: [],
        sentences: [],
        annotation_uids: [],
        query_idx: [],
      };
      for (const { annotation_uid, language_queries } of annotations) {
        for (const [i, { query, clip_start_sec, clip_end_sec }] of language_queries.entries()) {
          if (query === undefined || query === null || query === '') continue;
          clip.timestamps.push([featureAt(clip_start_sec), featureAt(clip_end_sec)]);
          clip.exact_times.push([clip_start_sec, clip_end_sec]);
          clip.sentences.push(questionText(query, 'bert'));
          clip.annotation_uids.push(annotation_uid);
          clip.query_idx.push(i);
        }
      }
      clips.set(clip_uid, clip);
    }
  }
  return { clips: Object.fromEntries(clips), clipVideoMap: Object.fromEntries(map) };
}
