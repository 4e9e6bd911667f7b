import { expect, test } from 'vitest';
import type { StateDict, StoredTensor } from '../src/types.js';
import { tensor } from '../src/tensor.js';
import { boxRows } from './box-feeds.js';
import { forecastFamilies } from './forecast-families.js';
import { stillFastDefaults, stillFastDetections } from './stillfast-detections.js';

const familyOf = (name: string) => forecastFamilies.find((family) => family.name === name)!;

function stored(shapes: Readonly<Record<string, readonly number[]>>): StateDict {
  return new Map(
    Object.entries(shapes).map(([name, shape]): [string, StoredTensor] => [
      name,
      { name, storedType: 'float32', shape, async *chunks() {} },
    ]),
  );
}

const keys = (name: string, shapes: Readonly<Record<string, readonly number[]>>): string[] => [
  ...familyOf(name).official(stored(shapes)).keys(),
];

test.each([
  ['fhp-head', 'head.projection.weight', 'projection.weight'],
  ['fhp-head', 'head.bias', 'projection.bias'],
  ['fhp-head', 'model.head.weight', 'projection.weight'],
  ['fhp-head', 'norm.weight', 'norm.weight'],
  ['sta-roi-head', 'ROIHEAD.verb_projection.weight', 'verb_projection.weight'],
  ['sta-roi-head', 'model.headsta.ttc_projection.bias', 'ttc_projection.bias'],
  ['sta-roi-head', 'blocks.0.mlp.fc1.weight', 'blocks.0.mlp.fc1.weight'],
  [
    'stillfast',
    'model.backbone.pre_pyramid_fusion_block_3.post_up_conv_block.bias',
    'fusion_3.post_up_conv_block.bias',
  ],
  ['lta-head', 'model.decoder.head.projections.7.bias', 'projections.7.bias'],
])('%s reads the official key %s', (name, official, own) => {
  expect(keys(name, { [official]: [1] })).toEqual([own]);
});

test('sizes are inferred from the official tensors', () => {
  const infer = (name: string, shapes: Readonly<Record<string, readonly number[]>>) =>
    familyOf(name).infer(new Map(Object.entries(shapes)));
  expect(infer('fhp-head', { 'projection.weight': [20, 512], 'norm.running_mean': [512] })).toEqual({
    dim: 512,
    norm: true,
  });
  expect(infer('fhp-head', { 'projection.weight': [20, 512], 'norm.running_mean': [64] })).toEqual({
    dim: 512,
    norm: false,
  });
  expect(infer('sta-roi-head', { 'verb_projection.weight': [75, 1024] })).toEqual({ dim: 1024, num_verbs: 74 });
  expect(infer('lta-head', { 'projections.0.weight': [13, 14], 'projections.19.weight': [13, 14] })).toEqual({
    dim: 14,
    z: 20,
  });
});

test('what belongs to the encoder is left, anything else is not known', () => {
  const head = familyOf('fhp-head').spec({ dim: 4 });
  expect(head.leftover('s3.pathway0_res1.branch2.a.weight')).toBe('of the encoder');
  expect(head.leftover('blocks4.2.mlp.fc1.weight')).toBe('of the encoder');
  expect(head.leftover('projection.scale')).toBeUndefined();
  expect(
    familyOf('stillfast').spec({ channels_2d: 1, channels_3d: 1 }).leftover('fusion_2.post_up_conv_block.bias'),
  ).toBe('of another level');
});

test('the official RoI head keeps the score of the detector, and may be told to weigh it', () => {
  const head = familyOf('sta-roi-head').spec({ dim: 2, num_verbs: 2, grid: 2 });
  const outputs = {
    verb: tensor('float32', [1, 2, 3], Float32Array.of(3, 0, 2, 0, 0, 0)),
    contact: tensor('float32', [1, 2], Float32Array.of(0.5, 0)),
    box: boxRows([[{ box: [1, 2, 3, 4], noun: 1, score: 0.5 }]], 2),
  };
  const labels = { noun: ['cup', 'bowl'], verb: ['none', 'take', 'put'] };
  const decode = (options: Record<string, string>) => head.decode(outputs, { labels, options, clock: null });
  expect(decode({})[0]![0]).toEqual({
    task: 'sta',
    box: [1, 2, 3, 4],
    noun: 'bowl',
    nounId: 1,
    verb: 'none',
    verbId: 0,
    timeToContact: 0.5,
    score: 0.5,
  });
  expect(decode({ score: 'product' })[0]![0]).toMatchObject({
    verb: 'put',
    score: expect.closeTo((0.5 * Math.exp(2)) / (Math.exp(3) + 1 + Math.exp(2)), 6) as number,
  });
  expect(() => decode({ score: 'sum' })).toThrow(/option `score`: expected `detector` or `product`, found "sum"/);
});

test('StillFast: boxes beside the picture and scores at the threshold give no detections', () => {
  const outputs = {
    proposals: Float32Array.of(200, 10, 240, 40),
    nounLogits: Float32Array.of(-20, 20),
    verbLogits: Float32Array.of(-20, 20),
    contact: Float32Array.of(1),
    offsets: new Float32Array(8),
  };
  const rules = { ...stillFastDefaults, image: [100, 100], nouns: 1, verbs: 1 } as const;
  expect(stillFastDetections(outputs, rules)).toEqual([]);
  const inside = { ...outputs, proposals: Float32Array.of(20, 10, 240, 40) };
  expect(stillFastDetections(inside, rules)).toEqual([
    { box: [20, 10, 100, 40], noun: 0, verb: 0, contact: 1, score: 1 },
  ]);
  expect(stillFastDetections(inside, { ...rules, score: 1 })).toEqual([]);
});
