import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, open, readFile, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/random.js';
import { findTools } from '../../src/video/tools.js';
import {
  filesBelow,
  leftovers,
  ledgerLines,
  nobodyLeft,
  records,
  hangingFfmpeg,
  start,
  videos,
  workFolder,
} from '../cli/program.js';

/** Names that file systems allow and shells, ffmpeg or we might stumble over. */
const oddNames = [
  'a:b.mp4',
  '-dash.mp4',
  '--.mp4',
  'line\nbreak.mp4',
  'frame%03d.mp4',
  `quo'te".mp4`,
  'bl  ank.mp4',
  ' .mp4',
  '[b]*{c}?.mp4',
  '{brace}.mp4',
  '@list.mp4',
  '$HOME.mp4',
  '`tick`.mp4',
  'back\\slash.mp4',
  'concat:x|y.mp4',
  'http:x.mp4',
  'ünïcödé 動画.mp4',
  'file:x.mp4',
  'comma,.mp4',
  `${'long'.repeat(60)}.mp4`,
];

type Maker = (path: string) => Promise<unknown>;
const copyOf =
  (name: string): Maker =>
  (path) =>
    cp(join(videos, name), path);
const startOf =
  (name: string, length: number): Maker =>
  async (path) => {
    await writeFile(path, (await readFile(join(videos, name))).subarray(0, length));
  };
const ffmpeg =
  (...options: string[]): Maker =>
  async (path) => {
    const args = ['-v', 'error', '-i', join(videos, 'three-seconds.mp4'), '-c', 'copy', ...options, path];
    execFileSync((await findTools()).ffmpegPath, args);
  };
const key = ['-encryption_key', '00112233445566778899aabbccddeeff', '-encryption_kid', '0'.repeat(32)];

/** Broken files and what each is called. */
const broken: readonly (readonly [name: string, code: string, make: Maker])[] = [
  ['empty.mp4', 'input.empty', (path) => writeFile(path, '')],
  ['text.mp4', 'input.not_a_video', copyOf('text.mp4')],
  ['text.mkv', 'input.not_a_video', copyOf('text.mp4')],
  ['html.mov', 'input.not_a_video', (path) => writeFile(path, '<html><body>404 not found</body></html>')],
  ['json.webm', 'input.not_a_video', (path) => writeFile(path, '{"error":"forbidden"}')],
  ['no-moov.mp4', 'decode.truncated', copyOf('no-moov.mp4')],
  ['cut-before-index.mp4', 'decode.truncated', startOf('odd-size.mp4', 5000)],
  ['audio.mp4', 'decode.no_video_stream', copyOf('audio-only.m4a')],
  ['audio.mkv', 'decode.no_video_stream', copyOf('audio-only.m4a')],
  ['zeros.mp4', 'input.not_a_video', (path) => writeFile(path, new Uint8Array(100_000))],
  [
    'noise.mp4',
    'input.not_a_video',
    (path) => {
      const random = seededRandom(7, 'noise');
      return writeFile(
        path,
        Uint8Array.from({ length: 50_000 }, () => random.integer(256)),
      );
    },
  ],
  ['ebml.mkv', 'input.not_a_video', startOf('truncated.mkv', 40)],
  ['magic.mkv', 'input.not_a_video', startOf('truncated.mkv', 4)],
  ['nine-bytes.mp4', 'input.not_a_video', startOf('demo.mp4', 9)],
  ['riff.avi', 'input.not_a_video', (path) => writeFile(path, 'RIFF\0\0\0\0AVI LIST')],
  ['encrypted.mp4', 'decode.encrypted', ffmpeg('-encryption_scheme', 'cenc-aes-ctr', ...key)],
  ['no-data.mp4', 'decode.no_frames', noData],
  ['dangling.mp4', 'input.not_found', (path) => symlink('nowhere', path)],
  ['missing.mp4', 'input.not_found', () => Promise.resolve()],
  ['fifo.mp4', 'input.not_a_file', (path) => Promise.resolve(execFileSync('mkfifo', [path]))],
];

/** The index in front is whole, of the pictures only the first bytes are there. */
async function noData(path: string): Promise<void> {
  await ffmpeg('-movflags', '+faststart')(path);
  const bytes = await readFile(path);
  const file = await open(path, 'r+');
  await file.truncate(bytes.indexOf('mdat') + 500);
  await file.close();
}

async function makeBroken(folder: string): Promise<string[]> {
  await mkdir(folder);
  for (const [name, , make] of broken) await make(join(folder, name));
  return broken.map(([name]) => join(folder, name));
}

test('twenty good videos with odd names and twenty broken ones: twenty results, twenty error records, code 3', async () => {
  const folder = await workFolder();
  const good = join(folder, 'good');
  await mkdir(good);
  for (const name of oddNames) await cp(join(videos, 'rotated.mp4'), join(good, name));
  const bad = await makeBroken(join(folder, 'bad'));
  const output = join(folder, 'out');
  const errors = join(folder, 'errors.ndjson');
  const program = start([
    'extract',
    good,
    ...bad,
    '-o',
    output,
    '--jobs',
    '2',
    '--errors',
    errors,
    '--log-format',
    'json',
  ]);
  const { status, stdout, stderr } = await program.ended;
  expect(status).toBe(3);
  const done = await records(stdout);
  expect(done.map(({ input }) => basename(String(input))).sort()).toEqual([...oddNames].sort());
  for (const { path } of done) expect(existsSync(String(path)), String(path)).toBe(true);
  const failed = await records(await readFile(errors, 'utf8'));
  const byCode = (rows: readonly (readonly [unknown, unknown])[]): string[] => rows.map((row) => row.join(' ')).sort();
  expect(byCode(failed.map(({ input, code }) => [basename(String(input)), code]))).toEqual(
    byCode(broken.map(([name, code]) => [name, code])),
  );
  // Standard error tells the same, among the lines for people.
  const said = stderr.split('\n').filter((line) => line.includes('egolens.error/1'));
  expect(said.sort()).toEqual((await readFile(errors, 'utf8')).trim().split('\n').sort());
  const lines = await ledgerLines(output);
  expect(lines.filter(({ event }) => event === 'failed')).toHaveLength(20);
  expect(lines.at(-1)).toMatchObject({ event: 'end', exit: 3 });
  expect(Object.keys(filesBelow(output))).toHaveLength(60);
  expect(leftovers(output)).toEqual([]);
  await nobodyLeft(program);
});

test('a decoder that gives nothing is stopped by --stall-timeout, a slow one by --timeout', async () => {
  const folder = await workFolder();
  const env = await hangingFfmpeg(folder, '');
  const video = join(videos, 'rotated.mp4');
  for (const [flag, code] of [
    ['--stall-timeout', 'decode.stalled'],
    ['--timeout', 'limit.time'],
  ] as const) {
    const program = start(['extract', video, '-o', join(folder, code), flag, '1500ms'], { env });
    const { status, stderr } = await program.ended;
    expect([status, stderr.includes(`error ${code}`)], stderr).toEqual([4, true]);
    await nobodyLeft(program);
  }
});
