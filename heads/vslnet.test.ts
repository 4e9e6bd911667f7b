import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { GraphBuilder } from '../src/graph/builder.js';
import { openHeadFolder } from '../src/models/head-folder.js';
import { headInputs, initialWeights, type Head } from '../src/models/head.js';
import { stateDictOf, writeHeadFolder } from '../src/pipeline/head-writer.js';
import { importHead } from '../src/pipeline/import-head.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { decayMatrices } from '../src/train/groups.js';
import { adamw } from '../src/train/optimiser.js';
import { openTraining, type Training } from '../src/train/step.js';
import type { AnyTensor, Span, Tensor } from '../src/types.js';
import { writeWeights, type Weights } from '../test/cli/models.js';
import { answerTargets, clipBatch } from './nlq/batches.js';
import { vslnet, vslnetSmall } from './vslnet.js';
import { vocabularyOf, wordFeeds } from './words.js';

const [width, rows, seconds] = [16, 24, 48];

/** A clip with two marked things in noise, and the question for one of them. */
interface Example {
  readonly features: Tensor<'float32'>;
  readonly question: string;
  readonly answer: Span;
}

const colours = ['red', 'green', 'blue'];
const things = ['cup', 'knife', 'box'];

/** Seeded examples: in the rows of a thing, the columns of its colour and of its kind are raised. */
function examples(count: number, seed: number): Example[] {
  const random = seededRandom(seed, 'examples');
  return Array.from({ length: count }, () => {
    const data = Float32Array.from({ length: rows * width }, () => 0.3 * random.normal());
    const marks = random.shuffle(colours.flatMap((_, colour) => things.map((__, thing) => ({ colour, thing }))));
    const spans = marks.slice(0, 2).map(({ colour, thing }, half) => {
      const start = half * (rows / 2) + random.integer(4);
      const end = start + 3 + random.integer(5);
      for (let row = start; row < end; row++) {
        data[row * width + colour]! += 2;
        data[row * width + colours.length + thing]! += 2;
      }
      const scale = seconds / rows;
      return { question: `find ${colours[colour]} ${things[thing]}`, answer: [start * scale, end * scale] as const };
    });
    return { features: tensor('float32', [rows, width], data), ...spans[random.integer(2)]! }; // of two
  });
}

/** A head in training over batches of `batch` examples. */
async function training(head: Head, batch: number, words: number): Promise<Training> {
  const step = {
    name: head.family,
    sizes: { batch, rows, words },
    isTrained: (name: string) => head.isFrozen?.(name) !== true,
    groups: decayMatrices(0.01),
    optimiser: { rule: adamw, clip: 1 },
    forward: (g: GraphBuilder) => head.loss!(g, head.forward(g, headInputs(g, head))),
    evaluations: {
      outputs: (g: GraphBuilder) => head.forward(g, headInputs(g, head)),
    },
  };
  return await openTraining(step, initialWeights(head, seededRandom(1, 'head')), { device: 'cpu', threads: 1 });
}

function feedsOf(of: readonly Example[], vocabulary: readonly string[]): Record<string, AnyTensor> {
  const clips = clipBatch(
    of.map(({ features }) => features),
    128,
  );
  const targets = answerTargets(
    clips,
    of.map(({ answer }) => answer),
    of.map(() => seconds),
  );
  const questions = wordFeeds(
    vocabulary,
    of.map(({ question }) => question),
  );
  return { ...clips.feeds, ...questions, ...targets };
}

const tiou = ([a, b]: Span, [c, d]: Span): number =>
  Math.max(0, Math.min(b, d) - Math.max(a, c)) / (Math.max(b, d) - Math.min(a, c));

/** A head with seeded weights that are not near 0, and its graph in a run. */
async function seeded(head: Head, sizes: Readonly<Record<string, number>> = {}): Promise<Training> {
  const random = seededRandom(5, 'weights');
  const weights = new Map(
    [...initialWeights(head, random)].map(([name, { shape, data }]) => [
      name,
      tensor(
        'float32',
        shape,
        data.map((value) => value + 0.2 * random.normal()),
      ),
    ]),
  );
  const step = {
    name: head.family,
    sizes: { batch: 1, rows: 7, words: 3, chars: 5, ...sizes },
    // Only outputs are asked for here: gradients of one parameter are quick to build.
    isTrained: (name: string) => name === 'predictor.end_block.2.conv1d.bias',
    groups: decayMatrices(0),
    optimiser: { rule: adamw },
    forward: (g: GraphBuilder) => head.loss!(g, head.forward(g, headInputs(g, head))),
    evaluations: { outputs: (g: GraphBuilder) => head.forward(g, headInputs(g, head)) },
  };
  return await openTraining(step, weights, { device: 'cpu', threads: 1 });
}

/** Inputs with `rows` rows and `words` words, of which the last ones are padding filled with numbers. */
function paddedInputs(head: Head, rows: number, words: number): Record<string, AnyTensor> {
  const random = seededRandom(9, 'inputs');
  const mask = (count: number, own: number): Tensor<'float32'> =>
    tensor(
      'float32',
      [1, count],
      Float32Array.from({ length: count }, (_, i) => (i < own ? 1 : 0)),
    );
  const features = seededRandom(11, 'features');
  const [width = 0] = head.widths;
  const ids = BigInt64Array.from({ length: words }, (_, i) => (i < 3 ? BigInt(2 + random.integer(5)) : 2n));
  return {
    features: tensor(
      'float32',
      [1, rows, width],
      Float32Array.from({ length: rows * width }, () => features.normal()),
    ),
    mask: mask(rows, 7),
    word_ids: tensor('int64', [1, words], ids),
    query_mask: mask(words, 3),
  };
}

describe('padding', () => {
  test.each(['transformer', 'rnn'])('does not reach what a clip gives, nor that of words (%s)', async (predictor) => {
    const config = { video_feature_dim: 6, word_size: 8, dim: 8, num_heads: 2, max_pos_len: 12, predictor };
    const short = vslnetSmall.spec({ ...config, rows: 7 });
    const long = vslnetSmall.spec({ ...config, rows: 12 });
    await using alone = await seeded(short);
    await using padded = await seeded(long, { words: 6 });
    const [own, other] = [
      await alone.evaluate('outputs', paddedInputs(short, 7, 3)),
      await padded.evaluate('outputs', paddedInputs(long, 12, 6)),
    ];
    for (const name of Object.keys(short.outputs)) {
      const [expected, found] = [own[name]!.data, other[name]!.data.subarray(0, 7)];
      expected.forEach((value, i) => {
        expect(found[i], `${name} ${i}`).toBeCloseTo(value, 4);
      });
    }
  });

  test('reaches it where the configuration asks for the official batches', async () => {
    const config = { video_feature_dim: 6, word_size: 8, dim: 8, num_heads: 2, max_pos_len: 12, mask_convs: false };
    const [short, long] = [vslnetSmall.spec({ ...config, rows: 7 }), vslnetSmall.spec({ ...config, rows: 12 })];
    await using alone = await seeded(short);
    await using padded = await seeded(long);
    const own = await alone.evaluate('outputs', paddedInputs(short, 7, 3));
    const other = await padded.evaluate('outputs', paddedInputs(long, 12, 3));
    const most = Math.max(
      ...own['start_logits']!.data.map((value, i) => Math.abs(value - other['start_logits']!.data[i]!)),
    );
    expect(most).toBeGreaterThan(1e-3);
  });
});

describe('configurations', () => {
  test('of the official repository are read: `bert` means given vectors, `rnn` words and characters', () => {
    const bert = vslnet.spec({ video_feature_dim: 40, predictor: 'bert' });
    expect(bert.inputs['query']!.shape).toEqual(['batch', 'words', 768]);
    expect(bert.config).toMatchObject({
      dim: 128,
      num_heads: 8,
      max_pos_len: 128,
      predictor: 'transformer',
      text: 'given',
    });
    const rnn = vslnet.spec({ video_feature_dim: 40, predictor: 'rnn', word_size: 23, char_size: 17, char_dim: 6 });
    expect(Object.keys(rnn.inputs)).toEqual(['features', 'mask', 'word_ids', 'char_ids', 'query_mask']);
    expect(rnn.inputs['features']!.shape).toEqual(['batch', 128, 40]);
  });

  test('read again from model.json give the same head', () => {
    const head = vslnetSmall.spec({ video_feature_dim: 5, word_size: 9, rows: 20 });
    expect(vslnetSmall.spec(head.config).config).toEqual(head.config);
    expect(head.kinds).toEqual([{ kind: 'word', count: 9 }]);
  });

  test.each([
    [{}, '`video_feature_dim`'],
    [{ video_feature_dim: 4, word_size: 9, dim: 10, num_heads: 3 }, '`num_heads`: expected a divisor of `dim`, 10'],
    [{ video_feature_dim: 4 }, '`word_size`'],
    [{ video_feature_dim: 4, word_size: 9, predictor: 'lstm' }, '`predictor`'],
    [{ video_feature_dim: 4, word_size: 9, rows: 500 }, '`rows`: expected a whole number from 1 to 128'],
    [{ video_feature_dim: 1e9, word_size: 9 }, '`video_feature_dim`'],
  ])('%j is refused', (config, message) => {
    expect(() => vslnetSmall.spec(config)).toThrow(message);
  });
});

describe('a checkpoint', () => {
  test('with the text model of its training in it is imported; its keys are accounted for', async () => {
    const work = await mkdtemp(join(tmpdir(), 'egolens-vslnet-'));
    try {
      const head = vslnet.spec({
        video_feature_dim: 6,
        dim: 8,
        num_heads: 2,
        max_pos_len: 10,
        predictor: 'bert',
        query_dim: 5,
      });
      const weights = new Map<string, Weights>(initialWeights(head, seededRandom(1, 'import')));
      const bert = 'embedding_net.embedder.embeddings.word_embeddings.weight';
      weights.set(bert, { shape: [3, 5], data: new Float32Array(15) });
      const file = await writeWeights(join(work, 'vslnet.safetensors'), weights);
      const config = join(work, 'config.json');
      await writeFile(config, JSON.stringify({ num_heads: 2 }));
      const output = join(work, 'head');
      const { matched, left, manifest } = await importHead(file, vslnet, { arch: 'vslnet', config, output });
      expect(matched).toBe(weights.size - 1);
      expect(left).toEqual([{ key: bert, why: 'the text model of its training: vectors of words are given instead' }]);
      expect(manifest.config).toEqual(head.config);
      weights.set('surprise.weight', { shape: [1], data: new Float32Array(1) });
      const other = await writeWeights(join(work, 'other.safetensors'), weights);
      await expect(importHead(other, vslnet, { arch: 'vslnet', config, output: `${output}-2` })).rejects.toThrow(
        'surprise',
      );
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });

  test('of learned words is written with its vocabulary and opened with it', async () => {
    const work = await mkdtemp(join(tmpdir(), 'egolens-vslnet-'));
    try {
      const vocabulary = vocabularyOf(['find red cup', 'find blue box']);
      const head = vslnetSmall.spec({ video_feature_dim: 6, word_size: vocabulary.length, dim: 8, num_heads: 2 });
      const source = {
        name: 'x',
        bytes: 0,
        sha256: '0'.repeat(64),
        container: 'trained',
        weightsKey: null,
        prefix: null,
      };
      const words = {
        schema: 'egolens.labels/1',
        name: 'words',
        version: 1,
        order: 'training',
        labels: vocabulary,
      } as const;
      await writeHeadFolder(
        {
          name: 'questions',
          head,
          tensors: stateDictOf(initialWeights(head, seededRandom(1, 'write'))),
          labels: { word: words },
          clock: null,
          options: {},
          trained: 'test',
          licence: { code: 'none', weights: 'none' },
          source: { ...source, left: [] },
        },
        { output: join(work, 'head') },
      );
      expect((await openHeadFolder(join(work, 'head'))).labels).toEqual({ word: vocabulary });
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
});

describe('decoding', () => {
  const head = vslnetSmall.spec({ video_feature_dim: 4, word_size: 5 });
  const logits = (...values: readonly number[]): Tensor<'float32'> =>
    tensor('float32', [1, values.length], Float32Array.from(values));
  const outputs = { start_logits: logits(5, 0, 0, 4, 0, -1e30), end_logits: logits(0, 5, 0, 0, 4, -1e30) };
  const context = { labels: {}, clock: null, durations: [10] };

  test('gives different answers, best first, within the clip', () => {
    const [answers = []] = head.decode(outputs, { ...context, options: { top: 3 } });
    const spans = answers.map((one) => (one.task === 'nlq' ? [one.start, one.end] : []));
    expect(spans.slice(0, 2)).toEqual([
      [0, 4],
      [0, 10],
    ]);
    expect(spans[2]).toEqual([6, 10]);
    const [all = []] = vslnet
      .spec({ video_feature_dim: 4, predictor: 'bert' })
      .decode(outputs, { ...context, options: { top: 100 } });
    expect(all).toHaveLength(15); // five rows, one of padding
  });

  test('a row of the clock is a hop long where no length is given; without a clock it asks for one', () => {
    const clock = { rate: { num: 30, den: 1 }, hop: 15, frames: 16, step: 1, tail: 'drop', rows: 5 } as const;
    const [[best] = []] = head.decode(outputs, { labels: {}, options: {}, clock });
    expect(best).toMatchObject({ start: 0, end: 1 });
    expect(() => head.decode(outputs, { labels: {}, options: {}, clock: null })).toThrow('the length of each clip');
    expect(() => head.decode(outputs, { ...context, options: { top: 'all' } })).toThrow('option `top`');
  });
});

describe('vslnet-small', () => {
  test('learns to find which of two things a question names', async () => {
    const of = examples(32, 3);
    const vocabulary = vocabularyOf(of.map(({ question }) => question));
    const head = vslnetSmall.spec({ video_feature_dim: width, word_size: vocabulary.length, dim: 32, num_heads: 2 });
    await using run = await training(head, 16, 3);
    const batches = [of.slice(0, 16), of.slice(16)].map((part) => feedsOf(part, vocabulary));
    const steps = 100;
    for (let step = 0; step < steps; step++) {
      await run.run(batches[step % 2]!, 3e-3 * (1 - step / steps)); // of two
    }
    let found = 0;
    for (const [i, batch] of batches.entries()) {
      const inputs = Object.fromEntries(Object.keys(head.inputs).map((name) => [name, batch[name]!])); // all are in it
      const outputs = await run.evaluate('outputs', inputs);
      const durations = Array.from({ length: 16 }, () => seconds);
      head.decode(outputs, { labels: {}, options: {}, clock: null, durations }).forEach(([best], item) => {
        const { answer } = of[16 * i + item]!; // 16 a batch
        if (best?.task === 'nlq' && tiou([best.start, best.end], answer) > 0.5) found++;
      });
    }
    expect(found).toBeGreaterThanOrEqual(28);
  }, 60_000);
});
