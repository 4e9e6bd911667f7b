import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { filesBelow, records, run, videos, workFolder } from './program.js';
import { findTools } from '../../src/video/tools.js';

describe('one bad video', () => {
  test('nothing but broken files ends with 4, and a second start skips what failed until --retry-failed', async () => {
    const output = join(await workFolder(), 'out');
    const some = ['empty.mp4', 'text.mp4', 'no-moov.mp4'].map((name) => join(videos, name));
    const first = await run(['extract', ...some, '-o', output]);
    expect([first.status, first.stdout, first.stderr.match(/^error /gm)?.length]).toEqual([4, '', 3]);
    const second = await run(['extract', ...some, '-o', output]);
    expect([second.status, second.stderr.match(/^error /gm)]).toEqual([4, null]);
    expect(second.stderr).toContain('3 failed before');
    const third = await run(['extract', ...some, '-o', output, '--retry-failed']);
    expect([third.status, third.stderr.match(/^error /gm)?.length]).toEqual([4, 3]);
  });

  test('--on-error stop starts nothing after the first failure and still reports what was running', async () => {
    const folder = await workFolder();
    const good = join(videos, 'rotated.mp4');
    const bad = join(videos, 'text.mp4');
    const output = join(folder, 'out');
    const one = await run(['extract', bad, good, '-o', output, '--on-error', 'stop']);
    expect([one.status, one.stdout]).toEqual([4, '']);
    const fresh = join(folder, 'fresh');
    const demo = join(videos, 'demo.mp4');
    const two = await run(['extract', good, bad, demo, '-o', fresh, '--on-error', 'stop']);
    expect(two.status).toBe(3);
    expect((await records(two.stdout)).map(({ id }) => id)).toEqual(['rotated']);
    const running = await run([
      'extract',
      join(videos, 'vfr.mp4'),
      '-o',
      output,
      bad,
      good,
      '-j',
      '2',
      '--on-error',
      'stop',
      '--retry-failed',
    ]);
    expect((await records(running.stdout)).map(({ id }) => id)).toContain('vfr');
  });

  test('a damaged video is done with a warning; --decode-errors and --strict-decode make it a failure, kept or not', async () => {
    const folder = await workFolder();
    const output = join(folder, 'out');
    const damaged = join(videos, 'damaged.mp4');
    const first = await run(['extract', damaged, '-o', output]);
    expect([first.status, first.stderr.includes('warning decode.damaged')]).toEqual([0, true]);
    const meta = JSON.parse(await readFile(join(output, 'damaged.npy.meta.json'), 'utf8')) as {
      decodeErrors: number;
      warnings: { code: string }[];
    };
    expect(meta.decodeErrors).toBeGreaterThan(0);
    expect(meta.warnings.map(({ code }) => code)).toContain('decode.damaged');
    const limit = meta.decodeErrors;
    for (const [flags, status] of [
      [['--decode-errors', `limit=${limit - 1}`], 4],
      [['--strict-decode'], 4],
    ] as const) {
      expect((await run(['extract', damaged, '-o', output, ...flags])).status, flags.join(' ')).toBe(status);
    }
    const fresh = join(folder, 'fresh');
    expect((await run(['extract', damaged, '-o', fresh, '--decode-errors', 'fail'])).status).toBe(4);
    expect(filesBelow(fresh)).toEqual({});
    // Another rule is another attempt: what failed is not skipped.
    expect((await run(['extract', damaged, '-o', fresh])).status).toBe(0);
    expect((await run(['extract', damaged, '-o', output, '--decode-errors', 'some'])).status).toBe(2);
  });

  test('a video of one frame and a cut one give rows; --tail drop refuses the short one, and another tail tries it again', async () => {
    const output = join(await workFolder(), 'out');
    const short = join(videos, 'one-frame.mp4');
    const cut = join(videos, 'truncated.mkv');
    const model = ['--model', 'videomae-nano-untrained'];
    const dropped = await run(['extract', short, '-o', output, '--tail', 'drop', ...model]);
    expect([dropped.status, dropped.stderr.includes('error input.too_short')]).toEqual([4, true]);
    const both = await run(['extract', short, cut, '-o', output, ...model]);
    expect(both.status).toBe(0);
    const rows = await records(both.stdout);
    expect(rows.map(({ rows: count }) => count)).toEqual([1, 3]);
    // Builds before 5.1 end a cut Matroska file without a word.
    const { passthrough } = await findTools();
    expect(both.stderr.includes('warning decode.truncated')).toBe(passthrough[0] === '-fps_mode');
  });
});
