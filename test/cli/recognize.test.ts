import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { readPreset } from '../../src/models/presets.js';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { makeToyTwoTower } from '../toy-two-tower.js';
import { clip, egolens, inShell, temporaryFolder, type CommandEnd } from './command.js';
import { filesBelow, records, type Row } from './program.js';

/** `recognize` as a process: streams, files, formats, exit codes. What its numbers are: src/pipeline/recognize.test.ts. */

const folder = temporaryFolder();
const at = (...names: string[]): string => join(folder, ...names);
const model = at('classifier');
const viclip = at('viclip');
const labels = at('five.json');
const env = { EGOLENS_CACHE_DIR: at('cache') };
const names = ['cut', 'wash', 'read', 'write', 'talk'];
const demo = clip('demo.mp4');
const closed = ['--model', model, '--labels', labels];
const perWindow = [...closed, '--per', 'window'];

const recognize = (...args: string[]): Promise<CommandEnd> =>
  egolens(['recognize', '--device', 'cpu', '--threads', '1', ...args], { env });

beforeAll(async () => {
  const preset = readPreset('nano-16x2');
  const config = { img_size: 32, patch_size: 16, all_frames: 4, embed_dim: 24, depth: 1, num_heads: 2, num_classes: 5 };
  await makeSeededModel(model, {
    name: 'classifier',
    config,
    preset: { ...preset, sampling: { ...preset.sampling, frames: 4 }, pixels: { ...preset.pixels, size: 32 } },
    seed: 2,
  });
  await makeToyTwoTower(viclip, 'viclip');
  const list = { schema: 'egolens.labels/1', name: 'five', version: 1, order: 'ours', labels: names };
  writeFileSync(labels, JSON.stringify(list));
});

test('records of a video: the best five, in the form of egolens.label/1; twice the same bytes', async () => {
  const first = await recognize(demo, ...closed);
  expect(first.code).toBe(0);
  const rows = await records(first.stdout);
  expect(rows.map(({ label_id }) => label_id).sort()).toEqual([0, 1, 2, 3, 4]);
  for (const row of rows) {
    expect(row).toMatchObject({ input: demo, id: 'demo', label: names[row['label_id'] as number], start: 0, end: 9 });
    expect(Object.keys(row)).toEqual([
      'schema',
      'input',
      'id',
      'model',
      'of',
      'start',
      'end',
      'label',
      'label_id',
      'score',
      'logit',
    ]);
  }
  expect(first.stderr).toContain('warning model.untrained');
  expect(first.stderr).toContain('1 done; 5 labels');
  const second = await recognize(demo, ...closed, '-q');
  expect([second.stdout, second.stderr]).toEqual([first.stdout, '']);
});

test('broken videos among good ones are reported, the others go on: 3; only broken ones: 4', async () => {
  const errors = at('bad.ndjson');
  const summary = at('run.json');
  const some = [clip('text.mp4'), clip('rotated.mp4'), clip('nowhere.mp4'), demo];
  const mixed = await recognize(...some, ...closed, '--top', '1', '--errors', errors, '--summary', summary);
  expect(mixed.code).toBe(3);
  expect((await records(mixed.stdout)).map(({ id }) => id)).toEqual(['rotated', 'demo']);
  expect((await records(readFileSync(errors, 'utf8'))).map(({ code }) => code)).toEqual([
    'input.not_a_video',
    'input.not_found',
  ]);
  expect((await records(JSON.stringify(JSON.parse(readFileSync(summary, 'utf8')))))[0]).toMatchObject({
    done: 2,
    failed: 2,
    records: 2,
    exit: 3,
  });
  expect(await recognize(clip('text.mp4'), ...closed)).toMatchObject({ code: 4, stdout: '' });
  const stopped = await recognize(clip('text.mp4'), demo, ...closed, '--on-error', 'stop');
  expect(stopped).toMatchObject({ code: 4, stdout: '' });
});

describe('windows', () => {
  let windows: Row[];
  beforeAll(async () => {
    windows = await records((await recognize(demo, ...perWindow, '--top', '1')).stdout);
  });

  test('one record a window, ids counted from 0, times as extract gives them', async () => {
    expect(windows.map(({ id }) => id)).toEqual(windows.map((_, i) => `demo#${i}`));
    const some = await records((await recognize(demo, ...perWindow, '--stride', '2s', '--tail', 'drop')).stdout);
    expect(some.filter((_, i) => i % 5 === 0).map(({ start }) => start)).toEqual([0, 2, 4, 6, 8]);
    const part = await records((await recognize(demo, ...perWindow, '--start', '4', '--end', '6')).stdout);
    expect(part[0]).toMatchObject({ start: 4 });
    expect(Math.max(...part.map(({ end }) => end as number))).toBeLessThanOrEqual(6);
  });

  test('merged segments follow on each other and begin and end with the windows', async () => {
    const segments = await records((await recognize(demo, ...perWindow, '--merge')).stdout);
    expect(segments.length).toBeLessThan(windows.length);
    expect([segments[0]!['start'], segments.at(-1)!['end']]).toEqual([windows[0]!['start'], windows.at(-1)!['end']]);
    segments.slice(1).forEach((segment, i) => expect(segment['label']).not.toBe(segments[i]!['label']));
  });

  test('srt has a cue a window; the times of a stream that begins late count from the container', async () => {
    const { stdout } = await recognize(demo, ...perWindow, '-f', 'srt');
    expect(stdout.match(/ --> /g)).toHaveLength(windows.length);
    expect(stdout).toMatch(/^1\n00:00:00,000 --> 00:00:00,233\n\w+ \(0\.\d\d\)\n\n2\n00:00:00,533 -->/);
    const late = clip('late-start.mkv');
    const srt = await recognize(late, ...perWindow, '-f', 'srt');
    const [record] = await records((await recognize(late, ...perWindow, '--ndjson')).stdout);
    expect(record).toMatchObject({ start: 0 });
    expect(srt.stdout.slice(0, 40)).not.toContain('00:00:00,000 -->');
  });

  test('a folder gets a subtitle file a video', async () => {
    const out = at('subtitles');
    const { code, stdout } = await recognize(
      demo,
      clip('rotated.mp4'),
      ...perWindow,
      '--merge',
      '-f',
      'vtt',
      '-o',
      out,
    );
    expect([code, stdout]).toEqual([0, '']);
    expect(Object.keys(filesBelow(out))).toEqual([
      'demo.recognition.vtt',
      'demo.recognition.vtt.meta.json',
      'rotated.recognition.vtt',
      'rotated.recognition.vtt.meta.json',
    ]);
    expect(readFileSync(join(out, 'demo.recognition.vtt'), 'utf8')).toMatch(/^WEBVTT\n\n00:00:00\.000 --> /);
  });

  test.each([
    ['subtitles of two videos', [demo, demo, ...perWindow, '-f', 'srt'], /-o DIR/],
    ['one file for two videos', [demo, demo, ...closed, '-o', 'x.ndjson'], /-o DIR/],
    ['views of a window', [demo, ...perWindow, '--views', '2x1'], /--per window slides/],
  ])('%s: 2, and nothing is written', async (_, args, message) => {
    const { code, stdout, stderr } = await recognize(...args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });
});

describe('-o', () => {
  test('a file is kept while nothing changes, made anew when the flags do, and never takes the place of another', async () => {
    const file = at('demo labels.csv');
    const run = async (...more: string[]): Promise<[number | null, string]> => {
      const { code, stderr } = await recognize(demo, ...closed, '-o', file, ...more);
      return [code, stderr.trim().split('\n').at(-1)!];
    };
    expect(await run()).toEqual([0, '1 done; 5 labels']);
    const text = readFileSync(file, 'utf8');
    expect(text).toMatch(/^input,id,start,end,label,label_id,score,logit\n/);
    const meta = JSON.parse(readFileSync(`${file}.meta.json`, 'utf8')) as Row;
    expect((await records(JSON.stringify(meta)))[0]).toMatchObject({ records: 5, input: { name: 'demo.mp4' } });
    expect(await run()).toEqual([0, '1 kept; 0 labels']);
    expect(await run('--top', '2')).toEqual([0, '1 done; 2 labels']);
    expect(await run('--force')).toEqual([0, '1 done; 5 labels']);
    expect(readFileSync(file, 'utf8')).toBe(text);
    writeFileSync(file, 'mine');
    expect((await run())[0]).toBe(2);
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect(await run('--force')).toEqual([0, '1 done; 5 labels']);
    expect(readFileSync(file, 'utf8')).toBe(text);
  });

  test('in a folder a file in the way fails its video alone', async () => {
    const out = at('in the way');
    mkdirSync(out);
    writeFileSync(join(out, 'demo.recognition.ndjson'), 'mine');
    const { code, stderr } = await recognize(demo, clip('rotated.mp4'), ...closed, '-o', out);
    expect(code).toBe(3);
    expect(stderr).toContain('error output.exists');
    expect(readFileSync(join(out, 'demo.recognition.ndjson'), 'utf8')).toBe('mine');
    expect(await records(readFileSync(join(out, 'rotated.recognition.ndjson'), 'utf8'))).toHaveLength(5);
  });

  test('names follow the folders below the argument, or the template', async () => {
    const input = at('in');
    mkdirSync(join(input, 'kitchen'), { recursive: true });
    copyFileSync(clip('one-frame.mp4'), join(input, 'kitchen', 'a.mp4'));
    const out = at('tree');
    await recognize(input, ...closed, '-o', out);
    const rows = await records(readFileSync(join(out, 'kitchen', 'a.recognition.ndjson'), 'utf8'));
    expect(rows[0]).toMatchObject({ id: 'kitchen/a' });
    await recognize(input, ...closed, '-o', out, '--name-template', 'flat-{stem}.{ext}');
    expect(existsSync(join(out, 'flat-a.ndjson'))).toBe(true);
  });

  test('two videos of one name are told apart on standard output and refused in a folder', async () => {
    const other = at('other');
    mkdirSync(other);
    copyFileSync(clip('one-frame.mp4'), join(other, 'demo.mp4'));
    const both = [demo, join(other, 'demo.mp4')];
    const { code, stdout } = await recognize(...both, ...closed, '--top', '1');
    expect(code).toBe(0);
    expect((await records(stdout)).map(({ id }) => id)).toEqual(both);
    expect((await recognize(...both, ...closed, '-o', at('clash'))).code).toBe(2);
    expect(existsSync(at('clash'))).toBe(false);
  });
});

test('a table shows a bar; csv has every number', async () => {
  const table = await recognize(demo, ...closed, '-f', 'table');
  expect(table.stdout).toMatch(/^input +start +end +label +score\n/);
  expect(table.stdout.split('\n')[1]).toMatch(/ 0\.\d{4} {2}[█▏▎▍▌▋▊▉]+$/);
  const csv = await recognize(demo, ...closed, '-f', 'csv', '--top', '1');
  expect(csv.stdout).toMatch(/^input,id,start,end,label,label_id,score,logit\n[^\n]+\n$/);
});

describe('texts as classes', () => {
  const texts = ['--class', 'cut vegetables', '--class', 'wash dishes', '--class', 'read'];

  test('are scored against each other, and encoded once a list', async () => {
    const first = await recognize(demo, '--model', viclip, ...texts);
    expect(first.code).toBe(0);
    const rows = await records(first.stdout);
    expect(rows.reduce((sum, { score }) => sum + (score as number), 0)).toBeCloseTo(1, 9);
    expect(rows.map(({ label }) => label).sort()).toEqual(['cut vegetables', 'read', 'wash dishes']);
    const kept = Object.keys(filesBelow(at('cache', 'text')));
    expect(kept).toHaveLength(1);
    const listed = at('classes.txt');
    writeFileSync(listed, 'cut vegetables\nwash dishes\nread\n');
    const again = await recognize(demo, '--model', viclip, '--class-file', listed);
    expect(again.stdout).toBe(first.stdout);
    expect(Object.keys(filesBelow(at('cache', 'text')))).toEqual(kept);
  });

  test('as subtitles of merged windows', async () => {
    const { code, stdout } = await recognize(
      ...[demo, '--model', viclip, ...texts, '--per', 'window', '--stride', '2', '--merge', '-f', 'srt'],
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^1\n00:00:00,000 --> [\d:,]+\n(cut vegetables|wash dishes|read) \([01]\.\d\d\)\n/);
  });

  test.each([
    ['a class given twice', ['--model', viclip, '--class', 'cut', '--class', 'cut'], 5, /number 2.*number 1/],
    ['a model without a text tower', ['--model', model, ...texts], 6, /no text tower/],
    ['a model of features only', ['--model', 'videomae-nano-untrained'], 6, /features only/],
    ['a classifier without names', ['--model', model], 6, /`--labels none`/],
    ['a list of another length', ['--model', model, '--labels', 'ssv2'], 6, /174 labels.*5 classes/],
  ])('%s ends with its code before any video is read', async (_, args, code, message) => {
    const end = await recognize(demo, ...args);
    expect([end.code, end.stdout]).toEqual([code, '']);
    expect(end.stderr).toMatch(message);
  });
});

test('eval recognition reads the records', async () => {
  const pred = at('pred.ndjson');
  const { stdout } = await recognize(demo, clip('rotated.mp4'), ...closed);
  writeFileSync(pred, stdout);
  const best = (await records(stdout)).filter((_, i) => i % 5 === 0);
  const truth = at('truth.json');
  writeFileSync(
    truth,
    JSON.stringify([
      { id: 'demo', label: best[0]!['label'] },
      { id: 'rotated', label: 'nothing' },
    ]),
  );
  const { code, stdout: scores } = await egolens(
    ['eval', 'recognition', '--gt', truth, '--pred', pred, '--format', 'json'],
    { env },
  );
  expect(code).toBe(0);
  expect(JSON.parse(scores)).toMatchObject({ official: { top1: 0.5, top5: 0.5, num_videos: 2 } });
});

test.skipIf(process.platform === 'win32')('a reader that has gone ends it quietly with 0', async () => {
  const script = '{ egolens recognize "$@"; echo "status $?" >&2; } | head -n 1';
  const many = Array.from({ length: 8 }, () => demo);
  const { stdout, stderr } = await inShell(script, [...many, ...perWindow, '--device', 'cpu', '-q'], { env });
  expect(stdout.split('\n')).toHaveLength(2);
  expect(stderr).toBe('status 0\n');
});
