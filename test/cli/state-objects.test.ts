import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { headOf } from '../../heads/index.js';
import { writeNpy } from '../../src/checkpoint/npy.js';
import { openFeatureWriter } from '../../src/features/store.js';
import { packageRoot } from '../../src/files.js';
import { openModelFolder } from '../../src/models/folder.js';
import type { BoxCorners } from '../../src/models/forecasts.js';
import { openDetector } from '../../src/pipeline/detector.js';
import { seededRandom } from '../../src/random.js';
import { tensor, zeros } from '../../src/tensor.js';
import { temporaryFolder } from './command.js';
import { leftovers, records, run, type Ended } from './program.js';

/** Training, use, submission and score of a detector, over tokens that are marked where the object lies. */

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const [width, height] = [320, 240];
const sha = 'a'.repeat(64);

interface Frame {
  readonly video: string;
  /** Of the point of no return; the frames before and after lie 20 frames away. */
  readonly frame: number;
  readonly box: BoxCorners;
}

/** Three frames a video. */
function framesOf(split: string, videos: number): Frame[] {
  const random = seededRandom(3, split);
  return Array.from({ length: 3 * videos }, (_, i) => {
    const [x, y] = [Math.round(220 * random.uniform()), Math.round(160 * random.uniform())];
    return { video: `${split}-${Math.floor(i / 3)}`, frame: 100 + 100 * (i % 3), box: [x, y, x + 90, y + 70] };
  });
}

/** `fho_scod_*.json`, as far as it is looked at; `boxes` in place of those of the frames. */
function annotations(frames: readonly Frame[], boxes?: readonly (readonly object[] | undefined)[]): string {
  const clips = frames.map(({ video, frame, box: [x1, y1, x2, y2] }, i) => {
    const own = [
      { object_type: 'object_of_change', bbox: { x: x1, y: y1, width: x2 - x1, height: y2 - y1 } },
      { object_type: 'left_hand', bbox: { x: 0, y: 0, width: 5, height: 5 } },
    ];
    const place = (number: number) => ({ frame_number: number, clip_frame_number: number, width, height });
    const bbox = boxes === undefined ? own : boxes[i];
    return {
      ...{ video_uid: video, clip_id: i, clip_uid: null },
      ...{ clip_parent_start_sec: 0, clip_parent_end_sec: 20, clip_parent_start_frame: 0, clip_parent_end_frame: 600 },
      pre_frame: place(frame - 20),
      pnr_frame: { ...place(frame), ...(bbox && { bbox }) },
      post_frame: place(frame + 20),
    };
  });
  return JSON.stringify({ version: '1', date: '', description: '', split: 'any', clips });
}

/** `fho_sta_*.json` of the same frames and boxes. */
function interactions(frames: readonly Frame[]): string {
  return JSON.stringify({
    info: {},
    annotations: frames.map(({ video, frame, box }, i) => ({
      ...{ uid: `ask-${i}`, video_id: video, clip_uid: null, frame, clip_frame: frame },
      objects: [{ box, noun_category_id: 0, verb_category_id: 0, time_to_contact: 1 }],
    })),
  });
}

/** A file of windows that end at the frames and around them; the box is marked in the last time of its own. */
async function writeTokens(
  frames: readonly Frame[],
  model: { readonly name: string; readonly digest: string },
  grid: readonly [number, number, number],
  channels: number,
): Promise<void> {
  const random = seededRandom(5, 'tokens');
  const [times, h, w] = grid;
  for (const video of new Set(frames.map((frame) => frame.video))) {
    const rows = frames
      .filter((frame) => frame.video === video)
      .flatMap(({ frame, box }) =>
        [-20, 0, 20].map((shift) => ({ last: frame + shift, box: shift === 0 ? box : null })),
      );
    const data = Float32Array.from(
      { length: rows.length * times * h * w * channels },
      () => 0.3 * (random.uniform() - 0.5),
    );
    rows.forEach(({ box }, row) => {
      if (box === null) return;
      for (let place = 0; place < h * w; place++) {
        const [x, y] = [((place % w) * width) / w, (Math.floor(place / w) * height) / h];
        const across = Math.min(box[2], x + width / w) - Math.max(box[0], x);
        const down = Math.min(box[3], y + height / h) - Math.max(box[1], y);
        if (across <= 0 || down <= 0) continue;
        const token = (row * times + times - 1) * h * w + place;
        for (let channel = 0; channel < 16; channel++)
          data[token * channels + channel]! += (across * down * w * h) / (width * height);
      }
    });
    const array = at('tokens', `${video}.npy`);
    const target = {
      type: 'npy',
      array,
      times: at('tokens', `${video}.times.csv`),
      meta: `${array}.meta.json`,
    } as const;
    await using writer = await openFeatureWriter(target, [times * h * w, channels]);
    await writer.append(tensor('float32', [rows.length, times * h * w, channels], data));
    await writer.finish(
      {
        input: { name: `${video}.mp4`, bytes: 5, identity: `ends:${sha}` },
        ...{ stream: 0, startOffset: 0, frames: { claimed: 400, decoded: 400 }, decodeErrors: 0, warnings: [] },
        ...{
          picture: { width, height },
          clock: null,
          of: { kind: 'file' },
          preset: 'nano-8x8@1',
          pixels: 'fast',
          model,
        },
        ...{ output: 'out_last', precision: 'fp32', provider: 'cpu', key: sha },
        versions: { program: '0', runtime: '0', ffmpeg: '0' },
      },
      rows.map(({ last }, index) => ({
        index,
        firstFrame: last - 50,
        lastFrame: last,
        start: (last - 50) / 30,
        end: (last + 1) / 30,
      })),
    );
  }
}

const training = (gt: string, val: string, out: string, ...more: string[]): string[] => [
  ...['train', 'scod', '--features', at('tokens'), '--gt', at(gt), '--val', at(val), '-o', at(out)],
  ...['--device', 'cpu', '--threads', '1', ...more],
];
const quick = ['--epochs', '1', '--batch', '4'];
const asked = (head: string, ...more: string[]): string[] => [
  ...['state-change', '--mode', 'objects', '--head', at(head, 'final'), '--features', at('tokens')],
  ...['--device', 'cpu', ...more],
];

const [own, val] = [framesOf('train', 8), framesOf('val', 3)];
let trained: Ended;
beforeAll(async () => {
  const { spec, id } = await openModelFolder(join(packageRoot, 'fixtures', 'models', 'videomae-nano'));
  const [name = '', digest = ''] = id.split('@');
  await writeTokens(
    [...own, ...val],
    { name, digest: digest.padEnd(64, '0') },
    spec.tokenGrid!,
    spec.outputs[spec.tokenOutput]!.shape.at(-1) as number,
  ); // it has a grid, and rows of one width
  await writeFile(at('train.json'), annotations(own));
  await writeFile(at('val.json'), annotations(val));
  await writeFile(at('test.json'), annotations(val, []));
  await writeFile(at('sta_train.json'), interactions(own));
  await writeFile(at('sta_val.json'), interactions(val));
  trained = await run(training('train.json', 'val.json', 'run', '--frames', 'pnr', '--epochs', '8', '--batch', '2'));
});

test('training gives the official numbers an epoch and a head that is whole', async () => {
  expect(trained.status, trained.stderr).toBe(0);
  const rows = await records(trained.stdout);
  expect(rows).toHaveLength(8);
  expect(Object.keys(rows[0]!['metrics'] as object)).toEqual(['ap50', 'ap', 'ap75']);
  expect(trained.stderr).toContain('24 frames with 24 boxes, 9 to validate');
  expect(leftovers(at('run'))).toEqual([]);
});

test('records, submission and score agree with training', async () => {
  const { status, stderr } = await run(asked('run', '--clips', at('test.json'), '-o', at('objects.ndjson')));
  expect(status, stderr).toBe(0);
  const rows = await records(await readFile(at('objects.ndjson'), 'utf8'));
  expect(rows[0]).toMatchObject({
    schema: 'egolens.object/1',
    id: '1',
    frame: 100,
    of: { kind: 'video', uid: 'val-0' },
  });
  const counts = new Map<unknown, number>();
  for (const { id } of rows) counts.set(id, (counts.get(id) ?? 0) + 1);
  expect(Math.max(...counts.values())).toBeLessThanOrEqual(100);
  const submitted = await run([
    'submit',
    'scod',
    '--pred',
    at('objects.ndjson'),
    '--test',
    at('test.json'),
    '-o',
    at('objects.json'),
  ]);
  expect(submitted.status, submitted.stderr).toBe(0);
  const valid = await run([
    'validate',
    'submission',
    at('objects.json'),
    '--task',
    'scod',
    '--against',
    at('test.json'),
  ]);
  expect(valid.status, valid.stdout + valid.stderr).toBe(0);
  const said = trained.stderr.split('\n').findLast((line) => line.startsWith('best at'));
  for (const pred of ['objects.ndjson', 'objects.json']) {
    const scored = await run(['eval', 'scod', '--pred', at(pred), '--gt', at('val.json')]);
    expect(scored.status, scored.stderr).toBe(0);
    const found = await records(scored.stdout);
    for (const metric of ['AP50', 'AP', 'AP75']) {
      const value = Number(found.find((row) => row['metric'] === metric)?.['value']);
      expect(said).toContain(`${metric.toLowerCase()} ${value.toFixed(4)}`);
      if (metric === 'AP50') expect(value).toBeGreaterThan(0.5);
    }
  }
});

test('windows of own features are frames of the video they come from', async () => {
  const { status, stdout, stderr } = await run(asked('run', '--top', '1', '--frame-size', '640x480'));
  expect(status, stderr).toBe(0);
  const rows = (await records(stdout)).filter(({ id }) => String(id).startsWith('val-0#'));
  const marked = rows.find(({ frame }) => frame === 100)!; // one a window that is marked
  expect(marked).toMatchObject({ of: { kind: 'file' } });
  const [x1 = 0, , x2 = 0] = marked['box'] as number[];
  expect(Math.abs((x1 + x2) / 2 - (val[0]!.box[0] + val[0]!.box[2]))).toBeLessThan(60);
});

test('a file of coming interactions trains a detector that gives candidate boxes', async () => {
  const { status, stderr } = await run(training('sta_train.json', 'sta_val.json', 'sta', ...quick));
  expect(status, stderr).toBe(0);
  expect(stderr).toContain('24 frames with 24 boxes, 9 to validate');
  await using detector = await openDetector(at('sta', 'final'), { device: 'cpu', threads: 1, headOf });
  const [tokens, channels] = [256, detector.head.widths[0] ?? 0];
  const found = await detector.boxes(
    [zeros('float32', [tokens, channels]), zeros('float32', [tokens, channels])],
    [
      [width, height],
      [10, 10],
    ],
  );
  expect(found).toHaveLength(2);
  for (const { box } of found[1]!) expect(Math.max(...box)).toBeLessThanOrEqual(10);
  const wrong = zeros('float32', [7, channels]);
  await expect(detector.boxes([wrong], [[width, height]])).rejects.toMatchObject({ code: 'data.shape' });
});

test('a head of three frames sees those before and after, and is no detector of one', async () => {
  const { status, stderr } = await run(training('train.json', 'val.json', 'all', ...quick));
  expect(status, stderr).toBe(0);
  const clips = await run(asked('all', '--clips', at('val.json')));
  expect(clips.status, clips.stderr).toBe(0);
  const windows = await run(asked('all'));
  expect(windows.status, windows.stderr).toBe(0);
  await expect(openDetector(at('all', 'final'), { device: 'cpu', headOf })).rejects.toMatchObject({
    code: 'model.config',
  });
  const none = await run(training('sta_train.json', 'sta_val.json', 'none', '--frames', 'all', ...quick));
  expect([none.status, none.stderr]).toEqual([2, expect.stringContaining('has no frames before and after a change')]);
});

test('boxes outside of their frame and without area are left out, a frame without an object is kept', async () => {
  const box = (x: number, y: number, w: number, h: number) => ({
    object_type: 'object_of_change',
    bbox: { x, y, width: w, height: h },
  });
  const odd = own.map((_, i) => [[box(-50, -50, 40, 40)], [box(10, 10, 0, 20)], [], [box(300, 200, 90, 90)]][i % 4]);
  await writeFile(at('odd.json'), annotations(own, odd));
  const { status, stderr } = await run(training('odd.json', 'val.json', 'odd', ...quick));
  expect(status, stderr).toBe(0);
  expect(stderr).toContain('12 boxes left out, for they have no area within their frame');
  expect(stderr).toContain('24 frames with 6 boxes');
  await writeFile(
    at('empty.json'),
    annotations(
      own,
      own.map(() => []),
    ),
  );
  const empty = await run(training('empty.json', 'val.json', 'none', ...quick));
  expect([empty.status, empty.stderr]).toEqual([
    5,
    expect.stringContaining('expected at least one box within its frame'),
  ]);
});

test('splits without annotations, other features and flags that do not fit are refused', async () => {
  const bare = await run(training('train.json', 'test.json', 'none', ...quick));
  expect([bare.status, bare.stderr]).toEqual([5, expect.stringContaining('frame `1`: expected boxes, found none')]);
  const mixed = await run(training('train.json', 'sta_val.json', 'none', ...quick));
  expect([mixed.status, mixed.stderr]).toEqual([2, expect.stringContaining('expected files of one task')]);
  const metric = await run(training('train.json', 'val.json', 'none', '--early-stop', 'map'));
  expect([metric.status, metric.stderr]).toEqual([2, expect.stringContaining('expected one of ap50, ap, ap75')]);
  const flag = await run(['state-change', 'a.mp4', '--mode', 'classify', '--at', '3', '--head', at('run', 'final')]);
  expect([flag.status, flag.stderr]).toEqual([2, expect.stringContaining('--at is for `--mode objects`')]);
  const three = await run([
    'state-change',
    'a.mp4',
    '--mode',
    'objects',
    '--pre',
    '1',
    '--pnr',
    '2',
    '--post',
    '3',
    '--head',
    at('run', 'final'),
  ]);
  expect([three.status, three.stderr]).toEqual([2, expect.stringContaining('looks at one frame')]);
});

test('pooled features are refused with the way to get tokens', async () => {
  const pooled = at('pooled');
  await mkdir(pooled);
  for (const { video } of own)
    await writeFile(join(pooled, `${video}.npy`), writeNpy(tensor('float32', [4, 6], new Float32Array(24))));
  const { status, stderr } = await run([
    ...[
      'train',
      'scod',
      '--features',
      pooled,
      '--clock',
      'ego4d-grid',
      '--gt',
      at('train.json'),
      '--val',
      at('train.json'),
    ],
    ...['-o', at('none')],
  ]);
  expect([status, stderr]).toEqual([5, expect.stringContaining('expected [rows, tokens, width]')]);
  expect(stderr).toContain('extract --pool tokens');
});
