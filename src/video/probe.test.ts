import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { PixelRecipe } from '../types.js';
import { decodeSamples, decodeTimes, planPicture } from './decode.js';
import { listPackets, openVideo, parseStreamChoice, probeFrames, probeVideo } from './probe.js';
import { findTools } from './tools.js';

const folder = process.env['EGOLENS_VIDEO_DIR'] ?? '../shared/data/videos';
const here = existsSync(join(folder, 'README.md'));
const why = here ? '' : ' (skipped: no folder of real clips, set EGOLENS_VIDEO_DIR)';

interface Row {
  readonly file: string;
  readonly claimed: number | null;
  readonly decoded: number;
  readonly errors: number;
}

/** The table `Files` of the folder's README: file, header's and decoded frames, error lines. */
function readTable(): Row[] {
  const lines = readFileSync(join(folder, 'README.md'), 'utf8').split('\n');
  return lines.flatMap((line) => {
    const cells = line.split('|').map((cell) => cell.trim());
    const count = /^(\d+|-)\/(\d+)(?:, (\d+) msg)?$/.exec(cells[7] ?? '');
    if (!count) return [];
    const claimed = count[1] === '-' ? null : Number(count[1]);
    return [{ file: cells[1]!.replaceAll('`', ''), claimed, decoded: Number(count[2]), errors: Number(count[3] ?? 0) }];
  });
}

const rows = here ? readTable() : [];
/** Long clips cost seconds each; one of them is enough here. */
const short = rows.filter(({ file }) => !file.startsWith('long/') && !file.startsWith('objects/'));

const { passthrough, ffprobeVersion } = await findTools();
/** Builds before 5.1 count errors, and the time before the first frame, in their own way. */
const isModern = passthrough[0] === '-fps_mode';
const needsModern = isModern ? '' : ' (skipped: needs ffmpeg 5.1)';
/** The static ffprobe of 2023 in @ffprobe-installer dies on every transport stream. */
const readable = short.filter(({ file }) => !(file.endsWith('.ts') && ffprobeVersion.startsWith('N-66595')));

describe.skipIf(!here)(`real clips${why}`, () => {
  test.skipIf(readable.length === short.length)(
    'transport streams (skipped: this ffprobe dies on them)',
    () => undefined,
  );

  test.each(readable)('$file decodes to $decoded frames', async ({ file, claimed, decoded, errors }) => {
    const source = await openVideo(join(folder, file));
    expect(source.claimed.frames).toBe(claimed);
    const pass = await decodeTimes(source);
    expect(pass.times).toHaveLength(decoded);
    expect(pass.decodeErrors > 0).toBe(errors > 0);
    if (isModern) expect(pass.decodeErrors).toBe(errors);
    expect(pass.times[0]).toBe(0);
    expect(pass.times.every((time, i) => i === 0 || time > pass.times[i - 1]!)).toBe(true);
    expect(pass.end).toBeGreaterThan(pass.times.at(-1)!);
    const packets = await listPackets(source);
    if (isModern) expect(packets.startOffset).toBeCloseTo(pass.startOffset, 4);
    if (errors === 0) {
      expect(packets.times).toHaveLength(decoded);
      packets.times.forEach((time, i) => {
        expect(time).toBeCloseTo(pass.times[i]!, 6);
      });
    }
  });

  test.each([
    ['odd/rotated_meta.mp4', 270, 480],
    ['odd/rotate_90.mov', 320, 568],
    ['odd/rotate_0.mov', 568, 320],
    ['odd/portrait.mp4', 720, 1080],
    ['odd/non_zero_start.mp4', 199, 112],
    ['odd/odd_size_mpeg2.mp4', 121, 81],
  ])('%s is %d x %d upright', async (file, width, height) => {
    const record = await probeVideo(join(folder, file));
    expect([record.width, record.height]).toEqual([width, height]);
  });

  test('a turned clip is upright in its pixels', async () => {
    const source = await openVideo(join(folder, 'odd/rotate_90.mov'));
    const straight = await openVideo(join(folder, 'odd/rotate_0.mov'));
    expect([source.rotation, straight.rotation]).toEqual([-90, 0]);
    const frame = await firstFrame(source);
    expect(frame.data).toHaveLength(320 * 568 * 3);
  });

  test('the stream is chosen by number or as ffmpeg does', async () => {
    const path = join(folder, 'formats/nasa_two_video_streams.mp4');
    const [first, second, best] = await Promise.all([
      openVideo(path),
      openVideo(path, { stream: 1 }),
      openVideo(path, { stream: 'best' }),
    ]);
    expect([first.width, first.streamIndex]).toEqual([320, 0]);
    expect([second.width, second.streamIndex]).toEqual([480, 3]);
    expect(best.streamIndex).toBe(3);
    expect((await firstFrame(second)).data).toHaveLength(480 * 270 * 3);
    await expect(openVideo(path, { stream: 2 })).rejects.toMatchObject({ code: 'decode.no_video_stream' });
  });

  test('sound alone is no video', async () => {
    await expect(openVideo(join(folder, 'odd/audio_only.mp4'))).rejects.toMatchObject({
      code: 'decode.no_video_stream',
    });
  });

  test.skipIf(!isModern)(`claims and measurements stand side by side${needsModern}`, async () => {
    const flv = await probeVideo(join(folder, 'formats/h264.flv'));
    expect(flv.claimed.rate).toBe('1000/1');
    expect(flv.measured?.rate).toBeCloseTo(30, 0);
    const late = await probeVideo(join(folder, 'odd/non_zero_start.mp4'), { mode: 'exact' });
    expect(late.claimed.containerDuration).toBeCloseTo(8.734, 3);
    expect(late.measured).toMatchObject({ by: 'decode', frames: 12, isVariableRate: false, startOffset: 0 });
    expect(late.measured?.duration).toBeCloseTo(0.4, 3);
    expect((await probeVideo(join(folder, 'odd/edit_list_shift.mp4'))).measured?.startOffset).toBeCloseTo(1, 6);
    expect((await probeVideo(join(folder, 'formats/mpeg1.mpg'), { mode: 'exact' })).measured?.startOffset).toBeCloseTo(
      0.0109,
      4,
    );
    expect((await probeVideo(join(folder, 'formats/mpeg4.avi'))).measured).toMatchObject({
      frames: 96,
      isVariableRate: true,
    });
  });

  test.skipIf(!isModern)(`a check counts errors and keeps the first messages${needsModern}`, async () => {
    const record = await probeVideo(join(folder, 'odd/broken_stream.mp4'), { mode: 'check' });
    expect([record.frames, record.errors]).toEqual([49, 6]);
    expect(record.messages).toHaveLength(6);
    expect(record.warnings.map((warning) => warning.code)).toEqual(['decode.damaged']);
  });

  test('HDR is told', async () => {
    const record = await probeVideo(join(folder, 'formats/hlg_hdr_hevc.mp4'));
    expect(record.hdr).toBe(true);
    expect(record.warnings).toMatchObject([{ code: 'decode.hdr' }]);
  });

  test.each(['odd/slow_motion_vfr.mp4', 'formats/mpeg1.mpg', 'formats/animated.gif', 'formats/vp9.webm'])(
    'frames of %s are listed with type and time',
    async (file) => {
      const frames = await probeFrames(join(folder, file));
      const { times } = await decodeTimes(await openVideo(join(folder, file)));
      expect(frames).toHaveLength(times.length);
      expect(frames[0]).toMatchObject({ frame: 0, time: 0, key: true, type: 'I' });
      frames.forEach((frame, i) => {
        expect(frame.time).toBeCloseTo(times[i]!, 6);
      });
    },
  );

  test.each([
    'formats/bt601_full_range.mp4',
    'formats/bt601_limited_range.mp4',
    'formats/h264_10bit.mp4',
    'formats/hlg_hdr_hevc.mp4',
    'formats/animated.gif',
    'odd/odd_size_mpeg2.mp4',
    'odd/rotate_90.mov',
    'actions/asl_eat.mkv',
  ])("%s has the pixels of ffmpeg's own conversion", async (file) => {
    const options = ['-frames:v', '1', '-pix_fmt', 'rgb24', '-f', 'rawvideo', '-'];
    const program = (await findTools()).ffmpegPath;
    const args = ['-nostdin', '-v', 'error', '-i', join(folder, file), ...options];
    const expected = execFileSync(program, args, { maxBuffer: 2 ** 26 });
    const { data } = await firstFrame(await openVideo(join(folder, file)));
    expect(Buffer.compare(Buffer.from(data), expected)).toBe(0);
  });

  // The same synthetic picture in both: its saturated bars tell matrix and range apart.
  test.each(['bt601_full_range.mp4', 'bt601_limited_range.mp4'])('%s uses the whole range of RGB', async (file) => {
    const { data } = await firstFrame(await openVideo(join(folder, 'formats', file)));
    expect(data.reduce((a, b) => Math.min(a, b))).toBeLessThanOrEqual(4);
    expect(data.reduce((a, b) => Math.max(a, b))).toBeGreaterThanOrEqual(251);
  });
});

const whole: PixelRecipe = { path: 'exact', resize: 'opencv-bilinear', to: 'short-side', size: 1, crop: 'none' };

/** The first frame in full size. */
async function firstFrame(source: Awaited<ReturnType<typeof openVideo>>): Promise<{ data: Uint8Array }> {
  const { picture } = planPicture(whole, source.width, source.height);
  const full = { ...picture, crop: { x: 0, y: 0, width: source.width, height: source.height } };
  for await (const sample of decodeSamples(source, { rate: 'source', picture: full }))
    return { data: sample.data.slice() };
  throw new Error('no frame');
}

test('--stream is a number or `best`', () => {
  expect([parseStreamChoice('2'), parseStreamChoice('best')]).toEqual([2, 'best']);
  expect(() => parseStreamChoice('-1')).toThrow('expected a stream number');
});

test('a playlist that names another local file is refused', async () => {
  const list = join(mkdtempSync(join(tmpdir(), 'egolens-list-')), 'list.mp4');
  const segment = resolve('fixtures/videos/three-seconds.mp4');
  writeFileSync(list, `#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n${segment}\n#EXT-X-ENDLIST\n`);
  // Some builds refuse the list before we can: what counts is that nothing of it becomes a video.
  await expect(openVideo(list)).rejects.toMatchObject({
    code: expect.stringMatching(/^input\.not_a_video$|^decode\./) as unknown,
  });
});
