import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { stateClips } from './state-clips.js';

const clip = {
  ...{ clip_uid: 'c', clip_id: '1', unique_id: 'u', video_uid: 'v', clip_start_sec: 3, clip_end_sec: 11 },
  ...{ parent_start_sec: 13, parent_end_sec: 21, parent_start_frame: 390, parent_end_frame: 630 },
};
const read = (value: unknown) => stateClips(parseJson('clips.json', JSON.stringify(value)));

test('the point of no return is told in seconds after the start of the clip', () => {
  const [found] = read({ clips: [{ ...clip, state_change: true, clip_pnr_frame: 180, parent_pnr_frame: 480 }] });
  expect(found).toEqual({
    ...{ id: 'u', videoUid: 'v', clipUid: 'c', start: 13, end: 21, clipStart: 3 },
    ...{ frames: 240, rate: 30, stateChange: true, pnr: 3 },
  });
});

test('a clip without a change has no point of no return; one of the test split tells neither', () => {
  const all = read([
    { ...clip, state_change: false },
    { ...clip, unique_id: 'w', clip_uid: null },
  ]);
  expect(all.map(({ stateChange, pnr, clipUid }) => [stateChange, pnr, clipUid])).toEqual([
    [false, null, 'c'],
    [null, null, null],
  ]);
});

test('null is a change, as the official reader has it, and old files say `pnr_frame`', () => {
  expect(read([{ ...clip, state_change: null, pnr_frame: 420 }])[0]).toMatchObject({ stateChange: true, pnr: 1 });
});

test('an id that comes twice counts once', () => {
  expect(read([clip, { ...clip, parent_end_sec: 99 }])).toHaveLength(1);
});

test.each([
  ['{}', '', 'a list of clips'],
  ['[3]', '/0', 'an object, found 3'],
  [{ ...clip, unique_id: 5 }, '/0/unique_id', 'a text, found 5'],
  [{ ...clip, video_uid: '../v' }, '/0/video_uid', 'a uid'],
  [{ ...clip, parent_end_sec: 13 }, '/0/parent_end_sec', 'more than 13'],
  [{ ...clip, parent_start_frame: '390' }, '/0/parent_start_frame', 'a number'],
  [{ ...clip, parent_end_frame: 390 }, '/0/parent_end_frame', 'more than 390'],
  [{ ...clip, state_change: true, parent_pnr_frame: 'x' }, '/0/parent_pnr_frame', 'a frame'],
])('%j is refused with its place', (value, at, rule) => {
  const text = typeof value === 'string' ? value : JSON.stringify([value]);
  const attempt = () => stateClips(parseJson('clips.json', text));
  expect(attempt).toThrow(`\`clips.json\`: ${at === '' ? 'the whole file' : at}`);
  expect(attempt).toThrow(rule);
});
