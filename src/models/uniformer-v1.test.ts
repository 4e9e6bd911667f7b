import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  goldenArray,
  goldenModel,
  goldenWeights,
  parametersOf,
  randomWeights,
  runEveryGraph,
  type Weights,
} from '../../test/models.js';
import { maxAbs } from '../../test/golden/results.js';
import { packageRoot } from '../files.js';
import { graphText } from '../graph/print.js';
import { jsonText } from '../json.js';
import { seededRandom } from '../random.js';
import { sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { families, familyOf } from './index.js';
import { readPreset } from './presets.js';
import { graphFiles, type ModelSpec } from './spec.js';
import { uniformerV1 } from './uniformer-v1-family.js';

type Config = Readonly<Record<string, unknown>>;
const golden = goldenModel('uniformer_v1');
const small = { ...golden.config };
const sorted = (shapes: ReadonlyMap<string, readonly number[]>): string[] =>
  [...shapes].map(([name, shape]) => `${name} [${shape.join(', ')}]`).sort();

describe('the golden checkpoint', () => {
  const spec = uniformerV1.spec(golden.config, {});

  test('has the parameters of the graph, and counters besides', async () => {
    const { shapes } = await goldenWeights('uniformer_v1');
    const [kept, left] = [new Map(shapes), [] as string[]];
    for (const key of shapes.keys()) {
      if (spec.leftover(key) === undefined) continue;
      kept.delete(key);
      left.push(key);
    }
    expect(sorted(kept)).toEqual(sorted(parametersOf(spec)));
    expect(left.sort()).toEqual(
      ['blocks1.0.norm1', 'blocks1.0.norm2', 'blocks2.0.norm1', 'blocks2.0.norm2', 'norm'].map(
        (name) => `${name}.num_batches_tracked`,
      ),
    );
    expect(families.filter((family) => family.recognises(shapes)).map(({ name }) => name)).toEqual(['uniformer-v1']);
    // The width of a head is in no shape.
    expect({ ...uniformerV1.infer(shapes), head_dim: 8 }).toEqual({
      embed_dim: [8, 16, 24, 32],
      depth: [1, 1, 1, 1],
      head_dim: 8,
      mlp_ratio: 4,
      num_classes: 20,
    });
  });

  test('through all four graphs gives what the official code gave', async () => {
    const { weights } = await goldenWeights('uniformer_v1');
    const { data, shape } = (await goldenArray('uniformer_v1', 'frames.npy')) as Tensor<'uint8'>;
    const results = await runEveryGraph(spec, weights, tensor('uint8', [1, ...shape], data));
    for (const [file, result] of results) {
      for (const [name, { file: expectedFile, tolerance }] of Object.entries(golden.outputs)) {
        const expected = (await goldenArray('uniformer_v1', expectedFile)) as Tensor<'float32'>;
        expect([file, name, result[name]!.shape]).toEqual([file, name, expected.shape]);
        const error = maxAbs(result[name]!.data, expected.data);
        expect(error, `${name} of ${file}`).toBeLessThanOrEqual(tolerance.fp32_max_abs);
      }
      const { features, tokens, logits, probs } = result;
      // tokens [1, 4, 32] are features [1, 32, 4, 1, 1], places before channels
      expect(Array.from(tokens!.data)).toEqual(
        Array.from({ length: 128 }, (_, i) => features!.data[(i % 32) * 4 + Math.floor(i / 32)]!),
      );
      expect(maxAbs(probs!.data, softmaxOf(logits!.data))).toBeLessThan(1e-6);
    }
  });
});

function softmaxOf(logits: Float32Array): number[] {
  const shares = Array.from(logits, (value) => Math.exp(value - Math.max(...logits)));
  return shares.map((share) => share / shares.reduce((a, b) => a + b));
}

// ---- shapes of input ----------------------------------------------------------------------------------------------

const runningVariance = (weights: Weights): Weights =>
  new Map(
    [...weights].map(([name, values]) => [name, name.endsWith('running_var') ? values.map((v) => 1 + v ** 2) : values]),
  );

test.each([
  ['as many frames as a band takes, a batch of two', 32, 32, 2],
  ['more frames than a band takes', 35, 33, 1],
  ['one frame, a side that no stride divides', 1, 75, 1],
])('%s: graphs agree, and a sample does not depend on the others', async (_name, frames, size, batch) => {
  const spec = uniformerV1.spec({ ...small, frames, img_size: size }, {});
  const weights = runningVariance(randomWeights(spec, 1, () => 0.3));
  const random = seededRandom(2, 'frames');
  const count = frames * size * size * 3;
  const data = Uint8Array.from({ length: batch * count }, () => random.integer(256));
  const results = [
    ...(await runEveryGraph(spec, weights, tensor('uint8', [batch, frames, size, size, 3], data))).values(),
  ];
  const [t, side] = [Math.ceil(frames / 2), Math.floor(size / 32)];
  for (const result of results) {
    expect(result['features']!.shape).toEqual([batch, 32, t, side, side]);
    expect(result['tokens']!.shape).toEqual([batch, t * side * side, 32]);
    expect(maxAbs(result['features']!.data, results[0]!['features']!.data)).toBeLessThan(2e-4);
  }
  if (batch === 1) return;
  const second = tensor('uint8', [1, frames, size, size, 3], data.slice(count));
  const alone = (await runEveryGraph(spec, weights, second)).get('graph.onnx')!['pooled']!.data;
  expect(maxAbs(results[0]!['pooled']!.data.subarray(32), alone)).toBeLessThan(1e-5);
});

/** Made once by printing; a refactor leaves them unchanged, a change of the model changes them on purpose. */
test.each([
  ['uniformer-v1-small.txt', 0],
  ['uniformer-v1-small.float.separate.txt', 3],
] as const)('the committed text %s is that of the model definition', async (file, variant) => {
  const text = graphText(uniformerV1.spec(small, {}).build(graphFiles[variant]));
  await expect(text).toMatchFileSnapshot(join(packageRoot, 'fixtures', 'graphs', file));
});

test('the four graphs ask for the same parameters', () => {
  const spec = uniformerV1.spec(small, {});
  for (const variant of graphFiles) expect(sorted(parametersOf(spec, variant))).toEqual(sorted(parametersOf(spec)));
});

// ---- published sizes ----------------------------------------------------------------------------------------------

test.each([
  ['uniformer-v1-s', 21.4],
  ['uniformer-v1-b', 49.8],
])('%s with 400 classes has %d million parameters, as published', (arch, millions) => {
  const spec = uniformerV1.spec({ ...familyOf(arch).size, num_classes: 400 }, {});
  // Running statistics are no parameters of the paper's count.
  const counted = [...parametersOf(spec)].filter(([name]) => !name.includes('running_'));
  expect(counted.reduce((sum, [, shape]) => sum + sizeOf(shape), 0) / 1e6).toBeCloseTo(millions, 1);
  expect(uniformerV1.infer(parametersOf(spec))).toEqual({ ...familyOf(arch).size, num_classes: 400 });
});

test('the size of the Ego4D models takes 16 frames of 320 pixels, under the preset of hand prediction', () => {
  const spec = uniformerV1.spec({ ...familyOf('uniformer-v1-b').size, num_classes: 20 }, {});
  expect([spec.frames, spec.size, spec.classes, spec.tokenOutput]).toEqual([16, 320, 20, 'tokens']);
  expect(spec.preset).toEqual(readPreset('uniformer-v1-fhp-320'));
  expect(spec.outputs['tokens']!.shape).toEqual(['batch', 800, 512]);
  expect(spec.outputs['features']!.shape).toEqual(['batch', 512, 8, 10, 10]);
  const kinetics = uniformerV1.spec({ ...spec.config, img_size: 224, mean: [0.45, 0.45, 0.45] }, {});
  expect(kinetics.preset).toMatchObject({ name: 'uniformer-v1-fhp-320-16f-224px', mean: [0.45, 0.45, 0.45] });
});

// ---- configurations -----------------------------------------------------------------------------------------------

test('a configuration is complete when it comes back, and gives the same model', () => {
  const spec = uniformerV1.spec(small, {});
  expect(spec.config).toMatchObject(small);
  const again = uniformerV1.spec(JSON.parse(jsonText(spec.config)) as Config, {});
  expect(again.config).toEqual(spec.config);
  expect(graphText(again.build(graphFiles[1]))).toBe(graphText(spec.build(graphFiles[1])));
});

test('without classes the head of a file is left, and nothing else', () => {
  const without: ModelSpec = uniformerV1.spec({ ...small, num_classes: 0 }, {});
  expect(Object.keys(without.outputs)).toEqual(['pooled', 'tokens', 'features']);
  expect(without.leftover('head.weight')).toContain('num_classes 0');
  expect(uniformerV1.spec(small, {}).leftover('head.weight')).toBeUndefined();
  for (const key of [
    'head.num_batches_tracked',
    'blocks3.0.norm1.num_batches_tracked',
    'blocks1.0.norm1.weight',
    'norm',
  ])
    expect(without.leftover(key)).toBeUndefined();
});

test('of a file without a stage, or of another model, only what is there is inferred', () => {
  expect(uniformerV1.infer(new Map([['patch_embed1.proj.weight', [64, 3, 3, 4, 4]]]))).toEqual({ num_classes: 0 });
  expect(uniformerV1.infer(new Map())).toEqual({ num_classes: 0 });
  const image = new Map([
    ['patch_embed1.proj.weight', [64, 3, 4, 4]],
    ['blocks1.0.conv1.weight', [64, 64, 1, 1]],
    ['blocks3.0.attn.qkv.weight', [960, 320]],
  ]);
  expect(uniformerV1.recognises(image)).toBe(false);
});

test.each<[change: Config, message: string]>([
  [{ embed_dim: undefined }, '`embed_dim`: expected 4 whole numbers from 1 to 16384, found nothing'],
  [{ embed_dim: 64 }, '`embed_dim`: expected 4 whole numbers from 1 to 16384, found `64`'],
  [{ embed_dim: [64, 128, 320] }, '`embed_dim`: expected 4 whole numbers from 1 to 16384, found `[64,128,320]`'],
  [{ embed_dim: [8, 16, 24, '32'] }, '`embed_dim`: expected 4 whole numbers'],
  [{ embed_dim: [8, 16, 24, 36] }, '`embed_dim`: expected multiples of head_dim 8 in the stages with attention'],
  [{ depth: [1, 1, 0, 1] }, '`depth`: expected 4 whole numbers from 1 to 512, found `[1,1,0,1]`'],
  [{ depth: [1, 1, 1e9, 1] }, '`depth`: expected 4 whole numbers from 1 to 512'],
  [{ head_dim: 0 }, '`head_dim`: expected a whole number from 1 to 16384, found `0`'],
  [{ img_size: 31 }, '`img_size`: expected a whole number from 32 to 4096, found `31`'],
  [{ frames: 0 }, '`frames`: expected a whole number from 1 to 4096, found `0`'],
  [{ frames: 4096, img_size: 4096 }, '`img_size`: expected at most 67108864 pixels in 4096 frames'],
  [
    { frames: 4, img_size: 4096, embed_dim: [128, 16, 24, 32] },
    '`embed_dim`: expected at most 67108864 values in a stage',
  ],
  [{ mlp_ratio: 1e9 }, '`mlp_ratio`: expected hidden widths of 1 to 131072'],
  [{ activation: 'gelu_tanh' }, '`activation`: expected one of `gelu_erf`, found `"gelu_tanh"`'],
  [{ std: [1, 1, 0] }, '`std`: expected three numbers above 0'],
  [{ batchnorm_eps: 0 }, '`batchnorm_eps`: expected a number above 0, found `0`'],
  [{ num_classes: -1 }, '`num_classes`: expected a whole number from 0 to 1000000, found `-1`'],
])('a configuration with %j is refused, naming the member', (change, message) => {
  expect(() => uniformerV1.spec({ ...small, ...change }, {})).toThrow(
    expect.objectContaining({
      code: 'model.config',
      message: expect.stringContaining(`uniformer-v1: ${message}`) as string,
    }),
  );
});
