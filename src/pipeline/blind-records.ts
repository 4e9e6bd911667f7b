/** Records that look at no picture: the best guess from what training clips are like on average. A head has to be far above them. */
import {
  actionsByClip,
  futureActions,
  handPointsOf,
  seenActions,
  type AnnotatedFiles,
  type AnnotatedTask,
  type PredictionRecord,
} from './annotated.js';

type Maker<T extends AnnotatedTask> = (seen: AnnotatedFiles[T], asked: AnnotatedFiles[T]) => PredictionRecord[];

/** Of each task: annotations to learn from, annotations to predict for (whose answers are not looked at) -> predictions. */
export const blindRecords: { readonly [T in AnnotatedTask]: Maker<T> } = {
  // Each class at evenly spaced places, as long as it is on average; frequent classes first.
  mq: (seen, asked) => {
    const labels = seen.videos.flatMap(({ clips }) =>
      clips.flatMap(({ annotations }) => annotations.flatMap((one) => one.labels)),
    );
    const counts = ranking(labels.map(({ label }) => label));
    return asked.videos
      .flatMap(({ clips }) => clips)
      .flatMap(({ clip_uid: uid, clip_end_sec: length }) =>
        counts.flatMap(([label, share]) => {
          const long = mean(
            labels.filter((one) => one.label === label).map(({ start_time: start, end_time: end }) => end - start),
          );
          const places = Math.min(200 / counts.length, Math.max(1, Math.floor(length / long)));
          return Array.from({ length: Math.floor(places) }, (_, i) => ({
            ...{ schema: 'egolens.moment/1', clip_uid: uid, of: { kind: 'clip', uid }, label },
            ...spanAround(((i + 0.5) / Math.floor(places)) * length, long, length),
            score: share * (1 - i / 1000),
          }));
        }),
      );
  },
  // Five spans of the mean length, at the places of the clip where answers are.
  nlq: (seen, asked) => {
    const answers = seen.videos.flatMap(({ clips }) =>
      clips.flatMap(({ clip_end_sec: length, annotations }) =>
        annotations.flatMap((one) =>
          one.language_queries.map(({ clip_start_sec: start, clip_end_sec: end }) => ({
            at: (start + end) / 2 / length,
            long: end - start,
          })),
        ),
      ),
    );
    const long = median(answers.map((answer) => answer.long));
    const places = answers.map(({ at }) => at).sort((p, q) => p - q);
    return asked.videos
      .flatMap(({ clips }) => clips)
      .flatMap(({ clip_uid: uid, clip_end_sec: length, annotations }) =>
        annotations.flatMap(({ annotation_uid: annotation, language_queries: queries }) =>
          queries.flatMap(({ query }, index) =>
            [0.5, 0.3, 0.7, 0.1, 0.9].map((quantile, i) => ({
              ...{ schema: 'egolens.answer/1', clip_uid: uid, annotation_uid: annotation, query_idx: index, query },
              ...{ rank: i + 1, score: 1 - i / 10, of: { kind: 'clip', uid } },
              ...spanAround((places[Math.floor(quantile * places.length)] ?? quantile) * length, long, length),
            })),
          ),
        ),
      );
  },
  // The mean box, over the frames before the question in which answers lie on average.
  vq2d: (seen, asked) => {
    const sets = seen.videos.flatMap(({ clips }) =>
      clips.flatMap(({ annotations }) => annotations.flatMap((one) => Object.values(one.query_sets))),
    );
    const valid = sets.filter((set) => set.is_valid && set.response_track.length > 0);
    const boxes = valid.flatMap((set) =>
      set.response_track.map(({ x, y, width, height }) => [x, y, x + width, y + height]),
    );
    const box = [0, 1, 2, 3].map((i) => mean(boxes.map((one) => one[i] ?? 0)));
    const long = Math.max(1, Math.round(median(valid.map((set) => set.response_track.length))));
    const gap = Math.round(
      median(valid.map((set) => set.query_frame - Math.max(...set.response_track.map((one) => one.frame_number)))),
    );
    let count = 0;
    return asked.videos
      .flatMap(({ clips }) => clips)
      .flatMap(({ clip_uid: uid, annotations }) =>
        annotations.flatMap(({ query_sets }, a) =>
          Object.entries(query_sets).map(([set, { query_frame: query }]) => {
            const last = Math.max(0, query - Math.max(1, gap));
            const first = Math.max(0, last - long + 1);
            return {
              ...{
                schema: 'egolens.track/1',
                clip_uid: uid,
                annotation_idx: a,
                query_set: set,
                score: 1 / (1 + count++),
              },
              boxes: Array.from({ length: last - first + 1 }, (_, i) => ({ frame: first + i, box })),
            };
          }),
        ),
      );
  },
  // The mean place of each hand at each key frame.
  fhp: (seen, asked) => {
    const points = seen.clips.flatMap(({ frames }) => frames.map(handPointsOf));
    const means = [0, 1, 2, 3, 4].map((time) =>
      ([0, 1] as const).map((hand) => {
        const known = points.flatMap((item) => item[time]?.[hand] ?? []);
        return [mean(known.filter((_, i) => i % 2 === 0)), mean(known.filter((_, i) => i % 2 === 1))];
      }),
    );
    return asked.clips.flatMap(({ clip_id: clip, frames }) =>
      frames.flatMap((item) => {
        const first = item['pre_45'];
        return first === undefined
          ? []
          : [{ schema: 'egolens.hands/1', id: `${clip}_${first.frame - 1}`, points: means }];
      }),
    );
  },
  // The mean box with the most frequent pairs of noun and verb, and the median time.
  sta: (seen, asked) => {
    const objects = seen.annotations.flatMap((one) => one.objects);
    const box = [0, 1, 2, 3].map((i) => mean(objects.map((object) => object.box[i] ?? 0)));
    const time = median(objects.map((object) => object.time_to_contact));
    const pairs = ranking(objects.map((object) => `${object.noun_category_id} ${object.verb_category_id}`)).slice(0, 5);
    return asked.annotations.flatMap(({ uid, frame }) =>
      pairs.map(([pair, share]) => {
        const [noun, verb] = pair.split(' ').map(Number);
        return {
          ...{ schema: 'egolens.interaction/1', id: uid, frame, box, score: share },
          ...{ noun_category_id: noun, verb_category_id: verb, time_to_contact: time },
        };
      }),
    );
  },
  // Five sequences that go round the frequent labels, each from another one on.
  lta: (seen, asked) => {
    const order = (values: readonly number[]): number[] => ranking(values.map(String)).map(([label]) => Number(label));
    const verbs = order(seen.clips.map(({ verb_label: verb }) => verb));
    const nouns = order(seen.clips.map(({ noun_label: noun }) => noun));
    const round = (labels: readonly number[], from: number): number[] =>
      Array.from({ length: futureActions }, (_, i) => labels[(i + from) % Math.min(labels.length, 1 + 2 * from)] ?? 0);
    const five = (labels: readonly number[]): number[][] => [0, 1, 2, 3, 4].map((from) => round(labels, from));
    return [...actionsByClip(asked)].flatMap(([uid, actions]) =>
      actions.slice(seenActions - 1, -futureActions).map(({ action_idx: index }) => ({
        schema: 'egolens.sequence/1',
        id: `${uid}_${index}`,
        verb: five(verbs),
        noun: five(nouns),
      })),
    );
  },
  // The mean box.
  scod: (seen, asked) => {
    const boxes = seen.clips.flatMap(({ pnr_frame: { bbox } }) =>
      bbox.filter(({ object_type: type }) => type === 'object_of_change'),
    );
    const corners = boxes.map(({ bbox: { x, y, width, height } }) => [x, y, x + width, y + height]);
    const box = [0, 1, 2, 3].map((i) => mean(corners.map((one) => one[i] ?? 0)));
    return asked.clips.map((_, i) => ({ schema: 'egolens.object/1', id: i + 1, box, score: 1 / (i + 1) }));
  },
  // The median place in the stretch.
  pnr: (seen, asked) => {
    const places = seen.clips.flatMap(
      ({ parent_pnr_frame: frame, parent_start_frame: start, parent_end_frame: end }) =>
        frame === undefined ? [] : [(frame - start) / (end - start)],
    );
    const at = median(places);
    return asked.clips.map(({ unique_id: id, parent_start_frame: start, parent_end_frame: end }) => ({
      ...{ schema: 'egolens.pnr/1', id, frame: at * (end - start) },
    }));
  },
  // The more frequent answer.
  oscc: (seen, asked) => {
    const changes = seen.clips.filter((clip) => clip.state_change).length;
    return asked.clips.map(({ unique_id: id }) => ({
      ...{ schema: 'egolens.oscc/1', id, state_change: 2 * changes > seen.clips.length },
    }));
  },
};

function spanAround(at: number, long: number, length: number): { readonly start: number; readonly end: number } {
  const start = Math.max(0, Math.min(at - long / 2, length - long));
  return { start, end: Math.min(length, start + long) };
}

/** Values by falling frequency, each with its share; equally frequent ones in the order of their first appearance. */
export function ranking(values: readonly string[]): (readonly [value: string, share: number])[] {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts]
    .map(([value, count]): [string, number] => [value, count / values.length])
    .sort((p, q) => q[1] - p[1]);
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function median(values: readonly number[]): number {
  return values.slice().sort((p, q) => p - q)[Math.floor(values.length / 2)] ?? 0;
}
