/** Annotations of the tracks that ask for spans and tracks in a clip: Moment Queries, Natural Language Queries, Visual Queries 2D. */
import { float, type JsonValue } from '../json.js';
import { seededRandom } from '../random.js';
import { clipPlace, fileHead, pixel, secondsAt, uidOf, type Clip } from './data-set.js';
import { queriesOf } from './queries.js';
import type { Split } from './scene.js';
import { stretchesOf, trackRate, type Stretch } from './stretches.js';
import type { Corners } from './truth.js';
import { verbs } from './vocabulary.js';

type Json = Readonly<Record<string, JsonValue>>;

/** One file of `videos[]`, each video with its one clip; without what the server keeps where `isTest`. */
function videosFile(head: Json, split: string, clips: readonly Clip[], membersOf: (clip: Clip) => Json): Json {
  return {
    ...head,
    videos: clips.map((clip) => ({
      video_uid: clip.videoUid,
      split,
      clips: [{ ...clipPlace(clip), ...membersOf(clip) }],
    })),
  };
}

/**
 * `moments_*.json`. The official converter looks at no label of a split named `test`, since nobody outside has them; Tabletop's, which
 * everybody has, are those of `test_truth`.
 */
export function momentsFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  const name = split === 'test' && !isTest ? 'test_truth' : split;
  return videosFile(fileHead('Moment Queries', split), name, clips, (clip) => (isTest ? {} : momentsOf(clip)));
}

function momentsOf({ scene, clipUid }: Clip): Json {
  const labels = scene.actions.map(({ verb, start, end }): Json => {
    const [from, to] = [float(secondsAt(scene, start)), float(secondsAt(scene, end))];
    return {
      start_time: from,
      end_time: to,
      label: verb,
      video_start_time: from,
      video_end_time: to,
      video_start_frame: start,
      video_end_frame: end,
      primary: true,
    };
  });
  return { annotations: [{ annotator_uid: uidOf('annotator', clipUid), labels }] };
}

/** `moment_classes_idx.json`: 0 is the background. */
export function momentClasses(): Json {
  return { Background: 0, ...Object.fromEntries([...verbs].sort().map((verb, i) => [verb, i + 1])) };
}

/** `nlq_*.json`. */
export function queriesFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  const head = fileHead('Natural Language Queries', split, isTest ? '1' : '2.0');
  return videosFile(head, split, clips, (clip) => ({ annotations: annotationsOf(clip, isTest) }));
}

function annotationsOf({ scene, clipUid }: Clip, isTest: boolean): Json[] {
  const queries = queriesOf(scene);
  if (queries.length === 0) return [];
  const language = queries.map((item): Json => {
    if (isTest) return { query: item.query };
    const [start, end] = [float(secondsAt(scene, item.start)), float(secondsAt(scene, item.end))];
    return {
      clip_start_sec: start,
      clip_end_sec: end,
      video_start_sec: start,
      video_end_sec: end,
      video_start_frame: item.start,
      video_end_frame: item.end,
      query: item.query,
      template: item.template,
      slot_x: item.slotX,
      verb_x: item.verbX,
      slot_y: item.slotY,
      verb_y: item.verbY,
      ...(item.answer === null ? {} : { answer: item.answer }),
      raw_tags: [item.template, item.slotX, item.verbX, item.slotY, item.verbY],
    };
  });
  return [
    {
      annotation_uid: uidOf('nlq', clipUid),
      ...(isTest ? {} : { request_uid: uidOf('request', clipUid) }),
      language_queries: language,
    },
  ];
}

/** `vq_*.json`. Frames count at 5 a second. */
export function visualQueriesFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  return videosFile(fileHead('Visual Queries 2D', split), split, clips, (clip) => ({
    clip_fps: float(trackRate),
    annotation_complete: true,
    annotations: visualQueriesOf(clip, isTest),
  }));
}

/** Three query sets an annotation, as in Ego4D. */
function visualQueriesOf(clip: Clip, isTest: boolean): Json[] {
  const sets = visualQuerySets(clip, isTest);
  const annotations: Json[] = [];
  for (let i = 0; i < sets.length; i += 3) {
    const query_sets = Object.fromEntries(sets.slice(i, i + 3).map((set, k) => [String(k + 1), set]));
    annotations.push({ query_sets, warnings: [] });
  }
  return annotations;
}

/** One query for each object that has been seen for 0.6 s and is out of sight later: where was it last? */
function visualQuerySets(clip: Clip, isTest: boolean): Json[] {
  const { scene, width, height } = clip;
  const random = seededRandom(scene.request.seed, `tabletop/vq/${clip.clipUid}`);
  const step = scene.request.fps / trackRate;
  const samples = Math.ceil(scene.frames / step);
  const stretches = stretchesOf(scene, { width, height });
  return scene.objects.flatMap(({ noun, colour }, object): Json[] => {
    const own = stretches.filter((stretch) => stretch.object === object);
    const asked = own.filter(({ first, boxes }) => boxes.length >= 3 && first + boxes.length < samples);
    const answer = asked[random.integer(Math.max(1, asked.length))];
    if (answer === undefined) return [];
    const gone = answer.first + answer.boxes.length;
    const back = own.find(({ first }) => first > gone)?.first ?? samples;
    const queryFrame = gone + random.integer(Math.max(1, Math.min(back - gone, 4 * trackRate)));
    // The picture of the object comes from elsewhere in the clip where it is seen elsewhere.
    const crop = own.find((stretch) => stretch !== answer && stretch.boxes.length >= 3) ?? answer;
    const boxAt = ({ first, boxes }: Stretch, i: number): Json => trackBox(first + i, step, boxes[i]!, clip); // below the length
    return [
      {
        is_valid: true,
        errors: [],
        warnings: [],
        query_frame: queryFrame,
        query_video_frame: queryFrame * step,
        object_title: `${colour} ${noun}`,
        visual_crop: boxAt(crop, Math.floor(crop.boxes.length / 2)),
        ...(isTest ? {} : { response_track: answer.boxes.map((_, i) => boxAt(answer, i)) }),
      },
    ];
  });
}

function trackBox(frame: number, step: number, [x1, y1, x2, y2]: Corners, { width, height }: Clip): Json {
  return {
    frame_number: frame,
    x: pixel(x1),
    y: pixel(y1),
    width: pixel(x2 - x1),
    height: pixel(y2 - y1),
    rotation: float(0),
    original_width: float(width),
    original_height: float(height),
    video_frame_number: frame * step,
  };
}
