import { expect, test } from 'vitest';
import { readPreset } from '../models/presets.js';
import { windowExtent } from '../time.js';
import { adjustPreset, type PresetChanges } from './adjust-preset.js';

const nano = readPreset('nano-16x2'); // 30 fps, 16 frames of step 2, hop 16
const tad = readPreset('videomaev2-tad'); // rate source
const sampling = (changes: PresetChanges, preset = nano) => adjustPreset(preset, changes).sampling;

test('without changes it is the same preset, and changes leave the rest of it', () => {
  expect(adjustPreset(nano, {})).toBe(nano);
  expect(adjustPreset(nano, { pixels: undefined, stride: undefined })).toBe(nano);
  expect(adjustPreset(nano, { tail: 'pad' })).toEqual({ ...nano, sampling: { ...nano.sampling, tail: 'pad' } });
  expect(adjustPreset(nano, { pixels: 'exact' }).pixels).toEqual({ ...nano.pixels, path: 'exact' });
});

test('strides and windows are frames at the sampling rate, or seconds of it', () => {
  expect(sampling({ stride: '4' }).hop).toBe(4);
  expect(sampling({ stride: '1.5s' }).hop).toBe(45);
  expect(sampling({ stride: '1s', fps: '29.97' }).hop).toBe(30);
  expect(sampling({ stride: '0.5s', fps: '15' })).toMatchObject({ hop: 8, rate: { num: 15, den: 1 } });
  expect(windowExtent(sampling({ window: '16' }))).toBe(16);
  expect(windowExtent(sampling({ window: '2s' }))).toBe(61);
});

test('a rate may be a fraction or that of the source', () => {
  expect(sampling({ fps: '30000/1001' }).rate).toEqual({ num: 30000, den: 1001 });
  expect(sampling({ fps: 'source' }).rate).toBe('source');
});

test('several clips become uniform segments, three crops change the crop, one crop takes them back', () => {
  expect(adjustPreset(nano, { views: '3x3' })).toMatchObject({
    sampling: { plan: 'segments', views: [3, 3] },
    pixels: { crop: 'three' },
  });
  expect(adjustPreset(nano, { views: '1x3' })).toMatchObject({ sampling: { plan: 'dense', views: [1, 3] } });
  const official = readPreset('k400-16x4');
  expect(adjustPreset(official, { views: '5x1' })).toMatchObject({
    sampling: { plan: official.sampling.plan, views: [5, 1] },
    pixels: { crop: 'center' },
  });
});

test.each<[PresetChanges, string]>([
  [{ stride: '0' }, 'at least one whole frame'],
  [{ stride: '1.5' }, 'at least one whole frame'],
  [{ stride: '0.001s' }, 'at least one whole frame'],
  [{ stride: '-4' }, '--stride -4'],
  [{ stride: '4 s' }, '--stride 4 s'],
  [{ stride: '99999999' }, 'at least one whole frame'],
  [{ window: '8' }, 'the model takes 16 frames'],
  [{ fps: '0' }, 'above 0'],
  [{ fps: '1001' }, 'at most 1000'],
  [{ fps: 'fast' }, 'expected a rate'],
  [{ fps: 'source', stride: '1s' }, 'seconds need a fixed sampling rate'],
  [{ views: '3x2' }, '1 or 3 crops'],
  [{ views: '0x1' }, 'expected clips x crops'],
  [{ views: '3' }, 'expected clips x crops'],
])('%j is refused with what was expected', (changes, said) => {
  expect(() => adjustPreset(nano, changes)).toThrow(said);
});

test('seconds at a source rate are refused where the preset has it', () => {
  expect(() => adjustPreset(tad, { stride: '1s' })).toThrow('seconds need a fixed sampling rate');
  expect(sampling({ stride: '4' }, tad).hop).toBe(4);
});
