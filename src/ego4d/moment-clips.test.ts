import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { tensor } from '../tensor.js';
import type { JsonDocument } from '../types.js';
import { cutDatabase, cutRows, momentCuts } from './moment-clips.js';

/** Frames 40 to 200 at 20 a second: 8 frames after a grid point. */
const clip = {
  clip_uid: 'clip-a',
  video_start_sec: 2,
  video_end_sec: 10,
  video_start_frame: 40,
  video_end_frame: 200,
  annotations: [
    {
      labels: [
        {
          label: 'wash',
          primary: true,
          video_start_time: 3,
          video_end_time: 5.123,
          video_start_frame: 60,
          video_end_frame: 102,
        },
        {
          label: 'blink',
          primary: true,
          video_start_time: 3,
          video_end_time: 3.2,
          video_start_frame: 60,
          video_end_frame: 64,
        },
        {
          label: 'talk',
          primary: false,
          video_start_time: 3,
          video_end_time: 9,
          video_start_frame: 60,
          video_end_frame: 180,
        },
      ],
    },
  ],
};

const documentOf = (...clips: readonly unknown[]): JsonDocument =>
  parseJson(
    'moments_train.json',
    new TextEncoder().encode(JSON.stringify({ videos: [{ video_uid: 'video-a', split: 'train', clips }] })),
  );

test('a cut begins on the grid, is filled to a window, and leaves the last one out', () => {
  const [cut] = momentCuts(documentOf(clip));
  // 8 frames before; 168 + 8 more make the frames after the first window a multiple of 16.
  expect(cut).toMatchObject({
    clipUid: 'clip-a',
    videoUid: 'video-a',
    split: 'train',
    rows: [2, 11],
    fps: 20,
    lead: 0.4,
  });
  expect(cut?.duration).toBe(8.8);
  expect(cut?.clipDuration).toBe(8);
  expect(cut?.moments).toEqual([{ label: 'wash', start: 1.4, end: 3.52, frames: [28, 70] }]);
});

test('frame rates that cannot be leave a clip out, and a file without annotations gives no moments', () => {
  const slow = { ...clip, clip_uid: 'slow', video_end_frame: 60 };
  const backwards = { ...clip, clip_uid: 'backwards', video_end_sec: 1 };
  const test = { ...clip, annotations: undefined };
  const cuts = momentCuts(documentOf(slow, backwards, test));
  expect(cuts.map(({ clipUid, moments }) => [clipUid, moments.length])).toEqual([['clip-a', 0]]);
});

test('a clip shorter than a window has no rows', () => {
  const [cut] = momentCuts(
    documentOf({ ...clip, video_start_frame: 0, video_start_sec: 0, video_end_frame: 20, video_end_sec: 1 }),
  );
  expect(cut?.rows).toEqual([0, 0]);
});

test.each([
  [
    { ...clip, video_end_sec: 'ten' },
    '/videos/0/clips/0/video_end_sec (line 1): expected a finite number, found `"ten"`',
  ],
  [{ ...clip, clip_uid: '../x' }, 'expected a uid, found `"../x"`'],
  [{ ...clip, annotations: {} }, 'expected a list, found `{}`'],
  [{ ...clip, annotations: [{ labels: [7] }] }, 'expected an object, found `7`'],
  [7, 'expected an object, found `7`'],
])('refuses %j', (broken, message) => {
  expect(() => momentCuts(documentOf(broken))).toThrow(message);
});

test('rows of the video become rows of the clip, if there are enough', () => {
  const [cut] = momentCuts(documentOf(clip));
  const features = (rows: number) =>
    tensor(
      'float32',
      [rows, 2],
      Float32Array.from({ length: rows * 2 }, (_, i) => i),
    );
  expect([...cutRows(features(11), cut!).data.subarray(0, 3)]).toEqual([4, 5, 6]);
  expect(() => cutRows(features(10), cut!)).toThrow('clip clip-a ends with row 10 of its video, which has 10 rows');
});

test('the list for ActionFormer has the numbers of the classes, and refuses other labels', () => {
  const cuts = momentCuts(documentOf(clip));
  expect(cutDatabase(cuts, new Map([['wash', 103]]))).toEqual({
    version: 'v1',
    database: {
      'clip-a': {
        subset: 'training',
        duration: 8.8,
        fps: 20,
        annotations: [{ label: 'wash', segment: [1.4, 3.52], 'segment(frames)': [28, 70], label_id: 103 }],
      },
    },
  });
  expect(() => cutDatabase(cuts, new Map())).toThrow('clip clip-a: `wash` is none of the classes');
});
