import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyReportError, matchKeys } from '../checkpoint/match-keys.js';
import { readNpy } from '../checkpoint/npy.js';
import { openCheckpoint } from '../checkpoint/state-dict.js';
import { openFileSource, packageRoot } from '../files.js';
import type { Graph } from '../graph/builder.js';
import { graphText } from '../graph/print.js';
import { writeGraph } from '../runtime/probe-graphs.js';
import { openSession } from '../runtime/session.js';
import { sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, StateDict, StoredTensor, Tensor } from '../types.js';
import { clip } from './clip.js';
import { mergedConfig } from './config.js';
import { families } from './index.js';
import { internvideoMm } from './internvideo-mm.js';
import { readPreset } from './presets.js';
import { graphFiles, textFiles, type KeyShapes, type ModelFamily, type ModelSpec, type TextTower } from './spec.js';
import { viclip } from './viclip.js';

type Config = Readonly<Record<string, unknown>>;
type Floats = Readonly<Record<string, Tensor<'float32'>>>;

const textOf = (spec: ModelSpec): TextTower => spec.text!; // the families of this file have one
/** Parameters of the picture graphs and of the text tower, as an import wants them. */
function shapesOf(spec: ModelSpec): Map<string, readonly number[]> {
  const graphs = [spec.build(graphFiles[0]), textOf(spec).build('fused')];
  return new Map(graphs.flatMap((graph) => graph.params.map(({ name, shape }) => [name, shape] as const)));
}
const countOf = (shapes: KeyShapes): number => [...shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);

/** A stored tensor whose values count up from `first`. */
function stored(name: string, shape: readonly number[], first = 0): StoredTensor {
  return {
    name,
    storedType: 'float32',
    shape,
    async *chunks(maxElements = 1000) {
      const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => first + i);
      for (let at = 0; at < values.length; at += maxElements)
        yield await Promise.resolve(values.slice(at, at + maxElements));
    },
  };
}
const dict = (shapes: Iterable<readonly [string, readonly number[]]>): Map<string, StoredTensor> =>
  new Map([...shapes].map(([key, shape]) => [key, stored(key, shape)]));
async function valuesOf(value: StoredTensor): Promise<Float32Array<ArrayBuffer>> {
  const values = new Float32Array(sizeOf(value.shape));
  let at = 0;
  for await (const piece of value.chunks()) {
    values.set(piece, at);
    at += piece.length;
  }
  expect(at).toBe(values.length);
  return values;
}
/** What an import would say of these tensors. */
function report(spec: ModelSpec, tensors: StateDict): string {
  const allowed = { has: (key: string) => spec.leftover(key) !== undefined };
  const found = matchKeys(shapesOf(spec), spec.adapt(tensors), (key) => key, allowed);
  return keyReportError(found, 'f.pth')?.message ?? 'fits';
}

// ---- parity with the official code --------------------------------------------------------------------------------

interface Case {
  readonly folder: string;
  readonly family: ModelFamily;
  readonly left: readonly string[];
}
const cases: readonly Case[] = [
  { folder: 'clip_torchscript', family: clip, left: ['context_length', 'input_resolution', 'vocab_size'] },
  { folder: 'viclip', family: viclip, left: ['temp'] },
  {
    folder: 'internvideo_mm',
    family: internvideoMm,
    left: ['caption_decoder.visual_queries', 'text_mask_embedding', 'text_queue_unused'],
  },
];

interface GoldenFile {
  readonly config: Config;
  readonly checkpoint: { readonly file: string };
  readonly outputs: Readonly<
    Record<string, { readonly file: string; readonly tolerance: { readonly fp32_max_abs: number } }>
  >;
}

async function readArray(path: string): Promise<AnyTensor> {
  await using source = await openFileSource(path);
  return (await readNpy(source)).tensor;
}

const normalisedOf = ({ data, shape }: Tensor<'uint8'>, { preset: { mean, std } }: ModelSpec): Tensor<'float32'> => {
  const [b, t, h, w] = shape as [number, number, number, number];
  const inside = t * h * w;
  const values = Float32Array.from({ length: b * 3 * inside }, (_, i) => {
    const [sample, channel, at] = [Math.floor(i / (3 * inside)), Math.floor(i / inside) % 3, i % inside];
    return (data[(sample * inside + at) * 3 + channel]! / 255 - mean[channel]!) / std[channel]!;
  });
  return tensor('float32', [b, 3, t, h, w], values);
};

/** Rows of a matrix. */
function rowsOf({ shape, data }: Tensor<'float32'>): number[][] {
  const [count, width] = shape as [number, number];
  return Array.from({ length: count }, (_, i) => [...data.subarray(i * width, (i + 1) * width)]);
}

/** What `encode` makes of both towers' vectors: [pictures, texts] each, flat. */
function jointOf(pictures: number[][], texts: number[][], scale: number): Record<TextTower['joint'][number], number[]> {
  const unit = (row: number[]): number[] => row.map((value) => value / Math.hypot(...row));
  const cosines = pictures.map((picture) =>
    texts.map((text) => unit(picture).reduce((sum, value, i) => sum + value * unit(text)[i]!, 0)),
  );
  const logits = cosines.map((row) => row.map((value) => scale * value));
  const probs = logits.map((row) => {
    const exps = row.map((value) => Math.exp(value - Math.max(...row)));
    return exps.map((value) => value / exps.reduce((a, b) => a + b));
  });
  return { similarity: cosines.flat(), probs: probs.flat(), logits_per_image: logits.flat() };
}

describe.each(cases)('the official outputs of $folder', ({ folder, family, left }) => {
  const path = join(packageRoot, 'fixtures', 'golden', 'encoder', folder);
  const golden = JSON.parse(readFileSync(join(path, 'case.json'), 'utf8')) as GoldenFile;
  const spec = family.spec(golden.config, {});
  const tower = textOf(spec);
  let work: string;
  let found: StateDict;
  let keys: KeyShapes;
  const weights = new Map<string, Float32Array<ArrayBuffer>>();
  let frames: Tensor<'uint8'>;
  let tokens: Tensor<'int64'>;
  const expected: Record<string, AnyTensor> = {};

  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), 'egolens-towers-'));
    await using source = await openFileSource(join(path, golden.checkpoint.file));
    found = family.official((await openCheckpoint(source)).tensors);
    keys = new Map([...found].map(([key, { shape }]) => [key, shape]));
    for (const [key, value] of spec.adapt(found)) weights.set(key, await valuesOf(value));
    const pixels = (await readArray(join(path, 'frames.npy'))) as Tensor<'uint8'>;
    const [b, ...rest] = pixels.shape as [number, ...number[]];
    frames = tensor('uint8', [b, ...(spec.isImage ? [1] : []), ...rest], pixels.data);
    const ids = await readArray(join(path, 'tokens.npy'));
    tokens = tensor('int64', ids.shape, BigInt64Array.from(ids.data as Int32Array, BigInt));
    for (const [name, { file }] of Object.entries(golden.outputs)) expected[name] = await readArray(join(path, file));
  });
  afterAll(() => rm(work, { recursive: true, force: true }));

  async function run(
    graph: Graph,
    name: string,
    feeds: Readonly<Record<string, AnyTensor>>,
    outputs: readonly string[],
  ): Promise<Floats> {
    const file = await writeGraph(work, { ...graph, name }, (key) => weights.get(key)!);
    await using session = await openSession({ graph: file, device: 'cpu', threads: 1 });
    return await session.run(feeds, outputs);
  }

  function compare(name: string, shape: readonly number[], values: ArrayLike<number>): void {
    const wanted = expected[name]!;
    expect([name, shape]).toEqual([name, wanted.shape]);
    let worst = 0;
    for (let i = 0; i < values.length; i++) worst = Math.max(worst, Math.abs(values[i]! - Number(wanted.data[i]!)));
    const tolerance = golden.outputs[name]!.tolerance.fp32_max_abs;
    expect([name, worst <= tolerance ? 'within' : worst]).toEqual([name, 'within']);
  }

  const pictureOutputs = Object.keys(golden.outputs).filter((name) => name in spec.outputs);
  const textOutputs = Object.keys(golden.outputs).filter((name) => name in tower.outputs);

  test('every tensor of the checkpoint is a parameter or has its reason', () => {
    expect(report(spec, found)).toBe('fits');
    const others = [...keys.keys()].filter((key) => !shapesOf(spec).has(key));
    expect(others.sort()).toEqual(left);
  });

  test('every output of the case comes from a tower or from both', () => {
    const names = [...pictureOutputs, ...textOutputs, ...tower.joint];
    expect(names.sort()).toEqual(Object.keys(golden.outputs).sort());
  });

  test.each(graphFiles)('come out of $file', async ({ file, input, form }) => {
    const feed = input === 'frames' ? { frames } : { input: normalisedOf(frames, spec) };
    const results = await run(spec.build({ input, form }), file, feed, Object.keys(spec.outputs));
    for (const name of pictureOutputs) compare(name, results[name]!.shape, results[name]!.data);
    for (const [name, { shape }] of Object.entries(spec.outputs)) {
      expect(results[name]!.shape).toEqual(shape.map((dim) => (dim === 'batch' ? frames.shape[0] : dim)));
    }
  });

  test.each(textFiles)('come out of $file, together with the picture vectors', async ({ file, form }) => {
    const results = await run(tower.build(form), file, { tokens }, Object.keys(tower.outputs));
    for (const name of textOutputs) compare(name, results[name]!.shape, results[name]!.data);
    const pictures = await run(spec.build(graphFiles[0]), `${file}.pictures`, { frames }, [tower.against]);
    const scale = tower.scale === 'learned' ? results['scale']!.data[0]! : tower.scale;
    const [vectors, texts] = [rowsOf(pictures[tower.against]!), rowsOf(results['text_embed']!)];
    const joint = jointOf(vectors, texts, scale);
    for (const name of tower.joint) compare(name, [vectors.length, texts.length], joint[name]);
  });

  test.each(textFiles)(
    '$file gives the same vectors to shorter rows, and to others after the end token',
    async ({ file, form }) => {
      const [rows, context] = tokens.shape as [number, number];
      const row = (i: number): bigint[] => [...tokens.data.subarray(i * context, (i + 1) * context)];
      const ends = Array.from({ length: rows }, (_, i) => row(i).indexOf(row(i).reduce((a, b) => (a > b ? a : b))));
      const length = Math.max(...ends) + 1;
      expect(length).toBeLessThanOrEqual(context);
      const short = Array.from({ length: rows }, (_, i) => row(i).slice(0, length)).flat();
      const graph = tower.build(form);
      const cut = await run(
        graph,
        `cut.${file}`,
        { tokens: tensor('int64', [rows, length], BigInt64Array.from(short)) },
        ['text_last', 'text_embed'],
      );
      compare('text_embed', cut['text_embed']!.shape, cut['text_embed']!.data);
      expect(cut['text_last']!.shape).toEqual([rows, length, tower.width]);
      const other = Array.from({ length: rows }, (_, i) => row(i).map((id, at) => (at > ends[i]! ? 1n : id))).flat();
      const filled = await run(
        graph,
        `filled.${file}`,
        { tokens: tensor('int64', [rows, context], BigInt64Array.from(other)) },
        ['text_embed'],
      );
      compare('text_embed', filled['text_embed']!.shape, filled['text_embed']!.data);
    },
  );

  test('its configuration is complete when it comes back, and gives the same model', () => {
    expect(spec.config).toMatchObject(golden.config);
    const again = family.spec(JSON.parse(JSON.stringify(spec.config)) as Config, {});
    expect(again.config).toEqual(spec.config);
    expect(shapesOf(again)).toEqual(shapesOf(spec));
  });

  test('its keys imply all that the file can tell of it', () => {
    const inferred = family.infer(keys) as Record<string, object | number>;
    // Heads of such small widths are no multiple of 64 channels, and the count of frames is no shape but in ViCLIP.
    const { vision, text, embed_dim } = inferred as { vision: object; text: object; embed_dim: number };
    expect(spec.config).toMatchObject({ embed_dim, vision, text });
    expect(Object.keys(text)).toEqual(expect.arrayContaining(['context_length', 'vocab_size', 'width', 'layers']));
    expect(Object.keys(vision)).toEqual(expect.arrayContaining(['patch_size', 'width', 'layers']));
  });

  test('is recognised by its own family alone', () => {
    for (const other of [clip, viclip, internvideoMm]) expect(other.recognises(keys)).toBe(other === family);
  });
});

test('the golden cases are here', () => {
  for (const { folder } of cases)
    expect(existsSync(join(packageRoot, 'fixtures', 'golden', 'encoder', folder, 'case.json'))).toBe(true);
});

// ---- graph text ---------------------------------------------------------------------------------------------------

/** Made once by printing; a refactor leaves them unchanged, a change of the model changes them on purpose. */
describe('the committed text of a graph is that of the model definition', () => {
  const nano = {
    embed_dim: 32,
    vision: { image_resolution: 32, input_resolution: 32, patch_size: 16, width: 64, layers: 1, heads: 2 },
    text: { vocab_size: 519, width: 32, heads: 2, layers: 1 },
  };
  test.each([
    ['clip-nano.txt', clip.spec(nano, {}).build(graphFiles[0])],
    ['clip-nano-text.txt', textOf(clip.spec(nano, {})).build('fused')],
    ['clip-nano-text.separate.txt', textOf(clip.spec(nano, {})).build('separate')],
    ['viclip-nano.txt', viclip.spec(nano, {}).build(graphFiles[0])],
    ['viclip-nano-text.txt', textOf(viclip.spec(nano, {})).build('fused')],
  ] as const)('%s', async (file, graph) => {
    await expect(graphText(graph)).toMatchFileSnapshot(join(packageRoot, 'fixtures', 'graphs', file));
  });
});

// ---- published sizes ----------------------------------------------------------------------------------------------

const published = [clip, viclip, internvideoMm].flatMap((family) =>
  Object.entries(family.sizes).map(([arch, size]) => ({ arch, family, size })),
);
const sizeNamed = (arch: string): ModelSpec => {
  const { family, size } = published.find((one) => one.arch === arch)!;
  return family.spec(size, {});
};

test('every published size is declared', () => {
  expect(published.map(({ arch }) => arch)).toEqual([
    ...['clip-b32', 'clip-b16', 'clip-l14', 'clip-l14-336'],
    ...['viclip-b16', 'viclip-l14'],
    ...['internvideo-mm-b16', 'internvideo-mm-l14'],
  ]);
});

// As openai/CLIP counts them, `logit_scale` included.
test.each([
  ['clip-b32', 151_277_313],
  ['clip-b16', 149_620_737],
  ['clip-l14', 427_616_513],
  ['clip-l14-336', 427_944_193],
])('%s has %d parameters', (arch, count) => {
  expect(countOf(shapesOf(sizeNamed(arch)))).toBe(count);
});

test.each([
  ['b16', 768, 512],
  ['l14', 1024, 768],
])(
  'viclip-%s has the parameters of CLIP with 8 time steps, 45 positions of text less, and no learned scale',
  (size, width, textWidth) => {
    const clipCount = countOf(shapesOf(sizeNamed(`clip-${size}`)));
    expect(countOf(shapesOf(sizeNamed(`viclip-${size}`)))).toBe(clipCount + 8 * width - 45 * textWidth - 1);
  },
);

test.each([
  ['b16', 768],
  ['l14', 1024],
])(
  'internvideo-mm-%s has the parameters of CLIP with four global blocks, a video token and `balance`',
  (size, width) => {
    const block = 12 * width ** 2 + 9 * width + 6 * width; // attention and MLP with biases, three norms
    const positions = 27 * width + width;
    const clipCount = countOf(shapesOf(sizeNamed(`clip-${size}`)));
    expect(countOf(shapesOf(sizeNamed(`internvideo-mm-${size}`)))).toBe(
      clipCount + 4 * (block + positions) + 2 * width,
    );
  },
);

test.each(published)(
  'from the keys of $arch its configuration is inferred, and no other family claims them',
  ({ family, size }) => {
    const keys = shapesOf(family.spec(size, {}));
    const inferred = family.infer(keys);
    expect(inferred).toMatchObject(size);
    expect(shapesOf(family.spec(inferred, {}))).toEqual(keys);
    expect(families.filter((one) => one.recognises(keys)).map(({ name }) => name)).toEqual([family.name]);
  },
);

test.each(published)(
  'the graphs of $arch ask for the same parameters, and no picture tower for one of the text',
  ({ family, size }) => {
    const spec = family.spec(size, {});
    const paramsOf = (graph: Graph): string[] =>
      graph.params.map(({ name, shape }) => `${name} ${shape.join()}`).sort();
    const pictures = graphFiles.map((variant) => paramsOf(spec.build(variant)));
    const texts = textFiles.map(({ form }) => paramsOf(textOf(spec).build(form)));
    for (const params of pictures) expect(params).toEqual(pictures[0]);
    for (const params of texts) expect(params).toEqual(texts[0]);
    expect(pictures[0]!.filter((param) => texts[0]!.includes(param))).toEqual([]);
  },
);

// ---- configurations -----------------------------------------------------------------------------------------------

const small = {
  embed_dim: 6,
  vision: { patch_size: 16, width: 8, layers: 2, heads: 2 },
  text: { vocab_size: 20, width: 4, heads: 2, layers: 1 },
};
const smallVideo = { ...small, vision: { ...small.vision, input_resolution: 32 } };

test('what a configuration leaves open is as in the published models', () => {
  expect(clip.spec(small, {}).config).toMatchObject({
    norm_eps: 1e-5,
    activation: 'quick_gelu',
    vision: { image_resolution: 224 },
    text: { context_length: 77 },
  });
  expect(viclip.spec(small, {}).config).toMatchObject({
    mean: [0.485, 0.456, 0.406],
    vision: { input_resolution: 224, num_frames: 8 },
    text: { context_length: 32 },
  });
  const deep = { ...small, vision: { ...small.vision, layers: 6 } };
  expect(internvideoMm.spec(deep, {}).config).toMatchObject({
    mean: [0.48145466, 0.4578275, 0.40821073],
    vision: { t_size: 8, return_list: [2, 3, 4, 5], global_heads: 2 },
    text: { context_length: 77 },
  });
});

const refusals: readonly (readonly [ModelFamily, change: Config, message: string])[] = [
  [clip, { embed_dim: undefined }, '`embed_dim`: expected a whole number from 1 to 16384, found nothing'],
  [clip, { activation: 'gelu' }, '`activation`: expected one of `quick_gelu`, found `"gelu"`'],
  [clip, { norm_eps: 0 }, '`norm_eps`: expected a number above 0, found `0`'],
  [clip, { std: [1, 1, 0] }, '`std`: expected three numbers above 0'],
  [clip, { vision: 'ViT-B/16' }, '`vision.patch_size`: expected a whole number from 1 to 4096, found nothing'],
  [clip, { vision: { ...small.vision, heads: 3 } }, '`vision.width`: expected a multiple of vision.heads 3, found `8`'],
  [
    clip,
    { vision: { ...small.vision, image_resolution: 100 } },
    '`vision.image_resolution`: expected a multiple of vision.patch_size 16, found `100`',
  ],
  [
    clip,
    { vision: { ...small.vision, layers: [3, 4, 6, 3] } },
    '`vision.layers`: expected a whole number from 1 to 512, found `[3,4,6,3]`',
  ],
  [clip, { text: null }, '`text.width`: expected a whole number from 1 to 16384, found nothing'],
  [clip, { text: { ...small.text, heads: 3 } }, '`text.width`: expected a multiple of text.heads 3, found `4`'],
  [
    clip,
    { text: { ...small.text, context_length: 1e9 } },
    '`text.context_length`: expected a whole number from 2 to 1024, found `1000000000`',
  ],
  [
    viclip,
    { vision: { ...small.vision, num_frames: 4096, input_resolution: 4096 } },
    '`vision.input_resolution`: expected at most 67108864 pixels in 4096 frames',
  ],
  [
    viclip,
    { vision: { ...small.vision, patch_size: 1, input_resolution: 512 } },
    '`vision.patch_size`: expected at most 262144 tokens; 8 x 512 x 512 are 2097152',
  ],
  [
    internvideoMm,
    { vision: { ...small.vision, return_list: [1, 0] } },
    '`vision.return_list`: expected ascending whole numbers from 0 to 1, found `[1,0]`',
  ],
  [internvideoMm, { vision: { ...small.vision, return_list: [0, 2] } }, '`vision.return_list`: expected ascending'],
  [internvideoMm, { vision: { ...small.vision, return_list: [] } }, '`vision.return_list`: expected ascending'],
  [
    internvideoMm,
    { vision: { ...small.vision, global_heads: 3 } },
    '`vision.global_heads`: expected a divisor of vision.width 8, found `3`',
  ],
];
test.each(refusals.map(([family, change, message]) => ({ name: family.name, family, change, message })))(
  '$name with $change is refused: $message',
  ({ name, family, change, message }) => {
    expect(() => family.spec({ ...small, ...change }, {})).toThrow(
      expect.objectContaining({
        code: 'model.config',
        message: expect.stringContaining(`${name}: ${message}`) as string,
      }),
    );
  },
);

test('a section of a configuration is merged member by member', () => {
  expect(mergedConfig(small, { embed_dim: 7, text: { width: 64 } }, { vision: { heads: 1 }, extra: [1] })).toEqual({
    embed_dim: 7,
    vision: { ...small.vision, heads: 1 },
    text: { ...small.text, width: 64 },
    extra: [1],
  });
  const hostile = mergedConfig(small, JSON.parse('{ "__proto__": { "polluted": 1 }, "text": 3 }') as Config);
  expect('polluted' in hostile).toBe(false);
  expect(hostile['text']).toBe(3);
});

// ---- presets ------------------------------------------------------------------------------------------------------

test.each([
  ['clip-b16', 'clip-frame'],
  ['viclip-l14', 'viclip-8'],
  ['internvideo-mm-b16', 'internvideo-mm-8'],
])('%s takes preset %s as it is, and its feature is the picture vector', (arch, name) => {
  const spec = sizeNamed(arch);
  expect(spec.preset).toEqual(readPreset(name));
  expect(spec.preset.feature).toBe(textOf(spec).against);
});

test('a model of other frames and size takes the recipe at its own, the scaled side included', () => {
  const { preset } = internvideoMm.spec({ ...smallVideo, vision: { ...smallVideo.vision, t_size: 4 } }, {});
  expect(preset).toMatchObject({
    name: 'internvideo-mm-8-4f-32px',
    sampling: { plan: 'internvideo_mm_linspace', frames: 4 },
    pixels: { size: 32, shortSide: 36 },
  });
});

test('the evaluation preset of ViCLIP fits it', () => {
  const preset = readPreset('viclip-8-eval');
  expect(viclip.spec(published.find(({ arch }) => arch === 'viclip-b16')!.size, { preset }).preset).toBe(preset);
});

// ---- keys ---------------------------------------------------------------------------------------------------------

describe('tables of ViCLIP', () => {
  const file = dict(shapesOf(viclip.spec(smallVideo, {})));
  const time = 'vision_encoder.temporal_positional_embedding';
  const texts = 'text_encoder.positional_embedding';
  const adapted = (
    change: { frames?: number; context?: number },
    tensors: StateDict = file,
  ): [ModelSpec, StateDict] => {
    const vision = { ...smallVideo.vision, num_frames: change.frames ?? 8 };
    const spec = viclip.spec({ ...small, vision, text: { ...small.text, context_length: change.context ?? 32 } }, {});
    return [spec, spec.adapt(tensors)];
  };

  test('of the size of the model stay as they are', () => {
    expect(adapted({})[1]).toBe(file);
  });

  test.each([
    ['the mean of all steps for one frame', 1, [28, 29]],
    ['the first steps for fewer frames', 3, [0, 1, 8, 9, 16, 17]],
    // half-pixel: step k of 16 lies at k / 2 - 1/4 of 8, clamped at both ends
    ['steps between for more frames', 16, [0, 1, 2, 3, 6, 7, 10, 11]],
  ])('of time become %s', async (_, frames, start) => {
    const [spec, tensors] = adapted({ frames });
    expect(report(spec, tensors)).toBe('fits');
    const table = tensors.get(time)!;
    expect(table.shape).toEqual([1, frames, 8]);
    const values = await valuesOf(table);
    const firstTwo = Array.from({ length: start.length / 2 }, (_, t) => [values[8 * t]!, values[8 * t + 1]!]).flat();
    expect(firstTwo).toEqual(start);
    if (frames === 16) expect([...values.slice(-8)]).toEqual([56, 57, 58, 59, 60, 61, 62, 63]);
  });

  test('of text are cut, or filled with zeros', async () => {
    const [shorter, cut] = adapted({ context: 3 });
    expect(report(shorter, cut)).toBe('fits');
    expect([...(await valuesOf(cut.get(texts)!))]).toEqual(Array.from({ length: 12 }, (_, i) => i));
    const [longer, filled] = adapted({ context: 34 });
    expect(report(longer, filled)).toBe('fits');
    expect([...(await valuesOf(filled.get(texts)!)).slice(126)]).toEqual([126, 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  test('that are no tables are left to the report of shapes', () => {
    const odd = new Map([...file, [time, stored(time, [8, 8])], [texts, stored(texts, [32])]] as const);
    const [spec, tensors] = adapted({ frames: 4, context: 16 }, odd);
    expect(report(spec, tensors)).toContain('2 of another shape');
  });
});

describe('what a file has beside the weights', () => {
  const withKeys = (spec: ModelSpec, family: ModelFamily, ...keys: string[]): string =>
    report(spec, family.official(new Map([...dict(shapesOf(spec)), ...dict(keys.map((key) => [key, [1]] as const))])));

  test('has a reason where it is known, and is reported where it is not', () => {
    const clipSmall = clip.spec(small, {});
    expect(withKeys(clipSmall, clip, 'input_resolution', 'context_length', 'vocab_size')).toBe('fits');
    expect(withKeys(clipSmall, clip, 'visual.attnpool.k_proj.bias')).toContain('`visual.attnpool.k_proj.bias`');
    const viclipSmall = viclip.spec(smallVideo, {});
    expect(withKeys(viclipSmall, viclip, 'temp')).toBe('fits');
    expect(withKeys(viclipSmall, viclip, 'temp2')).toContain('`temp2`');
  });

  test('of a Lightning file lies outside `clip.`, where anything may; within it only the model', () => {
    const spec = internvideoMm.spec(smallVideo, {});
    const inside = new Map([...shapesOf(spec)].map(([key, shape]) => [`clip.${key}`, shape] as const));
    const reportOf = (...keys: string[]): string =>
      report(spec, internvideoMm.official(dict([...inside, ...keys.map((key) => [key, [1]] as const)])));
    expect(
      reportOf('caption_decoder.norm.weight', 'queue_text', 'train_metric.total', 'clip.text_mask_embedding'),
    ).toBe('fits');
    expect(reportOf('clip.adapter.weight')).toContain('not wanted by the graph: `clip.adapter.weight`');
    expect(reportOf('visual.extra')).toContain('not wanted by the graph: `visual.extra`');
    // The same tensor with and without prefix is no choice of ours.
    expect(reportOf('visual_proj')).toContain('not wanted by the graph: `clip.visual_proj`');
    expect(spec.leftover('clip_k.visual_proj')).toContain('slow copy');
    expect(spec.leftover('constructor.x')).toContain('beside the model');
  });
});

describe('CLIP in the spelling of the transformers library', () => {
  const spec = clip.spec({ ...small, vision: { ...small.vision, image_resolution: 32 } }, {});
  const both = (name: string, ...shape: number[]): [string, number[]][] => [
    [`${name}.weight`, shape],
    [`${name}.bias`, [shape[0]!]],
  ];
  const layers = (prefix: string, width: number, depth: number): [string, number[]][] =>
    Array.from({ length: depth }, (_, i) => `${prefix}.encoder.layers.${i}`).flatMap((layer) => [
      ...['k_proj', 'v_proj', 'q_proj', 'out_proj'].flatMap((part) => both(`${layer}.self_attn.${part}`, width, width)),
      ...both(`${layer}.layer_norm1`, width),
      ...both(`${layer}.mlp.fc1`, 4 * width, width),
      ...both(`${layer}.mlp.fc2`, width, 4 * width),
      ...both(`${layer}.layer_norm2`, width),
    ]);
  const theirs = dict([
    ['logit_scale', []],
    ['text_model.embeddings.position_ids', [1, 77]],
    ['text_model.embeddings.token_embedding.weight', [20, 4]],
    ['text_model.embeddings.position_embedding.weight', [77, 4]],
    ...layers('text_model', 4, 1),
    ...both('text_model.final_layer_norm', 4),
    ['text_projection.weight', [6, 4]],
    ['vision_model.embeddings.class_embedding', [8]],
    ['vision_model.embeddings.patch_embedding.weight', [8, 3, 16, 16]],
    ['vision_model.embeddings.position_embedding.weight', [5, 8]],
    ['vision_model.embeddings.position_ids', [1, 5]],
    ...both('vision_model.pre_layrnorm', 8),
    ...layers('vision_model', 8, 2),
    ...both('vision_model.post_layernorm', 8),
    ['visual_projection.weight', [6, 8]],
  ]);
  const official = clip.official(theirs);

  test('fills every parameter, and is recognised and inferred as the official spelling is', () => {
    expect(report(spec, official)).toBe('fits');
    const keys = new Map([...official].map(([key, { shape }]) => [key, shape]));
    expect(clip.recognises(keys)).toBe(true);
    expect(clip.infer(keys)).toMatchObject({
      embed_dim: 6,
      vision: { image_resolution: 32 },
      text: { vocab_size: 20 },
    });
  });

  test('joins q, k and v in this order and transposes the projections', async () => {
    const prefix = 'vision_model.encoder.layers.1.self_attn.';
    const parts = new Map(theirs);
    for (const [i, part] of ['q', 'k', 'v'].entries())
      parts.set(`${prefix}${part}_proj.bias`, stored(part, [8], 100 * i));
    const joined = clip.official(parts);
    const bias = await valuesOf(joined.get('visual.transformer.resblocks.1.attn.in_proj_bias')!);
    expect([...bias]).toEqual([0, 100, 200].flatMap((first) => Array.from({ length: 8 }, (_, i) => first + i)));
    const projection = joined.get('text_projection')!;
    expect(projection.shape).toEqual([4, 6]);
    expect([...(await valuesOf(projection)).slice(0, 8)]).toEqual([0, 4, 8, 12, 16, 20, 1, 5]);
  });

  test('keeps and reports what it does not know', () => {
    const incomplete = new Map(theirs);
    incomplete.delete('text_model.encoder.layers.0.self_attn.k_proj.weight');
    const missing = report(spec, clip.official(incomplete));
    expect(missing).toContain('missing in the file: `transformer.resblocks.0.attn.in_proj_weight`');
    const more = new Map([...theirs, ['vision_model.encoder.layers.0.toString', stored('x', [1])]] as const);
    expect(report(spec, clip.official(more))).toContain('`vision_model.encoder.layers.0.toString`');
    const own = dict(shapesOf(spec));
    expect(clip.official(own)).toBe(own);
  });
});
