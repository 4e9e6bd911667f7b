import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../checkpoint/state-dict.js';
import { openFileSource, packageRoot } from '../files.js';
import { graphText } from '../graph/print.js';
import { jsonText } from '../json.js';
import { sizeOf, tensor } from '../tensor.js';
import { families, familyOf } from './index.js';
import { readPreset } from './presets.js';
import { graphFiles, type KeyShapes, type ModelSpec } from './spec.js';
import { localWidthOf, uniformerv2 } from './uniformerv2-family.js';

type Config = Readonly<Record<string, unknown>>;
const shapesOf = (spec: ModelSpec, variant = 0): Map<string, readonly number[]> =>
  new Map(spec.build(graphFiles[variant]!).params.map(({ name, shape }) => [name, shape]));
const sorted = (entries: Iterable<readonly [string, readonly number[]]>): string[] =>
  [...entries].map(([name, shape]) => `${name} [${shape.join(', ')}]`).sort();

// ---- the official cases -------------------------------------------------------------------------------------------

const cases = ['uniformerv2_global', 'uniformerv2_local', 'uniformerv2_frozen'] as const;
const folderOf = (name: string): string => join(packageRoot, 'fixtures', 'golden', 'encoder', name);
const configOf = (name: string): Config =>
  (JSON.parse(readFileSync(join(folderOf(name), 'case.json'), 'utf8')) as { config: Config }).config;

async function keysOf(name: string): Promise<KeyShapes> {
  await using source = await openFileSource(join(folderOf(name), 'checkpoint.pyth'));
  const { tensors, prefix } = await openCheckpoint(source);
  expect(prefix).toBe('backbone.');
  return new Map([...tensors].map(([key, { shape }]) => [key, shape]));
}

describe.each(cases)('%s', (name) => {
  const config = configOf(name);
  const spec = uniformerv2.spec(config, {});

  test('every graph asks for the keys of the official checkpoint; the rest are counters of its batch norms', async () => {
    const keys = await keysOf(name);
    const counters = [...keys.keys()].filter((key) => key.endsWith('.num_batches_tracked'));
    expect(counters).toHaveLength({ uniformerv2_global: 0, uniformerv2_local: 4, uniformerv2_frozen: 2 }[name]);
    for (const key of counters) expect(spec.leftover(key)).toContain('batch norm');
    const wanted = sorted([...keys].filter(([key]) => !counters.includes(key)));
    for (const variant of [0, 1, 2, 3]) expect(sorted(shapesOf(spec, variant))).toEqual(wanted);
  });

  test('its keys imply all of its configuration but the frames, and the heads of so small a width', async () => {
    const keys = await keysOf(name);
    expect(uniformerv2.recognises(keys)).toBe(true);
    expect(families.filter((family) => family.recognises(keys))).toEqual([uniformerv2]);
    const inferred = uniformerv2.infer(keys);
    expect(spec.config).toMatchObject(inferred);
    const { t_size, heads, n_head } = config;
    const whole = uniformerv2.spec({ ...inferred, t_size, heads, n_head }, {});
    expect(whole.config).toEqual(spec.config);
  });

  test('its configuration is complete when it comes back, and gives the same model', () => {
    // Widths of the projection and of dropout have no part in inference.
    const { output_dim, mlp_dropout, double_lmhra, ...rest } = config;
    expect(output_dim).toBe(16);
    expect(mlp_dropout).toEqual([0.5, 0.5]);
    expect(spec.config).toMatchObject(config['no_lmhra'] === true ? rest : { ...rest, double_lmhra });
    const again = uniformerv2.spec(JSON.parse(jsonText(spec.config)) as Config, {});
    expect(again.config).toEqual(spec.config);
    expect(graphText(again.build(graphFiles[1]))).toBe(graphText(spec.build(graphFiles[1])));
  });

  test.each([0, 1])('its outputs are as declared in variant %d', (variant) => {
    const outputs = [...spec.build(graphFiles[variant]!).outputs].map(([key, { shape }]) => [key, shape]);
    expect(Object.fromEntries(outputs)).toEqual(
      Object.fromEntries(Object.entries(spec.outputs).map(([key, { shape }]) => [key, shape])),
    );
    expect(Object.keys(spec.outputs)).toContain(spec.tokenOutput);
  });
});

/** Made once by printing; a refactor leaves them unchanged, a change of the model changes them on purpose. */
test.each([
  ['uniformerv2-global.txt', 'uniformerv2_global', 0],
  ['uniformerv2-local.separate.txt', 'uniformerv2_local', 1],
  ['uniformerv2-frozen.float.txt', 'uniformerv2_frozen', 2],
] as const)('the committed text %s is that of the model definition', async (file, name, variant) => {
  const text = graphText(uniformerv2.spec(configOf(name), {}).build(graphFiles[variant]));
  await expect(text).toMatchFileSnapshot(join(packageRoot, 'fixtures', 'graphs', file));
});

// ---- published sizes ----------------------------------------------------------------------------------------------

/** encoder.md 3.1: patch, pixels, width, blocks, heads, global blocks; then millions of parameters. */
const published: Readonly<Record<string, { readonly numbers: readonly number[]; readonly millions: number }>> = {
  'uniformerv2-b16': { numbers: [16, 224, 768, 12, 12, 4], millions: 114.6 },
  'uniformerv2-l14': { numbers: [14, 224, 1024, 24, 16, 4], millions: 354 },
  'uniformerv2-l14-336': { numbers: [14, 336, 1024, 24, 16, 4], millions: 354 },
  'uniformerv2-b16-sth': { numbers: [16, 224, 768, 12, 12, 8], millions: 163.0 },
  'uniformerv2-l14-sth': { numbers: [14, 224, 1024, 24, 16, 16], millions: 574 },
  'uniformerv2-l14-336-frozen': { numbers: [14, 336, 1024, 24, 16, 4], millions: 354 },
};

/** encoder.md 3.3 */
function officialKeys(arch: string, classes: number): [string, number[]][] {
  const [patch, size, width, depth, , globals] = published[arch]!.numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const isMotion = arch.endsWith('-sth');
  const local = { 768: 512, 1024: 682 }[width]!;
  const c = width;
  const pair = (name: string, ...shape: number[]): [string, number[]][] => [
    [`${name}.weight`, shape],
    [`${name}.bias`, [shape[0]!]],
  ];
  const attention = (name: string): [string, number[]][] => [
    [`${name}.attn.in_proj_weight`, [3 * c, c]],
    [`${name}.attn.in_proj_bias`, [3 * c]],
    ...pair(`${name}.attn.out_proj`, c, c),
    ...pair(`${name}.ln_1`, c),
    ...pair(`${name}.ln_2`, c),
    ...pair(`${name}.mlp.c_fc`, 4 * c, c),
    ...pair(`${name}.mlp.c_proj`, c, 4 * c),
  ];
  const localBlock = (name: string): [string, number[]][] => [
    ...pair(`${name}.pos_embed.0`, c),
    [`${name}.pos_embed.0.running_mean`, [c]],
    [`${name}.pos_embed.0.running_var`, [c]],
    ...pair(`${name}.pos_embed.1`, local, c, 1, 1, 1),
    ...pair(`${name}.pos_embed.2`, local, 1, 3, 1, 1),
    ...pair(`${name}.pos_embed.3`, c, local, 1, 1, 1),
  ];
  const each = <T>(count: number, make: (i: number) => T[]): T[] =>
    Array.from({ length: count }, (_, i) => make(i)).flat();
  return [
    ['class_embedding', [c]],
    ['positional_embedding', [1 + (size / patch) ** 2, c]],
    ['conv1.weight', [c, 3, isMotion ? 3 : 1, patch, patch]],
    ...pair('ln_pre', c),
    ['transformer.temporal_cls_token', [1, 1, c]],
    ...(arch.endsWith('-frozen') ? [] : [['transformer.balance', [c]] as [string, number[]]]),
    ...each(depth, (i) => [
      ...attention(`transformer.resblocks.${i}`),
      ...(isMotion ? [1, 2].flatMap((n) => localBlock(`transformer.resblocks.${i}.lmhra${n}`)) : []),
    ]),
    ...each(globals, (j) => [
      ...attention(`transformer.dec.${j}`),
      ...pair(`transformer.dec.${j}.ln_3`, c),
      ...pair(`transformer.dpe.${j}`, c, 1, 3, 3, 3),
    ]),
    ...pair('transformer.proj.0', c),
    ...pair('transformer.proj.2', classes, c),
  ];
}

test('every published size is declared', () => {
  expect(Object.keys(uniformerv2.sizes)).toEqual(Object.keys(published));
});

describe.each(Object.keys(published))('%s', (arch) => {
  const classes = arch.endsWith('-sth') ? 174 : 400;
  const { size } = familyOf(arch);
  const keys = shapesOf(uniformerv2.spec({ ...size, num_classes: classes }, {}));

  test('asks for the keys and shapes of the official model, as many parameters as published', () => {
    expect(sorted(keys)).toEqual(sorted(officialKeys(arch, classes)));
    const millions =
      [...keys].reduce((sum, [key, shape]) => sum + (key.includes('.running_') ? 0 : sizeOf(shape)), 0) / 1e6;
    const found = published[arch]!.millions;
    expect(Math.abs(millions - found)).toBeLessThan(Number.isInteger(found) ? 0.5 : 0.06);
  });

  test('is inferred from its keys, heads included', () => {
    expect(uniformerv2.infer(keys)).toEqual({ ...size, num_classes: classes });
  });
});

test('global blocks follow the last frame blocks, and frames are those of most published models', () => {
  const of = (arch: string, config: Config = {}): Config =>
    uniformerv2.spec({ ...familyOf(arch).size, ...config }, {}).config;
  expect(of('uniformerv2-b16')).toMatchObject({ return_list: [8, 9, 10, 11], t_size: 8 });
  expect(of('uniformerv2-l14')['return_list']).toEqual([20, 21, 22, 23]);
  expect(of('uniformerv2-b16-sth')).toMatchObject({ return_list: [4, 5, 6, 7, 8, 9, 10, 11], t_size: 16 });
  expect(of('uniformerv2-l14-sth')['return_list']).toEqual(Array.from({ length: 16 }, (_, i) => 8 + i));
  expect(of('uniformerv2-b16', { t_size: 32, return_list: [0, 3, 7, 9] })).toMatchObject({
    t_size: 32,
    return_list: [0, 3, 7, 9],
  });
});

test('channels of a local block are those of floor division by a float', () => {
  expect([768, 1024, 48, 32].map((width) => localWidthOf(width, 1.5))).toEqual([512, 682, 32, 21]);
  // 9 / 0.9 is 10 when rounded, but the float 0.9 is a little above nine tenths.
  expect(localWidthOf(9, 0.9)).toBe(9);
});

test('the channels that a file has are those that its inferred reduction gives', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 4000 }), fc.integer({ min: 1, max: 6000 }), (width, local) => {
      const { dw_reduction: reduction } = uniformerv2.infer(
        new Map([
          ['conv1.weight', [width, 3, 1, 16, 16]],
          ['transformer.resblocks.0.lmhra1.pos_embed.1.weight', [local, width, 1, 1, 1]],
        ]),
      );
      expect(localWidthOf(width, reduction as number)).toBe(local);
    }),
    { numRuns: 5000 },
  );
});

// ---- configurations -----------------------------------------------------------------------------------------------

const small = {
  input_resolution: 32,
  patch_size: 16,
  width: 48,
  layers: 3,
  heads: 3,
  t_size: 4,
  return_list: [1, 2],
};
const motion = { no_lmhra: false, temporal_downsample: true };

test.each<readonly [change: Config, message: string]>([
  [{ width: undefined }, '`width`: expected a whole number from 1 to 16384, found nothing'],
  [{ heads: 5 }, '`width`: expected a multiple of heads 5, found `48`'],
  [{ n_head: 7 }, '`n_head`: expected a divisor of width 48, found `7`'],
  [{ n_dim: 64 }, '`n_dim`: expected width 48: the global blocks read the frame tokens, found `64`'],
  [{ input_resolution: 40 }, '`input_resolution`: expected a multiple of patch_size 16, found `40`'],
  [{ patch_size: '16' }, '`patch_size`: expected a whole number from 1 to 4096, found `"16"`'],
  [{ t_size: 0 }, '`t_size`: expected a whole number from 1 to 4096, found `0`'],
  [{ ...motion, t_size: 5 }, '`t_size`: expected an even number, where temporal_downsample is true, found `5`'],
  [{ return_list: [2, 1] }, '`return_list`: expected ascending whole numbers from 0 to 2, found `[2,1]`'],
  [{ return_list: [1, 3] }, '`return_list`: expected ascending whole numbers from 0 to 2, found `[1,3]`'],
  [{ return_list: [] }, '`return_list`: expected ascending whole numbers from 0 to 2, found `[]`'],
  [{ return_list: 'all' }, '`return_list`: expected ascending whole numbers from 0 to 2, found `"all"`'],
  [{ n_layers: 3 }, '`n_layers`: expected the length of return_list, 2, found `3`'],
  [{ n_layers: 4 }, '`n_layers`: expected a whole number from 1 to 3, found `4`'],
  [{ no_lmhra: 'no' }, '`no_lmhra`: expected true or false, found `"no"`'],
  [{ ...motion, dw_reduction: 100 }, '`dw_reduction`: expected a number that leaves 1 to 16384 of 48 channels'],
  [{ ...motion, dw_reduction: 1e-9 }, '`dw_reduction`: expected a number that leaves 1 to 16384 of 48 channels'],
  [{ activation: 'gelu' }, '`activation`: expected one of `quick_gelu`, found `"gelu"`'],
  [{ norm_eps: 0 }, '`norm_eps`: expected a number above 0, found `0`'],
  [{ std: [1, 0, 1] }, '`std`: expected three numbers above 0, found `[1,0,1]`'],
  [{ input_resolution: 4096, t_size: 4096 }, '`input_resolution`: expected at most 67108864 pixels in 4096 frames'],
  [
    { input_resolution: 1024, patch_size: 1 },
    '`patch_size`: expected at most 262144 tokens; 4 x (1 + 1024 x 1024) are 4194308',
  ],
  [
    { input_resolution: 224, patch_size: 1, t_size: 1, width: 16384, heads: 1 },
    '`width`: expected a positional table of at most 67108864 values',
  ],
])('a configuration with %j is refused, naming the member', (change, message) => {
  expect(() => uniformerv2.spec({ ...small, ...change }, {})).toThrow(
    expect.objectContaining({
      code: 'model.config',
      message: expect.stringContaining(`uniformerv2: ${message}`) as string,
    }),
  );
});

test.each([
  ['one step', { t_size: 1 }, ['batch', 5, 48]],
  ['one step after the stride', { ...motion, t_size: 2 }, ['batch', 5, 48]],
  ['two steps after the stride', { ...motion, t_size: 4 }, ['batch*2', 5, 48]],
])('a window of %s is a model', (_, change, embedded) => {
  const spec = uniformerv2.spec({ ...small, ...change }, {});
  expect(spec.outputs['embedded']?.shape).toEqual(embedded);
  for (const variant of graphFiles) expect(spec.build(variant).outputs.get('embedded')?.shape).toEqual(embedded);
});

test('only what has no place may be left behind', () => {
  const counter = 'transformer.resblocks.2.lmhra2.pos_embed.0.num_batches_tracked';
  const spec = uniformerv2.spec({ ...small, ...motion, num_classes: 3 }, {});
  expect(spec.leftover(counter)).toBe('how many batches the batch norm saw in training');
  expect(spec.leftover(counter.replace('blocks.2', 'blocks.3'))).toBeUndefined();
  expect(spec.leftover('transformer.proj.2.weight')).toBeUndefined();
  expect(uniformerv2.spec({ ...small, ...motion, double_lmhra: false }, {}).leftover(counter)).toBeUndefined();
  const headless = uniformerv2.spec(small, {});
  expect(headless.leftover(counter)).toBeUndefined();
  expect(headless.leftover('transformer.proj.0.bias')).toBe('classifier of another task (num_classes 0)');
  expect(headless.leftover('transformer.proj.1.bias')).toBeUndefined();
});

test('without classes there is no head and no score', () => {
  const spec = uniformerv2.spec(small, {});
  expect(Object.keys(spec.outputs)).toEqual(['pooled', 'global_token', 'tokens', 'out_last', 'embedded']);
  expect([...shapesOf(spec).keys()].filter((key) => key.includes('proj.2'))).toEqual([]);
});

test('it takes the frames alone', () => {
  const spec = uniformerv2.spec(small, {});
  expect(spec.feeds({}, 1)).toEqual({});
  expect(() => spec.feeds({ mask: tensor('bool', [1], new Uint8Array(1)) }, 1)).toThrow('takes no such array');
});

test('the video tower of the multimodal model, below `visual.`, is not taken for a classifier', () => {
  const keys = shapesOf(uniformerv2.spec(small, {}));
  expect(uniformerv2.recognises(new Map([...keys].map(([key, shape]) => [`visual.${key}`, shape])))).toBe(false);
});

// ---- presets ------------------------------------------------------------------------------------------------------

test.each([
  ['uniformerv2-b16', {}, 'uniformerv2-k400-8x4x3'],
  ['uniformerv2-l14', { t_size: 16 }, 'uniformerv2-k400-16x4x3'],
  ['uniformerv2-l14', { t_size: 32 }, 'uniformerv2-k400-32x2x3'],
  ['uniformerv2-l14-336', {}, 'uniformerv2-k400-8x4x3-336px'],
  ['uniformerv2-l14-336', { t_size: 64 }, 'uniformerv2-k400-64x2x3-336px'],
  ['uniformerv2-l14-336-frozen', {}, 'uniformerv2-frozen-8x3x1-336px'],
  ['uniformerv2-l14-336-frozen', { t_size: 32 }, 'uniformerv2-frozen-32x4x3-336px'],
  ['uniformerv2-b16-sth', {}, 'uniformerv2-ssv2-16x1x3'],
  ['uniformerv2-l14-sth', { t_size: 32 }, 'uniformerv2-ssv2-32x1x3'],
])('%s with %j takes the recipe it was tested with', (arch, change, name) => {
  const { preset } = uniformerv2.spec({ ...familyOf(arch).size, ...change }, {});
  expect(preset).toEqual(readPreset(name));
});

test('other frames or sizes take the first recipe of their kind at their own numbers; a preset of the user has to fit', () => {
  const config = { ...familyOf('uniformerv2-b16').size, t_size: 12 };
  const { preset } = uniformerv2.spec(config, {});
  expect(preset).toMatchObject({
    name: 'uniformerv2-k400-8x4x3-12f-224px',
    sampling: { plan: 'uniformerv2_sparse', frames: 12, hop: 12, views: [4, 3] },
    pixels: { offsets: 'uniformerv2', resize: 'torch-bilinear', size: 224 },
  });
  const anet = readPreset('uniformerv2-anet-16x10x3');
  expect(uniformerv2.spec({ ...config, t_size: 16 }, { preset: anet }).preset).toBe(anet);
  expect(() => uniformerv2.spec(config, { preset: anet })).toThrow(
    '16 frames at 224 pixels; the model takes 12 frames',
  );
});
