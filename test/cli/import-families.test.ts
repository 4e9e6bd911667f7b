import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EgolensError } from '../../src/errors.js';
import { packageRoot } from '../../src/files.js';
import type { Graph } from '../../src/graph/builder.js';
import { openModelFolder } from '../../src/models/folder.js';
import { families, familyOf } from '../../src/models/index.js';
import { account, configure, openSources } from '../../src/pipeline/import-sources.js';
import { importModel, type ImportOptions } from '../../src/pipeline/import-model.js';
import { graphsOf } from '../../src/pipeline/model-writer.js';
import { verifyModels } from '../../src/pipeline/models.js';
import { untrainedNano, makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { toyTokenizerJson } from '../toy-tokenizer.js';
import type { StateDict } from '../../src/types.js';
import { discoverCases } from '../golden/cases.js';
import { readWeights, writeWeights, type Weights } from './models.js';
import { legacyPth, scriptPth, zipPth } from './pth.js';
import { filesBelow } from './program.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-families-'));
afterAll(() => rm(base, { recursive: true, force: true }));

/** One official checkpoint of a family, with its parts and its configuration. */
interface Sample {
  readonly family: string;
  readonly file: string;
  readonly parts: Readonly<Record<string, string>>;
  readonly config: string;
}

/** The smallest configuration of a family without official files; its checkpoint is seeded. */
const withoutFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  internvideo2: {
    ...{ img_size: 28, num_frames: 4, embed_dim: 16, depth: 2, num_heads: 2, mlp_ratio: 3, num_classes: 5 },
    ...{ attn_pool_num_heads: 4, clip_embed_dim: 12 },
  },
};

const goldenCases = discoverCases(join(packageRoot, 'fixtures', 'golden'));

/** The first case of a family in fixtures/golden. */
function sampleOf(family: string): Sample | undefined {
  const path = goldenCases.find((one) => one.family === `encoder/${family}`)?.path;
  if (path === undefined) return undefined;
  const { checkpoint } = JSON.parse(readFileSync(join(path, 'case.json'), 'utf8')) as {
    readonly checkpoint: { readonly file?: string; readonly files?: Readonly<Record<string, string>> };
  };
  const names = Object.keys(familyOf(family).family.parts ?? {});
  const files = Object.keys(checkpoint.files ?? { [checkpoint.file!]: '' });
  const part = (file: string): string => basename(file, extname(file));
  return {
    family,
    file: join(
      path,
      files.find((file) => !names.includes(part(file)))!,
    ),
    parts: Object.fromEntries(
      files.filter((file) => names.includes(part(file))).map((file) => [part(file), join(path, file)]),
    ),
    config: join(path, 'case.json'),
  };
}

const sampled = families.flatMap(({ name }) => sampleOf(name) ?? []);
const sample = (family: string): Sample => sampled.find((one) => one.family === family)!; // tests name families that have a case

async function opened<T>(
  { family, file, parts, config }: Sample,
  use: (sources: Awaited<ReturnType<typeof openSources>>, given: Record<string, unknown>) => T | Promise<T>,
): Promise<T> {
  await using sources = await openSources(file, { arch: family, with: parts });
  const { config: given } = JSON.parse(readFileSync(config, 'utf8')) as { config: Record<string, unknown> };
  return await use(sources, given);
}

/** Code and message of what fails. */
async function fault(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof EgolensError)) throw error;
    return `${error.code}: ${error.message}\ntry: ${error.details.try ?? ''}`;
  }
  throw new Error('it went through');
}

/** An import that must fail and leave nothing. */
async function refused(file: string, options: Partial<ImportOptions> & { arch: string }): Promise<string> {
  const folder = join(base, 'refused');
  const said = await fault(() => importModel(file, { output: join(folder, 'm'), ...options }));
  expect(filesBelow(folder)).toEqual({});
  return said;
}

test('every family but those without parity data has an official checkpoint here', () => {
  const without = families.filter(({ name }) => sampled.every((one) => one.family !== name));
  expect(without.map(({ parity }) => parity)).toEqual(without.map(() => 'no parity data'));
  expect(without.map(({ name }) => name).sort()).toEqual(Object.keys(withoutFiles).sort());
});

describe('every tensor and every parameter is accounted for', () => {
  const without = (tensors: StateDict, key: string): StateDict => {
    const rest = new Map(tensors);
    rest.delete(key);
    return rest;
  };

  test.each(sampled)('of $family: no key may be missing, none may be too many', async (one) => {
    await opened(one, (sources, config) => {
      const { spec, graphs, left } = configure(sources, { config }, { build: graphsOf });
      const built: Graph[] = [...graphs.values()];
      const optional = new Set(left.map(({ key }) => key));
      const survived: string[] = [];
      for (const key of sources.tensors.keys()) {
        if (optional.has(key)) continue;
        try {
          account(built, spec.adapt(without(sources.tensors, key)), spec, 'x');
          survived.push(key);
        } catch (error) {
          if (!(error instanceof EgolensError) || !/^model\./.test(error.code)) throw error;
        }
      }
      expect(survived).toEqual([]);
      const [first, value] = [...sources.tensors].find(([key]) => !optional.has(key))!; // a model has parameters
      const added = new Map(sources.tensors).set(`${first}.extra`, value);
      expect(() => account(built, spec.adapt(added), spec, 'x')).toThrow(`\`${first}.extra\``);
    });
  });

  test.each(sampled.filter(({ parts }) => Object.keys(parts).length > 0))(
    'of $family: a key of a part is named with the part',
    async (one) => {
      await opened(one, (sources, config) => {
        const { spec, graphs } = configure(sources, { config }, { build: graphsOf });
        for (const part of Object.keys(one.parts)) {
          const key = [...sources.tensors.keys()].find((name) => name.startsWith(`${part}.`))!;
          const said = (): unknown =>
            account([...graphs.values()], spec.adapt(without(sources.tensors, key)), spec, 'x');
          expect(said).toThrow(`${part}.`);
        }
      });
    },
  );
});

describe('containers', () => {
  /** What an import would read: parameter -> its values. */
  async function valuesOf(one: Sample): Promise<Map<string, number[]>> {
    return await opened(one, async (sources, config) => {
      const { matched } = configure(sources, { config }, { build: graphsOf });
      const values = new Map<string, number[]>();
      for (const [name, stored] of matched) {
        const numbers: number[] = [];
        for await (const chunk of stored.chunks()) numbers.push(...chunk);
        values.set(name, numbers);
      }
      return values;
    });
  }

  const prefixed = (weights: ReadonlyMap<string, Weights>, prefix: string): Map<string, Weights> =>
    new Map([...weights].map(([name, value]) => [prefix + name, value]));

  test.each(sampled.filter(({ family }) => !family.startsWith('videomae')))(
    'of $family: zip, legacy, TorchScript and safetensors, flat and wrapped, give the same values',
    async (one) => {
      const expected = await valuesOf(one);
      const weights = await readWeights(one.file);
      const folder = join(base, `containers-${one.family}`);
      await mkdir(folder);
      const files: readonly (readonly [name: string, bytes: Buffer])[] = [
        ['flat.pth', zipPth(weights)],
        ['trainer.pyth', zipPth(weights, { key: 'model_state', prefix: 'backbone.' })],
        ['parallel.ckpt', zipPth(weights, { key: 'state_dict', prefix: 'module.' })],
        ['deepspeed.pt', zipPth(weights, { key: 'module' })],
        ['legacy.pth', legacyPth(weights, { key: 'model', prefix: '_orig_mod.' })],
        ['script.pt', scriptPth(weights)],
      ];
      for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
      await writeWeights(join(folder, 'flat.safetensors'), weights);
      await writeWeights(join(folder, 'prefix.safetensors'), prefixed(weights, 'backbone.'));
      for (const name of (await readdir(folder)).sort()) {
        expect(await valuesOf({ ...one, file: join(folder, name) }), name).toEqual(expected);
      }
    },
  );
});

describe('the family of a file', () => {
  test.each(sampled)('$family recognises its own file and no other does: --arch auto takes it', async (one) => {
    await using sources = await openSources(one.file, { arch: 'auto', with: one.parts });
    expect(sources.family.name).toBe(one.family);
  });

  test('a file of another family is named with what it looks like', async () => {
    const pairs = sampled.flatMap((one) =>
      sampled.filter(({ family }) => family !== one.family).map((other) => [one, other] as const),
    );
    for (const [one, other] of pairs) {
      if (Object.keys(one.parts).length > 0) continue;
      // A pre-training file is a classifier that lacks its head, and may be imported as one.
      if (one.family.startsWith('videomae') && other.family.startsWith('videomae')) continue;
      const said = await fault(async () => {
        await opened({ ...one, file: other.file }, (sources, config) =>
          configure(sources, { config }, { build: graphsOf }),
        );
      });
      expect(said, `${other.family} as ${one.family}`).toMatch(/^model\./);
      expect(said, `${other.family} as ${one.family}`).toContain(`looks like \`${other.family}\``);
      expect(said).toContain(`try: \`--arch ${other.family}\``);
    }
  });

  test('--arch auto refuses a file that no family knows', async () => {
    const file = await writeWeights(
      join(base, 'strange.safetensors'),
      new Map([['conv.weight', { shape: [1], data: Float32Array.of(1) }]]),
    );
    expect(await refused(file, { arch: 'auto' })).toMatch(/^model\.unknown_family: .*those of no family/);
  });
});

describe('parts', () => {
  test('all of them and no others, each a file of its own family', async () => {
    for (const { family, file, parts, config } of sampled.filter((one) => Object.keys(one.parts).length > 0)) {
      const [first, ...rest] = Object.entries(parts);
      expect(await refused(file, { arch: family, config })).toMatch(
        /^usage\.conflict: .*expected the checkpoints of these parts: \w+, \w+; found none/,
      );
      expect(await refused(file, { arch: family, config, with: Object.fromEntries(rest) })).toMatch(/^usage\.conflict/);
      expect(await refused(file, { arch: family, config, with: { ...parts, third: file } })).toMatch(
        /^usage\.conflict: .*found \w+, \w+, third/,
      );
      expect(await refused(file, { arch: family, config, with: { ...parts, [first![0]]: base } })).toMatch(
        /^input\.not_a_file: .*found a folder/,
      );
      const strange = { ...parts, [first![0]]: sample('viclip').file };
      expect(await refused(file, { arch: family, config, with: strange })).toMatch(
        new RegExp(`looks like \`viclip\`; --with ${first![0]} takes a file of family`),
      );
    }
    const { family, file, config } = sample('viclip');
    expect(await refused(file, { arch: family, config, with: { masked: file } })).toMatch(
      /^usage\.conflict: viclip: expected the checkpoints of these parts: none; found masked/,
    );
  });

  test('their configuration is read off their keys where the file leaves it out, and model.json names every source', async () => {
    for (const one of sampled.filter(({ parts }) => Object.keys(parts).length > 0)) {
      const { config } = JSON.parse(readFileSync(one.config, 'utf8')) as { config: Record<string, object> };
      const open = structuredClone(config) as Record<string, Record<string, unknown>>;
      for (const part of Object.keys(one.parts)) delete open[part]!['num_classes'];
      const file = join(base, 'open.json');
      await writeFile(file, JSON.stringify(open));
      const output = join(base, 'parts');
      const { manifest } = await importModel(one.file, { arch: one.family, config: file, with: one.parts, output });
      expect(manifest.kind).toBe('coordination');
      expect(Object.keys(manifest.source.with ?? {})).toEqual(Object.keys(one.parts));
      for (const [part, path] of Object.entries(one.parts)) {
        expect(manifest.config[part]).toMatchObject({ num_classes: 9 });
        expect(manifest.source.with![part]).toMatchObject({ name: basename(path), bytes: readFileSync(path).length });
      }
    }
  });
});

describe('two-tower models', () => {
  let model: string;
  let warnings: string[];
  const { family, file, config } = sample('viclip');
  beforeAll(async () => {
    model = join(base, 'viclip');
    warnings = [];
    const progress = {
      start: () => ({ advance: () => undefined, stop: () => undefined }),
      note: () => undefined,
      warn: (code: string, message: string) => void warnings.push(`${code}: ${message}`),
    };
    await importModel(file, { arch: family, config, output: model, progress });
  });

  test('the folder has both towers over one weights file, and says what the program computes of them', async () => {
    const { manifest, tokenizer } = await openModelFolder(model);
    expect(manifest.kind).toBe('two-tower');
    expect(Object.keys(manifest.files)).toEqual(expect.arrayContaining(['text.onnx', 'text.webgpu.onnx']));
    expect(Object.keys(manifest.files).filter((name) => name.endsWith('.bin'))).toEqual(['weights.bin']);
    expect(manifest.inputs['tokens']).toMatchObject({ dtype: 'int64', shape: ['rows', 'length'] });
    expect(manifest.outputs['similarity']).toMatchObject({ shape: ['batch', 'rows'] });
    expect(manifest.outputs['similarity']!.meaning).toContain('computed by the program');
    expect(tokenizer).toBeNull();
  });

  test('without a vocabulary it says that it takes no text', () => {
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^model\.incomplete: .*no tokenizer.*--tokenizer FILE/);
  });

  test('models verify computes the text tower again', async () => {
    const options = { all: false, device: 'cpu', signal: new AbortController().signal };
    const progress = {
      start: () => ({ advance: () => undefined, stop: () => undefined }),
      note: () => undefined,
      warn: () => undefined,
    };
    for await (const { record, error } of verifyModels([model], { ...options, progress })) {
      expect(error).toBeUndefined();
      expect(Object.keys(record!.outputs)).toEqual(expect.arrayContaining(['video_embed', 'text_last', 'text_embed']));
    }
    expect(existsSync(join(model, 'probe', 'text.npy'))).toBe(true);
  });

  test('a vocabulary of another size, damaged, or of a model without texts is refused, and so are labels', async () => {
    const toy = join(base, 'toy.json'); // 519 tokens; the model has 512
    await writeFile(toy, toyTokenizerJson());
    expect(await refused(file, { arch: family, config, tokenizer: toy })).toMatch(
      /^model\.config: .*519 tokens; the text tower has 512/,
    );
    expect(await refused(file, { arch: family, config, labels: 'k400' })).toMatch(/^usage\.conflict: .*has no classes/);
    const bad = join(base, 'bad.json');
    await writeFile(bad, '{"model":{}}');
    expect(await refused(file, { arch: family, config, tokenizer: bad })).toMatch(/^data\.invalid: /);
    expect(await refused(file, { arch: family, config, tokenizer: join(base, 'none.json') })).toMatch(
      /^input\.not_found/,
    );
    const classifier = sample('uniformerv2');
    const { file: other, config: own } = classifier;
    expect(await refused(other, { arch: 'uniformerv2', config: own, tokenizer: toy })).toMatch(
      /^usage\.conflict: .*family uniformerv2 has no text tower/,
    );
  });
});

describe('seeded models', () => {
  test.each([...sampled.map(({ family }) => family), ...Object.keys(withoutFiles)])(
    '%s: the same seed gives the same folder',
    async (family) => {
      const own = withoutFiles[family];
      const given =
        own ??
        (JSON.parse(readFileSync(sample(family).config, 'utf8')) as { config: typeof untrainedNano.config }).config;
      const make = async (): Promise<Record<string, string>> => {
        const folder = join(base, 'seeded');
        const { manifest } = await makeSeededModel(folder, { name: 'tiny', arch: family, config: given, seed: 1 });
        expect(manifest).toMatchObject({ family, trained: 'untrained' });
        return filesBelow(folder);
      };
      const first = await make();
      expect(await make()).toEqual(first);
    },
  );

  test('the embedded default comes out of its seed to the byte; another seed gives other weights', async () => {
    const folder = join(base, 'default');
    await makeSeededModel(folder, untrainedNano);
    const files = filesBelow(folder);
    expect(files).toEqual(filesBelow(join(packageRoot, 'fixtures', 'models', untrainedNano.name)));
    await makeSeededModel(folder, { ...untrainedNano, seed: 1 });
    expect(filesBelow(folder)['weights.bin']).not.toBe(files['weights.bin']);
  });

  test('a two-tower model brings its vocabulary', async () => {
    const tokenizer = join(base, 'toy.json');
    await writeFile(tokenizer, toyTokenizerJson());
    const { config } = JSON.parse(readFileSync(sample('viclip').config, 'utf8')) as { config: Record<string, never> };
    const text = { ...(config['text'] as unknown as Record<string, number>), vocab_size: 519 };
    const folder = join(base, 'seeded-viclip');
    await makeSeededModel(folder, { name: 'toy', arch: 'viclip', config: { ...config, text }, seed: 0, tokenizer });
    const model = await openModelFolder(folder);
    expect(readFileSync(model.tokenizer!, 'utf8')).toBe(toyTokenizerJson());
    expect(model.manifest.source.tokenizer).toMatchObject({ name: 'toy.json' });
    // A smaller vocabulary is not the model's either, and no command would take it.
    const larger = { ...config, text: { ...text, vocab_size: 520 } };
    await expect(
      makeSeededModel(folder, { name: 'toy', arch: 'viclip', config: larger, seed: 0, tokenizer }),
    ).rejects.toMatchObject({ code: 'model.config' });
  });
});
