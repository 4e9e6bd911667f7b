import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findTools } from '../../src/video/tools.js';
import { packageRoot as root } from '../../src/files.js';
import { clip, egolens, temporaryFolder } from './command.js';
import { records } from './program.js';

interface Expected {
  readonly name: string;
  readonly readable: boolean;
  readonly video: readonly {
    readonly upright: readonly [number, number];
    readonly claimedFrames: number | null;
    readonly decodedFrames: number;
    readonly decodeErrors: boolean;
  }[];
}
const { files: expected } = JSON.parse(readFileSync(clip('expected.json'), 'utf8')) as {
  files: readonly Expected[]; // written by fixtures/measure-videos.js
};
const folder = temporaryFolder();

describe('a folder of good and bad videos', () => {
  const errorsFile = join(folder, 'bad.ndjson');
  const flags = ['--check', '--jobs', '2', '--log-format', 'json', '--errors', errorsFile];
  const probed = egolens(['probe', 'fixtures/videos', ...flags], { cwd: root });

  test('what decodes is counted as ffmpeg counts it, damage included', async () => {
    const rows = await records((await probed).stdout);
    const found = rows.map((record) => ({
      name: String(record['input']).replace('fixtures/videos/', ''),
      size: [record['width'], record['height']],
      frames: record['frames'],
      damaged: Number(record['errors']) > 0,
    }));
    const good = expected.filter(({ readable, video, name }) => readable && video.length > 0 && name !== 'text.mp4');
    expect(found).toEqual(
      good.map(({ name, video }) => ({
        name,
        size: video[0]!.upright,
        frames: video[0]!.decodedFrames,
        damaged: video[0]!.decodeErrors,
      })),
    );
  });

  test('bad ones are error records with stable codes, and the exit code is 3', async () => {
    const { code, stderr } = await probed;
    const errors = await records(stderr);
    expect(errors.map((record) => [record['input'], record['code']])).toEqual([
      ['fixtures/videos/empty.mp4', 'input.empty'],
      ['fixtures/videos/no-moov.mp4', 'decode.truncated'],
      ['fixtures/videos/text.mp4', 'input.not_a_video'],
    ]);
    expect(code).toBe(3);
  });

  test('--errors keeps the same records in a file', async () => {
    expect(readFileSync(errorsFile, 'utf8')).toBe((await probed).stderr);
  });
});

test('the output does not depend on the number of jobs', async () => {
  const clips = ['three-seconds.mp4', 'one-frame.mp4', 'nope.mp4', 'vfr.mp4', 'rotated.mp4'].map(clip);
  const [one, four] = await Promise.all(['1', '4'].map((jobs) => egolens(['probe', ...clips, '--jobs', jobs])));
  expect(four).toEqual(one);
  expect(one!.code).toBe(3);
});

test('damage that --check reports is no failure', async () => {
  const { code, stdout, stderr } = await egolens(['probe', '--check', clip('damaged.mp4')]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [record] = await records(stdout);
  expect(record).toMatchObject({ measured: { by: 'decode' }, frames: 60 });
  expect(record!['messages']).not.toEqual([]);
});

test.each([
  ['empty.mp4', 'input.empty'],
  ['audio-only.m4a', 'decode.no_video_stream'],
  ['nothing-there.mp4', 'input.not_found'],
])('a single bad input ends with 4: %s', async (name, errorCode) => {
  const { code, stdout, stderr } = await egolens(['probe', clip(name)]);
  expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
  expect(stderr.startsWith(`error ${errorCode}: `)).toBe(true);
});

test('an empty folder is nothing to do', async () => {
  mkdirSync(join(folder, 'empty'));
  expect(await egolens(['probe', 'empty'], { cwd: folder })).toEqual({
    code: 0,
    stdout: '',
    stderr: 'no video found\n',
  });
});

test('names with a colon, a leading dash, a line break and blanks are probed as they are', async () => {
  const names = ['a:b.mp4', '-dash.mp4', 'two\nlines.mp4', ' blank [1] "x".mp4'];
  for (const name of names) copyFileSync(clip('one-frame.mp4'), join(folder, name));
  const asArguments = await egolens(['probe', '--', ...names], { cwd: folder });
  expect(asArguments).toMatchObject({ code: 0, stderr: '' });
  expect((await records(asArguments.stdout)).map(({ input }) => input)).toEqual(names);
  const asList = await egolens(['probe', '-0', '-'], { cwd: folder, input: names.join('\0') });
  expect(asList).toEqual(asArguments);
});

test('--stream counts the video streams; best takes the one marked default before a larger one, as ffmpeg does', async () => {
  const sizes = await Promise.all(
    ['1', 'best'].map(async (stream) => {
      const { stdout } = await egolens(['probe', '--stream', stream, clip('two-streams.mp4')]);
      const [record] = await records(stdout);
      return [record!['stream'], record!['width']];
    }),
  );
  expect(sizes).toEqual([
    [1, 240],
    [0, 160],
  ]);
});

test('--frames gives one record a frame, numbered and in time', async () => {
  const { code, stdout } = await egolens(['probe', '--frames', clip('vfr.mp4')]);
  expect(code).toBe(0);
  const frames = await records(stdout);
  expect(frames.map(({ frame }) => frame)).toEqual(Array.from({ length: 75 }, (_, i) => i));
  const times = frames.map(({ time }) => Number(time));
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(frames[0]).toMatchObject({ key: true, type: 'I' });
  expect(stdout).toContain('"time":0.0,');
});

test('a table sets what is claimed beside what was measured', async () => {
  const { stdout } = await egolens(['probe', 'late-start.mkv', 'hlg.mp4', '--format', 'csv', '--exact'], {
    cwd: join(root, 'fixtures', 'videos'),
  });
  const [header, ...rows] = stdout.trimEnd().split('\n');
  expect(header).toBe('input,container,codec,size,claimed_rate,rate,duration,claimed_frames,frames,errors,flags');
  expect(rows[0]).toMatch(/^late-start\.mkv,matroska,h264,/);
  expect(rows[1]).toMatch(/,hdr$/);
});

describe.skipIf(process.platform === 'win32')('a batch', () => {
  test('its first record is there before the second video is done, and Ctrl-C ends it with 130', async () => {
    const { ffprobePath, ffmpegPath } = await findTools();
    const slow = join(folder, 'slow-ffprobe');
    writeFileSync(slow, `#!/bin/sh\ncase "$*" in *second*) exec sleep 60 ;; esac\nexec '${ffprobePath}' "$@"\n`);
    chmodSync(slow, 0o755);
    copyFileSync(clip('one-frame.mp4'), join(folder, 'second.mp4'));
    const child = spawn(process.execPath, [join(root, 'bin', 'run.js'), 'probe', clip('one-frame.mp4'), 'second.mp4'], {
      cwd: folder,
      env: { ...process.env, EGOLENS_FFPROBE: slow, EGOLENS_FFMPEG: ffmpegPath },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (text.endsWith('\n')) child.kill('SIGINT');
    });
    const code = await new Promise((done) => child.once('close', done));
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' });
    expect(await records(stdout)).toMatchObject([{ input: clip('one-frame.mp4') }]);
  });
});
