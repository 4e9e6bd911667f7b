import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { packageRoot } from '../files.js';
import { listInputs, parseShard, shardOf, type InputOptions } from './inputs.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-inputs-'));
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(base, 'case-'));
});
afterAll(() => rm(base, { recursive: true, force: true }));

async function files(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), 'G');
  }
}

/** Paths below the test's folder, or error codes. */
async function list(args: readonly string[], options: InputOptions = {}): Promise<string[]> {
  await using inputs = await listInputs(
    args.map((argument) => argument.replace('~', folder)),
    options,
  );
  return inputs.items.map(({ path, error }) => error?.code ?? path.slice(folder.length + 1));
}

const given = (text: string): InputOptions => ({ stdin: Readable.from([Buffer.from(text.replaceAll('~', folder))]) });

test('a folder is listed in byte order of its paths, other files and hidden ones left out', async () => {
  await files('b.mp4', 'a/z.MP4', 'a-b.mp4', 'a.mkv', 'Z.mp4', 'é.mp4', 'a/notes.txt', '.h/x.mp4', '.y.mp4');
  expect(await list(['~'])).toEqual(['Z.mp4', 'a-b.mp4', 'a.mkv', 'a/z.MP4', 'b.mp4', 'é.mp4']);
  expect(await list(['~'], { hidden: true })).toHaveLength(8);
  expect(await list(['~'], { extensions: ['txt'] })).toEqual(['a/notes.txt']);
  expect(await list(['~'], { maxDepth: 1 })).not.toContain('a/z.MP4');
  const inputs = await listInputs([folder]);
  expect(inputs.items.map(({ relpath }) => relpath)).toEqual(['', '', '', 'a', '', '']);
});

test('--include and --exclude look at the path below the argument, a bare name anywhere', async () => {
  await files('a/x.mp4', 'a/y.mp4', 'b/x.mp4');
  expect(await list(['~'], { include: ['x.*'] })).toEqual(['a/x.mp4', 'b/x.mp4']);
  expect(await list(['~'], { include: ['a/*'], exclude: ['y*'] })).toEqual(['a/x.mp4']);
  expect(await list(['~/*/x.mp4'], { exclude: ['b/**'] })).toEqual(['a/x.mp4']);
});

test('a TypeScript source is no transport stream', async () => {
  await files('stream.ts');
  await writeFile(join(folder, 'source.ts'), 'export {};');
  expect(await list(['~'])).toEqual(['stream.ts']);
});

test('links to folders are followed on request, a circle once', async () => {
  await files('in/a.mp4', 'other/b.mp4');
  await symlink(join(folder, 'other'), join(folder, 'in/link'));
  await symlink(join(folder, 'in'), join(folder, 'other/back'));
  await symlink(join(folder, 'other/b.mp4'), join(folder, 'in/c.mp4'));
  expect(await list(['~/in'])).toEqual(['in/a.mp4', 'in/c.mp4']);
  expect(await list(['~/in'], { follow: true })).toEqual(['in/a.mp4', 'in/c.mp4', 'in/link/b.mp4']);
});

test('patterns match in their own depth; a file that is called like a pattern is itself', async () => {
  await files('a.mp4', 'b[1].mp4', 'd/c.mp4', 'd/e/f.mp4', 'x{1}.mp4');
  expect(await list(['~/*.mp4'])).toEqual(['a.mp4', 'b[1].mp4', 'x{1}.mp4']);
  expect(await list(['~/**/*.mp4'])).toHaveLength(5);
  expect(await list(['~/{d,e}/?.mp4'])).toEqual(['d/c.mp4']);
  expect(await list(['~/b[1].mp4', '~/x{1}.mp4'])).toEqual(['b[1].mp4', 'x{1}.mp4']);
  expect(await list(['~/*.avi', '~/none.mp4', '~/a.mp4/below'])).toEqual(Array(3).fill('input.not_found'));
});

test('a list holds paths, folders and records; a record gives span and name', async () => {
  await files('a b.mp4', ' c.mp4', 'd/e.mp4', '{f}.mp4');
  const text = '\uFEFF~/a b.mp4\r\n\n~/ c.mp4\n~/d\n~/none\n {"input":"~/a b.mp4","start":1.5,"end":null,"id":"x"} \n';
  expect(await list(['-'], given(text))).toEqual(['a b.mp4', ' c.mp4', 'd/e.mp4', 'input.not_found', 'a b.mp4']);
  const { items } = await listInputs(['-'], given('{"input":"~/a b.mp4","start":1.5,"end":2,"query":"q","id":"x"}'));
  expect(items[0]).toMatchObject({ start: 1.5, end: 2, name: 'x' });
  // Patterns and lists inside a list stand for themselves.
  expect(await list(['-'], given('~/*.mp4\n@~/list\n'))).toEqual(['input.not_found', 'input.not_found']);
  await writeFile(join(folder, 'list'), `${folder}/a b.mp4`);
  expect(await list([`@${folder}/list`])).toEqual(['a b.mp4']);
});

test('with NUL between them names may hold anything', async () => {
  await files('a\nb.mp4', '{"input":"x"}');
  const nul = { ...given('~/a\nb.mp4\0~/{"input":"x"}\0'), nul: true };
  expect(await list(['-'], nul)).toEqual(['a\nb.mp4', '{"input":"x"}']);
});

test.each([
  ['{"input":1}', 'line 1 of the list: expected a member `input`'],
  ['a\n{"start":1}', 'line 2 of the list: expected a member `input`'],
  ['{"input":"a","start":"1"}', '`start`: expected seconds, found "1"'],
  ['{"input":"a","end":-1}', '`end`: expected seconds, found -1'],
  ['{"input":"a","id":""}', '`id`: expected text, found ""'],
  ['{"input":}', 'line 1 of the list: no JSON'],
])('the list %j is refused with its line', async (text, said) => {
  await expect(listInputs(['-'], given(text))).rejects.toMatchObject({ code: 'usage.flag' });
  await expect(listInputs(['-'], given(text))).rejects.toThrow(said);
});

test('no argument at all and a list file that is missing are errors, an empty list is none', async () => {
  await expect(listInputs([])).rejects.toMatchObject({ code: 'usage.flag' });
  await expect(listInputs(['@/no/such/list'])).rejects.toMatchObject({ code: 'input.not_found' });
  expect(await list(['-'], given(''))).toEqual([]);
});

test('a video on standard input is written down, and gone when the list is disposed', async () => {
  const inputs = await listInputs(['video:-'], { stdin: Readable.from([Buffer.from('bytes')]) });
  const { path, input } = inputs.items[0]!;
  await cp(path, join(folder, 'copy'));
  expect(input).toBe('video:-');
  await inputs[Symbol.asyncDispose]();
  await expect(cp(path, join(folder, 'again'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test.each(['-', 'video:-'])('an abort ends the waiting for standard input (%s) with its reason', async (argument) => {
  const controller = new AbortController();
  const stdin = new PassThrough();
  stdin.write('something');
  const listing = listInputs([argument], { stdin, signal: controller.signal });
  const reason = new Error('stop');
  controller.abort(reason);
  await expect(listing).rejects.toBe(reason);
});

test('--shuffle is seeded and --limit cuts what it gives', async () => {
  await files(...Array.from({ length: 12 }, (_, i) => `${String(i).padStart(2, '0')}.mp4`));
  const shuffled = await list(['~'], { shuffle: 1 });
  expect(shuffled).not.toEqual(await list(['~']));
  expect([...shuffled].sort()).toEqual(await list(['~']));
  expect(await list(['~'], { shuffle: 1, limit: 3 })).toEqual(shuffled.slice(0, 3));
  expect(await list(['~'], { shuffle: 2 })).not.toEqual(shuffled);
});

test('the shards of a list are disjoint and together the list', () => {
  const items = Array.from({ length: 11 }, (_, i) => i);
  const shards = [0, 1, 2].map((index) => shardOf(items, { index, of: 3 }));
  expect(shards.flat().sort((a, b) => a - b)).toEqual(items);
  expect(shardOf(items, undefined)).toBe(items);
  expect(parseShard('2/8')).toEqual({ index: 2, of: 8 });
  for (const text of ['8/8', '1/0', '-1/2', '1', 'a/b', '1/2/3']) expect(() => parseShard(text)).toThrow('0 <= I < N');
});

test('lengths: what the header claims is in the range or is left out and counted; what cannot be read stays to be reported', async () => {
  for (const name of ['demo.mp4', 'one-frame.mp4', 'text.mp4', 'three-seconds.mp4'])
    await cp(join(packageRoot, 'fixtures', 'videos', name), join(folder, name));
  const notes: string[] = [];
  const progress = {
    start: () => ({ advance: () => undefined, stop: () => undefined }),
    note: (message: string) => notes.push(message),
    warn: () => undefined,
  };
  expect(await list(['~'], { durations: { min: 1, max: 5 }, progress })).toEqual(['text.mp4', 'three-seconds.mp4']);
  expect(notes).toEqual(['2 of 4 videos left out: shorter or longer than was asked for']);
  expect(await list(['~', '~/none.mp4'], { durations: { min: 5 } })).toEqual([
    'demo.mp4',
    'text.mp4',
    'input.not_found',
  ]);
  // The range comes first, so that a limit counts what is wanted.
  expect(await list(['~'], { durations: { max: 5 }, limit: 1 })).toEqual(['one-frame.mp4']);
});

test('shard auto is the whole list, in an order of this process', () => {
  const items = Array.from({ length: 50 }, (_, i) => i);
  const mine = shardOf(items, 'auto');
  expect([...mine].sort((a, b) => a - b)).toEqual(items);
  expect(mine).not.toEqual(items);
  expect(shardOf(items, 'auto')).toEqual(mine);
});
