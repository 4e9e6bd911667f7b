import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { actionFormerFeeds, actionFormerMethod } from '../../heads/actionformer-feeds.js';
import { headOf } from '../../heads/index.js';
import { writeNpy } from '../checkpoint/npy.js';
import { Float } from '../json.js';
import { seededRandom } from '../random.js';
import { tensor } from '../tensor.js';
import type { Progress } from '../types.js';
import { readDocument } from './documents.js';
import { momentRecord, momentSchema } from './moment-task.js';
import { clipStretches, oneByOne, predict, type PredictedStretch, type PredictionRun } from './predict.js';
import { featureSet, openHead } from './recognize-head.js';
import { trainHead, type TrainedHead } from './train-head.js';
import { prepareMoments, type MomentTraining } from './train-moments.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-moments-'));
  await mkdir(join(folder, 'features'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const silent: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};
const classes = ['cut', 'pour'];
const width = 4;

/** Two clips of 16 s as features of their own on Ego4D's grid: noise, and within a moment the column of its class. */
async function makeSplit(split: string): Promise<string> {
  const videos = await Promise.all(
    [1, 2].map(async (number) => {
      const random = seededRandom(number, split);
      const data = Float32Array.from({ length: 30 * width }, () => 0.1 * random.normal());
      const labels = [1, 9].map((from, i) => {
        const [start, label] = [from + random.uniform(), classes[(i + number) % 2]!];
        for (let row = 0; row < 30; row++) {
          const middle = (16 * (row + 1)) / 30;
          if (middle > start && middle < start + 4) data[row * width + classes.indexOf(label)]! += 2;
        }
        const frames = { video_start_frame: Math.round(30 * start), video_end_frame: Math.round(30 * (start + 4)) };
        const times = { start_time: start, end_time: start + 4, video_start_time: start, video_end_time: start + 4 };
        return { label, primary: true, ...times, ...frames };
      });
      const uid = `${split}-${number}`;
      await writeFile(join(folder, 'features', `${uid}.npy`), writeNpy(tensor('float32', [30, width], data)));
      const place = { video_start_sec: 0, video_end_sec: 16, video_start_frame: 0, video_end_frame: 480 };
      return { video_uid: `video-${uid}`, split, clips: [{ clip_uid: uid, ...place, annotations: [{ labels }] }] };
    }),
  );
  const path = join(folder, `moments_${split}.json`);
  await writeFile(path, JSON.stringify({ version: '1.0', videos }));
  return path;
}

async function options(): Promise<MomentTraining> {
  return {
    gt: await makeSplit('train'),
    val: await makeSplit('val'),
    features: join(folder, 'features'),
    folder: join(folder, 'run'),
    method: actionFormerMethod,
    // The evaluators are above this room; how many records there are is enough here.
    score: (_, records) => ({ count: records.length }),
    metrics: ['count'],
    ...{ epochs: 2, batch: 2, rate: 1e-3, accumulate: 1, weightDecay: 0.05, smoothing: 0, seed: 1 },
    resume: 'no',
    ...{ skipMissing: false, forceFeatures: false, reading: { clock: 'ego4d-grid' } },
    ...{ device: 'cpu', threads: 1, isDeterministic: true },
    signal: new AbortController().signal,
    progress: silent,
  };
}

async function trained(given: MomentTraining): Promise<TrainedHead> {
  return await trainHead(given, await prepareMoments(given));
}

test('a run ends in a head folder that gives moments of clips, within them and by falling score', async () => {
  const given = await options();
  const { head, ended, scores } = await trained(given);
  expect([ended, head?.manifest.head?.task]).toEqual(['done', 'mq']);
  const log = (await readFile(join(folder, 'run', 'log.ndjson'), 'utf8')).trim().split('\n');
  expect(log).toHaveLength(2);
  const opened = await openHead(join(folder, 'run', 'final'), headOf, 'mq');
  expect(opened.folder.labels).toEqual({ label: ['cut', 'pour'] });
  const set = await featureSet(given.features);
  const shared = { reading: { clock: 'ego4d-grid' }, signal: given.signal, progress: silent } as const;
  const { stretches, missing } = await clipStretches(await readDocument(given.val), set, shared);
  expect([stretches.length, missing]).toEqual([2, []]);
  const run: PredictionRun = { ...opened, ...shared, top: Infinity, minScore: 0, forceFeatures: false, device: 'cpu' };
  const task = {
    schema: momentSchema,
    options: {},
    queries: () => [undefined],
    feeds: oneByOne((one, rows) => actionFormerFeeds(one, [rows])),
    record: momentRecord,
  };
  const found: PredictedStretch[] = [];
  for await (const one of predict(stretches, task, run)) found.push(one);
  const records = found.flatMap((one) => one.records);
  // The same predictions as those of the scoring of the run, but for rounding at the thresholds.
  expect(Math.abs(records.length - scores['count']!)).toBeLessThanOrEqual(2);
  expect(records.length).toBeGreaterThan(0);
  const { clock, ...first } = records[0]!;
  expect(clock).toMatchObject({ rate: '30/1', hop: 16 });
  expect(first).toMatchObject({
    schema: 'egolens.moment/1',
    id: 'val-1#0',
    model: head!.id,
    encoder: null,
    of: { kind: 'clip', uid: 'val-1' },
    clip_uid: 'val-1',
  });
  const numbers = records.map(({ start, end }) => [start, end].map((one) => (one instanceof Float ? one.value : NaN)));
  for (const [start, end] of numbers) {
    expect(start).toBeGreaterThanOrEqual(0);
    expect(start).toBeLessThan(end!);
    expect(end).toBeLessThanOrEqual(16);
  }
  const top: PredictedStretch[] = [];
  for await (const one of predict(stretches, task, { ...run, top: 1 })) top.push(one);
  expect(top.map((one) => one.records.length)).toEqual([1, 1]);
});

test('a run that is stopped while it is scored ends with that score, and saved', async () => {
  const stop = new AbortController();
  const method: MomentTraining['method'] = {
    ...actionFormerMethod,
    feeds(...given) {
      stop.abort();
      return actionFormerMethod.feeds(...given);
    },
  };
  const { ended, step, best } = await trained({ ...(await options()), batch: 1, method, signal: stop.signal });
  expect([ended, step, best?.step]).toEqual(['interrupted', 2, 2]);
});

test('a metric that there is not, and clips without features, are refused before the first step', async () => {
  const given = await options();
  await expect(trained({ ...given, metric: 'map' })).rejects.toThrow('--early-stop map: expected one of count');
  await rm(join(folder, 'features', 'val-2.npy'));
  await expect(trained(given)).rejects.toThrow('1 of 2 clips have no features');
});
