import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openFeatureWriter, timesOf } from '../../src/features/store.js';
import { compareFeatureFiles, convertFeatures } from '../../src/pipeline/feature-tools.js';
import { tensor } from '../../src/tensor.js';
import type { FeatureClock } from '../../src/types.js';
import { egolens, temporaryFolder } from './command.js';
import { records } from './program.js';

const folder = temporaryFolder();
const sha = 'a'.repeat(64);
const grid: FeatureClock = { rate: { num: 30, den: 1 }, hop: 16, frames: 16, step: 1, tail: 'align', rows: 5 };

/** A feature file of rows that `value` gives, as `extract` leaves it. */
async function writeFile(
  name: string,
  clock: FeatureClock,
  width: number,
  value: (i: number) => number,
): Promise<string> {
  const array = join(folder, `${name}.npy`);
  const target = { type: 'npy', array, times: join(folder, `${name}.times.csv`), meta: `${array}.meta.json` } as const;
  const data = Float32Array.from({ length: clock.rows * width }, (_, i) => value(i));
  await using writer = await openFeatureWriter(target, [width]);
  await writer.append(tensor('float32', [clock.rows, width], data));
  await writer.finish(
    {
      input: { name: 'a.mp4', bytes: 5, identity: `ends:${sha}` },
      stream: 0,
      startOffset: 0,
      frames: { claimed: null, decoded: 80 },
      decodeErrors: 0,
      warnings: [],
      clock,
      of: { kind: 'file' },
      preset: 'ego4d-mq@1',
      pixels: 'exact',
      model: { name: 'm', digest: sha },
      output: 'pooled',
      precision: 'fp32',
      provider: 'cpu',
      versions: { program: '0', runtime: '0', ffmpeg: '0' },
      key: sha,
    },
    timesOf(clock),
  );
  return array;
}

let [a, close, far, other, narrow, short] = ['', '', '', '', '', ''];
beforeAll(async () => {
  a = await writeFile('a', grid, 4, (i) => Math.sin(i + 1));
  close = await writeFile('close', grid, 4, (i) => Math.sin(i + 1) * (1 + 1e-4 * (i % 3)));
  far = await writeFile('far', grid, 4, (i) => Math.cos(i + 1));
  other = await writeFile('other', { ...grid, hop: 8 }, 4, (i) => Math.sin(i + 1));
  narrow = await writeFile('narrow', grid, 3, (i) => Math.sin(i + 1));
  short = await writeFile('short', { ...grid, rows: 4 }, 4, (i) => Math.sin(i + 1));
});

describe('extract info', () => {
  test('tells shape, clock, first and last row and how it was made', async () => {
    const { code, stdout, stderr } = await egolens(['extract', 'info', a]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(await records(stdout)).toMatchObject([
      {
        input: a,
        shape: [5, 4],
        dtype: 'float32',
        rows: 5,
        clock: { rate: '30/1', hop: 16 },
        first: { start: 0 },
        digests: 'ok',
        meta: { preset: 'ego4d-mq@1' },
      },
    ]);
  });

  test('a changed array is reported; a file that is none is an error of its own', async () => {
    const path = await writeFile('changed', grid, 4, (i) => i);
    const bytes = readFileSync(path);
    bytes.writeFloatLE(7.5, bytes.length - 4);
    writeFileSync(path, bytes);
    writeFileSync(join(folder, 'text.npy'), 'no array');
    const { code, stdout, stderr } = await egolens(['extract', 'info', join(folder, 'text.npy'), path]);
    expect(code).toBe(3);
    expect(await records(stdout)).toMatchObject([{ input: path, digests: 'differ' }]);
    expect(stderr).toMatch(/^error input\.format: /);
  });
});

describe('extract compare', () => {
  test('equal files have cosine 1 and difference 0 in every row', async () => {
    const { code, stdout, stderr } = await egolens(['extract', 'compare', a, a]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [record] = await records(stdout);
    expect(record).toMatchObject({ rows: 5, notFinite: 0, extra: 0, maxAbs: 0 });
    expect(record!['minCosine']).toBeCloseTo(1, 12);
  });

  test('--rows gives one record a row and the summary on standard error', async () => {
    const args = ['extract', 'compare', a, close, '--rows', '--min-cosine', '0.9'];
    const { code, stdout, stderr } = await egolens(args);
    expect(code).toBe(0);
    expect((await records(stdout)).map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
    expect(stderr).toMatch(/^5 rows, cosine 0\.99/);
  });

  test('a missed --min-cosine names the row and ends with 5, after the numbers', async () => {
    const missed = await egolens(['extract', 'compare', a, far, '--min-cosine', '0.9']);
    expect(missed.code).toBe(5);
    expect(missed.stderr).toMatch(/^error data\.invalid: .* in row \d, expected at least 0\.9\n/);
    expect(await records(missed.stdout)).toMatchObject([{ schema: 'egolens.comparison/1', rows: 5 }]);
  });

  test('other clocks and other widths are refused with both sides named', async () => {
    const clock = await egolens(['extract', 'compare', a, other]);
    expect(clock).toMatchObject({ code: 5, stdout: '' });
    expect(clock.stderr).toMatch(/^error data\.clock: rows of `.*a\.npy` lie at .*hop 16.*`.*other\.npy` at .*hop 8/);
    await expect(compareFeatureFiles(a, narrow, { perRow: false })).rejects.toMatchObject({
      code: 'data.shape',
      message: expect.stringMatching(/a\.npy.*\[4\].*narrow\.npy.*\[3\]|\[4\].*\[3\]/) as unknown,
    });
  });

  test('other counts of rows are an error beside the numbers of the rows that both have', async () => {
    const { records: numbers, error } = await compareFeatureFiles(a, short, { perRow: false });
    expect(numbers).toMatchObject([{ rows: 4, extra: 1 }]);
    expect(error).toMatchObject({
      code: 'data.shape',
      message: `\`${a}\` has 5 rows, \`${short}\` 4; the first 4 were compared`,
    });
  });
});

describe('extract convert', () => {
  test('the file, its times and its meta file go along', async () => {
    const to = join(folder, 'converted', 'a.pt');
    const { code, stdout, stderr } = await egolens(['extract', 'convert', a, to]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(await records(stdout)).toMatchObject([{ input: a, output: to, times: true, meta: true }]);
    const info = await egolens(['extract', 'info', to]);
    expect(await records(info.stdout)).toMatchObject([{ shape: [5, 4], digests: 'ok' }]);
  });

  test('around the circle of containers the bytes are the same again', async () => {
    let from = a;
    for (const type of ['npz', 'pt', 'safetensors', 'npy']) {
      const to = join(folder, 'circle', type, `a.${type}`);
      const { signal } = new AbortController();
      for await (const result of convertFeatures(from, to, { force: false, signal }))
        expect(result).toMatchObject({ record: { input: from, output: to, times: true, meta: true } });
      from = to;
    }
    for (const name of ['a.npy', 'a.times.csv', 'a.npy.meta.json'])
      expect(readFileSync(join(folder, 'circle', 'npy', name), 'utf8')).toBe(readFileSync(join(folder, name), 'utf8'));
  });

  test('a folder without meta files needs --clock, which its time tables then follow', async () => {
    const official = join(folder, 'official');
    mkdirSync(official);
    for (const name of ['u1', 'u2']) copyFileSync(a, join(official, `${name}.npy`));
    const args = ['extract', 'convert', official, join(folder, 'ours'), '--out-type', 'pt'];
    const refused = await egolens(args);
    expect(refused).toMatchObject({ code: 4, stdout: '' });
    expect(refused.stderr.match(/^error data\.clock: /gm)).toHaveLength(2);
    const { code, stdout } = await egolens([...args, '--clock', 'ego4d-grid']);
    expect(code).toBe(0);
    expect(await records(stdout)).toMatchObject([
      { clock: { hop: 16, frames: 32 }, times: true, meta: false },
      { output: join(folder, 'ours', 'u2.pt') },
    ]);
    expect(readFileSync(join(folder, 'ours', 'u1.times.csv'), 'utf8')).toMatch(/\n0,0,31,0\.0,1\.06666/);
  });

  test('what exists is kept without --force', async () => {
    const to = join(folder, 'kept.npz');
    writeFileSync(to, 'mine');
    expect(await egolens(['extract', 'convert', a, to])).toMatchObject({ code: 2, stdout: '' });
    expect(readFileSync(to, 'utf8')).toBe('mine');
    const { signal } = new AbortController();
    for await (const result of convertFeatures(a, to, { force: true, signal }))
      expect(result).toMatchObject({ record: { output: to } });
  });
});
