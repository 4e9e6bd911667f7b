import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { assertValid } from '../check.js';
import { jsonText } from '../json.js';
import { rational } from '../time.js';
import { labelLists, parsePreset, presetJson, presetNames, readPreset } from './presets.js';
import { readLabels } from './folder.js';

describe.each(presetNames())('preset %s', (name) => {
  const file = new URL(`./presets/${name}.json`, import.meta.url);

  test('is valid, bears the name of its file, and comes back from its own text', async () => {
    const json: unknown = JSON.parse(readFileSync(file, 'utf8'));
    await expect(assertValid('egolens.preset/1', json, name)).resolves.toBeUndefined();
    const preset = readPreset(name);
    expect(preset.name).toBe(name);
    expect(JSON.parse(jsonText(presetJson(preset)))).toEqual(json);
    expect(parsePreset(JSON.parse(jsonText(presetJson(preset), 2)))).toEqual(preset);
    expect(readPreset(`${name}@${preset.version}`)).toEqual(preset);
  });

  test('has views, crop and frames that belong together', () => {
    const { sampling, pixels, std } = readPreset(name);
    expect(sampling.views[1]).toBe(pixels.crop === 'three' ? 3 : 1);
    expect(std.every((value) => value > 0)).toBe(true);
    expect(pixels.path === 'exact' || name.startsWith('nano')).toBe(true);
  });
});

test('a rate is exact, `source` stays the word', () => {
  const base = presetJson(readPreset('ego4d-mq')) as { sampling: object };
  const withRate = (rate: string): unknown => ({ ...base, sampling: { ...base.sampling, rate } });
  expect(parsePreset(withRate('30000/1001')).sampling.rate).toEqual(rational(30000, 1001));
  expect(parsePreset(withRate('60/2')).sampling.rate).toEqual({ num: 30, den: 1 });
  expect(parsePreset(withRate('source')).sampling.rate).toBe('source');
  expect(() => parsePreset(withRate('30/0'))).toThrow(expect.objectContaining({ code: 'data.invalid' }));
});

test('an unknown preset or version is refused with those there are', () => {
  expect(() => readPreset('k400')).toThrow(
    expect.objectContaining({
      code: 'usage.flag',
      message: `no preset \`k400\`; there are ${presetNames().join(', ')}`,
    }),
  );
  expect(() => readPreset('ego4d-mq@9')).toThrow('preset `ego4d-mq` has version 1, not 9');
  expect(() => readPreset('../labels/k400')).toThrow('no preset');
});

const lengths: Readonly<Record<string, number>> = {
  k400: 400,
  'k400-k710-order': 400,
  k600: 600,
  k700: 700,
  k710: 710,
  ssv1: 174,
  ssv2: 174,
  mit: 339,
  hmdb51: 51,
  ucf101: 101,
  anet200: 200,
  coco80: 80,
};

test('the label lists are those stated, each with its stated count of different names', async () => {
  expect([...labelLists().keys()].sort()).toEqual(Object.keys(lengths).sort());
  for (const [name, path] of labelLists()) {
    const labels = await readLabels(path);
    expect([name, labels.length, new Set(labels).size]).toEqual([name, lengths[name], lengths[name]]);
    const file = JSON.parse(readFileSync(path, 'utf8')) as { name: string };
    expect(file.name).toBe(name);
  }
});

test('Kinetics-400 in the order of K710 is its first 400 names, and the same names as in alphabetical order', async () => {
  const list = async (name: string): Promise<readonly string[]> => await readLabels(labelLists().get(name)!);
  const [k400, ordered, k710] = [await list('k400'), await list('k400-k710-order'), await list('k710')];
  expect(ordered).toEqual(k710.slice(0, 400));
  expect(ordered.slice(0, 5)).toEqual(['riding a bike', 'marching', 'dodgeball', 'playing cymbals', 'checking tires']);
  expect([...ordered].sort()).toEqual([...k400].sort());
  expect(k400[0]).toBe('abseiling');
});
