import { cp, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { filesBelow, leftovers, ledgerLines, records, run, videos, workFolder } from '../cli/program.js';

/** A folder of good and bad videos, some of them under one stem. */
async function library(folder: string): Promise<string> {
  const input = join(folder, 'in');
  await mkdir(join(input, 'sub'), { recursive: true });
  const names = [
    'rotated.mp4',
    'vfr.mp4',
    'ten-bit.mp4',
    'odd-size.mp4',
    'damaged.mp4',
    'truncated.mkv',
    'late-start.mkv',
  ];
  for (const name of [...names, 'three-seconds.mp4', 'demo.mp4', 'text.mp4', 'no-moov.mp4']) {
    await cp(join(videos, name), join(input, name));
  }
  await cp(join(videos, 'vfr.mp4'), join(input, 'sub', 'same.mp4'));
  await cp(join(videos, 'late-start.mkv'), join(input, 'sub', 'same.mkv'));
  return input;
}

test('four processes on one folder, shards, jobs and one process give the same files', async () => {
  const folder = await workFolder();
  const input = await library(folder);
  const out = (name: string): string => join(folder, name);
  const alone = await run(['extract', input, '-o', out('alone')]);
  expect(alone.status).toBe(3);
  const wanted = filesBelow(out('alone'));
  expect(Object.keys(wanted)).toHaveLength(3 * 11);
  expect(Object.keys(wanted)).toContain('sub/same.mkv.npy');

  const four = await Promise.all([0, 1, 2, 3].map(() => run(['extract', input, '-o', out('four')])));
  expect(filesBelow(out('four'))).toEqual(wanted);
  expect(leftovers(out('four'))).toEqual([]);
  for (const { stdout } of four) await records(stdout);
  // Nobody did what another one did or was doing.
  const lines = await ledgerLines(out('four'));
  const done = lines.filter(({ event }) => event === 'done').map(({ id }) => id);
  expect(new Set(done).size).toBe(done.length);
  expect(done).toHaveLength(11);
  expect(lines.filter(({ event }) => event === 'end')).toHaveLength(4);

  const union: unknown[] = [];
  for (const shard of ['0/3', '1/3', '2/3']) {
    const { stdout } = await run(['extract', input, '-o', out('shards'), '--shard', shard]);
    union.push(...(await records(stdout)).map(({ id }) => id));
  }
  expect(filesBelow(out('shards'))).toEqual(wanted);
  expect([...union].sort()).toEqual((await records(alone.stdout)).map(({ id }) => id).sort());

  const jobs = await run([
    'extract',
    input,
    '-o',
    out('jobs'),
    '--jobs',
    '3',
    '--summary',
    join(folder, 'summary.json'),
  ]);
  expect(jobs.status).toBe(3);
  expect(filesBelow(out('jobs'))).toEqual(wanted);
  expect(JSON.parse(await readFile(join(folder, 'summary.json'), 'utf8'))).toMatchObject({
    done: 11,
    failed: 2,
    exit: 3,
  });
});
