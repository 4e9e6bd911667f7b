import { execFileSync, spawnSync } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from './command.js';
import { leftovers, records, run, start, videos, workFolder, type Ended, type Row } from './program.js';

/** Training, use and score of a recognition head as a user goes about it, over two short clips. */

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const verbs = ['take', 'put', 'cut'];
const nouns = ['cup', 'knife'];

/** An action a second, as `fho_lta_*.json` has them. */
function actions(video: string, seconds: number): string {
  const clips = Array.from({ length: seconds }, (_, i) => ({
    video_uid: video,
    clip_uid: `clip-of-${video}`,
    clip_parent_start_sec: 0.5,
    action_clip_start_sec: i,
    action_clip_end_sec: i + 1,
    action_idx: i,
    verb: verbs[i % 3],
    verb_label: i % 3,
    noun: nouns[i % 2],
    noun_label: i % 2,
  }));
  return JSON.stringify({ version: 'v2', split: 'train', clips });
}

const trainingOn = (features: string, ...more: string[]): string[] => [
  ...['train', 'recognition', '--features', features, '--gt', at('train.json'), '--val', at('val.json')],
  ...['--device', 'cpu', '--threads', '1', ...more],
];
const training = (...more: string[]): string[] => trainingOn(at('features'), ...more);

/** A copy of the features in which the meta file of one says something else. */
async function changed(name: string, change: (meta: Row) => Row): Promise<string> {
  const copy = at(name);
  await cp(at('features'), copy, { recursive: true });
  const meta = join(copy, 'vfr.npy.meta.json');
  await writeFile(meta, JSON.stringify(change(JSON.parse(await readFile(meta, 'utf8')) as Row)));
  return copy;
}

let trained: Ended;
beforeAll(async () => {
  await writeFile(at('train.json'), actions('demo', 8));
  await writeFile(at('val.json'), actions('vfr', 3));
  await writeFile(at('fho_lta_taxonomy.json'), JSON.stringify({ verbs, nouns }));
  const clips = ['demo', 'vfr'].map((name) => join(videos, `${name}.mp4`));
  const { status, stderr } = await run(['extract', ...clips, '-o', at('features'), '--device', 'cpu']);
  expect(status, stderr).toBe(0);
  trained = await run(training('-o', at('run'), '--epochs', '5', '--batch', '4'));
});

test('a run gives a record an epoch and a head folder that is whole', async () => {
  expect(trained.status, trained.stderr).toBe(0);
  const rows = await records(trained.stdout);
  expect(rows.map(({ epoch, step }) => [epoch, step])).toEqual([1, 2, 3, 4, 5].map((epoch) => [epoch, 2 * epoch]));
  expect(Object.keys(rows[0]!['metrics'] as object)).toEqual([
    ...['verb_top1', 'verb_top5', 'verb_mean_class', 'noun_top1', 'noun_top5', 'noun_mean_class'],
    ...['action_top1', 'top1', 'val_loss'],
  ]);
  expect(trained.stderr).toMatch(/^memory: .*: state .*, frozen .*, kept activations .*, batch /m);
  expect(trained.stderr).toMatch(/^epoch 5: training loss /m);
  expect(trained.stderr).toContain(`wrote ${at('run', 'final')}`);
  expect(await readFile(at('run', 'learning-curve.svg'), 'utf8')).toMatch(/^<svg/);
  const verified = await run(['models', 'verify', at('run', 'final'), '--device', 'cpu']);
  expect(await records(verified.stdout)).toMatchObject([{ ok: true, files: 4 }]);
  expect(leftovers(at('run'))).toEqual([]);
});

test('recognize --head gives the labels of segments, and eval the scores that training saw', async () => {
  const labels = ['recognize', '--head', at('run', 'final'), '--features', at('features')];
  const { status, stdout, stderr } = await run([...labels, '--segments', at('val.json')]);
  expect(status, stderr).toBe(0);
  const rows = await records(stdout);
  expect(rows).toHaveLength(3 * (3 + 2));
  expect(rows[0]).toMatchObject({
    id: 'clip-of-vfr_0',
    of: { kind: 'video', uid: 'vfr' },
    start: 0.5,
    end: 1.5,
    kind: 'verb',
  });
  await writeFile(at('labels.ndjson'), stdout);
  const scored = await run(['eval', 'recognition', '--pred', at('labels.ndjson'), '--gt', at('val.json')]);
  const scores = (await records(scored.stdout)).map(({ metric, value }) => [String(metric), Number(value)] as const);
  expect(scores.map(([metric]) => metric)).toEqual([
    ...['verb_top1', 'verb_top5', 'verb_mean_class', 'noun_top1', 'noun_top5', 'noun_mean_class', 'action_top1'],
  ]);
  const said = trained.stderr.split('\n').findLast((line) => line.startsWith('best at'));
  for (const [metric, value] of scores) expect(said).toContain(`${metric} ${value.toFixed(4)}`);
});

test('recognize --head computes features of videos, and finds them again', async () => {
  const args = ['recognize', join(videos, 'vfr.mp4'), '--head', at('run', 'final'), '--top', '1', '--device', 'cpu'];
  const first = await run(args);
  expect(first.status, first.stderr).toBe(0);
  const rows = await records(first.stdout);
  expect(rows.map(({ id, kind, start }) => [id, kind, start])).toEqual([
    ['vfr', 'verb', 0],
    ['vfr', 'noun', 0],
  ]);
  const second = await run([...args, '--per', 'window', '-f', 'csv', '-v']);
  expect(second.stdout).toMatch(/^input,id,start,end,kind,label,label_id,score,logit\n.*vfr\.mp4,vfr#0,0\.0,/);
  expect(second.stderr).not.toContain('decode');
});

test('-v gives a record a step; a flag of --config gives way to that of the command line', async () => {
  await writeFile(at('config.json'), JSON.stringify({ epochs: 7, batch: 2, head: 'attentive', seed: 3 }));
  const { status, stdout, stderr } = await run(
    training('-o', at('steps'), '--config', at('config.json'), '--epochs', '2', '-v'),
  );
  expect(status, stderr).toBe(0);
  expect(stderr).toContain('attentive-probe on cpu');
  expect((await records(stdout)).map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
});

test('Ctrl-C saves, says how to go on, and the same command does', async () => {
  const output = join(await workFolder(), 'run');
  const args = training('-o', output, '--epochs', '2000', '--batch', '4');
  const program = start(args);
  await program.says('stderr', 'epoch 2:');
  program.child.kill('SIGINT');
  const { status, stderr } = await program.ended;
  expect(status).toBe(130);
  expect(stderr).toMatch(/^interrupted and saved at step \d+ in .*: the same command goes on from there$/m);
  expect(leftovers(output)).toEqual([]);
  const other = await run(training('-o', output, '--epochs', '2000', '--batch', '2'));
  expect([other.status, other.stderr]).toEqual([2, expect.stringContaining('batch: 2 here, 4 there')]);
  const again = await run([...args, '--max-time', '1ms']);
  expect(again.status, again.stderr).toBe(0);
  expect(again.stderr).toMatch(/^the time is over; best at step /m);
});

describe('what does not fit is refused in one line', () => {
  const expectError = (ended: Ended, status: number, message: RegExp): void => {
    expect(ended.stderr).toMatch(message);
    expect([ended.status, ended.stdout, ended.stderr.split('\n').filter((line) => line.startsWith('error'))]).toEqual([
      status,
      '',
      [expect.stringMatching(message)],
    ]);
  };

  test('features of another clock, both files and clocks named', async () => {
    const mixed = await changed('clocks', (meta) => ({ ...meta, clock: { ...(meta['clock'] as Row), hop: 7 } }));
    const ended = await run(trainingOn(mixed, '-o', at('none')));
    expectError(ended, 5, /^error data\.clock: .*vfr\.npy`: rows at .*hop 7.*; `.*demo\.npy` at /m);
  });

  test('features of another model, unless they are taken by force', async () => {
    const mixed = await changed('models', (meta) => ({
      ...meta,
      model: { ...(meta['model'] as Row), name: 'another' },
    }));
    const ended = await run(trainingOn(mixed, '-o', at('none')));
    expectError(ended, 2, /^error usage\.conflict: .*vfr\.npy`: features of another@.*; `.*demo\.npy` of /m);
    const use = ['recognize', '--head', at('run', 'final'), '--features', mixed, '--segments', at('val.json')];
    expectError(
      await run(use),
      2,
      /^error usage\.conflict: .*features of another@.*; run@[0-9a-f]{12} was trained on /m,
    );
    expect((await run([...use, '--force-features'])).status).toBe(0);
  });

  test('a head where an encoder is wanted, and the reverse', async () => {
    const encoder = await run(['extract', join(videos, 'vfr.mp4'), '--model', at('run', 'final'), '-o', at('none')]);
    expectError(encoder, 6, /^error model\.config: run@[0-9a-f]{12}: a head of family linear-probe; expected a model/m);
    const lone = await run(['recognize', join(videos, 'vfr.mp4'), '--segments', at('val.json')]);
    expectError(lone, 2, /^error usage\.conflict: --segments goes with a head/m);
    const classes = await run(['recognize', join(videos, 'vfr.mp4'), '--head', at('run', 'final'), '--class', 'x']);
    expectError(classes, 2, /^error usage\.conflict: --class: the head decides/m);
  });

  test('a full disk ends the run with 8; the checkpoint before stays whole', async (context) => {
    const disk = join(await workFolder(), 'disk');
    await mkdir(disk);
    const isRoot = process.platform === 'linux' && process.getuid?.() === 0;
    const mounted = isRoot && spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]).status === 0;
    if (!mounted) context.skip('no right to mount a small file system');
    onTestFinished(() => {
      execFileSync('umount', ['-l', disk]);
    });
    const ended = await run(training('-o', join(disk, 'run'), '--epochs', '200', '--batch', '4'));
    expect(ended.status, ended.stderr).toBe(8);
    expect(ended.stderr).toMatch(/^error limit\.disk: /m);
    expect(leftovers(disk)).toEqual([]);
  });
});
