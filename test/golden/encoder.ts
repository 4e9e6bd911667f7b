import { join } from 'node:path';
import { families } from '../../src/models/index.js';
import { resampleTable, sinusoidTable, type Grid } from '../../src/models/positions.js';
import { tubeMask } from '../../src/models/videomae-family.js';
import type { Normalisation, PixelRecipe, Tensor } from '../../src/types.js';
import { makeResizer, normalise, pixelDType, pixelPlan, type Pixels } from '../../src/video/resize.js';
import { samplers } from '../../src/video/sampling.js';
import { readArray, readJson, runModel } from './model-cases.js';
import { maxAbs, type Comparison, type Runner } from './results.js';
import { runContrastive, runTokenizer } from './text-cases.js';

/** Positional tables and tube masks. */
const runTables: Runner = async (path) => {
  const golden = await readJson<{
    readonly tolerance: { readonly fp32_max_abs: number };
    readonly tube_mask_counts: readonly {
      grid: Grid;
      ratio: number;
      masked_per_frame: number;
      visible_total: number;
    }[];
  }>(join(path, 'case.json'));
  const tolerance = golden.tolerance.fp32_max_abs;
  const sinusoid = (await readArray(join(path, 'sinusoid.npy'))) as Tensor<'float32'>;
  const resampled = (await readArray(join(path, 'sinusoid_interpolated.npy'))) as Tensor<'float32'>;
  const width = resampled.shape[1]!;
  // 8 x 14 x 14 -> 10 x 16 x 16, as the case says
  const [from, to] = [
    [8, 14, 14],
    [resampled.shape[0]! / 256, 16, 16],
  ] as const satisfies [Grid, Grid];
  const comparisons: Comparison[] = [
    {
      what: 'sinusoid',
      error: maxAbs(sinusoidTable(sinusoid.shape[0]!, sinusoid.shape[1]!).data, sinusoid.data),
      tolerance,
    },
    {
      what: 'sinusoid_interpolated',
      error: maxAbs(resampleTable(sinusoidTable(8 * 14 * 14, width), from, to).data, resampled.data),
      tolerance,
    },
  ];
  for (const [key, value] of Object.entries(golden)) {
    const size = /^sinusoid_(\d+)x(\d+)$/.exec(key);
    if (!size) continue;
    const { data } = sinusoidTable(Number(size[1]), Number(size[2]));
    const { sum, sum_abs } = value as unknown as { sum: number; sum_abs: number };
    const total = data.reduce((a, b) => a + b, 0);
    const totalAbs = data.reduce((a, b) => a + Math.abs(b), 0);
    comparisons.push({ what: `${key} sum`, error: Math.abs(total - sum) / sum_abs, tolerance });
    comparisons.push({ what: `${key} sum_abs`, error: Math.abs(totalAbs - sum_abs) / sum_abs, tolerance });
  }
  for (const { grid, ratio, masked_per_frame, visible_total } of golden.tube_mask_counts) {
    const geometry = { frames: grid[0], tubelet: 1, patch: 1, size: grid[1], mean: [0, 0, 0], std: [1, 1, 1] } as const;
    if (grid[1] !== grid[2]) continue; // our models take square frames only
    const mask = tubeMask(geometry, ratio, 1).data;
    const hidden = mask.reduce((a, b) => a + b, 0);
    const what = `tube mask ${grid.join('x')} at ${ratio}`;
    comparisons.push({ what, error: Math.abs(hidden / grid[0] - masked_per_frame), tolerance: 0.1 });
    comparisons.push({ what, error: Math.abs(mask.length - hidden - visible_total), tolerance: 0.1 });
  }
  return comparisons;
};

const imagenet: Normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const clip: Normalisation = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] };
const slowfast: Normalisation = { mean: [0.45, 0.45, 0.45], std: [0.225, 0.225, 0.225] };
const plain: Normalisation = { mean: [0, 0, 0], std: [1, 1, 1] };

/** The recipe behind a view's name; the crop's number is the name's last digit. */
const views: readonly (readonly [
  start: string,
  recipe: Omit<PixelRecipe, 'size' | 'path'>,
  statistics: Normalisation,
])[] = [
  ['videomae_test_crop', { resize: 'opencv-bilinear', to: 'short-side', crop: 'three' }, imagenet],
  ['videomae_val_center', { resize: 'opencv-bilinear', to: 'short-side', crop: 'center' }, imagenet],
  ['videomae_v2_tad', { resize: 'torch-bilinear', to: 'stretch', crop: 'none' }, plain],
  [
    'uniformerv2_test_crop',
    { resize: 'torch-bilinear', to: 'short-side', crop: 'three', offsets: 'uniformerv2' },
    slowfast,
  ],
  ['internvideo_mm_demo', { resize: 'pil-bilinear', to: 'short-side', crop: 'center' }, clip],
  ['viclip_demo', { resize: 'opencv-bilinear', to: 'stretch', crop: 'none' }, imagenet],
  ['viclip_eval', { resize: 'torch-bicubic', to: 'stretch', crop: 'none' }, imagenet],
];

/** Official resize, crop and normalisation of one clip. */
const runPreprocessing: Runner = async (path) => {
  const golden = await readJson<{
    readonly views: Record<string, unknown>;
    readonly tolerance: { readonly exact_max_abs: number };
  }>(join(path, 'case.json'));
  const frames = (await readArray(join(path, 'frames.npy'))) as Tensor<'uint8'>;
  const comparisons: Comparison[] = [];
  for (const name of Object.keys(golden.views)) {
    const expected = (await readArray(join(path, `${name}.npy`))) as Tensor<'float32'>;
    const view = views.find(([start]) => name.startsWith(start));
    if (!view) throw new Error(`no recipe for view ${name}`);
    const size = expected.shape[2]!;
    const shortSide = name.startsWith('internvideo_mm') ? { shortSide: Math.trunc((size * 256) / 224) } : {};
    const recipe: PixelRecipe = { path: 'exact', size, ...view[1], ...shortSide };
    const pixels = preprocess(recipe, frames, Number(/\d$/.exec(name)?.[0] ?? 0));
    comparisons.push({
      what: name,
      error: maxAbs(normalise(pixels, view[2]), expected.data),
      tolerance: golden.tolerance.exact_max_abs,
    });
  }
  const resized = (await readArray(join(path, 'videomae_resized.npy'))) as Tensor<'uint8'>;
  const whole: PixelRecipe = {
    path: 'exact',
    resize: 'opencv-bilinear',
    to: 'short-side',
    size: resized.shape[1]!,
    crop: 'none',
  };
  comparisons.push({
    what: 'videomae_resized',
    error: maxAbs(preprocess(whole, frames), resized.data),
    tolerance: 0.5,
  });
  return comparisons;
};

/** Each frame of [t, h, w, 3] through one crop of the recipe. */
function preprocess(recipe: PixelRecipe, frames: Tensor<'uint8'>, view = 0): Pixels {
  const [count, height, width] = frames.shape as [number, number, number, number];
  const plan = pixelPlan(recipe, width, height);
  const crop = plan.crops[view]!;
  const to = { width: plan.resizedWidth, height: plan.resizedHeight };
  const resizer = makeResizer(recipe.resize, { width, height }, to, crop);
  const length = crop.width * crop.height * 3;
  const out = pixelDType(recipe) === 'float32' ? new Float32Array(count * length) : new Uint8Array(count * length);
  const frameBytes = width * height * 3;
  for (let i = 0; i < count; i++) {
    const frame = frames.data.subarray(i * frameBytes, (i + 1) * frameBytes);
    resizer.apply(frame, { x: 0, y: 0, width, height }, out.subarray(i * length, (i + 1) * length));
  }
  return out;
}

interface SamplingCase {
  readonly frames: number;
  readonly rate?: number;
  readonly num_frames?: number;
  readonly clips?: number;
  readonly stride?: number;
  readonly views?: readonly (readonly number[])[];
  readonly indices?: readonly number[];
  readonly starts?: readonly number[];
}

/** Frame indices of the official samplers: equal or not. */
const runSampling: Runner = async (path) => {
  const golden = await readJson<Record<string, { readonly cases?: readonly SamplingCase[] }>>(path);
  const comparisons: Comparison[] = [];
  for (const [name, { cases = [] }] of Object.entries(golden)) {
    for (const one of cases) {
      const sampler = samplers[name];
      if (!sampler) throw new Error(`no sampler ${name}`);
      const frames = one.num_frames ?? one.views?.[0]?.length ?? (one.starts ? 16 : 8);
      const clips = one.clips ?? one.views?.length ?? 1;
      const found = sampler(one.frames, { frames, step: one.rate ?? 1, hop: one.stride ?? frames, clips });
      const expected =
        one.views ??
        (one.indices ? [one.indices] : one.starts!.map((start) => Array.from({ length: 16 }, (_, i) => start + i)));
      const equal = JSON.stringify(found) === JSON.stringify(expected);
      comparisons.push({ what: `${name} of ${one.frames} frames`, error: equal ? 0 : 1, tolerance: 0.5 });
    }
  }
  return comparisons;
};

/** Runner of each built family below `encoder/`. */
export const encoderRunners: Readonly<Record<string, Runner>> = {
  ...Object.fromEntries(families.map(({ name }) => [`encoder/${name}`, runModel])),
  'encoder/tables': runTables,
  'encoder/preprocessing': runPreprocessing,
  'encoder/sampling': runSampling,
  'encoder/tokenizer': runTokenizer,
  'encoder/contrastive': runContrastive,
};
