import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { packageRoot } from '../files.js';
import { openModelFolder } from '../models/folder.js';
import { readPreset } from '../models/presets.js';
import type { Preset } from '../types.js';
import { adjustPreset } from './adjust-preset.js';
import { encodeVideo } from './encode-video.js';
import { listInputs } from './inputs.js';
import { openModelSession } from './probe.js';
import { openVideo } from '../video/probe.js';
import { recognizeDefaults, type RecognizeFlags } from './recognize-options.js';
import { recognize, type LabelRecord, type RecognizeSummary } from './recognize.js';
import { makeSeededModel } from './seeded-model.js';
import { classVectors } from './text-encoder.js';
import { makeToyTwoTower } from '../../test/toy-two-tower.js';

/** What `recognize` says is held against the model's own outputs and arithmetic written out here. */

const base = mkdtempSync(join(tmpdir(), 'egolens-recognize-'));
const video = join(packageRoot, 'fixtures', 'videos', 'demo.mp4');
const at = (name: string): string => join(base, name);
const nano = readPreset('nano-16x2');
const classifier = {
  img_size: 32,
  patch_size: 16,
  all_frames: 4,
  embed_dim: 24,
  depth: 1,
  num_heads: 2,
  num_classes: 5,
};
const small: Preset = {
  ...nano,
  sampling: { ...nano.sampling, frames: 4, hop: 16 },
  pixels: { ...nano.pixels, size: 32 },
};

beforeAll(async () => {
  vi.stubEnv('EGOLENS_CACHE_DIR', at('cache'));
  await makeSeededModel(at('classifier'), { name: 'classifier', config: classifier, preset: small, seed: 2 });
  await makeToyTwoTower(at('clip'), 'clip');
  await makeToyTwoTower(at('viclip'), 'viclip');
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(base, { recursive: true, force: true });
});

const plain: RecognizeFlags = {
  zeroShot: false,
  per: 'video',
  merge: false,
  topDefault: 5,
  stream: '0',
  device: 'cpu',
  threads: 1,
  jobs: 1,
  decodeErrors: 'ignore',
};

interface Result {
  readonly records: readonly LabelRecord[];
  readonly summary: RecognizeSummary;
  readonly warned: readonly string[];
}

async function recognized(flags: Partial<RecognizeFlags>): Promise<Result> {
  const warned: string[] = [];
  await using inputs = await listInputs([video]);
  const run = recognize(inputs.items, {
    ...(await recognizeDefaults({ ...plain, ...flags })),
    strict: false,
    onError: 'skip',
    signal: new AbortController().signal,
    progress: {
      start: () => ({ advance: () => undefined, stop: () => undefined }),
      note: () => undefined,
      warn: (code) => warned.push(code),
    },
  });
  const records: LabelRecord[] = [];
  let next = await run.next();
  for (; next.done !== true; next = await run.next()) {
    if (next.value.kind === 'failed') throw new Error(`${next.value.error.code}: ${next.value.error.message}`);
    if (next.value.kind === 'done') records.push(...next.value.video.records);
  }
  return { records, summary: next.value, warned };
}

const known = new Map<string, Promise<number[][]>>();
/** Rows of an output over the windows of a preset; computed once. */
function rowsOf(name: string, preset: Preset, output: string): Promise<number[][]> {
  const key = JSON.stringify([name, preset, output]);
  const rows = known.get(key) ?? encoded(name, preset, output);
  known.set(key, rows);
  return rows;
}

async function encoded(name: string, preset: Preset, output: string): Promise<number[][]> {
  const model = await openModelFolder(at(name));
  await using session = await openModelSession(model, { device: 'cpu', threads: 1 });
  const rows: number[][] = [];
  await encodeVideo(await openVideo(video, {}), {
    session,
    preset,
    output,
    level: 'clip',
    batch: 1,
    limits: {},
    write({ shape, data }) {
      const width = data.length / shape[0]!;
      for (let i = 0; i < data.length; i += width) rows.push([...data.subarray(i, i + width)]);
      return Promise.resolve();
    },
  });
  return rows;
}

function shares(logits: readonly number[]): number[] {
  const powers = logits.map((value) => Math.exp(value));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}
function means(rows: readonly (readonly number[])[]): number[] {
  return rows[0]!.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0) / rows.length);
}
/** Scores by class number. */
function scoresOf(records: readonly LabelRecord[]): number[] {
  return [...records].sort((a, b) => a.label_id - b.label_id).map(({ score }) => score.value);
}
const close = (values: readonly number[], digits = 6): unknown[] =>
  values.map((value) => expect.closeTo(value, digits) as unknown);

describe('a classifier', () => {
  test('per video: every window is a view, and the preset says how views become one', async () => {
    const rows = await rowsOf('classifier', small, 'logits');
    expect(rows.length).toBeGreaterThan(5);
    const { records, summary, warned } = await recognized({ model: at('classifier'), labels: 'none' });
    expect(scoresOf(records)).toEqual(close(means(rows.map(shares))));
    expect(records.map(({ logit }) => logit.value)).toEqual(
      close(
        records.map(({ label_id }) => means(rows)[label_id]!),
        5,
      ),
    );
    expect(records.map(({ score }) => score.value)).toEqual([...scoresOf(records)].sort((a, b) => b - a));
    expect(records[0]).toMatchObject({ id: 'demo', label: `class ${records[0]!.label_id}`, of: { kind: 'file' } });
    expect(new Set(records.map(({ start, end }) => `${start.value} ${end.value}`))).toEqual(new Set(['0 9']));
    expect(summary).toMatchObject({ done: 1, failed: 0, rows: rows.length, records: 5, exit: 0 });
    expect(warned).toEqual(['model.untrained']);
  });

  test('per video with fusion logit-mean: the softmax of the mean logits', async () => {
    const preset: Preset = { ...small, name: 'mean', sampling: { ...small.sampling, fusion: 'logit-mean' } };
    await makeSeededModel(at('logit-mean'), { name: 'classifier', config: classifier, preset, seed: 2 });
    const rows = await rowsOf('classifier', small, 'logits');
    const { records } = await recognized({ model: at('logit-mean'), labels: 'none' });
    expect(scoresOf(records)).toEqual(close(shares(means(rows))));
  });

  test('per video with --views: clips x crops', async () => {
    const rows = await rowsOf('classifier', adjustPreset(small, { views: '2x3' }), 'logits');
    expect(rows).toHaveLength(6);
    const { records } = await recognized({ model: at('classifier'), labels: 'none', views: '2x3' });
    expect(scoresOf(records)).toEqual(close(means(rows.map(shares))));
  });

  test('per window: the labels of each, with its times; three crops are views of one window', async () => {
    const rows = await rowsOf('classifier', small, 'logits');
    const { records } = await recognized({ model: at('classifier'), labels: 'none', per: 'window' });
    expect(records).toHaveLength(rows.length * 5);
    rows.forEach((row, i) =>
      expect(scoresOf(records.filter(({ id }) => id === `demo#${i}`))).toEqual(close(shares(row))),
    );
    expect(records[5]).toMatchObject({ id: 'demo#1', start: { value: 16 / 30 }, end: { value: 23 / 30 } });
    const three = await rowsOf('classifier', adjustPreset(small, { views: '1x3' }), 'logits');
    const cropped = await recognized({ model: at('classifier'), labels: 'none', per: 'window', views: '1x3' });
    expect(three).toHaveLength(rows.length * 3);
    expect(scoresOf(cropped.records.slice(5, 10))).toEqual(close(means(three.slice(3, 6).map(shares))));
  });

  test('batches of windows and several jobs change nothing but the last bits', async () => {
    const one = await recognized({ model: at('classifier'), labels: 'none', per: 'window' });
    const eight = await recognized({ model: at('classifier'), labels: 'none', per: 'window', batch: 8 });
    expect(eight.records.map(({ id, label }) => [id, label])).toEqual(one.records.map(({ id, label }) => [id, label]));
    expect(eight.records.map(({ score }) => score.value)).toEqual(close(one.records.map(({ score }) => score.value)));
  });

  test('--min-score leaves labels out before --merge joins what is left', async () => {
    const every = (await recognized({ model: at('classifier'), labels: 'none', per: 'window' })).records;
    const windows = every.filter((_, i) => i % 5 === 0);
    const all = (await recognized({ model: at('classifier'), labels: 'none', per: 'window', merge: true })).records;
    expect(all.length).toBeLessThan(windows.length);
    expect(all.map(({ id }) => id)).toEqual(all.map((_, i) => `demo#${i}`));
    for (let i = 1; i < all.length; i++) expect(all[i]!.start.value).toBeGreaterThanOrEqual(all[i - 1]!.end.value);
    const least = windows.map(({ score }) => score.value).sort((a, b) => a - b)[Math.floor(windows.length / 2)]!;
    const few = await recognized({
      model: at('classifier'),
      labels: 'none',
      per: 'window',
      top: 1,
      minScore: String(least),
    });
    expect(few.records).toEqual(windows.filter(({ score }) => score.value >= least));
  });
});

describe('texts as classes', () => {
  const names = ['cut it', 'wash_up', 'read'];
  const templates = ['a {}', '{}'];
  const flags = { class: names, template: templates };
  const unit = (row: readonly number[]): number[] => row.map((value) => value / Math.hypot(...row));

  async function logitsOf(name: string, vector: readonly number[]): Promise<number[]> {
    const model = await openModelFolder(at(name));
    const { vectors, scale } = await classVectors(model, { device: 'cpu', classes: names, templates });
    return names.map((_, c) =>
      unit(vector).reduce((sum, value, i) => sum + scale * value * vectors.data[c * 16 + i]!, 0),
    );
  }

  test('a video model: softmax over the classes of scale x cosine, the names as they were given', async () => {
    const rows = await rowsOf('viclip', (await openModelFolder(at('viclip'))).preset, 'video_embed');
    expect(rows).toHaveLength(1);
    const { records } = await recognized({ model: at('viclip'), ...flags });
    const logits = await logitsOf('viclip', rows[0]!);
    expect(scoresOf(records)).toEqual(close(shares(logits), 5));
    expect(records.map(({ logit }) => logit.value)).toEqual(
      close(
        records.map(({ label_id }) => logits[label_id]!),
        4,
      ),
    );
    for (const { label, label_id } of records) expect(label).toBe(names[label_id]);
  });

  test('several windows: probabilities are averaged', async () => {
    const changes = { stride: '4', window: '2s', fps: '10', tail: 'pad' } as const;
    const { sampling, ...rest } = (await openModelFolder(at('viclip'))).preset;
    const preset = adjustPreset({ ...rest, sampling: { ...sampling, plan: 'dense' } }, changes);
    const rows = await rowsOf('viclip', preset, 'video_embed');
    const perWindow = await Promise.all(rows.map(async (row) => shares(await logitsOf('viclip', row))));
    const windows = (await recognized({ model: at('viclip'), ...flags, per: 'window', ...changes })).records;
    expect(windows).toHaveLength(rows.length * 3);
    expect(scoresOf(windows.slice(3, 6))).toEqual(close(perWindow[1]!, 5));
    const views = (await recognized({ model: at('viclip'), ...flags, views: '1x3' })).records;
    const cropped = adjustPreset({ ...rest, sampling }, { views: '1x3' });
    const three = await rowsOf('viclip', cropped, 'video_embed');
    expect(three).toHaveLength(3);
    const scores = await Promise.all(three.map(async (row) => shares(await logitsOf('viclip', row))));
    expect(scoresOf(views)).toEqual(close(means(scores), 5));
  });

  test('a model of single pictures: raw vectors of the frames are averaged, then compared', async () => {
    const { preset } = await openModelFolder(at('clip'));
    const frames = await rowsOf(
      'clip',
      { ...preset, sampling: { ...preset.sampling, rate: { num: 4, den: 1 } } },
      'image_embed',
    );
    const windows = (await recognized({ model: at('clip'), ...flags, per: 'window', frames: 6 })).records;
    expect(windows[0]).toMatchObject({ start: { value: 0 }, end: { value: 1.5 } });
    for (const i of [0, 1, 5]) {
      const logits = await logitsOf('clip', means(frames.slice(6 * i, 6 * i + 6)));
      expect(scoresOf(windows.filter(({ id }) => id === `demo#${i}`))).toEqual(close(shares(logits), 5));
    }
    const middles = await rowsOf(
      'clip',
      { ...preset, sampling: { ...preset.sampling, plan: 'segments', rate: 'source', views: [3, 1] } },
      'image_embed',
    );
    // One frame and three views of it are the middles of thirds, as are three frames of one view.
    const whole = (await recognized({ model: at('clip'), ...flags, frames: 3 })).records;
    expect(middles).toHaveLength(3);
    expect(scoresOf(whole)).toEqual(close(shares(await logitsOf('clip', means(middles))), 5));
  });

  test.each([
    ['a class given twice', { class: ['cut', 'wash', 'CUT'] }, 'data.invalid', /--class.*number 3.*number 1/],
    ['a blank class', { class: ['cut', '  '] }, 'data.invalid', /--class.*number 2/],
    ['a template without a place', { class: ['cut'], template: ['a video'] }, 'data.invalid', /--template.*`\{\}`/],
    ['no classes', { zeroShot: true }, 'usage.flag', /no classes/],
    ['templates without texts', { labels: 'k400', template: ['{}'] }, 'usage.conflict', /--template/],
    ['a list that could mean both', { labels: 'k400', class: ['cut'] }, 'usage.conflict', /--labels/],
    ['a class file that is not there', { classFile: '/nowhere/at-all' }, 'input.not_found', /nowhere/],
    ['merged windows of a whole video', { merge: true }, 'usage.conflict', /--merge/],
    [
      'merged windows with several labels',
      { merge: true, per: 'window' as const, top: 2 },
      'usage.conflict',
      /--top 2/,
    ],
    ['a score above 1', { minScore: '2' }, 'usage.flag', /`2`/],
    ['a score that is no number', { minScore: 'high' }, 'usage.flag', /`high`/],
  ])('%s is refused', async (_, wrong, code, message) => {
    await expect(recognizeDefaults({ ...plain, ...wrong })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as unknown,
    });
  });

  test('a list of the program serves as texts with --zero-shot', async () => {
    const { classes } = await recognizeDefaults({
      ...plain,
      zeroShot: true,
      labels: 'ssv2',
      templateFile: 'narrations',
    });
    expect(classes).toMatchObject({ kind: 'zero-shot', templates: expect.arrayContaining(['#C C {}']) as unknown });
    expect(classes.kind === 'zero-shot' && classes.names).toHaveLength(174);
  });

  test('a model without a text tower is refused', async () => {
    await expect(recognized({ model: at('classifier'), class: ['cut'] })).rejects.toMatchObject({
      code: 'model.incomplete',
      message: expect.stringContaining('no text tower') as unknown,
    });
  });
});

test('both streams of a coordinated model see the same windows', async () => {
  const masked = { img_size: 32, patch_size: 16, num_classes: 9, embed_dim: 36, depth: 4, num_heads: 3, all_frames: 4 };
  const multimodal = {
    input_resolution: 32,
    patch_size: 16,
    width: 32,
    layers: 3,
    heads: 2,
    output_dim: 16,
    t_size: 4,
    temporal_downsample: false,
    no_lmhra: true,
    return_list: [1, 2],
    n_layers: 2,
    n_dim: 32,
    n_head: 2,
    mlp_dropout: [0.5, 0.5],
    num_classes: 9,
  };
  const config = { masked, multimodal, after_blocks: [1, 3], heads_masked: 3, heads_multimodal: 2 };
  await makeSeededModel(at('both'), { name: 'both', arch: 'cross-model-attention', config, preset: small, seed: 1 });
  const { records } = await recognized({ model: at('both'), labels: 'none', per: 'window', top: 9, batch: 2 });
  expect(new Set(records.map(({ id }) => id)).size).toBeGreaterThan(5);
  expect(records.slice(0, 9).reduce((sum, { score }) => sum + score.value, 0)).toBeCloseTo(1, 9);
});
