import { expect, test } from 'vitest';
import { initialWeights } from '../src/models/head.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { checkGradients, gradientTolerance } from '../src/train/grad-check.js';
import { openTraining, type Training } from '../src/train/step.js';
import { readActionFormer } from './actionformer-config.js';
import { actionformerSmall, smallLength } from './actionformer-small.js';
import { actionFormerStep, momentData } from './actionformer-training.js';

const [width, rows] = [12, 30];

/** A fresh head and a single sequence: so few points are positive that each ReLU that turns over shows in the slope of the loss. */
async function openStep(): Promise<{
  readonly training: Training;
  readonly batch: Awaited<ReturnType<ReturnType<typeof momentData>['load']>>;
}> {
  const head = actionformerSmall.spec({
    input_dim: width,
    num_classes: 3,
    embd_dim: 48,
    max_seq_len: smallLength(32),
    feat_stride: 8,
    num_frames: 8,
    default_fps: 8,
  });
  const config = readActionFormer(head.config);
  const random = seededRandom(1, 'sequence');
  const features = tensor(
    'float32',
    [rows, width],
    Float32Array.from({ length: rows * width }, () => random.normal()),
  );
  const moments = [
    { start: 3, end: 8, label: 0 },
    { start: 15, end: 22, label: 2 },
  ];
  const items = [{ rows, moments, load: () => Promise.resolve([features]) }];
  const batch = await momentData(config, { items, batch: 1, seed: 1 }).load([0], 1);
  const weights = initialWeights(head, seededRandom(1, 'weights'));
  const training = await openTraining(actionFormerStep(config, { batch: 1 }), weights, { device: 'cpu', threads: 1 });
  return { training, batch };
}

test('the gradient agrees with finite differences where ReLUs turn over nearby, and one wrong by a tenth does not', async () => {
  const { training, batch } = await openStep();
  await using own = training;
  const checks = await checkGradients(own, batch, 1);
  expect(checks).toHaveLength(26);
  expect(checks.filter(({ agrees }) => !agrees)).toEqual([]);
  for (const { part, error } of checks) expect(error, part).toBeLessThanOrEqual(gradientTolerance);
  const gradients = await own.gradients(batch);
  // A tenth is less than what the turned ReLUs do at the longest steps: only short ones tell the two apart.
  for (const factor of [0.9, 1.1]) {
    const wrong: Training = Object.assign(Object.create(own) as Training, {
      gradients: () =>
        Promise.resolve(
          new Map(
            [...gradients].flatMap(([name, value]) =>
              name.startsWith('reg_head.head.')
                ? [[name, { ...value, data: value.data.map((one) => factor * one) }] as const]
                : [],
            ),
          ),
        ),
      state: own.state.bind(own),
      load: own.load.bind(own),
      run: own.run.bind(own),
    });
    const found = await checkGradients(wrong, batch, 1);
    expect(
      found.map(({ part, agrees }) => [part, agrees]),
      `gradient times ${factor}`,
    ).toEqual([
      ['reg_head.head.0', false],
      ['reg_head.head.1', false],
    ]);
  }
}, 60_000);
