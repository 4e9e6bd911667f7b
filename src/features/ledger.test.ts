import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { ledgerName, openLedger, readLedger, type RunFacts } from './ledger.js';
import { hostId } from './locks.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-ledger-'));
let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(base, 'case-'));
  path = join(folder, ledgerName);
});
afterAll(() => rm(base, { recursive: true, force: true }));

const sha = 'a'.repeat(64);
const facts: RunFacts = { version: '0.1.0', argv: ['extract', 'a.mp4'], config: sha };
const lines = async (): Promise<Record<string, unknown>[]> =>
  (await readFile(path, 'utf8'))
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('a run writes its lines in the form of the contract, seconds with a decimal point', async () => {
  {
    await using ledger = await openLedger(folder, facts);
    await ledger.start('P01/a');
    await ledger.done('P01/a', { 'P01/a.npy': sha }, { decode: 2, encode: 0.5 });
    await ledger.failed('b', new EgolensError('limit.disk', 'the disk is full', { retryable: true }));
    await ledger.end({ done: 1, failed: 1 }, 3);
  }
  const written = await lines();
  const run = written[0]!['run'];
  expect(written.map(({ schema, time, ...rest }) => [schema, typeof time, rest])).toEqual(
    [
      { event: 'run', run, ...facts, host: hostId(), pid: process.pid },
      { event: 'start', run, id: 'P01/a' },
      { event: 'done', run, id: 'P01/a', files: { 'P01/a.npy': sha }, seconds: { decode: 2, encode: 0.5 } },
      { event: 'failed', run, id: 'b', code: 'limit.disk', message: 'the disk is full', retryable: true },
      { event: 'end', run, counts: { done: 1, failed: 1 }, exit: 3 },
    ].map((rest) => ['egolens.ledger/1', 'string', rest]),
  );
  expect(await readFile(path, 'utf8')).toContain('"seconds":{"decode":2.0,"encode":0.5}');
  expect(await readdir(folder)).toEqual([ledgerName]);
});

test('the last word on an item counts, over all runs', async () => {
  for (const step of [0, 1]) {
    await using ledger = await openLedger(folder, facts);
    await ledger.start('a');
    if (step === 0) await ledger.failed('a', new EgolensError('decode.stalled', 'nothing came'));
    if (step === 0) await ledger.start('b');
    if (step === 1) await ledger.done('a', {}, {});
    if (step === 1) await ledger.failed('c', new EgolensError('decode.failed', 'exit 1'));
    if (step === 1) await ledger.end({}, 0);
  }
  const { items, runs, damagedLines } = await readLedger(folder);
  expect([...items].map(([id, { state }]) => [id, state])).toEqual([
    ['a', 'done'],
    ['b', 'started'],
    ['c', 'failed'],
  ]);
  expect(items.get('c')).toMatchObject({ code: 'decode.failed', message: 'exit 1', retryable: false });
  expect([...runs.values()].map(({ exit }) => exit)).toEqual([undefined, 0]);
  expect(damagedLines).toBe(0);
});

test('a failure remembers what was tried', async () => {
  {
    await using ledger = await openLedger(folder, facts);
    await ledger.failed('a', new EgolensError('decode.damaged', '3 errors'), sha);
    await ledger.failed('b', new EgolensError('input.not_found', 'no such file'));
  }
  const { items, damagedLines } = await readLedger(folder);
  expect([items.get('a'), items.get('b'), damagedLines]).toMatchObject([{ key: sha }, { key: undefined }, 0]);
});

test('a folder without a ledger has an empty one, and a missing folder is an error of the output', async () => {
  expect((await readLedger(folder)).items.size).toBe(0);
  await expect(openLedger(join(folder, 'none'), facts)).rejects.toMatchObject({ code: 'output.unwritable' });
});

test('names with line breaks and separators of Unicode stay one line', async () => {
  const id = 'a\nb\u2028c\rd';
  {
    await using ledger = await openLedger(folder, facts);
    await ledger.start(id);
  }
  const { items, damagedLines } = await readLedger(folder);
  expect([...items.keys()]).toEqual([id]);
  expect(damagedLines).toBe(0);
});

const deadPid = spawnSync(process.execPath, ['-e', '']).pid;
const time = '2026-01-02T03:04:05.678Z';
const line = (fields: object): string =>
  `${JSON.stringify({ schema: 'egolens.ledger/1', run: 'old', time, ...fields })}\n`;
const oldRun = (pid: number, host = hostId()): string => line({ event: 'run', ...facts, host, pid });

test.each([
  ['short', '{"schema":"egolens.led'],
  ['longer than a piece of the search', `{"schema":"${'x'.repeat(200_000)}`],
])('a torn last line, %s, is cut off on the next start', async (_, torn) => {
  const whole = oldRun(deadPid) + line({ event: 'start', id: 'a' });
  await writeFile(path, whole + torn);
  await using ledger = await openLedger(folder, facts);
  await ledger.start('b');
  const text = await readFile(path, 'utf8');
  expect(text.startsWith(`${whole}{"schema":"egolens.ledger/1","event":"run"`)).toBe(true);
  const { items, damagedLines } = await readLedger(folder);
  expect([...items.keys()]).toEqual(['a', 'b']);
  expect(damagedLines).toBe(0);
  expect(await readdir(folder)).toEqual([ledgerName]);
});

test('a file that is one torn line starts anew', async () => {
  await writeFile(path, '{"schema"');
  await using ledger = await openLedger(folder, facts);
  expect((await lines()).map(({ run }) => run)).toEqual([ledger.run]);
});

test.each([
  ['a living process of this host', oldRun(process.pid)],
  ['a process of another host', oldRun(deadPid, 'elsewhere')],
])('while %s may be appending, a torn line is closed, not cut', async (_, run) => {
  await writeFile(path, `${run}{"torn`);
  await using ledger = await openLedger(folder, facts);
  await ledger.start('b');
  expect((await readFile(path, 'utf8')).startsWith(`${run}{"torn\n{`)).toBe(true);
  const { items, damagedLines } = await readLedger(folder);
  expect([...items.keys()]).toEqual(['b']);
  expect(damagedLines).toBe(1);
});

test('damaged lines are counted and passed over', async () => {
  await writeFile(
    path,
    `${line({ event: 'start', id: 'a' })}not json\n${line({ event: 'pause' })}[]\n\n${line({ event: 'start', id: 'b' })}`,
  );
  const { items, damagedLines } = await readLedger(folder);
  expect([...items.keys()]).toEqual(['a', 'b']);
  expect(damagedLines).toBe(3);
});

test('four processes append to one ledger without tearing a line', async () => {
  const source = `import { openLedger } from ${JSON.stringify(new URL('./ledger.ts', import.meta.url).href)};
    const [folder, name] = process.argv.slice(1);
    const ledger = await openLedger(folder, ${JSON.stringify(facts)});
    for (let i = 0; i < 200; i++) await ledger.start(name + '-' + i + 'x'.repeat(i * 10));
    await ledger.end({}, 0);`;
  await appendFile(path, `${oldRun(deadPid)}{"torn`);
  const exits = ['a', 'b', 'c', 'd'].map(
    (name) =>
      new Promise((resolve) =>
        spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source, folder, name], {
          stdio: ['ignore', 'inherit', 'inherit'],
        }).on('close', resolve),
      ),
  );
  expect(await Promise.all(exits)).toEqual([0, 0, 0, 0]);
  const { items, runs, damagedLines } = await readLedger(folder);
  expect(items.size).toBe(800);
  expect(runs.size).toBe(5);
  // Cut by the first to come, or closed by one that saw another at work.
  expect(damagedLines).toBeLessThanOrEqual(1);
});
