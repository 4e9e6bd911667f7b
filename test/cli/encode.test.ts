import { mkdtempSync } from 'node:fs';
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readNpy, writeNpy } from '../../src/checkpoint/npy.js';
import { openFileSource } from '../../src/files.js';
import { tensor, zeros } from '../../src/tensor.js';
import type { AnyTensor } from '../../src/types.js';
import { goldenCase } from './models.js';
import { filesBelow, records, run, workFolder } from './program.js';

async function readArray(path: string): Promise<AnyTensor> {
  await using source = await openFileSource(path);
  return (await readNpy(source)).tensor;
}

async function writeArray(path: string, value: AnyTensor): Promise<string> {
  await writeFile(path, writeNpy(value));
  return path;
}

interface Case {
  readonly family: string;
  readonly outputs: Readonly<Record<string, { file?: string; value?: number; tolerance: { fp32_max_abs: number } }>>;
}

/** A golden case imported once by the real program. */
interface Imported {
  readonly path: string;
  readonly model: string;
  readonly golden: Case;
}

const base = mkdtempSync(join(tmpdir(), 'egolens-encode-'));
afterAll(() => rm(base, { recursive: true, force: true }));

async function imported(name: string): Promise<Imported> {
  const path = goldenCase(name);
  const golden = JSON.parse(await readFile(join(path, 'case.json'), 'utf8')) as Case;
  const model = join(base, name);
  const args = ['--arch', golden.family, '--config', join(path, 'case.json'), '-o', model];
  const { status, stdout, stderr } = await run(['models', 'import', join(path, 'checkpoint.pth'), ...args]);
  expect(status, stderr).toBe(0);
  expect((await records(stdout))[0]).toMatchObject({ schema: 'egolens.imported/1', missing: 0, output: model });
  return { path, model, golden };
}

/** Every output that the case states lies in the folder, in the shape and within the tolerance of the case. */
async function expectOutputs({ path, golden }: Imported, folder: string): Promise<void> {
  for (const [name, { file, value, tolerance }] of Object.entries(golden.outputs)) {
    const expected =
      file === undefined ? tensor('float32', [], Float32Array.of(value!)) : await readArray(join(path, file));
    const found = await readArray(join(folder, `${name}.npy`));
    expect([found.dtype, found.shape], name).toEqual(['float32', expected.shape]);
    const numbers = (value: AnyTensor): number[] => Array.from(value.data as ArrayLike<number | bigint>, Number);
    const [was, is] = [numbers(expected), numbers(found)];
    const worst = is.reduce((most, value, k) => Math.max(most, Math.abs(value - was[k]!)), 0);
    expect(worst, name).toBeLessThanOrEqual(tolerance.fp32_max_abs);
  }
}

describe('encode with a classifier', () => {
  let classifier: Imported;
  beforeAll(async () => {
    classifier = await imported('videomae_ft_mean');
  });

  test('the arrays of the golden case come out as the official code gives them, in any batching', async () => {
    const folder = await workFolder();
    const frames = join(classifier.path, 'frames.npy');
    for (const flags of [[], ['--batch', '1']]) {
      const out = join(folder, `out${flags.length}`);
      const { status, stdout } = await run(['encode', frames, '--model', classifier.model, '-o', out, ...flags]);
      expect(status).toBe(0);
      expect((await records(stdout))[0]).toMatchObject({ input: frames, output: out, outputs: { pooled: [2, 48] } });
      await expectOutputs(classifier, out);
    }
  });

  test('normalised float32 frames go the same way as the bytes that they were, one video without a batch axis too', async () => {
    const folder = await workFolder();
    const frames = (await readArray(join(classifier.path, 'frames.npy'))) as AnyTensor & { dtype: 'uint8' };
    const [b, t, h, w] = frames.shape as [number, number, number, number];
    const { mean, std } = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    const normalised = new Float32Array(frames.data.length);
    for (let i = 0; i < b; i++) {
      for (let p = 0; p < t * h * w; p++) {
        for (let c = 0; c < 3; c++) {
          const pixel = frames.data[(i * t * h * w + p) * 3 + c]!;
          normalised[(i * 3 + c) * t * h * w + p] = (pixel / 255 - mean[c]!) / std[c]!;
        }
      }
    }
    const floats = await writeArray(join(folder, 'floats.npy'), tensor('float32', [b, 3, t, h, w], normalised));
    const one = tensor('uint8', [t, h, w, 3], frames.data.slice(0, t * h * w * 3));
    const single = await writeArray(join(folder, 'single.npy'), one);
    const out = join(folder, 'out');
    const { status, stdout, stderr } = await run(['encode', floats, single, '--model', classifier.model, '-o', out]);
    expect(status, stderr).toBe(0);
    await expectOutputs(classifier, join(out, 'floats'));
    expect((await records(stdout)).map(({ output, outputs }) => [output, outputs])).toMatchObject([
      [join(out, 'floats'), { logits: [2, 11] }],
      [join(out, 'single'), { logits: [1, 11] }],
    ]);
  });

  test('--outputs writes those alone, in a folder of its own for each of several arrays', async () => {
    const folder = await workFolder();
    const frames = join(classifier.path, 'frames.npy');
    await cp(frames, join(folder, 'other.npy'));
    const files = [frames, join(folder, 'other.npy'), '--model', classifier.model, '--outputs', 'pooled,probs,pooled'];
    const { status } = await run(['encode', ...files, '-o', join(folder, 'out')]);
    expect(status).toBe(0);
    expect(Object.keys(filesBelow(join(folder, 'out')))).toEqual([
      'frames/pooled.npy',
      'frames/probs.npy',
      'other/pooled.npy',
      'other/probs.npy',
    ]);
    const collision = await run(['encode', frames, frames, '--model', classifier.model, '-o', join(folder, 'out2')]);
    expect([collision.status, collision.stderr.includes('usage.conflict')]).toEqual([2, true]);
    const unknown = await run([
      'encode',
      frames,
      '--model',
      classifier.model,
      '--outputs',
      'features',
      '-o',
      join(folder, 'out2'),
    ]);
    expect([unknown.status, unknown.stderr.includes('has pooled, logits, probs, out_last')]).toEqual([2, true]);
  });

  test('arrays of another type, rank or size are refused with both sides, before anything runs', async () => {
    const folder = await workFolder();
    const good = join(classifier.path, 'frames.npy');
    const wrong = async (name: string, value: AnyTensor, ...said: string[]): Promise<void> => {
      const file = await writeArray(join(folder, `${name}.npy`), value);
      const out = join(folder, 'out');
      const { status, stdout, stderr } = await run(['encode', good, file, '--model', classifier.model, '-o', out]);
      expect([status, stdout], stderr).toEqual([5, '']);
      for (const text of [`${name}.npy`, ...said]) expect(stderr).toContain(text);
      expect(filesBelow(out)).toEqual({});
    };
    await wrong('integers', zeros('int64', [1, 8, 32, 32, 3]), 'data.dtype', 'expected uint8', 'found int64');
    await wrong(
      'larger',
      zeros('uint8', [1, 8, 48, 48, 3]),
      'data.shape',
      '[b, 8, 32, 32, 3]',
      'found uint8 [1, 8, 48, 48, 3]',
    );
    await wrong(
      'axes',
      zeros('float32', [1, 8, 32, 32, 3]),
      'data.shape',
      '[b, 3, 8, 32, 32]',
      'found float32 [1, 8, 32, 32, 3]',
    );
    await wrong('none', zeros('uint8', [0, 8, 32, 32, 3]), 'data.shape', 'found uint8 [0, 8, 32, 32, 3]');
  });

  test('files that are no arrays, frames that are not finite and a folder that cannot be made are told apart', async () => {
    const folder = await workFolder();
    const text = join(folder, 'text.npy');
    await writeFile(text, 'no array');
    const nan = await writeArray(
      join(folder, 'nan.npy'),
      tensor('float32', [3, 8, 32, 32], new Float32Array(3 * 8 * 32 * 32).fill(NaN)),
    );
    const encode = async (file: string, out = join(folder, 'out')): Promise<string> => {
      const { status, stderr } = await run(['encode', file, '--model', classifier.model, '-o', out]);
      return `${String(status)} ${/^error (\S+):/m.exec(stderr)?.[1] ?? stderr}`;
    };
    expect(await encode(text)).toBe('4 input.format');
    expect(await encode(join(folder, 'none.npy'))).toBe('4 input.not_found');
    expect(await encode(nan)).toBe('5 data.not_finite');
    expect(await encode(join(classifier.path, 'frames.npy'), join(text, 'below'))).toBe('2 output.unwritable');
    expect((await readdir(folder)).sort()).toEqual(['nan.npy', 'text.npy']);
  });
});

describe('encode with a pre-training model', () => {
  let pretrained: Imported;
  beforeAll(async () => {
    pretrained = await imported('videomae_v2_pretrain');
  });

  test('masks and frames of the golden case give its outputs', async () => {
    const folder = await workFolder();
    const at = (name: string): string => join(pretrained.path, name);
    const args = ['encode', at('frames.npy'), '--model', pretrained.model, '-o', folder];
    const { status, stderr } = await run([...args, '--mask', at('mask.npy'), '--decode-mask', at('decode_mask.npy')]);
    expect(status, stderr).toBe(0);
    await expectOutputs(pretrained, folder);
  });

  test('a missing or misshapen mask is named with its flag and its shape', async () => {
    const folder = await workFolder();
    const frames = join(pretrained.path, 'frames.npy');
    const encode = async (...flags: string[]): Promise<string> => {
      const { status, stderr } = await run(['encode', frames, '--model', pretrained.model, '-o', folder, ...flags]);
      expect(status).toBe(5);
      return stderr;
    };
    expect(await encode()).toMatch(/expected a bool array \[2, 64\], found none\ntry: .*--mask FILE\.npy/);
    const small = await writeArray(join(folder, 'small.npy'), zeros('bool', [2, 16]));
    expect(await encode('--mask', small)).toContain('`mask`: expected [2, 64], found [2, 16]');
    const uneven = zeros('bool', [2, 64]);
    uneven.data.fill(1, 0, 32).fill(1, 64, 72);
    const file = await writeArray(join(folder, 'uneven.npy'), uneven);
    expect(await encode('--mask', file)).toContain('found 32, 56');
    const floats = await writeArray(join(folder, 'floats.npy'), zeros('float32', [2, 64]));
    expect(await encode('--mask', floats)).toContain('expected bool, found float32');
  });
});
