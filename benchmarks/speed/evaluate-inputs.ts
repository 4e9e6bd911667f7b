/**
 * Inputs of the size of a validation split for the challenges about boxes, from a seed: what `bench evaluate` times. The files are in
 * the official formats; nothing in them is Ego4D data.
 */
import { float, jsonText, type JsonValue } from '../../src/json.js';
import { seededRandom, type Random } from '../../src/random.js';

/** Truth and predictions as JSON texts, by the official file names. */
export interface EvaluateInputs {
  readonly truth: Readonly<Record<string, string>>;
  readonly predictions: Readonly<Record<string, string>>;
}

const width = 1920;
const height = 1080;

/** Short-Term Anticipation: 20 predictions an image, most of them near a truth; scores of six digits, so some are tied. */
export function staInputs(seed: number, predictionCount = 200_000): EvaluateInputs {
  const random = seededRandom(seed, 'sta');
  const [nouns, verbs] = [87, 74];
  const perImage = 20;
  const images = Math.ceil(predictionCount / perImage);
  const annotations: JsonValue[] = [];
  const results: Record<string, JsonValue> = {};
  for (let i = 0; i < images; i++) {
    const video = `video-${Math.floor(i / 20)}`;
    const uid = `${video}_${String(i).padStart(7, '0')}`;
    const objects = Array.from({ length: 1 + random.integer(3) }, () => ({
      corners: cornersIn(random),
      noun: Math.min(random.integer(nouns), random.integer(nouns)),
      verb: random.integer(verbs),
      time: random.uniform() * 2,
    }));
    annotations.push({
      uid,
      video_id: video,
      frame: i,
      clip_id: i,
      clip_uid: `clip-${i}`,
      clip_frame: i,
      objects: objects.map(({ corners, noun, verb, time }) => ({
        box: corners.map(digits(2)),
        verb_category_id: verb,
        noun_category_id: noun,
        time_to_contact: digits(6)(time),
      })),
    });
    results[uid] = Array.from({ length: perImage }, (): JsonValue => {
      const near = objects[random.integer(objects.length)]!; // one object at least
      const isNear = random.uniform() < 0.4;
      const corners = isNear ? near.corners.map((side) => side + 12 * random.normal()) : cornersIn(random);
      return {
        box: corners.map(digits(2)),
        noun_category_id: random.uniform() < 0.7 ? near.noun : random.integer(nouns),
        verb_category_id: random.uniform() < 0.5 ? near.verb : random.integer(verbs),
        time_to_contact: digits(4)(near.time + 0.3 * random.normal()),
        score: digits(6)(isNear ? Math.sqrt(random.uniform()) : random.uniform() ** 2),
      };
    });
  }
  const categories = (count: number): JsonValue =>
    Array.from({ length: count }, (_, id) => ({ id, name: `name ${id}` }));
  return {
    truth: {
      'fho_sta_val.json': jsonText({
        info: { version: '1.0', split: 'val', video_metadata: {} },
        annotations,
        noun_categories: categories(nouns),
        verb_categories: categories(verbs),
      }),
    },
    predictions: {
      'predictions.json': jsonText({
        version: '1.0',
        challenge: 'ego4d_short_term_object_interaction_anticipation',
        results,
      }),
    },
  };
}

/** Visual Queries 2D: one query in three of each annotation, tracks of 5 to 45 boxes. */
export function vq2dInputs(seed: number, queryCount = 4_500): EvaluateInputs {
  const random = seededRandom(seed, 'vq2d');
  const videos: JsonValue[] = [];
  const predicted: JsonValue[] = [];
  const size = { rotation: 0, original_width: width, original_height: height };
  for (let v = 0, left = queryCount; left > 0; v++) {
    const clipUid = `clip-${v}`;
    const annotations: JsonValue[] = [];
    const predictions: JsonValue[] = [];
    for (let a = 0; a < 4 && left > 0; a++) {
      const sets: Record<string, JsonValue> = {};
      const guesses: Record<string, JsonValue> = {};
      for (let q = 1; q <= 3 && left > 0; q++, left--) {
        const [x1, y1, x2, y2] = cornersIn(random);
        const start = random.integer(1500);
        const frames = Array.from({ length: 5 + random.integer(41) }, (_, i) => start + i);
        const box = (frame: number): JsonValue => ({
          frame_number: frame,
          x: digits(2)(x1 + 5 * random.normal()),
          y: digits(2)(y1 + 5 * random.normal()),
          width: digits(2)(x2 - x1),
          height: digits(2)(y2 - y1),
          ...size,
          video_frame_number: 6 * frame,
        });
        sets[q] = {
          is_valid: true,
          errors: [],
          warnings: [],
          query_frame: 1700,
          query_video_frame: 10200,
          response_track: frames.map(box),
          object_title: `object ${random.integer(300)}`,
          visual_crop: box(1700),
        };
        const shift = random.uniform() < 0.5 ? random.integer(6) - 3 : random.integer(200);
        guesses[q] = {
          bboxes: frames.map((frame) => {
            const side = (value: number): number => Math.round(value + 15 * random.normal());
            return {
              fno: Math.max(0, start + shift) + frame - start,
              x1: side(x1),
              y1: side(y1),
              x2: side(x2),
              y2: side(y2),
            };
          }),
          score: digits(6)(random.uniform()),
        };
      }
      annotations.push({ query_sets: sets, warnings: [] });
      predictions.push({ query_sets: guesses });
    }
    videos.push({
      video_uid: `video-${v}`,
      split: 'val',
      clips: [
        {
          clip_uid: clipUid,
          video_start_sec: 0,
          video_end_sec: 400,
          clip_fps: float(5),
          annotation_complete: true,
          annotations,
        },
      ],
    });
    predicted.push({ video_uid: `video-${v}`, clips: [{ clip_uid: clipUid, predictions }] });
  }
  return {
    truth: {
      'vq_val.json': jsonText({ version: '1.0.5', date: '221212', description: 'VQ annotations (val)', videos }),
    },
    predictions: {
      'predictions.json': jsonText({
        version: '1.0.5',
        challenge: 'ego4d_vq2d_challenge',
        results: { videos: predicted },
      }),
    },
  };
}

/** State Change Object Detection: 20 detections an image. */
export function scodInputs(seed: number, detectionCount = 100_000): EvaluateInputs {
  const random = seededRandom(seed, 'scod');
  const perImage = 20;
  const images: JsonValue[] = [];
  const annotations: JsonValue[] = [];
  const results: JsonValue[] = [];
  for (let id = 1; id <= Math.ceil(detectionCount / perImage); id++) {
    images.push({ id, width, height, file_name: `video-${id}/${id}.jpg` });
    const objects = Array.from({ length: 1 + random.integer(2) }, () => cornersIn(random));
    for (const corners of objects) {
      const sides = sidesOf(corners).map((side) => Math.round(100 * side) / 100);
      annotations.push({
        id: annotations.length + 1,
        image_id: id,
        category_id: 1,
        iscrowd: 0,
        bbox: sides,
        area: sides[2]! * sides[3]!,
      });
    }
    for (let d = 0; d < perImage; d++) {
      const near = objects[random.integer(objects.length)]!; // one object at least
      const isNear = random.uniform() < 0.3;
      const corners = isNear ? near.map((side) => side + 10 * random.normal()) : cornersIn(random);
      const sides = sidesOf(corners).map(digits(2));
      results.push({
        image_id: id,
        category_id: 1,
        bbox: sides,
        score: digits(5)(random.uniform() ** (isNear ? 0.5 : 2)),
      });
    }
  }
  return {
    truth: { 'coco_gt.json': jsonText({ images, annotations, categories: [{ id: 1, name: 'object_of_change' }] }) },
    predictions: { 'results.json': jsonText(results) },
  };
}

/** A box in the picture, corners [x1, y1, x2, y2]. */
function cornersIn(random: Random): [number, number, number, number] {
  const w = 10 + random.uniform() * 400;
  const h = 10 + random.uniform() * 300;
  const x = random.uniform() * (width - w);
  const y = random.uniform() * (height - h);
  return [x, y, x + w, y + h];
}

function sidesOf([x1 = 0, y1 = 0, x2 = 0, y2 = 0]: readonly number[]): number[] {
  return [x1, y1, Math.max(1, x2 - x1), Math.max(1, y2 - y1)];
}

/** A float of so many digits behind the point. */
function digits(count: number): (value: number) => ReturnType<typeof float> {
  const scale = 10 ** count;
  return (value) => float(Math.round(value * scale) / scale);
}
