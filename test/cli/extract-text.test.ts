import { mkdtempSync } from 'node:fs';
import { readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readNpy } from '../../src/checkpoint/npy.js';
import { openFileSource } from '../../src/files.js';
import { makeToyTwoTower } from '../toy-two-tower.js';
import { filesBelow, records, run, workFolder } from './program.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-text-model-'));
const model = join(base, 'clip');
beforeAll(() => makeToyTwoTower(model));
afterAll(() => rm(base, { recursive: true, force: true }));

async function arrayIn(path: string) {
  await using source = await openFileSource(path);
  return (await readNpy(source)).tensor;
}

async function listed(text: string, name = 'queries.txt'): Promise<{ file: string; output: string }> {
  const folder = await workFolder();
  const file = join(folder, name);
  await writeFile(file, text);
  return { file, output: join(folder, 'out') };
}

test('--text writes one vector a text as the model gives it, a table, and how they were made', async () => {
  const { file, output } = await listed('the thing\n"on", on\nin\n');
  const { status, stdout, stderr } = await run(['extract', '--text', file, '--model', model, '-o', output]);
  expect([status, stderr]).toEqual([0, '']);
  const [record] = await records(stdout);
  expect(record).toMatchObject({ schema: 'egolens.text-features/1', id: 'queries.text', shape: [3, 16], rows: 3 });
  expect(Object.keys(filesBelow(output)).sort()).toEqual([
    'queries.text.csv',
    'queries.text.npy',
    'queries.text.npy.meta.json',
  ]);
  expect(await readFile(join(output, 'queries.text.csv'), 'utf8')).toBe(
    'index,id,tokens,text\n0,,5,the thing\n1,,7,"""on"", on"\n2,,4,in\n',
  );
  const { data } = await arrayIn(join(output, 'queries.text.npy'));
  expect(Math.hypot(...Array.from(data.subarray(0, 16), Number))).not.toBeCloseTo(1, 2);
  const meta = JSON.parse(await readFile(join(output, 'queries.text.npy.meta.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  expect(meta).toMatchObject({
    schema: 'egolens.text-meta/1',
    output: 'text_embed',
    lengths: null,
    key: record!['key'],
  });
  expect(JSON.stringify(meta)).not.toContain(base);
});

test('--pool tokens writes the states of all tokens with their counts; ids of records stand in the table', async () => {
  const { file, output } = await listed('{"id":"q,1","query":"the thing"}\n{"text":"on"}\n', 'q.ndjson');
  const ended = await run(['extract', '--text', file, '--model', model, '-o', output, '--pool', 'tokens']);
  expect(ended.status).toBe(0);
  const states = await arrayIn(join(output, 'q.text.npy'));
  const lengths = await arrayIn(join(output, 'q.text.lengths.npy'));
  expect([states.shape, lengths.shape, Array.from(lengths.data, Number)]).toEqual([[2, 5, 24], [2], [5, 3]]);
  expect(await readFile(join(output, 'q.text.csv'), 'utf8')).toBe(
    'index,id,tokens,text\n0,"q,1",5,the thing\n1,,3,on\n',
  );
  const files = filesBelow(output);
  // The other form takes its place, whole.
  await run(['extract', '--text', file, '--model', model, '-o', output]);
  expect(Object.keys(filesBelow(output)).sort()).toEqual(['q.text.csv', 'q.text.npy', 'q.text.npy.meta.json']);
  await run(['extract', '--text', file, '--model', model, '-o', output, '--pool', 'tokens']);
  expect(filesBelow(output)).toEqual(files);
});

test('complete results are kept, damaged ones made anew, all with --force', async () => {
  const { file, output } = await listed('on\nin\n');
  const flags = ['extract', '--text', file, '--model', model, '-o', output];
  const first = await run(flags);
  const array = join(output, 'queries.text.npy');
  const bytes = filesBelow(output);
  const { mtimeMs } = await stat(array);
  expect([(await run(flags)).stdout, (await stat(array)).mtimeMs]).toEqual([first.stdout, mtimeMs]);
  await truncate(array, 100);
  expect((await run(flags)).stdout).toBe(first.stdout);
  expect(filesBelow(output)).toEqual(bytes);
  const before = (await stat(array)).mtimeMs;
  await run([...flags, '--force']);
  expect((await stat(array)).mtimeMs).toBeGreaterThan(before);
  expect(filesBelow(output)).toEqual(bytes);
});

test.each([
  ['neither videos nor texts', [], 2, 'usage.flag: expected videos, or a list of texts with --text, found neither'],
  [
    'both',
    ['--text', 'q.txt', '--model', 'x', 'a.mp4'],
    2,
    'usage.flag: expected videos, or a list of texts with --text, found both',
  ],
  ['no model', ['--text', 'q.txt'], 2, 'usage.flag: '],
  ['a preset', ['--text', 'q.txt', '--model', 'x', '--preset', 'ego4d-mq'], 2, 'usage.flag: '],
  ['another form of arrays', ['--text', 'q.txt', '--model', 'x', '--out-type', 'npz'], 2, 'usage.flag: '],
  ['no such file', ['--text', 'none.txt', '--model', model], 4, 'input.not_found: `none.txt`'],
  ['a model without a text tower', ['--text', 'q.txt', '--model', 'videomae-nano-untrained'], 6, 'model.incomplete'],
])('%s ends with its code and writes nothing', async (_, flags, status, message) => {
  const { file } = await listed('on\n', 'q.txt');
  const cwd = join(file, '..');
  const ended = await run(['extract', '-o', 'out', ...flags], { cwd });
  expect([ended.status, ended.stdout]).toEqual([status, '']);
  expect(ended.stderr).toContain(`error ${message}`);
  expect(Object.keys(filesBelow(cwd))).toEqual(['q.txt']);
});

test('a text over the context of CLIP fails before anything is written, and names the text', async () => {
  const { file, output } = await listed(`on\n${'on '.repeat(11)}\n`);
  const { status, stderr } = await run(['extract', '--text', file, '--model', model, '-o', output]);
  expect(status).toBe(5);
  expect(stderr).toContain('number 2 of 2): 13 tokens with start and end, expected at most 12');
  expect(filesBelow(output)).toEqual({});
});
