import { describe, expect, test } from 'vitest';
import type { GraphBuilder } from '../src/graph/builder.js';
import { headGraph, headInputs, initialWeights, type Head } from '../src/models/head.js';
import { seededRandom, type Random } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { decayMatrices } from '../src/train/groups.js';
import { adamw } from '../src/train/optimiser.js';
import { openTraining } from '../src/train/step.js';
import type { AnyTensor, Tensor } from '../src/types.js';
import { openSizes, pointsOf } from './actionformer-sizes.js';
import { sequenceFeeds } from './actionformer-targets.js';
import { groundnlq, queryFeeds, readGround, trainingPlace } from './groundnlq.js';

const tiny = {
  input_vid_dim: 5,
  input_txt_dim: 6,
  embd_dim: 8,
  n_head: 2,
  n_mha_win_size: 5,
  max_seq_len: 16,
  backbone_arch: [1, 1, 1, 0, 1],
};

const rowsOf = (random: Random, rows: number, width: number): Tensor<'float32'> =>
  tensor(
    'float32',
    [rows, width],
    Float32Array.from({ length: rows * width }, () => random.normal()),
  );

/** Outputs of the head for these inputs, with seeded weights that are not near 0. */
async function outputsOf(
  head: Head,
  inputs: Readonly<Record<string, AnyTensor>>,
  words: number,
): Promise<Record<string, Tensor<'float32'>>> {
  const random = seededRandom(5, 'weights');
  const weights = new Map(
    [...initialWeights(head, random)].map(([name, { shape, data }]) => [
      name,
      tensor(
        'float32',
        shape,
        data.map((value) => value + 0.3 * random.normal()),
      ),
    ]),
  );
  const { pyramid } = readGround(tiny);
  const open = openSizes(pyramid);
  const [batch = 0, rows = 0] = inputs['mask']!.shape;
  const step = {
    name: head.family,
    sizes: { batch, words, [open.rows]: rows, [open.points]: pointsOf(pyramid, rows) },
    // Only outputs are asked for here: gradients of one parameter are quick to build.
    isTrained: (name: string) => name === 'cls_head.cls_head.conv.bias',
    groups: decayMatrices(0),
    optimiser: { rule: adamw },
    forward(g: GraphBuilder) {
      return head.loss!(g, head.forward(g, headInputs(g, head)));
    },
    evaluations: { outputs: (g: GraphBuilder) => head.forward(g, headInputs(g, head)) },
  };
  await using training = await openTraining(step, weights, { device: 'cpu', threads: 1 });
  return await training.evaluate('outputs', inputs);
}

describe('configurations', () => {
  test.each([
    [
      [2, 1, 2, 0, 2],
      [false, false],
    ],
    [
      [2, 1, 1, 2, 0],
      [true, true],
    ],
    [
      [1, 0, 1, 1, 2],
      [true, false, false],
    ],
  ])('%j: the shapes of a checkpoint tell the layout of its branches', (backbone_arch, crossed) => {
    const head = groundnlq.spec({ ...tiny, max_seq_len: 32, backbone_arch });
    const params = headGraph(head).params;
    const keys = new Map(params.map(({ name, shape }) => [name, shape]));
    expect(crossed.map((_, i) => keys.has(`backbone.branch.${i}.cross_attn.key.weight`))).toEqual(crossed);
    expect(groundnlq.infer(keys)).toMatchObject({ backbone_arch, input_vid_dim: 5, input_txt_dim: 6, embd_dim: 8 });
  });

  test('of the official form, with sections, and of model.json are the same', () => {
    const { input_vid_dim, input_txt_dim, ...model } = tiny;
    const official = {
      dataset: { input_vid_dim, input_txt_dim, feat_stride: 16.043 },
      model: { ...model, train_cfg: { label_smoothing: 0.1 }, test_cfg: { max_seg_num: 7 } },
    };
    const head = groundnlq.spec({ official });
    expect(head.config).toMatchObject({ max_seg_num: 7, time_offset: 'official', backbone_arch: [1, 1, 1, 0, 1] });
    expect(groundnlq.spec(head.config).config).toEqual(head.config);
  });

  test.each([
    [{ backbone_arch: [2, 2, 7] }, '`backbone_arch`: expected 5 whole numbers'],
    [{ num_classes: 2 }, '`num_classes`'],
    [{ embd_dim: [4, 4] }, '`embd_dim`: expected one width'],
    [{ n_head: 3 }, 'groundnlq: `n_head`'],
    [{ time_offset: 'late' }, '`time_offset`'],
  ])('%j is refused', (config, message) => {
    expect(() => groundnlq.spec({ ...tiny, ...config })).toThrow(message);
  });
});

test('a question gives in a batch what it gives alone', async () => {
  const head = groundnlq.spec(tiny);
  const { pyramid } = readGround(tiny);
  const random = seededRandom(3, 'inputs');
  const features = rowsOf(random, 11, 5);
  const questions = [rowsOf(random, 2, 6), rowsOf(random, 6, 6)] as const;
  const together = await outputsOf(
    head,
    { ...sequenceFeeds(pyramid, [[features], [features]]), ...queryFeeds(questions) },
    6,
  );
  const alone = await outputsOf(head, { ...sequenceFeeds(pyramid, [[features]]), ...queryFeeds([questions[0]]) }, 2);
  for (const name of ['logits', 'offsets']) {
    alone[name]!.data.forEach((value, i) => {
      expect(together[name]!.data[i], `${name} ${i}`).toBeCloseTo(value, 4);
    });
  }
  const half = together['logits']!.data.length / 2;
  const apart = together['logits']!.data.subarray(0, half).some(
    (v, i) => Math.abs(v - together['logits']!.data[half + i]!) > 1e-3,
  );
  expect(apart).toBe(true); // the other question gives something else
});

describe('seconds and places', () => {
  const points = (config: object): readonly [Head, Record<string, Tensor<'float32'>>] => {
    const head = groundnlq.spec({ ...tiny, feat_stride: 16, num_frames: 32, default_fps: 16, ...config });
    const total = 16 + 8;
    const logits = new Float32Array(total).fill(-20);
    logits[5] = 3;
    const offsets = new Float32Array(2 * total);
    offsets.set([2, 3], 10);
    const outputs = {
      logits: tensor('float32', [1, total, 1], logits),
      offsets: tensor('float32', [1, total, 2], offsets),
      valid: tensor('float32', [1, total], new Float32Array(total).fill(1)),
    };
    return [head, outputs];
  };
  const decoded = (config: object, options: Record<string, string>): unknown => {
    const [head, outputs] = points(config);
    const [[best] = []] = head.decode(outputs, { labels: {}, options, clock: null, durations: [100] });
    return best;
  };

  test('the released rule adds half a window that training leaves out; `centred` undoes that', () => {
    expect(decoded({}, {})).toMatchObject({ task: 'nlq', start: 4, end: 9 });
    expect(decoded({}, { time_offset: 'centred' })).toMatchObject({ start: 3, end: 8 });
    expect(decoded({ time_offset: 'centred' }, {})).toMatchObject({ start: 4, end: 9 });
    const grid = { feat_stride: 16, num_frames: 32, default_fps: 16 };
    expect(trainingPlace(readGround({ ...tiny, ...grid }), 4)).toBe(4);
    expect(trainingPlace(readGround({ ...tiny, ...grid, time_offset: 'centred' }), 4)).toBe(3);
  });

  test('answers are cut to the clip', () => {
    const [head, outputs] = points({});
    const [[best] = []] = head.decode(outputs, { labels: {}, options: {}, clock: null, durations: [6.5] });
    expect(best).toMatchObject({ start: 4, end: 6.5 });
  });

  test('an unknown rule is refused', () => {
    expect(() => decoded({}, { time_offset: 'early' })).toThrow('`time_offset`');
  });
});
