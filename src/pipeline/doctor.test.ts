import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cpuCheck, doctor, memoryCheck, missingDecoders, nodeCheck } from './doctor.js';

test('every part of the installation is looked at, and a check that throws becomes a failed one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-doctor-'));
  const cache = join(folder, 'not', 'made', 'yet');
  const results = await doctor({
    environment: { ...process.env, EGOLENS_CACHE_DIR: cache },
    extra: [
      () => Promise.resolve([{ name: 'default model', status: 'ok', cause: 'there' } as const]),
      () => Promise.reject(new Error('broken check')),
    ],
  });
  await rm(folder, { recursive: true });
  const statuses = new Map(results.map(({ name, status }) => [name, status]));
  for (const name of [
    'Node',
    'ffmpeg',
    'ffprobe',
    'decoders',
    'provider cpu',
    'provider cuda',
    'provider webgpu',
    'CPU',
    'memory',
    'cache folder',
    'temporary folder',
  ])
    expect(statuses.has(name), name).toBe(true);
  expect(statuses.get('provider cpu')).toBe('ok');
  expect(results.find(({ name }) => name === 'cache folder')).toMatchObject({ status: 'ok' });
  expect(results.slice(-2)).toEqual([
    { name: 'default model', status: 'ok', cause: 'there' },
    { name: 'check 2', status: 'fail', cause: 'broken check' },
  ]);
  for (const { status, remedy } of results.slice(0, -1)) if (status !== 'ok') expect(remedy).toBeDefined();
});

test('a missing ffmpeg is a failure with the line that installs it', async () => {
  const results = await doctor({ environment: { PATH: '', EGOLENS_FFMPEG: '/nowhere/ffmpeg' } });
  const ffmpeg = results.find(({ name }) => name === 'ffmpeg');
  expect(ffmpeg).toMatchObject({ status: 'fail' });
  expect(ffmpeg?.remedy).toBeDefined();
});

test('decoders are judged by name; an av1 decoder that needs hardware does not count', () => {
  const listing =
    ' V....D = Video\n VFS..D h264   H.264\n VFS..D hevc   x\n VFS..D vp9   x\n V....D av1   x\n VFS..D mpeg4   x\n';
  expect(missingDecoders(listing)).toEqual(['av1']);
  expect(missingDecoders(`${listing} V..... libdav1d   dav1d (codec av1)\n`)).toEqual([]);
});

test('versions and sizes are compared as numbers', () => {
  expect(nodeCheck('20.19.0').status).toBe('ok');
  expect(nodeCheck('22.1.0').status).toBe('ok');
  expect(nodeCheck('20.9.0').status).toBe('fail');
  expect(memoryCheck(8 * 2 ** 30, 0)).toEqual({ name: 'memory', status: 'ok', cause: '8.0 GiB free' });
  expect(memoryCheck(2 ** 30, 2 ** 31)).toMatchObject({
    status: 'warn',
    cause: '1.0 GiB free, container limit 2.0 GiB: too little for large models',
  });
  expect(cpuCheck(64, 2.5).cause).toBe('64 cores, of which this container may use 2.5; runs take 2');
});
