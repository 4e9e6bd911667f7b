/** Moment Queries: records of `moments` -> the two result lists of a submission. */
import { EgolensError } from '../../src/errors.js';
import { float } from '../../src/json.js';
import type { JsonDocument, Submission } from '../../src/types.js';
import type { JsonObject } from '../reading.js';
import { areRecords, assertRecords, recordNumber, recordOwner, recordText } from '../records.js';
import { momentClips, type MomentClip } from './moments.js';

const schema = 'egolens.moment/1';
/** What the baseline writes at most for a clip. */
export const itemsPerClip = 200;

/** An item of a result list; times in seconds of the clip. */
export interface ListedMoment {
  readonly label: string;
  readonly score: number;
  readonly segment: readonly [start: number, end: number];
}

/** Both result lists by clip, and what did not go into them. */
export interface MomentLists {
  readonly detection: Readonly<Record<string, readonly ListedMoment[]>>;
  readonly retrieval: Readonly<Record<string, readonly ListedMoment[]>>;
  readonly counts: {
    readonly clips: number;
    readonly clipsWithoutPrediction: number;
    /** Past the first 200 of a clip. */
    readonly cut: number;
    /** Wholly outside their clip. */
    readonly outside: number;
  };
}

/** Are these records of `moments`? An empty list counts. */
export function isMomentRecords(value: unknown): value is readonly JsonObject[] {
  return areRecords(value, schema);
}

/**
 * Both lists of every clip: by falling score (of equal ones the earlier record first), clamped to the clip, 200 at most. Retrieval
 * lists keep the labels that the clip's truth asks for; where there is no truth they equal the detection lists.
 *
 * Seconds of a video become seconds of the clip by the clip's own `video_start_sec`; without a `clip_uid`, a moment goes into every
 * clip of its video that it meets.
 *
 * @throws EgolensError data.unknown_id for a clip or video that is not in the file; data.invalid for a record of no clip
 */
export function momentLists(
  records: readonly JsonObject[],
  clips: readonly MomentClip[],
  reference: string,
): MomentLists {
  const clipByUid = new Map(clips.map((clip) => [clip.clipId, clip]));
  const clipsByVideo = new Map<string, MomentClip[]>();
  for (const clip of clips) {
    const fellows = clipsByVideo.get(clip.videoUid);
    if (fellows === undefined) clipsByVideo.set(clip.videoUid, [clip]);
    else fellows.push(clip);
  }
  const listed = new Map(clips.map((clip) => [clip, [] as ListedMoment[]]));
  let outside = 0;
  records.forEach((record, index) => {
    const label = recordText(record, index, 'label');
    const start = recordNumber(record, index, 'start');
    const end = recordNumber(record, index, 'end');
    const score = recordNumber(record, index, 'score');
    const owner = recordOwner(record, index);
    const uid = owner.kind === 'clip' ? owner.uid : clipUidOf(record, index);
    const targets = uid === undefined ? clipsByVideo.get(owner.uid) : asList(clipByUid.get(uid));
    if (targets === undefined) {
      throw new EgolensError(
        'data.unknown_id',
        `record ${index + 1}: ${uid === undefined ? `video \`${owner.uid}\`` : `clip \`${uid}\``} is not in \`${reference}\``,
        { try: 'give the annotation file of the split that was predicted' },
      );
    }
    let isPlaced = false;
    for (const clip of targets) {
      const segment = segmentIn(clip, start, end, owner.kind);
      if (segment === undefined) continue;
      isPlaced = true;
      listed.get(clip)!.push({ label, score, segment });
    }
    if (!isPlaced) outside++;
  });
  const detection: Record<string, ListedMoment[]> = {};
  const retrieval: Record<string, ListedMoment[]> = {};
  let [cut, empty] = [0, 0];
  for (const [clip, items] of listed) {
    items.sort((a, b) => b.score - a.score);
    if (items.length === 0) empty++;
    cut += Math.max(0, items.length - itemsPerClip);
    const asked = new Set(clip.moments.map(({ label }) => label));
    detection[clip.key] = items.slice(0, itemsPerClip);
    retrieval[clip.clipId] = items.filter(({ label }) => asked.size === 0 || asked.has(label)).slice(0, itemsPerClip);
  }
  return { detection, retrieval, counts: { clips: clips.length, clipsWithoutPrediction: empty, cut, outside } };
}

function clipUidOf(record: JsonObject, index: number): string | undefined {
  const uid = record['clip_uid'];
  return uid === undefined || uid === null ? undefined : recordText(record, index, 'clip_uid');
}

function asList<T>(value: T | undefined): readonly T[] | undefined {
  return value === undefined ? undefined : [value];
}

/** Seconds of the clip, clamped to it; undefined for what lies outside. */
function segmentIn(clip: MomentClip, start: number, end: number, kind: 'clip' | 'video'): [number, number] | undefined {
  if (clip.parent === undefined) return kind === 'clip' ? [start, end] : undefined;
  const [from, to] = clip.parent;
  const shift = kind === 'video' ? from : 0;
  const duration = to - from;
  const segment: [number, number] = [Math.max(0, start - shift), Math.min(duration, end - shift)];
  return segment[0] < segment[1] || (start === end && segment[0] === segment[1]) ? segment : undefined;
}

/** The submission of Moment Queries over the clips of `test`; a clip without records gets empty lists, which count as misses. */
export function momentSubmission(records: readonly JsonObject[], test: JsonDocument): Submission {
  assertRecords(records, schema);
  const { detection, retrieval, counts } = momentLists(records, momentClips([test], 'all'), test.name);
  const results = (lists: MomentLists['detection']): unknown =>
    Object.fromEntries(
      Object.entries(lists).map(([clip, items]) => [
        clip,
        items.map(({ label, score, segment }) => ({ label, score: float(score), segment: segment.map(float) })),
      ]),
    );
  const sum = (lists: MomentLists['detection']): number =>
    Object.values(lists).reduce((total, items) => total + items.length, 0);
  const notes: string[] = [];
  if (counts.clipsWithoutPrediction > 0) {
    notes.push(`${counts.clipsWithoutPrediction} of ${counts.clips} clips have no prediction: their lists are empty`);
  }
  if (counts.cut > 0) notes.push(`${counts.cut} moments past the first ${itemsPerClip} of their clip were left out`);
  if (counts.outside > 0) notes.push(`${counts.outside} moments outside every clip were left out`);
  return {
    json: {
      version: '1.0',
      challenge: 'ego4d_moment_queries',
      detect_results: results(detection),
      retrieve_results: results(retrieval),
    },
    counts: { ...counts, detections: sum(detection), retrieved: sum(retrieval) },
    notes,
  };
}
