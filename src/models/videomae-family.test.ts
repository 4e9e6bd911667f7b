import fc from 'fast-check';
import { readFileSync, readdirSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../files.js';
import { graphText } from '../graph/print.js';
import { jsonText } from '../json.js';
import { sizeOf, tensor } from '../tensor.js';
import type { AnyTensor } from '../types.js';
import { familyOf } from './index.js';
import { readPreset } from './presets.js';
import { graphFiles, type ModelFamily, type ModelSpec } from './spec.js';
import { pretrainingFeeds, tubeMask, videomaeClassifier, videomaePretraining } from './videomae-family.js';

type Config = Readonly<Record<string, unknown>>;
const shapesOf = (spec: ModelSpec): Map<string, readonly number[]> =>
  new Map(spec.build(graphFiles[0]).params.map(({ name, shape }) => [name, shape]));
const countOf = (shapes: ReadonlyMap<string, readonly number[]>): number =>
  [...shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);

// ---- graph text ---------------------------------------------------------------------------------------------------

const nano = { img_size: 96, patch_size: 16, all_frames: 16, embed_dim: 64, depth: 2, num_heads: 2 };
const nanoPretraining = {
  img_size: 96,
  patch_size: 16,
  all_frames: 16,
  encoder_embed_dim: 64,
  encoder_depth: 2,
  encoder_num_heads: 2,
  decoder_embed_dim: 32,
  decoder_depth: 1,
  decoder_num_heads: 2,
};

/** Made once by printing; a refactor leaves them unchanged, a change of the model changes them on purpose. */
describe('the committed text of a graph is that of the model definition', () => {
  test.each([
    ['videomae-nano-classifier.txt', videomaeClassifier, { ...nano, num_classes: 10 }, 0],
    ['videomae-nano-classifier.separate.txt', videomaeClassifier, { ...nano, num_classes: 10 }, 1],
    ['videomae-nano-pretraining.txt', videomaePretraining, nanoPretraining, 0],
    ['videomae-nano-pretraining.float.txt', videomaePretraining, nanoPretraining, 2],
  ] as const)('%s', async (file, family, config, variant) => {
    const text = graphText(family.spec(config, {}).build(graphFiles[variant]));
    await expect(text).toMatchFileSnapshot(join(packageRoot, 'fixtures', 'graphs', file));
  });
});

const stemmed = { ...nano, img_size: 64, all_frames: 4, stem_dims: [4, 6], embed_dim: 16, num_classes: 3 };

describe('a convolutional stem', () => {
  test('halves the picture once a layer, sees the frames of a tubelet as channels, and is inferred from the keys', () => {
    const spec = videomaeClassifier.spec(stemmed, {});
    const shapes = shapesOf(spec);
    expect(shapes.get('patch_embed.stem.0.weight')).toEqual([4, 6, 3, 3]);
    expect(shapes.get('patch_embed.stem.1.weight')).toEqual([6, 4, 3, 3]);
    expect(shapes.get('patch_embed.proj.weight')).toEqual([16, 6, 4, 4]);
    expect(spec.config['stem_dims']).toEqual([4, 6]);
    expect(videomaeClassifier.infer(shapes)).toMatchObject({ tubelet_size: 2, patch_size: 16, stem_dims: [4, 6] });
  });

  test.each([
    [{ stem_dims: [4, 4, 4, 4, 4] }, 'patch_size 16 can be halved'],
    [{ stem_dims: [0] }, 'whole numbers from 1 to 1024'],
    [{ stem_dims: 32 }, 'up to 8 whole numbers'],
    [{ stem_dims: [1, 1, 1, 1, 1, 1, 1, 1, 1] }, 'up to 8 whole numbers'],
  ])('%j is refused', (change, text) => {
    expect(() => videomaeClassifier.spec({ ...stemmed, ...change }, {})).toThrow(text);
  });

  test('the official model has none in its configuration', () => {
    expect(videomaeClassifier.spec(nano, {}).config).not.toHaveProperty('stem_dims');
  });
});

test('the four graphs of a model ask for the same parameters', () => {
  for (const config of [nano, stemmed, nanoPretraining]) {
    const spec = (config === nanoPretraining ? videomaePretraining : videomaeClassifier).spec(config, {});
    const texts = graphFiles.map((variant) =>
      spec.build(variant).params.map(({ name, shape }) => `${name} ${shape.join()}`),
    );
    for (const text of texts) expect(text.sort()).toEqual(texts[0]!.sort());
  }
});

// ---- published sizes ----------------------------------------------------------------------------------------------

/** encoder.md 2.1: patch, width, blocks, heads, hidden width; then the pre-training decoder: width, heads, blocks. */
const published: Readonly<Record<string, readonly number[]>> = {
  s: [16, 384, 12, 6, 1536, 192, 3, 4],
  b: [16, 768, 12, 12, 3072, 384, 6, 4],
  l: [16, 1024, 24, 16, 4096, 512, 8, 12],
  'l-v2': [16, 1024, 24, 16, 4096, 512, 8, 4],
  h: [16, 1280, 32, 16, 5120, 640, 8, 12],
  'h-v2': [16, 1280, 32, 16, 5120, 512, 8, 4],
  g: [14, 1408, 40, 16, 6144, 512, 8, 4],
  'g-16': [16, 1408, 40, 16, 6144, 512, 8, 4],
  gigantic: [14, 1664, 48, 16, 8192, 512, 8, 4],
};

/** Keys of a stack of blocks, encoder.md 2.3. */
function blockKeys(prefix: string, width: number, depth: number, hidden: number): [string, number[]][] {
  return Array.from({ length: depth }, (_, i) => `${prefix}blocks.${i}.`).flatMap((block): [string, number[]][] => [
    [`${block}norm1.weight`, [width]],
    [`${block}norm1.bias`, [width]],
    [`${block}attn.qkv.weight`, [3 * width, width]],
    [`${block}attn.q_bias`, [width]],
    [`${block}attn.v_bias`, [width]],
    [`${block}attn.proj.weight`, [width, width]],
    [`${block}attn.proj.bias`, [width]],
    [`${block}norm2.weight`, [width]],
    [`${block}norm2.bias`, [width]],
    [`${block}mlp.fc1.weight`, [hidden, width]],
    [`${block}mlp.fc1.bias`, [hidden]],
    [`${block}mlp.fc2.weight`, [width, hidden]],
    [`${block}mlp.fc2.bias`, [width]],
  ]);
}
const pair = (name: string, ...shape: number[]): [string, number[]][] => [
  [`${name}.weight`, shape],
  [`${name}.bias`, [shape[0]!]],
];
const sorted = (entries: Iterable<readonly [string, readonly number[]]>): string[] =>
  [...entries].map(([name, shape]) => `${name} [${shape.join(', ')}]`).sort();

test('every published size is declared, and the v2 ones as pre-training models alone', () => {
  expect(Object.keys(videomaePretraining.sizes)).toEqual(
    Object.keys(published).map((n) => `videomae-${n}-pretraining`),
  );
  expect(Object.keys(videomaeClassifier.sizes)).toEqual(
    ['s', 'b', 'l', 'h', 'g', 'g-16', 'gigantic'].map((name) => `videomae-${name}`),
  );
});

test.each(Object.keys(videomaeClassifier.sizes))(
  '%s asks for the keys and shapes of the official classifier',
  (arch) => {
    const [patch, width, depth, heads, hidden] = published[arch.slice('videomae-'.length)]!;
    const spec = videomaeClassifier.spec({ ...familyOf(arch).size, num_classes: 400 }, {});
    expect(spec.config['num_heads']).toBe(heads);
    expect(sorted(shapesOf(spec))).toEqual(
      sorted([
        ...pair('patch_embed.proj', width!, 3, 2, patch!, patch!),
        ...blockKeys('', width!, depth!, hidden!),
        ...pair('fc_norm', width!),
        ...pair('head', 400, width!),
      ]),
    );
  },
);

test.each(Object.keys(videomaePretraining.sizes))('%s asks for the keys and shapes of the official model', (arch) => {
  const name = arch.slice('videomae-'.length, -'-pretraining'.length);
  const [patch, width, depth, heads, hidden, decoderWidth, decoderHeads, decoderDepth] = published[name]!;
  const spec = videomaePretraining.spec(familyOf(arch).size, {});
  expect(spec.config).toMatchObject({ encoder_num_heads: heads, decoder_num_heads: decoderHeads });
  const decoderHidden = Math.trunc(decoderWidth! * (hidden! / width!));
  expect(sorted(shapesOf(spec))).toEqual(
    sorted([
      ...pair('encoder.patch_embed.proj', width!, 3, 2, patch!, patch!),
      ...blockKeys('encoder.', width!, depth!, hidden!),
      ...pair('encoder.norm', width!),
      ['encoder_to_decoder.weight', [decoderWidth!, width!]],
      ['mask_token', [1, 1, decoderWidth!]],
      ...blockKeys('decoder.', decoderWidth!, decoderDepth!, decoderHidden),
      ...pair('decoder.norm', decoderWidth!),
      ...pair('decoder.head', 3 * 2 * patch! * patch!, decoderWidth!),
    ]),
  );
});

test.each([
  ['s', 22.0],
  ['b', 86.5],
  ['l', 304.3],
  ['h', 632.1],
  ['g', 1012],
])('videomae-%s with 400 classes has %d million parameters, as published', (name, millions) => {
  const spec = videomaeClassifier.spec({ ...familyOf(`videomae-${name}`).size, num_classes: 400 }, {});
  const found = countOf(shapesOf(spec)) / 1e6;
  expect(Math.abs(found - millions)).toBeLessThan(millions > 1000 ? 0.5 : 0.05);
});

// ---- configurations -----------------------------------------------------------------------------------------------

const golden = join(packageRoot, 'fixtures', 'golden', 'encoder');
interface Case {
  readonly name: string;
  readonly family: ModelFamily;
  readonly config: Config;
}
const cases: Case[] = readdirSync(golden).flatMap((name) => {
  const path = join(golden, name, 'case.json');
  if (!name.startsWith('videomae') || !existsSync(path)) return [];
  const { config } = JSON.parse(readFileSync(path, 'utf8')) as { config?: Config };
  if (!config) return [];
  return [{ name, config, family: 'encoder_embed_dim' in config ? videomaePretraining : videomaeClassifier }];
});

describe.each(cases)('$name', ({ family, config }) => {
  const spec = family.spec(config, {});

  test('its configuration is complete when it comes back, and gives the same model', () => {
    expect(spec.config).toMatchObject(config);
    const again = family.spec(JSON.parse(jsonText(spec.config)) as Config, {});
    expect(again.config).toEqual(spec.config);
    expect(graphText(again.build(graphFiles[1]))).toBe(graphText(spec.build(graphFiles[1])));
  });

  test('its keys imply what the file can tell of it', () => {
    const inferred = family.infer(shapesOf(spec));
    const prefixes = family === videomaePretraining ? ['encoder_', 'decoder_'] : [''];
    for (const prefix of prefixes) {
      expect(inferred).toMatchObject({
        [`${prefix}embed_dim`]: config[`${prefix}embed_dim`],
        [`${prefix}depth`]: config[`${prefix}depth`],
      });
    }
    const { mlp_ratio: ratio, ...rest } = inferred;
    expect(ratio).toBeCloseTo(spec.config['mlp_ratio'] as number, 12);
    // Heads of such small widths are in no table; all else is read off.
    expect(spec.config).toMatchObject({ ...rest, ...(config['init_values'] !== undefined && { init_values: 0.1 }) });
    const whole = family.spec({ ...config, ...inferred }, {});
    expect(sorted(shapesOf(whole))).toEqual(sorted(shapesOf(spec)));
  });
});

test('from the keys of every published size its configuration is inferred, heads included', () => {
  for (const family of [videomaeClassifier, videomaePretraining]) {
    for (const [arch, size] of Object.entries(family.sizes)) {
      const inferred = family.infer(shapesOf(family.spec({ ...size, num_classes: 7 }, {})));
      const { mlp_ratio: ratio, ...rest } = size;
      expect([arch, inferred]).toEqual([arch, expect.objectContaining(rest)]);
      expect(inferred['mlp_ratio']).toBeCloseTo(ratio as number, 12);
    }
  }
});

test('the hidden width that a file has is the one that its inferred ratio gives', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 3000 }), (half, hidden) => {
      const width = 2 * half;
      const keys = new Map([
        ['patch_embed.proj.weight', [width, 3, 2, 16, 16]],
        ['blocks.0.mlp.fc1.weight', [hidden, width]],
      ]);
      const { mlp_ratio: ratio } = videomaeClassifier.infer(keys);
      expect(Math.trunc(width * (ratio as number))).toBe(hidden);
    }),
    { numRuns: 5000 },
  );
});

test('a pre-training file as a classifier is an encoder whose first token is normalised, without a head', () => {
  const keys = shapesOf(videomaePretraining.spec(nanoPretraining, {}));
  expect(videomaeClassifier.infer(keys)).toMatchObject({
    embed_dim: 64,
    depth: 2,
    num_classes: 0,
    use_mean_pooling: false,
    qkv_bias: true,
  });
});

test('a repository decides the positional rule where the configuration leaves it open', () => {
  const ruleOf = (config: Config, repository?: string): unknown =>
    videomaeClassifier.spec({ ...nano, ...config }, repository === undefined ? {} : { repository }).config[
      'position_rule'
    ];
  expect(ruleOf({})).toBe('built');
  expect(ruleOf({}, 'MCG-NJU/VideoMAE')).toBe('built');
  expect(ruleOf({}, 'OpenGVLab/InternVideo')).toBe('interpolated');
  expect(ruleOf({ position_rule: 'built' }, 'OpenGVLab/InternVideo')).toBe('built');
  expect(ruleOf({ use_learnable_pos_emb: true })).toBe('learned');
  expect(ruleOf({ position_rule: 'learned' })).toBe('learned');
});

const refusals: readonly (readonly [change: Config, message: string])[] = [
  [{ embed_dim: '64' }, '`embed_dim`: expected a whole number from 1 to 16384, found `"64"`'],
  [{ embed_dim: null }, '`embed_dim`: expected a whole number from 1 to 16384, found `null`'],
  [{ depth: undefined }, '`depth`: expected a whole number from 1 to 512, found nothing'],
  [{ depth: 1e9 }, '`depth`: expected a whole number from 1 to 512, found `1000000000`'],
  [{ depth: 1.5 }, '`depth`: expected a whole number from 1 to 512, found `1.5`'],
  [{ num_heads: 3 }, '`embed_dim`: expected a multiple of num_heads 3, found `64`'],
  [{ embed_dim: 63, num_heads: 1 }, '`embed_dim`: expected an even number: the positional table pairs sine and cosine'],
  [{ img_size: 100 }, '`img_size`: expected a multiple of patch_size 16, found `100`'],
  [
    { img_size: undefined, patch_size: 15 },
    '`img_size`: expected a multiple of patch_size 15, found `224` (the default)',
  ],
  [{ all_frames: 15 }, '`all_frames`: expected a multiple of tubelet_size 2, found `15`'],
  [{ mlp_ratio: 0 }, '`mlp_ratio`: expected a number above 0, found `0`'],
  [{ mlp_ratio: 1e9 }, '`mlp_ratio`: expected a hidden width of 1 to 131072, found `1000000000`'],
  [{ qkv_bias: 1 }, '`qkv_bias`: expected true or false, found `1`'],
  [{ std: [0.1, 0.2] }, '`std`: expected three numbers, found `[0.1,0.2]`'],
  [{ std: [1, 1, 0] }, '`std`: expected three numbers above 0, found `[1,1,0]`'],
  [
    { mean: new Array(1000).fill('x') },
    '`mean`: expected three numbers, found `["x","x","x","x","x","x","x","x","x","x","x","x","x","x",…`',
  ],
  [{ init_values: -1 }, '`init_values`: expected a number, 0 or more, found `-1`'],
  [{ num_classes: -1 }, '`num_classes`: expected a whole number from 0 to 1000000, found `-1`'],
  [
    { position_rule: 'rotary' },
    '`position_rule`: expected one of `built`, `interpolated`, `learned`, found `"rotary"`',
  ],
  [
    { position_rule: 'learned', use_learnable_pos_emb: false },
    '`use_learnable_pos_emb`: expected true, as position_rule `learned` has it, found `false`',
  ],
];
test.each(refusals)(
  'a classifier with %j is refused, naming the member, what was expected and what was found',
  (change, message) => {
    expect(() => videomaeClassifier.spec({ ...nano, ...change }, {})).toThrow(
      expect.objectContaining({
        code: 'model.config',
        message: expect.stringContaining(`videomae-classifier: ${message}`) as string,
      }),
    );
  },
);

test.each([
  [{ decoder_num_classes: 100 }, '`decoder_num_classes`: expected 3 x tubelet_size x patch_size^2 = 1536, found `100`'],
  [{ mask_ratio: 1 }, '`mask_ratio`: expected a number below 1 that hides at least one of 36 positions, found `1`'],
  [
    { mask_ratio: 0.02 },
    '`mask_ratio`: expected a number below 1 that hides at least one of 36 positions, found `0.02`',
  ],
  [{ decoder_embed_dim: 33 }, '`decoder_embed_dim`: expected a multiple of decoder_num_heads 2, found `33`'],
  [{ encoder_depth: 0 }, '`encoder_depth`: expected a whole number from 1 to 512, found `0`'],
])('a pre-training model with %j is refused', (change, message) => {
  expect(() => videomaePretraining.spec({ ...nanoPretraining, ...change }, {})).toThrow(
    `videomae-pretraining: ${message}`,
  );
});

describe('a configuration that would exhaust memory is refused before it takes any', () => {
  test.each([
    [
      'pixels of a window',
      { img_size: 4096, patch_size: 4096, all_frames: 4096 },
      '`img_size`: expected at most 67108864 pixels',
    ],
    [
      'tokens',
      { img_size: 1024, patch_size: 1, all_frames: 2 },
      '`patch_size`: expected at most 262144 tokens; 1 x 1024 x 1024',
    ],
    [
      'the sinusoid table',
      { img_size: 512, patch_size: 1, all_frames: 2, embed_dim: 16384 },
      '`embed_dim`: expected a positional table of at most 67108864 values; 1 x 512 x 512 tokens take 4294967296',
    ],
    [
      'the table before it is resampled',
      { img_size: 16, patch_size: 1, all_frames: 2, embed_dim: 1024, position_rule: 'interpolated' },
      '`patch_size`: expected a positional table of at most 67108864 values; 8 x 224 x 224 tokens take 411041792',
    ],
    [
      'a table of no rows to resample',
      { img_size: 448, patch_size: 448, position_rule: 'interpolated' },
      '`patch_size`: expected at most 224, where position_rule is `interpolated`, found `448`',
    ],
  ])('%s', (_, change, message) => {
    expect(() => videomaeClassifier.spec({ ...nano, ...change }, {})).toThrow(message);
  });

  test('the table of a pre-training decoder', () => {
    const change = { img_size: 512, patch_size: 1, all_frames: 2, decoder_embed_dim: 16384 };
    expect(() => videomaePretraining.spec({ ...nanoPretraining, ...change }, {})).toThrow('`decoder_embed_dim`');
  });

  test('the largest published inputs are far inside the limits', () => {
    const { size } = familyOf('videomae-gigantic');
    const large = { ...size, img_size: 448, all_frames: 32, position_rule: 'interpolated' };
    expect(videomaeClassifier.spec(large, {}).outputs['out_last']?.shape).toEqual(['batch', 16384, 1664]);
  });
});

test('an unknown architecture is refused with those there are', () => {
  expect(() => familyOf('resnet')).toThrow(
    expect.objectContaining({
      code: 'model.unknown_family',
      message: expect.stringContaining('there are videomae-classifier, videomae-s, videomae-b') as string,
    }),
  );
  expect(familyOf('videomae-l-v2-pretraining').family).toBe(videomaePretraining);
});

// ---- presets ------------------------------------------------------------------------------------------------------

test('a model of the published frames and size takes the published preset as it is', () => {
  const spec = videomaeClassifier.spec(familyOf('videomae-b').size, {});
  expect(spec.preset).toEqual(readPreset('ego4d-mq'));
});

test('a model that differs takes the recipe at its own frames, size and statistics, under a name of its own', () => {
  const half = [0.5, 0.5, 0.5] as const;
  const { preset } = videomaeClassifier.spec({ ...nano, all_frames: 8, mean: half, std: half }, {});
  const base = readPreset('ego4d-mq');
  expect(preset).toMatchObject({
    name: 'ego4d-mq-8f-96px',
    sampling: { ...base.sampling, frames: 8, hop: 8 },
    pixels: { ...base.pixels, size: 96 },
    mean: half,
    std: half,
    feature: 'pooled',
  });
  const published = { ...familyOf('videomae-b').size, mean: half };
  expect(videomaeClassifier.spec(published, {}).preset.name).not.toBe(base.name);
  const { name, feature } = videomaePretraining.spec(familyOf('videomae-b-pretraining').size, {}).preset;
  expect([name, feature]).toEqual(['ego4d-mq-16f-224px', 'encoder_visible']);
});

test('a preset that the user chose has to fit the model, and lends its statistics where the configuration has none', () => {
  const preset = readPreset('nano-16x2');
  expect(videomaeClassifier.spec(nano, { preset }).preset).toBe(preset);
  expect(() => videomaeClassifier.spec({ ...nano, all_frames: 8 }, { preset })).toThrow(
    expect.objectContaining({
      code: 'model.config',
      message: 'preset nano-16x2: 16 frames at 96 pixels; the model takes 8 frames at 96 pixels',
    }),
  );
  const plain = readPreset('videomaev2-tad');
  const { config } = videomaeClassifier.spec(familyOf('videomae-b').size, { preset: plain });
  expect([config['mean'], config['std']]).toEqual([plain.mean, plain.std]);
  const other = { ...familyOf('videomae-b').size, mean: [0.5, 0.5, 0.5] };
  expect(() => videomaeClassifier.spec(other, { preset: plain })).toThrow('preset videomaev2-tad: mean 0, 0, 0');
});

// ---- masks --------------------------------------------------------------------------------------------------------

const mask = (...rows: string[]): AnyTensor =>
  tensor('bool', [rows.length, rows[0]!.length], Uint8Array.from(rows.join(''), Number));
const listsOf = (arrays: Readonly<Record<string, AnyTensor>>, batch: number, tokens: number): unknown =>
  Object.fromEntries(
    Object.entries(pretrainingFeeds(arrays, batch, tokens)).map(([name, { shape, data }]) => [
      name,
      [shape, Array.from(data as ArrayLike<number | bigint>, Number)],
    ]),
  );

test('masks become index lists in raster order, one row a sample', () => {
  expect(listsOf({ mask: mask('0110', '1001') }, 2, 4)).toEqual({
    visible: [
      [2, 2],
      [0, 3, 1, 2],
    ],
    decoded: [
      [2, 2],
      [1, 2, 0, 3],
    ],
    scored: [
      [2, 2],
      [1, 1, 1, 1],
    ],
  });
});

test('a decoder mask chooses what is reconstructed; what the encoder saw does not count in the loss', () => {
  expect(listsOf({ mask: mask('0110'), decode_mask: mask('0011') }, 1, 4)).toEqual({
    visible: [
      [1, 2],
      [0, 3],
    ],
    decoded: [
      [1, 2],
      [0, 1],
    ],
    scored: [
      [1, 2],
      [0, 1],
    ],
  });
});

test.each<[string, Record<string, AnyTensor>, string, string]>([
  ['no mask', {}, 'data.shape', '`mask`: expected a bool array [2, 4], found none'],
  ['another batch', { mask: mask('0110') }, 'data.shape', '`mask`: expected [2, 4], found [1, 4]'],
  ['other tokens', { mask: mask('011', '011') }, 'data.shape', '`mask`: expected [2, 4], found [2, 3]'],
  [
    'floats',
    { mask: tensor('float32', [2, 4], new Float32Array(8)) },
    'data.dtype',
    '`mask`: expected bool, found float32',
  ],
  ['unequal counts', { mask: mask('0110', '0111') }, 'data.shape', 'in every sample, found 2, 1'],
  [
    'nothing hidden',
    { mask: mask('0000', '0000') },
    'data.shape',
    '`mask`: expected the same number of chosen tokens, at least 1',
  ],
  [
    'everything hidden',
    { mask: mask('1111', '1111') },
    'data.shape',
    '`mask`: expected the same number of chosen tokens, at least 1',
  ],
  [
    'nothing decoded',
    { mask: mask('0110', '0110'), decode_mask: mask('1111', '1111') },
    'data.shape',
    '`decode_mask`: expected the same number of chosen tokens, at least 1, in every sample, found 0',
  ],
  [
    'another array',
    { mask: mask('0110', '0110'), masks: mask('0') },
    'data.invalid',
    '`masks`: this model takes no such array',
  ],
])('%s is refused', (_, arrays, code, message) => {
  expect(() => pretrainingFeeds(arrays, 2, 4)).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(message) as string }),
  );
});

test('a classifier takes the frames alone', () => {
  const spec = videomaeClassifier.spec(nano, {});
  expect(spec.feeds({}, 1)).toEqual({});
  expect(() => spec.feeds({ mask: mask('01') }, 1)).toThrow('`mask`: this model takes no such array');
});

test('a tube mask hides the same positions in every time step, int(ratio h w) of them', () => {
  const geometry = { frames: 16, size: 224, patch: 16, tubelet: 2, mean: [0, 0, 0], std: [1, 1, 1] } as const;
  for (const [ratio, hidden] of [
    [0.9, 176],
    [0.75, 147],
    [0.5, 98],
  ] as const) {
    const { shape, data } = tubeMask(geometry, ratio, 3);
    expect(shape).toEqual([1, 1568]);
    for (let t = 0; t < 8; t++) {
      const slice = data.subarray(t * 196, (t + 1) * 196);
      expect(slice).toEqual(data.subarray(0, 196));
      expect(slice.reduce((a, b) => a + b, 0)).toBe(hidden);
    }
  }
  expect(tubeMask(geometry, 0.9, 3)).toEqual(tubeMask(geometry, 0.9, 3));
  expect(tubeMask(geometry, 0.9, 3)).not.toEqual(tubeMask(geometry, 0.9, 4));
});

test('the probe of a pre-training model has a mask that its graph takes', () => {
  const spec = videomaePretraining.spec({ ...nanoPretraining, mask_ratio: 0.75 }, {});
  const { visible, decoded } = spec.feeds(spec.probeArrays(), 1);
  expect([visible!.shape, decoded!.shape]).toEqual([
    [1, 8 * 9],
    [1, 8 * 27],
  ]);
});
