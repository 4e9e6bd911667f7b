import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readPreset } from '../../models/presets.js';
import { videomaeClassifier, readClassifier } from '../../models/videomae-family.js';
import { ConfigReader } from '../../models/config.js';
import { openRenderer } from '../../world/render.js';
import { makeScene } from '../../world/scene.js';
import { frameTruth, tokenChannels, tokenTruth } from '../../world/truth.js';
import { nouns, verbs } from '../../world/vocabulary.js';
import { loadBatch } from './batches.js';
import { drawPool } from './pool.js';
import { config, form, model } from './recipe.js';
import { chooseWindows, drawWindow, recordLayout, slotNumbers, type WindowForm } from './windows.js';

const small: WindowForm = { frames: 4, step: 8, size: 32, tubelet: 2, grid: 4 };
const choice = { seed: 3, split: 'train', difficulties: [1, 2], jitter: 5, idleShare: 0.5 } as const;
const windows = chooseWindows(small, { ...choice, count: 12 });
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens windows '));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the model of the recipe is what its configuration says', () => {
  expect(readClassifier(new ConfigReader(videomaeClassifier.name, config), {})).toEqual(model);
  const { sampling, pixels, mean, std } = readPreset('nano-8x8');
  expect({ frames: sampling.frames, step: sampling.step, size: pixels.size }).toEqual({
    frames: form.frames,
    step: form.step,
    size: form.size,
  });
  expect({ mean, std }).toEqual({ mean: model.geometry.mean, std: model.geometry.std });
});

describe('windows', () => {
  test('more of them begin with the same ones, and each is about an action that it shows', () => {
    expect(chooseWindows(small, { ...choice, count: 20 }).slice(0, 12)).toEqual(windows);
    for (const { clip, first, action } of windows.filter((window) => window.action !== null)) {
      const { contact, release } = makeScene(clip).actions[action!]!; // filtered in the line above
      const middle = first + ((small.frames - 1) * small.step) / 2;
      expect(middle).toBeGreaterThan(contact - 20);
      expect(middle).toBeLessThan(release + 20);
    }
    expect(windows.some(({ action }) => action === null)).toBe(true);
  });

  test('a record holds the pictures, the shares of tokens, the hands and the labels of its window', async () => {
    const renderer = await openRenderer({ width: 32, height: 32, fit: 'stretch' });
    const window = windows.find(({ action }) => action !== null)!; // the test above found some
    const scene = makeScene(window.clip);
    const layout = recordLayout(small);
    const record = new Uint8Array(layout.bytes);
    drawWindow(renderer, small, { scene, first: window.first, action: window.action }, record);

    const picture = new Uint8Array(32 * 32 * 3);
    renderer.rgb(scene, window.first + 8, picture);
    expect(record.subarray(32 * 32 * 3, 2 * 32 * 32 * 3)).toEqual(picture);
    const truth = frameTruth(scene, window.first + 4, renderer.view);
    const shares = Array.from(tokenTruth(truth, 4, 4), (share) => Math.round(255 * share));
    expect([...record.subarray(layout.tokens, layout.tokens + shares.length)]).toEqual(shares);
    const slots = new Float32Array(record.buffer, layout.slots, 2 * slotNumbers);
    expect(slots[0]).toBeCloseTo(truth.hands.left.x / 32 - 0.5, 5);
    expect(slots[11]).toBe(truth.action === null ? 0 : 1 + truth.action.verbLabel);
    const action = scene.actions[window.action!]!; // an action's window
    const labels = new Int32Array(record.buffer, layout.labels, 3);
    expect(verbs[labels[0]!]).toBe(action.verb);
    expect(nouns[labels[1]!]).toBe(scene.objects[action.object]!.noun);
  });
});

describe('a pool', () => {
  test('has the same bytes for one drawing thread as for three, and is taken as it is when it is complete', async () => {
    const paths = [join(folder, 'one.bin'), join(folder, 'three.bin')] as const;
    for (const [path, threads] of [
      [paths[0], 1],
      [paths[1], 3],
    ] as const) {
      await using pool = await drawPool(path, { form: small, windows, label: 'drawing', threads });
      expect(pool.count).toBe(12);
    }
    const bytes = await readFile(paths[0]);
    expect((await readFile(paths[1])).equals(bytes)).toBe(true);
    bytes[7] = 255 - bytes[7]!;
    await writeFile(paths[0], bytes);
    await using again = await drawPool(paths[0], { form: small, windows, label: 'drawing' });
    expect(again.count).toBe(12);
    expect((await readFile(paths[0])).equals(bytes)).toBe(true);
  });

  test('mirroring a window swaps the hands and turns x round', async () => {
    await using pool = await drawPool(join(folder, 'pool.bin'), { form: small, windows, label: 'drawing' });
    const indices = [0, 1, 2, 3, 4, 5];
    const plain = await loadBatch(pool, small, indices);
    const mirrored = await loadBatch(pool, small, indices, { random: { seed: 1, epoch: 1 } });
    expect(plain.labels).toEqual(mirrored.labels);
    let [same, turned] = [0, 0];
    for (const b of indices) {
      const row = (name: string, from: typeof plain): number[] => {
        const { data, shape } = from.inputs[name]!; // an input of the step
        const length = data.length / shape[0]!;
        return Array.from(data.subarray(b * length, (b + 1) * length), Number);
      };
      const mirroredFrames = row('frames', mirrored);
      if (row('frames', plain).every((value, i) => value === mirroredFrames[i])) {
        same++;
        expect(row('tokens', mirrored)).toEqual(row('tokens', plain));
        continue;
      }
      turned++;
      const [hands, other] = [row('hands', plain), row('hands', mirrored)];
      expect(other.slice(0, 5)).toEqual([-hands[5]!, hands[6]!, -hands[7]!, hands[8]!, hands[9]!]);
      expect(other[5]).toBe(-hands[0]!);
      const [tokens, turnedTokens] = [row('tokens', plain), row('tokens', mirrored)];
      const channels = tokenChannels.length;
      expect(turnedTokens[0]).toBe(tokens[3 * channels + 1]); // left hand at the left edge: right hand at the right one
      expect(turnedTokens.slice(2, channels)).toEqual(tokens.slice(3 * channels + 2, 4 * channels));
    }
    expect(same).toBeGreaterThan(0);
    expect(turned).toBeGreaterThan(0);
  });

  test('a still batch shows one frame all the time', async () => {
    await using pool = await drawPool(join(folder, 'pool.bin'), { form: small, windows, label: 'drawing' });
    const [moving, still] = [await loadBatch(pool, small, [0]), await loadBatch(pool, small, [0], { still: true })];
    const frame = 32 * 32 * 3;
    const data = still.inputs['frames']!.data as Uint8Array;
    for (let i = 0; i < 4; i++) {
      expect(data.subarray(i * frame, (i + 1) * frame)).toEqual(
        (moving.inputs['frames']!.data as Uint8Array).subarray(2 * frame, 3 * frame),
      );
    }
  });
});
