import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { headOf } from '../../heads/index.js';
import { writeNpy } from '../checkpoint/npy.js';
import { openHeadFolder } from '../models/head-folder.js';
import { seededRandom } from '../random.js';
import { tensor } from '../tensor.js';
import type { Progress } from '../types.js';
import { featureSet, labelVideos, openHead } from './recognize-head.js';
import { trainHead, type TrainedHead } from './train-head.js';
import { prepareRecognition, solveRecognition, type RecognitionTraining } from './train-recognition.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-recognition-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const silent: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};

/** Features on Ego4D's grid: row i has its middle at 16 (i + 1) / 30 s. */
const width = 12;
const middle = (row: number): number => (16 * (row + 1)) / 30;
const classes = ['cut', 'pour', 'stir', 'wipe'];

/** Videos of 50 rows, each row of one class around a centre of its own, noisy enough for mistakes; their segments as CSV. */
async function makeSplit(name: string, videos: number, noise = 1.6): Promise<string> {
  const centres = seededRandom(1, 'centres');
  const at = classes.map(() => Array.from({ length: width }, () => centres.normal()));
  const lines = ['input,start,end,label'];
  for (let v = 0; v < videos; v++) {
    const random = seededRandom(v, name);
    const data = new Float32Array(50 * width);
    for (let row = 0; row < 50; row++) {
      const label = random.integer(classes.length);
      for (let j = 0; j < width; j++) data[row * width + j] = 3 + 2 * (at[label]![j]! + noise * random.normal());
      lines.push(`${name}${v}.mp4,${middle(row) - 0.2},${middle(row) + 0.2},${classes[label]!}`);
    }
    await mkdir(join(folder, 'features'), { recursive: true });
    await writeFile(join(folder, 'features', `${name}${v}.npy`), writeNpy(tensor('float32', [50, width], data)));
  }
  const path = join(folder, `${name}.csv`);
  await writeFile(path, `${lines.join('\n')}\n`);
  return path;
}

type Overrides = Partial<RecognitionTraining> & { readonly method?: 'ridge' };

async function run({ method, ...overrides }: Overrides = {}): Promise<TrainedHead> {
  const options: RecognitionTraining = {
    gt: join(folder, 'train.csv'),
    val: join(folder, 'val.csv'),
    features: join(folder, 'features'),
    folder: join(folder, 'run'),
    family: headOf('linear-probe')!,
    rows: 64,
    rate: 2e-3,
    accumulate: 1,
    weightDecay: 0.05,
    smoothing: 0,
    seed: 0,
    resume: 'auto',
    skipMissing: false,
    forceFeatures: false,
    reading: { clock: 'ego4d-grid' },
    device: 'cpu',
    threads: 1,
    isDeterministic: false,
    signal: new AbortController().signal,
    progress: silent,
    ...overrides,
  };
  const prepared = await prepareRecognition(options);
  return method === 'ridge' ? await solveRecognition(options, prepared) : await trainHead(options, prepared);
}

test('the trained linear probe, by its defaults, is within half a point of the exact ridge classifier', async () => {
  await makeSplit('train', 8);
  await makeSplit('val', 20);
  const probe = await run();
  const ridge = await run({ method: 'ridge', folder: join(folder, 'ridge') });
  expect(ridge.scores['top1']).toBeGreaterThan(0.6);
  expect(ridge.scores['top1']).toBeLessThan(0.95);
  expect(probe.scores['top1']).toBeGreaterThan(ridge.scores['top1']! - 0.005);
});

test('an attentive probe finds the one row of a segment that tells the class, which the mean drowns', async () => {
  const random = seededRandom(5, 'needle');
  await mkdir(join(folder, 'features'));
  for (const name of ['train', 'val']) {
    const lines = ['input,start,end,label'];
    const segments = name === 'train' ? 240 : 100;
    const data = new Float32Array(segments * 8 * 8);
    for (let s = 0; s < segments; s++) {
      const needle = random.integer(8);
      const label = random.integer(2);
      for (let row = 0; row < 8; row++) {
        const first = (s * 8 + row) * 8;
        // All rows but one point either way by chance; the needle alone has a mark in the first column.
        const sign = row === needle ? 2 * label - 1 : 2 * random.integer(2) - 1;
        data[first] = row === needle ? 4 : 0;
        data[first + 1] = 3 * sign;
        for (let j = 2; j < 8; j++) data[first + j] = random.normal();
      }
      lines.push(`${name}.mp4,${middle(8 * s) - 0.1},${middle(8 * s + 7) + 0.1},${label === 1 ? 'right' : 'left'}`);
    }
    await writeFile(join(folder, 'features', `${name}.npy`), writeNpy(tensor('float32', [segments * 8, 8], data)));
    await writeFile(join(folder, `${name}.csv`), lines.join('\n'));
  }
  const attentive = await run({ family: headOf('attentive-probe')!, epochs: 25, rate: 4e-3, batch: 16 });
  const linear = await run({ method: 'ridge', folder: join(folder, 'linear') });
  expect(attentive.scores['top1']).toBeGreaterThan(0.95);
  expect(linear.scores['top1']).toBeLessThan(0.85);
});

test('the run folder is whole; interrupted and resumed, it holds the same bytes', async () => {
  await makeSplit('train', 2);
  await makeSplit('val', 1);
  const settings = { epochs: 4, batch: 16 };
  await run({ ...settings, folder: join(folder, 'straight') });
  const stop = new AbortController();
  const first = await run({
    ...settings,
    folder: join(folder, 'broken'),
    signal: stop.signal,
    onStep: ({ step }) => {
      if (step === 8) stop.abort();
    },
  });
  expect(first).toMatchObject({ ended: 'interrupted', step: 8, head: null });
  const second = await run({ ...settings, folder: join(folder, 'broken'), name: 'straight' });
  expect(second.ended).toBe('done');
  for (const file of ['config.json', 'log.ndjson', 'learning-curve.svg', 'final/graph.onnx', 'final/labels.json']) {
    const [a, b] = await Promise.all(['straight', 'broken'].map((name) => readFile(join(folder, name, file), 'utf8')));
    expect(b, file).toBe(a);
  }
  const head = await openHeadFolder(join(folder, 'broken', 'final'));
  expect(head.labels).toEqual({ label: classes });
  expect(head.info).toMatchObject({
    task: 'recognition',
    features: [{ model: null, output: null, width }],
    clock: { rate: '30/1', hop: 16, frames: 32, step: 1 },
  });
  await expect(run({ ...settings, folder: join(folder, 'broken'), seed: 1 })).rejects.toMatchObject({
    code: 'usage.conflict',
    message: expect.stringContaining('seed: 1 here, 0 there') as string,
  });
  await expect(run({ ...settings, folder: join(folder, 'broken'), smoothing: 0.1 })).rejects.toThrow(
    'label_smoothing: 0.1 here, 0 there',
  );
});

test('the average of the weights is scored and kept where one is asked for', async () => {
  await makeSplit('train', 1);
  await makeSplit('val', 1);
  const plain = await run({ epochs: 3, batch: 8 });
  const mean = await run({ epochs: 3, batch: 8, average: 0.5, folder: join(folder, 'mean') });
  expect(mean.scores['val_loss']).not.toBe(plain.scores['val_loss']);
  const log = (await readFile(join(folder, 'mean', 'log.ndjson'), 'utf8')).trim().split('\n');
  const records = log.map((line) => JSON.parse(line) as { step: number; metrics?: { val_loss: number } });
  const best = records.find(({ step }) => step === mean.best!.step)!;
  expect(mean.scores['val_loss']).toBeCloseTo(best.metrics!.val_loss, 6);
});

describe('bad input is refused', () => {
  beforeEach(async () => {
    await makeSplit('train', 1);
    await makeSplit('val', 1);
  });
  const rejected = async (overrides: Partial<RecognitionTraining>, code: string, message: RegExp): Promise<void> => {
    await expect(run({ epochs: 1, ...overrides })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    await expect(readFile(join(folder, 'run', 'config.json'))).rejects.toThrow();
  };
  const list = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const features = async (name: string, rows: number, columns: number, value = 1): Promise<void> => {
    const data = new Float32Array(rows * columns).fill(value);
    await writeFile(join(folder, 'features', `${name}.npy`), writeNpy(tensor('float32', [rows, columns], data)));
  };

  test('labels of the validation split outside the classes', async () => {
    const val = await list('v.csv', 'input,start,end,label\nval0.mp4,1,2,juggle\nval0.mp4,2,3,cut\n');
    await rejected({ val }, 'data.invalid', /v\.csv`: 1 labels that are none of the 4 classes of label: `juggle`$/);
  });

  test('labels outside --labels', async () => {
    const labels = await list(
      'l.json',
      JSON.stringify({ schema: 'egolens.labels/1', name: 'own', version: 1, order: 'ours', labels: ['cut', 'pour'] }),
    );
    await rejected({ labels }, 'data.invalid', /train\.csv`: 2 labels that are none of the 2 classes/);
  });

  test('an empty split', async () => {
    await rejected(
      { val: await list('v.csv', 'input,label\n') },
      'data.invalid',
      /v\.csv`: expected at least one segment/,
    );
    await rejected(
      { gt: await list('t.json', '{"clips":[]}') },
      'data.invalid',
      /t\.json`: expected at least one segment/,
    );
  });

  test('features of another width, both files named', async () => {
    await features('wide', 50, 13);
    const val = await list('v.csv', 'input,start,end,label\nwide.mp4,1,2,cut\n');
    await rejected({ val }, 'data.shape', /wide\.npy`: rows of 13 numbers; `.*train0\.npy` has 12/);
  });

  test('features that are missing, counted, the first five named', async () => {
    const lines = Array.from({ length: 7 }, (_, i) => `gone${i}.mp4,1,2,cut`);
    const val = await list('v.csv', ['input,start,end,label', 'val0.mp4,1,2,cut', ...lines].join('\n'));
    const message =
      /v\.csv`: 7 of 8 segments have no feature file; 7 videos are missing: `gone0`, .*`gone4` and 2 more$/;
    await rejected({ val }, 'input.not_found', message);
    const { scores } = await run({ val, epochs: 1, skipMissing: true });
    expect(scores).toHaveProperty('top1');
  });

  test('segments outside their features', async () => {
    const val = await list('v.csv', 'input,start,end,label\nval0.mp4,1,2,cut\nval0.mp4,300,301,cut\n');
    await rejected(
      { val },
      'data.invalid',
      /1 segments lie outside their features: val0#1 \(300 to 301 s; .* ends at /,
    );
  });

  test('NaN in features, with file and row', async () => {
    await features('bad', 50, 12, NaN);
    const val = await list('v.csv', 'input,start,end,label\nbad.mp4,1,2,cut\n');
    await rejected({ val }, 'data.not_finite', /bad\.npy`: row \d+, element 0 is NaN/);
  });

  test('features without times', async () => {
    await rejected({ reading: {} }, 'data.clock', /train0\.npy`: nothing tells the times of its rows/);
  });

  test('a name that two files have', async () => {
    await mkdir(join(folder, 'features', 'b'));
    await features('b/val0', 50, 12);
    await rejected(
      {},
      'data.invalid',
      /`val0`: expected one feature file of that name, found .*b\/val0\.npy.*val0\.npy/,
    );
  });

  test('other kinds of labels in the validation split', async () => {
    const val = await list('v.csv', 'input,verb,noun\nval0.mp4,cut,onion\n');
    await rejected({ val }, 'data.invalid', /v\.csv`: labels `verb` and `noun`; `.*train\.csv` has `label`/);
  });

  test('a metric that there is not', async () => {
    await rejected({ metric: 'verb_top1' }, 'usage.flag', /expected one of top1, top5, mean_class_accuracy, val_loss/);
  });
  test('features too large for their variance in float32, before any step', async () => {
    await features('huge', 50, 12, 3e38);
    const gt = await list('t.csv', 'input,start,end,label\nhuge.mp4,1,2,cut\ntrain0.mp4,1,2,pour\n');
    await rejected(
      { gt, val: gt },
      'data.not_finite',
      /the variance of column 0 is .+, expected a number that float32 holds/,
    );
  });

  test('ridge in the folder of a run of steps, whose result it would replace', async () => {
    const before = await run({ epochs: 1 });
    await expect(run({ method: 'ridge' })).rejects.toMatchObject({
      code: 'output.exists',
      message: expect.stringMatching(/a run of steps is there, at step \d+/) as string,
    });
    expect((await openHeadFolder(join(folder, 'run', 'final'))).id).toBe(before.head!.id);
  });
});

test('a head folder that was changed by hand is refused before it labels anything', async () => {
  await makeSplit('train', 1);
  await makeSplit('val', 1);
  const { head } = await run({ method: 'ridge' });
  const at = head!.folder;
  const label = async (): Promise<void> => {
    const opened = await openHead(at, headOf);
    const options = { top: 1, minScore: 0, forceFeatures: false, device: 'cpu', threads: 1, progress: silent };
    const { signal } = new AbortController();
    const reading = { clock: 'ego4d-grid' } as const;
    const set = await featureSet(join(folder, 'features'));
    for await (const record of labelVideos(set, 'window', { ...opened, ...options, reading, signal })) {
      throw new Error(`labelled ${record.id}`);
    }
  };
  const manifest = await readFile(join(at, 'model.json'), 'utf8');
  const value = JSON.parse(manifest) as { config: object };
  await writeFile(join(at, 'model.json'), JSON.stringify({ ...value, config: { ...value.config, classes: [1] } }));
  await expect(label()).rejects.toMatchObject({
    code: 'model.config',
    message: expect.stringMatching(/4 names of label, expected the 1 classes of model.json/) as string,
  });
  await writeFile(join(at, 'model.json'), manifest);
  const graph = await readFile(join(at, 'graph.onnx'));
  graph[graph.length - 1]! ^= 1;
  await writeFile(join(at, 'graph.onnx'), graph);
  await expect(label()).rejects.toMatchObject({ code: 'model.digest' });
});
