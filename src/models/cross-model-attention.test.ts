import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readNpy } from '../checkpoint/npy.js';
import { openCheckpoint } from '../checkpoint/state-dict.js';
import { openFileSource, packageRoot } from '../files.js';
import { graphText } from '../graph/print.js';
import { jsonText } from '../json.js';
import { writeGraph } from '../runtime/probe-graphs.js';
import { openSession } from '../runtime/session.js';
import { sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Normalisation, StateDict, StoredTensor, Tensor } from '../types.js';
import { normalise } from '../video/resize.js';
import { crossModelAttention } from './cross-model-attention-family.js';
import { evenlyAfter } from './cross-model-attention.js';
import { families } from './index.js';
import { slowfastStatistics } from './recipe.js';
import { graphFiles, type ModelFamily, type ModelSpec } from './spec.js';
import { uniformerv2 } from './uniformerv2-family.js';

/** The graphs of the multimodal stream, alone and coordinated with the masked one, against golden data. */

type Config = Readonly<Record<string, unknown>>;
interface Golden {
  readonly config: Config & { readonly masked: Config; readonly multimodal: Config };
  readonly outputs: Readonly<
    Record<string, { readonly file: string; readonly tolerance: { readonly fp32_max_abs: number } }>
  >;
}

const pathOf = (name: string, file: string): string => join(packageRoot, 'fixtures', 'golden', 'encoder', name, file);
const goldenOf = (name: string): Golden => JSON.parse(readFileSync(pathOf(name, 'case.json'), 'utf8')) as Golden;

async function readArray(name: string, file: string): Promise<AnyTensor> {
  await using source = await openFileSource(pathOf(name, file));
  return (await readNpy(source)).tensor;
}

/** Windows of a case with their batch axis. */
async function readFrames(name: string, file: string): Promise<Tensor<'uint8'>> {
  const { shape, data } = (await readArray(name, file)) as Tensor<'uint8'>; // as the golden data has frames
  return tensor('uint8', shape.length === 4 ? [1, ...shape] : shape, data);
}

function normalised({ shape, data }: Tensor<'uint8'>, statistics: Normalisation): Tensor<'float32'> {
  const [b, t, h, w] = shape as [number, number, number, number];
  const values = new Float32Array(data.length);
  for (let i = 0; i < b; i++) {
    const [from, to] = [(i * data.length) / b, ((i + 1) * data.length) / b];
    values.set(normalise(data.subarray(from, to), statistics), from);
  }
  return tensor('float32', [b, 3, t, h, w], values);
}

/** The values of checkpoints, each below its prefix. */
async function readWeights(
  name: string,
  files: Readonly<Record<string, string>>,
): Promise<Map<string, Tensor<'float32'>>> {
  const weights = new Map<string, Tensor<'float32'>>();
  for (const [file, prefix] of Object.entries(files)) {
    await using source = await openFileSource(pathOf(name, file));
    for (const [key, stored] of (await openCheckpoint(source)).tensors) {
      const values = new Float32Array(sizeOf(stored.shape));
      let at = 0;
      for await (const piece of stored.chunks()) {
        values.set(piece, at);
        at += piece.length;
      }
      weights.set(prefix + key, tensor('float32', stored.shape, values));
    }
  }
  return weights;
}

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'egolens-streams-'));
});
afterAll(async () => {
  await rm(work, { recursive: true, force: true });
});

/** Every output of one graph over these weights and inputs. */
async function run(
  spec: ModelSpec,
  variant: (typeof graphFiles)[number],
  feeds: Readonly<Record<string, AnyTensor>>,
  weights: (name: string) => Float32Array<ArrayBuffer>,
): Promise<Record<string, Tensor<'float32'>>> {
  const folder = await mkdtemp(join(work, 'graph-'));
  const graph = await writeGraph(folder, spec.build(variant), weights);
  await using session = await openSession({ graph, device: 'cpu', threads: 1 });
  return await session.run(feeds, Object.keys(spec.outputs));
}

async function expectGolden(name: string, file: string, tolerance: number, found: Tensor<'float32'>): Promise<void> {
  const expected = (await readArray(name, file)) as Tensor<'float32'>;
  expect([file, found.shape]).toEqual([file, expected.shape]);
  const error = found.data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected.data[i]!)), 0);
  expect(error, file).toBeLessThan(tolerance / 2);
}

/** Both forms and both inputs; the parity tests over all golden cases run the other two graphs. */
const unlike = [graphFiles[0], graphFiles[3]];

// ---- the multimodal stream alone ----------------------------------------------------------------------------------

test.each(unlike)('$file of the local kind gives the outputs of the official code', async (variant) => {
  const name = 'uniformerv2_local';
  const golden = goldenOf(name);
  const spec = uniformerv2.spec(golden.config, {});
  const frames = await readFrames(name, 'frames.npy');
  const weights = await readWeights(name, { 'checkpoint.pyth': '' });
  const feeds = variant.input === 'frames' ? { frames } : { input: normalised(frames, spec.preset) };
  const results = await run(spec, variant, feeds, (key) => weights.get(key)!.data);
  for (const [output, { file, tolerance }] of Object.entries(golden.outputs))
    await expectGolden(name, file, tolerance.fp32_max_abs, results[output]!);
  // The same tokens in another order: out_last [n, b t, c], tokens [b, t n, c].
  const { out_last: last, tokens } = results;
  const [n, lines, width] = last!.shape as [number, number, number];
  const [batch] = tokens!.shape as [number];
  const steps = lines / batch;
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < n; i++) {
      const from = ((Math.floor(line / steps) * steps + (line % steps)) * n + i) * width;
      const there = (i * lines + line) * width;
      expect(tokens!.data.subarray(from, from + width)).toEqual(last!.data.subarray(there, there + width));
    }
  }
});

// ---- both streams -------------------------------------------------------------------------------------------------

const reference = 'cma_reference';
const golden = goldenOf(reference);
const { config } = golden;
const spec = crossModelAttention.spec(config, {});
const files = { 'masked.pth': 'masked.', 'multimodal.pyth': 'multimodal.', 'coordination.pth': '' };

describe.each(unlike)('$file of the coordination', (variant) => {
  const feedsOf = async (): Promise<Record<string, AnyTensor>> => {
    const frames = await readFrames(reference, 'frames_masked.npy');
    const multimodal = await readArray(reference, 'frames_multimodal.npy');
    if (variant.input === 'frames') return { frames, ...spec.feeds({ multimodal }, 1) };
    const second = normalised(await readFrames(reference, 'frames_multimodal.npy'), slowfastStatistics);
    return { input: normalised(frames, spec.preset), ...spec.feeds({ multimodal: second }, 1) };
  };

  test('gives the outputs of the reference design', async () => {
    const weights = await readWeights(reference, files);
    const results = await run(spec, variant, await feedsOf(), (key) => weights.get(key)!.data);
    for (const [output, { file, tolerance }] of Object.entries(golden.outputs))
      await expectGolden(reference, file, tolerance.fp32_max_abs, results[output]!);
    const { pooled, class_token: token, probs } = results;
    expect(pooled!.data.subarray(-32)).toEqual(token!.data);
    expect(probs!.data.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
  });

  test('gives the mean of what the streams say alone while gates and mixture are at their start, zero', async () => {
    const weights = await readWeights(reference, files);
    const isStart = (key: string): boolean => key === 'alpha' || /\.gate_(attn|ffn)$/.test(key);
    expect([...weights.keys()].filter(isStart)).toHaveLength(7);
    const results = await run(spec, variant, await feedsOf(), (key) =>
      isStart(key) ? new Float32Array(1) : weights.get(key)!.data,
    );
    const tolerance = golden.outputs['logits']!.tolerance.fp32_max_abs;
    await expectGolden(reference, 'logits_gates_zero.npy', tolerance, results['logits']!);
    await expectGolden(reference, 'logits_masked_alone.npy', tolerance, results['logits_masked']!);
    await expectGolden(reference, 'logits_multimodal_alone.npy', tolerance, results['logits_multimodal']!);
    results['logits']!.data.forEach((value, i) => {
      const [a, b] = [results['logits_masked']!.data[i]!, results['logits_multimodal']!.data[i]!];
      expect(value).toBeCloseTo((a + b) / 2, 6);
    });
  });
});

/** Made once by printing; a refactor leaves it unchanged, a change of the model changes it on purpose. */
test('the committed text of the graph is that of the model definition', async () => {
  const text = graphText(spec.build(graphFiles[0]));
  await expect(text).toMatchFileSnapshot(join(packageRoot, 'fixtures', 'graphs', 'cross-model-attention.txt'));
});

// ---- keys ---------------------------------------------------------------------------------------------------------

const shapesOf = (of: ModelSpec): Map<string, readonly number[]> =>
  new Map(of.build(graphFiles[0]).params.map(({ name, shape }) => [name, shape]));

test('every graph asks for the keys of both streams and of the modules, and for no others', async () => {
  const weights = await readWeights(reference, files);
  const wanted = [...weights].map(([key, { shape }]) => `${key} ${shape.join()}`).sort();
  for (const variant of graphFiles) {
    const found = spec.build(variant).params.map(({ name, shape }) => `${name} ${shape.join()}`);
    expect(found.sort()).toEqual(wanted);
  }
  const keys = new Map([...weights].map(([key, { shape }]) => [key, shape]));
  expect(families.filter((family: ModelFamily) => family.recognises(keys))).toEqual([crossModelAttention]);
  const alone = new Map([...keys].filter(([key]) => !/^(masked|multimodal)\./.test(key)));
  expect(families.filter((family: ModelFamily) => family.recognises(alone))).toEqual([crossModelAttention]);
});

test('from the keys the sections of both streams are inferred; of a file without a stream nothing is', () => {
  const inferred = crossModelAttention.infer(shapesOf(spec));
  expect(inferred).toMatchObject({
    masked: { embed_dim: 36, depth: 4, mlp_ratio: 2, num_classes: 9 },
    multimodal: { width: 32, layers: 3, n_layers: 2, no_lmhra: true, num_classes: 9 },
    mlp_ratio: 4,
  });
  expect(crossModelAttention.infer(new Map([['cma_last.fc1.weight', [48, 32]]]))).toEqual({ mlp_ratio: 1.5 });
  expect(Object.keys(crossModelAttention.parts ?? {})).toEqual(['masked', 'multimodal']);
});

test('each stream adapts its own tensors and says itself what may be left', () => {
  const stored = (name: string): StoredTensor => ({
    name,
    storedType: 'float32',
    shape: [1],
    async *chunks() {
      yield await Promise.resolve(new Float32Array(1));
    },
  });
  const dict = (...names: string[]): StateDict => new Map(names.map((name) => [name, stored(name)]));
  const encoder = dict('masked.encoder.patch_embed.proj.weight', 'masked.encoder.norm.bias', 'multimodal.x', 'alpha');
  expect([...spec.adapt(encoder).keys()].sort()).toEqual([
    'alpha',
    'masked.norm.bias',
    'masked.patch_embed.proj.weight',
    'multimodal.x',
  ]);
  expect(spec.leftover('masked.norm.bias')).toContain('fc_norm');
  expect(spec.leftover('masked.mask_token')).toBe('pre-training only');
  expect(spec.leftover('mask_token')).toBeUndefined();
  expect(spec.leftover('multimodal.mask_token')).toBeUndefined();
  const local = { ...config.multimodal, no_lmhra: false };
  const counter = 'transformer.resblocks.0.lmhra1.pos_embed.0.num_batches_tracked';
  const withLocal = crossModelAttention.spec({ ...config, multimodal: local }, {});
  expect(withLocal.leftover(`multimodal.${counter}`)).toContain('batch norm');
  expect(withLocal.leftover(`masked.${counter}`)).toBeUndefined();
});

// ---- configurations -----------------------------------------------------------------------------------------------

test('the configuration is complete when it comes back, and gives the same model', () => {
  // Widths of the projection and of dropout have no part in inference.
  const { output_dim: projection, mlp_dropout: dropout, ...multimodal } = config.multimodal;
  expect([projection, dropout]).toEqual([16, [0.5, 0.5]]);
  expect(spec.config).toMatchObject({ ...config, multimodal });
  const again = crossModelAttention.spec(JSON.parse(jsonText(spec.config)) as Config, {});
  expect(again.config).toEqual(spec.config);
  expect(graphText(again.build(graphFiles[1]))).toBe(graphText(spec.build(graphFiles[1])));
});

test('modules stand evenly, the last after the last block', () => {
  expect(evenlyAfter(32, 4)).toEqual([7, 15, 23, 31]);
  expect(evenlyAfter(12, 4)).toEqual([2, 5, 8, 11]);
  expect(evenlyAfter(4, 2)).toEqual([1, 3]);
  expect(evenlyAfter(10, 4)).toEqual([2, 4, 7, 9]);
  const { masked, multimodal } = config;
  const { after_blocks, heads_masked, heads_multimodal, mlp_ratio } = crossModelAttention.spec(
    { masked, multimodal },
    {},
  ).config;
  expect({ after_blocks, heads_masked, heads_multimodal, mlp_ratio }).toEqual({
    after_blocks: [1, 3],
    heads_masked: 3,
    heads_multimodal: 2,
    mlp_ratio: 4,
  });
});

const change = (part: 'masked' | 'multimodal', members: Config): Config => ({
  [part]: { ...config[part], ...members },
});
test.each<readonly [change: Config, message: string]>([
  [{ masked: 5 }, '`masked`: expected a configuration of its own, found `5`'],
  [{ multimodal: [] }, '`multimodal`: expected a configuration of its own, found `[]`'],
  [{ masked: undefined }, '`masked`: videomae-classifier: `embed_dim`: expected a whole number'],
  [change('multimodal', { width: 31 }), '`multimodal`: uniformerv2: `width`: expected a multiple of heads 2'],
  [change('masked', { num_classes: 0 }), '`masked`: expected a classifier'],
  [change('multimodal', { num_classes: 8 }), '`multimodal`: expected the 9 classes of `masked` in it, not 8'],
  [{ after_blocks: [3, 1] }, '`after_blocks`: expected ascending whole numbers from 0 to 3, found `[3,1]`'],
  [{ after_blocks: [1, 4] }, '`after_blocks`: expected ascending whole numbers from 0 to 3, found `[1,4]`'],
  [{ after_blocks: [3] }, '`after_blocks`: expected 2 blocks, one for each global block of `multimodal`, found `[3]`'],
  [
    { ...change('masked', { depth: 1 }), after_blocks: undefined },
    '`after_blocks`: expected ascending whole numbers from 0 to 0, found `[0,0]` (the default)',
  ],
  [{ heads_masked: 5 }, "`heads_masked`: expected a divisor of the stream's width 36, found `5`"],
  [{ heads_multimodal: 3 }, "`heads_multimodal`: expected a divisor of the stream's width 32, found `3`"],
  [{ mlp_ratio: 1e9 }, '`mlp_ratio`: expected a hidden width of 1 to 131072, found `1000000000`'],
  [{ activation: 'quick_gelu' }, '`activation`: expected one of `gelu_erf`, found `"quick_gelu"`'],
  [{ norm_eps: -1 }, '`norm_eps`: expected a number above 0, found `-1`'],
])('a configuration with %j is refused, naming the stream and the member', (members, message) => {
  expect(() => crossModelAttention.spec({ ...config, ...members }, {})).toThrow(
    expect.objectContaining({
      code: 'model.config',
      message: expect.stringContaining(`cross-model-attention: ${message}`) as string,
    }),
  );
});

test('the preset is that of the masked stream; its statistics do not reach the other', () => {
  expect(spec.preset).toMatchObject({ name: 'ego4d-mq-8f-32px', feature: 'pooled' });
  const half = { ...spec.preset, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;
  const other = crossModelAttention.spec(config, { preset: half });
  expect(other.preset).toBe(half);
  expect(other.config).toMatchObject({
    masked: { mean: [0.5, 0.5, 0.5] },
    multimodal: { mean: [0.45, 0.45, 0.45], std: [0.225, 0.225, 0.225] },
  });
});

// ---- the frames of the second stream ------------------------------------------------------------------------------

const bytes = (...shape: number[]): Tensor<'uint8'> => tensor('uint8', shape, new Uint8Array(sizeOf(shape)));
const floats = (...shape: number[]): Tensor<'float32'> => tensor('float32', shape, new Float32Array(sizeOf(shape)));

test('frames of the second stream are taken as bytes or normalised, with or without a batch axis', () => {
  const shapeFed = (value: AnyTensor, batch: number): readonly number[] | undefined =>
    spec.feeds({ multimodal: value }, batch)['multimodal']?.shape;
  expect(shapeFed(bytes(2, 4, 32, 32, 3), 2)).toEqual([2, 4, 32, 32, 3]);
  expect(shapeFed(bytes(4, 32, 32, 3), 1)).toEqual([1, 4, 32, 32, 3]);
  expect(shapeFed(floats(2, 3, 4, 32, 32), 2)).toEqual([2, 3, 4, 32, 32]);
  expect(shapeFed(floats(3, 4, 32, 32), 1)).toEqual([1, 3, 4, 32, 32]);
  expect(spec.feeds(spec.probeArrays(), 1)['multimodal']?.shape).toEqual([1, 4, 32, 32, 3]);
  expect(spec.probeArrays()).toEqual(spec.probeArrays());
});

test.each<[string, Record<string, AnyTensor>, string, string]>([
  ['none', {}, 'data.shape', '`multimodal`: expected uint8 [2, 4, 32, 32, 3], found none'],
  [
    'another batch',
    { multimodal: bytes(4, 32, 32, 3) },
    'data.shape',
    'expected uint8 [2, 4, 32, 32, 3], found [4, 32, 32, 3]',
  ],
  ['other frames', { multimodal: bytes(2, 8, 32, 32, 3) }, 'data.shape', 'found [2, 8, 32, 32, 3]'],
  ['bytes laid out as floats', { multimodal: bytes(2, 3, 4, 32, 32) }, 'data.shape', 'found [2, 3, 4, 32, 32]'],
  [
    'floats laid out as bytes',
    { multimodal: floats(2, 4, 32, 32, 3) },
    'data.shape',
    'expected float32 [2, 3, 4, 32, 32], found [2, 4, 32, 32, 3]',
  ],
  [
    'integers',
    { multimodal: tensor('int32', [1], new Int32Array(1)) },
    'data.dtype',
    'expected uint8 or float32, found int32',
  ],
  ['another array', { multimodal: bytes(2, 4, 32, 32, 3), mask: bytes(1) }, 'data.invalid', '`mask`: this model takes'],
])('%s is refused as the second stream', (_, arrays, code, message) => {
  expect(() => spec.feeds(arrays, 2)).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(message) as string }),
  );
});

test('streams of one size share their windows: the second takes its frames evenly out of the first', () => {
  const frame = 32 * 32 * 3;
  const windows = tensor(
    'uint8',
    [2, 8, 32, 32, 3],
    Uint8Array.from({ length: 16 * frame }, (_, i) => Math.floor(i / frame)),
  );
  const second = spec.companions!(windows)['multimodal'] as Tensor<'uint8'>;
  expect(second.shape).toEqual([2, 4, 32, 32, 3]);
  const numbers = Array.from({ length: 8 }, (_, i) => second.data[i * frame]);
  expect(numbers).toEqual([0, 2, 4, 7, 8, 10, 12, 15]);
  expect(second.data.every((value, i) => value === numbers[Math.floor(i / frame)])).toBe(true);
  const larger = crossModelAttention.spec({ ...config, ...change('multimodal', { input_resolution: 48 }) }, {});
  expect(larger).not.toHaveProperty('companions');
});
