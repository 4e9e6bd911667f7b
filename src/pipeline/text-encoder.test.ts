import { mkdtempSync } from 'node:fs';
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { EgolensError } from '../errors.js';
import type { ModelFolder } from '../models/folder.js';
import { tensor } from '../tensor.js';
import { clipTokenizerJson } from '../text/tokenizer.js';
import { toyMerges, toyTokenizer } from '../../test/toy-tokenizer.js';
import type { Progress, Tensor } from '../types.js';
import { openTextSession } from './probe.js';
import { classVectors, openTextEncoder, unitRows, type TextEncoder } from './text-encoder.js';
import { makeToyTwoTower } from '../../test/toy-two-tower.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-texts-'));
const cache = join(base, 'cache', 'text');
const cpu = { device: 'cpu', threads: 1 } as const;
let model: ModelFolder;
let encoder: TextEncoder;

beforeAll(async () => {
  vi.stubEnv('EGOLENS_CACHE_DIR', join(base, 'cache'));
  model = await makeToyTwoTower(join(base, 'clip'));
  encoder = await openTextEncoder(model, cpu);
});
afterAll(async () => {
  await encoder[Symbol.asyncDispose]();
  vi.unstubAllEnvs();
  await rm(base, { recursive: true, force: true });
});

async function faultOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => 'no error',
    (thrown: unknown) => thrown,
  );
  return error instanceof EgolensError ? `${error.code} ${error.message}` : String(error);
}

/** Row `index` of the last axis but one and what lies below it. */
function row(value: Tensor<'float32'>, index: number): number[] {
  const size = value.data.length / value.shape[0]!;
  return [...value.data.subarray(index * size, (index + 1) * size)];
}

/** The tower itself, one text at a time, filled up with zeros to the whole context. */
async function byTower(texts: readonly string[], output: 'text_embed' | 'text_last'): Promise<number[][]> {
  await using session = await openTextSession(model, cpu);
  const rows: number[][] = [];
  for (const text of texts) {
    const ids = new BigInt64Array(12);
    ids.set([517, ...toyTokenizer().encode(text), 518].map(BigInt));
    rows.push([...(await session.run({ tokens: tensor('int64', [1, 12], ids) }, [output]))[output]!.data]);
  }
  return rows;
}

const largest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

describe('the text encoder', () => {
  // More than one run, lengths mixed.
  const texts = Array.from({ length: 70 }, (_, i) => 'on '.repeat(i % 8) + String(i % 10));

  test('gives every text its own vector, whatever is encoded with it and in which order', async () => {
    const features = await encoder.features(texts);
    expect(features.shape).toEqual([70, 16]);
    const expected = await byTower(texts, 'text_embed');
    // float32 sums in another order; a mixed-up row is off by the values themselves.
    for (const [i, values] of expected.entries()) expect(largest(values, row(features, i))).toBeLessThan(2e-6);
    const turned = await encoder.features(texts.toReversed());
    expect(largest(row(turned, 0), row(features, 69))).toBeLessThan(2e-6);
  });

  test('encode divides by the length, and knows the scale that was learned', async () => {
    const [unit, features] = [await encoder.encode(['the thing', 'on']), await encoder.features(['the thing', 'on'])];
    expect(Math.hypot(...row(unit, 0))).toBeCloseTo(1, 6);
    const length = Math.hypot(...row(features, 1));
    expect(
      largest(
        row(unit, 1),
        row(features, 1).map((value) => value / length),
      ),
    ).toBeLessThan(1e-7);
    expect(encoder.embed).toBe(16);
    await using session = await openTextSession(model, cpu);
    const { scale } = await session.run({ tokens: tensor('int64', [1, 2], BigInt64Array.of(517n, 518n)) }, ['scale']);
    expect(encoder.scale).toBe(scale!.data[0]);
  });

  test('token states are those of the tower, zero behind the end token', async () => {
    const { rows, lengths } = await encoder.tokens(['the thing', 'on', '']);
    expect([rows.shape, lengths]).toEqual([
      [3, 5, 24],
      [5, 3, 2],
    ]);
    const expected = await byTower(['the thing', 'on', ''], 'text_last');
    lengths.forEach((length, i) => {
      expect(largest(expected[i]!.slice(0, length * 24), row(rows, i))).toBeLessThan(2e-6);
      expect(
        row(rows, i)
          .slice(length * 24)
          .every((value) => value === 0),
      ).toBe(true);
    });
    expect(encoder.counts(['the thing', 'on', ''])).toEqual(lengths);
  });

  test('no texts give no rows', async () => {
    expect((await encoder.encode([])).shape).toEqual([0, 16]);
    expect((await encoder.tokens([])).rows.shape).toEqual([0, 0, 24]);
  });

  test('reports long lists text by text', async () => {
    const steps: number[] = [];
    const progress: Progress = {
      start: (_, total) => ({ advance: (by) => steps.push(by), stop: () => steps.push(-(total ?? 0)) }),
      note: () => undefined,
      warn: () => undefined,
    };
    await using own = await openTextEncoder(model, { ...cpu, progress });
    await own.encode(['on']);
    await own.encode(texts);
    expect(steps).toEqual([32, 32, 6, -70]);
  });

  test('refuses a text over the context before anything runs, as CLIP does', async () => {
    const long = 'on '.repeat(11);
    expect(await faultOf(encoder.encode(['on', long]))).toMatch(
      /^data.invalid text `.+` \(number 2 of 2\): 13 tokens with start and end, expected at most 12$/,
    );
  });

  test('a ViCLIP model cuts it instead, and has the scale of its official demo', async () => {
    const viclip = await makeToyTwoTower(join(base, 'viclip'), 'viclip');
    await using own = await openTextEncoder(viclip, cpu);
    const found = await own.encode(['on '.repeat(8), 'on '.repeat(9), 'on '.repeat(50)]);
    expect(largest(row(found, 0), row(found, 2))).toBeLessThan(2e-6);
    expect(own.scale).toBe(viclip.spec.text!.scale);
  });

  test('a row of zeros has no direction and stays', () => {
    const rows = unitRows(tensor('float32', [2, 2], Float32Array.of(0, 0, 3, -4)));
    expect([...rows.data]).toEqual([0, 0, Math.fround(0.6), Math.fround(-0.8)]);
  });
});

describe('models that take no text', () => {
  test('without a text tower are told apart from those without a tokenizer', async () => {
    const { text, ...spec } = model.spec;
    expect(text?.embed).toBe(16);
    expect(await faultOf(openTextEncoder({ ...model, spec }, cpu))).toMatch(
      /^model.incomplete toy-clip@\w{12}: a model of family clip has no text tower; expected a two-tower model, such as family clip, viclip or internvideo-mm$/,
    );
    const error: unknown = await openTextEncoder({ ...model, tokenizer: null }, cpu).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'model.incomplete',
      details: { try: expect.stringContaining('--tokenizer') as string },
    });
  });

  test('with a vocabulary of another size, or a damaged one, are refused before the tower is opened', async () => {
    const path = join(base, 'four.json');
    await writeFile(path, clipTokenizerJson(Buffer.from(toyMerges.replace('o n</w>\n', '')), 'four'));
    const other = { ...model, tokenizer: path };
    expect(await faultOf(openTextEncoder(other, { device: 'nowhere' }))).toMatch(
      /^model.config .+: its tokenizer has 518 tokens, its text tower 519; expected as many$/,
    );
    await writeFile(path, '{"model": 3}');
    expect(await faultOf(openTextEncoder(other, { device: 'nowhere' }))).toMatch(
      /^data.invalid .+: model: expected an object/,
    );
  });
});

describe('class vectors', () => {
  const prompts = { classes: ['cut_onion', 'on', 'the thing'], templates: ['on {}', '{} in'] };
  /** No session opens there: what comes back was in the cache. */
  const nowhere = { device: 'nowhere' } as const;

  beforeEach(() => rm(cache, { recursive: true, force: true }));

  test('are the normalised means of the unit vectors of a class in every template', async () => {
    const { vectors, scale, cached } = await classVectors(model, { ...prompts, ...cpu });
    expect([vectors.shape, scale, cached]).toEqual([[3, 16], encoder.scale, false]);
    const each = await encoder.encode([
      'on cut onion',
      'cut onion in',
      'on on',
      'on in',
      'on the thing',
      'the thing in',
    ]);
    for (let i = 0; i < 3; i++) {
      const mean = row(each, 2 * i).map((value, d) => (value + row(each, 2 * i + 1)[d]!) / 2);
      expect(
        largest(
          row(vectors, i),
          mean.map((value) => value / Math.hypot(...mean)),
        ),
      ).toBeLessThan(1e-6);
    }
  });

  test('of a known list come from the cache to the bit, and no session is opened', async () => {
    const first = await classVectors(model, { ...prompts, ...cpu });
    const again = await classVectors(model, { ...prompts, ...nowhere });
    expect(again).toEqual({ ...first, cached: true });
    const spelled = { ...prompts, classes: ['cut onion', ' on', 'the  thing'] };
    expect((await classVectors(model, { ...spelled, ...nowhere })).cached).toBe(true);
  });

  test.each([
    ['another template', { templates: ['on {}', '{} on'] }],
    ['one template less', { templates: ['on {}'] }],
    ['another order', { classes: ['on', 'cut_onion', 'the thing'] }],
    ['another class', { classes: ['cut_onion', 'on', 'the things'] }],
  ])('%s is another list', async (_, change) => {
    await classVectors(model, { ...prompts, ...cpu });
    expect(await faultOf(classVectors(model, { ...prompts, ...change, ...nowhere }))).toMatch(/nowhere/);
  });

  test('another model is another list', async () => {
    await classVectors(model, { ...prompts, ...cpu });
    const other = { ...model, manifest: { ...model.manifest, digest: 'f'.repeat(64) } };
    expect(await faultOf(classVectors(other, { ...prompts, ...nowhere }))).toMatch(/nowhere/);
  });

  test('that were kept damaged are computed anew and kept again', async () => {
    const first = await classVectors(model, { ...prompts, ...cpu });
    const [name] = await readdir(cache);
    const path = join(cache, name!);
    const good = await readFile(path);
    const flipped = Buffer.from(good);
    flipped[600]! ^= 1;
    const scaled = Buffer.from(good.toString('latin1').replace(/"scale":\d/, '"scale":7'), 'latin1');
    for (const bad of [
      flipped,
      scaled,
      good.subarray(0, 600),
      Buffer.concat([good, good]),
      Buffer.alloc(good.length),
    ]) {
      expect(bad.equals(good)).toBe(false);
      await writeFile(path, bad);
      expect(await classVectors(model, { ...prompts, ...cpu })).toEqual(first);
      expect((await readFile(path)).equals(good)).toBe(true);
    }
    // A file of another list under this name is no answer either.
    await classVectors(model, { classes: ['a', 'b', 'c'], templates: ['{}'], ...cpu });
    const other = (await readdir(cache)).find((one) => one !== name)!;
    await copyFile(join(cache, other), path);
    expect(await classVectors(model, { ...prompts, ...cpu })).toEqual(first);
  });

  test('are given with a warning where the cache cannot be written', async () => {
    vi.stubEnv('EGOLENS_CACHE_DIR', join(model.folder, 'model.json', 'below a file'));
    const warnings: string[] = [];
    const progress: Progress = {
      start: () => ({ advance: () => undefined, stop: () => undefined }),
      note: () => undefined,
      warn: (code, message) => warnings.push(`${code} ${message}`),
    };
    try {
      expect((await classVectors(model, { ...prompts, ...cpu, progress })).vectors.shape).toEqual([3, 16]);
      expect(warnings).toEqual([expect.stringMatching(/^output.unwritable class vectors are not kept: /)]);
    } finally {
      vi.stubEnv('EGOLENS_CACHE_DIR', join(base, 'cache'));
    }
  });

  test.each([
    ['no class', { classes: [] }, 'data.invalid `the classes`: expected at least one class name, found none'],
    [
      'the same class twice',
      { classes: ['on', 'On'] },
      'data.invalid `the classes`: number 2: `On` stands in number 1 already',
    ],
    [
      'a template without a place',
      { templates: ['on'] },
      /^data.invalid `the templates`: number 1: expected a template with `{}`/,
    ],
    [
      'too many texts',
      {
        classes: Array.from({ length: 1025 }, (_, i) => `c${i}`),
        templates: Array.from({ length: 1024 }, (_, i) => `${i} {}`),
      },
      /^limit.size 1025 classes in 1024 templates/,
    ],
  ])('%s is refused', async (_, change, message) => {
    const fault = await faultOf(classVectors(model, { ...prompts, ...change, ...nowhere }));
    if (typeof message === 'string') expect(fault).toBe(message);
    else expect(fault).toMatch(message);
  });
});
