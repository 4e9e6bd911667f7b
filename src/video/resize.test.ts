import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { PixelRecipe } from '../types.js';
import { makeResizer, normalise, pixelDType, pixelPlan, type Pixels } from './resize.js';

const folder = join(process.env['EGOLENS_GOLDEN_DIR'] ?? '../shared/golden', 'encoder');
const here = existsSync(join(folder, 'preprocess', 'case.json'));
const why = here ? '' : ' (skipped: no golden folder, set EGOLENS_GOLDEN_DIR)';

function readNpy(path: string): { shape: number[]; data: Uint8Array | Float32Array } {
  const bytes = readFileSync(path);
  const headerLength = bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', 10, 10 + headerLength);
  const shape = /'shape': \(([^)]*)\)/
    .exec(header)![1]!
    .split(',')
    .filter((n) => n.trim() !== '')
    .map(Number);
  const body = new Uint8Array(bytes.subarray(10 + headerLength));
  return { shape, data: header.includes("'|u1'") ? body : new Float32Array(body.buffer, 0, body.length / 4) };
}

/** Each frame of [t, h, w, 3] through one crop of the recipe. */
function preprocess(recipe: PixelRecipe, frames: { shape: number[]; data: Pixels }, view = 0): Pixels {
  const [t, height, width] = frames.shape as [number, number, number];
  const plan = pixelPlan(recipe, width, height);
  const crop = plan.crops[view]!;
  const to = { width: plan.resizedWidth, height: plan.resizedHeight };
  const resizer = makeResizer(recipe.resize, { width, height }, to, crop);
  const length = crop.width * crop.height * 3;
  const out = pixelDType(recipe) === 'float32' ? new Float32Array(t * length) : new Uint8Array(t * length);
  const whole = { x: 0, y: 0, width, height };
  for (let i = 0; i < t; i++) {
    const frame = frames.data.subarray(i * width * height * 3, (i + 1) * width * height * 3) as Uint8Array;
    resizer.apply(frame, whole, out.subarray(i * length, (i + 1) * length));
  }
  return out;
}

const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
const clip = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] } as const;
const slowfast = { mean: [0.45, 0.45, 0.45], std: [0.225, 0.225, 0.225] } as const;
const plain = { mean: [0, 0, 0], std: [1, 1, 1] } as const;
const videomae: PixelRecipe = { path: 'exact', resize: 'opencv-bilinear', to: 'short-side', size: 32, crop: 'three' };
const uniformer: PixelRecipe = { ...videomae, resize: 'torch-bilinear', offsets: 'uniformerv2' };

const views: Record<
  string,
  { recipe: PixelRecipe; statistics: typeof imagenet | typeof clip | typeof slowfast | typeof plain; view?: number }
> = {
  videomae_test_crop0: { recipe: videomae, statistics: imagenet, view: 0 },
  videomae_test_crop1: { recipe: videomae, statistics: imagenet, view: 1 },
  videomae_test_crop2: { recipe: videomae, statistics: imagenet, view: 2 },
  videomae_val_center: { recipe: { ...videomae, crop: 'center' }, statistics: imagenet },
  videomae_v2_tad: {
    recipe: { ...videomae, resize: 'torch-bilinear', to: 'stretch', crop: 'none' },
    statistics: plain,
  },
  uniformerv2_test_crop0: { recipe: uniformer, statistics: slowfast, view: 0 },
  uniformerv2_test_crop1: { recipe: uniformer, statistics: slowfast, view: 1 },
  uniformerv2_test_crop2: { recipe: uniformer, statistics: slowfast, view: 2 },
  internvideo_mm_demo: {
    recipe: { ...videomae, resize: 'pil-bilinear', shortSide: 36, crop: 'center' },
    statistics: clip,
  },
  viclip_demo: { recipe: { ...videomae, to: 'stretch', crop: 'none' }, statistics: imagenet },
  viclip_eval: { recipe: { ...videomae, resize: 'torch-bicubic', to: 'stretch', crop: 'none' }, statistics: imagenet },
};

interface Case {
  readonly views: Record<string, unknown>;
  readonly tolerance: { readonly exact_max_abs: number };
}

describe.skipIf(!here)(`official pixels${why}`, () => {
  const golden = here ? (JSON.parse(readFileSync(join(folder, 'preprocess', 'case.json'), 'utf8')) as Case) : undefined;
  const input = here ? readNpy(join(folder, 'preprocess', 'frames.npy')) : { shape: [], data: new Uint8Array() };

  test('the VideoMAE resize equals the official bytes', () => {
    const expected = readNpy(join(folder, 'preprocess', 'videomae_resized.npy'));
    expect(preprocess({ ...videomae, crop: 'none' }, input)).toEqual(expected.data);
  });

  test.each(Object.keys(golden?.views ?? {}))('%s equals the official tensor', (name) => {
    const { recipe, statistics, view } = views[name]!;
    const expected = readNpy(join(folder, 'preprocess', `${name}.npy`));
    const got = normalise(preprocess(recipe, input, view), statistics);
    expect(got.length).toBe(expected.data.length);
    const worst = got.reduce((most, value, i) => Math.max(most, Math.abs(value - expected.data[i]!)), 0);
    expect(worst).toBeLessThanOrEqual(golden!.tolerance.exact_max_abs);
  });
});
