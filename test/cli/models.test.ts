import { cpSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readNpy, writeNpy } from '../../src/checkpoint/npy.js';
import { memorySource } from '../../src/checkpoint/bytes.js';
import { headFamilies } from '../../heads/index.js';
import { families } from '../../src/models/index.js';
import { packageRoot as root } from '../../src/files.js';
import { egolens, temporaryFolder } from './command.js';
import { records } from './program.js';

const folder = temporaryFolder();
/** The model that comes with the program, under any name. */
const embedded = join(root, 'fixtures', 'models', 'videomae-nano-untrained');
const golden = join(root, 'fixtures', 'golden', 'encoder', 'videomae_ft_mean');

function copyOfModel(name: string): string {
  const path = join(folder, name);
  cpSync(embedded, path, { recursive: true });
  return path;
}

/** The embedded heads: one for every track, and the detector of one of them. */
const familyOfHead: Readonly<Record<string, string>> = {
  'tabletop-actions': 'linear-probe',
  'tabletop-changes': 'scod',
  'tabletop-futures': 'lta',
  'tabletop-hands': 'hands',
  'tabletop-interactions': 'sta-roi',
  'tabletop-moments': 'actionformer',
  'tabletop-objects': 'scod',
  'tabletop-queries': 'vslnet-small',
  'tabletop-states': 'pnr-oscc',
};

test('models list shows what comes with the program, its licences apart', async () => {
  const { code, stdout, stderr } = await egolens(['models', 'list']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const licence = { code: 'Apache-2.0', weights: 'Apache-2.0' };
  const named = (name: string): unknown => expect.stringMatching(new RegExp(`^${name}@[0-9a-f]{12}$`));
  const heads = Object.keys(familyOfHead).sort();
  expect(await records(stdout)).toMatchObject([
    ...heads.map((name) => {
      return {
        model: named(name),
        place: 'embedded',
        kind: 'head',
        family: familyOfHead[name],
        trained: 'tabletop',
        licence,
      };
    }),
    { model: named('videomae-nano'), place: 'embedded', trained: 'tabletop', licence },
    { model: named('videomae-nano-untrained'), place: 'embedded', trained: 'untrained', licence },
  ]);
});

test('models list --architectures gives every family and known size that --arch takes', async () => {
  const { code, stdout } = await egolens(['models', 'list', '--architectures']);
  expect(code).toBe(0);
  const names = (await records(stdout)).map(({ name }) => name);
  expect(names).toEqual([
    ...families.flatMap(({ name, sizes }) => [name, ...Object.keys(sizes)]),
    ...headFamilies.map(({ name }) => name),
    'tfjs-graph',
  ]);
});

describe('models import, encode, inspect and verify of an official checkpoint', () => {
  const model = join(folder, 'imported');
  const config = join(golden, 'case.json');
  const imported = egolens([
    ...['models', 'import', join(golden, 'checkpoint.pth'), '--arch', 'videomae-classifier'],
    ...['--config', config, '-o', model],
  ]);

  test('import says what became of every tensor', async () => {
    const { code, stdout } = await imported;
    expect(code).toBe(0);
    expect(await records(stdout)).toMatchObject([{ family: 'videomae-classifier', left: 0, missing: 0 }]);
  });

  test('encode gives a record with the shapes that it wrote', async () => {
    await imported;
    const out = join(folder, 'encoded');
    const { code, stdout } = await egolens(['encode', join(golden, 'frames.npy'), '--model', model, '-o', out]);
    expect(code).toBe(0);
    const [record] = await records(stdout);
    const { tensor } = await readNpy(memorySource('pooled', readFileSync(join(out, 'pooled.npy'))));
    expect(record).toMatchObject({ outputs: { pooled: tensor.shape } });
  });

  test('inspect of the folder prints model.json, with --graph its graphs', async () => {
    await imported;
    const { stdout } = await egolens(['models', 'inspect', model]);
    expect(await records(stdout)).toEqual([JSON.parse(readFileSync(join(model, 'model.json'), 'utf8'))]);
    const graphs = await egolens(['models', 'inspect', model, '--graph']);
    expect(graphs).toMatchObject({ code: 0, stderr: '' });
    expect(graphs.stdout.match(/^# .*$/gm)).toEqual([
      '# graph.onnx',
      '# graph.webgpu.onnx',
      '# graph.float.onnx',
      '# graph.float.webgpu.onnx',
    ]);
  });
});

test('inspect of a checkpoint gives a record per tensor and says where the weights stood', async () => {
  const { code, stdout, stderr } = await egolens(['models', 'inspect', join(golden, 'checkpoint.pth')]);
  expect(code).toBe(0);
  const tensors = await records(stdout);
  expect(tensors.length).toBeGreaterThan(10);
  expect(tensors.every(({ schema }) => schema === 'egolens.tensor/1')).toBe(true);
  expect(stderr).toMatch(/tensors under `model`\nbeside the weights: `/);
});

test('inspect of a graph gives its inputs, outputs and operations', async () => {
  const { code, stdout } = await egolens(['models', 'inspect', join(embedded, 'graph.onnx')]);
  expect(code).toBe(0);
  expect(await records(stdout)).toMatchObject([
    { producer: 'egolens', inputs: [{ name: 'frames', dtype: 'uint8' }], weightFiles: ['weights.bin'] },
  ]);
});

test('inspect calls nothing that a hostile file names', async () => {
  const hostile = join(root, 'fixtures', 'checkpoints', 'hostile-os-system.pth');
  const { code, stdout, stderr } = await egolens(['models', 'inspect', hostile], { cwd: folder });
  expect({ code, stdout }).toEqual({ code: 5, stdout: '' });
  expect(stderr).toMatch(/^error checkpoint\.unsupported: .*`posix\.system`, which is never called\n/);
});

describe('models verify', () => {
  test('a whole model gives its distances and 0; the ones that are not there do not stop it', async () => {
    const whole = copyOfModel('whole');
    const { code, stdout, stderr } = await egolens(['models', 'verify', 'nope', whole, '--device', 'cpu', '-q']);
    expect(code).toBe(6);
    expect(await records(stdout)).toMatchObject([{ input: whole, device: 'cpu', limit: 1e-4, ok: true }]);
    expect(stderr).toMatch(/^error model\.not_found: /);
  });

  test('other bytes in a file are model.digest, exit 6', async () => {
    const damaged = copyOfModel('damaged');
    const path = join(damaged, 'weights.bin');
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(5000) ^ 1, 5000);
    writeFileSync(path, bytes);
    const { code, stdout, stderr } = await egolens(['models', 'verify', damaged, '--device', 'cpu', '-q']);
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(stderr).toMatch(/^error model\.digest: .*weights\.bin.*expected SHA-256 .*found /);
  });

  test.each([
    ['an encoder', 'videomae-nano', ['extract', '-o', join(folder, 'features'), '--model']],
    ['a head', 'tabletop-hands', ['hands', '--at', '1', '--head']],
  ])('%s whose weights are cut off does not open, and the file is named', async (_, name, args) => {
    const cut = join(folder, `cut-${name}`);
    cpSync(join(root, 'fixtures', 'models', name), cut, { recursive: true });
    truncateSync(join(cut, 'weights.bin'), 1000);
    const clip = join(root, 'fixtures', 'videos', 'demo.mp4');
    const { code, stderr } = await egolens([args[0]!, clip, ...args.slice(1), cut, '--device', 'cpu', '-q']);
    expect(code).toBe(6);
    expect(stderr).toMatch(/^error model\.digest: .*weights\.bin.*expected SHA-256 /m);
  });

  test('another stored output is model.probe, exit 6, with the numbers', async () => {
    const moved = copyOfModel('moved');
    const path = join(moved, 'probe', 'pooled.npy');
    const { tensor } = await readNpy(memorySource(path, readFileSync(path)));
    tensor.data[0] = Number(tensor.data[0]) + 1;
    writeFileSync(path, writeNpy(tensor));
    const { code, stdout, stderr } = await egolens(['models', 'verify', moved, '--device', 'cpu', '-q']);
    expect(code).toBe(6);
    const [record] = await records(stdout);
    expect(record).toMatchObject({ ok: false });
    expect(stderr).toMatch(/^error model\.probe: .*`pooled` by /);
  });

  test('no model at all is a wrong use', async () => {
    expect(await egolens(['models', 'verify'])).toMatchObject({ code: 2, stdout: '' });
  });
});
