/** Frames of Tabletop as bytes: the same in every process and order, and the same pictures in every form of a video. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { builtProgram } from '../src/files.js';
import { synth, type SynthRecord } from '../src/pipeline/synth.js';
import type { Progress } from '../src/types.js';
import { decodeSamples } from '../src/video/decode.js';
import { openVideo } from '../src/video/probe.js';
import { openRenderer } from '../src/world/render.js';
import { makeScene, type ClipRequest, type Scene } from '../src/world/scene.js';
import { variantNames } from '../src/world/variants.js';

const view = { width: 96, height: 72 };
const hash = (bytes: Uint8ClampedArray): string => createHash('sha256').update(bytes).digest('hex');

describe('rendered frames', () => {
  const requests = ([1, 2, 3] as const).map((difficulty): ClipRequest => ({
    seed: 4_000_000_000,
    split: 'test',
    index: difficulty,
    seconds: 3,
    fps: 30,
    difficulty,
  }));
  const frames = [0, 1, 44, 45.5, 89];
  const wanted = requests.flatMap((request) => frames.map((frame) => ({ request, frame })));

  /** The same in a process of its own, from the built program. */
  async function elsewhere(order: typeof wanted): Promise<readonly string[]> {
    const url = (name: string): string => JSON.stringify(pathToFileURL(builtProgram(`src/world/${name}.js`)).href);
    const script = `
      import { createHash } from 'node:crypto';
      import { openRenderer } from ${url('render')};
      import { makeScene } from ${url('scene')};
      const renderer = await openRenderer(${JSON.stringify(view)});
      const hashes = ${JSON.stringify(order)}.map(({ request, frame }) =>
        createHash('sha256').update(renderer.rgba(makeScene(request), frame)).digest('hex'));
      console.log(JSON.stringify(hashes));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
    return JSON.parse(stdout) as string[];
  }

  test('are the same bytes in three processes, forwards, backwards, and with scenes in turn', async () => {
    const renderer = await openRenderer(view);
    const own = wanted.map(({ request, frame }) => hash(renderer.rgba(makeScene(request), frame)));
    expect(new Set(own).size).toBe(wanted.length);
    const inTurn = wanted.map((_, i) => (i * 7) % wanted.length); // 7 and 15 have no common divisor
    const [backwards, mixed] = await Promise.all([
      elsewhere([...wanted].reverse()),
      elsewhere(inTurn.map((i) => wanted[i]!)), // below the length
    ]);
    expect([...backwards].reverse()).toEqual(own);
    expect(mixed).toEqual(inTurn.map((i) => own[i]));
  });
});

const progress: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};

/** A frame that was decoded, and when it is shown. */
interface Decoded {
  readonly seconds: number;
  readonly rgb: Uint8Array;
}

async function decoded(path: string): Promise<Decoded[]> {
  const source = await openVideo(path);
  expect([source.width, source.height], path).toEqual([view.width, view.height]);
  const picture = { ...view, crop: { x: 0, y: 0, ...view } };
  const samples = decodeSamples(source, { rate: 'source', picture });
  const pictures: Uint8Array[] = [];
  for (;;) {
    const next = await samples.next();
    if (next.done === true) return pictures.map((rgb, i) => ({ rgb, seconds: next.value.times[i]! })); // a time for each
    pictures.push(next.value.data.slice());
  }
}

/** Mean difference of two pictures, rgb against rgba, of 255. */
function difference(rgb: Uint8Array, rgba: Uint8ClampedArray): number {
  let sum = 0;
  for (let i = 0, j = 0; i < rgb.length; i += 3, j += 4) {
    for (let c = 0; c < 3; c++) sum += Math.abs(rgb[i + c]! - rgba[j + c]!); // three and four channels a pixel
  }
  return sum / rgb.length;
}

describe('videos in every form', () => {
  const request = { seed: 12, split: 'train', seconds: 4, fps: 30, difficulty: 1 } as const;
  let folder: string;
  const records: SynthRecord[] = [];
  const scenes: Scene[] = [0, 1].map((index) => makeScene({ ...request, index }));
  const reach = 2;
  const offsets = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
  /** Without noise, which an encoder smooths away, from `reach` frames before the first to as many after the last. */
  let drawn: Uint8ClampedArray[][];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'egolens forms '));
    const renderer = await openRenderer(view);
    drawn = scenes.map((scene) => {
      const still = { ...scene, setting: { ...scene.setting, noise: 0 } };
      return Array.from({ length: scene.frames + 2 * reach }, (_, i) => renderer.rgba(still, i - reach).slice());
    });
    const made = synth(folder, {
      ...{ ...request, ...view, clips: 2, variants: variantNames, jobs: 2, force: false, annotationsOnly: false },
      ...{ progress, signal: new AbortController().signal },
    });
    for await (const record of made) records.push(record);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(['plain', ...variantNames] as const)(
    '%s shows at each time the frame of that time, upright',
    async (form) => {
      for (const [clip, record] of records.entries()) {
        const scene = scenes[clip]!; // as many as records
        const variants = record['variants'] as unknown as { name: string; path: string; frames: number | null }[];
        const variant = variants.find(({ name }) => name === form);
        if (form !== 'plain' && variant === undefined) continue; // this ffmpeg cannot write it
        const shown = await decoded(variant?.path ?? (record['path'] as string));
        const numbers = shown.map(({ seconds }) => Math.round(seconds * request.fps));
        shown.forEach(({ seconds }, i) => expect(seconds * request.fps).toBeCloseTo(numbers[i]!, 2));
        const all = Array.from({ length: scene.frames }, (_, f) => f);
        if (form === 'vfr') expect(numbers).toEqual(all.filter((f) => f % 7 !== 3));
        else expect(numbers).toEqual(all.slice(0, numbers.length));
        if (form === 'cut') {
          expect(numbers.length).toBeGreaterThan(10);
          expect(numbers.length).toBeLessThan(scene.frames);
        } else expect(numbers).toHaveLength(variant?.frames ?? scene.frames);
        // What a damaged file shows at its end is the decoder's business.
        const whole = form === 'cut' ? shown.slice(0, -3) : shown;
        const totals = offsets.map(() => 0);
        for (const [i, { rgb }] of whole.entries()) {
          offsets.forEach((offset, o) => {
            const away = difference(rgb, drawn[clip]![numbers[i]! + offset + reach]!); // a picture for each frame, and some around
            totals[o]! += away / whole.length;
            if (offset === 0) expect(away, `clip ${clip}, frame ${numbers[i]!}`).toBeLessThan(10);
          });
        }
        const own = totals[reach]!;
        for (const [o, total] of totals.entries()) {
          // A frame earlier or later is about 0.2 of 255 farther away.
          if (o !== reach) expect(total, `${offsets[o]!} frames off`).toBeGreaterThan(own + 0.03);
        }
      }
    },
  );
});
