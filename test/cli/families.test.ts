import { mkdtempSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readNpy, writeNpy } from '../../src/checkpoint/npy.js';
import { parsePairs } from '../../src/cli/flags.js';
import { EgolensError } from '../../src/errors.js';
import { openFileSource, packageRoot } from '../../src/files.js';
import { families, familyOf } from '../../src/models/index.js';
import { encodeArrays, type EncodeOptions } from '../../src/pipeline/encode.js';
import { importModel } from '../../src/pipeline/import-model.js';
import { tensor, zeros } from '../../src/tensor.js';
import type { AnyTensor } from '../../src/types.js';
import { discoverCases } from '../golden/cases.js';
import { egolens } from './command.js';
import { filesBelow, records } from './program.js';

/** The way of a golden case through the real program: cli.md 6, contracts 2 and 3. */

const base = mkdtempSync(join(tmpdir(), 'egolens-contract-'));
afterAll(() => rm(base, { recursive: true, force: true }));

interface Case {
  readonly family: string;
  readonly checkpoint: { readonly file?: string; readonly files?: Readonly<Record<string, string>> };
  readonly files: Readonly<Record<string, { readonly role: string }>>;
  readonly outputs: Readonly<Record<string, { file?: string; value?: number; tolerance: { fp32_max_abs: number } }>>;
}

const cases = discoverCases(join(packageRoot, 'fixtures', 'golden'));
const pathOf = (family: string): string => cases.find((one) => one.family === `encoder/${family}`)!.path; // asked for those that have one
const caseOf = (path: string): Case => JSON.parse(readFileSync(join(path, 'case.json'), 'utf8')) as Case;
const stem = (file: string): string => basename(file, extname(file));

async function readArray(path: string): Promise<AnyTensor> {
  await using source = await openFileSource(path);
  return (await readNpy(source)).tensor;
}

async function writeArray(path: string, value: AnyTensor): Promise<string> {
  await writeFile(path, writeNpy(value));
  return path;
}

const numbers = (value: AnyTensor): number[] => Array.from(value.data as ArrayLike<number | bigint>, Number);

/** What stands after the name of the command to import a case, and to encode its arrays. */
function commandLines(path: string): { readonly imported: string[]; readonly encoded: string[] } {
  const { family, checkpoint, files } = caseOf(path);
  const parts = Object.keys(familyOf(family).family.parts ?? {});
  const checkpoints = Object.keys(checkpoint.files ?? { [checkpoint.file!]: '' });
  const inputs = Object.keys(files).filter((file) => files[file]!.role === 'input');
  const second = inputs.filter((file) => parts.slice(1).some((part) => file === `frames_${part}.npy`));
  const frames = inputs.find((file) => file.startsWith('frames') && !second.includes(file))!;
  const flag = (name: string): string[] =>
    inputs.includes(`${name}.npy`) ? [`--${name.replace('_', '-')}`, join(path, `${name}.npy`)] : [];
  return {
    imported: [
      ...[
        join(
          path,
          checkpoints.find((file) => !parts.includes(stem(file)))!,
        ),
        '--arch',
        family,
      ],
      ...['--config', join(path, 'case.json')],
      ...parts.flatMap((part) => [
        '--with',
        `${part}=${join(
          path,
          checkpoints.find((file) => stem(file) === part)!,
        )}`,
      ]),
    ],
    encoded: [
      ...[join(path, frames), ...flag('tokens'), ...flag('mask'), ...flag('decode_mask')],
      ...second.flatMap((file) => ['--input', `${stem(file).slice('frames_'.length)}=${join(path, file)}`]),
    ],
  };
}

async function expectOutputs(path: string, folder: string): Promise<void> {
  for (const [name, { file, value, tolerance }] of Object.entries(caseOf(path).outputs)) {
    const expected =
      file === undefined ? tensor('float32', [], Float32Array.of(value!)) : await readArray(join(path, file));
    const found = await readArray(join(folder, `${name}.npy`));
    expect([found.dtype, found.shape], name).toEqual(['float32', expected.shape]);
    const was = numbers(expected);
    const worst = numbers(found).reduce((most, is, i) => Math.max(most, Math.abs(is - was[i]!)), 0);
    expect(worst, name).toBeLessThanOrEqual(tolerance.fp32_max_abs);
  }
}

describe('a golden case through the program', () => {
  const sampled = families
    .map(({ name }) => name)
    .filter((name) => cases.some(({ family }) => family === `encoder/${name}`));

  test.each(sampled)('%s: models import and encode give the outputs of the official code', async (family) => {
    const path = pathOf(family);
    const { imported, encoded } = commandLines(path);
    const [model, out] = [join(base, family), join(base, `${family}-out`)];
    const first = await egolens(['models', 'import', ...imported, '-o', model]);
    expect(first.code, first.stderr).toBe(0);
    expect(await records(first.stdout)).toMatchObject([{ schema: 'egolens.imported/1', family, missing: 0 }]);
    const second = await egolens(['encode', ...encoded, '--model', model, '-o', out, '--device', 'cpu']);
    expect(second.code, second.stderr).toBe(0);
    expect(await records(second.stdout)).toMatchObject([{ schema: 'egolens.encoded/1', output: out }]);
    await expectOutputs(path, out);
  });

  test('a two-tower model: its graphs are printed and its text tower is verified', async () => {
    const model = join(base, 'clip');
    const graphs = await egolens(['models', 'inspect', model, '--graph']);
    expect(graphs.stdout.match(/^# .*$/gm)!.slice(4)).toEqual(['# text.onnx', '# text.webgpu.onnx']);
    const verified = await egolens(['models', 'verify', model, '--device', 'cpu']);
    expect(verified.code, verified.stderr).toBe(0);
    const [record] = await records(verified.stdout);
    expect(Object.keys(record!['outputs'] as object)).toEqual(expect.arrayContaining(['image_embed', 'text_embed']));
    const list = await egolens(['models', 'list', '--format', 'csv'], { env: { EGOLENS_MODELS_DIR: base } });
    expect(list.stdout).toMatch(/^checkpoint@[0-9a-f]{12},two-tower,clip,,/m);
    expect(list.stdout.split('\n')[0]).toMatch(/^model,kind,family,parity,/);
  });

  test('a repeated flag of pairs takes each name once', () => {
    expect(parsePairs('--with', ['masked=a=b.pth', 'multimodal=c'])).toEqual({ masked: 'a=b.pth', multimodal: 'c' });
    expect(parsePairs('--with', [])).toEqual({});
    for (const wrong of ['multimodal', '=x', 'a=', 'a b=c', ''])
      expect(() => parsePairs('--input', [wrong])).toThrow(`--input \`${wrong}\`: expected NAME=FILE`);
    expect(() => parsePairs('--input', ['a=1', 'a=2'])).toThrow('--input a=…: given twice');
  });
});

describe('arrays', () => {
  const models: Record<string, string> = {};
  const work = join(base, 'arrays');
  beforeAll(async () => {
    await mkdir(work);
    for (const family of ['clip', 'internvideo-mm', 'uniformerv2', 'cross-model-attention']) {
      const path = pathOf(family);
      const { imported } = commandLines(path);
      const parts = imported.flatMap((value, i) =>
        imported[i - 1] === '--with' ? [value.split('=') as [string, string]] : [],
      );
      models[family] = join(work, family);
      await importModel(imported[0]!, {
        arch: family,
        config: join(path, 'case.json'),
        with: Object.fromEntries(parts),
        output: models[family],
      });
    }
  });

  type Given = Partial<EncodeOptions> & { readonly frames?: string };

  async function encode(family: string, { frames, ...options }: Given, out = join(work, 'out')): Promise<string> {
    await rm(out, { recursive: true, force: true });
    const file = frames ?? join(pathOf(family), 'frames.npy');
    const all = { model: models[family]!, output: out, arrays: {}, device: 'cpu', ...options };
    for await (const { folder } of encodeArrays([file], all)) return folder;
    throw new Error('nothing was encoded');
  }

  /** Code and message of arrays that are refused before anything is written. */
  async function refused(family: string, options: Given): Promise<string> {
    const out = join(work, 'refused');
    try {
      await encode(family, options, out);
    } catch (error) {
      if (!(error instanceof EgolensError)) throw error;
      expect(filesBelow(out)).toEqual({});
      return `${error.code}: ${error.message}`;
    }
    throw new Error('it went through');
  }

  test('without tokens a two-tower model gives its picture outputs alone; one picture has a batch axis too', async () => {
    const out = await encode('clip', {});
    expect(Object.keys(filesBelow(out)).sort()).toEqual(['image_embed.npy', 'tokens.npy']);
    const { shape, data } = (await readArray(join(pathOf('clip'), 'frames.npy'))) as AnyTensor & { dtype: 'uint8' };
    const [, h, w] = shape as [number, number, number, number];
    const frames = await writeArray(join(work, 'one.npy'), tensor('uint8', [h, w, 3], data.slice(0, h * w * 3)));
    const one = await readArray(join(await encode('clip', { frames }, join(work, 'one')), 'image_embed.npy'));
    const all = numbers(await readArray(join(out, 'image_embed.npy')));
    expect(one.shape[0]).toBe(1);
    numbers(one).forEach((value, i) => {
      expect(value).toBeCloseTo(all[i]!, 5);
    });
  });

  test('pictures of another size, and videos for an image model, are refused', async () => {
    const bytes = await writeArray(join(work, 'large.npy'), zeros('uint8', [2, 48, 48, 3]));
    expect(await refused('clip', { frames: bytes })).toMatch(/^data\.shape: .*\[b, h, w, 3\] = \[b, 32, 32, 3\]/);
    const video = await writeArray(join(work, 'video.npy'), zeros('uint8', [1, 8, 32, 32, 3]));
    expect(await refused('clip', { frames: video })).toMatch(/^data\.shape: .*found uint8 \[1, 8, 32, 32, 3\]/);
    const floats = await writeArray(join(work, 'floats.npy'), zeros('float32', [2, 32, 32, 3]));
    expect(await refused('clip', { frames: floats })).toMatch(/^data\.shape: .*\[b, 3, h, w\] = \[b, 3, 32, 32\]/);
  });

  test('tokens beyond the context or the vocabulary, and of another type, are refused with the place', async () => {
    const write = async (value: AnyTensor): Promise<Given> => ({
      tokens: await writeArray(join(work, 't.npy'), value),
    });
    const ids = (rows: readonly (readonly number[])[]): AnyTensor =>
      tensor('int64', [rows.length, rows[0]!.length], BigInt64Array.from(rows.flat(), BigInt));
    const { text } = (caseOf(pathOf('clip')) as unknown as { config: { text: Record<string, number> } }).config;
    const [context, vocabulary, width] = [text['context_length']!, text['vocab_size']!, text['width']!];
    expect(await refused('clip', await write(zeros('int64', [1, context + 1])))).toMatch(
      new RegExp(`^data\\.shape: .*length at most ${context}, .*found int64 \\[1, ${context + 1}\\]`),
    );
    expect(await refused('clip', await write(zeros('int64', [4])))).toMatch(/^data\.shape: .*\[rows, length\]/);
    expect(await refused('clip', await write(zeros('int64', [0, 4])))).toMatch(/^data\.shape: /);
    expect(await refused('clip', await write(zeros('float32', [1, 4])))).toMatch(/^data\.dtype: .*found float32/);
    expect(
      await refused(
        'clip',
        await write(
          ids([
            [1, 2],
            [3, vocabulary],
          ]),
        ),
      ),
    ).toMatch(
      new RegExp(`^data\\.invalid: .*row 1, token 1: expected an id from 0 to ${vocabulary - 1} .*found ${vocabulary}`),
    );
    const most = Math.ceil(2 ** 31 / (4 * context * width)); // rows of `text_last` in 2 GiB of float32
    expect(await refused('clip', await write(zeros('uint8', [most + 1, context])))).toMatch(
      new RegExp(`^limit\\.size: .*${most + 1} rows: output \`text_last\` \\[${most + 1}, `),
    );
    expect(await refused('clip', await write(ids([[-1, 2]])))).toMatch(/^data\.invalid: .*row 0, token 0.*found -1/);
  });

  test('tokens are refused where nothing needs them, and missed where an output does', async () => {
    const tokens = join(pathOf('clip'), 'tokens.npy');
    expect(await refused('uniformerv2', { tokens })).toMatch(/^usage\.conflict: .*has no text tower/);
    expect(await refused('clip', { tokens, outputs: ['image_embed'] })).toMatch(
      /^usage\.conflict: .*none of the outputs/,
    );
    expect(await refused('clip', { outputs: ['logits_per_image'] })).toMatch(/^usage\.conflict: .*needs the token ids/);
    expect(await refused('clip', { outputs: ['similarities'] })).toMatch(/^usage\.flag: .*has image_embed/);
  });

  test('outputs of both towers need no other output; shorter rows give the same vectors', async () => {
    const tokens = join(pathOf('clip'), 'tokens.npy');
    const out = await encode('clip', { tokens, outputs: ['logits_per_image'] });
    expect(Object.keys(filesBelow(out))).toEqual(['logits_per_image.npy']);
    const was = numbers(await readArray(join(out, 'logits_per_image.npy')));
    const whole = await readArray(tokens);
    const [rows, context] = whole.shape as [number, number];
    const all = numbers(whole);
    const used = all.reduce((most, id, i) => (id === 0 ? most : Math.max(most, i % context)), 0) + 1;
    expect(used).toBeLessThanOrEqual(context);
    const cut = Array.from({ length: rows }, (_, i) => all.slice(i * context, i * context + used)).flat();
    const short = await writeArray(join(work, 'short.npy'), tensor('int32', [rows, used], Int32Array.from(cut)));
    const is = numbers(await readArray(join(await encode('clip', { tokens: short }), 'logits_per_image.npy')));
    expect(Math.max(...is.map((value, i) => Math.abs(value - was[i]!)))).toBeLessThan(1e-4);
  });

  test.each(['internvideo-mm', 'uniformerv2'])(
    '%s: any batching gives the same arrays, whichever axis is the batch',
    async (family) => {
      const first = (await readArray(join(pathOf(family), 'frames.npy'))) as AnyTensor & { dtype: 'uint8' };
      const window = first.shape.slice(-4);
      const data = Uint8Array.from(
        { length: 3 * window.reduce((a, b) => a * b, 1) },
        (_, i) => first.data[(i * 7) % first.data.length]!,
      );
      const frames = await writeArray(join(work, `three-${family}.npy`), tensor('uint8', [3, ...window], data));
      const whole = await encode(family, { frames, batch: 3 }, join(work, 'whole'));
      const pieces = await encode(family, { frames, batch: 2 }, join(work, 'pieces'));
      const names = Object.keys(filesBelow(whole));
      expect(names).toContain('out_last.npy');
      for (const name of names) {
        const [a, b] = [await readArray(join(whole, name)), await readArray(join(pieces, name))];
        expect(b.shape, name).toEqual(a.shape);
        const was = numbers(a);
        const scale = Math.max(...was.map(Math.abs));
        const worst = numbers(b).reduce((most, value, i) => Math.max(most, Math.abs(value - was[i]!)), 0);
        expect(worst / scale, name).toBeLessThan(1e-5);
      }
    },
  );

  test('a second stream is missed, and refused in another shape or beside floats', async () => {
    const family = 'cross-model-attention';
    const path = pathOf(family);
    const frames = join(path, 'frames_masked.npy');
    const multimodal = join(path, 'frames_multimodal.npy');
    expect(await refused(family, { frames })).toMatch(/^data\.shape: `multimodal`: .*found none/);
    expect(await refused(family, { frames, arrays: { multimodal: frames } })).toMatch(/^data\.shape: `multimodal`/);
    expect(await refused(family, { frames, arrays: { multimodal, third: frames } })).toMatch(/^data\.invalid: `third`/);
    const floats = await writeArray(join(work, 'masked.npy'), zeros('float32', [1, 3, 8, 32, 32]));
    expect(await refused(family, { frames: floats, arrays: { multimodal } })).toMatch(
      /^data\.dtype: .*multimodal: expected float32, found uint8/,
    );
  });
});
