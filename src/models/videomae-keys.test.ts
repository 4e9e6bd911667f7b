import { describe, expect, test } from 'vitest';
import { keyReportError, matchKeys } from '../checkpoint/match-keys.js';
import { sizeOf, tensor } from '../tensor.js';
import type { StateDict, StoredTensor } from '../types.js';
import { resampleTable } from './positions.js';
import { graphFiles, type ModelSpec } from './spec.js';
import { videomaeClassifier, videomaePretraining } from './videomae-family.js';
import { officialKeys } from './videomae-keys.js';

/** A stored tensor whose values count up from `first`, in pieces of at most three. */
function stored(name: string, shape: readonly number[], first = 0): StoredTensor {
  return {
    name,
    storedType: 'float32',
    shape,
    async *chunks(maxElements = 3) {
      const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => first + i);
      for (let at = 0; at < values.length; at += maxElements)
        yield await Promise.resolve(values.slice(at, at + maxElements));
    },
  };
}
const dict = (shapes: Iterable<readonly [string, readonly number[]]>): Map<string, StoredTensor> =>
  new Map([...shapes].map(([key, shape]) => [key, stored(key, shape)]));
async function valuesOf(value: StoredTensor, maxElements?: number): Promise<number[]> {
  const pieces: number[] = [];
  for await (const piece of value.chunks(maxElements)) {
    expect(piece.length).toBeLessThanOrEqual(maxElements ?? Infinity);
    pieces.push(...piece);
  }
  return pieces;
}
const shapesOf = (spec: ModelSpec): Map<string, readonly number[]> =>
  new Map(spec.build(graphFiles[0]).params.map(({ name, shape }) => [name, shape]));
function report(spec: ModelSpec, tensors: StateDict): string {
  const allowed = { has: (key: string) => spec.leftover(key) !== undefined };
  return (
    keyReportError(
      matchKeys(shapesOf(spec), spec.adapt(tensors), (key) => key, allowed),
      'f.pth',
    )?.message ?? 'fits'
  );
}

const small = { img_size: 32, patch_size: 16, all_frames: 4, embed_dim: 8, depth: 2, num_heads: 2 };
const classifier = videomaeClassifier.spec({ ...small, num_classes: 5 }, {});
const pretraining = videomaePretraining.spec(
  {
    ...small,
    encoder_embed_dim: 8,
    encoder_depth: 2,
    encoder_num_heads: 2,
    decoder_embed_dim: 6,
    decoder_depth: 1,
    decoder_num_heads: 2,
  },
  {},
);

// ---- the spelling of transformers ---------------------------------------------------------------------------------

/** encoder.md 2.3: the third-party names of one layer; q, k and v in matrices of their own. */
function layer(prefix: string, width: number): [string, number[]][] {
  const pair = (name: string, ...shape: number[]): [string, number[]][] => [
    [`${prefix}${name}.weight`, shape],
    [`${prefix}${name}.bias`, [shape[0]!]],
  ];
  return [
    ...pair('layernorm_before', width),
    ...pair('layernorm_after', width),
    ...['query', 'key', 'value'].map((part): [string, number[]] => [
      `${prefix}attention.attention.${part}.weight`,
      [width, width],
    ]),
    [`${prefix}attention.attention.q_bias`, [width]],
    [`${prefix}attention.attention.v_bias`, [width]],
    ...pair('attention.output.dense', width, width),
    ...pair('intermediate.dense', 4 * width, width),
    ...pair('output.dense', width, 4 * width),
  ];
}
const encoderPart: [string, number[]][] = [
  ['videomae.embeddings.patch_embeddings.projection.weight', [8, 3, 2, 16, 16]],
  ['videomae.embeddings.patch_embeddings.projection.bias', [8]],
  ...layer('videomae.encoder.layer.0.', 8),
  ...layer('videomae.encoder.layer.1.', 8),
];
const theirClassifier = dict([
  ...encoderPart,
  ['fc_norm.weight', [8]],
  ['fc_norm.bias', [8]],
  ['classifier.weight', [5, 8]],
  ['classifier.bias', [5]],
]);
const theirPretraining = dict([
  ...encoderPart,
  ['videomae.layernorm.weight', [8]],
  ['videomae.layernorm.bias', [8]],
  ['encoder_to_decoder.weight', [6, 8]],
  ['mask_token', [1, 1, 6]],
  ...layer('decoder.decoder_layers.0.', 6),
  ['decoder.norm.weight', [6]],
  ['decoder.norm.bias', [6]],
  ['decoder.head.weight', [1536, 6]],
  ['decoder.head.bias', [1536]],
]);

describe('the spelling of the transformers library', () => {
  test.each([
    ['classifier', classifier, theirClassifier],
    ['pretraining', pretraining, theirPretraining],
  ] as const)(
    'every key of a %s file becomes an official one, and every parameter is filled',
    (target, spec, theirs) => {
      const official = officialKeys(theirs, target);
      expect([...official.keys()].sort()).toEqual([...shapesOf(spec).keys()].sort());
      expect(report(spec, official)).toBe('fits');
    },
  );

  test('query, key and value are stacked in this order, whatever their order in the file', async () => {
    const prefix = 'videomae.encoder.layer.0.attention.attention.';
    const parts = (['value', 'query', 'key'] as const).map((part): [string, StoredTensor] => {
      const first = { query: 0, key: 100, value: 200 }[part];
      return [`${prefix}${part}.weight`, stored(part, [2, 2], first)];
    });
    const marker = 'videomae.embeddings.patch_embeddings.projection.weight';
    const official = officialKeys(new Map([[marker, stored(marker, [2])], ...parts]), 'classifier');
    expect([...official.keys()]).toEqual(['patch_embed.proj.weight', 'blocks.0.attn.qkv.weight']);
    const qkv = official.get('blocks.0.attn.qkv.weight')!;
    expect(qkv.shape).toEqual([6, 2]);
    expect(await valuesOf(qkv)).toEqual([0, 1, 2, 3, 100, 101, 102, 103, 200, 201, 202, 203]);
  });

  test.each(['query', 'key', 'value'])(
    'without its %s the parts that are there are reported by their own names',
    (part) => {
      const prefix = 'videomae.encoder.layer.1.attention.attention.';
      const incomplete = new Map(theirClassifier);
      incomplete.delete(`${prefix}${part}.weight`);
      const message = report(classifier, officialKeys(incomplete, 'classifier'));
      expect(message).toContain('1 parameters of the graph have no tensor, 2 tensors of the file have no parameter');
      expect(message).toContain('missing in the file: `blocks.1.attn.qkv.weight`');
      for (const other of ['query', 'key', 'value']) {
        expect(message.includes(`\`${prefix}${other}.weight\``)).toBe(other !== part);
      }
    },
  );

  test('parts of unlike shapes are not stacked, even where their elements add up', () => {
    const prefix = 'videomae.encoder.layer.0.attention.attention.';
    const lying = new Map(theirClassifier);
    lying.set(`${prefix}key.weight`, stored('k', [8, 10]));
    lying.set(`${prefix}value.weight`, stored('v', [8, 6]));
    expect(report(classifier, officialKeys(lying, 'classifier'))).toContain('3 tensors of the file have no parameter');
  });

  test('a key that is not known keeps its name and is reported', () => {
    const more = new Map([...theirClassifier, ['videomae.encoder.layer.0.lora', stored('x', [1])] as const]);
    expect(report(classifier, officialKeys(more, 'classifier'))).toContain('`videomae.encoder.layer.0.lora`');
  });

  test('two spellings of one tensor are no choice of ours: the foreign one is reported', () => {
    const twice = new Map([...theirClassifier, ['head.weight', stored('x', [5, 8])] as const]);
    expect(report(classifier, officialKeys(twice, 'classifier'))).toContain(
      'not wanted by the graph: `classifier.weight`',
    );
  });

  test('other files come back as they are', () => {
    const own = dict(shapesOf(classifier));
    expect(officialKeys(own, 'classifier')).toBe(own);
  });
});

// ---- leftovers ----------------------------------------------------------------------------------------------------

describe('a pre-training file as a classifier', () => {
  const file = dict(shapesOf(pretraining));
  const firstToken = videomaeClassifier.spec({ ...small, use_mean_pooling: false }, {});

  test('fills the encoder without its prefix, and every other tensor has its reason', () => {
    expect(report(firstToken, file)).toBe('fits');
    const left = [...firstToken.adapt(file).keys()].filter((key) => !shapesOf(firstToken).has(key));
    expect(Object.fromEntries(left.map((key) => [key, firstToken.leftover(key)]))).toEqual({
      'encoder_to_decoder.weight': 'pre-training only',
      mask_token: 'pre-training only',
      ...Object.fromEntries(
        [...file.keys()].filter((key) => key.startsWith('decoder.')).map((key) => [key, 'pre-training decoder']),
      ),
    });
  });

  test('has no trained fc_norm: a mean-pooling classifier of it is refused', () => {
    const message = report(videomaeClassifier.spec(small, {}), file);
    expect(message).toContain('missing in the file: `fc_norm.weight`, `fc_norm.bias`');
    expect(message).not.toContain('not wanted');
  });

  test('with an encoder key twice, with and without prefix, is refused', () => {
    const twice = new Map([...file, ['norm.weight', stored('x', [8])] as const]);
    expect(report(firstToken, twice)).toContain('not wanted by the graph: `encoder.norm.weight`');
  });
});

test('leftovers are exact names: what only resembles one is reported', () => {
  const headless = videomaeClassifier.spec(small, {});
  expect(headless.leftover('head.weight')).toContain('another task');
  expect(classifier.leftover('head.weight')).toBeUndefined();
  expect(classifier.leftover('norm.bias')).toContain('fc_norm instead');
  for (const key of [
    'decoder.blocks.0.attn.qkv.bias',
    'decoder.blocks.x.norm1.weight',
    'decoder.blocks.0.norm3.weight',
    'decoder.norm.weight.extra',
    'xmask_token',
    'blocks.9.norm1.weight',
    'optimizer',
    'head.weight2',
  ]) {
    expect([key, headless.leftover(key)]).toEqual([key, undefined]);
  }
  for (const key of ['mask_token', 'decoder.norm.weight', 'extra']) expect(pretraining.leftover(key)).toBeUndefined();
});

// ---- learned tables -----------------------------------------------------------------------------------------------

describe('a learned table', () => {
  const learned = videomaeClassifier.spec({ ...small, img_size: 64, use_learnable_pos_emb: true }, {});
  const table = (tokens: number): Map<string, StoredTensor> =>
    new Map([['pos_embed', stored('pos_embed', [1, tokens, 8])]]);

  test('of the grid of the model stays as it is', () => {
    const file = table(2 * 4 * 4);
    expect(learned.adapt(file).get('pos_embed')).toBe(file.get('pos_embed'));
  });

  test('of another square grid is resampled, in pieces as long as asked for', async () => {
    const adapted = learned.adapt(table(2 * 2 * 2)).get('pos_embed')!;
    expect(adapted.shape).toEqual([1, 32, 8]);
    const source = tensor(
      'float32',
      [8, 8],
      Float32Array.from({ length: 64 }, (_, i) => i),
    );
    const expected = [...resampleTable(source, [2, 2, 2], [2, 4, 4]).data];
    expect(await valuesOf(adapted)).toEqual(expected);
    expect(await valuesOf(adapted, 10)).toEqual(expected);
  });

  test('whose grid is not square is left to the report of shapes', () => {
    expect(learned.adapt(table(12)).get('pos_embed')!.shape).toEqual([1, 12, 8]);
    const sinusoid = videomaeClassifier.spec({ ...small, img_size: 64 }, {});
    expect(sinusoid.adapt(table(8)).get('pos_embed')!.shape).toEqual([1, 8, 8]);
  });
});
