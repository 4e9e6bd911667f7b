#!/usr/bin/env node
/**
 * `npm run demo`: a video in, features out, with the real program; bin/bootstrap.js has made sure of dependencies, build and ffmpeg.
 * Usage: node bin/demo.js [VIDEO]
 */
import { spawnSync } from 'node:child_process';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const here = (path) => relative(process.cwd(), path) || '.';
const video = process.argv[2] ?? join(root, 'fixtures', 'videos', 'demo.mp4');
const output = join(root, '.cache', 'demo');

const args = ['extract', here(video), '-o', here(output), '--ndjson', '--force'];
console.log(`$ egolens ${args.join(' ')}\n`);
const run = spawnSync(process.execPath, [join(root, 'bin', 'run.js'), ...args], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});
if (run.status !== 0) process.exit(run.status ?? 1);
const record = JSON.parse(run.stdout);

const { readFeatures } = await import('../dist/src/features/store.js');
const { timeText } = await import('../dist/src/time.js');
const { tableText, column } = await import('../dist/src/cli/output.js');
const { array, times } = await readFeatures(record.path);
const width = array.shape[1];
const row = (i) => array.data.subarray(i * width, (i + 1) * width);

console.log(
  tableText(
    [
      column('window', 'right'),
      column('frames'),
      column('start'),
      column('end'),
      { ...column('feature'), header: `feature (${width} numbers)` },
      { ...column('change', 'right'), header: 'change' },
    ],
    times.map(({ index, firstFrame, lastFrame, start, end }) => ({
      window: index,
      frames: `${firstFrame}-${lastFrame}`,
      start: timeText(start),
      end: timeText(end),
      feature: `${[...row(index).subarray(0, 4)].map((value) => value.toFixed(3).padStart(6)).join(' ')} …`,
      change: index === 0 ? '' : (1 - cosine(row(index - 1), row(index))).toFixed(4),
    })),
  ),
);
console.log(`change: 1 - cosine to the window before.
${array.shape[0]} rows of ${width} numbers by ${record.model}: this encoder knows Tabletop only, a drawn world (docs/default-encoder.md).
With an official checkpoint the same command gives InternVideo's features: see "Use an official checkpoint" in README.md.

features    ${here(record.path)}
time table  ${here(record.path.replace(/\.npy$/, '.times.csv'))}
how made    ${here(`${record.path}.meta.json`)}`);

function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    dot += value * b[i];
    aa += value * value;
    bb += b[i] * b[i];
  });
  return dot / Math.sqrt(aa * bb);
}
