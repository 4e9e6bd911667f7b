import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { changeAsks, frameAsks, handAsks, interactionAsks } from './asked-frames.js';

const document = (value: unknown) => parseJson('asks.json', JSON.stringify(value));

const place = (frame: number, boxes?: object[]) => ({ frame, clip_frame: frame - 300, ...(boxes && { boxes }) });
const action = { action_start_sec: 12, action_end_sec: 14, action_start_frame: 360, action_end_frame: 420 };
const hands = (...frames: object[]) =>
  document({
    clips: [{ clip_id: 7, clip_uid: 'c', video_uid: 'v', frames: frames.map((one) => ({ ...action, ...one })) }],
  });

test('hands: the frame before pre_45 is asked about, at its middle, in the seconds of video and clip', () => {
  const pre_45 = place(315, [{ left_hand: [1, 2] }, { right_hand: [3, 4] }]);
  const contact_frame = place(385, [{ right_hand: [9, 8] }]);
  const [ask, ...others] = handAsks(hands({ pre_45, contact_frame }));
  expect(others).toEqual([]);
  expect(ask).toMatchObject({ id: '7_314', videoUid: 'v', clipUid: 'c', frame: 314, size: null });
  expect(ask!.times).toEqual([{ video: 314.5 / 30, clip: 14.5 / 30 }]);
  expect(ask!.points).toEqual([1, 2, 3, 4, ...new Array<number>(14).fill(0), 9, 8]);
});

test('hands: an item without pre_45 has no key; one without boxes is of the test split; an empty list is an answer', () => {
  const asks = handAsks(hands({ contact_frame: place(385) }, { pre_45: place(315) }, { pre_45: place(345, []) }));
  expect(asks.map(({ id, points }) => [id, points?.every((value) => value === 0)])).toEqual([
    ['7_314', undefined],
    ['7_344', true],
  ]);
});

test('hands: frames of another rate count at it, rounded seconds of rate 30 do not', () => {
  const slow = { ...place(65), clip_frame: 65 };
  const at = (from: number, to: number, seconds: number) => ({
    ...{ action_start_frame: from, action_end_frame: to, action_start_sec: 0, action_end_sec: seconds },
    pre_45: slow,
  });
  const asks = handAsks(hands(at(0, 25, 1), at(0, 60, 2.01), at(5, 5, 0)));
  expect(asks.map(({ times: [{ video }] }) => video)).toEqual([64.5 / 25, 64.5 / 30, 64.5 / 30]);
});

test('interactions: size and rate of the video, objects where they are annotated', () => {
  const info = { video_metadata: { v: { fps: 25, frame_width: 1440, frame_height: 1080 } } };
  const object = { box: [1, 2, 3, 4], noun_category_id: 5, verb_category_id: 6, time_to_contact: 0.5 };
  const common = { video_id: 'v', clip_uid: 'c', frame: 50, clip_frame: 20 };
  const [ask, test] = interactionAsks(
    document({
      info,
      annotations: [
        { uid: 'a', ...common, objects: [object] },
        { uid: 'b', ...common, video_id: 'w' },
      ],
    }),
  );
  expect(ask).toMatchObject({ id: 'a', size: [1440, 1080], times: [{ video: 50.5 / 25, clip: 20.5 / 25 }] });
  expect(ask!.objects).toEqual([{ box: [1, 2, 3, 4], noun: 5, verb: 6, contact: 0.5 }]);
  expect(test).toMatchObject({ id: 'b', size: null, objects: null, times: [{ video: 50.5 / 30 }] });
});

test('changes: ids are numbers of images, boxes of objects of change alone, frames before and after only together', () => {
  const frame = (frame_number: number) => ({
    frame_number,
    clip_frame_number: frame_number - 300,
    width: 64,
    height: 48,
  });
  const box = (object_type: string) => ({ object_type, bbox: { x: 1, y: 2, width: 3, height: 4 } });
  const bbox = [box('object_of_change'), box('left_hand')];
  const common = { video_uid: 'v', clip_uid: null };
  const asks = changeAsks(
    document({
      clips: [
        { ...common, pnr_frame: { ...frame(330), bbox }, pre_frame: frame(320), post_frame: frame(340) },
        { ...common, pnr_frame: frame(330), pre_frame: frame(320) },
      ],
    }),
  );
  expect(asks.map(({ id, boxes, times }) => [id, boxes, times.length])).toEqual([
    ['1', [[1, 2, 4, 6]], 3],
    ['2', null, 1],
  ]);
  expect(asks[0]!.times.map(({ video, clip }) => [video, clip])).toEqual(
    [330.5, 320.5, 340.5].map((at) => [at / 30, (at - 300) / 30]),
  );
  expect(asks[0]!.size).toEqual([64, 48]);
});

const clip = { clip_id: 1, clip_uid: 'c', video_uid: 'v' };
test.each([
  ['fhp', [], '/clips: expected a list'],
  ['fhp', { clips: [{ ...clip, clip_id: null }] }, '/clips/0/clip_id (line 1): expected a number, found null'],
  ['fhp', { clips: [{ ...clip, video_uid: '../v', frames: [] }] }, '/clips/0/video_uid (line 1): expected a uid'],
  ['fhp', { clips: [{ ...clip, frames: 3 }] }, '/clips/0/frames (line 1): expected a list, found 3'],
  ['fhp', { clips: [{ ...clip, frames: [{ pre_45: { frame: '3' } }] }] }, 'pre_45/frame (line 1): expected a number'],
  [
    'fhp',
    { clips: [{ ...clip, frames: [{ pre_45: { frame: 3, boxes: [{ left_hand: [1] }] } }] }] },
    'left_hand (line 1): expected 2 numbers, found [1]',
  ],
  ['sta', { annotations: [{ uid: '', video_id: 'v' }] }, '/annotations/0/uid (line 1): expected a text'],
  [
    'sta',
    { annotations: [{ uid: 'a', video_id: 'v', frame: 1, objects: [{ box: [1, 2, 3] }] }] },
    'expected 4 numbers',
  ],
  ['scod', { clips: [{ video_uid: 'v' }] }, '/clips/0/pnr_frame: expected an object, found none'],
] as const)('%s: %j is refused with its place', (task, value, message) => {
  const whole = Array.isArray(value) ? { other: 1 } : value;
  expect(() => frameAsks(document(whole), task)).toThrow(message);
});
