import { describe, expect, test } from 'vitest';
import { headOf } from '../../heads/index.js';
import { goldenModel } from '../../test/models.js';
import { familyOf } from '../models/index.js';
import type { ModelFolder } from '../models/folder.js';
import { initialWeights } from '../models/head.js';
import { readPreset } from '../models/presets.js';
import { graphFiles } from '../models/spec.js';
import { seededRandom } from '../random.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import { checkGradients } from '../train/grad-check.js';
import { stepGraphs } from '../train/graphs.js';
import { classTargets } from '../train/losses.js';
import { openTraining, type Training, type Weights } from '../train/step.js';
import type { TensorsByName } from '../runtime/training-session.js';
import type { Tensor } from '../types.js';
import { openRenderer } from '../world/render.js';
import { makeScene } from '../world/scene.js';
import { nouns, verbs } from '../world/vocabulary.js';
import { encoderPrefix, headPrefix, stepInputs, tuningStep, type TuningSettings } from './fine-tune-step.js';

const [frames, size] = [4, 32];
const base = readPreset('nano-16x2');
const preset = { ...base, sampling: { ...base.sampling, frames }, pixels: { ...base.pixels, size } };
const config = {
  ...{ img_size: size, patch_size: 8, all_frames: frames, embed_dim: 32, depth: 2, num_heads: 2 },
  init_values: 1,
};

/** What of a model folder the step looks at. */
function modelOf(family: string, own: Readonly<Record<string, unknown>>): ModelFolder {
  const spec = familyOf(family).family.spec(own, family === 'videomae-classifier' ? { preset } : {});
  return { spec, preset: spec.preset, id: family } as ModelFolder; // the rest is not looked at
}
const model = modelOf('videomae-classifier', config);
const kinds = { kinds: ['verb', 'noun'], classes: [verbs.length, nouns.length] };
const head = headOf('recognition-head')!.spec({ dim: 32, ...kinds });

const plain: TuningSettings = {
  ...{ batch: 8, layerDecay: 1, weightDecay: 0.05, dropout: 0, dropPath: 0, clip: 0, average: 0 },
  ...{ checkpointBlocks: false, freeze: [] },
};

function weights(): Weights {
  const random = seededRandom(3, 'encoder');
  const encoder = model.spec.build(graphFiles[0]).params.map(({ name, shape }) => {
    const gain = shape.length > 1 ? 1 / Math.sqrt(sizeOf(shape.slice(1))) : 0;
    const start = /weight$|gamma/.test(name) && shape.length === 1 ? 1 : 0;
    const data = Float32Array.from({ length: sizeOf(shape) }, () => start + gain * random.normal());
    return [encoderPrefix + name, tensor('float32', shape, data)] as const;
  });
  const own = [...initialWeights(head, random)].map(([name, value]) => [headPrefix + name, value] as const);
  return new Map<string, Tensor<'float32'>>([...encoder, ...own]);
}

const openStep = (settings: Partial<TuningSettings> = {}): Promise<Training> =>
  openTraining(tuningStep(model, head, { ...plain, ...settings }).description, weights(), {
    device: 'cpu',
    threads: 1,
  });

/** Eight actions of Tabletop, four frames of each. */
async function clips(): Promise<TensorsByName> {
  const renderer = await openRenderer({ width: size, height: size });
  const scenes = [0, 1].map((index) =>
    makeScene({ seed: 4, split: 'train', index, seconds: 20, fps: 30, difficulty: 1 }),
  );
  const actions = scenes.flatMap((scene) => scene.actions.map((action) => ({ scene, action }))).slice(0, 8);
  const bytes = size * size * 3;
  const pixels = new Uint8Array(actions.length * frames * bytes);
  actions.forEach(({ scene, action }, i) => {
    for (let t = 0; t < frames; t++) {
      const frame = Math.floor(action.start + ((t + 0.5) * (action.end - action.start)) / frames);
      renderer.rgb(scene, frame, pixels, (i * frames + t) * bytes);
    }
  });
  const targets = (names: readonly string[], of: (action: (typeof actions)[number]) => string): Tensor<'float32'> =>
    classTargets(
      actions.map((action) => names.indexOf(of(action))),
      names.length,
    );
  return {
    frames: tensor('uint8', [actions.length, frames, size, size, 3], pixels),
    [stepInputs.mask]: tensor('float32', [actions.length, 1], new Float32Array(actions.length).fill(1)),
    'targets.verb': targets(verbs, ({ action }) => action.verb),
    'targets.noun': targets(nouns, ({ scene, action }) => scene.objects[action.object]!.noun),
  };
}

describe('a tiny encoder and eight clips of Tabletop', () => {
  test('are learnt by heart: loss below 0.05', async () => {
    const batch = await clips();
    await using training = await openStep();
    let loss = Infinity;
    for (let step = 0; step < 200 && loss >= 0.05; step++) loss = (await training.run(batch, 3e-3)).loss;
    expect(loss).toBeLessThan(0.05);
  });

  test('blocks that are computed again give the same gradients for less memory', async () => {
    const batch = await clips();
    await using kept = await openStep();
    await using again = await openStep({ checkpointBlocks: true });
    const [a, b] = [await kept.gradients(batch), await again.gradients(batch)];
    expect([...b.keys()]).toEqual([...a.keys()]);
    for (const [name, { data }] of a) {
      const most = Math.max(...data.map(Math.abs));
      const apart = Math.max(...data.map((value, i) => Math.abs(value - b.get(name)!.data[i]!)));
      expect(apart, name).toBeLessThanOrEqual(1e-5 * most + 1e-9);
    }
    expect(again.memory.kept).toBeLessThan(0.6 * kept.memory.kept);
  });

  test('the gradient of the step agrees with finite differences, and a wrong one does not', async () => {
    const batch = await clips();
    await using training = await openStep();
    const before = await training.state();
    const checks = await checkGradients(training, batch, 1);
    expect(checks.map(({ part }) => part)).toEqual([
      ...['encoder.patch_embed.proj', 'encoder.blocks.0', 'encoder.blocks.1', 'encoder.fc_norm'],
      ...['head.fc_norm', 'head.head', 'head.fc_norm2', 'head.head2'],
    ]);
    expect(checks.filter(({ agrees }) => !agrees)).toEqual([]);
    expect(await training.state()).toEqual(before);
    const wrong = Object.assign(Object.create(training) as Training, {
      gradients: async () =>
        new Map(
          [...(await training.gradients(batch))].map(([name, value]) => [
            name,
            name.startsWith('encoder.blocks.1') ? { ...value, data: value.data.map((one) => 1.1 * one) } : value,
          ]),
        ),
      state: () => training.state(),
      load: training.load.bind(training),
      run: training.run.bind(training),
    });
    const found = (await checkGradients(wrong, batch, 1)).filter(({ agrees }) => !agrees);
    expect(found.map(({ part }) => part)).toEqual(['encoder.blocks.1']);
  });

  test('a branch that is skipped is not there, one that is kept counts more; scoring knows nothing of it', async () => {
    const batch = await clips();
    const dropPath = 0.5;
    const { paths } = tuningStep(model, head, { ...plain, dropPath });
    expect(paths, 'two branches a block, none in the first').toEqual([0, 0, 0.5, 0.5]);
    const masks = (value: number) =>
      Object.fromEntries(
        paths.map((_, i) => [stepInputs.path(i), tensor('float32', [8, 1, 1], new Float32Array(8).fill(value))]),
      );
    await using never = await openStep();
    await using some = await openStep({ dropPath });
    const lossOf = async (training: Training, feeds: TensorsByName) => (await training.run(feeds, 0)).loss;
    const whole = await lossOf(never, batch);
    expect(await lossOf(some, { ...batch, ...masks(1) })).toBeCloseTo(whole, 5);
    expect(Math.abs((await lossOf(some, { ...batch, ...masks(0) })) - whole)).toBeGreaterThan(1e-3);
    const feeds = { frames: batch['frames']!, [stepInputs.mask]: batch[stepInputs.mask]! };
    expect(await some.evaluate('scores', feeds)).toEqual(await never.evaluate('scores', feeds));
  });

  test('frozen parameters keep every bit, and their gradients are not computed', async () => {
    const batch = await clips();
    const freeze = ['encoder.patch_embed.*', 'encoder.blocks.[0].*'];
    await using training = await openStep({ freeze });
    await training.run(batch, 1e-2);
    const [before, { weights: after }] = [weights(), await training.state()];
    const changed = [...after].filter(
      ([name, { data }]) => Buffer.compare(bytesOf({ ...before.get(name)!, data }), bytesOf(before.get(name)!)) !== 0,
    );
    const names = changed.map(([name]) => name);
    expect(names).toContain('encoder.blocks.1.attn.qkv.weight');
    expect(names.filter((name) => /patch_embed|blocks\.0\./.test(name))).toEqual([]);
    const nodes = (settings: Partial<TuningSettings>): number =>
      stepGraphs(tuningStep(model, head, { ...plain, ...settings }).description).graph('gradient').graph.nodes.length;
    expect(nodes({ freeze })).toBeLessThan(0.8 * nodes({}));
  });
});

test('other families: InternVideo2 with all of the recipe, UniFormerV2 without what goes by names of blocks', () => {
  const sizes = { img_size: 28, patch_size: 14, num_frames: 2, embed_dim: 32, depth: 2, num_heads: 2, mlp_ratio: 2 };
  const second = modelOf('internvideo2', { ...sizes, clip_embed_dim: 32, attn_pool_num_heads: 2, num_classes: 3 });
  const step = tuningStep(second, head, { ...plain, layerDecay: 0.75, dropPath: 0.2, checkpointBlocks: true });
  expect(step.paths).toEqual([0, 0, 0.2, 0.2]);
  expect(stepGraphs(step.description).trained.length).toBeGreaterThan(20);

  const { config: own } = goldenModel('uniformerv2_local');
  const third = modelOf('uniformerv2', own);
  const wide = headOf('recognition-head')!.spec({ dim: own['width'], ...kinds });
  const graphs = stepGraphs(tuningStep(third, wide, { ...plain, checkpointBlocks: true }).description);
  const names = graphs.frozen.map(({ name }) => name);
  expect(names, 'running statistics stay').toContain('encoder.transformer.resblocks.0.lmhra1.pos_embed.0.running_mean');
  expect(() => tuningStep(third, wide, { ...plain, layerDecay: 0.75 })).toThrow('`--layer-decay 1` does without');
  expect(() => tuningStep(third, wide, { ...plain, dropPath: 0.1 })).toThrow('`--drop-path 0` skips none');
});

test('rates fall from the head to the patches', () => {
  const { groups } = tuningStep(model, head, { ...plain, layerDecay: 0.5 }).description;
  const scaleOf = (name: string) => groups({ name, shape: [4, 4] }).scale;
  expect(
    [
      'head.head.weight',
      'encoder.fc_norm.weight',
      'encoder.blocks.1.mlp.fc1.weight',
      'encoder.patch_embed.proj.weight',
    ].map(scaleOf),
  ).toEqual([1, 1, 0.5, 0.125]);
});

test.each([
  [['encoder.blokcs.*'], /fits no parameter/],
  [['*'], /all frozen/],
])('--freeze %j is refused', (freeze, message) => {
  expect(() => tuningStep(model, head, { ...plain, freeze })).toThrow(message);
});

test.each([
  [
    'videomae-pretraining',
    {
      img_size: 32,
      patch_size: 8,
      encoder_embed_dim: 16,
      encoder_depth: 1,
      encoder_num_heads: 2,
      decoder_embed_dim: 8,
      decoder_depth: 1,
      decoder_num_heads: 2,
    },
    /takes `mask` beside the frames/,
  ],
])('family %s is refused with what it lacks', (family, own, message) => {
  expect(() => tuningStep(modelOf(family, own), head, plain)).toThrow(message);
});

test('a head of another width is refused', () => {
  const wide = headOf('recognition-head')!.spec({ dim: 33, ...kinds });
  expect(() => tuningStep(model, wide, plain)).toThrow('takes rows of 33 numbers, expected 32');
});
