import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { FrameSizes } from './frame-sizes.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-sizes-'));
  await mkdir(join(folder, 'v2', 'annotations'), { recursive: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const annotations = (): string => join(folder, 'v2', 'annotations', 'fho_hands_val.json');
const ask = { videoUid: 'one', size: null };
const plain = { path: 'one.npy', meta: undefined };
const withPicture = { path: 'one.npy', meta: { picture: { width: 64, height: 48 } } };

async function dataSet(place: string, width: unknown = 1440, height: unknown = 1080): Promise<void> {
  const video_metadata = { display_resolution_width: width, display_resolution_height: height };
  await writeFile(
    join(folder, place, 'ego4d.json'),
    JSON.stringify({ version: 'v2', videos: [{ video_uid: 'one', duration_sec: 9, video_metadata }] }),
  );
}

test.each(['v2/annotations', 'v2', '.'])('ego4d.json in %s tells the size of a video', async (place) => {
  await dataSet(place);
  const sizes = new FrameSizes();
  await sizes.readBeside(annotations());
  expect(sizes.of(ask, withPicture)).toEqual([1440, 1080]);
  expect(sizes.of({ ...ask, size: [10, 20] }, withPicture)).toEqual([10, 20]);
  expect(sizes.of({ ...ask, videoUid: 'two' }, withPicture)).toEqual([64, 48]);
  // A video of one's own has no uid.
  expect(sizes.of(null, withPicture)).toEqual([64, 48]);
});

test('what the user says counts before everything else, and no file is read then', async () => {
  await writeFile(join(folder, 'v2', 'annotations', 'ego4d.json'), '{');
  const sizes = new FrameSizes([7, 5]);
  await sizes.readBeside(annotations());
  expect(sizes.of({ ...ask, size: [10, 20] }, withPicture)).toEqual([7, 5]);
  await expect(new FrameSizes().readBeside(annotations())).rejects.toThrow(EgolensError);
});

test.each([
  [null, 1080],
  [0, 1080],
  [1440, -1],
])('%j x %j is no size', async (width, height) => {
  await dataSet('v2', width, height);
  const sizes = new FrameSizes();
  await sizes.readBeside(annotations());
  expect(sizes.of(ask, withPicture)).toEqual([64, 48]);
});

test('where nothing tells the size the flag is named', async () => {
  const sizes = new FrameSizes();
  await sizes.readBeside(annotations());
  expect(() => sizes.of(ask, plain)).toThrow(
    expect.objectContaining({
      code: 'data.invalid',
      message: '`one.npy`: nothing tells the width and height of the frames of video `one`',
      details: { input: 'one.npy', try: expect.stringContaining('--frame-size WxH') as string },
    }) as Error,
  );
  expect(() => sizes.of(null, { ...plain, meta: {} })).toThrow('of the frames');
});
