import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { normalised, parametersOf, randomWeights, runEveryGraph, valuesOf, type Weights } from '../../test/models.js';
import { packageRoot } from '../files.js';
import { graphText } from '../graph/print.js';
import { jsonText } from '../json.js';
import { seededRandom } from '../random.js';
import { sizeOf, tensor } from '../tensor.js';
import type { StateDict, StoredTensor, Tensor } from '../types.js';
import { families, familyOf } from './index.js';
import { internvideo2 } from './internvideo2-family.js';
import { readPreset } from './presets.js';
import { graphFiles, type ModelSpec } from './spec.js';

type Config = Readonly<Record<string, unknown>>;
const countOf = (shapes: Iterable<readonly number[]>): number =>
  [...shapes].reduce((sum, shape) => sum + sizeOf(shape), 0);
const sorted = (shapes: ReadonlyMap<string, readonly number[]>): string[] =>
  [...shapes].map(([name, shape]) => `${name} [${shape.join(', ')}]`).sort();

/** Two blocks of two heads over 2 x 2 patches of 14 pixels; pooling has heads of its own. */
const tiny = {
  img_size: 28,
  num_frames: 4,
  embed_dim: 16,
  depth: 2,
  num_heads: 2,
  mlp_ratio: 3,
  attn_pool_num_heads: 4,
  clip_embed_dim: 12,
  num_classes: 5,
};

// ---- parity -------------------------------------------------------------------------------------------------------

/**
 * The model in plain float64 loops, written from the formulas of the official module and nothing of ours: there is no output of the
 * official code to compare with. Matrices are lists of rows.
 */
type Row = readonly number[];
type Rows = readonly Row[];
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const total = (values: Row): number => values.reduce((a, b) => a + b, 0);
const plus = (a: Row, b: Row): number[] => a.map((value, i) => value + b[i]!);
const times = (a: Row, b: Row): number[] => a.map((value, i) => value * b[i]!);

function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
const activations = {
  gelu_tanh: (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  gelu_erf: (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
};

/** Attention of each head of `size` channels, over rows of queries and of keys and values. */
function attend(queries: Rows, keys: Rows, values: Rows, size: number): number[][] {
  return queries.map((query) =>
    query.map((_, channel) => {
      const head = range(size).map((i) => Math.floor(channel / size) * size + i);
      const logits = keys.map((key) => total(head.map((i) => query[i]! * key[i]!)) / Math.sqrt(size));
      const shares = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
      return total(values.map((value, n) => shares[n]! * value[channel]!)) / total(shares);
    }),
  );
}

function recomputed(spec: ModelSpec, weights: Weights, frames: Tensor<'uint8'>, sample: number): Record<string, Row> {
  const c = spec.config as unknown as typeof tiny & {
    tubelet_size: number;
    activation: keyof typeof activations;
    sep_pos_embed: boolean;
    use_fc_norm: boolean;
  };
  const flat = (name: string): number[] => Array.from(weights.get(name)!);
  const rows = (name: string, width: number): number[][] => {
    const values = flat(name);
    return range(values.length / width).map((i) => values.slice(i * width, (i + 1) * width));
  };
  const product = (x: Row, name: string, bias?: string): number[] => {
    const y = rows(`${name}.weight`, x.length).map((row) => total(times(row, x)));
    return bias === undefined ? y : plus(y, flat(bias));
  };
  const full = (x: Row, name: string): number[] => product(x, name, `${name}.bias`);
  const rms = (x: Row, name: string): number[] => {
    const root = Math.sqrt(total(times(x, x)) / x.length + 1e-6);
    return x.map((value, i) => (value / root) * flat(`${name}.weight`)[i]!);
  };
  const norm = (x: Row, name: string): number[] => {
    const average = total(x) / x.length;
    const variance = total(x.map((value) => (value - average) ** 2)) / x.length;
    const unit = x.map((value) => (value - average) / Math.sqrt(variance + 1e-5));
    return plus(times(unit, flat(`${name}.weight`)), flat(`${name}.bias`));
  };

  const { embed_dim: width, num_frames: t, img_size: size, tubelet_size: tubelet } = c;
  const side = size / 14;
  const pixel = (colour: number, frame: number, y: number, x: number): number => {
    const { mean, std } = spec.preset;
    const value = frames.data[(((sample * t + frame) * size + y) * size + x) * 3 + colour]!;
    return (value / 255 - mean[colour]!) / std[colour]!;
  };
  const patches: number[][] = [];
  for (let time = 0; time < t / tubelet; time++)
    for (let row = 0; row < side; row++)
      for (let column = 0; column < side; column++) {
        const values: number[] = []; // in the order of the kernel: colour, time, row, column
        for (let colour = 0; colour < 3; colour++)
          for (let k = 0; k < tubelet; k++)
            for (let y = 0; y < 14; y++)
              for (let x = 0; x < 14; x++)
                values.push(pixel(colour, time * tubelet + k, row * 14 + y, column * 14 + x));
        patches.push(full(values, 'patch_embed.proj'));
      }
  const joint = c.sep_pos_embed ? [] : rows('pos_embed', width);
  const positionOf = (n: number): Row => {
    if (!c.sep_pos_embed) return joint[n]!;
    if (n === 0) return flat('pos_embed_cls');
    const [spatial, temporal] = [rows('pos_embed_spatial', width), rows('pos_embed_temporal', width)];
    return plus(temporal[Math.floor((n - 1) / side ** 2)]!, spatial[(n - 1) % side ** 2]!);
  };
  let tokens = [flat('cls_token'), ...patches].map((token, n) => plus(token, positionOf(n)));

  for (const i of range(c.depth)) {
    const packed = tokens.map((token) => product(rms(token, `blocks.${i}.norm1`), `blocks.${i}.attn.qkv`));
    const queries = packed.map((row) => rms(row.slice(0, width), `blocks.${i}.attn.q_norm`));
    const keys = packed.map((row) => rms(row.slice(width, 2 * width), `blocks.${i}.attn.k_norm`));
    const mixed = attend(
      queries,
      keys,
      packed.map((row) => row.slice(2 * width)),
      width / c.num_heads,
    );
    tokens = tokens.map((token, n) =>
      plus(token, times(full(mixed[n]!, `blocks.${i}.attn.proj`), flat(`blocks.${i}.ls1.gamma`))),
    );
    tokens = tokens.map((token) => {
      const hidden = full(rms(token, `blocks.${i}.norm2`), `blocks.${i}.mlp.fc1`).map(activations[c.activation]);
      return plus(token, times(full(hidden, `blocks.${i}.mlp.fc2`), flat(`blocks.${i}.ls2.gamma`)));
    });
  }

  const pool = 'clip_projector';
  const average = range(width).map((i) => total(tokens.map((token) => token[i]!)) / tokens.length);
  const part = (x: Row, name: string): number[] =>
    product(norm(x, `${pool}.norm1_${name}`), `${pool}.cross_attn.${name}`, `${pool}.cross_attn.${name}_bias`);
  const keys = tokens.map((token) => part(token, 'k'));
  const values = tokens.map((token) => part(token, 'v'));
  const [mixed] = attend([part(average, 'q')], keys, values, width / c.attn_pool_num_heads);
  const projected = full(mixed!, `${pool}.cross_attn.proj`);
  const pooled = c.use_fc_norm ? norm(projected, 'fc_norm') : projected;
  const out = { out_last: tokens.flat(), projected, pooled };
  if (c.num_classes === 0) return out;
  const logits = full(pooled, 'head');
  const shares = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
  return { ...out, logits, probs: shares.map((share) => share / total(shares)) };
}

/** Values that let every term count: matrices that keep the scale of their input, scales of norms around 1, layer scale around 0.5. */
function livelyWeights(spec: ModelSpec, seed: number): Weights {
  const shapes = parametersOf(spec);
  const spread = (name: string): number => {
    const shape = shapes.get(name)!;
    if (name === 'cls_token' || name.startsWith('pos_embed')) return 0.5;
    return shape.length > 1 ? 1.5 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b)) : 0.3;
  };
  return new Map(
    [...randomWeights(spec, seed, spread)].map(([name, values]) => {
      if (/norm.*\.weight$/.test(name)) return [name, values.map((value) => 1 + value)];
      return [name, name.endsWith('gamma') ? values.map((value) => 0.5 + value) : values];
    }),
  );
}

function randomFrames(spec: ModelSpec, batch: number): Tensor<'uint8'> {
  const random = seededRandom(3, 'frames');
  const shape = [batch, spec.frames, spec.size, spec.size, 3];
  return tensor(
    'uint8',
    shape,
    Uint8Array.from({ length: sizeOf(shape) }, () => random.integer(256)),
  );
}

test.each<[name: string, change: Config, batch: number]>([
  ['a classifier, of two samples', {}, 2],
  ['an encoder of two frames without fc_norm', { num_frames: 2, use_fc_norm: false, num_classes: 0 }, 1],
  [
    'separate tables, cubes of two frames, and GELU of the erf form',
    { sep_pos_embed: true, tubelet_size: 2, activation: 'gelu_erf' },
    1,
  ],
])('%s: all four graphs give what the formulas give', async (_name, change, batch) => {
  const spec = internvideo2.spec({ ...tiny, ...change }, {});
  const weights = livelyWeights(spec, 1);
  const frames = randomFrames(spec, batch);
  const results = await runEveryGraph(spec, weights, frames);
  for (let sample = 0; sample < batch; sample++) {
    const expected = recomputed(spec, weights, frames, sample);
    for (const [file, result] of results) {
      expect(Object.keys(result).sort()).toEqual(Object.keys(spec.outputs).sort());
      for (const [name, { data }] of Object.entries(result)) {
        const values = expected[name]!;
        const found = data.subarray(sample * values.length, (sample + 1) * values.length);
        expect([name, data.length]).toEqual([name, batch * values.length]);
        const scale = Math.max(...values.map(Math.abs));
        const worst = Math.max(...values.map((value, i) => Math.abs(value - found[i]!))) / scale;
        expect(worst, `${name} of ${file}`).toBeLessThan(1e-5); // some eighty float32 roundings; found: 5e-6
      }
    }
  }
});

test('the recomputation tells one form of GELU from the other, and the normalised input is the bytes normalised', () => {
  const spec = internvideo2.spec(tiny, {});
  const other = internvideo2.spec({ ...tiny, activation: 'gelu_erf' }, {});
  const weights = livelyWeights(spec, 1);
  const frames = randomFrames(spec, 1);
  const [a, b] = [recomputed(spec, weights, frames, 0), recomputed(other, weights, frames, 0)];
  expect(Math.max(...a['pooled']!.map((value, i) => Math.abs(value - b['pooled']![i]!)))).toBeGreaterThan(1e-4);
  const { data, shape } = normalised(frames, spec.preset);
  expect(shape).toEqual([1, 3, 4, 28, 28]);
  expect(data[1]).toBeCloseTo((frames.data[3]! / 255 - 0.485) / 0.229, 6);
});

// ---- keys ---------------------------------------------------------------------------------------------------------

/** Keys of the official module, as its definition reads. */
function officialKeys(width: number, depth: number, hidden: number, places: number): [string, number[]][] {
  const pair = (name: string, ...shape: number[]): [string, number[]][] => [
    [`${name}.weight`, shape],
    [`${name}.bias`, [shape[0]!]],
  ];
  return [
    ...pair('patch_embed.proj', width, 3, 1, 14, 14),
    ['cls_token', [1, 1, width]],
    ['pos_embed', [1, 1 + places, width]],
    ...range(depth).flatMap((i): [string, number[]][] => [
      [`blocks.${i}.norm1.weight`, [width]],
      [`blocks.${i}.attn.qkv.weight`, [3 * width, width]],
      [`blocks.${i}.attn.q_norm.weight`, [width]],
      [`blocks.${i}.attn.k_norm.weight`, [width]],
      ...pair(`blocks.${i}.attn.proj`, width, width),
      [`blocks.${i}.ls1.gamma`, [width]],
      [`blocks.${i}.norm2.weight`, [width]],
      ...pair(`blocks.${i}.mlp.fc1`, hidden, width),
      ...pair(`blocks.${i}.mlp.fc2`, width, hidden),
      [`blocks.${i}.ls2.gamma`, [width]],
    ]),
    ...['q', 'k', 'v'].flatMap((part): [string, number[]][] => [
      ...pair(`clip_projector.norm1_${part}`, width),
      [`clip_projector.cross_attn.${part}.weight`, [width, width]],
      [`clip_projector.cross_attn.${part}_bias`, [width]],
    ]),
    ...pair('clip_projector.cross_attn.proj', 768, width),
  ];
}
const classifierKeys: [string, number[]][] = [
  ['fc_norm.weight', [768]],
  ['fc_norm.bias', [768]],
  ['head.weight', [400, 768]],
  ['head.bias', [400]],
];

/** What distillation leaves besides: six MLP heads that imitate the 1408-wide teacher, one for its pooled vector, a table. */
function distillationKeys(width: number): [string, number[]][] {
  const decoder = (name: string, into: number, out: number): [string, number[]][] => [
    [`${name}.head.0.weight`, [into, into]],
    [`${name}.head.0.bias`, [into]],
    [`${name}.head.2.weight`, [out, into]],
    [`${name}.head.2.bias`, [out]],
    [`${name}.norm.weight`, [out]],
    [`${name}.norm.bias`, [out]],
  ];
  return [
    ['clip_pos_embed', [1, 2049, width]],
    ...range(6).flatMap((i) => decoder(`clip_decoder.${i}`, width, 1408)),
    ...decoder('final_clip_decoder', 768, 768),
  ];
}

describe.each([
  ['internvideo2-s14', 384, 12, 1536, 23_352_976],
  ['internvideo2-b14', 768, 12, 3072, 89_748_112],
  ['internvideo2-l14', 1024, 24, 4096, 309_238_416],
  ['internvideo2-1b', 1408, 40, 6144, 1_021_017_744],
])('%s', (arch, width, depth, hidden, count) => {
  const spec = internvideo2.spec({ ...familyOf(arch).size, num_classes: 400 }, {});
  const keys = new Map([...officialKeys(width, depth, hidden, 2048), ...classifierKeys]);

  test('asks for the keys and shapes of the official module', () => {
    expect(sorted(parametersOf(spec))).toEqual(sorted(keys));
    expect(countOf(keys.values())).toBe(count);
  });

  test('its keys tell its family and its configuration', () => {
    expect(families.filter((family) => family.recognises(keys)).map(({ name }) => name)).toEqual(['internvideo2']);
    const inferred = internvideo2.infer(keys);
    expect(spec.config).toMatchObject(inferred);
    expect(inferred).toMatchObject({ num_frames: 8, img_size: 224, num_heads: spec.config['num_heads'] });
    expect(internvideo2.spec(inferred, {}).config).toEqual(spec.config);
  });
});

test('a distilled file is an encoder, its decoders left behind, and fills the bytes of the published one', () => {
  const used = new Map(officialKeys(768, 12, 3072, 2048));
  const besides = new Map(distillationKeys(768));
  const inferred = internvideo2.infer(new Map([...used, ...besides]));
  expect(inferred).toMatchObject({ use_fc_norm: false, num_classes: 0, num_frames: 8 });
  const spec = internvideo2.spec(inferred, {});
  expect(sorted(parametersOf(spec))).toEqual(sorted(used));
  expect(Object.keys(spec.outputs)).toEqual(['pooled', 'out_last']);
  for (const key of besides.keys()) expect(spec.leftover(key), key).toBeDefined();
  for (const key of used.keys()) expect(spec.leftover(key), key).toBeUndefined();
  // stage1/B14/B14_dist_1B_stage2/pytorch_model.bin has 204,538,935 bytes; tensors of two-byte numbers, and names besides.
  const rest = 204_538_935 - 2 * (countOf(used.values()) + countOf(besides.values()));
  expect(rest).toBeGreaterThan(0);
  expect(rest / (used.size + besides.size)).toBeLessThan(256);
});

test('what pre-training leaves is known by exact names', () => {
  const spec = internvideo2.spec({ ...tiny, num_classes: 0 }, {});
  for (const key of [
    'mae_decoder.0.head.0.weight',
    'clip_decoder.3.head.bias',
    'mae_pos_embed_temporal',
    'clip_pos_embed_cls',
  ])
    expect(spec.leftover(key), key).toBeDefined();
  for (const key of [
    'mae_pos_embed_cls',
    'clip_decoder.head.weight',
    'clip_decoder.0.head.1.weight',
    'pos_embed',
    'fc_norm.weight',
  ])
    expect(spec.leftover(key), key).toBeUndefined();
});

// ---- tables -------------------------------------------------------------------------------------------------------

const stored = (shape: readonly number[], value: (i: number) => number): StoredTensor => ({
  name: 'table',
  storedType: 'float32',
  shape,
  async *chunks() {
    yield await Promise.resolve(Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i)));
  },
});
async function adaptedTable(key: string, table: StoredTensor, change: Config): Promise<{ shape: Row; values: Row }> {
  const tensors: StateDict = internvideo2.spec({ ...tiny, ...change }, {}).adapt(new Map([[key, table]]));
  return { shape: tensors.get(key)!.shape, values: Array.from((await valuesOf(tensors)).get(key)!) };
}

test('a table of other frames is resampled along time, and the row of the class token stays', async () => {
  // Places (t, h, w) of 8 x 2 x 2 hold 10 t in the first channel and h in the second; the class token holds -1.
  const table = stored([1, 33, 16], (i) => {
    const [place, channel] = [Math.floor(i / 16) - 1, i % 16];
    if (place < 0) return -1;
    return channel === 0 ? 10 * Math.floor(place / 4) : channel === 1 ? Math.floor(place / 2) % 2 : 0;
  });
  const { shape, values } = await adaptedTable('pos_embed', table, { num_frames: 4 });
  expect(shape).toEqual([1, 17, 16]);
  expect(values.slice(0, 16)).toEqual(new Array(16).fill(-1));
  // Half-pixel positions: time k of 4 lies at 2 k + 1/2 of 8.
  for (const place of range(16)) {
    expect(values[(1 + place) * 16]).toBeCloseTo(10 * (2 * Math.floor(place / 4) + 0.5), 4);
    expect(values[(1 + place) * 16 + 1]).toBeCloseTo(Math.floor(place / 2) % 2, 6);
  }
});

test('a table of the model’s own grid, or of no known one, comes as it is', async () => {
  const same = stored([1, 17, 16], (i) => i);
  expect((await adaptedTable('pos_embed', same, {})).values).toEqual(range(272));
  for (const shape of [
    [1, 12, 16],
    [2, 17, 16],
    [17, 16],
    [1, 1, 16],
    [1, 0, 16],
  ])
    expect(
      (
        await adaptedTable(
          'pos_embed',
          stored(shape, () => 0),
          {},
        )
      ).shape,
    ).toEqual(shape);
});

test('a table of other pixels keeps a constant, in joint and in separate tables', async () => {
  const joint = await adaptedTable(
    'pos_embed',
    stored([1, 1 + 8 * 9, 16], (i) => i % 16),
    { num_frames: 8 },
  );
  expect(joint.shape).toEqual([1, 33, 16]);
  joint.values.forEach((value, i) => expect(value).toBeCloseTo(i % 16, 5));
  const change = { sep_pos_embed: true };
  const spatial = await adaptedTable(
    'pos_embed_spatial',
    stored([1, 9, 16], (i) => i % 16),
    change,
  );
  expect(spatial.shape).toEqual([1, 4, 16]);
  const temporal = await adaptedTable(
    'pos_embed_temporal',
    stored([1, 2, 16], (i) => Math.floor(i / 16)),
    change,
  );
  expect(range(4).map((time) => temporal.values[time * 16])).toEqual([0, 0.25, 0.75, 1]);
});

test('frames and pixels of a published table are read off its length', () => {
  const of = (places: number): unknown => {
    const { num_frames: frames, img_size: size } = internvideo2.infer(new Map([['pos_embed', [1, 1 + places, 8]]]));
    return [frames, size];
  };
  expect([of(4 * 256), of(8 * 256), of(16 * 256), of(8 * 24 ** 2)]).toEqual([
    [4, 224],
    [8, 224],
    [16, 224],
    [8, 336],
  ]);
  expect([of(7), of(0)]).toEqual([
    [undefined, undefined],
    [undefined, undefined],
  ]);
  const separate = new Map([
    ['patch_embed.proj.weight', [8, 3, 2, 14, 14]],
    ['pos_embed_spatial', [1, 576, 8]],
    ['pos_embed_temporal', [1, 6, 8]],
  ]);
  expect(internvideo2.infer(separate)).toMatchObject({ num_frames: 12, img_size: 336, sep_pos_embed: true });
});

// ---- configurations -----------------------------------------------------------------------------------------------

test('the family says that it has no parity data, and its models take the published recipe', () => {
  expect(internvideo2.parity).toBe('no parity data');
  const spec = internvideo2.spec({ ...familyOf('internvideo2-s14').size, num_classes: 400 }, {});
  expect(spec.preset).toEqual(readPreset('internvideo2-8'));
  expect([spec.frames, spec.size, spec.tokenOutput]).toEqual([8, 224, 'out_last']);
  expect(spec.outputs['out_last']!.shape).toEqual(['batch', 2049, 384]);
  expect(spec.outputs['pooled']!.shape).toEqual(['batch', 768]);
  expect(internvideo2.spec({ ...spec.config, num_frames: 16 }, {}).preset.name).toBe('internvideo2-8-16f-224px');
});

/** Made once by printing; a refactor leaves them unchanged, a change of the model changes them on purpose. */
test.each([
  ['internvideo2-tiny.txt', {}, 0],
  ['internvideo2-tiny-tables.separate.txt', { sep_pos_embed: true, use_fc_norm: false, num_classes: 0 }, 1],
] as const)('the committed text %s is that of the model definition', async (file, change, variant) => {
  const text = graphText(internvideo2.spec({ ...tiny, ...change }, {}).build(graphFiles[variant]));
  await expect(text).toMatchFileSnapshot(join(packageRoot, 'fixtures', 'graphs', file));
});

test('a configuration is complete when it comes back, and gives the same model, whatever the graph', () => {
  for (const change of [{}, { sep_pos_embed: true, use_fc_norm: false, num_classes: 0 }]) {
    const spec = internvideo2.spec({ ...tiny, ...change }, {});
    const again = internvideo2.spec(JSON.parse(jsonText(spec.config)) as Config, {});
    expect(again.config).toEqual(spec.config);
    expect(spec.config).toMatchObject({ ...tiny, ...change });
    expect(graphText(again.build(graphFiles[1]))).toBe(graphText(spec.build(graphFiles[1])));
    for (const variant of graphFiles) expect(sorted(parametersOf(spec, variant))).toEqual(sorted(parametersOf(spec)));
  }
});

test.each<[change: Config, message: string]>([
  [{ embed_dim: undefined }, '`embed_dim`: expected a whole number from 1 to 16384, found nothing'],
  [{ num_heads: 3 }, '`embed_dim`: expected a multiple of num_heads 3, found `16`'],
  [{ attn_pool_num_heads: 5 }, '`embed_dim`: expected a multiple of attn_pool_num_heads 5, found `16`'],
  [
    { embed_dim: 24, attn_pool_num_heads: undefined },
    '`embed_dim`: expected a multiple of attn_pool_num_heads 16, found `24`',
  ],
  [{ depth: 1e9 }, '`depth`: expected a whole number from 1 to 512, found `1000000000`'],
  [{ img_size: 30 }, '`img_size`: expected a multiple of patch_size 14, found `30`'],
  [{ tubelet_size: 3 }, '`num_frames`: expected a multiple of tubelet_size 3, found `4`'],
  [
    { img_size: 4096, patch_size: 4096, num_frames: 4096 },
    '`img_size`: expected at most 67108864 pixels in 4096 frames',
  ],
  [{ img_size: 1024, patch_size: 1, num_frames: 1 }, '`patch_size`: expected at most 262143 tokens; 1 x 1024 x 1024'],
  [
    { img_size: 256, patch_size: 1, num_frames: 1, embed_dim: 16384 },
    '`embed_dim`: expected a positional table of at most',
  ],
  [{ mlp_ratio: 1e9 }, '`mlp_ratio`: expected a hidden width of 1 to 131072'],
  [{ activation: 'relu' }, '`activation`: expected one of `gelu_tanh`, `gelu_erf`, found `"relu"`'],
  [{ use_fc_norm: 'no' }, '`use_fc_norm`: expected true or false, found `"no"`'],
  [{ clip_embed_dim: 0 }, '`clip_embed_dim`: expected a whole number from 1 to 16384, found `0`'],
  [{ std: [1, 0, 1] }, '`std`: expected three numbers above 0'],
])('a configuration with %j is refused, naming the member', (change, message) => {
  expect(() => internvideo2.spec({ ...tiny, ...change }, {})).toThrow(
    expect.objectContaining({
      code: 'model.config',
      message: expect.stringContaining(`internvideo2: ${message}`) as string,
    }),
  );
});
