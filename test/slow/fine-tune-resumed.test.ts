import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, expect, test } from 'vitest';
import { clip, egolens } from '../cli/command.js';
import { filesBelow, leftovers, nobodyLeft, records, start } from '../cli/program.js';
import { tuningWork } from '../cli/tuning.js';

const { at, usual, command, tune, prepare } = tuningWork();
beforeAll(prepare);
const log = (run: string): string => readFileSync(at(run, 'log.ndjson'), 'utf8');

test('an interrupted run that goes on is the straight one, bit for bit, whatever the number of decoders', async () => {
  const long = ['--epochs', '3', '--average', '0.9', '--drop-path', '0.2', '--dropout', '0.1'];
  const straight = await tune('a/run', ...long, '--loaders', '3');
  expect(straight, straight.stderr).toMatchObject({ code: 0 });
  expect(await records(straight.stdout), 'one record an epoch').toHaveLength(3);

  const program = start(command('b/run', ...long, '--loaders', '1', '--videos', ...usual));
  await program.says('stdout', '"epoch":1');
  program.child.kill('SIGINT');
  const first = await program.ended;
  expect(first, first.stderr).toMatchObject({ status: 130 });
  expect(first.stderr).toContain('the same command goes on from there');
  await nobodyLeft(program);
  expect([existsSync(at('b/run/final')), leftovers(at('b'))]).toEqual([false, []]);

  const second = await tune('b/run', ...long, '--loaders', '2');
  expect(second, second.stderr).toMatchObject({ code: 0 });
  const [a, b] = [filesBelow(at('a')), filesBelow(at('b'))];
  expect(Object.keys(a)).toContain('run/final/encoder/weights.bin');
  // Which checkpoints are left besides the newest and the best depends on where the run was broken off.
  for (const name of Object.keys(a).filter((file) => file in b)) expect([name, b[name]]).toEqual([name, a[name]]);
  expect(log('b/run')).toBe(log('a/run'));

  const used = await egolens(['extract', clip('vfr.mp4'), '--model', at('a/run/final/encoder'), '-o', at('features')]);
  expect(used, used.stderr).toMatchObject({ code: 0 });
  const manifest = (part: string) =>
    JSON.parse(readFileSync(at('a/run/final', part, 'model.json'), 'utf8')) as Record<string, unknown>;
  const encoder = manifest('encoder');
  expect(encoder).toMatchObject({ name: 'tiny-tuned', family: 'videomae-classifier', trained: 'run run' });
  expect(manifest('head')).toMatchObject({
    kind: 'head',
    head: {
      features: [{ model: `tiny-tuned@${String(encoder['digest']).slice(0, 12)}`, output: 'pooled', width: 24 }],
    },
  });
});
