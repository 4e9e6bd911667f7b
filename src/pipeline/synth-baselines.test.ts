import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { challengeOf, challenges } from '../../benchmarks/index.js';
import { best, challengeTasks, type ChallengeTask } from '../../test/cli/truth-records.js';
import { findings, loadValidator } from '../check.js';
import { makeFolder } from '../files.js';
import { jsonPieces } from '../json-pieces.js';
import { parseJson } from '../json-reader.js';
import type { Progress } from '../types.js';
import { dataSetFiles, splitFiles } from '../world/annotations.js';
import { clipsOf, type SetRequest } from '../world/data-set.js';
import { splits } from '../world/scene.js';
import { partOf } from './annotation-part.js';
import { recognitionFiles } from './recognition-baseline.js';
import { synthBaselines, type BaselineOptions, type BaselineRecord } from './synth-baselines.js';
import { writeJsonFile } from './write-json.js';

const notes: string[] = [];
const progress: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: (text) => void notes.push(text),
  warn: (code, text) => void notes.push(`${code}: ${text}`),
};
const options: BaselineOptions = {
  ...{ split: 'val', all: false, challengeOf, progress, signal: new AbortController().signal },
};
const sets = splits.map((split): SetRequest => ({
  ...{ split, clips: 2, seconds: 110, seed: 21, fps: 30, difficulty: 1, width: 320, height: 240 },
}));
const testClips = clipsOf(sets[2]!); // three splits
const parts = ['all', 'seen', 'compositional'] as const;

let path: string;
const rows: BaselineRecord[] = [];
beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), 'egolens baselines '));
  await makeFolder(join(path, 'annotations'));
  for (const files of [...sets.map((set) => splitFiles(set.split, clipsOf(set))), dataSetFiles(sets)]) {
    for (const [name, content] of files) await writeJsonFile(join(path, 'annotations', name), content);
  }
  rows.push(...(await rowsOf(path, { split: 'val' })), ...(await rowsOf(path, { split: 'test', all: true })));
});
afterAll(() => rm(path, { recursive: true, force: true }));

/** Records as they are printed. */
async function rowsOf(folder: string, change: Partial<BaselineOptions>): Promise<BaselineRecord[]> {
  const found: BaselineRecord[] = [];
  for await (const row of synthBaselines(folder, { ...options, ...change })) {
    found.push(JSON.parse([...jsonPieces(row)].join('')) as BaselineRecord);
  }
  return found;
}

const primaryOf = (split: string, part: string): BaselineRecord[] =>
  rows.filter((row) => row['split'] === split && row['part'] === part && row['primary'] === true);
const valueOf = (part: string, metric: string): number =>
  Number(rows.find((row) => row['part'] === part && row['metric'] === metric && row['split'] === 'test')?.['blind']);

const scored: readonly (readonly [split: string, part: string])[] = [
  ['val', 'all'],
  ...parts.map((part) => ['test', part] as const),
];
test.each(scored)('the truth of every track of %s (%s) scores the best number there is', async (split, part) => {
  const validator = await loadValidator('egolens.baseline/1');
  const own = primaryOf(split, part);
  expect(own.map((row) => row['task'])).toEqual([...challengeTasks, 'recognition', 'recognition']);
  for (const row of own) {
    expect(findings(validator, row)).toEqual([]);
    if (row['task'] === 'recognition') {
      expect(row).toMatchObject({ ceiling: 1, priors: 'train' });
      continue;
    }
    const [metric, value] = best[row['task'] as ChallengeTask];
    expect(row['metric']).toBe(metric);
    // SCOD's code adds an epsilon to a denominator; hands are sums of 30 views, divided again.
    expect(row['ceiling'], `${split} ${part} ${metric}`).toBeCloseTo(value, 9);
  }
});

test('the blind guess is far from the truth, in every part', () => {
  for (const { task, metric, part, blind, ceiling } of rows.filter((row) => row['primary'] === true)) {
    const { higherIsBetter } = challenges.find((one) => one.task === task)!.primary;
    const gap = Number(ceiling) - Number(blind);
    expect(higherIsBetter ? gap / Number(ceiling) : -gap, JSON.stringify({ metric, part })).toBeGreaterThan(0.3);
  }
});

test('only a split with compositional clips is scored in parts', () => {
  expect(new Set(rows.filter((row) => row['split'] === 'val').map((row) => row['part']))).toEqual(new Set(['all']));
  expect(new Set(rows.filter((row) => row['split'] === 'test').map((row) => row['part']))).toEqual(new Set(parts));
});

test('the parts make up the whole: a mean over actions is theirs, weighted by their actions', () => {
  const count = (isOdd: boolean): number =>
    testClips
      .filter(({ scene }) => scene.isCompositional === isOdd)
      .reduce((sum, { scene }) => sum + scene.actions.length, 0);
  const [seen, compositional] = [count(false), count(true)];
  for (const metric of ['verb top1', 'noun top1', 'verb top5', 'noun top5']) {
    const whole =
      (seen * valueOf('seen', metric) + compositional * valueOf('compositional', metric)) / (seen + compositional);
    expect(valueOf('all', metric), metric).toBeCloseTo(whole, 12);
  }
  const values = (part: string) => primaryOf('test', part).map((row) => row['blind']);
  expect(values('seen')).not.toEqual(values('compositional'));
});

test('the blind recognition is the share of the label that is most frequent in training', () => {
  const counted = (clips: typeof testClips): Map<string, number> => {
    const counts = new Map<string, number>();
    for (const { scene } of clips) for (const { verb } of scene.actions) counts.set(verb, (counts.get(verb) ?? 0) + 1);
    return counts;
  };
  const ordered = [...counted(clipsOf(sets[0]!))].sort((p, q) => q[1] - p[1]).map(([verb]) => verb);
  const asked = counted(testClips);
  const total = [...asked.values()].reduce((sum, n) => sum + n, 0);
  const within = (k: number): number =>
    ordered.slice(0, k).reduce((sum, verb) => sum + (asked.get(verb) ?? 0), 0) / total;
  expect(valueOf('all', 'verb top1')).toBeCloseTo(within(1), 12);
  expect(valueOf('all', 'verb top5')).toBeCloseTo(within(5), 12);
  // One class is right throughout, the others never.
  expect(valueOf('all', 'verb mean_class_accuracy')).toBeCloseTo(1 / asked.size, 12);
});

test('a label that training never shows is a miss', () => {
  const action = (index: number, verb: number) => ({
    clip_uid: 'c',
    action_idx: index,
    verb_label: verb,
    noun_label: 0,
  });
  const files = recognitionFiles({ clips: [action(0, 1)] }, { clips: [action(0, 1), action(1, 2)] }, 'verb')!;
  expect(files.truth.value).toEqual({ c_0: 1, c_1: 2 });
  expect(files.blind.value).toEqual({ c_0: [1], c_1: [1] });
  expect(files.ceiling.value).toEqual({ c_0: [1], c_1: [2] });
  expect(recognitionFiles({ clips: [] }, { clips: [] }, 'verb')).toBeUndefined();
});

test('a folder without the index of its clips is scored whole, and says so', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'egolens baselines '));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await cp(path, folder, { recursive: true });
  await rm(join(folder, 'annotations', 'tabletop.json'));
  notes.length = 0;
  const found = await rowsOf(folder, { split: 'test' });
  expect(new Set(found.map((row) => row['part']))).toEqual(new Set(['all']));
  expect(notes.join()).toContain('compositional clips are not told apart');
  await writeFile(join(folder, 'annotations', 'tabletop.json'), '{"schema":"egolens.tabletop/1","clips":7}');
  await expect(rowsOf(folder, { split: 'test' })).rejects.toMatchObject({ code: 'data.invalid' });
});

test('a folder without annotations is named', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'egolens baselines '));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await expect(rowsOf(folder, {})).rejects.toMatchObject({ code: 'input.not_found' });
});

test('a part of a file has the items of its videos, under any of their names, and all else as it was', () => {
  const text = JSON.stringify({
    ...{ version: '1.0', info: { videos: 2 }, videos: [{ video_uid: 'a', clips: [1] }, { video_uid: 'b' }] },
    ...{ clips: [{ video_uid: 'b' }, { clip_uid: 'c' }, null], annotations: [{ video_id: 'a' }, { video_id: 'b' }] },
  });
  const whole = parseJson('file', text);
  expect(partOf(whole, new Set(['a'])).value).toEqual({
    ...{ version: '1.0', info: { videos: 2 }, videos: [{ video_uid: 'a', clips: [1] }] },
    ...{ clips: [{ clip_uid: 'c' }, null], annotations: [{ video_id: 'a' }] },
  });
  expect(whole.value).toEqual(JSON.parse(text));
  const list = parseJson('list', '[1]');
  expect(partOf(list, new Set())).toBe(list);
});
