import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeNpy } from '../checkpoint/npy.js';
import type { OfficialClock } from '../features/store.js';
import { parseJson } from '../json-reader.js';
import { tensor } from '../tensor.js';
import type { FeatureClock, JsonDocument } from '../types.js';
import { clipSequences } from './clip-sequences.js';
import { indexFeatures } from './feature-index.js';
import { readRows } from './feature-rows.js';
import { momentClasses } from './moment-classes.js';
import { spanIn, stretchOf } from './predict.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-clips-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** From 4 s (frame 120, 8 after a grid point) to 12 s of a video at 30 frames a second; `wash` from 1 s to 3 s of the clip. */
const clip = {
  clip_uid: 'clip-a',
  video_start_sec: 4,
  video_end_sec: 12,
  video_start_frame: 120,
  video_end_frame: 360,
  annotations: [
    {
      labels: [
        {
          label: 'wash',
          primary: true,
          video_start_time: 5,
          video_end_time: 7,
          video_start_frame: 150,
          video_end_frame: 210,
        },
      ],
    },
  ],
};
const document: JsonDocument = parseJson(
  'moments_val.json',
  new TextEncoder().encode(JSON.stringify({ videos: [{ video_uid: 'video-a', split: 'val', clips: [clip] }] })),
);

async function features(name: string, rows: number): Promise<void> {
  const data = Float32Array.from({ length: 2 * rows }, (_, i) => Math.floor(i / 2));
  await writeFile(join(folder, `${name}.npy`), writeNpy(tensor('float32', [rows, 2], data)));
}

async function sequenceOn(clock: OfficialClock | Omit<FeatureClock, 'rows'>) {
  const { sequences, missing } = await clipSequences(document, await indexFeatures(folder), { reading: { clock } });
  expect(missing).toEqual([]);
  return sequences[0]!;
}

test('on the official grid a clip is cut as the official data are, and its records go back to its own seconds', async () => {
  await features('video-a', 40);
  const sequence = await sequenceOn('ego4d-grid');
  expect(sequence.rows).toEqual([7, 21]);
  expect(sequence.offset).toBeCloseTo(-8 / 30, 9);
  expect(sequence.moments).toMatchObject([{ label: 'wash', start: 1.27, end: 3.27 }]);
  const rows = await readRows(sequence.path, sequence.rows);
  expect([rows.shape, rows.data[0], rows.data.at(-1)]).toEqual([[14, 2], 7, 20]);
  const stretch = stretchOf(sequence);
  const span = spanIn(stretch, 8 / 30 + 1, 100)!;
  expect(span[0]).toBeCloseTo(1, 9);
  expect(span[1]).toBe(8);
  expect(spanIn(stretch, 0, 8 / 30)).toBeUndefined();
});

test('on another grid every row whose middle lies in the clip counts, as far as there are rows', async () => {
  const grid = { rate: { num: 15, den: 1 }, hop: 4, frames: 8, step: 1, tail: 'align' } as const;
  await features('video-a', 80);
  // Rows of 16 frames at 30 a second, every 8: the first at frame 120; that at frame 344 has its middle at 352, before frame 360.
  expect((await sequenceOn(grid)).rows).toEqual([15, 44]);
  await features('video-a', 43);
  expect((await sequenceOn(grid)).rows).toEqual([15, 43]);
});

test('a file of the clip itself is taken whole', async () => {
  await features('clip-a', 15);
  await features('video-a', 40);
  const sequence = await sequenceOn('ego4d-grid');
  expect([sequence.rows, sequence.offset, sequence.duration]).toEqual([[0, 15], 0, 8]);
  expect(sequence.moments[0]!.start).toBeCloseTo(1, 2);
});

test('clips without features, and those that their features do not reach, are missing', async () => {
  await features('other', 40);
  const options = { reading: { clock: 'ego4d-grid' } } as const;
  const none = await clipSequences(document, await indexFeatures(folder), options);
  expect([none.sequences, none.missing, none.form]).toEqual([[], ['clip-a'], undefined]);
  await features('video-a', 12);
  expect((await clipSequences(document, await indexFeatures(folder), options)).missing).toEqual(['clip-a']);
});

test('features without times, and rows that are no numbers, are refused by name', async () => {
  await features('video-a', 40);
  const index = await indexFeatures(folder);
  await expect(clipSequences(document, index)).rejects.toThrow('nothing tells the times of its rows');
  const bad = tensor('float32', [2, 2], Float32Array.of(0, 1, NaN, 3));
  await writeFile(join(folder, 'bad.npy'), writeNpy(bad));
  await expect(readRows(join(folder, 'bad.npy'), [0, 2])).rejects.toThrow('row 1 holds NaN');
  await expect(readRows(join(folder, 'bad.npy'), [0, 3])).rejects.toThrow('2 rows; expected 3 at least');
});

test('classes: those of the official file without its background, else the labels of the split', async () => {
  const gt = { path: join(folder, 'moments_train.json'), folder };
  expect((await momentClasses(gt, ['wash', 'cut', 'wash'], undefined)).labels).toEqual(['cut', 'wash']);
  await expect(momentClasses(gt, [], undefined)).rejects.toThrow('expected labelled moments, found none');
  const file = join(folder, 'moment_classes_idx.json');
  await writeFile(file, JSON.stringify({ wash: 2, Background: 0, cut: 1 }));
  expect((await momentClasses(gt, ['wash'], undefined)).labels).toEqual(['cut', 'wash']);
  await expect(momentClasses(gt, ['fly'], undefined)).rejects.toThrow('1 labels that are none of the 2 classes: `fly`');
  await writeFile(file, JSON.stringify({ wash: 3, cut: 1 }));
  await expect(momentClasses(gt, ['wash'], undefined)).rejects.toThrow('the numbers 1, 2, …');
});
