import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { fhpHead } from '../../heads/fhp-head.js';
import { packageRoot } from '../../src/files.js';
import { initialWeights } from '../../src/models/head.js';
import { openModelFolder } from '../../src/models/folder.js';
import { stateDictOf, writeHeadFolder } from '../../src/pipeline/head-writer.js';
import { parseFrameSize } from '../../src/cli/train-hands-command.js';
import { seededRandom } from '../../src/random.js';
import { writeWindows } from '../token-features.js';
import { temporaryFolder } from './command.js';
import { leftovers, records, run, type Ended } from './program.js';

/** Training, use, submission and score of a head for future hands, over tokens in which the hands can be seen. */

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const width = 6;
const size = [320, 240] as const;
const keyFrames = ['pre_45', 'pre_30', 'pre_15', 'pre_frame', 'contact_frame'];

interface Reach {
  readonly video: string;
  /** Of the frame before pre_45. */
  readonly frame: number;
  /** Left and right hand on the grid: column, row; null where it is out of view. */
  readonly hands: readonly (readonly [number, number] | null)[];
}

let encoder: { readonly id: string; readonly grid: readonly [number, number, number] };

function reaches(split: string, videos: number): Reach[] {
  const random = seededRandom(8, split);
  const [, rows, columns] = encoder.grid;
  return Array.from({ length: 3 * videos }, (_, i) => {
    const hands = [0, 1].map((hand) =>
      i % 5 === 4 && hand === 0 ? null : ([random.integer(columns), random.integer(rows)] as const),
    );
    return { video: `${split}-${Math.floor(i / 3)}`, frame: 60 + 60 * (i % 3), hands };
  });
}

/** Hands stay where they are. */
function annotations(all: readonly Reach[], isTest = false): string {
  const [, rows, columns] = encoder.grid;
  const clips = [...new Set(all.map(({ video }) => video))].map((video, i) => ({
    ...{ clip_id: i + 1, clip_uid: null, video_uid: video },
    frames: all
      .filter((reach) => reach.video === video)
      .map(({ frame, hands }) => {
        const boxes = hands.flatMap((hand, side) => {
          if (hand === null) return [];
          const place = [((hand[0] + 0.5) / columns) * size[0], ((hand[1] + 0.5) / rows) * size[1]];
          return [{ [side === 0 ? 'left_hand' : 'right_hand']: place }];
        });
        const places = keyFrames.map((name, k) => [
          name,
          { frame: frame + 1 + 15 * k, clip_frame: null, ...(!isTest && { boxes }) },
        ]);
        return Object.fromEntries(places) as object;
      }),
  }));
  return JSON.stringify({ version: 'v1', date: '', description: '', split: 'any', manifest: '', clips });
}

async function writeTokens(
  into: string,
  all: readonly Reach[],
  more: { readonly width?: number; readonly picture?: false } = {},
): Promise<void> {
  const [slots, rows, columns] = encoder.grid;
  const channels = more.width ?? width;
  const random = seededRandom(9, into);
  for (const video of new Set(all.map((reach) => reach.video))) {
    const own = all.filter((reach) => reach.video === video);
    await writeWindows(at(into), video, {
      lasts: own.map(({ frame }) => frame),
      row: [slots * rows * columns, channels],
      of: { kind: 'video', uid: video },
      model: encoder.id,
      ...(more.picture !== false && { picture: { width: size[0], height: size[1] } }),
      value(row, i) {
        const [token, channel] = [Math.floor(i / channels) % (rows * columns), i % channels];
        // A hand out of view shows in all tokens.
        if (channel >= 2) return channel === 2 && own[row]!.hands[0] === null ? -2 : channel % 3;
        const hand = own[row]!.hands[channel];
        const isHere = hand !== undefined && hand !== null && token === hand[1] * columns + hand[0];
        return 0.1 * random.normal() + (isHere ? 4 : 0);
      },
    });
  }
}

const training = (output: string, ...more: string[]): string[] => [
  ...['train', 'fhp', '--features', at('tokens'), '--gt', at('train.json'), '--val', at('fho_hands_val.json')],
  ...['-o', at(output), '--device', 'cpu', '--threads', '1', ...more],
];
const asked = (...more: string[]): string[] => ['hands', '--head', at('run', 'final'), '--device', 'cpu', ...more];

let trained: Ended;
beforeAll(async () => {
  const { id, spec } = await openModelFolder(join(packageRoot, 'fixtures', 'models', 'videomae-nano'));
  encoder = { id, grid: spec.tokenGrid! }; // it has one
  await mkdir(at('tokens'));
  const [own, val] = [reaches('train', 16), reaches('val', 4)];
  await writeTokens('tokens', [...own, ...val]);
  await writeFile(at('train.json'), annotations(own));
  await writeFile(at('fho_hands_val.json'), annotations(val));
  await writeFile(at('test.json'), annotations(val, true));
  trained = await run(training('run', '--epochs', '10', '--batch', '4', '--lr', '5e-3', '--mirror', '0'));
}, 180_000);

test('training gives the official numbers an epoch, tells what a blind guess gets, and leaves a head that is whole', async () => {
  expect(trained.status, trained.stderr).toBe(0);
  const rows = await records(trained.stdout);
  expect(rows).toHaveLength(10);
  expect(Object.keys(rows[0]!['metrics'] as object)).toEqual([
    ...['mean_displacement', 'left_mean_disp', 'right_mean_disp', 'left_contact_disp', 'right_contact_disp'],
  ]);
  expect(trained.stderr).toMatch(
    /48 frames, 12 to validate; the mean place of the training split: mean_displacement \d+\.\d; hands on cpu/,
  );
  expect(leftovers(at('run'))).toEqual([]);
});

test('records, submission and score agree with training, and beat the blind guess', async () => {
  const path = at('hands.ndjson');
  const { status, stderr } = await run(asked('--features', at('tokens'), '--clips', at('test.json'), '-o', path));
  expect(status, stderr).toBe(0);
  const rows = await records(await readFile(path, 'utf8'));
  expect(rows).toHaveLength(12);
  expect(rows[1]).toMatchObject({ id: '1_120', of: { kind: 'video', uid: 'val-0' }, frame: 120 });
  expect(rows[1]!['time']).toBeCloseTo(120.5 / 30, 6);
  const submission = at('submission.json');
  const submitted = await run(['submit', 'fhp', '--pred', path, '--test', at('test.json'), '-o', submission]);
  expect(submitted.status, submitted.stderr).toBe(0);
  const valid = await run(['validate', 'submission', submission, '--task', 'fhp', '--against', at('test.json')]);
  expect(valid.status, valid.stdout + valid.stderr).toBe(0);
  const said = trained.stderr.split('\n').findLast((line) => line.startsWith('best at'))!;
  for (const pred of [path, submission]) {
    const scored = await run(['eval', 'fhp', '--pred', pred, '--gt', at('fho_hands_val.json')]);
    expect(scored.status, scored.stderr).toBe(0);
    const found = await records(scored.stdout);
    for (const metric of ['left_mean_disp', 'right_contact_disp']) {
      const value = Number(found.find((row) => row['metric'] === metric)?.['value']);
      expect(value).toBeCloseTo(Number(new RegExp(`${metric} ([\\d.]+)`).exec(said)?.[1]), 2);
      expect(value).toBeLessThan(30);
    }
  }
  // The left hand of each fifth frame is out of view: it has a place all the same.
  const seen = rows.map(({ visible }) => (visible as number[][])[0]![0]!);
  const isHidden = (i: number): boolean => i % 5 === 4;
  expect(Math.max(...seen.filter((_, i) => isHidden(i)))).toBeLessThan(
    Math.min(...seen.filter((_, i) => !isHidden(i))),
  );
  expect(rows.flatMap(({ points }) => (points as number[][][]).flat(2)).every(Number.isFinite)).toBe(true);
});

test('own features are asked about at the end of each window; shares of the frame are no submission', async () => {
  const own = await run(asked('--features', at('tokens')));
  expect(own.status, own.stderr).toBe(0);
  const rows = (await records(own.stdout)).filter(({ id }) => String(id).startsWith('val-0'));
  expect(rows.map(({ id, frame, time }) => [id, frame, time])).toEqual([
    ['val-0#0', 60, 60.5 / 30],
    ['val-0#1', 120, 120.5 / 30],
    ['val-0#2', 180, 180.5 / 30],
  ]);
  const path = at('shares.ndjson');
  const shares = await run(
    asked('--features', at('tokens'), '--clips', at('test.json'), '--space', 'normalized', '-o', path),
  );
  expect(shares.status, shares.stderr).toBe(0);
  const [first] = await records(await readFile(path, 'utf8'));
  expect(first).toMatchObject({ space: 'normalized' });
  expect(Math.max(...(first!['points'] as number[][][]).flat(2))).toBeLessThanOrEqual(1);
  const refused = await run(['submit', 'fhp', '--pred', path, '--test', at('test.json'), '-o', at('never.json')]);
  expect([refused.status, refused.stderr]).toEqual([5, expect.stringContaining('shares of the frame')]);
});

test('the size of the frames scales the places; without one the flag is named', async () => {
  await mkdir(at('sizeless'));
  await writeTokens('sizeless', reaches('val', 1), { picture: false });
  const clips = ['--features', at('sizeless'), '--clips', at('test.json')];
  const none = await run(asked(...clips));
  expect([none.status, none.stderr]).toEqual([5, expect.stringContaining('--frame-size WxH')]);
  const pointsOf = async (text: string) => {
    const { status, stdout, stderr } = await run(asked(...clips, '--frame-size', text));
    expect([0, 3], stderr).toContain(status);
    return ((await records(stdout))[0]!['points'] as number[][][])[0]![0]!;
  };
  const [[x, y], [wide, high]] = await Promise.all([pointsOf('320x240'), pointsOf('640x720')]);
  expect([wide, high]).toEqual([expect.closeTo(2 * x!, 4), expect.closeTo(3 * y!, 4)]);
  expect(() => parseFrameSize('0x3')).toThrow('0x3');
});

test('tokens of another width, pooled rows, a frame before the first window, a split without hands: each is told', async () => {
  await mkdir(at('narrow'));
  await writeTokens('narrow', reaches('val', 1), { width: 3 });
  await mkdir(at('pooled'));
  await writeWindows(at('pooled'), 'val-0', { lasts: [60], row: [width], value: () => 0, model: encoder.id });
  await writeFile(
    at('early.json'),
    annotations([
      {
        video: 'val-0',
        frame: 30,
        hands: [
          [0, 0],
          [1, 1],
        ],
      },
    ]),
  );
  const [narrow, pooled, early, blind] = await Promise.all([
    run(asked('--features', at('narrow'))),
    run(asked('--features', at('pooled'))),
    run(asked('--features', at('tokens'), '--clips', at('early.json'))),
    run(training('none').map((one) => (one === at('train.json') ? at('test.json') : one))),
  ]);
  expect([narrow.status, narrow.stderr]).toEqual([5, expect.stringContaining(`rows of 3 numbers`)]);
  expect([pooled.status, pooled.stderr]).toEqual([5, expect.stringContaining('`extract --pool tokens`')]);
  expect([early.status, early.stdout, early.stderr]).toEqual([4, '', expect.stringContaining('1_30')]);
  expect([blind.status, blind.stderr]).toEqual([5, expect.stringContaining('found none in 12 items')]);
});

test('an official head takes the pooled rows of two seconds, and gives pixels as it was trained', async () => {
  const head = fhpHead.spec({ dim: width });
  const random = seededRandom(3, 'official');
  const weights = initialWeights(head, random);
  await writeHeadFolder(
    {
      ...{ name: 'official', head, tensors: stateDictOf(weights), labels: {}, clock: null, options: {} },
      features: [{ model: null, output: null, width }],
      trained: 'seeded',
      licence: { code: 'unknown', weights: 'unknown' },
      source: {
        name: 'none',
        bytes: 0,
        sha256: '0'.repeat(64),
        container: 'none',
        weightsKey: null,
        prefix: null,
        left: [],
      },
    },
    { output: at('official') },
  );
  await mkdir(at('rows'));
  await writeWindows(at('rows'), 'val-0', { lasts: [60, 62, 120], row: [width], value: (row, i) => 100 * row + i });
  const { status, stdout, stderr } = await run([
    'hands',
    '--head',
    at('official'),
    '--features',
    at('rows'),
    '--device',
    'cpu',
  ]);
  expect(status, stderr).toBe(0);
  const rows = await records(stdout);
  expect(rows).toHaveLength(3);
  const projection = weights.get('projection.weight')!.data;
  const firstOf = (row: number): number =>
    projection.subarray(0, width).reduce((sum, value, i) => sum + value * (100 * row + i), 0);
  const first = rows.map(({ points }) => (points as number[][][])[0]![0]![0]);
  // The second window begins within two seconds before its end, and so does the first one.
  expect(first).toEqual([firstOf(0), firstOf(0.5), firstOf(2)].map((value) => expect.closeTo(value, 3) as number));
  expect(rows[0]).not.toHaveProperty('visible');
});
