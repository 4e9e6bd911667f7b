import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GraphBuilder } from '../src/graph/builder.js';
import { headGraph, headInputs, initialWeights, type Head, type MomentPrediction } from '../src/models/head.js';
import { seededRandom } from '../src/random.js';
import { writeGraph } from '../src/runtime/probe-graphs.js';
import { openSession } from '../src/runtime/session.js';
import { tensor } from '../src/tensor.js';
import { rational } from '../src/time.js';
import { readActionFormer } from './actionformer-config.js';
import { actionformerSmall } from './actionformer-small.js';
import {
  assignPoints,
  positionTable,
  pyramidPoints,
  sequenceFeeds,
  targetFeeds,
  type Streams,
} from './actionformer-targets.js';
import { actionformer, rawMoments } from './actionformer.js';
import type { LevelOutputs } from './numerics/segments.js';

/** As small as shows everything: two levels, windows of 5. */
const tiny = {
  input_dim: 6,
  embd_dim: 8,
  n_head: 2,
  num_classes: 3,
  backbone_arch: [1, 1, 1],
  n_mha_win_size: 5,
  max_seq_len: 16,
};

const random = seededRandom(7, 'features');
const rowsOf = (rows: number, width = 6): Streams => [
  tensor(
    'float32',
    [rows, width],
    Float32Array.from({ length: rows * width }, () => random.normal()),
  ),
];

interface OpenHead extends AsyncDisposable {
  run(items: readonly Streams[], length?: number): Promise<LevelOutputs[][]>;
}

/** Runs a head whose branches count from the start, as they do once it is trained. */
async function openHead(head: Head): Promise<OpenHead> {
  const g = new GraphBuilder(head.family, { params: 'inputs' });
  for (const [name, value] of Object.entries(head.forward(g, headInputs(g, head)))) g.output(name, value);
  const draw = seededRandom(3, 'weights');
  const weights = initialWeights(head, draw);
  for (const [name, { data }] of weights) {
    if (name.includes('drop_path')) data.fill(1);
    else if (name.endsWith('rel_pe')) data.forEach((_, i) => (data[i] = draw.normal()));
  }
  const work = await mkdtemp(join(tmpdir(), 'egolens-actionformer-'));
  const session = await openSession({ graph: await writeGraph(work, g.finish()), device: 'cpu', threads: 1 });
  const config = readActionFormer(head.config);
  const runs = async (items: readonly Streams[], length?: number): Promise<LevelOutputs[][]> => {
    const feeds = { ...sequenceFeeds(config, items, length), ...Object.fromEntries(weights) };
    return rawMoments(config, await session.run(feeds, Object.keys(head.outputs)));
  };
  return {
    run: runs,
    async [Symbol.asyncDispose]() {
      await session[Symbol.asyncDispose]();
      await rm(work, { recursive: true, force: true });
    },
  };
}

describe('configuration', () => {
  test('an official one is nested, ours is flat, and both are the same head', () => {
    const { num_classes, input_dim, max_seq_len, ...model } = tiny;
    const nested = actionformer.spec({
      dataset: { num_classes, input_dim, max_seq_len, feat_stride: 8, num_frames: 16, default_fps: 15 },
      model: { ...model, max_buffer_len_factor: 4, backbone_type: 'convTransformer' },
      train_cfg: { label_smoothing: 0.1 },
      test_cfg: { nms_sigma: 0.5 },
    });
    expect(nested.config).toMatchObject({ feat_stride: 8, label_smoothing: 0.1, nms_sigma: 0.5, droppath: 0.1 });
    expect(actionformer.spec(nested.config).config).toEqual(nested.config);
    expect(nested.kinds).toEqual([{ kind: 'label', count: 3 }]);
  });

  test('the shapes of a checkpoint tell the sizes', () => {
    const config = {
      ...tiny,
      input_dim: [4, 2],
      embd_dim: [5, 3],
      fpn_type: 'fpn',
      fpn_dim: 6,
      head_dim: 7,
      use_rel_pe: true,
    };
    const { params } = headGraph(actionformer.spec(config));
    const found = actionformer.infer(new Map(params.map(({ name, shape }) => [name, shape])));
    expect(found).toMatchObject({
      input_dim: [4, 2],
      embd_dim: [5, 3],
      backbone_arch: [1, 1, 1],
      fpn_type: 'fpn',
      fpn_dim: 6,
      head_dim: 7,
      num_classes: 3,
      head_num_layers: 3,
      use_rel_pe: true,
    });
  });

  test('the small one needs widths and classes alone, and is an actionformer with everything said', () => {
    const head = actionformerSmall.spec({ input_dim: [20, 30], num_classes: 5 });
    expect(head.family).toBe('actionformer');
    expect(head.config).toMatchObject({ embd_dim: [48, 48], backbone_arch: [2, 1, 3], max_seq_len: 512 });
    expect(actionformer.spec(head.config).config).toEqual(head.config);
    expect(actionformerSmall.spec({ input_dim: 7, num_classes: 5, embd_dim: 64 }).config['embd_dim']).toBe(64);
  });

  test.each([
    [{ num_classes: undefined }, '`num_classes`'],
    [{ max_seq_len: 18 }, 'a multiple of 8'],
    [{ n_head: 3 }, 'a divisor of the width 8'],
    [{ n_mha_win_size: 2 }, 'windows of 3 or more'],
    [{ n_mha_win_size: 6, use_rel_pe: true }, 'odd windows'],
    [{ n_mha_win_size: [5] }, '2 whole numbers'],
    [{ fpn_dim: 4 }, '`fpn_dim`: expected 8'],
    [{ backbone_arch: [0, 1, 1] }, '`backbone_arch`'],
    [{ backbone_arch: [1, 1, 40] }, '`backbone_arch`'],
    [{ backbone_type: 'conv' }, '`backbone_type`: expected "convTransformer"'],
    [{ scale_factor: 3 }, '`scale_factor`'],
    [{ regression_range: [[0, 4]] }, '2 pairs of numbers'],
    [
      {
        regression_range: [
          [4, 0],
          [2, 8],
        ],
      },
      '2 pairs of numbers',
    ],
    [{ crop_ratio: [0, 2] }, '`crop_ratio`'],
    [{ label_smoothing: 1 }, 'to below 1'],
    [{ input_dim: [] }, 'a stream of features'],
    [{ input_dim: [6], embd_dim: 8 }, '`embd_dim`: expected 1 whole numbers'],
    [{ head_kernel_size: 4 }, 'an odd number'],
    [{ nms_method: 'fast' }, 'one of `soft`, `hard`, `none`'],
    [{ loss_weight: -1 }, '`loss_weight`'],
    [{ max_seq_len: 1e9 }, '`max_seq_len`'],
  ])('refuses %j', (members, message) => {
    expect(() => actionformer.spec({ ...tiny, ...members })).toThrow(message);
  });
});

describe.each([
  ['local attention', { ...tiny }],
  ['bias, neck and a global level', { ...tiny, n_mha_win_size: [5, -1], use_rel_pe: true, fpn_type: 'fpn' }],
])('the graph with %s', (_, members) => {
  let head: OpenHead;
  beforeAll(async () => {
    head = await openHead(actionformer.spec(members));
  });
  afterAll(() => head[Symbol.asyncDispose]());

  test('takes sequences of any length: padding changes nothing', async () => {
    const sequence = rowsOf(13);
    const [short] = await head.run([sequence]);
    const [long] = await head.run([sequence], 40);
    for (const [level, rows] of [13, 7].entries()) {
      const [a, b] = [short![level]!, long![level]!];
      expect([a.mask.length, b.mask.length]).toEqual([16 >> level, 40 >> level]);
      expect(Array.from(b.mask).reduce((sum, one) => sum + one, 0)).toBe(rows);
      for (let i = 0; i < rows * 3; i++) expect(b.logits[i]).toBeCloseTo(a.logits[i]!, 4);
      for (let i = 0; i < rows * 2; i++) expect(b.offsets[i]).toBeCloseTo(a.offsets[i]!, 4);
    }
  });

  test('items of a batch do not see one another', async () => {
    const [first, second] = [rowsOf(16), rowsOf(5)];
    const together = await head.run([first, second]);
    const [alone] = await head.run([second]);
    expect(together).toHaveLength(2);
    together[1]![0]!.logits.forEach((value, i) => {
      expect(value).toBeCloseTo(alone![0]!.logits[i]!, 4);
    });
  });
});

test('with local attention on one level a time sees no further than its window and the kernels around it', async () => {
  const members = { ...tiny, backbone_arch: [1, 1, 0], max_seq_len: 64 };
  await using head = await openHead(actionformer.spec(members));
  const [sequence] = rowsOf(64);
  const changed = sequence!.data.slice();
  changed.fill(3, 30 * 6, 31 * 6);
  const logits = async (data: Float32Array<ArrayBuffer>): Promise<Float32Array> =>
    (await head.run([[tensor('float32', [64, 6], data)]]))[0]![0]!.logits;
  const [before, after] = [await logits(sequence!.data), await logits(changed)];
  const differs = Array.from({ length: 64 }, (_, row) =>
    [0, 1, 2].some((i) => Math.abs(before[row * 3 + i]! - after[row * 3 + i]!) > 1e-6),
  );
  // Kernels of 3: embedding, q k v, three of the head; a window of 5 between them: 1 + 1 + 2 + 3 to either side.
  expect([differs.indexOf(true), differs.lastIndexOf(true)]).toEqual([30 - 7, 30 + 7]);
});

describe('decoding', () => {
  const members = { ...tiny, backbone_arch: [1, 1, 0], feat_stride: 16, num_frames: 32, default_fps: 16 };
  const head = actionformer.spec(members);
  /** One point says class 1 for two strides to either side; the last of four points is padding. */
  const outputs = {
    logits: tensor('float32', [1, 4, 3], Float32Array.of(-9, -9, -9, -9, 2, -9, -9, -9, -9, 9, 9, 9)),
    offsets: tensor('float32', [1, 4, 2], new Float32Array(8).fill(2)),
    valid: tensor('float32', [1, 4], Float32Array.of(1, 1, 1, 0)),
  };
  const decode = (context: Partial<Parameters<Head['decode']>[1]>): readonly MomentPrediction[] =>
    head
      .decode(outputs, { labels: { label: ['a', 'b', 'c'] }, options: {}, clock: null, ...context })[0]!
      .filter((one) => one.task === 'mq');

  test('moments are in seconds, with the names of their classes, up to the end of the last row', () => {
    const [moment, ...others] = decode({});
    // The point is a second after the middle of the first window, at 2 s; 3 rows end at 4 s.
    expect(moment).toMatchObject({ start: 0, end: 4, label: 'b', labelId: 1 });
    expect(moment!.score).toBeCloseTo(1 / (1 + Math.exp(-2)), 6);
    expect(others).toEqual([]);
  });

  test('the length of the item cuts them, and the clock of the features moves them', () => {
    expect(decode({ durations: [2.5] })[0]).toMatchObject({ start: 0, end: 2.5 });
    const clock = { rate: rational(16), hop: 4, frames: 4, step: 1, tail: 'drop', rows: 3 } as const;
    expect(decode({ clock })[0]).toMatchObject({ start: 0, end: 0.75 });
    expect(() => decode({ clock: { ...clock, rate: 'source' } })).toThrow('lie on no grid');
  });

  test('options change the thresholds of the configuration; nonsense is refused', () => {
    expect(decode({ options: { pre_nms_thresh: 0.9 } })).toEqual([]);
    expect(() => decode({ options: { nms_method: 'none', max_seg_num: 0 } })).toThrow('max_seg_num');
  });

  test('without names classes go by number', () => {
    expect(decode({ labels: {} })[0]?.label).toBe('1');
  });
});

describe('what the host prepares', () => {
  const config = readActionFormer({ ...tiny, input_dim: [4, 2], embd_dim: [5, 3], use_abs_pe: true });

  test('sequences are padded to the training length, or to the next length that levels and windows divide', () => {
    const feeds = (rows: number) => sequenceFeeds(config, [[...rowsOf(rows, 4), ...rowsOf(rows, 2)]]);
    expect(feeds(3)['mask']?.shape).toEqual([1, 16]);
    expect(feeds(17)['mask']?.shape).toEqual([1, 24]);
    expect(Object.entries(feeds(17)).map(([name, { shape }]) => [name, shape])).toEqual([
      ['features.0', [1, 24, 4]],
      ['features.1', [1, 24, 2]],
      ['mask', [1, 24]],
      ['positions', [1, 8, 24]],
    ]);
  });

  test.each([
    ['a stream too few', rowsOf(5, 4)],
    ['another width', [...rowsOf(5, 4), ...rowsOf(5, 3)]],
    ['streams of two lengths', [...rowsOf(5, 4), ...rowsOf(6, 2)]],
    ['no streams', []],
  ])('refuses %s', (_, streams) => {
    expect(() => sequenceFeeds(config, [streams])).toThrow('expected 2 of 1 to 16 rows, 4 and 2 wide');
  });

  test('positions are sines and cosines by turns, stretched beyond the training length', () => {
    const table = positionTable(4, 8, 8);
    expect([table[3], table[8 + 3], table[16 + 3]]).toEqual(
      [Math.sin(3), Math.cos(3), Math.sin(0.03)].map((value) => Math.fround(Math.fround(value) / 2)),
    );
    const long = positionTable(4, 8, 16);
    // Place 5 of 16 is place 2.25 of 8.
    expect(long[5]).toBeCloseTo(0.75 * table[2]! + 0.25 * table[3]!, 6);
    expect([long[0], long[15]]).toEqual([table[0], table[7]]);
  });

  test('a point answers for the shortest segment around it whose ends are in its range', () => {
    const points = pyramidPoints(config, 16);
    expect(points).toHaveLength(24);
    const { classes, offsets, positive } = assignPoints(config, points, [
      { start: 2.5, end: 5.5, label: 0 },
      { start: 1, end: 7, label: 1 },
      { start: 2.5, end: 5.5, label: 2 },
    ]);
    // The middles are at 4; on the first level points within 1.5 of them, 3 and 5 included, and with both ends within 4.
    expect([...positive.subarray(0, 8)]).toEqual([0, 0, 0, 1, 1, 1, 0, 0]);
    expect([...classes.subarray(4 * 3, 5 * 3)]).toEqual([1, 0, 1]);
    expect([...offsets.subarray(8, 10)]).toEqual([1.5, 1.5]);
    // On the second level, whose least distance is 2, only the long one is left.
    const second = points.findIndex(({ time, stride }) => stride === 2 && time === 4);
    expect([...classes.subarray(second * 3, second * 3 + 3)]).toEqual([0, 1, 0]);
    expect([...offsets.subarray(second * 2, second * 2 + 2)]).toEqual([1.5, 1.5]);
  });

  test('points in the padding are no positives, and targets are smoothed', () => {
    const smoothed = { ...config, training: { ...config.training, smoothing: 0.1 } };
    const segments = [{ start: 2, end: 6, label: 0 }];
    const all = targetFeeds(smoothed, [{ rows: 16, segments }], 16);
    const cut = targetFeeds(smoothed, [{ rows: 4, segments }], 16);
    expect(cut.positives).toBeLessThan(all.positives);
    const { data } = all.feeds['targets.classes']!;
    expect([...new Set(data)].sort()).toEqual([Math.fround(0.1 / 4), Math.fround(0.9 + 0.1 / 4)]);
  });

  test.each([
    { start: 2, end: 2, label: 0 },
    { start: 2, end: 4, label: 3 },
    { start: NaN, end: 4, label: 0 },
  ])('refuses the segment %j', (segment) => {
    expect(() => targetFeeds(config, [{ rows: 16, segments: [segment] }], 16)).toThrow('expected a class from 0 to 2');
  });
});
