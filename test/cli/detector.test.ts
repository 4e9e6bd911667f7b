import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { findTools } from '../../src/video/tools.js';
import { brightDetector, writeTfjs } from '../tfjs.js';
import { temporaryFolder } from './command.js';
import { filesBelow, records, run, type Ended } from './program.js';

/** A detector over pixels: its import out of a graph model of TensorFlow.js, and its boxes in `anticipate`. */

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const env = { EGOLENS_CACHE_DIR: at('cache'), EGOLENS_MODELS_DIR: at('models') };
const config = { input: 'picture', size: 32, classes: 'scores', edges: 'edges', min_score: 0.3 };
const imported = (file: string, output: string, ...more: string[]): string[] => [
  ...['models', 'import', file, '--arch', 'tfjs-graph', '--config', at('config.json')],
  ...['--labels', at('labels.json'), '-o', output, ...more],
];
const asked = (...more: string[]): string[] => [
  ...['anticipate', '--detector', at('bright'), '--device', 'cpu', '--threads', '1', ...more],
];

async function done(args: string[]): Promise<Ended> {
  const ended = await run(args, { env });
  expect(ended.status, ended.stderr).toBe(0);
  return ended;
}

beforeAll(async () => {
  const file = await writeTfjs(at('graph'), brightDetector());
  await writeFile(at('config.json'), JSON.stringify(config));
  const labels = {
    schema: 'egolens.labels/1',
    name: 'two',
    version: 1,
    order: 'of this test',
    labels: ['cup', 'moon'],
  };
  await writeFile(at('labels.json'), JSON.stringify(labels));
  await done(imported(file, at('bright'), '--license-code', 'MIT'));
  await done(['synth', at('w'), '--clips', '1', '--seconds', '8', '--seed', '5', '--size', '96x72', '--split', 'val']);
  // Black, with a white square of 12 x 9 pixels, 4 x 4 of the detector, from the second second on: first left, then right.
  const { ffmpegPath } = await findTools();
  const square = (x: number, from: number, to: number): string =>
    `drawbox=x=${x}:y=36:w=12:h=9:color=white:t=fill:enable='between(t,${from},${to})'`;
  await promisify(execFile)(ffmpegPath, [
    ...['-v', 'error', '-f', 'lavfi', '-i', 'color=black:size=96x72:rate=30:duration=3'],
    ...['-vf', `${square(24, 0.98, 1.98)},${square(72, 1.98, 9)}`, '-c:v', 'libx264', '-qp', '0', at('square.mp4')],
  ]);
}, 120_000);

test('the folder says what it is, and verify, list and inspect know it', async () => {
  const manifest = JSON.parse(await readFile(at('bright', 'model.json'), 'utf8')) as Record<string, unknown>;
  expect(manifest).toMatchObject({
    ...{ name: 'model', kind: 'detector', family: 'tfjs-graph', trained: 'official' },
    licence: { code: 'MIT', weights: 'unknown' },
    config: { ...config, decode: 'centernet', mean: [0, 0, 0], std: [1, 1, 1], max_detections: 100 },
    inputs: { frames: { dtype: 'uint8', shape: [1, 32, 32, 3] } },
    outputs: { classes: { shape: [1, 2, 8, 8] }, edges: { shape: [1, 4, 8, 8] } },
    source: { container: 'tfjs-graph', left: [], with: { 'model.bin': { container: 'tfjs-shard' } } },
  });
  expect(Object.keys(manifest['files'] as object)).toEqual(['graph.onnx', 'labels.noun.json', 'weights.bin']);
  const verified = await records((await done(['models', 'verify', at('bright'), '--device', 'cpu'])).stdout);
  expect(verified).toMatchObject([{ ok: true, files: 3, outputs: { classes: { maxAbs: 0 } } }]);
  expect(await records((await done(['models', 'inspect', at('bright')])).stdout)).toEqual([manifest]);
  await done([...imported(at('graph', 'model.json'), at('bright')).slice(0, -2), '--name', 'installed']);
  const listed = await records((await done(['models', 'list'])).stdout);
  expect(listed.find(({ kind }) => kind === 'detector')).toMatchObject({ family: 'tfjs-graph', preset: null });
});

test('boxes lie where the bright square is in the frame that is asked about', async () => {
  const { stdout } = await done(asked(at('square.mp4'), '--at', '#20,#45,#75'));
  const rows = await records(stdout);
  // Nothing shines in frame 20. Place (2, 4) of 8 x 8 is (24, 36) of 96 x 72; edges are 6/32 and 10/32 of the frame away.
  expect(new Set(rows.map(({ frame }) => frame))).toEqual(new Set([45, 75]));
  const boxesOf = (frame: number) => rows.filter((row) => row['frame'] === frame).map(({ box }) => box as number[]);
  const box = (x: number, y: number) => [x - 18, y - 13.5, Math.min(96, x + 30), y + 22.5];
  expect(new Set(boxesOf(45).map(String))).toEqual(new Set([String(box(24, 36))]));
  expect(new Set(boxesOf(75).map(String))).toEqual(new Set([String(box(72, 36))]));
  expect(rows[0]).toMatchObject({ schema: 'egolens.interaction/1', id: 'square#0', of: { kind: 'file' } });
});

test('frames of a drawn split are asked about by their uids, and the same run gives the same bytes', async () => {
  const args = asked('--ego4d', at('w'), '--split', 'val');
  const first = await done([...args, '-o', at('val.ndjson')]);
  const rows = await records(await readFile(at('val.ndjson'), 'utf8'));
  const { annotations } = JSON.parse(await readFile(at('w', 'annotations', 'fho_sta_val.json'), 'utf8')) as {
    annotations: { uid: string }[];
  };
  const uids = new Set(annotations.map(({ uid }) => uid));
  expect(rows.length, first.stderr).toBeGreaterThan(0);
  expect(rows.every(({ id }) => uids.has(String(id)))).toBe(true);
  for (const { box } of rows) {
    const [x1, y1, x2, y2] = box as [number, number, number, number];
    expect(x1 >= 0 && y1 >= 0 && x2 <= 96 && y2 <= 72 && x1 < x2 && y1 < y2).toBe(true);
  }
  const again = await done(args);
  expect(again.stdout).toBe(await readFile(at('val.ndjson'), 'utf8'));
});

test('where there are no pixels, or tokens are looked at, the detector is refused with the way out', async () => {
  const features = await run(asked('--features', at('w')), { env });
  expect([features.status, features.stderr]).toEqual([2, expect.stringContaining('looks at pixels')]);
  expect(features.stderr).toContain('--boxes FILE');
  const head = await run(['anticipate', at('square.mp4'), '--head', at('bright')], { env });
  expect([head.status, head.stderr]).toEqual([6, expect.stringContaining('expected a head')]);
  const model = await run(['extract', at('square.mp4'), '--model', at('bright'), '-o', at('none')], { env });
  expect([model.status, model.stderr]).toEqual([6, expect.stringContaining('anticipate --detector')]);
});

test('hostile graphs and flags that do not fit leave nothing behind', async () => {
  type Json = Record<string, unknown>;
  const variant = async (name: string, change: (json: Json) => void): Promise<string> => {
    const made = brightDetector();
    change(made.json);
    return await writeTfjs(at(name), made);
  };
  const shards = (json: Json): { paths: string[]; weights: { shape: number[] }[] } =>
    (json['weightsManifest'] as { paths: string[]; weights: { shape: number[] }[] }[])[0]!;
  const outside = await variant('outside', (json) => (shards(json).paths = ['../graph/model.bin']));
  const lying = await variant('lying', (json) => (shards(json).weights[0]!.shape = [4, 4, 3, 200_000]));
  const missing = await variant('missing', () => undefined);
  await rm(at('missing', 'model.bin'));
  const cases: [args: string[], status: number, message: string][] = [
    [imported(outside, at('bad')), 5, 'plain name of a file beside it'],
    [imported(lying, at('bad')), 4, 'announces'],
    [imported(missing, at('bad')), 4, 'model.bin'],
    [imported(at('graph', 'model.bin'), at('bad')), 5, 'model.bin'],
    [imported(at('graph', 'model.json'), at('bad'), '--preset', 'kinetics'), 2, 'preset'],
    [imported(at('graph', 'model.json'), at('bad'), '--labels', 'coco80').toSpliced(7, 2), 6, '80 labels'],
    [['models', 'import', at('graph', 'model.json'), '--arch', 'tfjs-graph', '-o', at('bad')], 6, 'tower_0/images'],
  ];
  const ended = await Promise.all(cases.map(([args]) => run(args, { env })));
  ended.forEach(({ status, stderr }, i) => {
    expect([status, stderr]).toEqual([cases[i]![1], expect.stringContaining(cases[i]![2])]); // one for each
  });
  expect(filesBelow(at('bad'))).toEqual({});
});
