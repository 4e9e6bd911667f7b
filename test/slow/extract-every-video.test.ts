import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { parseTimes } from '../../src/features/times.js';
import { findTools } from '../../src/video/tools.js';
import { hasSharedVideos, records, run, sharedVideos, unlessShared, workFolder, type Row } from '../cli/program.js';

interface ProbedFrame {
  readonly best_effort_timestamp?: number;
  /** The name until ffprobe 5. */
  readonly pkt_duration?: number;
  readonly duration?: number;
}

/** Times of the frames that decode, in seconds after the first, as ffprobe tells them: no code of ours. */
async function measuredTimes(path: string): Promise<number[]> {
  const { ffprobePath } = await findTools();
  const entries = 'frame=best_effort_timestamp,pkt_duration,duration:stream=time_base';
  const { stdout } = await promisify(execFile)(
    ffprobePath,
    ['-v', 'quiet', '-select_streams', 'v:0', '-show_entries', entries, '-of', 'json', path],
    { maxBuffer: 2 ** 28 },
  );
  const { frames, streams } = JSON.parse(stdout) as { frames: ProbedFrame[]; streams: { time_base: string }[] };
  const [num, den] = streams[0]!.time_base.split('/').map(Number);
  const first = frames[0]!.best_effort_timestamp ?? 0;
  let last = first;
  let length = 0;
  return frames.map((frame) => {
    // The last frame of a program stream may come without a stamp: it follows the one before.
    last = Math.max(last, frame.best_effort_timestamp ?? last + length);
    length = frame.duration ?? frame.pkt_duration ?? 0;
    return ((last - first) * num!) / den!;
  });
}

/** The rule of the default preset, written anew: 30 samples a second, 8 frames of step 8, hop 16, an aligned last window. */
function expectedRows(times: readonly number[], claimedRate: number): { first: number; last: number }[] {
  const rate = 30;
  const extent = 57;
  // The last frame lasts as long as the middle one of all intervals.
  const intervals = times.slice(1).map((time, i) => time - times[i]!);
  const interval = intervals.sort((a, b) => a - b)[Math.floor(intervals.length / 2)] ?? 0;
  const end = times.at(-1)! + (interval > 0 ? interval : 1 / claimedRate);
  const count = Math.ceil((end - 0.001) * rate);
  const shown: number[] = [];
  for (let k = 0, frame = 0; k < count; k++) {
    while (frame + 1 < times.length && times[frame + 1]! <= k / rate + 0.001) frame++;
    shown.push(frame);
  }
  const starts: number[] = [];
  for (let start = 0; start + extent <= count; start += 16) starts.push(start);
  if (count < extent) starts.push(0);
  else if ((count - extent) % 16 !== 0) starts.push(count - extent);
  return starts.map((start) => ({ first: shown[start]!, last: shown[Math.min(start + extent - 1, count - 1)]! }));
}

test.runIf(hasSharedVideos)(
  `every real video has features on the documented grid, one error record for the file without a video stream${unlessShared}`,
  async () => {
    const folder = await workFolder();
    const output = join(folder, 'out');
    const { status, stdout } = await run([
      'extract',
      sharedVideos,
      '-o',
      output,
      '--errors',
      join(folder, 'bad.ndjson'),
    ]);
    expect(status).toBe(3);
    const done = await records(stdout);
    const failed = await records(await readFile(join(folder, 'bad.ndjson'), 'utf8'));
    expect(failed.map(({ input, code }) => [input, code])).toEqual([
      [join(sharedVideos, 'odd/audio_only.mp4'), 'decode.no_video_stream'],
    ]);
    expect(done.length).toBeGreaterThan(40);
    for (const record of done) await checkVideo(record);
  },
);

async function checkVideo(record: Row): Promise<void> {
  const { input, path, shape, rows } = record as unknown as {
    input: string;
    path: string;
    shape: number[];
    rows: number;
  };
  const times = await measuredTimes(input);
  const meta = JSON.parse(await readFile(`${path}.meta.json`, 'utf8')) as {
    frames: { decoded: number };
    array: { bytes: number };
  };
  expect(meta.frames.decoded, input).toBe(times.length);
  const expected = expectedRows(times, 25); // only one_frame.mp4, 25 fps, needs a claim
  const table = parseTimes(await readFile(path.replace(/\.npy$/, '.times.csv'), 'utf8'), path);
  expect(
    table.map(({ firstFrame, lastFrame }) => ({ first: firstFrame, last: lastFrame })),
    input,
  ).toEqual(expected);
  expect([rows, shape], input).toEqual([expected.length, [expected.length, 192]]);
  expect((await stat(path)).size).toBe(meta.array.bytes);
  expect(table[0]!.start).toBe(0);
  for (const [i, row] of table.entries()) {
    expect(row.lastFrame).toBeLessThan(times.length);
    if (i === 0) continue;
    expect(row.start, `${input} row ${i}`).toBeGreaterThan(table[i - 1]!.start);
    expect(row.end, `${input} row ${i}`).toBeGreaterThan(table[i - 1]!.end);
  }
}
