import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { readPreset } from '../../src/models/presets.js';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { clip, egolens, temporaryFolder, type CommandEnd } from './command.js';
import { records } from './program.js';

/** `--ego4d`, bounds in frames, and `-v`: what lists of inputs may say, as a process. Which files it finds: src/pipeline/ego4d-inputs.test.ts. */

const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);
const ego4d = at('ego4d data');
const env = { EGOLENS_CACHE_DIR: at('cache') };
const quick = ['--device', 'cpu', '--threads', '1'];
const val = ['--ego4d', ego4d, '--task', 'mq', '--split', 'val'];

const run = (...args: string[]): Promise<CommandEnd> => egolens([...args, ...quick], { env });

beforeAll(() => {
  for (const name of ['annotations', 'full_scale', 'clips']) mkdirSync(join(ego4d, 'v2', name), { recursive: true });
  const place = (clip_uid: string, video_start_sec: number, video_end_sec: number) => ({
    ...{ clip_uid, video_start_sec, video_end_sec },
  });
  const videos = [
    { video_uid: 'v-demo', clips: [place('c-first', 0, 3), place('c-second', 3, 6)] },
    { video_uid: 'v-gone', clips: [place('c-gone', 0, 3)] },
  ];
  writeFileSync(join(ego4d, 'v2', 'annotations', 'moments_val.json'), JSON.stringify({ version: '1', videos }));
  copyFileSync(clip('demo.mp4'), join(ego4d, 'v2', 'full_scale', 'v-demo.mp4'));
  copyFileSync(clip('three-seconds.mp4'), join(ego4d, 'v2', 'clips', 'c-first.mp4'));
});

test('extract: uids are names, records and meta files say whose seconds they hold; a missing file is one error', async () => {
  const out = at('features');
  const errors = at('errors.ndjson');
  const end = await run('extract', ...val, '-o', out, '--errors', errors, '--shard', 'auto');
  expect(end.code).toBe(3);
  const of = { kind: 'video', uid: 'v-demo' };
  expect(await records(end.stdout)).toMatchObject([{ id: 'v-demo', of, path: join(out, 'v-demo.npy') }]);
  expect(JSON.parse(readFileSync(join(out, 'v-demo.npy.meta.json'), 'utf8'))).toMatchObject({ of });
  expect(await records(readFileSync(errors, 'utf8'))).toMatchObject([{ code: 'input.not_found' }]);
  expect(end.stderr).toContain('v-gone.mp4`: no such file, nor one in `video_540ss/` or `videos/`');
  // The same file as one of one's own has other seconds: nothing is kept.
  const plain = await run('extract', join(ego4d, 'v2', 'full_scale', 'v-demo.mp4'), '-o', out);
  expect(plain.stderr).toContain('1 done');
  expect(await records(plain.stdout)).toMatchObject([{ id: 'v-demo', of: { kind: 'file' } }]);
});

test('clips are files of their own, else ranges of the video', async () => {
  const out = at('clips');
  const end = await run('extract', ...val, '--clip-uids', 'c-first,c-second', '-o', out);
  expect(end.code).toBe(0);
  expect(await records(end.stdout)).toMatchObject([
    { id: 'c-first', of: { kind: 'clip', uid: 'c-first' } },
    { id: 'c-second', of: { kind: 'video', uid: 'v-demo' } },
  ]);
  const times = readFileSync(join(out, 'c-second.times.csv'), 'utf8').split('\n');
  expect(times[1]).toMatch(/^0,90,\d+,3\.0,/);
});

test('search index and its records; recognize refuses shards of locks that it has not', async () => {
  const index = await run('search', 'index', ...val, '--video-uids', 'v-demo', '-o', at('lib.egx'));
  expect(index.code).toBe(0);
  expect(await records(index.stdout)).toMatchObject([{ state: 'encoded', of: { kind: 'video', uid: 'v-demo' } }]);
  // A library holds a video once: two ranges of one are no library.
  const ranges = await run(
    'search',
    'index',
    ...val,
    '--clip-uids',
    'c-second',
    'c-first',
    'c-gone',
    '-o',
    at('two.egx'),
  );
  expect([ranges.code, (await records(ranges.stdout)).length]).toEqual([3, 2]);
  const auto = await run('recognize', clip('demo.mp4'), '--shard', 'auto');
  expect(auto.code).toBe(2);
  expect(auto.stderr).toContain('`auto` is for `extract`');
});

test.each([
  ['unknown uids', [...val, '--video-uids', 'x', 'y'], 'data.unknown_id', 5],
  ['paths as well', [clip('demo.mp4'), ...val], 'usage.conflict', 2],
  ['no folder of Ego4D', ['--ego4d', 'nowhere', '--task', 'mq'], 'input.not_found', 4],
  ['a task without a folder', ['--task', 'mq'], 'usage.flag', 2],
  ['a split of no task', ['--ego4d', ego4d, '--split', 'val'], '', 2],
  ['a task that there is not', ['--ego4d', ego4d, '--task', 'tal'], '', 2],
  ['nothing at all', [], 'usage.flag', 2],
])('refused before anything is written: %s', async (_, args, code, exit) => {
  const out = at('refused');
  const end = await run('extract', ...args, '-o', out);
  expect([end.code, end.stdout]).toEqual([exit, '']);
  expect(end.stderr).toContain(code);
  expect(existsSync(out)).toBe(false);
});

test('bounds in frames give the bytes of their times', async () => {
  const arrays: Buffer[] = [];
  for (const [name, start, end] of [
    ['frames', '#90', '#180'],
    ['seconds', '3', '0:06'],
  ] as const) {
    const out = at(name);
    expect((await run('extract', clip('demo.mp4'), '--start', start, '--end', end, '-o', out)).code).toBe(0);
    arrays.push(readFileSync(join(out, 'demo.npy')), readFileSync(join(out, 'demo.times.csv')));
  }
  expect(arrays[2]!.equals(arrays[0]!) && arrays[3]!.equals(arrays[1]!)).toBe(true);
  const late = await run('extract', clip('demo.mp4'), '--start', '#5000', '-o', at('late'));
  expect([late.code, late.stderr]).toEqual([4, expect.stringContaining('expected more than 5000 frames, 270 were')]);
});

test('--dry-run judges the work that is left by what the ledger says of videos like it', async () => {
  const out = at('planned');
  const some = [clip('demo.mp4'), clip('three-seconds.mp4')];
  const plan = async (...more: string[]) => {
    const end = await run('extract', ...some, '-o', out, '-n', ...more);
    return { note: end.stderr, estimates: (await records(end.stdout)).map(({ estimate }) => estimate) };
  };
  expect(await plan()).toEqual({ note: '2 missing, 0 complete, 0 cannot be read\n', estimates: [null, null] });
  expect((await run('extract', some[0]!, '-o', out)).code).toBe(0);
  const { note, estimates } = await plan();
  expect(note).toMatch(/^1 missing, 1 complete, 0 cannot be read; about 00:0\d:\d\d\.\d{3} of work$/m);
  expect(estimates).toEqual([0, expect.any(Number)]);
  expect(estimates[1]).toBeGreaterThan(0);
  // Another preset takes other time.
  expect((await plan('--preset', 'nano-8x8', '--stride', '8', '--start', '1')).estimates).toEqual([null, null]);
});

test('recognize: labels say whose seconds theirs are', async () => {
  const model = at('classifier');
  const preset = readPreset('nano-16x2');
  const config = { img_size: 32, patch_size: 16, all_frames: 4, embed_dim: 24, depth: 1, num_heads: 2, num_classes: 5 };
  await makeSeededModel(model, {
    ...{ name: 'classifier', config, seed: 2 },
    preset: { ...preset, sampling: { ...preset.sampling, frames: 4 }, pixels: { ...preset.pixels, size: 32 } },
  });
  const end = await run('recognize', '--model', model, '--labels', 'none', '--top', '1', ...val);
  expect([end.code, await records(end.stdout)]).toMatchObject([
    3,
    [{ id: 'v-demo', of: { kind: 'video', uid: 'v-demo' }, start: 0, end: 9 }],
  ]);
});

test('-v tells plan, stream and seconds, -vv also what is started of ffmpeg; standard output stays as it is', async () => {
  const plain = await run('extract', clip('one-frame.mp4'), '-o', at('v0'), '--force');
  const some = await run('extract', clip('one-frame.mp4'), '-o', at('v0'), '--force', '-v');
  const all = await run('extract', clip('one-frame.mp4'), '-o', at('v0'), '--force', '-vv');
  expect(plain.stderr).not.toContain('preset ');
  for (const line of [
    /^preset nano-8x8@1: dense, /m,
    /one-frame\.mp4`: video stream 0, h264/,
    /provider cpu, threads 1/,
  ])
    expect(some.stderr).toMatch(line);
  expect(some.stderr).toMatch(/seconds: probe [\d.]+, decode [\d.]+, encode [\d.]+, write [\d.]+, total/);
  expect(some.stderr).not.toMatch(/^ff(mpeg|probe) /m);
  expect(all.stderr).toMatch(/^ffprobe .*one-frame\.mp4'?$/m);
  expect(all.stderr).toMatch(/^ffmpeg .*-filter_complex '/m);
  expect([some.stdout, all.stdout]).toEqual([plain.stdout, plain.stdout]);
});
