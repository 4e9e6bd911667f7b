import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readFeatures } from '../../features/store.js';
import { defaultModelName, findModel } from '../../hub/cache.js';
import { openModelFolder } from '../../models/folder.js';
import { sizeOf } from '../../tensor.js';
import type { Progress } from '../../types.js';
import { clipOf, type SetRequest } from '../../world/data-set.js';
import { extract, type ExtractOptions } from '../extract.js';
import { synth } from '../synth.js';
import { drawFeatures, type DrawnPlan } from './drawn-features.js';

/** Features of drawn frames stand for those of the rendered video. */

const set: SetRequest = {
  ...{ seed: 4, split: 'val', clips: 1, seconds: 5, fps: 30, difficulty: 2, width: 160, height: 120 },
};
const clip = clipOf(set, 0);
const quiet: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};
const { signal } = new AbortController();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-drawn-'));
  const clips = synth(folder, {
    ...set,
    annotationsOnly: false,
    variants: [],
    jobs: 1,
    force: false,
    signal,
    progress: quiet,
  });
  while ((await clips.next()).done !== true) signal.throwIfAborted();
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function drawn(name: string, plan: DrawnPlan) {
  const model = await openModelFolder(await findModel(defaultModelName));
  await drawFeatures(join(folder, name), set, { model, plan, device: 'cpu', threads: 1, signal, progress: quiet });
  return await readFeatures(join(folder, name, `${clip.videoUid}.npy`));
}

async function extracted(name: string, options: Pick<ExtractOptions, 'pool' | 'at'>) {
  const run = extract([{ input: 'clip', path: join(folder, 'videos', `${clip.videoUid}.mp4`), relpath: '' }], {
    ...options,
    ...{ model: defaultModelName, output: join(folder, name), level: 'clip', type: 'npy', stream: 'best' },
    ...{ device: 'cpu', threads: 1, jobs: 1, force: false, retryFailed: false, onError: 'stop' },
    ...{ decodeErrors: 'fail', strict: true, identity: 'ends', argv: [], signal, progress: quiet },
  });
  while ((await run.next()).done !== true) signal.throwIfAborted();
  return await readFeatures(join(folder, name, `${clip.videoUid}.npy`));
}

/** Of the rows of both, the least. */
function leastCosine(a: Float32Array, b: Float32Array, width: number): number {
  let least = 1;
  for (let row = 0; row < a.length; row += width) {
    let [dot, aa, bb] = [0, 0, 0];
    for (let i = row; i < row + width; i++) {
      dot += a[i]! * b[i]!; // of one length
      aa += a[i]! ** 2;
      bb += b[i]! ** 2;
    }
    least = Math.min(least, dot / Math.sqrt(aa * bb));
  }
  return least;
}

test.each<[string, DrawnPlan, Pick<ExtractOptions, 'pool' | 'at'>]>([
  ['whole videos', { kind: 'dense' }, { pool: 'mean' }],
  [
    'windows that end at frames, one of them before a window is full',
    { kind: 'ends', frames: new Map([[clip.videoUid, [149, 20, 90, 90]]]) },
    { pool: 'tokens', at: [20.5 / 30, 90.5 / 30, 149.5 / 30] },
  ],
])('%s: shape, times and, but for compression, values of what `extract` writes', async (name, plan, options) => {
  const [own, other] = [await drawn(`${name} drawn`, plan), await extracted(`${name} extracted`, options)];
  expect(own.array.shape).toEqual(other.array.shape);
  expect(own.times).toEqual(other.times);
  expect(own.clock).toEqual(other.clock);
  expect([own.meta!.model, own.meta!.output, own.meta!.preset]).toEqual([
    other.meta!.model,
    other.meta!.output,
    other.meta!.preset,
  ]);
  expect(leastCosine(own.array.data, other.array.data, sizeOf(own.array.shape.slice(1)))).toBeGreaterThan(0.9);
});
