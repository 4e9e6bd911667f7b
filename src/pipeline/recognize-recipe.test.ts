import { describe, expect, test } from 'vitest';
import type { ModelFolder } from '../models/folder.js';
import { readPreset } from '../models/presets.js';
import type { Preset } from '../types.js';
import { adjustPreset } from './adjust-preset.js';
import { recognitionPreset } from './recognize-recipe.js';

/** What the recipe looks at of a model that takes what the preset gives. */
function modelFor(preset: Preset, isImage = false): ModelFolder {
  const { sampling, pixels } = preset;
  const spec = { frames: sampling.frames, size: pixels.size, preset, ...(isImage && { isImage: true }) };
  return { id: 'm@0123456789ab', preset, spec } as unknown as ModelFolder; // the rest is not read
}

const k400 = readPreset('k400-16x4');
const viclip = readPreset('viclip-8');
const clip = readPreset('clip-frame');

describe('per video', () => {
  test('a model runs its own preset as it is', () => {
    for (const preset of [k400, viclip, readPreset('nano-16x2')]) {
      expect(recognitionPreset(modelFor(preset), { per: 'video' })).toBe(preset);
    }
  });

  test('--views replaces the views', () => {
    const adjust = (preset: Preset): Preset => adjustPreset(preset, { views: '2x1' });
    const { sampling, pixels } = recognitionPreset(modelFor(k400), { per: 'video', adjust });
    expect([sampling.plan, sampling.views, pixels.crop]).toEqual([k400.sampling.plan, [2, 1], 'center']);
  });

  test('a model of single pictures takes the middles of equal parts, 8 or --frames', () => {
    const eight = recognitionPreset(modelFor(clip, true), { per: 'video' }).sampling;
    expect(eight).toMatchObject({ plan: 'segments', frames: 8, rate: 'source', views: [1, 1] });
    expect(recognitionPreset(modelFor(clip, true), { per: 'video', frames: 3 }).sampling.frames).toBe(3);
  });
});

describe('per window', () => {
  test('a preset that slides stays as it is', () => {
    const nano = readPreset('nano-16x2');
    expect(recognitionPreset(modelFor(nano), { per: 'window' })).toBe(nano);
  });

  test('a preset with views slides with the same frames, step and hop, centre crop', () => {
    const { sampling, pixels } = recognitionPreset(modelFor(k400), { per: 'window' });
    expect(sampling).toEqual({ ...k400.sampling, plan: 'dense', views: [1, 1] });
    expect(pixels.crop).toBe('center');
  });

  test('one that spreads its frames over the video takes 4 a second', () => {
    const { sampling } = recognitionPreset(modelFor(viclip), { per: 'window' });
    expect(sampling).toMatchObject({ plan: 'dense', frames: 8, step: 1, hop: 8, rate: { num: 4, den: 1 } });
  });

  test('--window, --stride and --fps count from there', () => {
    const adjust = (preset: Preset): Preset => adjustPreset(preset, { window: '4s', stride: '1s', fps: '8' });
    const { sampling } = recognitionPreset(modelFor(viclip), { per: 'window', adjust });
    expect(sampling).toMatchObject({ frames: 8, step: 4, hop: 8, rate: { num: 8, den: 1 } });
  });

  test('a model of single pictures takes 8 of 2 seconds, or --frames; those of a preset that is asked for at its rate', () => {
    const { sampling } = recognitionPreset(modelFor(clip, true), { per: 'window' });
    expect(sampling).toMatchObject({ plan: 'dense', frames: 8, step: 1, hop: 8, rate: { num: 4, den: 1 } });
    const own = recognitionPreset(modelFor(clip, true), { per: 'window', frames: 2, preset: clip });
    expect(own.sampling).toMatchObject({ frames: 2, hop: 2, rate: { num: 1, den: 1 } });
  });

  test('three crops of a window are views; several clips are refused', () => {
    const with3 = (views: string) => (preset: Preset) => adjustPreset(preset, { views });
    const { pixels } = recognitionPreset(modelFor(k400), { per: 'window', adjust: with3('1x3') });
    expect(pixels.crop).toBe('three');
    for (const preset of [k400, readPreset('nano-16x2')]) {
      expect(() => recognitionPreset(modelFor(preset), { per: 'window', adjust: with3('4x3') })).toThrow(
        expect.objectContaining({
          code: 'usage.conflict',
          message: expect.stringContaining('4x3') as unknown,
        }) as Error,
      );
    }
  });
});

test('--frames that the model cannot take is refused', () => {
  expect(() => recognitionPreset(modelFor(viclip), { per: 'video', frames: 16 })).toThrow(
    expect.objectContaining({
      code: 'usage.flag',
      message: expect.stringContaining('takes 8 frames') as unknown,
    }) as Error,
  );
  expect(recognitionPreset(modelFor(viclip), { per: 'video', frames: 8 })).toBe(viclip);
  expect(() => recognitionPreset(modelFor(clip, true), { per: 'video', frames: 2000 })).toThrow(
    expect.objectContaining({ code: 'usage.flag' }) as Error,
  );
});

test('a preset of another size is refused', () => {
  expect(() => recognitionPreset(modelFor(viclip), { per: 'video', preset: k400 })).toThrow(
    expect.objectContaining({ code: 'model.config' }) as Error,
  );
});
