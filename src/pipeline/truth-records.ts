/** Records that say what an annotation file says: what nobody can beat, so that a metric's own ceiling can be seen. */
import {
  actionsByClip,
  futureActions,
  handPointsOf,
  seenActions,
  type AnnotatedFiles,
  type AnnotatedTask,
  type PredictionRecord,
} from './annotated.js';

type Maker<T extends AnnotatedTask> = (file: AnnotatedFiles[T]) => PredictionRecord[];

/** Of each task: annotations -> perfect predictions, scores falling in file order. */
export const truthRecords: { readonly [T in AnnotatedTask]: Maker<T> } = {
  mq: ({ videos }) =>
    ranked(
      videos
        .flatMap(({ clips }) => clips)
        .flatMap(({ clip_uid: uid, annotations }) =>
          annotations
            .flatMap(({ labels }) => labels)
            .map(({ label, start_time: start, end_time: end }) => ({
              ...{ schema: 'egolens.moment/1', clip_uid: uid, of: { kind: 'clip', uid } },
              ...{ label, start, end },
            })),
        ),
    ),
  nlq: ({ videos }) =>
    videos
      .flatMap(({ clips }) => clips)
      .flatMap(({ clip_uid: uid, annotations }) =>
        annotations.flatMap(({ annotation_uid: annotation, language_queries: queries }) =>
          queries.map(({ query, clip_start_sec: start, clip_end_sec: end }, i) => ({
            ...{ schema: 'egolens.answer/1', clip_uid: uid, annotation_uid: annotation, query_idx: i, query },
            ...{ rank: 1, start, end, score: 1, of: { kind: 'clip', uid } },
          })),
        ),
      ),
  vq2d: ({ videos }) =>
    ranked(
      videos
        .flatMap(({ clips }) => clips)
        .flatMap(({ clip_uid: uid, annotations }) =>
          annotations.flatMap(({ query_sets: sets }, a) =>
            Object.entries(sets)
              .filter(([, set]) => set.is_valid)
              .map(([set, { response_track: track }]) => ({
                ...{ schema: 'egolens.track/1', clip_uid: uid, annotation_idx: a, query_set: set },
                boxes: track.map(({ frame_number: frame, x, y, width, height }) => ({
                  frame,
                  box: [x, y, x + width, y + height],
                })),
              })),
          ),
        ),
    ),
  fhp: ({ clips }) =>
    clips.flatMap(({ clip_id: clip, frames }) =>
      frames.flatMap((item) => {
        const first = item['pre_45'];
        if (first === undefined) return [];
        const points = handPointsOf(item).map((hands) => hands.map((point) => point ?? [0, 0]));
        return [{ schema: 'egolens.hands/1', id: `${clip}_${first.frame - 1}`, points }];
      }),
    ),
  sta: ({ annotations }) =>
    ranked(
      annotations.flatMap(({ uid, frame, objects }) =>
        objects.map((object) => ({ schema: 'egolens.interaction/1', id: uid, frame, ...object })),
      ),
    ),
  lta: (file) =>
    [...actionsByClip(file)].flatMap(([uid, actions]) =>
      actions.slice(seenActions - 1, -futureActions).map(({ action_idx: index }, i) => {
        const next = actions.slice(i + seenActions, i + seenActions + futureActions);
        const five = (labels: readonly number[]): (readonly number[])[] => Array.from({ length: 5 }, () => labels);
        return {
          ...{ schema: 'egolens.sequence/1', id: `${uid}_${index}` },
          verb: five(next.map(({ verb_label: verb }) => verb)),
          noun: five(next.map(({ noun_label: noun }) => noun)),
        };
      }),
    ),
  scod: ({ clips }) =>
    ranked(
      clips.flatMap(({ pnr_frame: { bbox } }, i) =>
        bbox
          .filter(({ object_type: type }) => type === 'object_of_change')
          .map(({ bbox: { x, y, width, height } }) => ({
            ...{ schema: 'egolens.object/1', id: i + 1 },
            box: [x, y, x + width, y + height],
          })),
      ),
    ),
  pnr: ({ clips }) =>
    clips.map(({ unique_id: id, parent_start_frame: start, parent_pnr_frame: frame = start }) => ({
      ...{ schema: 'egolens.pnr/1', id, frame: frame - start },
    })),
  oscc: ({ clips }) =>
    clips.map(({ unique_id: id, state_change: change }) => ({ schema: 'egolens.oscc/1', id, state_change: change })),
};

/** Scores without ties, the first the highest. */
function ranked(records: readonly PredictionRecord[]): PredictionRecord[] {
  return records.map((record, i) => ({ ...record, score: 1 - i / (records.length + 1) }));
}
