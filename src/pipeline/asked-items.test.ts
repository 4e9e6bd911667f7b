import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { FrameAsk } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import { askedItems, withAskedTimes } from './asked-items.js';
import type { InputItem } from './inputs.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-asked-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const ask = (videoUid: string, clipUid: string | null, ...times: FrameAsk['times']): FrameAsk => {
  return { id: 'a', videoUid, clipUid, times, frame: 0, size: null };
};
const asks: FrameAsk[] = [
  ask('v', 'c', { video: 12, clip: 2 }, { video: 11, clip: 1 }),
  ask('v', 'd', { video: 30, clip: null }),
  ask('v', null, { video: 11, clip: null }),
  ask('w', 'e', { video: null, clip: 5 }, { video: null, clip: -0.02 }),
];
const item = (kind: 'video' | 'clip', uid: string, more: Partial<InputItem> = {}): InputItem => {
  return { input: `${uid}.mp4`, path: `/x/${uid}.mp4`, relpath: '', name: uid, of: { kind, uid }, ...more };
};

test('a video takes the times of the video, a clip those of the clip, ascending and once', () => {
  const found = withAskedTimes([item('video', 'v'), item('clip', 'c'), item('clip', 'e')], asks);
  expect(found).toEqual([
    item('video', 'v', { at: [11, 12, 30] }),
    item('clip', 'c', { at: [1, 2] }),
    // The frame before the first one.
    item('clip', 'e', { at: [0, 5] }),
  ]);
});

test('a range of a video becomes the video with what is asked about its clip', () => {
  const range = item('video', 'v', { name: 'c', start: 10, end: 20 });
  expect(withAskedTimes([range], asks)).toEqual([item('video', 'v', { name: 'c', at: [11, 12] })]);
});

test('what nothing is asked about goes, what cannot be worked on stays', () => {
  const gone = item('video', 'x', { error: new EgolensError('input.not_found', 'no') });
  expect(withAskedTimes([item('video', 'y'), item('video', 'w'), item('clip', 'd'), gone], asks)).toEqual([gone]);
});

test('the files of all splits are read, and tasks without frames refused', async () => {
  mkdirSync(join(folder, 'annotations'));
  for (const [i, split] of ['train', 'val'].entries()) {
    const clip = { video_uid: 'v', clip_uid: null, pnr_frame: { frame_number: 30 * (i + 1), clip_frame_number: 3 } };
    writeFileSync(join(folder, 'annotations', `fho_scod_${split}.json`), JSON.stringify({ clips: [clip] }));
  }
  const notes: string[] = [];
  const progress = {
    start: () => ({ advance: () => undefined, stop: () => undefined }),
    note: (text: string) => notes.push(text),
    warn: () => undefined,
  };
  const items = [item('video', 'v'), item('video', 'w')];
  const all = await askedItems(items, { folder, task: 'scod' }, { progress });
  expect(all).toEqual([item('video', 'v', { at: [30.5 / 30, 60.5 / 30] })]);
  expect(notes).toEqual(['1 of 2 videos or clips left out: no frame of them is asked about']);
  const val = await askedItems(items, { folder, task: 'scod', split: 'val' });
  expect(val[0]!.at).toEqual([60.5 / 30]);
  for (const selection of [undefined, { folder }, { folder, task: 'mq' as const }]) {
    await expect(askedItems(items, selection)).rejects.toMatchObject({ code: 'usage.flag' });
  }
});
