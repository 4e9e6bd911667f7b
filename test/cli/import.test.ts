import { existsSync, mkdtempSync } from 'node:fs';
import { cp, mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readNpy } from '../../src/checkpoint/npy.js';
import { EgolensError } from '../../src/errors.js';
import { openFileSource } from '../../src/files.js';
import { readPreset } from '../../src/models/presets.js';
import { importModel, type ImportOptions } from '../../src/pipeline/import-model.js';
import { goldenCase, readWeights, transformersWeights, writeWeights, type Weights } from './models.js';
import { filesBelow, fixtures, records, run, workFolder } from './program.js';

const golden = goldenCase('videomae_ft_mean');
const checkpoint = join(golden, 'checkpoint.pth');
const arch = 'videomae-classifier';
let weights: Map<string, Weights>;
let config: Readonly<Record<string, unknown>>;
beforeAll(async () => {
  weights = await readWeights(checkpoint);
  config = (JSON.parse(await readFile(join(golden, 'case.json'), 'utf8')) as { config: Record<string, unknown> })
    .config;
});

const base = mkdtempSync(join(tmpdir(), 'egolens-import-'));
afterAll(() => rm(base, { recursive: true, force: true }));

/** Code and message of an import that must fail, and leave nothing. */
async function refused(file: string, options: Partial<ImportOptions> = {}): Promise<string> {
  const folder = join(await workFolder(), 'models');
  try {
    await importModel(file, { arch, config: join(golden, 'case.json'), output: join(folder, 'm'), ...options });
  } catch (error) {
    if (!(error instanceof EgolensError)) throw error;
    expect(filesBelow(folder)).toEqual({});
    return `${error.code}: ${error.message}`;
  }
  throw new Error('the import went through');
}

async function variant(change: (changed: Map<string, Weights>) => void): Promise<string> {
  const changed = new Map(weights);
  change(changed);
  return await writeWeights(join(await workFolder(), 'variant.safetensors'), changed);
}

async function jsonFile(value: unknown): Promise<string> {
  const path = join(await workFolder(), 'file.json');
  await writeFile(path, JSON.stringify(value));
  return path;
}

async function probe(model: string, name: string): Promise<ArrayLike<number>> {
  await using source = await openFileSource(join(model, 'probe', `${name}.npy`));
  return (await readNpy(source)).tensor.data as Float32Array; // outputs are float32
}

test('damaged and hostile files end with the code of their fault and leave nothing', async () => {
  const folder = await workFolder();
  const bytes = await readFile(checkpoint);
  const write = async (name: string, content: Uint8Array | string): Promise<string> => {
    await writeFile(join(folder, name), content);
    return join(folder, name);
  };
  for (const share of [0.1, 0.5, 0.9, 0.999]) {
    const cut = await write('cut.pth', bytes.subarray(0, Math.floor(bytes.length * share)));
    expect(await refused(cut), String(share)).toMatch(/^(checkpoint\.format|input\.truncated|checkpoint\.pickle): /);
  }
  const whole = await writeWeights(join(folder, 'whole.safetensors'), weights);
  const safe = await readFile(whole);
  expect(await refused(await write('cut.safetensors', safe.subarray(0, safe.length - 100)))).toMatch(
    /^input\.truncated: .*announces \d+ bytes, found \d+/,
  );
  const liar = Buffer.from(safe);
  liar.writeBigUInt64LE(2n ** 40n, 0);
  expect(await refused(await write('liar.safetensors', liar))).toMatch(/^(limit\.size|checkpoint\.format): /);
  const shape = safe.toString('latin1').replace('"shape":[11,48]', '"shape":[99,48]');
  expect(await refused(await write('shape.safetensors', Buffer.from(shape, 'latin1')))).toMatch(
    /^checkpoint\.format: .*head\.weight.*\[99, 48\]/,
  );
  expect(await refused(await write('empty.pth', ''))).toMatch(/^input\.empty: /);
  expect(await refused(await write('text.pth', 'no checkpoint'))).toMatch(/^checkpoint\.format: /);
  expect(await refused(join(folder, 'none.pth'))).toMatch(/^input\.not_found: /);
  for (const hostile of ['hostile-os-system.pth', 'hostile-nested.pth']) {
    expect(await refused(join(fixtures, 'checkpoints', hostile)), hostile).toMatch(/^(checkpoint|model)\./);
  }
});

test('every tensor and every parameter is accounted for: both sides stand in the message', async () => {
  const removed = await variant((map) => map.delete('blocks.1.mlp.fc2.bias'));
  expect(await refused(removed)).toMatch(
    /^model\.key_unmatched: .*1 parameters.*0 tensors[^]*missing in the file: `blocks\.1\.mlp\.fc2\.bias`/,
  );
  const added = await variant((map) => map.set('blocks.1.extra.weight', { shape: [2], data: new Float32Array(2) }));
  expect(await refused(added)).toMatch(
    /^model\.key_unmatched: .*0 parameters.*1 tensors[^]*not wanted by the graph: `blocks\.1\.extra\.weight`/,
  );
  const renamed = await variant((map) => {
    map.set('head.kernel', map.get('head.weight')!);
    map.delete('head.weight');
  });
  const message = await refused(renamed);
  expect(message).toContain('missing in the file: `head.weight`');
  expect(message).toContain('not wanted by the graph: `head.kernel`');
  const misshapen = await variant((map) => map.set('head.bias', { shape: [12], data: new Float32Array(12) }));
  expect(await refused(misshapen)).toMatch(/^model\.shape: [^]*head\.bias: expected \[11\], found \[12\]/);
  const family = await refused(checkpoint, { arch: 'videomae-b' });
  expect(family).toMatch(/^model\.config: .*videomae-b has 768, the configuration 48/);
  expect(await refused(checkpoint, { arch: 'videomae-zz' })).toMatch(/^model\.unknown_family: .*videomae-zz/);
});

test('a weight that is not finite is named with its value', async () => {
  for (const value of [NaN, Infinity]) {
    const bad = await variant((map) => {
      const { shape, data } = map.get('blocks.0.attn.qkv.weight')!;
      map.set('blocks.0.attn.qkv.weight', { shape, data: data.with(77, value) });
    });
    expect(await refused(bad)).toBe(`data.not_finite: blocks.0.attn.qkv.weight: the checkpoint holds ${value}`);
  }
});

test('each member of a configuration is checked and named', async () => {
  const members = [
    'img_size',
    'patch_size',
    'num_classes',
    'embed_dim',
    'depth',
    'num_heads',
    'mlp_ratio',
    'all_frames',
  ];
  members.push('norm_eps', 'tubelet_size');
  for (const member of members) {
    for (const value of [-1, 'many', ...(member === 'norm_eps' ? [] : [1e9 + 0.5])]) {
      const file = await jsonFile({ ...config, [member]: value });
      const message = await refused(checkpoint, { config: file });
      expect(message, `${member} ${value}`).toMatch(/^model\./);
      if (value === 'many' || value === -1) expect(message).toContain(`\`${member}\`: expected`);
    }
  }
  for (const [member, value] of [
    ['use_mean_pooling', 1],
    ['qkv_bias', 'yes'],
    ['cos_attn', 0],
    ['mean', [1, 2]],
    ['std', [1, 0, 1]],
    ['position_rule', 'random'],
    ['init_values', -1],
  ] as const) {
    expect(await refused(checkpoint, { config: await jsonFile({ ...config, [member]: value }) })).toContain(
      `\`${member}\`: expected`,
    );
  }
  // Values that are possible but not those of the file.
  for (const [member, value] of [
    ['img_size', 40],
    ['all_frames', 9],
    ['num_heads', 5],
    ['patch_size', 8],
    ['num_classes', 12],
    ['embed_dim', 96],
    ['depth', 3],
    ['mlp_ratio', 3],
    ['tubelet_size', 4],
    ['use_mean_pooling', false],
    ['cos_attn', true],
    ['use_learnable_pos_emb', true],
  ] as const) {
    expect(await refused(checkpoint, { config: await jsonFile({ ...config, [member]: value }) }), member).toMatch(
      /^model\.(config|shape|key_unmatched): /,
    );
  }
  const folder = await workFolder();
  await writeFile(join(folder, 'list.json'), '[1]');
  await writeFile(join(folder, 'text.json'), '{');
  expect(await refused(checkpoint, { config: join(folder, 'list.json') })).toMatch(
    /^model\.config: .*expected a JSON object/,
  );
  expect(await refused(checkpoint, { config: join(folder, 'text.json') })).toMatch(/^model\.config: .*no JSON/);
  expect(await refused(checkpoint, { config: join(folder, 'none.json') })).toMatch(/^model\.config: .*ENOENT/);
});

test('labels of another length, presets of another size and names that are paths are refused', async () => {
  const labels = {
    schema: 'egolens.labels/1',
    name: 'ten',
    version: 1,
    order: 'test',
    labels: Array.from({ length: 10 }, (_, i) => `c${i}`),
  };
  expect(await refused(checkpoint, { labels: await jsonFile(labels) })).toMatch(
    /^model\.config: .*10 labels; the model has 11 classes/,
  );
  expect(await refused(checkpoint, { labels: 'k400' })).toMatch(/^model\.config: `k400`: 400 labels; the model has 11/);
  expect(await refused(checkpoint, { labels: await jsonFile({ labels: ['a'] }) })).toMatch(/^data\.invalid: /);
  expect(await refused(checkpoint, { preset: readPreset('ego4d-mq') })).toMatch(
    /^model\.config: .*16 frames at 224 pixels; the model takes 8 frames at 32/,
  );
  for (const name of ['../up', 'a/b', '', '.hidden'])
    expect(await refused(checkpoint, { name })).toMatch(/^usage\.flag: /);
});

describe('imports that go through', () => {
  let reference: string;
  beforeAll(async () => {
    reference = join(base, 'reference');
    await importModel(checkpoint, { arch, config: join(golden, 'case.json'), output: reference });
  });

  test('the same weights as safetensors and under the names of transformers give the same numbers', async () => {
    const folder = await workFolder();
    const plain = await writeWeights(join(folder, 'plain.safetensors'), weights);
    const third = await writeWeights(join(folder, 'third.safetensors'), transformersWeights(weights));
    for (const file of [plain, third]) {
      const output = join(folder, 'model');
      const { manifest } = await importModel(file, { arch, config: join(golden, 'case.json'), output, force: true });
      expect(manifest.source.container).toBe('safetensors');
      for (const name of ['pooled', 'logits', 'out_last'])
        expect(await probe(output, name)).toEqual(await probe(reference, name));
    }
  });

  test('a pre-training file in either spelling is a classifier without its decoder, and says what is left', async () => {
    const folder = await workFolder();
    const path = goldenCase('videomae_pretrain');
    const given = (JSON.parse(await readFile(join(path, 'case.json'), 'utf8')) as { config: Record<string, unknown> })
      .config;
    const { img_size, patch_size, all_frames, tubelet_size } = given;
    const file = await jsonFile({
      img_size,
      patch_size,
      all_frames,
      tubelet_size,
      num_heads: given['encoder_num_heads'],
      num_classes: 0,
    });
    const output = join(folder, 'official');
    const { left } = await importModel(join(path, 'checkpoint.pth'), { arch, config: file, output });
    const why = new Map(left.map(({ key, why: reason }) => [key, reason]));
    expect(why.get('mask_token')).toBe('pre-training only');
    expect(why.get('decoder.head.weight')).toBe('pre-training decoder');
    const third = await writeWeights(
      join(folder, 't.safetensors'),
      transformersWeights(await readWeights(join(path, 'checkpoint.pth'))),
    );
    const other = join(folder, 'third');
    await importModel(third, { arch, config: file, output: other });
    expect(await probe(other, 'pooled')).toEqual(await probe(output, 'pooled'));
  });

  test('statistics that the configuration leaves open are those of the preset', async () => {
    const folder = await workFolder();
    const { mean, std, ...open } = config;
    expect([mean, std]).not.toContain(undefined);
    const preset = readPreset('videomaev2-tad');
    const fitting = { ...preset, sampling: { ...preset.sampling, frames: 8 }, pixels: { ...preset.pixels, size: 32 } };
    const output = join(folder, 'm');
    const { manifest } = await importModel(checkpoint, { arch, config: await jsonFile(open), preset: fitting, output });
    expect(manifest.config).toMatchObject({ mean: [0, 0, 0], std: [1, 1, 1] });
    expect(await probe(output, 'pooled')).not.toEqual(await probe(reference, 'pooled'));
    expect(await refused(checkpoint, { config: await jsonFile(config), preset: fitting })).toMatch(
      /^model\.config: .*mean 0, 0, 0/,
    );
  });

  test('the program prints one record, refuses an existing folder, replaces a model folder with --force and nothing else', async () => {
    const folder = await workFolder();
    const output = join(folder, 'model');
    const args = ['models', 'import', checkpoint, '--arch', arch, '--config', join(golden, 'case.json')];
    const first = await run([...args, '-o', output]);
    expect(first.status, first.stderr).toBe(0);
    expect(await records(first.stdout)).toHaveLength(1);
    const files = filesBelow(output);
    expect(files).toEqual(filesBelow(reference));
    const again = await run([...args, '-o', output]);
    expect([again.status, again.stderr.includes('error output.exists')]).toEqual([2, true]);
    await rm(join(output, 'graph.onnx'));
    expect((await run([...args, '-o', output, '--force'])).status).toBe(0);
    expect(filesBelow(output)).toEqual(files);
    await mkdir(join(folder, 'mine'));
    await writeFile(join(folder, 'mine', 'letters.txt'), 'keep');
    expect((await run([...args, '-o', join(folder, 'mine'), '--force'])).status).toBe(2);
    expect(existsSync(join(folder, 'mine', 'letters.txt'))).toBe(true);
    const below = await run([...args, '-o', join(folder, 'mine', 'letters.txt', 'm')]);
    expect([below.status, below.stderr.includes('output.unwritable')]).toEqual([2, true]);
    expect((await readdir(folder)).sort()).toEqual(['mine', 'model']);
  });

  test('models verify finds a changed byte and a changed probe', async () => {
    const folder = await workFolder();
    const model = join(folder, 'm');
    await cp(reference, model, { recursive: true });
    expect((await run(['models', 'verify', model, '--device', 'cpu'])).status).toBe(0);
    const file = await open(join(model, 'probe', 'pooled.npy'), 'r+');
    await file.write(Float32Array.of(9), 0, 4, 128);
    await file.close();
    const probed = await run(['models', 'verify', model, '--device', 'cpu']);
    expect([probed.status, probed.stderr.includes('model.probe')]).toEqual([6, true]);
    const bytes = await open(join(model, 'weights.bin'), 'r+');
    await bytes.write(Uint8Array.of(1), 0, 1, 4096);
    await bytes.close();
    const hashed = await run(['models', 'verify', model, '--device', 'cpu']);
    expect([hashed.status, hashed.stderr.includes('model.digest')]).toEqual([6, true]);
  });
});
