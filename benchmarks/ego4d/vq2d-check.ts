/** Faults of the files of Visual Queries 2D (ego4d.md 3.3, 5). */
import { findingList, type FindingList } from '../../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import {
  below,
  expectBox,
  expectConstant,
  expectInteger,
  expectList,
  expectNumber,
  expectObject,
  expectShare,
  expectText,
  type Picture,
  type Place,
} from './box-checks.js';
import { isNumber } from './box-reading.js';
import { checkIds, shown, tiedScores, warnTied } from './checks.js';

/** What `challenge` says in a submission. */
export const vq2dChallengeName = 'ego4d_vq2d_challenge';

/** For messages: what a submission looks like. */
export const submissionForm =
  'a submission is {version, challenge, results: {videos: [{video_uid, clips: [{clip_uid, predictions: [{query_sets}]}]}]}}';

/** Frames of a track count at this rate, those of a video at six times as many. */
const trackRate = 5;
const videoRate = 30;

/** Every fault of annotations, or of predictions and submissions, which have the same form. */
export function checkVq2d(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  list.add(document.findings);
  if (kind === 'annotations') checkAnnotations(list, document.value);
  else checkSubmission(list, document.value, against?.value);
  return list.all();
}

const root: Place = () => '';

function checkAnnotations(list: FindingList, value: unknown): void {
  if (!expectObject(list, value, root, ['version', 'videos'])) return;
  if ('version' in value) expectText(list, value['version'], below(root, 'version'));
  const videos = membersOf(list, value, 'videos', root);
  // On test the tracks are withheld everywhere.
  const isTest = !queriesOf(value).some((query) => 'response_track' in query);
  checkUids(list, videos, 'video_uid', below(root, 'videos'));
  videos.forEach((video, v) => {
    const at = below(root, 'videos', v);
    if (!expectObject(list, video, at, ['video_uid', 'clips'])) return;
    const clips = membersOf(list, video, 'clips', at);
    checkUids(list, clips, 'clip_uid', below(at, 'clips'));
    clips.forEach((clip, c) => {
      const place = below(at, 'clips', c);
      if (!expectObject(list, clip, place, ['clip_uid', 'annotations'])) return;
      const rate = clip['clip_fps'];
      if (rate !== undefined && Number(rate) !== trackRate) {
        list.error('track.rate', () => ({
          at: below(place, 'clip_fps')(),
          expected: `\`${trackRate}\``,
          found: shown(rate),
          hint: 'frame numbers of tracks count at 5 a second',
        }));
      }
      membersOf(list, clip, 'annotations', place).forEach((annotation, a) => {
        const within = below(place, 'annotations', a);
        if (!expectObject(list, annotation, within, ['query_sets'])) return;
        const sets = annotation['query_sets'];
        if (sets === undefined || !expectObject(list, sets, below(within, 'query_sets'), [])) return;
        for (const [key, query] of Object.entries(sets)) {
          checkQuery(list, query, below(within, 'query_sets', key), isTest, lastFrameOf(clip));
        }
      });
    });
  });
}

function checkQuery(list: FindingList, query: unknown, at: Place, isTest: boolean, lastFrame: number): void {
  if (!expectObject(list, query, at, ['is_valid'])) return;
  const isValid = query['is_valid'];
  if (isValid !== undefined && typeof isValid !== 'boolean') {
    list.error('value.type', () => ({
      at: below(at, 'is_valid')(),
      expected: 'true or false',
      found: shown(isValid),
    }));
  }
  if (isValid !== true) return;
  const needed = ['query_frame', 'visual_crop', ...(isTest ? [] : ['response_track'])];
  expectObject(list, query, at, needed);
  if ('query_frame' in query) expectInteger(list, query['query_frame'], below(at, 'query_frame'));
  if ('visual_crop' in query) checkTruthBox(list, query['visual_crop'], below(at, 'visual_crop'));
  const track = query['response_track'];
  const place = below(at, 'response_track');
  if (track === undefined || !expectList(list, track, place)) return;
  if (track.length === 0) {
    list.error('list.empty', () => ({
      at: place(),
      expected: 'at least one box',
      found: 'an empty list',
      hint: 'the official evaluator ends at a valid query without a track',
    }));
  }
  const frames = track.map((box, i) => checkTruthBox(list, box, below(place, i)));
  checkFrames(list, frames, place, (i) => below(place, i, 'frame_number'), lastFrame);
}

/** A box of the truth; its frame where that is a whole number. */
function checkTruthBox(list: FindingList, box: unknown, at: Place): number | undefined {
  const fields = ['frame_number', 'x', 'y', 'width', 'height'];
  if (!expectObject(list, box, at, fields)) return undefined;
  const isWhole = fields.slice(1).every((field) => !(field in box) || expectNumber(list, box[field], below(at, field)));
  const [x, y, width, height] = [box['x'], box['y'], box['width'], box['height']];
  if (isWhole && isNumber(x) && isNumber(y) && isNumber(width) && isNumber(height)) {
    const corners = [Number(x), Number(y), Number(x) + Number(width), Number(y) + Number(height)] as const;
    expectBox(list, corners, at, pictureOf(box));
  }
  const frame = box['frame_number'];
  return frame !== undefined && expectInteger(list, frame, below(at, 'frame_number')) ? Number(frame) : undefined;
}

function checkSubmission(list: FindingList, value: unknown, truth: unknown): void {
  if (!expectObject(list, value, root, ['version', 'challenge', 'results'], [], submissionForm)) return;
  expectConstant(list, value['challenge'], below(root, 'challenge'), vq2dChallengeName);
  const version = value['version'];
  if (version !== undefined && expectText(list, version, below(root, 'version')) && isObject(truth)) {
    expectConstant(list, version, below(root, 'version'), truth['version']);
  }
  const results = value['results'];
  if (results === undefined || !expectObject(list, results, below(root, 'results'), ['videos'], [])) return;
  const scores: number[] = [];
  const videosAt = below(root, 'results', 'videos');
  const videos = membersOf(list, results, 'videos', below(root, 'results'));
  const byUid = matchUids(list, videos, truth, 'videos', 'video_uid', videosAt);
  videos.forEach((video, v) => {
    const at = below(videosAt, v);
    if (!expectObject(list, video, at, ['video_uid', 'clips'], [])) return;
    const clips = membersOf(list, video, 'clips', at);
    const clipByUid = matchUids(list, clips, byUid(video), 'clips', 'clip_uid', below(at, 'clips'));
    clips.forEach((clip, c) => {
      const place = below(at, 'clips', c);
      if (!expectObject(list, clip, place, ['clip_uid', 'predictions'], [])) return;
      checkPredictions(list, clip, place, clipByUid(clip), scores);
    });
  });
  warnTied(list, tiedScores(scores), scores.length, '/results/videos');
}

function checkPredictions(
  list: FindingList,
  clip: JsonObject,
  at: Place,
  truth: JsonObject | undefined,
  scores: number[],
): void {
  const annotations = truth === undefined ? undefined : itemsOf(truth, 'annotations');
  const predictions = clip['predictions'];
  const place = below(at, 'predictions');
  if (predictions === undefined || !expectList(list, predictions, place, annotations?.length)) return;
  predictions.forEach((prediction, a) => {
    const within = below(place, a);
    if (!expectObject(list, prediction, within, ['query_sets'], [])) return;
    const sets = prediction['query_sets'];
    const setsAt = below(within, 'query_sets');
    if (sets === undefined || !expectObject(list, sets, setsAt, [])) return;
    const annotation = annotations?.[a];
    const asked = isObject(annotation) && isObject(annotation['query_sets']) ? annotation['query_sets'] : undefined;
    if (asked !== undefined) checkSets(list, sets, asked, setsAt);
    for (const [key, set] of Object.entries(sets)) {
      const query = asked?.[key];
      checkTrack(list, set, below(setsAt, key), isObject(query) ? query : undefined, truth, scores);
    }
  });
}

/** Every valid query set, and none that the annotation does not have. */
function checkSets(list: FindingList, sets: JsonObject, asked: JsonObject, at: Place): void {
  const valid = Object.keys(asked).filter((key) => {
    const query = asked[key];
    return isObject(query) && query['is_valid'] !== false;
  });
  for (const key of valid) {
    if (Object.hasOwn(sets, key)) continue;
    list.error('ids.missing', () => ({
      at: at(),
      expected: `query set \`${key}\``,
      found: 'none',
      hint: 'predict every valid query set; `bboxes` may be empty',
    }));
  }
  for (const key of Object.keys(sets)) {
    if (Object.hasOwn(asked, key)) continue;
    list.error('ids.unknown', () => ({
      at: below(at, key)(),
      expected: 'a query set of the annotation',
      found: `\`${key}\``,
      hint: 'the official evaluator ends with a KeyError',
    }));
  }
}

function checkTrack(
  list: FindingList,
  set: unknown,
  at: Place,
  query: JsonObject | undefined,
  clip: JsonObject | undefined,
  scores: number[],
): void {
  if (!expectObject(list, set, at, ['bboxes', 'score'], [])) return;
  const score = set['score'];
  if (score !== undefined && expectNumber(list, score, below(at, 'score'))) {
    scores.push(Number(score));
    expectShare(list, Number(score), below(at, 'score'));
  }
  const boxes = set['bboxes'];
  const place = below(at, 'bboxes');
  if (boxes === undefined || !expectList(list, boxes, place)) return;
  const fields = ['fno', 'x1', 'y1', 'x2', 'y2'];
  const crop = query?.['visual_crop'];
  const picture = isObject(crop) ? pictureOf(crop) : undefined;
  const frames = boxes.map((box, i) => {
    const within = below(place, i);
    if (!expectObject(list, box, within, fields, [])) return undefined;
    const corners = fields.slice(1).map((field) => box[field]);
    const isFinite = corners.every(
      (side, k) => side === undefined || expectNumber(list, side, below(within, fields[k + 1]!)),
    );
    if (isFinite && corners.every(isNumber)) {
      expectBox(list, corners.map(Number) as [number, number, number, number], within, picture); // four fields
    }
    const frame = box['fno'];
    return frame !== undefined && expectInteger(list, frame, below(within, 'fno')) ? Number(frame) : undefined;
  });
  const lastFrame = clip === undefined ? Infinity : lastFrameOf(clip);
  if (!checkFrames(list, frames, place, (i) => below(place, i, 'fno'), lastFrame)) return;
  const asked = query?.['query_frame'];
  const first = frames.reduce<number>((least, frame) => Math.min(least, frame ?? Infinity), Infinity);
  if (isNumber(asked) && Number.isFinite(first) && first > Number(asked)) {
    list.warning('track.after_query', () => ({
      at: place(),
      expected: `a track before the query, which is asked at frame ${String(asked)}`,
      found: `first frame \`${first}\``,
    }));
  }
}

/**
 * Frames of a track, in any order: `frame.range` for a negative one, `track.rate` for numbers that look like 30 a second,
 * `track.repeated`, `track.gap`.
 */
function checkFrames(
  list: FindingList,
  frames: readonly (number | undefined)[],
  at: Place,
  frameAt: (index: number) => Place,
  lastFrame: number,
): boolean {
  const known = frames.flatMap((frame, index) => (frame === undefined ? [] : [{ frame, index }]));
  if (known.length !== frames.length) return false;
  known.sort((a, b) => a.frame - b.frame);
  const errors = list.errors;
  const first = known[0];
  if (first !== undefined && first.frame < 0) {
    list.error('frame.range', () => ({
      at: frameAt(first.index)(),
      expected: 'a frame of the clip, counted from 0',
      found: shown(first.frame),
    }));
  }
  const last = known[known.length - 1];
  const steps = known.slice(1).map(({ frame }, i) => frame - known[i]!.frame);
  const isSixfold = steps.length > 0 && steps.every((step) => step === videoRate / trackRate);
  if (last !== undefined && (isSixfold || last.frame > lastFrame)) {
    list.error('track.rate', () => ({
      at: isSixfold ? at() : frameAt(last.index)(),
      expected: isSixfold ? 'consecutive frames at 5 a second' : `a frame of the clip, at most ${lastFrame}`,
      found: isSixfold ? `every ${videoRate / trackRate}th frame` : shown(last.frame),
      hint: 'these look like frames at 30 a second: divide them by 6',
    }));
    return false;
  }
  steps.forEach((step, i) => {
    const { frame, index } = known[i + 1]!;
    if (step === 0) {
      list.error('track.repeated', () => ({
        at: frameAt(index)(),
        expected: 'each frame once',
        found: `\`${frame}\` again`,
      }));
    } else if (step !== 1) {
      list.error('track.gap', () => ({
        at: frameAt(index)(),
        expected: `frame ${known[i]!.frame + 1}, after frame ${known[i]!.frame}`,
        found: shown(frame),
        hint: 'a track has a box on every frame: fill the gap, or keep one side of it',
      }));
    }
  });
  return list.errors === errors;
}

/** Ids in their order: `ids.*` where they are others than the annotations', `order.differs` where only the order is. */
function matchUids(
  list: FindingList,
  found: readonly unknown[],
  truth: unknown,
  members: string,
  field: string,
  at: Place,
): (item: JsonObject) => JsonObject | undefined {
  const listed = found.flatMap((item, index) => {
    const uid = isObject(item) ? item[field] : undefined;
    return uid !== undefined && expectText(list, uid, below(at, index, field)) ? [{ uid, index }] : [];
  });
  if (!isObject(truth)) {
    const uids = listed.map(({ uid }) => uid);
    checkIds(list, new Set(uids), uids, (i) => below(at, listed[i]!.index, field)(), { what: field, within: at() });
    return () => undefined;
  }
  const wanted = itemsOf(truth, members).filter(isObject);
  const byUid = new Map(wanted.map((item) => [String(item[field]), item]));
  const uids = listed.map(({ uid }) => uid);
  const coverage = checkIds(list, new Set(byUid.keys()), uids, (i) => below(at, listed[i]!.index, field)(), {
    what: field,
    within: at(),
  });
  if (coverage.missing + coverage.unknown + coverage.repeated === 0) {
    const order = [...byUid.keys()];
    const wrong = listed.find(({ uid }, i) => uid !== order[i]);
    if (wrong !== undefined) {
      list.error('order.differs', () => ({
        at: below(at, wrong.index, field)(),
        expected: `\`${order[wrong.index]!}\`, as in the annotations`,
        found: `\`${wrong.uid}\``,
        hint: 'the official evaluator compares place by place; `submit vq2d` writes the order of the annotations',
      }));
    }
  }
  return (item) => byUid.get(String(item[field]));
}

/** Ids of annotations: text, each once. */
function checkUids(list: FindingList, items: readonly unknown[], field: string, at: Place): void {
  matchUids(list, items, undefined, '', field, at);
}

/** A list member, told where it is none. */
function membersOf(list: FindingList, holder: JsonObject, field: string, at: Place): readonly unknown[] {
  const value = holder[field];
  return value !== undefined && expectList(list, value, below(at, field)) ? value : [];
}

function itemsOf(holder: unknown, field: string): readonly unknown[] {
  const value = isObject(holder) ? holder[field] : undefined;
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

function queriesOf(value: unknown): JsonObject[] {
  return itemsOf(value, 'videos').flatMap((video) =>
    itemsOf(video, 'clips').flatMap((clip) =>
      itemsOf(clip, 'annotations').flatMap((annotation) => {
        const sets = isObject(annotation) ? annotation['query_sets'] : undefined;
        return isObject(sets) ? Object.values(sets).filter(isObject) : [];
      }),
    ),
  );
}

/** Last frame of the clip at 5 a second, from its length in seconds; unknown lengths have no last frame. */
function lastFrameOf(clip: JsonObject): number {
  const [start, end] = [clip['video_start_sec'], clip['video_end_sec']];
  return isNumber(start) && isNumber(end) ? Math.ceil((Number(end) - Number(start)) * trackRate) : Infinity;
}

function pictureOf(box: JsonObject): Picture | undefined {
  const [width, height] = [box['original_width'], box['original_height']];
  return isNumber(width) && isNumber(height) ? { width: Number(width), height: Number(height) } : undefined;
}
