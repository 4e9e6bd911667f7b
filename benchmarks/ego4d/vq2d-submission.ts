/** Visual Queries 2D: tracks -> the submission. */
import { float } from '../../src/json.js';
import type { JsonDocument, Submission, SubmissionOptions } from '../../src/types.js';
import { fault, isObject, listAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { assertRecords, recordFault, recordText } from '../records.js';
import { incomplete, recordCorners, recordFloat, recordInteger, unknownRecord } from './box-records.js';
import { pointer, shown } from './checks.js';
import { vq2dChallengeName } from './vq2d-check.js';

/** Schema of the records that a submission is made of (files.md 7). */
export const vq2dSchema = 'egolens.track/1';

interface TrackEntry {
  readonly bboxes: readonly unknown[];
  readonly score: unknown;
}

/**
 * The submission over the queries of `test`, in the order of the file. Frames count at 5 a second in the clip, boxes are in pixels of
 * the full-scale frame.
 *
 * A record is `{clip_uid, annotation_idx, query_set, boxes: [{frame, box}], score}`.
 *
 * @throws EgolensError data.unknown_id for a query that is not in the file; data.invalid for a track with a gap, a query with two
 *         records, and queries without one unless they are to be filled
 */
export function vq2dSubmission(
  records: readonly JsonObject[],
  test: JsonDocument,
  { fillMissing }: SubmissionOptions,
): Submission {
  assertRecords(records, vq2dSchema);
  const tracks = new Map<string, { readonly index: number; readonly entry: TrackEntry }>();
  records.forEach((record, index) => {
    const name = queryName(record, index);
    const before = tracks.get(name);
    if (before !== undefined) {
      const hint = 'keep one track a query, the one with the highest score';
      throw recordFault(index, `query \`${name}\` has record ${before.index + 1} already`, hint);
    }
    tracks.set(name, { index, entry: entryOf(record, index) });
  });

  const used = new Set<string>();
  const missing: string[] = [];
  let queries = 0;
  const form = 'give `vq_test_unannotated.json` or a file of its form';
  const root = objectAt(test, test.value, () => '', form);
  const videos = listAt(test, root['videos'], () => '/videos', form).map((video, v) => {
    const at = pointer('videos', v);
    const fields = objectAt(test, video, () => at, form);
    const clips = listAt(test, fields['clips'], () => `${at}/clips`, form).map((clip, c) => {
      const clipAt = `${at}/clips/${c}`;
      const clipFields = objectAt(test, clip, () => clipAt, form);
      const uid = textAt(test, clipFields['clip_uid'], () => `${clipAt}/clip_uid`, form);
      const annotations = listAt(test, clipFields['annotations'], () => `${clipAt}/annotations`, form);
      const predictions = annotations.map((annotation, a) => {
        const setsAt = `${clipAt}/annotations/${a}/query_sets`;
        const listed = isObject(annotation) ? annotation['query_sets'] : undefined;
        const sets = objectAt(test, listed, () => setsAt, form);
        const written: Record<string, TrackEntry> = {};
        for (const [key, query] of Object.entries(sets)) {
          const name = `${uid}/${a}/${key}`;
          const isAsked = objectAt(test, query, () => `${setsAt}/${key}`, form)['is_valid'] !== false;
          const track = tracks.get(name);
          if (isAsked) queries++;
          if (track !== undefined) {
            used.add(name);
            written[key] = track.entry;
          } else if (isAsked) {
            missing.push(name);
            written[key] = { bboxes: [], score: float(0) };
          }
        }
        return { query_sets: written };
      });
      return { clip_uid: uid, predictions };
    });
    return { video_uid: textAt(test, fields['video_uid'], () => `${at}/video_uid`, form), clips };
  });

  for (const [name, { index }] of tracks) if (!used.has(name)) throw unknownRecord(index, `query \`${name}\``, test);
  if (missing.length > 0 && !fillMissing) throw incomplete(missing.length, queries, 'queries', missing[0]!);
  const version = root['version'];
  if (version === undefined) throw fault(test, '/version', 'a member `version`', version, 'a submission repeats it');
  return {
    json: { version, challenge: vq2dChallengeName, results: { videos } },
    counts: { queries, tracks: tracks.size, queriesWithoutTrack: missing.length },
    notes: missing.length > 0 ? [`${missing.length} of ${queries} queries get an empty track with score 0`] : [],
  };
}

function queryName(record: JsonObject, index: number): string {
  const clip = recordText(record, index, 'clip_uid');
  const set = record['query_set'];
  const key = typeof set === 'string' ? set : String(recordInteger(record, index, 'query_set'));
  return `${clip}/${recordInteger(record, index, 'annotation_idx')}/${key}`;
}

function entryOf(record: JsonObject, index: number): TrackEntry {
  const { boxes } = record;
  if (!Array.isArray(boxes)) {
    throw recordFault(index, `\`boxes\`: expected a list, found ${shown(boxes)}`, 'write `[]` for an empty track');
  }
  const bboxes = boxes.map((item: unknown) => {
    const [x1, y1, x2, y2] = recordCorners(item, index);
    const fno = recordInteger(isObject(item) ? item : {}, index, 'frame');
    return { fno, x1: float(x1), y1: float(y1), x2: float(x2), y2: float(y2) };
  });
  bboxes.sort((a, b) => a.fno - b.fno);
  for (let i = 1; i < bboxes.length; i++) {
    const [before, frame] = [bboxes[i - 1]!.fno, bboxes[i]!.fno];
    if (frame === before + 1) continue;
    const what = frame === before ? `frame ${frame} twice` : `frame ${frame} after frame ${before}`;
    throw recordFault(
      index,
      `\`boxes\`: expected a box for each frame, found ${what}`,
      'a track has no gaps; frames count at 5 a second',
    );
  }
  return { bboxes, score: recordFloat(record, index, 'score') };
}
