/**
 * Clips of Moment Queries cut out of features of whole videos, as the official data of ActionFormer are made: which rows, and where the
 * labelled moments then lie.
 *
 * Source: happyharrycn/actionformer_release tools/convert_ego4d_trainval.py. Features have windows of 32 frames every 16 there.
 */
import { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import { roundDecimals } from '../metrics/rounding.js';
import { tensor } from '../tensor.js';
import type { JsonDocument, Seconds, Tensor } from '../types.js';
import { isUid } from './annotated-videos.js';

/** Frames of a window, and from one to the next. */
export interface FrameGrid {
  readonly window: number;
  readonly stride: number;
}

/** Of the official SlowFast and Omnivore features. */
export const officialGrid: FrameGrid = { window: 32, stride: 16 };

/** A labelled moment; times count from the first frame of the cut. */
export interface CutMoment {
  readonly label: string;
  /** Rounded to hundredths. */
  readonly start: Seconds;
  readonly end: Seconds;
  readonly frames: readonly [first: number, end: number];
}

/** A clip as rows of the features of its video. */
export interface ClipCut {
  readonly clipUid: string;
  readonly videoUid: string;
  /** `train`, `val`, `test`, as the file says. */
  readonly split: string;
  /** Rows [first, end) of the features; the last whole window is left out, as in the official data. */
  readonly rows: readonly [first: number, end: number];
  /** The cut begins so much earlier than the clip, on the grid. Take it off predictions before they are submitted. */
  readonly lead: Seconds;
  /** Of the cut: the clip, what stands before it, and what fills its last window; rounded to hundredths. */
  readonly duration: Seconds;
  /** Of the clip itself. */
  readonly clipDuration: Seconds;
  /** Frames a second that the clip's times and frames imply, rounded to hundredths. */
  readonly fps: number;
  /** Primary labels of all annotators of at least a quarter second; none where the file has no annotations. */
  readonly moments: readonly CutMoment[];
}

/** Actions shorter than this are left out. */
const shortestMoment = 0.25;

/**
 * The cuts of all clips of a moments file (`moments_train.json` and its kind), in its order. Clips whose frame rate is below 10 or above
 * 100 are left out.
 *
 * @throws EgolensError data.invalid with the place of the first fault
 */
export function momentCuts(document: JsonDocument, grid: FrameGrid = officialGrid): ClipCut[] {
  const top = objectOf(document, '', document.value);
  return listOf(document, '/videos', top['videos']).flatMap((value, v) => {
    const at = `/videos/${v}`;
    const video = objectOf(document, at, value);
    const videoUid = uidOf(document, `${at}/video_uid`, video['video_uid']);
    const split = textOf(document, `${at}/split`, video['split']);
    return listOf(document, `${at}/clips`, video['clips']).flatMap((clip, c) => {
      const cut = cutOf(document, `${at}/clips/${c}`, clip, grid);
      return cut === undefined ? [] : [{ ...cut, videoUid, split }];
    });
  });
}

function cutOf(
  document: JsonDocument,
  at: string,
  value: unknown,
  { window, stride }: FrameGrid,
): Omit<ClipCut, 'videoUid' | 'split'> | undefined {
  const clip = objectOf(document, at, value);
  const number = (name: string): number => numberOf(document, `${at}/${name}`, clip[name]);
  const clipUid = uidOf(document, `${at}/clip_uid`, clip['clip_uid']);
  // Published starts are off zero by up to a microsecond.
  const from = Math.max(number('video_start_sec'), 0);
  const firstFrame = Math.max(Math.trunc(number('video_start_frame')), 0);
  const endFrame = Math.trunc(number('video_end_frame'));
  const clipDuration = number('video_end_sec') - from;
  const fps = (endFrame - firstFrame) / clipDuration;
  if (!(clipDuration > 0 && fps >= 10 && fps <= 100)) return undefined;
  const before = firstFrame % stride;
  const lead = before / fps;
  const beyond = modulo(endFrame - firstFrame + before - window, stride);
  const after = beyond === 0 ? 0 : stride - beyond;
  const first = (firstFrame - before) / stride;
  const end = Math.max(first, Math.floor((endFrame + after - window) / stride));
  // In the order of the original, for the last bit before rounding.
  const lengthened = clipDuration + lead;
  const duration = after === 0 ? lengthened : lengthened + after / fps;
  const moments = momentsOf(document, at, clip['annotations'], { from, firstFrame, lead, before });
  return {
    clipUid,
    rows: [first, end],
    lead,
    duration: roundDecimals(duration, 2),
    clipDuration,
    fps: roundDecimals(fps, 2),
    moments,
  };
}

/** Where a cut begins: the clip's start in seconds and frames, and how much stands before it. */
interface Origin {
  readonly from: Seconds;
  readonly firstFrame: number;
  readonly lead: Seconds;
  readonly before: number;
}

function momentsOf(
  document: JsonDocument,
  at: string,
  annotations: unknown,
  { from, firstFrame, lead, before }: Origin,
): CutMoment[] {
  if (annotations === undefined || annotations === null) return [];
  return listOf(document, `${at}/annotations`, annotations).flatMap((annotator, a) => {
    const place = `${at}/annotations/${a}`;
    const { labels } = objectOf(document, place, annotator);
    return listOf(document, `${place}/labels`, labels).flatMap((value, i): CutMoment[] => {
      const where = `${place}/labels/${i}`;
      const item = objectOf(document, where, value);
      if (item['primary'] !== true) return [];
      const number = (name: string): number => numberOf(document, `${where}/${name}`, item[name]);
      const start = number('video_start_time') - from + lead;
      const end = number('video_end_time') - from + lead;
      if (end - start < shortestMoment) return [];
      return [
        {
          label: textOf(document, `${where}/label`, item['label']),
          start: roundDecimals(start, 2),
          end: roundDecimals(end, 2),
          frames: [number('video_start_frame') - firstFrame + before, number('video_end_frame') - firstFrame + before],
        },
      ];
    });
  });
}

/**
 * The rows of a cut.
 *
 * @param features [rows, width] of the whole video
 * @throws EgolensError data.shape when they end before the cut does
 */
export function cutRows(features: Tensor<'float32'>, { clipUid, rows: [first, end] }: ClipCut): Tensor<'float32'> {
  const [count = 0, width = 0] = features.shape;
  if (end > count) {
    throw new EgolensError(
      'data.shape',
      `clip ${clipUid} ends with row ${end - 1} of its video, which has ${count} rows`,
      {
        try: 'features of the whole video',
      },
    );
  }
  return tensor('float32', [end - first, width], features.data.slice(first * width, end * width));
}

/**
 * Cuts in the form of `ego4d.json`, the file that ActionFormer and its successors read.
 *
 * @param labels class number of each label
 * @throws EgolensError data.invalid for a label that is not among them
 */
export function cutDatabase(cuts: readonly ClipCut[], labels: ReadonlyMap<string, number>): JsonValue {
  const subsets: Readonly<Record<string, string>> = { train: 'training', val: 'validation' };
  const database = cuts.map(({ clipUid, split, duration, fps, moments }): [string, JsonValue] => {
    const annotations = moments.map(({ label, start, end, frames }) => {
      const id = labels.get(label);
      if (id === undefined)
        throw new EgolensError('data.invalid', `clip ${clipUid}: \`${label}\` is none of the classes`);
      return { label, segment: [start, end], 'segment(frames)': [...frames], label_id: id };
    });
    return [clipUid, { subset: subsets[split] ?? split, duration, fps, annotations }];
  });
  return { version: 'v1', database: Object.fromEntries(database) };
}

/** Between 0 and the divisor, whatever the sign. */
function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

function objectOf(document: JsonDocument, at: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>; // checked
  throw fault(document, at, 'an object', value);
}

function listOf(document: JsonDocument, at: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw fault(document, at, 'a list', value);
}

function numberOf(document: JsonDocument, at: string, value: unknown): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw fault(document, at, 'a finite number', value);
}

function textOf(document: JsonDocument, at: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw fault(document, at, 'text', value);
}

function uidOf(document: JsonDocument, at: string, value: unknown): string {
  if (typeof value === 'string' && isUid(value)) return value;
  throw fault(document, at, 'a uid', value);
}

function fault(document: JsonDocument, at: string, expected: string, value: unknown): EgolensError {
  const line = document.line(at);
  const text = JSON.stringify(value) as string | undefined; // undefined gives undefined
  const found = text === undefined ? 'none' : `\`${text.slice(0, 60)}\``;
  const where = at === '' ? 'the whole file' : at;
  return new EgolensError(
    'data.invalid',
    `\`${document.name}\`: ${where}${line === undefined ? '' : ` (line ${line})`}: expected ${expected}, found ${found}`,
    { input: document.name },
  );
}
