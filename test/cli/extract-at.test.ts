import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { clip, egolens, temporaryFolder, type CommandEnd } from './command.js';
import { records } from './program.js';

/** `extract --at` and `--every` as a process. Which frames the windows show: src/video/anchored-windows.test.ts. */

const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);
const ego4d = at('ego4d');
const env = { EGOLENS_CACHE_DIR: at('cache') };
const quick = ['--model', 'videomae-nano-untrained', '--device', 'cpu', '--threads', '1'];
const run = (...args: string[]): Promise<CommandEnd> => egolens(['extract', ...args, ...quick], { env });

/** `[firstFrame, lastFrame]` of each row. */
function framesOf(...path: string[]): (readonly [number, number])[] {
  const lines = readFileSync(at(...path), 'utf8')
    .trim()
    .split('\n')
    .slice(1);
  return lines.map((line) => line.split(',').map(Number)).map(([, first, last]) => [first!, last!]);
}

beforeAll(() => {
  for (const name of ['annotations', 'full_scale', 'clips']) mkdirSync(join(ego4d, name), { recursive: true });
  const change = (clip_uid: string, frame: number, inClip: number) => ({
    ...{ video_uid: 'v-demo', clip_uid },
    pnr_frame: { frame_number: frame, clip_frame_number: inClip },
  });
  const clips = [change('c-first', 100, 70), change('c-second', 40, 10)];
  writeFileSync(join(ego4d, 'annotations', 'fho_scod_val.json'), JSON.stringify({ clips }));
  copyFileSync(clip('demo.mp4'), join(ego4d, 'full_scale', 'v-demo.mp4'));
  copyFileSync(clip('three-seconds.mp4'), join(ego4d, 'clips', 'c-first.mp4'));
});

test('--at gives one window a time, and a second start keeps them', async () => {
  const args = [clip('three-seconds.mp4'), '-o', at('times'), '--at', '2.5,#40,0:01.35'];
  const first = await run(...args);
  expect([first.code, first.stderr]).toEqual([0, expect.stringContaining('1 done; 2 rows')]);
  expect(await records(first.stdout)).toMatchObject([{ rows: 2, clock: null }]);
  expect(framesOf('times', 'three-seconds.times.csv')).toEqual([
    [10, 40],
    [45, 75],
  ]);
  const meta: unknown = JSON.parse(readFileSync(at('times', 'three-seconds.npy.meta.json'), 'utf8'));
  expect(meta).toMatchObject({ clock: null, frames: { decoded: 76 } });
  expect((await run(...args)).stderr).toContain('1 kept; 2 rows');
});

test('--every gives windows at equal distances', async () => {
  const end = await run(clip('three-seconds.mp4'), '-o', at('every'), '--every', '700ms');
  expect(end.code).toBe(0);
  expect(framesOf('every', 'three-seconds.times.csv').map(([, last]) => last)).toEqual([21, 42, 63, 84]);
});

test('--at annotations gives the frames that a task asks about, of videos and of clips', async () => {
  const asked = ['--ego4d', ego4d, '--task', 'scod', '--at', 'annotations', '-o', at('asked')];
  expect((await run(...asked)).code).toBe(0);
  expect(framesOf('asked', 'v-demo.times.csv')).toEqual([
    [10, 40],
    [70, 100],
  ]);
  const clips = await run(...asked, '--clip-uids', 'c-first');
  expect(clips.code).toBe(0);
  expect(framesOf('asked', 'c-first.times.csv')).toEqual([[40, 70]]);
});

test.each([
  [['--at', '1', '--every', '1s'], 'cannot also be provided'],
  [['--every', '1s', '--end', '1'], 'cannot also be provided'],
  [['--at', '1,x'], 'expected seconds or hh:mm:ss.mmm, found `x`'],
  [['--every', '1ms'], 'expected a sample at least'],
  [['--at', '1', '--fps', 'source'], 'expected a fixed rate'],
  [['--at', 'annotations'], 'expected --ego4d and --task fhp, sta, scod; found none'],
])('%j is refused', async (flags, text) => {
  const end = await run(clip('three-seconds.mp4'), '-o', at('refused'), ...flags);
  expect([end.code, end.stdout]).toEqual([2, '']);
  expect(end.stderr.replaceAll(/\s*›?\s+/g, ' ')).toContain(text);
});

test('a time behind the end is told with the end of the video', async () => {
  const end = await run(clip('three-seconds.mp4'), '-o', at('behind'), '--at', '1,9');
  expect(end.code).toBe(4);
  expect(end.stderr).toMatch(/ends at 3 s; asked for a window that ends at 9 s/);
});
