import { existsSync, readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { clip, egolens } from './command.js';
import { records } from './program.js';
import { tuningWork } from './tuning.js';

/** `train recognition --fine-tune` as a process; its resume is in test/slow. */

const { at, model, gt, val, usual, command, tune, prepare } = tuningWork();
beforeAll(prepare);

test('a broken video is named; --skip-broken goes on without it and says how many', async () => {
  const videos = at('videos');
  for (const name of ['vfr.mp4', 'three-seconds.mp4']) await cp(clip(name), join(videos, name), { recursive: true });
  await cp(clip('no-moov.mp4'), join(videos, 'rotated.mp4'));
  const refused = await egolens(command('broken', '--videos', videos));
  expect(refused).toMatchObject({ code: 4, stdout: '' });
  expect(refused.stderr).toContain(`error decode.truncated: \`${join(videos, 'rotated.mp4')}\`: expected a whole file`);
  const done = await egolens(command('broken', '--epochs', '1', '--skip-broken', '--videos', videos));
  expect(done, done.stderr).toMatchObject({ code: 0 });
  expect(done.stderr).toContain('1 videos were left out');
});

test('with the whole encoder frozen the encoder of the result is the one it began with', async () => {
  const done = await tune('frozen', '--epochs', '1', '--freeze', 'encoder.*', '--drop-path', '0');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  const weights = (path: string) => readFileSync(join(path, 'weights.bin')).toString('base64');
  expect(weights(at('frozen/final/encoder'))).toBe(weights(model));
});

test('--grad-check prints a table of parts that agree, and leaves no run behind', async () => {
  const done = await tune('checked', '--grad-check');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  const rows = await records(done.stdout);
  expect(rows.map(({ part }) => part)).toContain('encoder.blocks.1');
  expect(rows.filter(({ agrees }) => agrees !== true)).toEqual([]);
  expect(existsSync(at('checked'))).toBe(false);
});

test('--grad-check checks a head on features too', async () => {
  const extracted = await egolens(['extract', ...usual, '--model', model, '-o', at('rows')]);
  expect(extracted, extracted.stderr).toMatchObject({ code: 0 });
  const lists = ['--features', at('rows'), '--gt', gt, '--val', val, '-o', at('checked'), '--device', 'cpu'];
  const done = await egolens(['train', 'recognition', ...lists, '--head', 'attentive', '--grad-check']);
  expect(done, done.stderr).toMatchObject({ code: 0 });
  const rows = await records(done.stdout);
  expect(rows.map(({ part, agrees }) => [part, agrees])).toContainEqual(['head', true]);
  expect(rows.filter(({ agrees }) => agrees !== true)).toEqual([]);
  expect(existsSync(at('checked'))).toBe(false);
});

test.each([
  [['--videos', clip('vfr.mp4')], 4, 'input.not_found', 'three-seconds'],
  [['--videos', ...usual, '--freeze', 'nothing.*'], 2, 'usage.flag', 'fits no parameter'],
  [['--videos', ...usual, '--layer-decay', '0.5', '--early-stop', 'fame'], 2, 'usage.flag', 'fame'],
])('%j ends with code %i, %s', async (more, code, name, text) => {
  const end = await egolens(command('refused', ...more));
  expect(end, end.stderr).toMatchObject({ code, stdout: '' });
  expect(end.stderr).toContain(name);
  expect(end.stderr).toContain(text);
  expect(existsSync(at('refused'))).toBe(false);
});

test('a model that needs more than labels is refused with what it lacks', async () => {
  const other = at('pretraining');
  await makeSeededModel(other, {
    name: 'pretraining',
    arch: 'videomae-pretraining',
    config: {
      ...{ img_size: 32, patch_size: 8, all_frames: 4, encoder_embed_dim: 16, encoder_depth: 1, encoder_num_heads: 2 },
      ...{ decoder_embed_dim: 8, decoder_depth: 1, decoder_num_heads: 2 },
    },
    seed: 1,
  });
  const args = command('refused', '--videos', ...usual).map((word) => (word === model ? other : word));
  const end = await egolens(args);
  expect(end, end.stderr).toMatchObject({ code: 6, stdout: '' });
  expect(end.stderr).toContain('takes `mask` beside the frames');
});
