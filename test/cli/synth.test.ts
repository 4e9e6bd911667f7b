import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nobodyLeft, records, run, start, workFolder } from './program.js';

const tiny = ['--clips', '1', '--seconds', '5', '--seed', '1', '--size', '64x48', '--difficulty', '1'];

test('synth prints a record a clip, writes annotations that validate accepts, and a contact sheet', async () => {
  const folder = join(await workFolder(), 'out');
  const sheet = join(folder, '..', 'sheet.png');
  const { status, stdout, stderr } = await run(['synth', folder, ...tiny, '--sheet', sheet, '--ndjson']);
  expect(stderr).toMatch(/train: 1 clip, \d+ action/);
  expect(stderr).toMatch(/lta: no instance/);
  expect(status).toBe(0);
  expect(await records(stdout)).toMatchObject([{ schema: 'egolens.synth/1', frames: 150, state: 'written' }]);
  expect(readFileSync(sheet).subarray(1, 4).toString()).toBe('PNG');
  const moments = join(folder, 'annotations', 'moments_train.json');
  expect(await run(['validate', 'annotations', moments])).toMatchObject({ status: 0 });
  const baselines = await run(['synth', 'baselines', folder, '--split', 'train', '--ndjson']);
  expect(baselines.status).toBe(0);
  expect(await records(baselines.stdout)).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ task: 'mq', part: 'all', ceiling: 1, priors: 'train' }),
      expect.objectContaining({ task: 'recognition', metric: 'verb top1', ceiling: 1 }),
    ]),
  );
}, 30_000);

test('synth --annotations-only draws nothing and needs no ffmpeg; baselines tell compositional clips apart', async () => {
  const folder = join(await workFolder(), 'out');
  const env = { EGOLENS_FFMPEG: '/nowhere/ffmpeg' };
  const wanted = [
    'synth',
    folder,
    ...tiny.with(1, '2').with(3, '30'),
    '--split',
    'test',
    '--annotations-only',
    '--ndjson',
  ];
  const { status, stdout, stderr } = await run(wanted, { env });
  expect(stderr).toMatch(/^test: 2 clips, \d+ actions, 1 of them with wearers, textures and pairs .* never shows$/m);
  expect(stderr).toMatch(
    /^lta: no instance: the longest clip has \d+ actions, an instance needs 22 actions of one clip; try --seconds 120$/m,
  );
  expect(status).toBe(0);
  expect((await records(stdout)).map(({ state, compositional }) => [state, compositional])).toEqual([
    ['skipped', false],
    ['skipped', true],
  ]);
  expect(readdirSync(folder)).toEqual(['annotations']);
  const baselines = await run(['synth', 'baselines', folder, '--split', 'test', '--ndjson'], { env });
  expect(baselines.stderr).toContain('lta: nothing to predict in the compositional clips of this test split');
  expect(baselines.status).toBe(0);
  const rows = await records(baselines.stdout);
  for (const task of ['mq', 'sta', 'oscc', 'recognition']) {
    const own = rows.filter((row) => row['task'] === task).map((row) => row['part']);
    expect(new Set(own), task).toEqual(new Set(['all', 'seen', 'compositional']));
  }
  const table = await run(['synth', 'baselines', folder, '--split', 'test', '--all', '--format', 'csv'], { env });
  expect(table.stdout).toMatch(/^task,part,metric,blind,ceiling,priors\n/);
  expect(table.stdout).toMatch(/^recognition,compositional,noun mean_class_accuracy,[\d.]+,1\.0,test$/m);
}, 30_000);

test.each([
  [['--annotations-only', '--variants', 'vfr'], '--annotations-only'],
  [['--size', '65x48'], '--size'],
  [['--size', 'big'], 'size'],
  [['--seconds', 'long'], '--seconds'],
  [['--fps', '24'], '--fps'],
  [['--variants', 'svr'], 'variants'],
])('synth refuses %j with code 2 and writes nothing', async (flags, name) => {
  const folder = join(await workFolder(), 'out');
  const { status, stderr, stdout } = await run(['synth', folder, ...tiny, ...flags]);
  expect(status).toBe(2);
  expect(stderr).toContain(name);
  expect(stdout).toBe('');
  expect(() => readdirSync(folder)).toThrow('ENOENT');
});

test('synth that is interrupted leaves no half file and no ffmpeg', async () => {
  const folder = join(await workFolder(), 'out');
  const program = start(['synth', folder, ...tiny.with(1, '40'), '--ndjson']);
  await program.says('stdout', 'egolens.synth/1');
  program.child.kill('SIGINT');
  expect((await program.ended).status).toBe(130);
  await nobodyLeft(program);
  expect(readdirSync(join(folder, 'videos')).filter((name) => !/^[0-9a-f-]{36}\.mp4$/.test(name))).toEqual([]);
  expect(readdirSync(join(folder, 'annotations'))).toEqual([]);
}, 30_000);

test('synth without ffmpeg says how to get one', async () => {
  const folder = join(await workFolder(), 'out');
  const { status, stderr } = await run(['synth', folder, ...tiny], { env: { EGOLENS_FFMPEG: '/nowhere/ffmpeg' } });
  expect(status).toBe(7);
  expect(stderr).toContain('EGOLENS_FFMPEG');
});
