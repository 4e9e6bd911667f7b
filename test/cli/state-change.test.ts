import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { writeNpy } from '../../src/checkpoint/npy.js';
import { seededRandom } from '../../src/random.js';
import { tensor } from '../../src/tensor.js';
import { temporaryFolder } from './command.js';
import { leftovers, records, run, type Ended } from './program.js';

/** Training, use, submission and score of a head for changes of state, over features in which a change can be seen. */

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const width = 6;

interface Change {
  readonly video: string;
  readonly start: number;
  /** Frames after the start; null without a change. */
  readonly pnr: number | null;
}

/** Two clips of eight seconds a video; every third one is without a change. */
function changes(split: string, videos: number): Change[] {
  const random = seededRandom(4, split);
  return Array.from({ length: 2 * videos }, (_, i) => {
    const pnr = i % 3 === 2 ? null : Math.floor(40 + 160 * random.uniform());
    return { video: `${split}-${i >> 1}`, start: (i % 2) * 300, pnr };
  });
}

function annotations(clips: readonly Change[], isTest = false): string {
  const entries = clips.map(({ video, start, pnr }, i) => ({
    ...{ clip_uid: null, clip_id: String(i), unique_id: `${video}@${start}`, video_uid: video },
    ...{
      clip_start_sec: start / 30,
      clip_end_sec: start / 30 + 8,
      clip_start_frame: start,
      clip_end_frame: start + 240,
    },
    ...{ parent_start_sec: start / 30, parent_end_sec: start / 30 + 8 },
    ...{ parent_start_frame: start, parent_end_frame: start + 240 },
    ...(!isTest && { state_change: pnr !== null }),
    ...(!isTest && pnr !== null && { clip_pnr_frame: start + pnr, parent_pnr_frame: start + pnr }),
  }));
  return JSON.stringify({ version: 'v1', date: '', description: '', split: 'any', clips: entries });
}

/** Windows of 32 frames every 16, as `--clock ego4d-grid` has them: one number tells before from after. */
async function writeFeatures(clips: readonly Change[]): Promise<void> {
  const random = seededRandom(5, 'features');
  for (const video of new Set(clips.map((clip) => clip.video))) {
    const rows = 36;
    const data = Float32Array.from({ length: rows * width }, () => 0.1 * random.normal());
    for (const { start, pnr } of clips.filter((clip) => clip.video === video)) {
      for (let row = 0; row < rows; row++) {
        const middle = 16 * row + 16 - start;
        if (pnr !== null && middle >= 0 && middle < 240) data[row * width]! += middle < pnr ? 1 : -1;
      }
    }
    await writeFile(at('features', `${video}.npy`), writeNpy(tensor('float32', [rows, width], data)));
  }
}

/** A run of one of the two tasks, validated with a file of the folder. */
const trainingWith = (val: string, task: 'pnr' | 'oscc', ...more: string[]): string[] => [
  ...['train', task, '--features', at('features'), '--clock', 'ego4d-grid', '--gt', at('train.json')],
  ...['--val', at(val), '--device', 'cpu', '--threads', '1', ...more],
];
const training = (task: 'pnr' | 'oscc', ...more: string[]): string[] =>
  trainingWith('fho_oscc-pnr_val.json', task, ...more);
const asked = (mode: string, ...more: string[]): string[] => [
  ...['state-change', '--mode', mode, '--head', at('run', 'final'), '--features', at('features')],
  ...['--clock', 'ego4d-grid', '--device', 'cpu', ...more],
];

let trained: Ended;
beforeAll(async () => {
  await mkdir(at('features'));
  const [own, val] = [changes('train', 12), changes('val', 4)];
  await writeFeatures([...own, ...val]);
  await writeFile(at('train.json'), annotations(own));
  await writeFile(at('fho_oscc-pnr_val.json'), annotations(val));
  await writeFile(at('test.json'), annotations(val, true));
  trained = await run(training('pnr', '-o', at('run'), '--epochs', '15', '--batch', '8', '--lr', '3e-3'));
});

test('training gives both official numbers an epoch and a head that is whole', async () => {
  expect(trained.status, trained.stderr).toBe(0);
  const rows = await records(trained.stdout);
  expect(rows).toHaveLength(15);
  expect(Object.keys(rows[0]!['metrics'] as object)).toEqual(['mean_error_sec', 'accuracy']);
  expect(trained.stderr).toContain('24 clips (16 with a change), 8 to validate; 15 rows; pnr-oscc on cpu');
  expect(trained.stderr).toContain(`wrote ${at('run', 'final')}`);
  expect(leftovers(at('run'))).toEqual([]);
});

test.each([
  ['localize', 'pnr', 'mean_error_sec'],
  ['classify', 'oscc', 'accuracy'],
] as const)('%s: records, submission and score agree with training', async (mode, task, metric) => {
  const records_ = at(`${task}.ndjson`);
  const { status, stderr } = await run(asked(mode, '--clips', at('test.json'), '-o', records_));
  expect(status, stderr).toBe(0);
  const rows = await records(await readFile(records_, 'utf8'));
  expect(rows).toHaveLength(8);
  expect(rows[1]).toMatchObject({ id: 'val-0@300', of: { kind: 'video', uid: 'val-0' }, start: 10, end: 18 });
  const submission = at(`${task}.json`);
  const submitted = await run(['submit', task, '--pred', records_, '--test', at('test.json'), '-o', submission]);
  expect(submitted.status, submitted.stderr).toBe(0);
  const valid = await run(['validate', 'submission', submission, '--task', task, '--against', at('test.json')]);
  expect(valid.status, valid.stdout + valid.stderr).toBe(0);
  const said = trained.stderr.split('\n').findLast((line) => line.startsWith('best at'));
  for (const pred of [records_, submission]) {
    const scored = await run(['eval', task, '--pred', pred, '--gt', at('fho_oscc-pnr_val.json')]);
    expect(scored.status, scored.stderr).toBe(0);
    const value = Number((await records(scored.stdout)).find((row) => row['metric'] === metric)?.['value']);
    expect(said).toContain(`${metric} ${value.toFixed(4)}`);
    // The middle of the clip is about 1.3 s off.
    if (task === 'pnr') expect(value).toBeLessThan(0.6);
    else expect(value).toBeGreaterThanOrEqual(0.75);
  }
});

test('own features are cut into windows of eight seconds', async () => {
  const { status, stdout, stderr } = await run(asked('classify'));
  expect(status, stderr).toBe(0);
  const rows = (await records(stdout)).filter(({ id }) => String(id).startsWith('val-0'));
  expect(rows.map(({ id, start, of }) => [id, start, of])).toEqual([
    ['val-0#0', 0, { kind: 'file' }],
    ['val-0#1', 8, { kind: 'file' }],
    ['val-0#2', expect.closeTo(11.7333, 3), { kind: 'file' }],
  ]);
  await writeFile(at('own.ndjson'), stdout);
  const refused = await run([
    ...['submit', 'oscc', '--pred', at('own.ndjson'), '--test', at('test.json'), '-o', at('own.json')],
  ]);
  expect(refused.status).toBe(5);
  expect(refused.stderr).toContain('found a file of your own');
});

test('a metric that there is not, clips without features, and a split without annotations are refused', async () => {
  const metric = await run(training('oscc', '-o', at('none'), '--early-stop', 'map'));
  expect([metric.status, metric.stderr]).toEqual([
    2,
    expect.stringContaining('expected one of accuracy, mean_error_sec'),
  ]);
  const lone = annotations([{ video: 'elsewhere', start: 0, pnr: 3 }]);
  await writeFile(at('lone.json'), lone);
  const missing = await run(trainingWith('lone.json', 'pnr', '-o', at('none')));
  expect(missing.stderr).toContain('1 of 1 clips have no features: `elsewhere@0`');
  expect(missing.status).toBe(4);
  const unlabelled = await run(trainingWith('test.json', 'pnr', '-o', at('none')));
  expect(unlabelled.stderr).toContain('expected `state_change`, found none');
});
