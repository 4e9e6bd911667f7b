/**
 * Every track from pixels to the official numbers through the real command line, with the embedded encoder and heads: synth, extract, predict,
 * submit, validate, eval (`npm run report:defaults` on two short clips).
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/files.js';

interface Figure {
  readonly task: string;
  readonly metric: string;
  readonly value: number;
  readonly blind: number;
  readonly head: string;
}

let folder: string;
let figures: readonly Figure[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens tracks-'));
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(packageRoot, 'bin', 'report-defaults.js'), '--work', folder, '--clips', '2', '--json'],
    { maxBuffer: 2 ** 24 },
  );
  figures = JSON.parse(stdout) as Figure[];
}, 1_200_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const figure = (task: string, metric: string): Figure => {
  const found = figures.find((one) => one.task === task && one.metric === metric);
  if (found === undefined) throw new Error(`no ${metric} of ${task}`);
  return found;
};

// Two clips tell little: the bounds are far below the figures on many (docs/default-heads.md).
test.each([
  ['mq', 'Average mAP', 0.5],
  ['nlq', 'R@1,IoU=0.3', 0.3],
  ['scod', 'AP50', 0.5],
  ['oscc', 'accuracy', 0.65],
  ['sta', 'map_box_noun_verb_ttc', 3],
])('%s: %s is above %f, and above three blind guesses or more', (task, metric, least) => {
  const { value, blind } = figure(task, metric);
  expect(value).toBeGreaterThan(least);
  if (task !== 'oscc') expect(value).toBeGreaterThan(3 * blind);
});

test.each([
  ['fhp', 'left_mean_disp', 1],
  ['fhp', 'right_mean_disp', 1],
  ['pnr', 'mean_error_sec', 0.5],
  ['lta', 'action ED@20', 1],
])('%s: %s is below that of a blind guess', (task, metric, share) => {
  const { value, blind } = figure(task, metric);
  expect(value).toBeLessThan(share * blind);
});

test('each track leaves a challenge file and what it was made from', async () => {
  const names = await readdir(folder);
  for (const { task } of figures) {
    expect(names).toEqual(
      expect.arrayContaining([`${task}.ndjson`, `${task}-submission.json`, `${task}-submission.json.meta.json`]),
    );
  }
});
