import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readNpy } from '../checkpoint/npy.js';
import { openFileSource, packageRoot } from '../files.js';
import { GraphBuilder } from '../graph/builder.js';
import { writeGraph } from '../runtime/probe-graphs.js';
import { openSession, type Session } from '../runtime/session.js';
import { tensor } from '../tensor.js';
import type { AnyTensor } from '../types.js';
import { internvideoLoss, viclipLoss } from './contrastive.js';

const golden = join(packageRoot, 'fixtures', 'golden', 'encoder', 'contrastive_loss');
const { losses, tolerance } = JSON.parse(readFileSync(join(golden, 'case.json'), 'utf8')) as {
  readonly losses: Readonly<Record<string, number>>;
  readonly tolerance: { readonly rel: number };
};

async function read(name: string): Promise<AnyTensor> {
  await using source = await openFileSource(join(golden, `${name}.npy`));
  return (await readNpy(source)).tensor;
}

let work: string;
let session: Session;
let video: AnyTensor;
let text: AnyTensor;
let idx: AnyTensor;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'egolens-contrastive-'));
  [video, text, idx] = [await read('video'), await read('text'), await read('idx')];
  const width = video.shape[1]!;
  const g = new GraphBuilder('losses');
  const pairs = {
    pictures: g.input('video', 'float32', ['batch', width]),
    texts: g.input('text', 'float32', ['batch', width]),
  };
  const temp = g.input('temp', 'float32', []);
  const ids = g.input('idx', 'int64', ['batch']);
  const logitScale = g.input('logit_scale', 'float32', []);
  g.output('viclip', viclipLoss(g, pairs, { temp, ids }));
  g.output('viclip_no_ids', viclipLoss(g, pairs, { temp }));
  g.output('internvideo', internvideoLoss(g, pairs, { logitScale }));
  session = await openSession({ graph: await writeGraph(work, g.finish()), device: 'cpu', threads: 1 });
});
afterAll(async () => {
  await session[Symbol.asyncDispose]();
  await rm(work, { recursive: true, force: true });
});

const numbers = (values: AnyTensor): number[] => Array.from(values.data as ArrayLike<number | bigint>, Number);
const matrix = (rows: readonly (readonly number[])[]): AnyTensor =>
  tensor('float32', [rows.length, rows[0]!.length], Float32Array.from(rows.flat()));

interface Given {
  readonly video?: AnyTensor;
  readonly text?: AnyTensor;
  readonly ids?: readonly bigint[];
  readonly temp?: number;
  readonly logitScale?: number;
}
async function lossOf(name: 'viclip' | 'viclip_no_ids' | 'internvideo', given: Given): Promise<number> {
  const feeds = {
    video: given.video ?? video,
    text: given.text ?? text,
    temp: tensor('float32', [], Float32Array.of(given.temp ?? 1)),
    idx: tensor(
      'int64',
      [given.ids?.length ?? idx.shape[0]!],
      BigInt64Array.from(given.ids ?? numbers(idx).map(BigInt)),
    ),
    logit_scale: tensor('float32', [], Float32Array.of(given.logitScale ?? 0)),
  };
  const results = await session.run(feeds, [name]);
  expect(results[name]!.shape).toEqual([]);
  return results[name]!.data[0]!;
}

test.each([
  ['viclip_temp_0.01', 'viclip', { temp: 0.01 }],
  ['viclip_temp_0.2', 'viclip', { temp: 0.2 }],
  ['viclip_temp_0.2_no_ids', 'viclip_no_ids', { temp: 0.2 }],
  ['internvideo_mm_logit_scale_2.345', 'internvideo', { logitScale: 2.345 }],
] as const)('%s is that of the official code', async (name, loss, given) => {
  const found = await lossOf(loss, given);
  expect(Math.abs(found / losses[name]! - 1)).toBeLessThan(tolerance.rel);
});

test('ids that all differ are no ids', async () => {
  const count = idx.shape[0]!;
  const ids = Array.from({ length: count }, (_, i) => 2n ** 62n - BigInt(7 * i));
  const alone = await lossOf('viclip_no_ids', { temp: 0.2 });
  expect(Math.abs((await lossOf('viclip', { temp: 0.2, ids })) / alone - 1)).toBeLessThan(1e-6);
});

test('pictures far from every text give a large finite loss at the lowest temperature', async () => {
  // Both texts point away from the first picture: cosines -1 and -1, so the logits are -100 and their plain exponentials 0.
  const [a, b] = [new Array<number>(video.shape[1]!).fill(1), new Array<number>(video.shape[1]!).fill(-1)];
  const found = await lossOf('viclip_no_ids', {
    video: matrix([a, b]),
    text: matrix([b, b]),
    ids: [0n, 1n],
    temp: 0.01,
  });
  // rows: ln 2 twice. Columns: the right picture of the first text is 200 below the other, of the second it is the other.
  expect(found).toBeCloseTo((Math.LN2 + 200 / 2) / 2, 3);
});

test('the lengths of the vectors do not count, nor do zeros divide by zero', async () => {
  const scaled = (values: AnyTensor, factor: number): AnyTensor =>
    tensor(
      'float32',
      values.shape,
      Float32Array.from(numbers(values), (value) => factor * value),
    );
  const plain = await lossOf('internvideo', { logitScale: 1 });
  const given = { video: scaled(video, 37), text: scaled(text, 0.01), logitScale: 1 };
  expect(Math.abs((await lossOf('internvideo', given)) / plain - 1)).toBeLessThan(1e-6);
  const zeros = await lossOf('internvideo', { video: scaled(video, 0), logitScale: 1 });
  expect(zeros).toBeCloseTo(Math.log(video.shape[0]!), 5);
});
