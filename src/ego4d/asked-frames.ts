/**
 * Frames that annotation files ask about: future hands (`fho_hands_*.json`), coming interactions (`fho_sta_*.json`) and objects that change
 * (`fho_scod_*.json`), with their truth where the file has it (ego4d.md 3.4, 3.5, 3.7). The video up to such a frame is what a head sees.
 */
import { EgolensError } from '../errors.js';
import type { JsonDocument, Seconds } from '../types.js';
import { isUid } from './annotated-videos.js';

/** Tasks that ask about frames. */
export const frameTasks = ['fhp', 'sta', 'scod'] as const;
export type FrameTask = (typeof frameTasks)[number];

/** The middle of a frame, in seconds of its video and of its clip; null where the file does not say. */
export interface FrameTime {
  readonly video: Seconds | null;
  readonly clip: Seconds | null;
}

/** Something that is asked about a frame. */
export interface FrameAsk {
  /** What answers are matched by. */
  readonly id: string;
  readonly videoUid: string;
  readonly clipUid: string | null;
  /** The frame itself first; of an object that changes the frames before and after the change too, where they are annotated. */
  readonly times: readonly [FrameTime, ...FrameTime[]];
  /** Number of the frame in the video. */
  readonly frame: number;
  /** Pixels of the annotated frame; null where the file does not say. */
  readonly size: readonly [width: number, height: number] | null;
}

/** Where the hands will be. */
export interface HandAsk extends FrameAsk {
  /** Five key frames of left x, left y, right x, right y in pixels; (0, 0): not annotated. Null in the test split. */
  readonly points: readonly number[] | null;
}

/** x1, y1, x2, y2 in pixels. */
export type Corners = readonly [number, number, number, number];

/** What will be touched next. */
export interface InteractionAsk extends FrameAsk {
  /** Null in the test split. */
  readonly objects:
    | readonly { readonly box: Corners; readonly noun: number; readonly verb: number; readonly contact: Seconds }[]
    | null;
}

/** What changes its state. */
export interface ChangeAsk extends FrameAsk {
  /** Boxes of objects of change; null in the test split. */
  readonly boxes: readonly Corners[] | null;
}

/** Key frames of the truth of hands, in their order. */
const handFrames = ['pre_45', 'pre_30', 'pre_15', 'pre_frame', 'contact_frame'] as const;

/** Frames a second of all canonical videos of Ego4D. */
const canonicalRate = 30;

type Entry = Readonly<Record<string, unknown>>;

/** The asks of a file of the task. @throws EgolensError data.invalid with the place of the first fault */
export function frameAsks(document: JsonDocument, task: FrameTask): readonly FrameAsk[] {
  return { fhp: handAsks, sta: interactionAsks, scod: changeAsks }[task](document);
}

/**
 * The items of a file of hands; their frame is the one before pre_45, at which the official input ends. Items without pre_45 have no key and
 * are left out, as in the official loader.
 *
 * @throws EgolensError data.invalid
 */
export function handAsks(document: JsonDocument): HandAsk[] {
  const read = new Reader(document, 'fho_hands_train.json and its kind');
  const clips = read.list(read.entry(document.value, '')['clips'], '/clips');
  return clips.flatMap(([at, value]): HandAsk[] => {
    const clip = read.entry(value, at);
    const clipId = clip['clip_id'];
    if (typeof clipId !== 'number' && typeof clipId !== 'string') throw read.fault(`${at}/clip_id`, 'a number', clipId);
    const [videoUid, clipUid] = [read.uid(clip, 'video_uid', at), read.uidOrNull(clip, 'clip_uid', at)];
    return read.list(clip['frames'], `${at}/frames`).flatMap(([here, item]): HandAsk[] => {
      const frames = read.entry(item, here);
      if ((frames['pre_45'] ?? null) === null) return [];
      const place = read.entry(frames['pre_45'], `${here}/pre_45`);
      const frame = read.number(place, 'frame', `${here}/pre_45`) - 1;
      const inClip = numberOr(place['clip_frame']);
      const rate = rateOf(frames, 'action');
      return [
        {
          id: `${clipId}_${frame}`,
          ...{ videoUid, clipUid, frame },
          times: [{ video: middle(frame, rate), clip: inClip === null ? null : middle(inClip - 1, rate) }],
          size: null,
          points: pointsOf(read, frames, here),
        },
      ];
    });
  });
}

/** Null where no key frame is annotated with a list of boxes. */
function pointsOf(read: Reader, frames: Entry, at: string): number[] | null {
  const points = new Array<number>(4 * handFrames.length).fill(0);
  const lists = handFrames.map((name) => {
    const place = frames[name];
    return typeof place === 'object' && place !== null ? (place as Entry)['boxes'] : undefined;
  });
  handFrames.forEach((name, time) => {
    const boxes = lists[time];
    if (boxes === undefined) return;
    for (const [here, value] of read.list(boxes, `${at}/${name}/boxes`)) {
      const hands = read.entry(value, here);
      for (const [hand, field] of ['left_hand', 'right_hand'].entries()) {
        if (hands[field] === undefined) continue;
        const [x, y] = read.numbers(hands[field], 2, `${here}/${field}`);
        points.splice(4 * time + 2 * hand, 2, x!, y!); // two were asked for
      }
    }
  });
  return lists.some((boxes) => boxes !== undefined) ? points : null;
}

/** The frames of a file of coming interactions. @throws EgolensError data.invalid */
export function interactionAsks(document: JsonDocument): InteractionAsk[] {
  const read = new Reader(document, 'fho_sta_train.json and its kind');
  const root = read.entry(document.value, '');
  const info = (root['info'] ?? {}) as Entry;
  const videos = (info['video_metadata'] ?? {}) as Readonly<Record<string, Entry | undefined>>;
  return read.list(root['annotations'], '/annotations').map(([at, value]): InteractionAsk => {
    const item = read.entry(value, at);
    const id = item['uid'];
    if (typeof id !== 'string' || id === '') throw read.fault(`${at}/uid`, 'a text', id);
    const videoUid = read.uid(item, 'video_id', at);
    const video = videos[videoUid];
    const frame = read.number(item, 'frame', at);
    const inClip = numberOr(item['clip_frame']);
    const rate = positiveOr(video?.['fps']) ?? canonicalRate;
    const [width, height] = [positiveOr(video?.['frame_width']), positiveOr(video?.['frame_height'])];
    const objects = item['objects'];
    return {
      ...{ id, videoUid, frame },
      clipUid: read.uidOrNull(item, 'clip_uid', at),
      times: [{ video: middle(frame, rate), clip: inClip === null ? null : middle(inClip, rate) }],
      size: width === null || height === null ? null : [width, height],
      objects:
        objects === undefined
          ? null
          : read.list(objects, `${at}/objects`).map(([here, object]) => {
              const entry = read.entry(object, here);
              const number = (name: string): number => read.number(entry, name, here);
              const box = read.numbers(entry['box'], 4, `${here}/box`) as unknown as Corners; // four were asked for
              return {
                box,
                noun: number('noun_category_id'),
                verb: number('verb_category_id'),
                contact: number('time_to_contact'),
              };
            }),
    };
  });
}

/**
 * The point-of-no-return frames of a file of objects that change. Ids are the numbers of the images from 1 in file order, as the challenge
 * numbers them.
 *
 * @throws EgolensError data.invalid
 */
export function changeAsks(document: JsonDocument): ChangeAsk[] {
  const read = new Reader(document, 'fho_scod_train.json and its kind');
  const clips = read.list(read.entry(document.value, '')['clips'], '/clips');
  return clips.map(([at, value], i): ChangeAsk => {
    const clip = read.entry(value, at);
    const rate = rateOf(clip, 'clip_parent');
    const here = `${at}/pnr_frame`;
    const pnr = read.entry(clip['pnr_frame'], here);
    const timeOf = (frame: Entry): FrameTime => {
      const inClip = numberOr(frame['clip_frame_number']);
      return {
        video: middle(read.number(frame, 'frame_number', here), rate),
        clip: inClip === null ? null : middle(inClip, rate),
      };
    };
    const others = ['pre_frame', 'post_frame'].flatMap((name) => {
      const frame = clip[name];
      return typeof frame === 'object' && frame !== null ? [timeOf(frame as Entry)] : [];
    });
    const [width, height] = [positiveOr(pnr['width']), positiveOr(pnr['height'])];
    return {
      id: String(i + 1),
      videoUid: read.uid(clip, 'video_uid', at),
      clipUid: read.uidOrNull(clip, 'clip_uid', at),
      times: [timeOf(pnr), ...(others.length === 2 ? others : [])],
      frame: read.number(pnr, 'frame_number', here),
      size: width === null || height === null ? null : [width, height],
      boxes: pnr['bbox'] === undefined ? null : changedBoxes(read, pnr['bbox'], `${here}/bbox`),
    };
  });
}

function changedBoxes(read: Reader, value: unknown, at: string): Corners[] {
  return read.list(value, at).flatMap(([here, item]): Corners[] => {
    const entry = read.entry(item, here);
    if (entry['object_type'] !== 'object_of_change') return [];
    const box = read.entry(entry['bbox'], `${here}/bbox`);
    const number = (name: string): number => read.number(box, name, `${here}/bbox`);
    const [x, y] = [number('x'), number('y')];
    return [[x, y, x + number('width'), y + number('height')]];
  });
}

/** Half a frame in, so that no rounding makes it another frame. */
function middle(frame: number, rate: number): Seconds {
  return (frame + 0.5) / rate;
}

/** Frames a second of what `<name>_start_frame` and its kind span; that of canonical videos where they do not say. */
function rateOf(entry: Entry, name: string): number {
  const of = (what: string): number => numberOr(entry[`${name}_${what}`]) ?? NaN;
  const rate = (of('end_frame') - of('start_frame')) / (of('end_sec') - of('start_sec'));
  // Published seconds are rounded, and frames of rate 30 with them.
  if (!(rate > 0.5 && rate < 1000)) return canonicalRate;
  return Math.abs(rate - canonicalRate) < 0.5 ? canonicalRate : rate;
}

function numberOr(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function positiveOr(value: unknown): number | null {
  const number = numberOr(value);
  return number !== null && number > 0 ? number : null;
}

/** Members of a document, or the fault that they are not there. */
class Reader {
  readonly #document: JsonDocument;
  readonly #expected: string;

  constructor(document: JsonDocument, expected: string) {
    this.#document = document;
    this.#expected = expected;
  }

  entry(value: unknown, at: string): Entry {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Entry; // checked
    throw this.fault(at, 'an object', value);
  }

  list(value: unknown, at: string): (readonly [at: string, value: unknown])[] {
    if (!Array.isArray(value)) throw this.fault(at, 'a list', value);
    return value.map((item: unknown, i) => [`${at}/${i}`, item] as const);
  }

  number(entry: Entry, name: string, at: string): number {
    const value = numberOr(entry[name]);
    if (value === null) throw this.fault(`${at}/${name}`, 'a number', entry[name]);
    return value;
  }

  numbers(value: unknown, count: number, at: string): readonly number[] {
    const isRight = Array.isArray(value) && value.length === count && value.every((one) => numberOr(one) !== null);
    if (!isRight) throw this.fault(at, `${count} numbers`, value);
    return value as readonly number[]; // checked
  }

  uid(entry: Entry, name: string, at: string): string {
    const value = entry[name];
    if (typeof value === 'string' && isUid(value)) return value;
    throw this.fault(`${at}/${name}`, 'a uid', value);
  }

  uidOrNull(entry: Entry, name: string, at: string): string | null {
    return (entry[name] ?? null) === null ? null : this.uid(entry, name, at);
  }

  fault(at: string, expected: string, value: unknown): EgolensError {
    const line = this.#document.line(at);
    const where = at === '' ? 'the whole file' : at;
    const found = value === undefined ? 'none' : JSON.stringify(value).slice(0, 60);
    const { name } = this.#document;
    return new EgolensError(
      'data.invalid',
      `\`${name}\`: ${where}${line === undefined ? '' : ` (line ${line})`}: expected ${expected}, found ${found}`,
      { input: name, try: this.#expected },
    );
  }
}
