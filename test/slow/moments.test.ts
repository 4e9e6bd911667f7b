/** Moment Queries from videos to a score, as a user goes about it: synth, extract, train mq, moments, submit, validate, eval. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { temporaryFolder } from '../cli/command.js';
import { leftovers, records, run, type Row } from '../cli/program.js';

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const annotations = (split: string): string => at(split, 'annotations', `moments_${split}.json`);
const onCpu = ['--device', 'cpu', '--threads', '1'];

async function done(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(args);
  expect(status, stderr).toBe(0);
  return stdout;
}

interface Clip {
  readonly clip_uid: string;
  readonly video_end_sec: number;
}

async function clipsOf(split: string): Promise<Clip[]> {
  const { videos } = JSON.parse(await readFile(annotations(split), 'utf8')) as { videos: { clips: Clip[] }[] };
  return videos.flatMap(({ clips }) => clips);
}

const training = (...more: string[]): string[] => [
  ...['train', 'mq', '--features', at('features', 'train'), '--gt', annotations('train')],
  ...['--val', annotations('train'), ...onCpu, '--seed', '3', ...more],
];

beforeAll(async () => {
  for (const [split, seed] of [
    ['train', '5'],
    ['val', '6'],
  ] as const) {
    await done(
      ...['synth', at(split), '--split', split, '--seed', seed],
      ...['--clips', '3', '--seconds', '15', '--size', '96x72'],
    );
    await done('extract', '--ego4d', at(split), '--task', 'mq', '-o', at('features', split), ...onCpu);
  }
  await done(...training('-o', at('run'), '--epochs', '6', '--batch', '1'));
});

test('a run gives a record an epoch with the official metrics, and a head folder that is whole', async () => {
  const log = (await readFile(at('run', 'log.ndjson'), 'utf8')).trim().split('\n');
  const scored = log.map((line) => JSON.parse(line) as Row).filter(({ metrics }) => metrics !== undefined);
  expect(scored.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(Object.keys(scored[0]!['metrics'] as object)).toEqual(['average_map', 'map_at_0_5', 'recall_1x_at_0_5']);
  const verified = await records(await done('models', 'verify', at('run', 'final'), '--device', 'cpu'));
  expect(verified).toMatchObject([{ ok: true }]);
  expect(leftovers(at('run'))).toEqual([]);
});

test('moments of the clips of a split go through submit, validate and eval', async () => {
  const head = ['--head', at('run', 'final'), ...onCpu];
  const pred = at('mq.ndjson');
  await done(
    ...['moments', '--ego4d', at('val'), '--split', 'val', '--features', at('features', 'val')],
    ...head,
    '-o',
    pred,
  );
  const rows = await records(await readFile(pred, 'utf8'));
  const clips = await clipsOf('val');
  expect(new Set(rows.map((row) => row['clip_uid']))).toEqual(new Set(clips.map(({ clip_uid: uid }) => uid)));
  const length = Math.max(...clips.map(({ video_end_sec: end }) => end));
  for (const row of rows) {
    expect(row).toMatchObject({
      schema: 'egolens.moment/1',
      of: { kind: 'clip' },
      clip_uid: (row['of'] as Row)['uid'],
    });
    expect(row['clock']).not.toBeNull();
    expect(Number(row['start'])).toBeGreaterThanOrEqual(0);
    expect(Number(row['start'])).toBeLessThan(Number(row['end']));
    expect(Number(row['end'])).toBeLessThanOrEqual(length);
  }
  const again = await done('moments', '--clips', annotations('val'), '--features', at('features', 'val'), ...head);
  expect(again).toBe(await readFile(pred, 'utf8'));
  const submission = at('submission.json');
  await done('submit', 'mq', '--pred', pred, '--test', annotations('val'), '-o', submission);
  await done('validate', 'submission', submission, '--task', 'mq', '--against', annotations('val'));
  const scores = await records(await done('eval', 'mq', '--gt', annotations('val'), '--pred', submission));
  expect(scores[0]).toMatchObject({ metric: 'Average mAP' });
});

test('the score of the best checkpoint is the one that eval gives for the final head', async () => {
  const pred = at('train.ndjson');
  await done(
    ...['moments', '--clips', annotations('train'), '--features', at('features', 'train')],
    ...['--head', at('run', 'final'), ...onCpu, '-o', pred],
  );
  const [first] = await records(await done('eval', 'mq', '--gt', annotations('train'), '--pred', pred));
  const log = (await readFile(at('run', 'log.ndjson'), 'utf8')).trim().split('\n');
  const maps = log.flatMap(
    (line) => (JSON.parse(line) as { metrics?: { average_map: number } }).metrics?.average_map ?? [],
  );
  expect(Number(first!['value'])).toBeCloseTo(Math.max(...maps), 4);
});

test('own videos: seconds of the file, no clip; features come from the cache, cues hold one video', async () => {
  const clip = join(at('val', 'videos'), `${(await videosOf('val'))[0]!}.mp4`);
  const ask = ['moments', clip, '--head', at('run', 'final'), ...onCpu, '--top', '3'];
  const rows = await records(await done(...ask));
  expect(rows).toHaveLength(3);
  for (const row of rows) expect(row).toMatchObject({ clip_uid: null, of: { kind: 'file' }, input: clip });
  expect(await done(...ask, '--format', 'srt')).toMatch(/^1\n00:00:\d\d,\d{3} --> /);
});

async function videosOf(split: string): Promise<string[]> {
  const { videos } = JSON.parse(await readFile(annotations(split), 'utf8')) as { videos: { video_uid: string }[] };
  return videos.map(({ video_uid: uid }) => uid);
}
