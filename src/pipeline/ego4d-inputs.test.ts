import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { ego4dInputs, type Ego4dSelection } from './ego4d-inputs.js';
import { listInputs } from './inputs.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-ego4d-'));
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(base, 'case-'));
});
afterAll(() => {
  rmSync(base, { recursive: true, force: true });
});

async function put(name: string, content: unknown = ''): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
}

const clip = (clip_uid: string, video_start_sec: number, video_end_sec: number) => ({
  ...{ clip_uid, video_start_sec, video_end_sec },
});
const moments = {
  videos: [
    { video_uid: 'b', clips: [clip('b1', 0, 5), clip('b2', 5, 9)] },
    { video_uid: 'a', clips: [clip('a1', 1, 2)] },
  ],
};
const metadata = {
  version: '2.0',
  videos: ['a', 'b', 'z'].map((video_uid) => ({ video_uid, duration_sec: 9 })),
  clips: [{ video_uid: 'a', ...clip('h1', 3, 4) }],
};

/** Path below the test's folder or error code, name, whose seconds, range. */
async function list(selection: Partial<Ego4dSelection> = {}) {
  const items = await ego4dInputs({ folder, ...selection });
  return items.map(({ path, name, of, start, end, error }) => [
    error?.code ?? path.slice(folder.length + 1),
    name,
    ...(of === undefined || of.kind === 'file' ? [] : [`${of.kind} ${of.uid}`]),
    ...(start === undefined ? [] : [start, end]),
  ]);
}

test.each([
  ['the official layout', 'full_scale'],
  ['the small videos', 'video_540ss'],
  ['what `synth` wrote', 'videos'],
])(
  '%s: each video of the task once, in the order of the file; one without a file is an error of its own',
  async (_, below) => {
    await put('annotations/moments_val.json', moments);
    await put(`${below}/b.mp4`);
    expect(await list({ task: 'mq', split: 'val' })).toEqual([
      [`${below}/b.mp4`, 'b', 'video b'],
      ['input.not_found', 'a'],
    ]);
  },
);

test('the newest version below the folder counts, full size before small', async () => {
  for (const version of ['v1', 'v2', 'v2_1']) await put(`${version}/annotations/nlq_train.json`, moments);
  await put('v2_1/full_scale/a.mp4');
  await put('v2_1/video_540ss/a.mp4');
  await put('v2_1/video_540ss/b.mp4');
  expect((await list({ task: 'nlq' })).map(([path]) => path)).toEqual([
    'v2_1/video_540ss/b.mp4',
    'v2_1/full_scale/a.mp4',
  ]);
});

test('without a task ego4d.json names the videos: here, in the annotations, above', async () => {
  await put('v2/full_scale/a.mp4');
  const wanted = { folder: join(folder, 'v2'), videoUids: ['a'] };
  await expect(ego4dInputs(wanted)).rejects.toMatchObject({ code: 'input.not_found' });
  await put('ego4d.json', metadata);
  expect(await list(wanted)).toEqual([['v2/full_scale/a.mp4', 'a', 'video a']]);
  expect(await list()).toHaveLength(3);
});

test('a clip is its own file, else its range of the video, in seconds of the video', async () => {
  await put('annotations/moments_train.json', moments);
  await put('clips/b1.mp4');
  await put('full_scale/b.mp4');
  expect(await list({ task: 'mq', clipUids: ['b2', 'b1', 'b2', 'a1'] })).toEqual([
    ['full_scale/b.mp4', 'b2', 'video b', 5, 9],
    ['clips/b1.mp4', 'b1', 'clip b1'],
    ['input.not_found', 'a1'],
  ]);
});

test('where a file does not say where its clip lies, ego4d.json does', async () => {
  await put('annotations/fho_hands_val.json', { clips: [{ video_uid: 'a', clip_uid: 'h1', clip_id: 1 }] });
  await put('full_scale/a.mp4');
  expect(await list({ task: 'fhp', clipUids: ['h1'] })).toEqual([['input.not_found', 'h1']]);
  await put('annotations/ego4d.json', metadata);
  expect(await list({ task: 'fhp', clipUids: ['h1'] })).toEqual([['full_scale/a.mp4', 'h1', 'video a', 3, 4]]);
});

test('with clips and no folder of videos all clips are taken', async () => {
  await put('annotations/moments_val.json', moments);
  for (const uid of ['a1', 'b1', 'b2']) await put(`clips/${uid}.mp4`);
  expect((await list({ task: 'mq' })).map(([path]) => path)).toEqual(['clips/b1.mp4', 'clips/b2.mp4', 'clips/a1.mp4']);
});

test('a file of uids holds videos and clips; an empty one asks for nothing', async () => {
  await put('annotations/moments_val.json', moments);
  await put('videos/a.mp4');
  await put('videos/b.mp4');
  const uidFile = join(folder, 'uids.txt');
  await put('uids.txt', 'a\r\n\n b2 \na\n');
  expect((await list({ task: 'mq', uidFile })).map(([, name]) => name)).toEqual(['a', 'b2']);
  await put('uids.txt', '\n');
  expect(await list({ task: 'mq', uidFile })).toEqual([]);
});

test('unknown uids are refused with their number and the first few', async () => {
  await put('annotations/moments_val.json', moments);
  const some = ego4dInputs({ folder, task: 'mq', videoUids: ['a', 'c', 'd', 'e', 'f'] });
  await expect(some).rejects.toMatchObject({
    code: 'data.unknown_id',
    message: expect.stringMatching(
      /^--video-uids: 4 of 5 uids are not in .*moments_val\.json`: `c`, `d`, `e`, …$/,
    ) as unknown,
  });
  const clips = ego4dInputs({ folder, task: 'mq', clipUids: ['a'] });
  await expect(clips).rejects.toMatchObject({ code: 'data.unknown_id' });
});

test.each([
  ['no folder', { folder: '/nowhere/at/all' }, 'input.not_found', 'no such folder'],
  ['a folder of something else', {}, 'input.not_found', 'expected Ego4D'],
])('%s is refused', async (_, selection, code, message) => {
  await expect(ego4dInputs({ folder, ...selection })).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message) as unknown,
  });
});

test('a split that is not there names the file that is missing; damaged files are refused with their place', async () => {
  await put('annotations/moments_train.json', '{"videos": [{"video_uid": "../x"}]}');
  const test = ego4dInputs({ folder, task: 'mq', split: 'test' });
  await expect(test).rejects.toThrow('no annotations of mq; expected `moments_test_unannotated.json` in it');
  await expect(ego4dInputs({ folder, task: 'mq' })).rejects.toMatchObject({ code: 'data.invalid' });
});

test('paths and a folder of Ego4D exclude each other; --limit counts these videos too', async () => {
  await put('annotations/moments_val.json', moments);
  const ego4d = { folder, task: 'mq' } as const;
  await expect(listInputs(['a.mp4'], { ego4d })).rejects.toMatchObject({ code: 'usage.conflict' });
  expect((await listInputs([], { ego4d, limit: 1 })).items).toHaveLength(1);
});
