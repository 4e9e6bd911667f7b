import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, open, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  fixtures,
  filesBelow,
  leftovers,
  ledgerLines,
  records,
  run,
  start,
  videos,
  workFolder,
} from '../cli/program.js';

/** Ids that the last run of a folder began to compute. */
async function computed(output: string): Promise<unknown[]> {
  const lines = await ledgerLines(output);
  const last = lines.filter(({ event }) => event === 'run').at(-1)!['run'];
  return lines.filter(({ event, run: of }) => event === 'start' && of === last).map(({ id }) => id);
}

test('a second start keeps what is done, prints its records again, and computes what has changed', async () => {
  const folder = await workFolder();
  const input = join(folder, 'in');
  await mkdir(input);
  for (const name of ['rotated.mp4', 'vfr.mp4', 'ten-bit.mp4']) await cp(join(videos, name), join(input, name));
  const output = join(folder, 'out');
  const extract = async (...flags: string[]): Promise<{ stdout: string; computed: unknown[] }> => {
    const { status, stdout, stderr } = await run(['extract', input, '-o', output, ...flags]);
    expect(status, stderr).toBe(0);
    return { stdout, computed: await computed(output) };
  };
  const first = await extract();
  expect(first.computed).toEqual(['rotated', 'ten-bit', 'vfr']);
  const files = filesBelow(output);
  const second = await extract('--summary', join(folder, 'summary.json'));
  expect(second).toEqual({ stdout: first.stdout, computed: [] });
  const [summary] = await records(JSON.stringify(JSON.parse(await readFile(join(folder, 'summary.json'), 'utf8'))));
  expect(summary).toMatchObject({ done: 0, kept: 3, failed: 0, rows: 7, exit: 0 });

  // A torn meta file, a cut array, a missing table; and what a killed process leaves: a lock and half a file.
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const meta = join(output, 'rotated.npy.meta.json');
  await writeFile(meta, (await readFile(meta, 'utf8')).slice(0, 300));
  await truncate(join(output, 'vfr.npy'), 200);
  await writeFile(join(output, `.vfr.npy.${dead}.tmp`), 'half');
  const holder = { host: 'x', pid: dead, started: null, heartbeat: '2026-01-01T00:00:00.000Z' };
  const host = String((await ledgerLines(output))[0]!['host']);
  await writeFile(join(output, 'ten-bit.npy.lock'), JSON.stringify({ ...holder, host }));
  expect((await extract()).computed).toEqual(['rotated', 'vfr']);
  expect([filesBelow(output), leftovers(output)]).toEqual([files, []]);

  await rm(join(output, 'ten-bit.times.csv'));
  await cp(join(videos, 'odd-size.mp4'), join(input, 'vfr.mp4'));
  expect((await extract()).computed).toEqual(['ten-bit', 'vfr']);
  expect((await extract('--stride', '8')).computed).toEqual(['rotated', 'ten-bit', 'vfr']);
  expect((await extract('--stride', '8', '--force')).computed).toEqual(['rotated', 'ten-bit', 'vfr']);
});

test('another model is another key, and a model folder with a changed file is noticed by name', async () => {
  const folder = await workFolder();
  const output = join(folder, 'out');
  const model = join(folder, 'model');
  await cp(join(fixtures, 'models', 'videomae-nano'), model, { recursive: true });
  const video = join(videos, 'rotated.mp4');
  const key = async (...flags: string[]): Promise<unknown> =>
    (await records((await run(['extract', video, '-o', output, ...flags])).stdout))[0]?.['key'];
  const first = await key();
  expect(await key('--model', model)).toBe(first);
  await rm(join(model, 'weights.bin'));
  const { status, stderr } = await run(['extract', video, '-o', output, '--model', model]);
  expect([status, stderr.includes('error model.incomplete') && stderr.includes('weights.bin')]).toEqual([6, true]);
  expect((await run(['extract', video, '-o', output, '--model', 'no-such-model'])).status).toBe(6);
});

test('an output folder that cannot be made is said before anything is decoded', async () => {
  const folder = await workFolder();
  await writeFile(join(folder, 'file'), '');
  for (const output of [join(folder, 'file'), join(folder, 'file', 'below')]) {
    const { status, stdout, stderr } = await run(['extract', join(videos, 'demo.mp4'), '-o', output]);
    expect([status, stdout], stderr).toEqual([2, '']);
    expect(stderr).toMatch(/^error output\.unwritable: .*file/m);
  }
  const errors = await run([
    'extract',
    join(videos, 'demo.mp4'),
    '-o',
    join(folder, 'out'),
    '--errors',
    join(folder, 'no', 'e'),
  ]);
  expect([errors.status, existsSync(join(folder, 'out'))]).toEqual([2, false]);
});

/** A file system of so many KiB, where we may mount one. */
function tinyDisk(folder: string, size: string): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]).status === 0;
}

test('a full disk ends the run with 8 and limit.disk, nothing half written', async (context) => {
  const folder = await workFolder();
  const output = join(folder, 'disk');
  await mkdir(output);
  if (!tinyDisk(output, '48k')) context.skip('no right to mount a small file system');
  onTestFinished(() => {
    execFileSync('umount', ['-l', output]);
  });
  const input = [join(videos, 'rotated.mp4'), join(videos, 'demo.mp4'), join(videos, 'vfr.mp4')];
  const { status, stdout, stderr } = await run(['extract', ...input, '-o', output, '--pool', 'tokens']);
  expect(status, stderr).toBe(8);
  expect(stderr).toMatch(/^error limit\.disk/m);
  expect(leftovers(output)).toEqual([]);
  const done = await records(stdout);
  expect(done.length).toBeLessThan(3);
  expect((await readdir(output)).filter((name) => name.endsWith('.npy'))).toHaveLength(done.length);
});

test('another process that works on a video is left alone', async () => {
  const folder = await workFolder();
  const output = join(folder, 'out');
  const video = join(videos, 'demo.mp4');
  await run(['extract', join(videos, 'rotated.mp4'), '-o', output]);
  const host = String((await ledgerLines(output))[0]!['host']);
  const started = (await readFile(`/proc/${process.pid}/stat`, 'utf8').catch(() => '')).split(' ')[21] ?? null;
  const file = await open(join(output, 'demo.npy.lock'), 'wx');
  await file.write(JSON.stringify({ host, pid: process.pid, started, heartbeat: new Date().toISOString() }));
  await file.close();
  const program = start(['extract', video, '-o', output, '-v']);
  const { status, stdout, stderr } = await program.ended;
  expect([status, stdout]).toEqual([0, '']);
  expect(stderr).toContain('another process works on it');
  expect(existsSync(join(output, 'demo.npy.lock'))).toBe(true);
});
